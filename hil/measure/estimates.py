"""Samples that the meter did not take as they are (Waveform.estimated).

What one of them stands for lies between the least and the largest power around it, so each may be
off by all of that distance, and all of them to the same side.
"""

from __future__ import annotations

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform

# Part of a window that may be estimates. Beyond it the energy would be a guess.
MOST_ESTIMATED = 0.1


def count_estimated(waveform: Waveform, first: int, end: int, what: str) -> int:
    """Estimates among samples ``first..end-1``; InstrumentError when they are too many."""
    found = int(np.diff(np.searchsorted(waveform.estimated, (first, end)))[0])
    if found > MOST_ESTIMATED * (end - first):
        raise InstrumentError(
            f"{waveform.meter}: {found} of the {end - first} samples of {what} are estimates of "
            f"the meter, {MOST_ESTIMATED:.0%} may be; its range changes too often there: use a "
            "meter that keeps its range"
        )
    return found


def estimate_limit_w(power_w: np.ndarray, estimated: int) -> float:
    """Most by which the summed power is off when so many of these samples are estimates."""
    return estimated * float(np.ptp(power_w)) if estimated else 0.0
