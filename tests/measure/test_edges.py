"""Edges that bounce, clocks that drift, losses that nobody tells: what places a window, by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.clock import ClockRatio, clock_ratio, ratio_of_sweeps
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.windows import find_windows, fit_duration

DT_S, CLOCK_HZ, SUPPLY_V = 1e-5, 1e8, 2.0
HIGH_A, LOW_A = 0.03, 0.01


def wave(marker: np.ndarray, current_a: np.ndarray | None = None) -> Waveform:
    if current_a is None:
        current_a = np.where(marker, HIGH_A, LOW_A)
    return Waveform(
        0.0, DT_S, current_a.astype(np.float32), marker, SUPPLY_V, 0.1, False, 0, "meter 7",
        Origin.MODELLED,
    )  # fmt: skip


def marker_of(lengths: list[int], gap: int = 50) -> np.ndarray:
    parts = [np.repeat([False, True], (gap, length)) for length in lengths]
    return np.concatenate([*parts, np.zeros(gap, bool)])


class TestBounces:
    def test_short_runs_between_two_levels_are_an_edge(self) -> None:
        marker = np.array([c == "1" for c in "0" * 30 + "101" + "1" * 100 + "010010" + "0" * 30])
        # The rise is somewhere in "10", the fall in "0 1"; "00" is a level, the last 1 a glitch.
        (window,) = find_windows(wave(marker), 1)
        assert (window.first, window.end) == (30, 135)
        assert (window.start, window.stop, window.blind) == (31.0, 134.0, 1.0)

    def test_a_clean_edge_is_as_before(self) -> None:
        (window,) = find_windows(wave(marker_of([100])), 1)
        assert (window.first, window.end, window.start, window.stop) == (50, 150, 50.0, 150.0)
        assert window.blind == 0.0

    @pytest.mark.parametrize("bounces", [(0,), (0, 1), (1,)])
    def test_the_truth_lies_within_the_limit(self, bounces: tuple[int, ...]) -> None:
        """The pin rises at sample 50 and bounces back in the next one, or it falls that way."""
        lengths = [500, 800, 650]
        marker = marker_of(lengths)
        current_a = np.where(marker, HIGH_A, LOW_A)
        edges = np.flatnonzero(marker[1:] != marker[:-1]) + 1
        for edge in (e for n, e in enumerate(edges) if n % 2 in bounces):
            marker[edge + 1] = not marker[edge + 1]
        cycles = [round(n * DT_S * CLOCK_HZ) for n in lengths]
        waveform = wave(marker, current_a)
        ratio = clock_ratio(waveform, cycles, CLOCK_HZ)
        plans = [PlannedWindow(n, 1, c) for n, c in enumerate(cycles)]
        for clock in (None, ratio):
            found = measure_windows(waveform, plans, CLOCK_HZ, 0, ratio=clock)
            for window, length in zip(found, lengths, strict=True):
                true_uj = SUPPLY_V * HIGH_A * length * DT_S * 1e6
                limit_uj = window.edge_limit_uj + window.edge_uncertainty_uj
                assert abs(window.energy_uj - true_uj) <= limit_uj
                assert window.edge_limit_uj >= 2 * SUPPLY_V * LOW_A * DT_S * 1e6 * (1 - 1e-6)


class TestDrift:
    LENGTHS = (1000, 1000, 1000, 1000)

    def ratio(self, drift: float) -> ClockRatio:
        """The board counts more in the first half of the windows, less in the second."""
        cycles = [
            round(n * DT_S * CLOCK_HZ * (1 + off))
            for n, off in zip(self.LENGTHS, (drift, drift, -drift, -drift), strict=True)
        ]
        return clock_ratio(wave(marker_of(list(self.LENGTHS))), cycles, CLOCK_HZ)

    def test_residuals_widen_the_uncertainty(self) -> None:
        edges = self.ratio(0.0)
        assert edges.uncertainty == pytest.approx(1 / sqrt(6) / 2000)
        assert edges.drift == 0.0
        drifting = self.ratio(1e-3)  # residuals of 1 sample in each of 4 windows, one fitted
        assert drifting.uncertainty == pytest.approx(sqrt(4 / 3) / 2000, rel=1e-3)
        assert drifting.drift == pytest.approx(sqrt(3 * (4 / 3 - 1 / 6)), rel=1e-2)

    @pytest.mark.parametrize("drift", [5e-4, 1e-3, 1.6e-3])
    def test_the_truth_lies_within_the_limit(self, drift: float) -> None:
        waveform = wave(marker_of(list(self.LENGTHS)))
        ratio = self.ratio(drift)
        plans = [
            PlannedWindow(i, 1, round(n * DT_S * CLOCK_HZ * (1 + off)))
            for i, (n, off) in enumerate(
                zip(self.LENGTHS, (drift, drift, -drift, -drift), strict=True)
            )
        ]
        true_uj = SUPPLY_V * HIGH_A * 1000 * DT_S * 1e6
        for window in measure_windows(waveform, plans, CLOCK_HZ, 0, ratio=ratio):
            allowed_uj = window.edge_limit_uj + 2 * ratio.uncertainty * true_uj
            assert abs(window.energy_uj - true_uj) <= allowed_uj

    def test_a_misfit_beyond_a_sample_is_a_limit(self) -> None:
        (window,) = find_windows(wave(marker_of([1000])), 1)
        assert fit_duration(window, 1.0).blind == 0.0
        assert fit_duration(window, 1.6).blind == pytest.approx(0.3)
        assert fit_duration(window, -0.4, drift=0.5).blind == 0.25


def swept(ratio: float, uncertainty: float = 1e-5, windows: int = 4) -> WindowSample:
    return WindowSample(
        False, 0, 0, 1, 1000, 0.01, 1000, 900.0, 0.6, 0.03, SUPPLY_V,
        clock_ratio=ratio, clock_uncertainty=uncertainty, clock_windows=windows,
    )  # fmt: skip


class TestAWindowByItself:
    def test_what_sweeps_tell_of_the_ratio(self) -> None:
        sweeps = [swept(1.010), swept(1.012), swept(1.011), swept(0.9, windows=0)]
        known = ratio_of_sweeps(sweeps, 0.0)
        assert known is not None
        assert known.ratio == 1.011
        # Three standard uncertainties, what they spread and what an oscillator drifts.
        assert known.tolerance == pytest.approx(3e-5 + 1e-3 + 1e-3)
        blind = ratio_of_sweeps(sweeps, 5e-6)
        assert blind is not None
        assert blind.tolerance == pytest.approx(known.tolerance + 2 * 5e-6 / 0.01)
        assert ratio_of_sweeps([swept(1.0, windows=0)], 0.0) is None

    def test_losses_that_nobody_tells_are_found(self) -> None:
        """1 of 100 samples of a second is missing; by the nominal clock that passes."""
        plans = [PlannedWindow(0, 1, round(6000 * DT_S * CLOCK_HZ / 1.011))]
        whole, lossy = wave(marker_of([6000])), wave(marker_of([5940]))
        known = ratio_of_sweeps([swept(1.011)], 0.0)
        (sample,) = measure_windows(whole, plans, CLOCK_HZ, 0, expected=known)
        assert (sample.clock_windows, sample.clock_ratio) == (0, 1.0)
        assert sample.duration_s == pytest.approx(0.06)
        measure_windows(lossy, plans, CLOCK_HZ, 0)
        with pytest.raises(InstrumentError, match=r"window 0 lasts 0\.0594 s by the marker"):
            measure_windows(lossy, plans, CLOCK_HZ, 0, expected=known)

    @pytest.mark.parametrize("phase", [0.05, 0.3, 0.49])
    def test_a_meter_in_step_with_the_board(self, phase: float) -> None:
        """Every repeat starts alike: the edges' error is the same in all and shows no spread."""
        high = np.clip(
            np.arange(501) - 50 - phase, 0, 399.45
        )  # from 50 + phase, for 399.45 samples
        share, middle = np.diff(high), np.arange(500) + 0.5
        marker = (middle > 50 + phase) & (middle < 50 + phase + 399.45)
        current_a = LOW_A + (HIGH_A - LOW_A) * share
        plans = [PlannedWindow(0, 1, round(399.45 * DT_S * CLOCK_HZ))]
        seen = [
            measure_windows(wave(marker, current_a), plans, CLOCK_HZ, repeat)[0]
            for repeat in range(6)
        ]
        budget = budget_of_pass(seen, MeterAccuracy())
        assert budget is not None
        true_uj = SUPPLY_V * HIGH_A * 399.45 * DT_S * 1e6
        assert abs(budget.energy_uj - true_uj) <= budget.expanded_uj
        # Less than a sample of base: of one edge's place and the other's.
        assert budget.expanded_uj < 2 * SUPPLY_V * LOW_A * DT_S * 1e6
