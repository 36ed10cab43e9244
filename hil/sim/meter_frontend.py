"""The analog side of the virtual meter: from energy bins and marker edges to samples.

Each sample is the average current over its interval (as of an integrating converter) through
an amplifier with gain error, offset and noise and a 16-bit converter, and the marker's level
at the middle of the same interval. The sample clock runs freely: the first sample begins up
to one interval after the start of the acquisition.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge

RANGES_A = (0.001, 0.01, 0.1, 1.0)
CODE_MAX = 32767  # 16-bit converter, two's complement
TICK_S = 1e-6  # the sample clock: intervals are multiples of it
NOISE_1MS = 2e-4  # standard deviation at 1 MS/s as a part of the range
MAX_GAIN_ERROR = 1e-3
MAX_OFFSET = 1e-4  # as a part of the range


@dataclass(frozen=True)
class Specimen:
    """One meter off the line: its errors, fixed by its seed, within the specification."""

    serial: str
    gain: float
    offset: float  # part of the range
    voltage_gain: float

    @classmethod
    def from_seed(cls, seed: int) -> Specimen:
        rng = np.random.default_rng([seed, 0x56504D31])
        return cls(
            serial=f"V{seed:06d}",
            gain=1.0 + rng.uniform(-MAX_GAIN_ERROR, MAX_GAIN_ERROR),
            offset=rng.uniform(-MAX_OFFSET, MAX_OFFSET),
            voltage_gain=1.0 + rng.uniform(-2e-4, 2e-4),
        )


@dataclass(frozen=True)
class Samples:
    """A finished acquisition. ``overloaded`` counts the clipped samples."""

    t0_s: float
    current_a: np.ndarray
    marker: np.ndarray
    overloaded: int
    lost: int = 0

    def without(self, count: int) -> Samples:
        """The same with ``count`` samples dropped in the middle, as by a full buffer."""
        count = min(count, len(self.marker))
        middle = (len(self.marker) - count) // 2
        gone = np.s_[middle : middle + count]
        return Samples(
            self.t0_s,
            np.delete(self.current_a, gone),
            np.delete(self.marker, gone),
            self.overloaded,
            self.lost + count,
        )

    def clipped(self, first: int, count: int, range_a: float) -> Samples:
        """The same with ``count`` samples from ``first`` on beyond the range."""
        current_a = self.current_a.copy()
        current_a[first : first + count] = range_a
        overloaded = self.overloaded + len(current_a[first : first + count])
        return replace(self, current_a=current_a, overloaded=overloaded)


@dataclass
class Recording:
    """``points`` samples of ``interval_s`` from bench time ``t0_s``, on their way.

    ``level`` is the marker when it started.
    """

    t0_s: float
    interval_s: float
    points: int
    level: bool
    _energy_j: list[np.ndarray] = field(default_factory=list)
    _first: int | None = None
    _bins: int = 0
    _bin_s: float = 0.0
    _edges: list[MarkerEdge] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.t0_s + self.points * self.interval_s

    @property
    def complete(self) -> bool:
        """Whether the energy of the last sample is known."""
        return self._first is not None and self.known_s >= self.end_s

    def feed(self, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        """Bins must follow each other without gaps; the first ones may begin before ``t0_s``."""
        self._edges += edges
        if len(bins.energy_j) == 0:
            return
        if self._first is None:
            self._first, self._bin_s = bins.first, bins.bin_s
        assert bins.first == self._first + self._bins, "a gap between energy bins"
        self._energy_j.append(bins.energy_j)
        self._bins += len(bins.energy_j)

    @property
    def known_s(self) -> float:
        """Bench time up to which the energy is known."""
        return 0.0 if self._first is None else (self._first + self._bins) * self._bin_s

    def power_w(self) -> np.ndarray:
        """Average power of each sample."""
        assert self.complete
        borders_s = self.t0_s + np.arange(self.points + 1) * self.interval_s
        return np.diff(self.drawn_j(borders_s)) / self.interval_s

    def drawn_j(self, times_s: np.ndarray) -> np.ndarray:
        """Energy drawn up to each time, from some time before the first on."""
        assert self._first is not None
        grid_s = (self._first + np.arange(self._bins + 1)) * self._bin_s
        drawn = np.concatenate(([0.0], np.cumsum(np.concatenate(self._energy_j))))
        return np.interp(times_s, grid_s, drawn)

    def marker(self) -> np.ndarray:
        """The marker's level at the middle of each sample."""
        times_s = np.array([edge.time_s for edge in self._edges])
        levels = np.array([self.level, *(edge.level for edge in self._edges)], dtype=np.bool_)
        middles_s = self.t0_s + (np.arange(self.points) + 0.5) * self.interval_s
        return levels[np.searchsorted(times_s, middles_s, side="right")]


def to_samples(
    recording: Recording,
    range_a: float,
    specimen: Specimen,
    supply_v: float,
    rng: np.random.Generator,
) -> Samples:
    """What the converter of a VPM1 in ``range_a`` delivers of a complete recording."""
    noise = NOISE_1MS * (TICK_S / recording.interval_s) ** 0.5
    analog = recording.power_w() / supply_v * specimen.gain + range_a * (
        specimen.offset + noise * rng.standard_normal(recording.points)
    )
    step_a = range_a / CODE_MAX
    codes = np.rint(analog / step_a)
    clipped = np.clip(codes, -CODE_MAX - 1, CODE_MAX)
    current_a = (clipped * step_a).astype(np.float32)
    overloaded = int(np.count_nonzero(codes != clipped))
    return Samples(recording.t0_s, current_a, recording.marker(), overloaded)
