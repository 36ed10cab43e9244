"""Run any ELF on a virtual chip without a bench: ``hil sim run FILE.elf --board gap8``.

The console's output goes out as it comes. There is no input: a firmware that waits for a byte
is at its end here. With ``profile`` the report also says which functions took the cycles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import SimulationError
from hil.sim.chip import Chip, Stop
from hil.sim.chips import make_chip
from hil.sim.profile import LEGEND, CoreClassCycles, Functions, ProfiledChip, table

SLICE_S = 0.002
EXIT_FAULT = 125  # no firmware's own exit code is that high by convention


@dataclass(frozen=True)
class RunReport:
    """How a run ended. Times in seconds: ``time_s`` of the chip, ``wall_s`` of this computer."""

    board: str
    stop: Stop
    time_s: float
    wall_s: float
    exit_code: int | None
    fault: str | None
    counters: dict[str, int]
    timing_model: str
    profile: tuple[CoreClassCycles, ...] = ()

    @property
    def status(self) -> int:
        """For a shell: the firmware's exit code, 125 for a fault, 0 for waiting or time over."""
        if self.stop is Stop.FAULT:
            return EXIT_FAULT
        return self.exit_code or 0

    def lines(self) -> list[str]:
        """The report for people."""
        ends = {
            Stop.BUDGET: "stopped: the time is over (--max-time)",
            Stop.WAITING: "stopped: the firmware waits for console input",
            Stop.EXITED: f"exit code {self.exit_code}",
            Stop.FAULT: f"fault: {self.fault}",
        }
        counts = [f"{name}: {value:,}" for name, value in self.counters.items()]
        return [
            f"{self.board}: {ends[self.stop]}",
            *counts,
            f"simulated: {self.time_s:.6f} s in {self.wall_s:.2f} s",
            f"timing: {self.timing_model}",
        ]

    def profile_lines(self, functions: Functions, top: int, width: int) -> list[str]:
        """A table a core class, of at most ``width`` columns; nothing without a profile."""
        if not self.profile:
            return []
        tables = [["", *table(cores, functions, top, width)] for cores in self.profile]
        return [*(line for lines in tables for line in lines), "", *LEGEND]


def run_elf(
    path: Path,
    board: str,
    write: Callable[[bytes], object],
    max_time_s: float = 10.0,
    profile: bool = False,
) -> RunReport:
    """Run the ELF at ``path`` on a new chip for at most ``max_time_s`` of the chip's time.

    ``write`` gets the console's bytes; ``profile`` counts cycles by address. SimulationError:
    unknown board, unusable ELF, or a chip that does not count so.
    """
    chip = make_chip(board)
    if profile and not isinstance(chip, ProfiledChip):
        raise SimulationError(
            f"--profile: the virtual {board} does not count cycles by function; "
            "run without it, or an ELF for gap8 on --board gap8"
        )
    chip.load_elf(path)
    if isinstance(chip, ProfiledChip) and profile:
        chip.start_profile()
    return run_chip(chip, board, write, max_time_s, profile)


def run_chip(
    chip: Chip,
    board: str,
    write: Callable[[bytes], object],
    max_time_s: float,
    profile: bool = False,
) -> RunReport:
    """Run what is loaded into ``chip``; ``profile``: it counts by address since its reset."""
    started_s = time.monotonic()
    stop = Stop.BUDGET
    while stop is Stop.BUDGET and (left_s := max_time_s - chip.time_s) > 0:
        stop = chip.run(min(SLICE_S, left_s))
        if data := chip.uart_drain():
            write(data)
        # Nobody looks at the power here; taking it keeps the memory small.
        chip.energy_drain()
        chip.marker_drain()
    return RunReport(
        board=board,
        stop=stop,
        time_s=chip.time_s,
        wall_s=time.monotonic() - started_s,
        exit_code=chip.exit_code,
        fault=None if chip.fault is None else str(chip.fault),
        counters={name: int(value) for name, value in chip.counters().items()},
        timing_model=getattr(chip, "timing_model", "not stated by the chip"),
        profile=chip.profile() if profile and isinstance(chip, ProfiledChip) else (),
    )
