"""Run any ELF on a virtual chip without a bench: ``hil sim run FILE.elf --board gap8``.

The console's output goes out as it comes. There is no input: a firmware that waits for a byte
is at its end here, and one that waits without receiving is in a deadlock. The ELF need not know
of this bench: one that never ends is stopped when its time or cycles are over, and the report says
where its cores were. ``profile`` counts cycles by address, a ``window`` keeps a trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from hil.core.errors import SimulationError
from hil.sim.chip import Chip, Stop, TraceWindow
from hil.sim.chips import make_chip
from hil.sim.fault_report import ExaminedChip, FaultScene, report_lines
from hil.sim.hot_loops import annotated
from hil.sim.profile import CoreClassCycles, Functions, ProfiledChip, legend, table
from hil.sim.trace import TracedChip, TracedInstruction

SLICE_S = 0.002
# No firmware's own exit code is that high by convention.
EXIT_DEADLOCK, EXIT_FAULT = 124, 125
DEADLOCK = (
    "deadlock: the firmware waits, nothing is due that could wake it, and it receives no console "
    "byte"
)
HOT_LOOPS = 3  # a core class
# What a chip calls the cycles of its first core's clock.
CLOCK_COUNTERS = ("cycles", "fc_clock_cycles")


@runtime_checkable
class PlacedChip(Protocol):
    """A chip that can say where its cores are."""

    def positions(self) -> list[str]:
        """A line a core that runs or sleeps, ending in the program counter as 0x%08x."""


@dataclass(frozen=True)
class Limits:
    """What ends a run: chip time in seconds, or cycles of the first core's clock."""

    time_s: float = 10.0
    cycles: int | None = None


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
    limits: Limits
    deadlocked: bool = False
    positions: tuple[str, ...] = ()
    profile: tuple[CoreClassCycles, ...] = ()
    trace: tuple[TracedInstruction, ...] = ()
    fault_scenes: tuple[FaultScene, ...] = ()

    @property
    def status(self) -> int:
        """For a shell: the firmware's exit code, 125 for a fault, 124 for a deadlock, else 0."""
        if self.stop is Stop.FAULT:
            return EXIT_FAULT
        if self.deadlocked:
            return EXIT_DEADLOCK
        return self.exit_code or 0

    def lines(self) -> list[str]:
        """The report for people."""
        ends = {
            Stop.BUDGET: f"stopped: still running {self._limit_text()}",
            Stop.WAITING: "stopped: the firmware waits for console input",
            Stop.EXITED: f"exit code {self.exit_code}",
            Stop.FAULT: f"fault: {self.fault}",
        }
        end = DEADLOCK if self.deadlocked else ends[self.stop]
        counts = [f"{name}: {value:,}" for name, value in self.counters.items()]
        return [
            f"{self.board}: {end}",
            *(f"  {place}" for place in self.positions),
            *counts,
            f"simulated: {self.time_s:.6f} s in {self.wall_s:.2f} s",
            f"timing: {self.timing_model}",
        ]

    def _limit_text(self) -> str:
        if self.limits.cycles is not None and self.time_s < self.limits.time_s:
            return f"after {self.limits.cycles:,} cycles (--max-cycles)"
        return f"after {1e3 * self.limits.time_s:g} ms of the chip's time (--max-ms)"

    def fault_lines(self, functions: Functions) -> list[str]:
        """How each fault looked; nothing without one."""
        return [line for scene in self.fault_scenes for line in report_lines(scene, functions)]

    def profile_lines(self, functions: Functions, top: int, width: int) -> list[str]:
        """A table a core class, of ``width`` columns, and its hot loops; nothing without counts."""
        if not self.profile:
            return []
        lines: list[str] = []
        for cores in self.profile:
            lines += ["", *table(cores, functions, top, width)]
        lines += ["", *legend(self.profile)]
        for cores in self.profile:
            lines += annotated(cores, functions, HOT_LOOPS)
        return lines


def run_elf(
    path: Path,
    board: str,
    write: Callable[[bytes], object],
    limits: Limits | None = None,
    profile: bool = False,
    window: TraceWindow | None = None,
    data_cache: str = "",
    core_v: float | None = None,
) -> RunReport:
    """Run the ELF at ``path`` on a new chip until it ends or a limit is reached.

    ``write`` gets the console's bytes; ``profile`` counts cycles by address, ``window`` says which
    instructions a trace keeps; ``data_cache`` and ``core_v`` are those of ``make_chip``.
    SimulationError: unknown board, unusable ELF, a board without that choice.
    """
    chip = make_chip(board, data_cache, core_v)
    chip.load_elf(path)
    if window is not None:
        if not isinstance(chip, TracedChip):
            raise SimulationError(f"--trace: the virtual {board} keeps no trace")
        chip.start_trace(window)
    if profile:
        if not isinstance(chip, ProfiledChip):
            raise SimulationError(f"--profile: the virtual {board} does not count by address")
        chip.start_profile()
    return run_chip(chip, board, write, limits or Limits(), profile, window is not None)


def run_chip(
    chip: Chip,
    board: str,
    write: Callable[[bytes], object],
    limits: Limits,
    profile: bool = False,
    trace: bool = False,
) -> RunReport:
    """Run what is loaded into ``chip``, which has been told before to count or to trace.

    What the chip has and the model has not ends the run as a fault does.
    """
    started_s = time.monotonic()
    stop, refused = Stop.BUDGET, None
    while stop is Stop.BUDGET and (slice_s := _next_slice_s(chip, limits)) > 0:
        try:
            stop = chip.run(slice_s)
        except SimulationError as error:  # the report and what was counted are wanted all the more
            stop, refused = Stop.FAULT, str(error)
        if data := chip.uart_drain():
            write(data)
        # Nobody looks at the power here; taking it keeps the memory small.
        chip.energy_drain()
        chip.marker_drain()
    positions: tuple[str, ...] = ()
    if stop in (Stop.BUDGET, Stop.WAITING) and isinstance(chip, PlacedChip):
        positions = tuple(chip.positions())
    return RunReport(
        board=board,
        stop=stop,
        time_s=chip.time_s,
        wall_s=time.monotonic() - started_s,
        exit_code=chip.exit_code,
        fault=refused if chip.fault is None else str(chip.fault),
        counters={name: int(value) for name, value in chip.counters().items()},
        timing_model=getattr(chip, "timing_model", "not stated by the chip"),
        limits=limits,
        deadlocked=stop is Stop.WAITING and not chip.listening,
        positions=positions,
        profile=chip.profile() if profile and isinstance(chip, ProfiledChip) else (),
        trace=tuple(chip.trace()) if trace and isinstance(chip, TracedChip) else (),
        fault_scenes=chip.fault_scenes(refused or "") if isinstance(chip, ExaminedChip) else (),
    )


def _next_slice_s(chip: Chip, limits: Limits) -> float:
    """Chip time of the next call, 0 when a limit is reached.

    The cycles left are turned into time by the clock now in force, so that the run ends at the
    first instruction behind the limit unless the firmware changes its clock within the last slice.
    """
    left_s = min(SLICE_S, limits.time_s - chip.time_s)
    if limits.cycles is None or left_s <= 0:
        return left_s
    left = limits.cycles - clock_cycles(chip)
    return min(left_s, left / chip.clock_hz) if left > 0 else 0.0


def clock_cycles(chip: Chip) -> int:
    """Cycles of the first core's clock since reset."""
    counters = chip.counters()
    return int(next(counters[name] for name in CLOCK_COUNTERS if name in counters))
