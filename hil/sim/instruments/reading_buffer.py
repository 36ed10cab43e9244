"""A reading buffer of Keithley's graphical instruments: readings and when they were taken."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

EPOCH_S = 1_764_000_000  # what the instrument's clock shows at bench time 0, seconds UTC
# Elements of TRACe:DATA? that are modelled; binary formats carry the first two only.
ELEMENTS = ("READing", "RELative", "SEConds", "FRACtional")
BINARY = ("READ", "REL")


@dataclass
class ReadingBuffer:
    """``times_s``: bench time at which each reading began. ``once``: what comes when it is full is
    lost; else it takes the oldest one's place."""

    capacity: int
    once: bool = False
    current_a: np.ndarray = field(default_factory=lambda: np.zeros(0))
    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.current_a)

    def clear(self) -> None:
        self.current_a, self.times_s = np.zeros(0), np.zeros(0)

    def store(self, current_a: np.ndarray, times_s: np.ndarray) -> bool:
        """Put readings behind those that are there; False when some found no place."""
        current_a = np.concatenate((self.current_a, current_a))
        times_s = np.concatenate((self.times_s, times_s))
        fits = len(current_a) <= self.capacity
        kept = slice(None, self.capacity) if self.once else slice(-self.capacity, None)
        self.current_a, self.times_s = current_a[kept], times_s[kept]
        return fits or not self.once

    def column(self, element: str) -> np.ndarray:
        """All of one element, by its short name."""
        seconds = np.floor(self.times_s)
        return {
            "READ": self.current_a,
            "REL": self.times_s - (self.times_s[0] if len(self) else 0.0),
            "SEC": EPOCH_S + seconds,
            "FRAC": self.times_s - seconds,
        }[element]
