"""Bandwidth over time, as measured in the field.

The file format is the one of the HSDPA logs (Riiser et al., MMSys 2013) as commonly
distributed: a CSV file with the header ``duration_ms,bandwidth_kbps`` and a line a step.
Bandwidth 0 is an outage. Beyond its end a trace starts again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import DataError

HEADER = ["duration_ms", "bandwidth_kbps"]


@dataclass(frozen=True)
class BandwidthTrace:
    """Steps of constant bandwidth: ``durations_s[i]`` seconds at ``bandwidths_kbps[i]``."""

    name: str
    durations_s: tuple[float, ...]
    bandwidths_kbps: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.durations_s or len(self.durations_s) != len(self.bandwidths_kbps):
            raise DataError(f"trace {self.name}: needs as many bandwidths as durations, not none")
        for i, (duration_s, kbps) in enumerate(self):
            if not (math.isfinite(duration_s) and duration_s > 0):
                raise DataError(f"trace {self.name}, step {i}: {duration_s} s is no duration")
            if not (math.isfinite(kbps) and kbps >= 0):
                raise DataError(f"trace {self.name}, step {i}: {kbps} kbit/s is no bandwidth")

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(zip(self.durations_s, self.bandwidths_kbps, strict=True))

    @property
    def total_s(self) -> float:
        """Length of one pass."""
        return math.fsum(self.durations_s)

    @property
    def mean_kbps(self) -> float:
        """Mean over time (not over steps)."""
        return math.fsum(duration * kbps for duration, kbps in self) / self.total_s

    def scaled(self, factor: float) -> BandwidthTrace:
        """Every bandwidth times ``factor``; the name says so."""
        if not (math.isfinite(factor) and factor > 0):
            raise DataError(f"trace {self.name}: a bandwidth scale is positive, not {factor}")
        scaled = tuple(kbps * factor for kbps in self.bandwidths_kbps)
        return BandwidthTrace(f"{self.name} x{factor:g}", self.durations_s, scaled)

    def at(self, time_s: float) -> float:
        """Bandwidth in kbit/s at ``time_s`` >= 0."""
        index, _ = self._locate(time_s)
        return self.bandwidths_kbps[index]

    def transfer_s(self, size_bytes: int, start_s: float = 0.0) -> float:
        """Seconds to move ``size_bytes`` from ``start_s`` on; DataError if it never ends."""
        bits = 8.0 * size_bytes
        if bits and not any(self.bandwidths_kbps):
            raise DataError(f"trace {self.name}: {size_bytes} bytes never arrive, it is all outage")
        index, left_s = self._locate(start_s)
        passed_s = 0.0
        while bits > 0:
            rate = self.bandwidths_kbps[index] * 1000.0
            if rate * left_s >= bits:
                return passed_s + bits / rate
            bits -= rate * left_s
            passed_s += left_s
            index = (index + 1) % len(self.durations_s)
            left_s = self.durations_s[index]
        return passed_s

    def _locate(self, time_s: float) -> tuple[int, float]:
        """The step at a time, and how much of it is left."""
        if not (math.isfinite(time_s) and time_s >= 0):
            raise DataError(f"trace {self.name}: there is no bandwidth at {time_s} s")
        rest = math.fmod(time_s, self.total_s)
        for index, duration_s in enumerate(self.durations_s):
            if rest < duration_s:
                return index, duration_s - rest
            rest -= duration_s
        return 0, self.durations_s[0]  # rounding put the time at the very end: start again


def load_trace(path: Path) -> BandwidthTrace:
    """Read a trace file. DataError names file, line and the text that is wrong."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the trace: {error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != HEADER:
        first = ",".join(rows[0]) if rows else ""
        raise DataError(f"{path}, line 1: the header is {','.join(HEADER)}, not {first!r}")
    steps = [_step(row, path, number) for number, row in enumerate(rows[1:], 2) if row]
    if not steps:
        raise DataError(f"{path}: a trace without a step")
    return BandwidthTrace(
        path.stem, tuple(duration for duration, _ in steps), tuple(kbps for _, kbps in steps)
    )


def _step(row: Sequence[str], path: Path, number: int) -> tuple[float, float]:
    place, text = f"{path}, line {number}", ",".join(row)
    try:
        duration_ms, kbps = (float(cell) for cell in row)
    except ValueError as error:
        raise DataError(f"{place}: two numbers belong here, not {text!r}") from error
    if not (math.isfinite(duration_ms) and duration_ms > 0):
        raise DataError(f"{place}: a duration is positive, not {text!r}")
    if not (math.isfinite(kbps) and kbps >= 0):
        raise DataError(f"{place}: a bandwidth is not negative, not {text!r}")
    return duration_ms / 1000.0, kbps
