"""The meter's clock against the board's, from the windows that both have timed.

Meter and board each have a clock of their own; an uncalibrated RC oscillator is off by a per
cent. Board cycles become seconds by a nominal frequency, so what the meter sees of a window is

    meter's duration = ratio * (counted cycles + overhead) / nominal clock + edges

Each edge lies anywhere within a sample (uniform), so a duration has a standard uncertainty of
one sample over the square root of 6, or what the windows' own residuals say where that is more: an
RC oscillator drifts while a sweep runs. The ratio is the least-squares line through the origin. A
meter that is blind to a stretch around each edge may err to the same side in every window, which
no number of windows averages out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.windows import CLOCK_TOLERANCE, EDGE_SAMPLES, find_windows

EDGE_PAIR_MOST = 1.0  # samples by which both edges of a window may be off together
EDGE_PAIR_SD = 1 / math.sqrt(6)  # of the difference of two uniform edges, in samples
# Between a sweep and a window around the network an oscillator drifts with its temperature.
BETWEEN_ACQUISITIONS = 1e-3
COVERAGE = 3.0  # standard uncertainties within which two clocks agree


@dataclass(frozen=True)
class ClockRatio:
    """Seconds of the meter for a nominal second of the board.

    ``uncertainty`` is the standard one of the ratio. It covers the edges' place within a sample
    and the windows' residuals: whether the meter's or the board's clock is right, the ratio cannot
    tell. ``blind``: how far the ratio may be off beside, because the meter does not know its edges
    better. ``drift``: by how many samples a window may be off the ratio, because the clocks drift.
    """

    ratio: float
    uncertainty: float
    windows: int
    blind: float = 0.0
    drift: float = 0.0

    @property
    def tolerance(self) -> float:
        """How far a window's duration may be off, as a part of it."""
        return COVERAGE * self.uncertainty + self.blind

    def check(self, tolerance: float = CLOCK_TOLERANCE) -> None:
        """InstrumentError when the clocks differ by more than ``tolerance`` for certain."""
        if abs(self.ratio - 1.0) > tolerance + self.tolerance:
            raise InstrumentError(
                f"the meter's clock and the board's differ by {100 * (self.ratio - 1):+.3f} % "
                f"(+-{100 * self.tolerance:.3f} %), {100 * tolerance:g} % are accepted; check the "
                "board's clock frequency and the meter's sample interval"
            )


def clock_ratio(
    waveform: Waveform,
    cycles: Sequence[int],
    clock_hz: float,
    overhead_cycles: float = 0.0,
    max_lost: int = 0,
) -> ClockRatio:
    """The ratio from all windows of one acquisition; ``cycles`` are the board's counts in order.

    ``overhead_cycles`` pass between the marker's edges beside those counted. InstrumentError
    when the windows are not there, or one does not fit to the others. Accepted losses leave
    the ratio within limits only.
    """
    found = find_windows(waveform, len(cycles), max_lost=max_lost)
    meter = np.array([window.samples for window in found])  # in samples
    counted = (np.array(cycles) + overhead_cycles) / clock_hz / waveform.sample_interval_s
    blind = 2 * np.array([window.blind for window in found])
    weight = float(counted @ counted)
    if not weight > 0:
        raise InstrumentError(f"{waveform.meter}: no window in which the board counted cycles")
    if waveform.lost_samples:
        return _with_losses(waveform, meter, counted, blind)
    ratio = float(meter @ counted) / weight
    misfit = np.abs(meter - ratio * counted)
    off = float(blind @ counted) / weight
    worst = int(np.argmax(misfit - blind - off * counted))
    if misfit[worst] > EDGE_SAMPLES + blind[worst] + off * counted[worst]:
        raise InstrumentError(
            f"{waveform.meter}: window {worst} is {misfit[worst]:.1f} samples off the clock ratio "
            f"{ratio:.6f} of all {len(found)} windows; samples are missing or its cycle count is "
            "wrong"
        )
    sd = math.sqrt(float(misfit @ misfit) / max(1, len(found) - 1))
    drift = math.sqrt(3 * max(0.0, sd**2 - EDGE_PAIR_SD**2))
    return ClockRatio(ratio, max(EDGE_PAIR_SD, sd) / math.sqrt(weight), len(found), off, drift)


def ratio_of_sweeps(
    windows: Iterable[WindowSample], edge_uncertainty_s: float
) -> ClockRatio | None:
    """What the windows of sweeps tell of the ratio in another acquisition; None without any.

    Their median, as far off as they spread and an oscillator drifts. ``edge_uncertainty_s``: what
    the meter does not know of an edge (Waveform), the same side in every window.
    """
    swept = [window for window in windows if window.clock_windows]
    if not swept:
        return None
    ratio = median(window.clock_ratio for window in swept)
    spread = max(abs(window.clock_ratio - ratio) for window in swept)
    lengths_s = np.array([window.duration_s for window in swept])
    blind = 2 * edge_uncertainty_s * float(lengths_s.sum() / (lengths_s @ lengths_s))
    uncertainty = median(window.clock_uncertainty for window in swept)
    off = spread + BETWEEN_ACQUISITIONS + blind
    return ClockRatio(ratio, uncertainty, len(swept), off)


def _with_losses(
    waveform: Waveform, meter: np.ndarray, counted: np.ndarray, blind: np.ndarray
) -> ClockRatio:
    """The ratio by what losses leave possible: the middle of its limits, uniform between them.

    Losses only shorten: no window is longer than ``ratio * counted`` by more than its edges, and
    together they lack no more than was lost. ``blind``: samples that the edges of each may add or
    take beside.
    """
    lost, timed = waveform.lost_samples, counted > 0
    meter, counted, blind = meter[timed], counted[timed], blind[timed]
    pair = EDGE_PAIR_MOST + blind
    edges = COVERAGE * EDGE_PAIR_SD * math.sqrt(len(meter)) + blind.sum()  # of all together
    low = float(np.max((meter - pair) / counted))
    high = min(
        float(np.min((meter + lost + pair) / counted)),
        float((meter.sum() + lost + edges) / counted.sum()),
    )
    if low > high:
        raise InstrumentError(
            f"{waveform.meter}: windows lack more than the {lost} samples that were lost; a cycle "
            "count is wrong, or the meter loses more than it tells"
        )
    return ClockRatio((low + high) / 2, (high - low) / 2 / math.sqrt(3), len(meter))
