"""``hil sim run``: any ELF on a virtual chip, with trace and profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.core.errors import SimulationError

if TYPE_CHECKING:
    from hil.sim.chip import TraceWindow
    from hil.sim.profile import Functions

EXAMPLE = """Examples: hil sim run firmware.elf --board gap8 --max-ms 50 --profile;
hil sim run firmware.elf --board stm32f746 --trace trace.txt --trace-from main --trace-count 500"""


def register(sim_app: typer.Typer) -> None:
    """Add the verb to ``hil sim``."""
    sim_app.command("run", epilog=EXAMPLE)(sim_run)


def sim_run(
    elf: Annotated[Path, typer.Argument(help="Bare-metal ELF.")],
    board: Annotated[str, typer.Option(help="gap8, stm32f746 or stm32f767.")],
    max_ms: Annotated[float, typer.Option(min=0, help="Milliseconds of chip time.")] = 10_000.0,
    max_cycles: Annotated[
        int | None, typer.Option(min=1, help="Cycles of the first core's clock.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Cycles by function; hot loops with their stalls.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Functions a table of --profile.")] = 20,
    trace: Annotated[
        str | None, typer.Option(help="File for the instruction trace; - prints it.")
    ] = None,
    trace_from: Annotated[
        str, typer.Option(help="Cycle (of each core's clock) or symbol to trace from.")
    ] = "0",
    trace_count: Annotated[int, typer.Option(min=1, max=5_000_000, help="Instructions.")] = 1000,
    trace_inside: Annotated[
        str | None, typer.Option(help="Trace the instructions of this function only.")
    ] = None,
    data_cache: Annotated[
        str,
        typer.Option(
            help="STM32F7: stall loads by a mean (average) or follow every access through the "
            "cache (lines, slower). The report's timing line names it.",
            show_default="average",
        ),
    ] = "",
    core_v: Annotated[
        float | None,
        typer.Option(
            help="GAP8: core voltage at the start, 1.0 to 1.2; clocks beyond what it carries end "
            "the run. The report's timing line names it.",
            show_default="1.2",
        ),
    ] = None,
) -> None:
    """Run any ELF on a simulated chip; prints its UART output, cycles and how it ended.

    The exit status is the firmware's own exit code, 125 after a fault, 124 after a deadlock (it
    waits, nothing is due, it receives no byte), 0 when it waits for input or a limit has stopped
    it. A profile changes no cycle count, nor does a trace, but for the STM32F7's with --data-cache
    average: it cuts long blocks, which may move a count a little.
    """
    import shutil

    from hil.core.elf import load_segments
    from hil.sim.compiling import told_of_compiling
    from hil.sim.profile import Functions
    from hil.sim.runner import Limits, run_elf
    from hil.sim.trace import trace_lines

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    load_segments(elf)  # an unusable file is named as such
    functions = Functions.from_elf(elf)
    window = None
    if trace is not None:
        window = _window(functions, elf, trace_from, trace_count, trace_inside)
    limits = Limits(max_ms / 1e3, max_cycles)
    with told_of_compiling(lambda text: print(text, file=sys.stderr, flush=True)):
        ended = run_elf(elf, board, write, limits, profile, window, data_cache, core_v)
    if trace is not None:
        _write_trace(trace, trace_lines(ended.trace))
    for line in [*ended.lines(), *ended.fault_lines(functions)]:
        print(line, flush=True)
    if profile:
        width = shutil.get_terminal_size().columns
        for line in ended.profile_lines(functions, top, width):
            print(line, flush=True)
    raise typer.Exit(ended.status)


def _window(
    functions: Functions, elf: Path, start: str, count: int, inside: str | None
) -> TraceWindow:
    """The window of a trace from ``start``, a cycle or a symbol."""
    from hil.sim.chip import TraceWindow

    is_cycle = start.isdecimal()
    if inside is not None and not is_cycle:
        raise SimulationError("--trace-inside: with --trace-from CYCLE only, not a symbol")
    return TraceWindow(
        count,
        int(start) if is_cycle else 0,
        None if is_cycle else _span(functions, start, elf)[0],
        None if inside is None else _span(functions, inside, elf),
    )


def _span(functions: Functions, name: str, elf: Path) -> tuple[int, int]:
    """First address and the one behind the symbol ``name``."""
    span = functions.span(name)
    if span is None:
        raise SimulationError(f"{elf}: has no function or label {name!r} (see nm); a cycle works")
    return span


def _write_trace(place: str, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    if place == "-":
        print(text, end="", flush=True)
        return
    try:
        Path(place).write_text(text)
    except OSError as error:
        raise SimulationError(f"--trace {place}: cannot write: {error.strerror}") from error
    print(f"trace: {len(lines):,} lines in {place}", flush=True)
