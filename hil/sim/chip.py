"""What a simulated chip offers to the wires of the virtual bench.

A chip keeps its own time in cycles of one clock. It never waits for real time and never
touches a file descriptor: bytes, edges and energy go in and out through these methods, and
the twin process (``hil.sim.twin``) joins them to a pty, a socket and a meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np


class Stop(Enum):
    """Why ``Chip.run`` came back."""

    BUDGET = "the asked time has passed"
    WAITING = "the firmware polls or sleeps for a console byte and none is on its way"
    EXITED = "the firmware ended itself (GAP8 CORESTATUS, Arm semihosting exit)"
    BREAK = "a debugger's breakpoint is reached (hil.sim.debug)"
    FAULT = "the chip met an illegal instruction, an unmapped access or a lock-up"


@dataclass(frozen=True)
class Fault:
    """Where and why a simulated chip stopped. ``core`` is 0 on a single-core chip."""

    reason: str
    pc: int
    core: int = 0
    address: int | None = None

    def __str__(self) -> str:
        place = f"core {self.core} at pc 0x{self.pc:08x}"
        access = "" if self.address is None else f", address 0x{self.address:08x}"
        return f"{self.reason} ({place}{access})"


@dataclass(frozen=True)
class TraceWindow:
    """Which instructions a trace keeps: at most ``count``, from a cycle or an address on.

    ``from_cycle`` is of the instruction's own core's clock. From ``from_address`` on: as soon as
    any core comes to that instruction. ``inside``: only those at addresses [low, high), from
    reset or a cycle on.
    """

    count: int
    from_cycle: int = 0
    from_address: int | None = None
    inside: tuple[int, int] | None = None


@dataclass(frozen=True)
class MarkerEdge:
    """A change of the marker pin: time in seconds since reset, and the new level."""

    time_s: float
    level: bool


@dataclass(frozen=True)
class EnergyBins:
    """Energy drawn in consecutive equal bins of chip time, ``energy_j[i]`` for bin ``first + i``.

    Bin k covers [k * bin_s, (k + 1) * bin_s) since reset. Modelled, never measured.
    """

    first: int
    bin_s: float
    energy_j: np.ndarray


class Chip(Protocol):
    """A simulated microcontroller with one console UART, one marker pin and a supply."""

    name: str
    supply_v: float

    def load_elf(self, path: Path) -> None:
        """Load the program headers and reset. SimulationError names a segment out of memory."""

    def reset(self) -> None:
        """Power-on reset; memory keeps what was loaded, RAM is filled with a poison pattern."""

    def run(self, duration_s: float) -> Stop:
        """Run for at most ``duration_s`` of chip time and say why it stopped.

        While the firmware waits for a console byte that is still on the wire, time jumps to
        the byte's arrival. With no byte on the wire the call returns WAITING at once and the
        chip's time stands still until ``uart_feed`` or ``idle_until``.
        """

    def idle_until(self, time_s: float) -> None:
        """Let a WAITING chip wait until ``time_s`` (since reset), drawing its idle power."""

    def pass_time(self, time_s: float) -> None:
        """Let a chip without firmware be on until ``time_s`` (since reset); nothing executes."""

    @property
    def time_s(self) -> float:
        """Chip time since reset in seconds."""

    @property
    def clock_hz(self) -> float:
        """The first core's clock now, in Hz."""

    @property
    def listening(self) -> bool:
        """Whether a console byte would be received; a chip that is WAITING without is stuck."""

    @property
    def fault(self) -> Fault | None:
        """The fault behind ``Stop.FAULT``."""

    @property
    def exit_code(self) -> int | None:
        """The code behind ``Stop.EXITED``."""

    def uart_feed(self, data: bytes) -> None:
        """Put bytes on the RX wire: they arrive back to back at the configured baud from now.

        A byte the firmware does not take in time is lost, as on the chip.
        """

    def uart_drain(self) -> bytes:
        """Bytes that have left the TX pin since the last call."""

    def marker_drain(self) -> list[MarkerEdge]:
        """Edges of the marker pin since the last call, in order."""

    def energy_drain(self) -> EnergyBins:
        """All complete energy bins since the last call, in order and without gaps."""

    def counters(self) -> dict[str, int]:
        """Cycles, instructions and whatever else the core counts, by name, for reports."""
