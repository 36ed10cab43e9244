"""What of a window's power the meter sees late: behind its fall, before the gap has settled.

A capacitor behind the meter, a filter in it or a delay of its current against the marker lets the
current follow the board's late. What a window then lacks at its rise stands behind its fall, above
the level to which the gap settles: as much of it as its end is late. (Exact for anything linear
that loses no charge, where the gap before has settled.)
"""

from __future__ import annotations

import math

import numpy as np

from hil.core.errors import InstrumentError

# Samples of a gap that are enough to judge whether it settles.
MIN_SAMPLES = 16
# By so many standard deviations of the noise the last two quarters must differ.
CERTAIN = 5.0
# What the first quarter of a gap was off its second may be left of an exponential in the last two:
# its time constant is a twelfth of the gap then, and a level from the gap's second half is wrong by
# less than 0.001 of the step.
SETTLED = 0.003


def late_power_w(gap: np.ndarray, place: str) -> float:
    """Sum of the first half's samples above the level of the second half.

    ``gap``: power behind a window up to the next one, in watts; fewer than 2 samples tell nothing.
    InstrumentError, naming ``place``, when it has not settled by then.
    """
    half = len(gap) // 2
    if half == 0:
        return 0.0
    if len(gap) >= MIN_SAMPLES and _on_its_way(gap):
        raise InstrumentError(
            f"{place}: the current has not settled within {len(gap)} samples behind it; leave a "
            "longer gap, or take capacitance out of the supply between meter and board"
        )
    return float(gap[:half].sum() - half * gap[half:].mean())


def _on_its_way(gap: np.ndarray) -> bool:
    """Whether the gap's quarters approach a level as an exponential does, and are not there yet.

    A current that pulses has no three steps between quarters to one side, each smaller.
    """
    size = len(gap) // 4
    quarters = gap[: 4 * size].reshape(4, size)
    one, two, three = -np.diff(quarters.mean(axis=1)) * math.copysign(1.0, gap[0] - gap[-1])
    noise = float(quarters[3].std(ddof=1)) * math.sqrt(2 / size)
    return bool(one > two > three > max(CERTAIN * noise, SETTLED * one))
