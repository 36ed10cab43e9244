"""Run any ELF on a virtual chip without a bench: ``hil sim run FILE.elf --board gap8``.

The console's output goes out as it comes. There is no input: a firmware that waits for a byte
is at its end here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.sim.chip import Chip, Stop
from hil.sim.chips import make_chip

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


def run_elf(
    path: Path, board: str, write: Callable[[bytes], object], max_time_s: float = 10.0
) -> RunReport:
    """Run the ELF at ``path`` on a new chip for at most ``max_time_s`` of the chip's time.

    ``write`` gets the console's bytes. SimulationError: unknown board or unusable ELF.
    """
    chip = make_chip(board)
    chip.load_elf(path)
    return run_chip(chip, board, write, max_time_s)


def run_chip(
    chip: Chip, board: str, write: Callable[[bytes], object], max_time_s: float
) -> RunReport:
    """Run what is loaded into ``chip``."""
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
    )
