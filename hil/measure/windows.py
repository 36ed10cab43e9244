"""Marked windows in a waveform: where the marker pin was high, sample by sample.

The meter samples the marker beside the current, so no clock has to be trusted and no trigger
delay is known wrongly. A level counts once it has lasted ``min_run`` samples; what is shorter
is a glitch and belongs to the level around it. Between two levels that differ it is a bouncing
edge, which lies anywhere in there. The waveform must begin and end with the marker low and show
exactly the windows that were asked for, else nothing of it is used: a window that is missing shifts
all others to the wrong layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.measure.estimates import count_estimated

# Samples a level must last. One sample is what crosstalk from a neighbouring pin looks like.
MIN_RUN = 2
# A sample this close to the range counts as clipped.
CLIPPED = 0.999
# How far board and meter may disagree about a window: the tolerance of an uncalibrated RC
# oscillator (STM32F7 HSI: 1 %) with room, plus a sample an edge.
CLOCK_TOLERANCE = 0.02
EDGE_SAMPLES = 2.0
# Most of a window's length that uncertain edges may make up, both together. Beyond it the energy
# would be a guess with a wide interval.
MOST_BLIND = 0.1


@dataclass(frozen=True)
class Window:
    """One stretch with the marker high, in samples of the waveform.

    Samples ``first..end-1`` are high or bounce. ``start`` and ``stop`` are the edges as fractions
    of samples (sample i covers i..i+1), each known to ``slack`` samples either way. ``fitted``:
    their distance is the board's own count. ``blind``: so many samples more, either way, that the
    meter does not know of each edge (Waveform.edge_uncertainty_s, bouncing, a clock that drifts).
    ``estimated``: how many of its samples and border samples are the meter's estimates.
    """

    first: int
    end: int
    start: float
    stop: float
    slack: float = 0.5
    fitted: bool = False
    blind: float = 0.0
    estimated: int = 0

    @property
    def samples(self) -> float:
        """Length in samples, between the edges."""
        return self.stop - self.start

    @property
    def border(self) -> int:
        """Samples on each side that an edge may lie in."""
        return 1 + math.ceil(self.blind)


def find_windows(
    waveform: Waveform, expected: int, min_run: int = MIN_RUN, max_lost: int = 0
) -> tuple[Window, ...]:
    """All windows in order. InstrumentError if the count is not the expected one.

    More than ``max_lost`` lost samples void the waveform. Up to there each window may lack all
    of them, which belongs into its uncertainty (hil.measure.budget).
    """
    if waveform.lost_samples > max_lost:
        raise InstrumentError(
            f"{waveform.meter}: {waveform.lost_samples} samples were lost among {len(waveform)}, "
            f"{max_lost} are accepted; energies over a gap would be guesses: repeat the "
            "acquisition, lower the rate, or accept some by [meter] lost_samples_per_million"
        )
    starts, ends, levels = _level_runs(waveform.marker, min_run)
    if len(starts) == 0:
        raise InstrumentError(
            f"{waveform.meter}: no marker level lasts {min_run} of the {len(waveform)} samples; "
            "check the marker wire, or sample faster"
        )
    for level, end, cause in (
        (levels[0], "begins", "arm the meter before the board starts"),
        (levels[-1], "ends", "acquire for longer"),
    ):
        if level:
            raise InstrumentError(
                f"{waveform.meter}: the waveform {end} with the marker high, a window is cut off; "
                f"{cause}"
            )
    found = len(starts) // 2  # levels alternate, the first and last are low
    if found != expected:
        raise InstrumentError(
            f"{waveform.meter}: {found} marked windows in {waveform.duration_s:.4g} s, "
            f"{expected} were asked for; check marker pin, acquisition length and that a window "
            f"and the gap before it last at least {min_run} samples"
        )
    blind = waveform.edge_uncertainty_s / waveform.sample_interval_s
    # Each edge lies between the end of one level and the start of the next.
    edges = np.column_stack((ends[:-1], starts[1:])).reshape(-1, 4).tolist()
    windows = tuple(
        _between(low_end, high, high_end, low, blind) for low_end, high, high_end, low in edges
    )
    _refuse_blind(waveform, windows)
    _refuse_overload(waveform, windows)
    return tuple(_with_estimated(waveform, *numbered) for numbered in enumerate(windows))


def _with_estimated(waveform: Waveform, number: int, window: Window) -> Window:
    first, end = window.first - window.border, window.end + window.border
    return replace(window, estimated=count_estimated(waveform, first, end, f"window {number}"))


def _between(low_end: int, high: int, high_end: int, low: int, blind: float) -> Window:
    """Low until ``low_end``, high from ``high`` to ``high_end``, low again from ``low`` on."""
    bounce = max(high - low_end, low - high_end) / 2
    start, stop = (low_end + high) / 2, (high_end + low) / 2
    return Window(low_end, low, start, stop, blind=blind + bounce)


def _level_runs(marker: np.ndarray, min_run: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First samples, ends and levels of the marker's stable stretches, levels alternating."""
    borders = np.flatnonzero(marker[1:] != marker[:-1]) + 1
    starts = np.concatenate(([0], borders))
    ends = np.concatenate((borders, [len(marker)]))
    stable = ends - starts >= min_run
    starts, ends = starts[stable], ends[stable]
    levels = marker[starts]
    if len(levels) == 0:
        return starts, ends, levels
    changes = np.flatnonzero(levels[1:] != levels[:-1])
    first, last = np.append(0, changes + 1), np.append(changes, len(levels) - 1)
    return starts[first], ends[last], levels[first]


def _refuse_blind(waveform: Waveform, windows: tuple[Window, ...]) -> None:
    for number, window in enumerate(windows):
        if 2 * window.blind > MOST_BLIND * window.samples:
            interval_s = waveform.sample_interval_s
            raise InstrumentError(
                f"{waveform.meter}: it knows each edge of the marker to "
                f"+-{window.blind * interval_s * 1e6:.3g} us, window {number} lasts "
                f"{window.samples * interval_s * 1e6:.6g} us; it must last "
                f"{2 * window.blind / MOST_BLIND * interval_s * 1e6:.4g} us or more: repeat the "
                "work more often in it, or use a meter that samples the marker"
            )


def clipped_samples(waveform: Waveform) -> np.ndarray:
    """Numbers of the samples at the end of the range, where the meter reports an overload."""
    if not waveform.overload:
        return np.zeros(0, np.intp)
    return np.flatnonzero(np.abs(waveform.current_a) >= CLIPPED * waveform.range_a)


def _refuse_overload(waveform: Waveform, windows: tuple[Window, ...]) -> None:
    if not waveform.overload:
        return
    clipped = clipped_samples(waveform)
    hint = f"choose a range above {waveform.range_a:g} A"
    if len(clipped) == 0:
        raise InstrumentError(
            f"{waveform.meter}: overload was reported and cannot be found in the samples; {hint}"
        )
    for number, window in enumerate(windows):
        # The samples beside the edges count too: a part of them can belong to the window.
        border = window.border
        inside = clipped[(clipped >= window.first - border) & (clipped < window.end + border)]
        if len(inside):
            raise InstrumentError(
                f"{waveform.meter}: {len(inside)} samples of window {number} are clipped, the "
                f"first is sample {int(inside[0])}; {hint}"
            )


def check_duration(
    window: Window,
    number: int,
    duration_s: float,
    waveform: Waveform,
    tolerance: float = CLOCK_TOLERANCE,
    missing: float = 0.0,
) -> float:
    """Samples by which ``window`` is longer than the ``duration_s`` that the board has counted.

    InstrumentError when board and meter disagree beyond ``tolerance`` of their clocks: then one of
    them is wrong or the windows are others. ``missing`` lost samples belong to the window.
    """
    counted = duration_s / waveform.sample_interval_s
    misfit = window.samples + missing - counted
    if abs(misfit) > EDGE_SAMPLES + 2 * window.blind + tolerance * counted:
        raise InstrumentError(
            f"{waveform.meter}: window {number} lasts "
            f"{window.samples * waveform.sample_interval_s:.6g} s by the marker and "
            f"{duration_s:.6g} s by the board's counter; check clock settings and sample interval"
        )
    return misfit


def fit_duration(window: Window, misfit: float, drift: float = 0.0) -> Window:
    """Place both edges by the board's count, which is ``misfit`` samples shorter.

    The meter knows each edge to half a sample and what it is blind to, the board knows their
    distance far better, to ``drift`` samples. The misfit is shared by both edges, each within
    those. What is left of it, or the drift, makes both edges as much more blind.
    """
    reach = 0.5 + window.blind
    shift = min(max(misfit / 2, -reach), reach)
    return replace(
        window,
        start=window.start + shift,
        stop=window.stop - shift,
        slack=max(0.0, 0.5 - abs(shift)),
        fitted=True,
        blind=window.blind + max(abs(misfit / 2 - shift), drift / 2),
    )
