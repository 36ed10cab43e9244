"""``hil faults``: a seeded campaign of faults on every wire of the virtual bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console as Terminal
from rich.table import Table

if TYPE_CHECKING:
    from hil.loop.faults.trial import Result

FAULTS_EXAMPLE = "Example: hil faults --trials 10000 --seed 1 --jobs 4 --out faults"
WIDTH = 110  # of the table
EVERY = 20  # trials between two progress lines


def faults(
    trials: Annotated[int, typer.Option(min=1, help="How many trials.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the campaign.")] = 1,
    board: Annotated[str, typer.Option(help="Board whose virtual chip is used.")] = "stm32f746",
    out: Annotated[
        Path, typer.Option(help="Record and folders of violations; continued if there.")
    ] = Path("faults"),
    jobs: Annotated[
        int, typer.Option(min=1, help="Trials at a time, each on a bench of its own.")
    ] = 1,
    only: Annotated[
        int | None, typer.Option(min=0, help="Replay this one trial of the campaign.")
    ] = None,
) -> None:
    """Disturb every wire of the virtual bench, and check that no wrong cost is recorded.

    Exit status: 0 nothing that must not happen did, 2 a violation.
    """
    from hil.loop.faults.campaign import Job, run_faults, violations

    numbers = tuple(range(trials)) if only is None else (only,)
    folder = out if only is None else out / f"replay-{only:05d}"
    results = run_faults(
        Job(board, seed, numbers, folder), _tell if only is None else _tell_all, jobs
    )
    _print_table(results)
    if violations(results):
        raise typer.Exit(2)


def _tell(result: Result, left: int) -> None:
    if result.violations:
        _tell_all(result, left)
    elif left % EVERY == 0:
        typer.echo(f"trial {result.number} done, {left} left")


def _tell_all(result: Result, left: int) -> None:
    typer.echo(f"trial {result.number}: {result.outcome} ({result.wall_s:.1f} s): {result.plan}")
    for violation in result.violations:
        typer.echo(f"  {violation}")


def _print_table(results: list[Result]) -> None:
    from hil.loop.faults.campaign import table
    from hil.loop.faults.trial import Outcome

    shown = Table(title=f"{len(results)} trials", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("fault", no_wrap=True)
    for outcome in Outcome:
        shown.add_column(outcome.value, justify="right", no_wrap=True, min_width=4)
    shown.add_column("put down to", overflow="fold")
    for name, outcomes, culprits in table(results):
        counts = [str(outcomes[outcome.value] or "") for outcome in Outcome]
        blamed = ", ".join(f"{who} {count}" for who, count in sorted(culprits.items()))
        shown.add_row(name, *counts, blamed)
    Terminal(width=WIDTH).print(shown)
