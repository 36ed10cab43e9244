"""The meter's clock against the board's, from the windows that both have timed.

Meter and board each have a clock of their own; an uncalibrated RC oscillator is off by a per
cent. Board cycles become seconds by a nominal frequency, so what the meter sees of a window is

    meter's duration = ratio * (counted cycles + overhead) / nominal clock + edges

Each edge lies anywhere within a sample (uniform), so a duration has a standard uncertainty of
one sample over the square root of 6. The ratio is the least-squares line through the origin. A
meter that is blind to a stretch around each edge may err to the same side in every window, which
no number of windows averages out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.measure.windows import CLOCK_TOLERANCE, EDGE_SAMPLES, find_windows

EDGE_PAIR_MOST = 1.0  # samples by which both edges of a window may be off together
EDGE_PAIR_SD = 1 / math.sqrt(6)  # of the difference of two uniform edges, in samples
COVERAGE = 3.0  # standard uncertainties within which two clocks agree


@dataclass(frozen=True)
class ClockRatio:
    """Seconds of the meter for a nominal second of the board.

    ``uncertainty`` is the standard one of the ratio. It covers the edges' place within a sample
    only: whether the meter's or the board's clock is right, the ratio cannot tell. ``blind``: how
    far the ratio may be off beside, because the meter does not know its edges better.
    """

    ratio: float
    uncertainty: float
    windows: int
    blind: float = 0.0

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
    weight = float(counted @ counted)
    if not weight > 0:
        raise InstrumentError(f"{waveform.meter}: no window in which the board counted cycles")
    if waveform.lost_samples:
        return _with_losses(waveform, meter, counted, 2 * found[0].blind)
    ratio = float(meter @ counted) / weight
    misfit = np.abs(meter - ratio * counted)
    blind = found[0].blind
    off = 2 * blind * float(counted.sum()) / weight
    worst = int(np.argmax(misfit))
    if misfit[worst] > EDGE_SAMPLES + 2 * blind + off * counted[worst]:
        raise InstrumentError(
            f"{waveform.meter}: window {worst} is {misfit[worst]:.1f} samples off the clock ratio "
            f"{ratio:.6f} of all {len(found)} windows; samples are missing or its cycle count is "
            "wrong"
        )
    return ClockRatio(ratio, EDGE_PAIR_SD / math.sqrt(weight), len(found), off)


def _with_losses(
    waveform: Waveform, meter: np.ndarray, counted: np.ndarray, blind: float
) -> ClockRatio:
    """The ratio by what losses leave possible: the middle of its limits, uniform between them.

    Losses only shorten: no window is longer than ``ratio * counted`` by more than its edges, and
    together they lack no more than was lost. ``blind``: samples that edges may add or take beside.
    """
    lost, timed = waveform.lost_samples, counted > 0
    meter, counted = meter[timed], counted[timed]
    pair = EDGE_PAIR_MOST + blind
    edges = COVERAGE * EDGE_PAIR_SD * math.sqrt(len(meter)) + blind * len(meter)  # of all together
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
