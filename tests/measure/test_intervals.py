"""The median's interval against enumeration, simulation and the published table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.core.cost import Interval
from hil.core.errors import DataError, InstrumentError
from hil.measure.intervals import MIN_REPEATS, coverage, median_interval, order_rank
from hil.measure.reconcile import Agreement, reconcile
from hil.measure.repeats import (
    MAX_ITERATIONS,
    WindowGoal,
    iterations_for_window,
    round_up_count,
)


@pytest.mark.parametrize("n", range(1, 13))
def test_coverage_is_what_enumerating_all_outcomes_gives(n: int) -> None:
    # Each sample is below or above the true median, both equally likely: 2**n outcomes.
    below = [sum(outcome) for outcome in itertools.product((0, 1), repeat=n)]
    for k in range(1, n // 2 + 1):
        # The interval x(k)..x(n+1-k) holds the median if k or more, and at most n-k, lie below.
        inside = sum(k <= b <= n - k for b in below)
        assert coverage(n, k) == inside / 2**n


def test_ranks_agree_with_the_published_table_of_the_sign_test() -> None:
    # Largest k for a two-sided 95 % interval of the median, as in sign-test tables.
    table = {6: 1, 8: 1, 9: 2, 11: 2, 12: 3, 15: 4, 20: 6, 25: 8, 30: 10, 40: 14, 50: 18}
    assert {n: order_rank(n) for n in table} == table


def test_fewer_than_six_samples_confess_their_confidence() -> None:
    assert coverage(MIN_REPEATS, 1) >= 0.95 > coverage(MIN_REPEATS - 1, 1)
    five = median_interval([5, 1, 4, 2, 3])
    assert five == Interval(3, 1, 5, 5, 0.9375)
    once = median_interval([7])
    assert once == Interval(7, 7, 7, 1, 0.0) and not once.known
    assert median_interval([1, 3]).confidence == 0.5


@pytest.mark.parametrize("draw", ["exponential", "lognormal"])
def test_interval_covers_the_median_of_skewed_samples(draw: str) -> None:
    rng = np.random.default_rng(1)
    true = {"exponential": np.log(2.0), "lognormal": 1.0}[draw]
    intervals = [median_interval(getattr(rng, draw)(size=15)) for _ in range(2000)]
    covered = np.mean([i.lo <= true <= i.hi for i in intervals])
    assert covered == pytest.approx(coverage(15, 4), abs=0.015)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60))
def test_interval_is_made_of_samples_around_the_median(samples: list[float]) -> None:
    interval = median_interval(samples)
    assert interval.lo in samples and interval.hi in samples
    assert interval.lo <= interval.median <= interval.hi
    assert interval == median_interval(samples[::-1])


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_samples_that_have_no_median(samples: list[float]) -> None:
    with pytest.raises(DataError, match="a median needs finite samples"):
        median_interval(samples)


def test_iterations_fill_the_longer_of_both_minima() -> None:
    # 15,000 cycles at 150 MHz are 100 us. 5 ms need 50 passes; 200 samples of 50 us need 100.
    assert iterations_for_window("c", 15_000, 150e6, 1e-5, WindowGoal()) == 52  # 50 rounded up
    assert iterations_for_window("c", 15_000, 150e6, 5e-5, WindowGoal(200)) == 104
    assert iterations_for_window("c", 1e9, 150e6, 1e-5, WindowGoal()) == 1


@given(st.integers(1, 10**6))
def test_rounded_counts_are_never_less_and_little_more(count: int) -> None:
    rounded = round_up_count(count)
    assert count <= rounded <= count * 1.125
    assert round_up_count(rounded) == rounded


@given(st.floats(100, 1e9), st.floats(1e-6, 1e-2), st.integers(2, 500))
def test_planned_window_is_long_enough(cycles: float, interval_s: float, samples: int) -> None:
    goal = WindowGoal(samples, 0.001)
    try:
        count = iterations_for_window("c", cycles, 216e6, interval_s, goal)
    except InstrumentError:
        assert cycles * MAX_ITERATIONS / 216e6 < max(0.001, samples * interval_s)
        return
    window_s = count * cycles / 216e6
    assert count <= MAX_ITERATIONS and window_s >= 0.001 * (1 - 1e-9)
    assert window_s >= samples * interval_s * (1 - 1e-9)


def test_a_layer_too_short_for_the_meter_is_refused() -> None:
    with pytest.raises(InstrumentError, match="layer tiny: 216000 passes of 100 cycles"):
        iterations_for_window("tiny", 100, 216e6, 1e-3, WindowGoal())
    with pytest.raises(InstrumentError, match="no window can be planned"):
        iterations_for_window("none", 0, 216e6, 1e-3, WindowGoal())


@pytest.mark.parametrize(
    ("layers", "network", "verdict", "percent"),
    [
        (99.5, 100.0, Agreement.AGREES, 0.5),
        (97.0, 100.0, Agreement.DIFFERS, 3.0),
        (110.0, 100.0, Agreement.CONTRADICTS, -10.0),
    ],
)
def test_reconcile(layers: float, network: float, verdict: Agreement, percent: float) -> None:
    result = reconcile(Interval.exact(layers), Interval.exact(network))
    assert result.verdict is verdict
    assert result.difference == pytest.approx(network - layers)
    assert result.difference_pct == pytest.approx(percent)
    assert str(verdict) in str(result)


def test_reconcile_within_noise_agrees() -> None:
    wide, network = Interval(90, 80, 105, 6, 0.97), Interval(100, 99, 101, 6, 0.97)
    assert reconcile(wide, network).verdict is Agreement.AGREES
    once = Interval(90, 90, 90, 1, 0.0)
    assert reconcile(once, network).verdict is Agreement.CONTRADICTS
    with pytest.raises(DataError, match="cannot cost 0"):
        reconcile(wide, Interval.exact(0.0))
