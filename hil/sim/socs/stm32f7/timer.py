"""TIM2 and TIM5 as free-running 32-bit up-counters. Reference: RM0385 section 23.

Capture, compare outputs, slave modes, DMA and interrupts are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.registers import RegisterFile
from hil.sim.socs.stm32f7.timeline import Timeline

ALL, COUNTS = 0xFFFFFFFF, 1 << 32
CEN, UDIS, URS, OPM, DIR, ARPE = 0, 1, 2, 3, 4, 7
LAYOUT = {
    "CR1": (0x00, 0, 0x0BFF),
    "CR2": (0x04, 0, 0),
    "SMCR": (0x08, 0, 0),
    "DIER": (0x0C, 0, 0),
    "SR": (0x10, 0, ALL),
    "EGR": (0x14, 0, 0),
    "CCMR1": (0x18, 0, 0),
    "CCMR2": (0x1C, 0, 0),
    "CCER": (0x20, 0, 0),
    "CNT": (0x24, 0, ALL),
    "PSC": (0x28, 0, 0xFFFF),
    "ARR": (0x2C, ALL, ALL),
    "OR": (0x50, 0, 0),
}


class Timer:
    """A 32-bit timer. ``clock_hz`` gives its kernel clock at the present instant."""

    def __init__(self, name: str, timeline: Timeline, clock_hz: Callable[[], float]) -> None:
        self.name = name
        self._file = RegisterFile(name, LAYOUT)
        self._timeline = timeline
        self._clock_hz = clock_hz
        self._counted_hz = clock_hz()
        self._since_s = 0.0
        self.reset()

    def reset(self) -> None:
        """By APB1RSTR: it stands at 0."""
        self._file.reset()
        self._prescaler = 0  # the value in force; PSC waits for an update event
        self._ticks = 0.0

    def rebase(self) -> None:
        """Count up to now under the clock seen last, then take the present one."""
        now_s = self._timeline.now_s
        if self._file.bit("CR1", CEN):
            self._count((now_s - self._since_s) * self._counted_hz / (self._prescaler + 1))
        self._since_s = now_s
        self._counted_hz = self._clock_hz()

    def _count(self, ticks: float) -> None:
        period = self._file["ARR"] + 1
        if self._ticks >= period:  # above ARR it meets it only behind the end of its 32 bits
            self._ticks += ticks
            if self._ticks < COUNTS:
                return
            ticks, self._ticks = self._ticks - COUNTS, 0.0
        self._ticks += ticks
        if self._ticks >= period:
            self._ticks = math.fmod(self._ticks, period)
            self._file["SR"] |= 1
            self._prescaler = self._file["PSC"]

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        self.rebase()
        return int(self._ticks) if register == "CNT" else self._file[register]

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        self.rebase()
        if register == "EGR":
            self._generate(value)
        elif register == "SR":
            self._file["SR"] &= value
        elif register == "CNT":
            self._ticks = float(value)
        elif register == "CR1" and value & (1 << DIR | 1 << OPM | 3 << 5):
            raise BusError(f"{self.name}_CR1 = 0x{value:x}: only plain up-counting is modelled")
        elif register in ("PSC", "ARR", "CR1"):
            self._file.store(register, value)
        elif value:
            raise BusError(f"{self.name}_{register} = 0x{value:x} is not modelled")

    def _generate(self, value: int) -> None:
        if value & ~1:
            raise BusError(f"{self.name}_EGR = 0x{value:x}: only UG is modelled")
        self._ticks = 0.0
        self._prescaler = self._file["PSC"]
        if not self._file.bit("CR1", URS):
            self._file["SR"] |= 1
