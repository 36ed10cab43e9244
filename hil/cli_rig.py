"""``hil rig``: what benches there are, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console as Terminal
from rich.table import Table
from rich.text import Text

rig_app = typer.Typer(
    no_args_is_help=True, help="Look at benches: what they are, what is wrong, what is attached."
)


@rig_app.command(epilog="Example: hil rig check virtual")
def check(
    rig: Annotated[str, typer.Argument(help="Bench: name or TOML file.")] = "virtual",
) -> None:
    """Look at every part of a bench, identify it and say what is wrong."""
    from hil.rig.check import check_all
    from hil.rig.rigfile import load_bench

    rigs = load_bench(rig).rigs
    failed = 0
    for one, items in zip(rigs, check_all(rigs), strict=True):
        table = Table("part", "ok", "detail", title=f"{one.name} ({one.board})")
        for item in items:
            failed += not item.ok
            # Text, or rich would take "[console]" for markup.
            table.add_row(item.name, "yes" if item.ok else "NO", Text(item.detail))
        Terminal().print(table)
    if failed:
        raise typer.Exit(1)


@rig_app.command(epilog="Example: hil rig scan --out rigs")
def scan(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rig files (default: print them).")
    ] = None,
    visa: Annotated[
        list[str] | None,
        typer.Option(
            help="VISA resource to ask as well, for an instrument on the network; repeat."
        ),
    ] = None,
) -> None:
    """Look for boards, probes and meters, and propose rig files for them.

    Exit status 1 when no board is attached.
    """
    from hil.core.errors import RigError
    from hil.core.secrets import masked, remember
    from hil.rig.scan.look import look
    from hil.rig.scan.propose import propose, write

    remember(visa or [])
    proposal = propose(look(visa or []))
    for remark in proposal.remarks:
        print(masked(f"# {remark}"))
    if not proposal.files:
        raise RigError(
            "no board found: neither an ST-LINK, an FT2232 nor an Olimex adapter is attached; plug "
            "one in, or write a rig file by hand (docs/rigs.md)"
        )
    if out is None:
        for name, text in proposal.files.items():
            print(masked(f"\n# ---- {name}.toml\n{text}"), end="")
        return
    for path in write(proposal, out):
        print(f"{path}: then `hil rig check {path}`")


@rig_app.command("list", epilog="Example: hil rig list")
def list_rigs() -> None:
    """Print the benches that are known by name."""
    from hil.rig.rigfile import find, known_names

    for name in known_names():
        print(f"{name}: {find(name)}")
