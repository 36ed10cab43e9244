"""Samples that the meter has lost, where a rig accepts a few of them.

A lost sample is in no array: the windows around it are shorter by the meter than by the board's
count. That tells how many are missing from which window, to the edges and what the losses leave
open of the clock ratio; without a ratio it tells nothing. What is missing is given the window's
mean power. How wrong that can be is bounded by the window's own extremes: each missing sample lies
between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hil.core.waveform import Waveform
from hil.measure.clock import EDGE_PAIR_MOST, ClockRatio
from hil.measure.windows import Window


@dataclass(frozen=True)
class Missing:
    """How many samples a window lacks: the estimate, and its limits."""

    samples: float
    least: float
    most: float

    @classmethod
    def of(cls, window: Window, counted: float, lost: int, clock: ClockRatio | None) -> Missing:
        """``counted``: the window by the board, in samples; ``lost``: in the acquisition."""
        if clock is None:  # the count tells nothing so fine
            return cls(lost / 2, 0.0, float(lost))
        short = counted - window.samples
        off = (math.sqrt(3) * clock.uncertainty + clock.blind) / clock.ratio
        slack = EDGE_PAIR_MOST + 2 * window.blind + off * counted
        least, most = np.clip((short - slack, short + slack), 0, lost).tolist()
        return cls((least + most) / 2, least, most)


def accepted_losses(waveform: Waveform, per_million: float) -> int:
    """Lost samples up to which ``waveform`` may be used."""
    return int(per_million * 1e-6 * (len(waveform) + waveform.lost_samples))
