"""Energy of marked windows: power integrated between the edges, base power included.

A sample is the average over its interval, so a sample that an edge splits holds energy of both
sides in unknown shares. What is known is the power beside it: the window's energy is that of
its samples and of one border sample on each side, less what the outside draws in the part of
the borders that lies outside. For a power that steps at the edges this is exact wherever in a
sample the edge falls; taking shares of the split samples would be wrong by up to a quarter of
the step. Where the meter does not know its edges so well (Window.blind), the border is as much
wider and the energy gets a limit of its own. The mean power before each window is reported beside:
it tells what the board draws without working, and is part of the window's energy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.clock import ClockRatio
from hil.measure.estimates import estimate_limit_w
from hil.measure.losses import Missing
from hil.measure.settling import late_power_w
from hil.measure.windows import (
    CLOCK_TOLERANCE,
    Window,
    check_duration,
    clipped_samples,
    find_windows,
    fit_duration,
)

# Most samples of half a gap, without the border, that tell a level: what the board draws at base
# pulses (a regulator's bursts, a dimmed lamp), so a mean of many is asked for.
BASE_SAMPLES = 64
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
    around the edges or sees the current late, and ``estimate_limit_uj`` because some of its samples
    are estimates.
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


def window_energies(
    waveform: Waveform, windows: Sequence[Window], gap_s: float = math.inf
) -> tuple[WindowEnergy, ...]:
    """Integrate every window; the board was quiet for ``gap_s`` before each and behind the last.

    InstrumentError when there are no quiet samples beside one, or they are clipped or do not
    settle.
    """
    power = waveform.power_w
    falls = [0, *(window.end + window.border for window in windows)]
    rises = [*(window.first - window.border for window in windows), len(waveform)]
    gap = int(min(gap_s / waveform.sample_interval_s, len(waveform)))
    return tuple(
        _integrate(waveform, power, window, number, slice(falls[number], rises[number + 1]), gap)
        for number, window in enumerate(windows)
    )


def _integrate(
    waveform: Waveform, power: np.ndarray, window: Window, number: int, reach: slice, gap: int
) -> WindowEnergy:
    """One window; ``reach`` are the samples from the last window's border to the next one's."""
    first, end = window.first - window.border, window.end + window.border
    most = max(min(gap - 2 * window.border, 2 * BASE_SAMPLES), OUTSIDE_SAMPLES)
    ahead = power[max(reach.start, first - most) : max(reach.start, first)]
    behind = power[end : min(reach.stop, end + most)]
    if not len(ahead) or not len(behind):
        raise InstrumentError(
            f"{waveform.meter}: no quiet sample {'after' if len(ahead) else 'before'} window "
            f"{number} (samples {window.first} to {window.end}); leave a gap of at least "
            f"{2 * window.border + 1} samples before, between and after windows"
        )
    _refuse_clipped(waveform, number, first - len(ahead), end + len(behind))
    quiet = ahead[-max(OUTSIDE_SAMPLES, -(-len(ahead) // 2)) :]  # settled after the last window
    before, after = ahead[-OUTSIDE_SAMPLES:], behind[:OUTSIDE_SAMPLES]
    outside = np.median(before) * (window.start - first) + np.median(after) * (end - window.stop)
    late = late_power_w(behind, f"{waveform.meter}: window {number}")
    # What is still late at its border has been taken for the base's.
    late += float(np.median(after) - behind[len(behind) // 2 :].mean()) * (end - window.stop)
    sample_uj = waveform.sample_interval_s * 1e6
    return WindowEnergy(
        energy_uj=float((power[first:end].sum() - outside) * sample_uj),
        duration_s=window.samples * waveform.sample_interval_s,
        edge_uncertainty_uj=_edge_uncertainty_w(window, before, after) * sample_uj,
        base_power_w=float(np.average(quiet, weights=np.hanning(len(quiet) + 2)[1:-1])),
        edge_limit_uj=(_edge_limit_w(waveform, power, window, before, after) + abs(late))
        * sample_uj,
        estimate_limit_uj=estimate_limit_w(power[first:end], window.estimated) * sample_uj,
    )


def _refuse_clipped(waveform: Waveform, number: int, first: int, end: int) -> None:
    """A gap's clipped samples would make the base too small."""
    clipped = clipped_samples(waveform)
    inside = clipped[(clipped >= first) & (clipped < end)]
    if len(inside):
        raise InstrumentError(
            f"{waveform.meter}: {len(inside)} samples in the gaps beside window {number} are "
            f"clipped, the first is sample {int(inside[0])}; choose a range above "
            f"{waveform.range_a:g} A"
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
    expected: ClockRatio | None = None,
    gap_s: float = math.inf,
) -> tuple[WindowSample, ...]:
    """Samples for a trial from one acquisition, in the order in which the board ran them.

    InstrumentError when the waveform does not show exactly these windows, whole and unclipped,
    each as long as the board has counted and ``marker_cycles`` more. With a ``ratio`` the board's
    time is turned into the meter's first, they must agree within its uncertainty, and the count
    places the edges. Without one they are where the marker shows them, and the count is a check
    only: by what is ``expected`` of the ratio after other acquisitions, or else by the nominal
    clock. With ``max_lost`` above 0 what a window lacks is added at its mean power
    (hil.measure.losses). ``gap_s``: see window_energies.
    """
    clock = ratio or expected or ClockRatio(1.0, 0.0, 0, blind=CLOCK_TOLERANCE)
    windows, missing = [], []
    for number, (window, plan) in enumerate(
        zip(find_windows(waveform, len(planned), max_lost=max_lost), planned, strict=True)
    ):
        duration_s = clock.ratio * (plan.cycles + marker_cycles) / clock_hz
        counted = duration_s / waveform.sample_interval_s
        lack = Missing.of(window, counted, waveform.lost_samples, ratio)
        misfit = check_duration(window, number, duration_s, waveform, clock.tolerance, lack.samples)
        # Where any were lost the count is needed to find them and places no edge.
        placed = ratio is not None and not waveform.lost_samples
        windows.append(fit_duration(window, misfit, clock.drift) if placed else window)
        missing.append(lack)
    energies = [
        _filled(energy, window, waveform, lack)
        for energy, window, lack in zip(
            window_energies(waveform, windows, gap_s), windows, missing, strict=True
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
            clock_ratio=1.0 if ratio is None else ratio.ratio,
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
