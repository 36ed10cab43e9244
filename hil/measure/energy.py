"""Energy of marked windows: power integrated between the edges, base power included.

A sample is the average over its interval, so a sample that an edge splits holds energy of both
sides in unknown shares. What is known is the power beside it: the window's energy is that of
its samples and of one border sample on each side, less what the outside draws in the part of
the borders that lies outside. For a power that steps at the edges this is exact wherever in a
sample the edge falls; taking shares of the split samples would be wrong by up to a quarter of
the step. Where the meter does not know its edges so well (Window.blind), the border is as much
wider and the energy gets a limit of its own. The power before each window is reported beside: it
tells what the board draws without working, and is part of the window's energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.clock import ClockRatio
from hil.measure.estimates import estimate_limit_w
from hil.measure.losses import Missing
from hil.measure.windows import CLOCK_TOLERANCE, Window, find_windows, fit_duration

# Samples before a window, without the border sample, that tell the base power.
BASE_SAMPLES = 16
# Samples beside a border sample that tell the power outside of the window.
OUTSIDE_SAMPLES = 3


@dataclass(frozen=True)
class PlannedWindow:
    """What a window was: ``iterations`` passes of ``layer`` in ``cycles`` by the board's count."""

    layer: int
    iterations: int
    cycles: int


@dataclass(frozen=True)
class WindowEnergy:
    """Energy between two edges, base power included.

    ``edge_uncertainty_uj`` is how much it changes when the edges move within their slack;
    ``edge_limit_uj`` what it may be off, the same way in every repeat, because the meter is blind
    around the edges, and ``estimate_limit_uj`` because some of its samples are estimates.
    """

    energy_uj: float
    duration_s: float
    edge_uncertainty_uj: float
    base_power_w: float
    edge_limit_uj: float = 0.0
    estimate_limit_uj: float = 0.0

    @property
    def power_w(self) -> float:
        """Average power of the window."""
        return self.energy_uj * 1e-6 / self.duration_s

    @property
    def base_energy_uj(self) -> float:
        """What the board would have drawn in the same time without working."""
        return self.base_power_w * self.duration_s * 1e6

    @property
    def above_base_uj(self) -> float:
        """What the work added to it."""
        return self.energy_uj - self.base_energy_uj


def per_pass(window: WindowSample) -> WindowEnergy:
    """The share of one of a window's passes."""
    passes = window.iterations
    return WindowEnergy(
        window.energy_uj / passes,
        window.duration_s / passes,
        window.edge_uncertainty_uj / passes,
        window.base_power_w,
        window.edge_limit_uj / passes,
        window.estimate_limit_uj / passes,
    )


def shortest_gap_s(sample_interval_s: float) -> float:
    """The gap to leave before each window: two border samples and enough to see the base."""
    return (2 + 2 * OUTSIDE_SAMPLES) * sample_interval_s


def window_energies(waveform: Waveform, windows: Sequence[Window]) -> tuple[WindowEnergy, ...]:
    """Integrate every window. InstrumentError when there are no quiet samples beside one."""
    power = waveform.power_w
    falls = [0, *(window.end + window.border for window in windows)]
    rises = [*(window.first - window.border for window in windows), len(waveform)]
    return tuple(
        _integrate(waveform, power, window, number, slice(falls[number], rises[number + 1]))
        for number, window in enumerate(windows)
    )


def _integrate(
    waveform: Waveform, power: np.ndarray, window: Window, number: int, reach: slice
) -> WindowEnergy:
    """One window; ``reach`` are the samples from the last window's border to the next one's."""
    first, end = window.first - window.border, window.end + window.border
    quiet = power[max(reach.start, first - BASE_SAMPLES) : max(reach.start, first)]
    before = quiet[-OUTSIDE_SAMPLES:]
    after = power[end : min(reach.stop, end + OUTSIDE_SAMPLES)]
    if not len(before) or not len(after):
        raise InstrumentError(
            f"{waveform.meter}: no quiet sample {'after' if len(before) else 'before'} window "
            f"{number} (samples {window.first} to {window.end}); leave a gap of at least "
            f"{2 * window.border + 1} samples before, between and after windows"
        )
    outside = np.median(before) * (window.start - first) + np.median(after) * (end - window.stop)
    sample_uj = waveform.sample_interval_s * 1e6
    return WindowEnergy(
        energy_uj=float((power[first:end].sum() - outside) * sample_uj),
        duration_s=window.samples * waveform.sample_interval_s,
        edge_uncertainty_uj=_edge_uncertainty_w(window, before, after) * sample_uj,
        base_power_w=float(np.median(quiet)),
        edge_limit_uj=_edge_limit_w(waveform, power, window, before, after) * sample_uj,
        estimate_limit_uj=estimate_limit_w(power[first:end], window.estimated) * sample_uj,
    )


def _edge_uncertainty_w(window: Window, before: np.ndarray, after: np.ndarray) -> float:
    """Change of the summed power when the edges move within their slack.

    With a known duration both edges move together: what one side loses at the power before,
    the other gains at the power after. Else each moves by itself.
    """
    if not window.fitted:
        return float(window.slack * (abs(np.median(before)) + abs(np.median(after))))
    outside = np.concatenate((before, after))
    return float(window.slack * (outside.max() - outside.min()))


def _edge_limit_w(
    waveform: Waveform, power: np.ndarray, window: Window, before: np.ndarray, after: np.ndarray
) -> float:
    """Most by which the summed power is off through what the meter does not know of the edges.

    Each edge lies anywhere in its blind stretch. What was not measured there is taken for the
    power before as far as the edge and for the power after from there on: half of it may have been
    the other, and both lie between the extremes of window and borders.
    """
    place = window.blind * float(abs(np.median(before)) + abs(np.median(after)))
    seen = power[window.first - window.border : window.end + window.border]
    wrong = waveform.edge_gap_s / waveform.sample_interval_s  # half of a gap at each of two edges
    return place + wrong * float(seen.max() - seen.min())


def measure_windows(
    waveform: Waveform,
    planned: Sequence[PlannedWindow],
    clock_hz: float,
    repeat: int,
    warmup: bool = False,
    ratio: ClockRatio | None = None,
    max_lost: int = 0,
    marker_cycles: float = 0.0,
) -> tuple[WindowSample, ...]:
    """Samples for a trial from one acquisition, in the order in which the board ran them.

    InstrumentError when the waveform does not show exactly these windows, whole and unclipped,
    each as long as the board has counted and ``marker_cycles`` more. With a ``ratio`` the board's
    time is turned into the meter's first and they must agree within its uncertainty. With
    ``max_lost`` above 0 what a window lacks is added at its mean power (hil.measure.losses).
    """
    scale = 1.0 if ratio is None else ratio.ratio
    tolerance = CLOCK_TOLERANCE if ratio is None else ratio.tolerance
    windows, missing = [], []
    for number, (window, plan) in enumerate(
        zip(find_windows(waveform, len(planned), max_lost=max_lost), planned, strict=True)
    ):
        duration_s = scale * (plan.cycles + marker_cycles) / clock_hz
        counted = duration_s / waveform.sample_interval_s
        lack = Missing.of(window, counted, waveform.lost_samples, ratio)
        windows.append(fit_duration(window, number, duration_s, waveform, tolerance, lack.samples))
        missing.append(lack)
    energies = [
        _filled(energy, window, waveform, lack)
        for energy, window, lack in zip(
            window_energies(waveform, windows), windows, missing, strict=True
        )
    ]
    return tuple(
        WindowSample(
            warmup=warmup,
            repeat=repeat,
            layer=plan.layer,
            iterations=plan.iterations,
            cycles=plan.cycles,
            duration_s=energy.duration_s,
            meter_samples=window.end - window.first,
            energy_uj=energy.energy_uj,
            edge_uncertainty_uj=energy.edge_uncertainty_uj,
            base_power_w=energy.base_power_w,
            supply_v=waveform.board_v,
            clock_ratio=scale,
            clock_uncertainty=0.0 if ratio is None else ratio.uncertainty,
            clock_windows=0 if ratio is None else ratio.windows,
            lost_samples=waveform.lost_samples,
            lost_limit_uj=limit_uj,
            edge_limit_uj=energy.edge_limit_uj,
            estimated_samples=window.estimated,
            estimate_limit_uj=energy.estimate_limit_uj,
        )
        for plan, window, (energy, limit_uj) in zip(planned, windows, energies, strict=True)
    )


def _filled(
    energy: WindowEnergy, window: Window, waveform: Waveform, missing: Missing
) -> tuple[WindowEnergy, float]:
    """``energy`` with what is missing, and the limit of what that may be wrong, in microjoules."""
    if missing.most == 0:
        return energy, 0.0
    sample_s = waveform.sample_interval_s
    power = waveform.power_w[window.first : window.end]
    limit_w = (missing.most - missing.least) / 2 * energy.power_w + missing.most * float(
        power.max() - power.min()
    )
    whole = replace(
        energy,
        energy_uj=energy.energy_uj + missing.samples * energy.power_w * sample_s * 1e6,
        duration_s=energy.duration_s + missing.samples * sample_s,
    )
    return whole, limit_w * sample_s * 1e6
