"""Chip time: core cycles under a clock that changes, turned into seconds since power-on."""

from __future__ import annotations

import math
from collections.abc import Callable

HSI_HZ = 16_000_000.0  # the core clock after reset; RM0385 section 5


class Timeline:
    """Seconds of a cycle counter whose clock changes at known cycles.

    ``cycles`` reads the core's counter at the present instant.
    """

    def __init__(self, cycles: Callable[[], float]) -> None:
        self._cycles = cycles
        self._since_cycles = 0.0
        self._since_s = 0.0
        self.clock_hz = HSI_HZ

    @property
    def now_s(self) -> float:
        """Seconds since power-on."""
        return self.seconds_at(self._cycles())

    def seconds_at(self, cycles: float) -> float:
        """The time of a cycle under the present clock."""
        return self._since_s + (cycles - self._since_cycles) / self.clock_hz

    def cycles_at(self, time_s: float) -> float:
        """The first whole cycle at or after ``time_s`` under the present clock."""
        return math.ceil(self.exact_cycles_at(time_s) - 1e-6)

    def exact_cycles_at(self, time_s: float) -> float:
        """The same without rounding."""
        return self._since_cycles + (time_s - self._since_s) * self.clock_hz

    def change_clock(self, clock_hz: float) -> None:
        """From now on the core runs at ``clock_hz``."""
        now = self._cycles()
        self._since_s = self.seconds_at(now)
        self._since_cycles = now
        self.clock_hz = clock_hz
