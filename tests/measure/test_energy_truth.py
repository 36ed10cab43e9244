"""Clock ratio, marker overhead, base power, accepted losses and the budget, by known truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.budget import MeterAccuracy, budget_of_pass, energy_budget
from hil.measure.clock import ClockRatio, clock_ratio
from hil.measure.energy import PlannedWindow, WindowEnergy, measure_windows
from hil.measure.overhead import MarkerOverhead
from hil.measure.windows import find_windows

DT_S = 1e-4
SUPPLY_V = 3.0
CLOCK_HZ = 1e8


def sampled(
    edges_s: list[float], samples: int, high_a: float = 0.03, low_a: float = 0.01, lost: int = 0
) -> Waveform:
    """Averages over each interval and the marker at its middle, from a current of two levels."""
    borders_s = np.arange(samples + 1) * DT_S
    high_s = np.zeros(samples + 1)
    for start_s, end_s in zip(edges_s[::2], edges_s[1::2], strict=True):
        high_s += np.clip(borders_s, start_s, end_s) - start_s
    share = np.diff(high_s) / DT_S
    middles_s = borders_s[:-1] + DT_S / 2
    return Waveform(
        t0_s=0.0,
        sample_interval_s=DT_S,
        current_a=(low_a + (high_a - low_a) * share).astype(np.float32),
        marker=np.searchsorted(edges_s, middles_s) % 2 == 1,
        supply_v=SUPPLY_V,
        range_a=0.1,
        overload=False,
        lost_samples=lost,
        meter="meter 7",
        origin=Origin.MODELLED,
    )


def windows_at(starts: np.ndarray, lengths: np.ndarray) -> list[float]:
    return np.column_stack((starts, starts + lengths)).ravel().tolist()


class TestClockRatio:
    def test_by_hand(self) -> None:
        # 100 and 200 samples high; the board counted 1 % less at its nominal clock.
        wave = sampled([0.0050, 0.0150, 0.0200, 0.0400], 450)
        ratio = clock_ratio(wave, [990_000, 1_980_000], CLOCK_HZ)
        assert ratio.ratio == pytest.approx(1 / 0.99)
        # One sample over sqrt(6) over the root of 99**2 + 198**2.
        assert ratio.uncertainty == pytest.approx(1 / math.sqrt(6) / math.hypot(99, 198))
        assert ratio.windows == 2

    def test_the_uncertainty_is_that_of_many_acquisitions(self) -> None:
        rng = np.random.default_rng(11)
        true = 1.0123
        lengths = np.array([0.011, 0.017, 0.023])
        errors, stated = [], []
        for _ in range(200):
            starts = 0.01 + np.array([0.0, 0.03, 0.06]) + rng.uniform(0, DT_S, 3)
            jitter = lengths + rng.uniform(0, DT_S, 3)
            wave = sampled(windows_at(starts, jitter), 1100)
            cycles = [round(x / true * CLOCK_HZ) for x in jitter]
            found = clock_ratio(wave, cycles, CLOCK_HZ)
            errors.append(found.ratio - true)
            stated.append(found.uncertainty)
        assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(200)
        assert np.std(errors) == pytest.approx(np.mean(stated), rel=0.15)

    def test_overhead_belongs_to_the_meters_time(self) -> None:
        wave = sampled([0.0050, 0.0150], 200)
        ratio = clock_ratio(wave, [999_000], CLOCK_HZ, overhead_cycles=1000)
        assert ratio.ratio == pytest.approx(1.0)

    def test_a_window_that_does_not_fit_the_others(self) -> None:
        wave = sampled([0.0050, 0.0150, 0.0200, 0.0400, 0.0450, 0.0550], 600)
        with pytest.raises(InstrumentError, match=r"window 2 is .* samples off the clock ratio"):
            clock_ratio(wave, [1_000_000, 2_000_000, 900_000], CLOCK_HZ)

    def test_no_cycles_at_all(self) -> None:
        with pytest.raises(InstrumentError, match="no window in which the board counted"):
            clock_ratio(sampled([0.005, 0.015], 200), [0], CLOCK_HZ)

    def test_the_check_allows_for_its_own_uncertainty(self) -> None:
        ClockRatio(1.024, 0.002, 1).check(0.02)
        with pytest.raises(InstrumentError, match=r"differ by \+3.000 % .* 2 % are accepted"):
            ClockRatio(1.03, 0.002, 1).check(0.02)

    def test_with_the_ratio_a_wrong_clock_costs_nothing(self) -> None:
        # The board's oscillator is 1.5 % slow; without the ratio its count places no edge.
        rng = np.random.default_rng(5)
        starts = 0.01 + 0.03 * np.arange(30) + rng.uniform(0, DT_S, 30)
        lengths = 0.02 + rng.uniform(0, DT_S, 30)
        wave = sampled(windows_at(starts, lengths), 9300, low_a=0.025)
        planned = [PlannedWindow(n, 1, round(s / 1.015 * CLOCK_HZ)) for n, s in enumerate(lengths)]
        ratio = clock_ratio(wave, [plan.cycles for plan in planned], CLOCK_HZ)
        true_uj = SUPPLY_V * 0.03 * lengths * 1e6

        def error_uj(found: tuple[WindowSample, ...]) -> float:
            return float(np.mean(np.abs([w.energy_uj for w in found] - true_uj)))

        plain = error_uj(measure_windows(wave, planned, CLOCK_HZ, 0))
        fitted = error_uj(measure_windows(wave, planned, CLOCK_HZ, 0, ratio=ratio))
        assert fitted < plain / 3

    def test_with_the_ratio_windows_must_agree_closely(self) -> None:
        wave = sampled([0.010, 0.110], 1300)
        planned = [PlannedWindow(0, 1, round(0.0985 * CLOCK_HZ))]
        measure_windows(wave, planned, CLOCK_HZ, 0)  # 1.5 % are within the clocks' tolerance
        with pytest.raises(InstrumentError, match="window 0 lasts"):
            measure_windows(wave, planned, CLOCK_HZ, 0, ratio=ClockRatio(1.0, 1e-4, 5))


def energy(energy_uj: float, duration_s: float = 0.01, base_w: float = 0.03) -> WindowEnergy:
    return WindowEnergy(energy_uj, duration_s, 0.6, base_w)


class TestBaseAndOverhead:
    def test_base_energy_is_set_apart(self) -> None:
        window = energy(900.0)  # 90 mW for 10 ms over a base of 30 mW
        assert window.power_w == pytest.approx(0.09)
        assert (window.base_energy_uj, window.above_base_uj) == pytest.approx((300.0, 600.0))

    def test_stated_in_cycles(self) -> None:
        overhead = MarkerOverhead.stated(2000, CLOCK_HZ, energy(900.0))
        # 20 us at the middle of 30 and 90 mW, uniform up to 1.3 times the larger.
        assert overhead.duration_s == pytest.approx(20e-6)
        assert overhead.energy_uj == pytest.approx(1.2)
        assert overhead.uncertainty_uj == pytest.approx((1.3 * 1.8 - 1.2) / math.sqrt(3))
        left = overhead.subtracted(energy(900.0))
        assert (left.energy_uj, left.duration_s) == pytest.approx((898.8, 0.00998))
        assert left.base_power_w == 0.03

    def test_measured_by_empty_windows(self) -> None:
        overhead = MarkerOverhead.measured([energy(3.0, 1e-4), energy(5.0, 1e-4)])
        assert (overhead.energy_uj, overhead.duration_s) == pytest.approx((4.0, 1e-4))
        # Spread sqrt(2) and edges 0.6 / sqrt(3), of a mean of two.
        expected = math.sqrt((2.0 + 0.12) / 2)
        assert overhead.uncertainty_uj == pytest.approx(expected)

    def test_what_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(InstrumentError, match=r"1 empty windows; .* at least 2"):
            MarkerOverhead.measured([energy(3.0)])
        with pytest.raises(InstrumentError, match="overhead of -1 cycles"):
            MarkerOverhead.stated(-1, CLOCK_HZ, energy(3.0))
        with pytest.raises(InstrumentError, match="not longer than the marker's own"):
            MarkerOverhead(0.02, 1.0, 0.1).subtracted(energy(3.0))


class TestLostSamples:
    def test_the_threshold_is_a_parameter(self) -> None:
        wave = sampled([0.005, 0.015], 200, lost=3)
        with pytest.raises(InstrumentError, match="3 samples were lost among 200, 2 are accepted"):
            find_windows(wave, 1, max_lost=2)
        assert len(find_windows(wave, 1, max_lost=3)) == 1


class TestBudget:
    def test_terms_by_hand(self) -> None:
        repeats = [energy(899.0), energy(900.0), energy(901.0)]
        accuracy = MeterAccuracy(
            gain=1e-3, offset_a=1e-5, resolution_a=2e-6, shunt=5e-3, supply=2e-3, time_base=1e-4
        )
        budget = energy_budget(
            repeats,
            accuracy,
            SUPPLY_V,
            clock=ClockRatio(1.01, 1e-4, 4),
            overhead=MarkerOverhead(1e-6, 1.0, 0.25),
            lost_uj=0.9,
        )
        root3 = math.sqrt(3)
        expected = {
            # Student's t of 2 degrees of freedom takes the place of k = 2 (JCGM 100, table G.2).
            "noise": 4.30 / 2 / root3,
            "gain": 0.9 / root3,
            "offset": 1e-5 * 3 * 0.01 * 1e6 / root3,
            "resolution": 1e-6 * 3 * 0.01 * 1e6 / root3,
            "shunt": 4.5 / root3,
            "supply": 1.8 / root3,
            "time base": 0.09 / root3,
            "edges": 0.6 / root3,  # the same in every repeat, perhaps
            "clock ratio": 900 * 1e-4 / 1.01,
            "marker overhead": 0.25,
            "lost samples": 0.9 / root3,
        }
        got = {term.name: term.standard_uj for term in budget.terms}
        assert got == pytest.approx(expected)
        assert budget.energy_uj == 900.0
        assert budget.combined_uj == pytest.approx(math.sqrt(sum(u**2 for u in expected.values())))
        assert budget.expanded_uj == 2 * budget.combined_uj

    def test_rows_tell_what_to_mend_first(self) -> None:
        budget = energy_budget([energy(899.9), energy(900.1)], MeterAccuracy(shunt=0.01), SUPPLY_V)
        terms, shares = zip(*budget.shares(), strict=True)
        assert terms[0] == budget.largest
        assert terms[0].name == "shunt"
        sizes = [term.standard_uj for term in terms]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(shares) == pytest.approx(100.0)
        assert str(budget).endswith("mostly shunt")

    def test_repeats_average_the_noise_but_not_the_gain(self) -> None:
        rng = np.random.default_rng(2)
        accuracy = MeterAccuracy(gain=1e-3)
        values = [energy(900 + x) for x in rng.normal(0, 5, 400)]
        few, many = energy_budget(values[:25], accuracy, 3.0), energy_budget(values, accuracy, 3.0)
        by_name = {term.name: term.standard_uj for term in many.terms}
        assert by_name["noise"] == pytest.approx(5 / 20, rel=0.15)
        assert by_name["gain"] == pytest.approx(0.9 / math.sqrt(3), rel=1e-2)
        assert few.combined_uj > many.combined_uj

    def test_the_expanded_uncertainty_covers_the_truth(self) -> None:
        rng = np.random.default_rng(3)
        accuracy = MeterAccuracy(gain=3e-3, offset_a=2e-5)
        inside = 0
        for _ in range(400):
            gain = 1 + rng.uniform(-3e-3, 3e-3)
            offset_uj = rng.uniform(-2e-5, 2e-5) * SUPPLY_V * 0.01 * 1e6
            seen = [
                WindowEnergy(900 * gain + offset_uj + noise, 0.01, 0.0, 0.03)
                for noise in rng.normal(0, 2, 10)
            ]
            budget = energy_budget(seen, accuracy, SUPPLY_V)
            inside += abs(budget.energy_uj - 900) <= budget.expanded_uj
        assert 0.93 <= inside / 400 <= 1.0

    def test_one_window_has_no_noise_to_tell(self) -> None:
        with pytest.raises(DataError, match="at least 2 repeats of a window, got 1"):
            energy_budget([energy(900.0)], MeterAccuracy(), SUPPLY_V)

    def test_limits_are_not_negative(self) -> None:
        with pytest.raises(DataError, match=r"gain is -0\.1"):
            MeterAccuracy(gain=-0.1)


class TestHonesty:
    """The whole path from samples to the interval, against a truth that the simulation knows."""

    REPEATS, BENCHES = 6, 300
    LENGTHS_S = (0.011, 0.017)
    # No single limit is much larger than the rest: a lone uniform one would be covered always.
    LIMITS = MeterAccuracy(gain=2e-3, offset_a=2e-5, supply=2e-3, source="this test")
    NOISE = 4e-3  # of the work itself, from repeat to repeat

    def bench(self, rng: np.random.Generator) -> float:
        """One bench with errors of its own: truth minus mean, in expanded uncertainties."""
        gain = (1 + rng.uniform(-2e-3, 2e-3)) * (1 + rng.uniform(-2e-3, 2e-3))  # and supply
        offset_a = rng.uniform(-2e-5, 2e-5)
        drift = 1 + rng.uniform(-0.01, 0.01)  # of the board's oscillator
        lengths_s = np.array(self.LENGTHS_S)
        seen: list[WindowSample] = []
        for repeat in range(self.REPEATS):
            high_a = 0.03 * (1 + rng.normal(0, self.NOISE))
            starts_s = np.array([0.005, 0.025]) + rng.uniform(0, DT_S, 2)
            wave = sampled(windows_at(starts_s, lengths_s), 500, high_a=high_a)
            noise_a = rng.normal(0, 3e-4, len(wave))
            current_a = (wave.current_a * gain + offset_a + noise_a).astype(np.float32)
            wave = dataclasses.replace(wave, current_a=current_a)
            cycles = [round(x * CLOCK_HZ / drift) for x in lengths_s]
            plans = [PlannedWindow(n, 10, c) for n, c in enumerate(cycles)]
            ratio = clock_ratio(wave, cycles, CLOCK_HZ)
            seen += measure_windows(wave, plans, CLOCK_HZ, repeat, ratio=ratio)[:1]
        budget = budget_of_pass(seen, self.LIMITS)
        assert budget is not None
        true_uj = SUPPLY_V * 0.03 * self.LENGTHS_S[0] * 1e6 / 10
        return (true_uj - budget.energy_uj) / budget.expanded_uj

    def test_the_interval_covers_the_true_energy(self) -> None:
        rng = np.random.default_rng(2008)
        misses = np.array([self.bench(rng) for _ in range(self.BENCHES)])
        covered = float(np.mean(np.abs(misses) <= 1))
        # 95 % and three standard deviations of 300 draws below; above, intervals would be idle.
        assert 0.912 <= covered <= 0.99
        assert abs(misses.mean()) < 3 * misses.std() / math.sqrt(len(misses))

    def test_the_combined_uncertainty_is_that_of_a_monte_carlo(self) -> None:
        # JCGM 101: draw every cause from its distribution, put it through the measurement model.
        accuracy = MeterAccuracy(gain=2e-3, offset_a=3e-5, shunt=1e-3, supply=1e-3)
        seen = [energy(x) for x in 900 + np.linspace(-1, 1, 200)]
        budget = energy_budget(seen, accuracy, SUPPLY_V)
        rng, draws = np.random.default_rng(1), 200_000

        def limit(a: float) -> np.ndarray:
            return rng.uniform(-a, a, draws)

        noise_uj = rng.normal(0, np.std([w.energy_uj for w in seen], ddof=1) / 200**0.5, draws)
        edges_uj = limit(0.6)
        volts, ohms = SUPPLY_V * (1 + limit(1e-3)), 1 + limit(1e-3)
        current_a = (900e-6 / 0.01 / SUPPLY_V * (1 + limit(2e-3)) + limit(3e-5)) / ohms
        drawn_uj = volts * current_a * 0.01 * 1e6 + noise_uj + edges_uj
        assert budget.combined_uj == pytest.approx(drawn_uj.std(), rel=0.01)
        lo, hi = np.quantile(drawn_uj, [0.025, 0.975])
        # Sums of uniform limits have lighter tails than the normal distribution behind k = 2: a
        # sum of two equal ones is covered by 5 % less (triangle: 2 / sqrt(6) beside 0.776).
        assert 1.0 <= budget.expanded_uj / ((hi - lo) / 2) <= 1.1

    def test_older_windows_have_no_budget(self) -> None:
        old = WindowSample(False, 0, 0, 10, 1000, 0.01, 100, 900.0, 0.6, 0.03)
        with pytest.raises(DataError, match="without a supply voltage"):
            budget_of_pass([old, old], self.LIMITS)
        assert budget_of_pass([old], self.LIMITS) is None
