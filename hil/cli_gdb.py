"""``hil sim gdb``: a simulated chip behind a GDB port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = (
    "Example: hil sim gdb firmware.elf --board stm32f746 --port 3333, then in another terminal: "
    "gdb-multiarch firmware.elf -ex 'target remote 127.0.0.1:3333'"
)


def gdb(
    elf: Annotated[Path, typer.Argument(help="Bare-metal ELF.")],
    board: Annotated[str, typer.Option(help="gap8, stm32f746 or stm32f767.")],
    port: Annotated[int, typer.Option(help="TCP port on this computer; 0: any free one.")] = 0,
    wait_seconds: Annotated[float, typer.Option(help="Longest wait for a debugger.")] = 600.0,
    data_cache: Annotated[
        str,
        typer.Option(help="STM32F7: average or lines, as in hil sim run.", show_default="average"),
    ] = "",
) -> None:
    """Load an ELF into a simulated chip and let a debugger run it; ends with its connection."""
    from hil.sim.compiling import told_of_compiling
    from hil.sim.gdb.server import serve_elf

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def ready(number: int) -> None:
        print(f"{board}: waiting for a debugger at 127.0.0.1:{number}", flush=True)

    with told_of_compiling(lambda text: print(text, file=sys.stderr, flush=True)):
        serve_elf(elf, board, port, wait_seconds, write, ready, data_cache)


def register_gdb(sim_app: typer.Typer) -> None:
    """Add the verb to ``hil sim``."""
    sim_app.command("gdb", epilog=EXAMPLE)(gdb)
