"""Readings of a meter that has no marker in its samples, but changes its buffer at every edge.

The marker is which buffer a reading is in. Between the last reading in one buffer and the first in
the other lies an edge, which the meter noticed at most ``latency_s`` after it came: so it lies
somewhere from ``latency_s`` before the last reading's begin to the first one's begin. It is put in
the middle. What the meter did not read there is filled in, each half with the reading beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.errors import DataError

# A change of buffers that takes longer is none, or leaves no window whole: samples are lost.
LONGEST_SWITCH_S = 1e-3
# The readings' own times and the nominal rate are of one clock; they differ by rounding only.
TIME_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Readings:
    """Of one buffer. ``times_s``: when each began; both buffers' are of one clock."""

    times_s: np.ndarray
    current_a: np.ndarray


@dataclass(frozen=True)
class Merged:
    """Both buffers as samples of a waveform (hil.core.waveform has the meaning of each)."""

    current_a: np.ndarray
    marker: np.ndarray
    lost_samples: int
    edge_uncertainty_s: float
    edge_gap_s: float


def merge(low: Readings, high: Readings, interval_s: float, latency_s: float) -> Merged:
    """Readings while the marker was low and while it was high, on one row of samples.

    DataError without a reading, or when their times do not fit ``interval_s``.
    """
    times_s = np.concatenate((low.times_s, high.times_s))
    if not len(times_s):
        raise DataError("no reading in either buffer")
    order = np.argsort(times_s, kind="stable")
    times_s = times_s[order]
    read_a = np.concatenate((low.current_a, high.current_a))[order]
    level = np.repeat([False, True], [len(low.times_s), len(high.times_s)])[order]

    steps = np.maximum(np.rint(np.diff(times_s) / interval_s).astype(np.int64), 1)
    switches = level[1:] != level[:-1]
    _refuse_other_rate(times_s, steps, switches, interval_s)
    filled = switches & ((steps - 1) * interval_s <= LONGEST_SWITCH_S)
    lost = int((steps - 1)[~filled].sum())
    place = np.concatenate(([0], np.cumsum(np.where(filled, steps, 1))))

    before, after = place[:-1][switches], place[1:][switches]
    late = latency_s / interval_s
    rounded = np.abs(np.diff(times_s)[switches] / interval_s - steps[switches])
    edges = np.rint((before + after - late) / 2)
    # Levels shorter than what the edges are known to may vanish; none is made up.
    edges = np.maximum.accumulate(np.maximum(edges, 0.0)) if len(edges) else edges
    passed = np.searchsorted(edges, np.arange(place[-1] + 1), side="right")
    half_widths = (after - before + late) / 2 + np.where(filled[switches], rounded, 0.0)
    return Merged(
        current_a=read_a[_nearest(place)],
        marker=(passed % 2 == 1) != level[0],
        lost_samples=lost,
        edge_uncertainty_s=float(half_widths.max(initial=0.0)) * interval_s,
        edge_gap_s=float((after - before - 1).max(initial=0)) * interval_s,
    )


def _nearest(place: np.ndarray) -> np.ndarray:
    """For every sample, the reading whose ``place`` is nearest."""
    samples = np.arange(place[-1] + 1)
    middles = (place[:-1] + place[1:]) / 2
    return np.searchsorted(middles, samples, side="left")


def _refuse_other_rate(
    times_s: np.ndarray, steps: np.ndarray, switches: np.ndarray, interval_s: float
) -> None:
    """DataError when the readings are not ``interval_s`` apart."""
    covered_s, told_s = float(times_s[-1] - times_s[0]), float(steps.sum()) * interval_s
    rounding_s = (1 + int(switches.sum())) * interval_s / 2
    if abs(covered_s - told_s) > TIME_TOLERANCE * covered_s + rounding_s:
        raise DataError(
            f"the readings' own times cover {covered_s:.6g} s, their number at {interval_s:.6g} s "
            f"each {told_s:.6g} s"
        )
