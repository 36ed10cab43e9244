"""Readings of a meter that has no marker in its samples, but changes its buffer at every edge.

The marker is which buffer a reading is in. Between the last reading in one buffer and the first in
the other lies an edge, which the meter noticed at most ``latency_s`` after it came: so it lies
somewhere from ``latency_s`` before the last reading's begin to the first one's begin. It is put in
the middle. What the meter did not read there is filled in, each half with the reading beside it.

A reading that is under way at the edge may be the first in the new buffer, and the meter may read
nothing only after it. Then the edge may lie as late as the begin of the reading behind that hole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.errors import DataError

# A change of buffers that takes longer is none, or leaves no window whole: samples are lost.
LONGEST_SWITCH_S = 1e-3
# How far the readings' own interval may be from the told one: that of a rate that the instrument's
# clock cannot be divided to. Beyond it something else is wrong.
TIME_TOLERANCE = 2e-3
# Of an interval. One input is read once at a time: readings of both buffers that begin closer
# together have times that do not belong together.
LEAST_STEP = 0.5


@dataclass(frozen=True)
class Readings:
    """Of one buffer. ``times_s``: when each began; both buffers' are of one clock."""

    times_s: np.ndarray
    current_a: np.ndarray


@dataclass(frozen=True)
class Merged:
    """Both buffers as samples of a waveform (hil.core.waveform has the meaning of each)."""

    sample_interval_s: float
    current_a: np.ndarray
    marker: np.ndarray
    lost_samples: int
    edge_uncertainty_s: float
    edge_gap_s: float


def merge(low: Readings, high: Readings, interval_s: float, latency_s: float) -> Merged:
    """Readings while the marker was low and while it was high, on one row of samples.

    ``interval_s`` is what was told; the samples' is that of the readings' own times. DataError
    without a reading, when the times do not fit ``interval_s`` or each other.
    """
    times_s = np.concatenate((low.times_s, high.times_s))
    if not len(times_s):
        raise DataError("no reading in either buffer")
    order = np.argsort(times_s, kind="stable")
    times_s = times_s[order]
    read_a = np.concatenate((low.current_a, high.current_a))[order]
    level = np.repeat([False, True], [len(low.times_s), len(high.times_s)])[order]

    switches = level[1:] != level[:-1]
    _refuse_overlap(times_s, switches, interval_s)
    interval_s = _own_interval_s(times_s, switches, interval_s)
    exact_steps = np.diff(times_s) / interval_s
    steps = np.maximum(np.rint(exact_steps).astype(np.int64), 1)
    holes = switches | _holes_behind(steps, switches)
    filled = holes & ((steps - 1) * interval_s <= LONGEST_SWITCH_S)
    lost = int((steps - 1)[~filled].sum())
    place = np.concatenate(([0], np.cumsum(np.where(filled, steps, 1))))

    last = np.flatnonzero(switches)  # readings before an edge
    first = last + 1 + (holes & ~switches)[np.minimum(last + 1, len(holes) - 1)]
    before, after = place[last], place[first]
    late = latency_s / interval_s
    edges = np.rint((before + after - late) / 2)
    # Levels shorter than what the edges are known to may vanish; none is made up.
    edges = np.maximum.accumulate(np.maximum(edges, 0.0)) if len(edges) else edges
    passed = np.searchsorted(edges, np.arange(place[-1] + 1), side="right")
    rounded = np.concatenate(([0.0], np.cumsum(np.where(filled, np.abs(exact_steps - steps), 0.0))))
    half_widths = (after - before + late) / 2 + rounded[first] - rounded[last]
    return Merged(
        sample_interval_s=interval_s,
        current_a=read_a[_nearest(place)],
        marker=(passed % 2 == 1) != level[0],
        lost_samples=lost,
        edge_uncertainty_s=float(half_widths.max(initial=0.0)) * interval_s,
        edge_gap_s=float((after - before - (first - last)).max(initial=0)) * interval_s,
    )


def _holes_behind(steps: np.ndarray, switches: np.ndarray) -> np.ndarray:
    """Where readings are missing behind the first one in a new buffer."""
    behind = np.zeros_like(switches)
    behind[1:] = switches[:-1] & ~switches[1:] & (steps[1:] > 1)
    return behind


def _nearest(place: np.ndarray) -> np.ndarray:
    """For every sample, the reading whose ``place`` is nearest."""
    samples = np.arange(place[-1] + 1)
    middles = (place[:-1] + place[1:]) / 2
    return np.searchsorted(middles, samples, side="left")


def _refuse_overlap(times_s: np.ndarray, switches: np.ndarray, interval_s: float) -> None:
    """DataError when a reading begins while one of the other buffer is under way."""
    close = np.flatnonzero(switches & (np.diff(times_s) < LEAST_STEP * interval_s))
    if len(close):
        apart_s = float(times_s[close[0] + 1] - times_s[close[0]])
        raise DataError(
            f"the times of the two buffers do not belong together: readings of both begin "
            f"{apart_s * 1e6:.4g} us apart, one takes {interval_s * 1e6:.6g} us"
        )


def _own_interval_s(times_s: np.ndarray, switches: np.ndarray, told_s: float) -> float:
    """The interval by the readings' own times; DataError when it is not about ``told_s``."""
    steps_s = np.diff(times_s)
    steps = np.maximum(np.rint(steps_s / told_s), 1)
    covered_s, expected_s = float(steps_s.sum()), float(steps.sum()) * told_s
    rounding_s = (1 + int(switches.sum())) * told_s / 2
    if abs(covered_s - expected_s) > TIME_TOLERANCE * covered_s + rounding_s:
        raise DataError(
            f"the readings' own times cover {covered_s:.6g} s, their number at {told_s:.6g} s "
            f"each {expected_s:.6g} s"
        )
    # Not beside a change of buffers: something may be missing there.
    beside = switches.copy()
    beside[1:] |= switches[:-1]
    whole = ~beside & (steps == 1)
    return float(steps_s[whole].mean()) if whole.any() else told_s
