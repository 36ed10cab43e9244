"""Verdicts on nights: false alarms as rare as stated, planted regressions found at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.series import Accepted, Quantity, Series, Verdict
from hil.measure.regression import Policy, chi_square_median, judge, level, student_quantile

LAYERS = 65
ALARMS = (Verdict.REGRESSED, Verdict.IMPROVED)
# One-sigma noise between nights that bare-metal counters and bench meters have: a part that all
# layers of a night share, and a part of each layer's own.
SHARED = {Quantity.CYCLES: 0.0005, Quantity.ENERGY: 0.003}
OWN = {Quantity.CYCLES: 0.001, Quantity.ENERGY: 0.005}

Night = dict[Series, Interval]


def series(layer: int, quantity: Quantity = Quantity.CYCLES) -> Series:
    return Series("gap8", "rig", "net", "zig", f"layer {layer}", quantity, "clock")


def around(median: float, relative: float = 0.0) -> Interval:
    return Interval(median, median * (1 - relative), median * (1 + relative), 20, 0.96)


class Rig:
    """Nights of a 65-layer network whose layers differ by a factor of four in noise."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.costs = np.exp(self.rng.uniform(5, 14, (len(Quantity), LAYERS)))
        self.weights = self.rng.uniform(0.4, 1.6, LAYERS)
        self.history: dict[Series, list[Accepted]] = {}
        self.nights = 0

    def night(self) -> Night:
        found = {}
        for quantity, costs in zip(Quantity, self.costs, strict=True):
            shared = self.rng.normal(0, SHARED[quantity])
            own = self.rng.normal(0, OWN[quantity], LAYERS) * self.weights
            for layer, median in enumerate(costs * np.exp(shared + own)):
                found[series(layer, quantity)] = around(float(median), OWN[quantity] / 2)
        return found

    def judge(self, night: Night):
        return judge(night, self.history)

    def accept(self, night: Night) -> None:
        self.nights += 1
        for j in self.judge(night):
            if j.value is not None:
                found = Accepted(self.nights, j.value, j.verdict)
                self.history.setdefault(j.series, []).append(found)


def alarms(judgements) -> list[Series]:
    return [j.series for j in judgements if j.verdict in ALARMS]


def test_ten_nights_without_a_change_raise_no_more_alarms_than_stated():
    """108 nights at a rate of at most 1 %: more than five alarmed ones have probability 6e-4."""
    alarmed = 0
    for seed in range(12):
        rig = Rig(seed)
        for _ in range(10):
            night = rig.night()
            alarmed += bool(alarms(rig.judge(night)))
            rig.accept(night)
    assert alarmed <= 5


@pytest.mark.parametrize("nights", [1, 3, 10])
def test_three_per_cent_in_one_of_65_layers_is_found_on_the_first_night(nights):
    for seed in range(8):
        rig = Rig(100 + seed)
        for _ in range(nights):
            rig.accept(rig.night())
        night, layer = rig.night(), int(rig.rng.integers(LAYERS))
        for quantity in Quantity:
            night[series(layer, quantity)] = night[series(layer, quantity)].scaled(1.03)
        found = {j.series: j for j in rig.judge(night)}
        slower = found[series(layer)]
        assert slower.verdict is Verdict.REGRESSED
        assert slower.telling.lo_percent < 3.0 < slower.telling.hi_percent
        parts = {s.part for s in alarms(found.values())}
        assert parts == {f"layer {layer}"}


def test_all_layers_slower_together_are_all_found():
    rig = Rig(5)
    for _ in range(4):
        rig.accept(rig.night())
    night = {s: v.scaled(1.03) for s, v in rig.night().items()}
    worse = [s for s in alarms(rig.judge(night)) if s.quantity is Quantity.CYCLES]
    assert len(worse) == LAYERS


def nights_of(*medians: float, verdicts: dict[int, Verdict] | None = None) -> list[Accepted]:
    """An accepted series; the first night is new, the others within noise unless told."""
    verdicts = {0: Verdict.NEW, **(verdicts or {})}
    return [
        Accepted(i + 1, around(m), verdicts.get(i, Verdict.WITHIN_NOISE))
        for i, m in enumerate(medians)
    ]


def test_a_slow_drift_is_caught_by_the_level():
    """0.2 % a night is never seen against the night before."""
    history, found = nights_of(1000.0), []
    for night in range(1, 25):
        value = around(1000.0 * 1.002**night)
        (judged,) = judge({series(0): value}, {series(0): history})
        assert judged.against_last.verdict(1.0) is Verdict.WITHIN_NOISE
        found.append(judged.verdict)
        history.append(Accepted(night + 1, value, Verdict.WITHIN_NOISE))
    assert Verdict.REGRESSED in found


def test_an_accepted_change_is_the_new_level():
    history = nights_of(1000.0, 1000.0, 1000.0, 1050.0, verdicts={3: Verdict.REGRESSED})
    assert [n.night for n in level(history, 30)] == [4]
    (same,) = judge({series(0): around(1050.0)}, {series(0): history})
    assert same.verdict is Verdict.WITHIN_NOISE
    (back,) = judge({series(0): around(1000.0)}, {series(0): history})
    assert back.verdict is Verdict.IMPROVED
    assert len(level(nights_of(*[1000.0] * 50), 30)) == 30


def test_new_and_gone():
    history = {series(0): nights_of(10.0, 10.0), series(1): nights_of(10.0, 10.0)}
    # Layer 2 was gone already on the last accepted night: that is old news.
    history[series(2)] = nights_of(10.0)
    found = {j.series: j for j in judge({series(0): around(10.0), series(3): around(1.0)}, history)}
    verdicts = {s.part: j.verdict for s, j in found.items()}
    assert verdicts == {
        "layer 0": Verdict.WITHIN_NOISE,
        "layer 1": Verdict.GONE,
        "layer 3": Verdict.NEW,
    }
    assert found[series(1)].value is None and found[series(3)].telling is None


def test_a_simulators_exact_counts_are_judged_by_size_alone_once_history_says_so():
    history = {series(i): nights_of(*[1000.0] * 9) for i in range(3)}
    night = {series(0): around(1009.0), series(1): around(1011.0), series(2): around(989.0)}
    found = [j.verdict for j in judge(night, history)]
    assert found == [Verdict.WITHIN_NOISE, Verdict.REGRESSED, Verdict.IMPROVED]
    fine = [j.verdict for j in judge(night, history, Policy(min_percent=0.1))]
    assert fine == [Verdict.REGRESSED, Verdict.REGRESSED, Verdict.IMPROVED]


def test_one_night_by_hand():
    """One accepted night, one series: ln(1.03) ± t(0.995, 20) · 0.2 % · sqrt(2)."""
    (judged,) = judge({series(0): around(1030.0)}, {series(0): nights_of(1000.0)})
    half = 2.8453 * 0.002 * math.sqrt(2)  # t from the usual tables
    change = judged.against_last
    assert change.percent == pytest.approx(3.0)
    assert change.lo_percent == pytest.approx(100 * math.expm1(math.log(1.03) - half), abs=1e-3)
    assert change.hi_percent == pytest.approx(100 * math.expm1(math.log(1.03) + half), abs=1e-3)


def test_a_wide_interval_of_tonight_widens_the_change():
    known = {series(0): nights_of(*[1000.0] * 9)}
    (sure,) = judge({series(0): around(1030.0, 0.001)}, known)
    (unsure,) = judge({series(0): around(1030.0, 0.04)}, known)
    assert sure.verdict is Verdict.REGRESSED and unsure.verdict is Verdict.WITHIN_NOISE


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_verdicts_do_not_depend_on_the_unit(seed, factor):
    rng = np.random.default_rng(seed)

    def judged(scale: float):
        past = {series(i): nights_of(*(scale * x for x in row)) for i, row in enumerate(rows)}
        return judge({series(i): around(scale * x) for i, x in enumerate(tonight)}, past)

    rows = 1000 * np.exp(rng.normal(0, 0.003, (4, 5)))
    tonight = 1000 * np.exp(rng.normal(0, 0.03, 4))
    for a, b in zip(judged(1.0), judged(factor), strict=True):
        assert a.verdict is b.verdict
        assert a.against_level.lo_percent == pytest.approx(b.against_level.lo_percent, abs=1e-6)


def tail(t: float, freedom: int) -> float:
    """P(T > t) by integrating Student's density, substituted to a finite range."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    u = np.linspace(0, 1, 20001)[1:]
    density = (1 + (t / u) ** 2 / freedom) ** (-(freedom + 1) / 2) * t / u**2
    return float(np.trapezoid(density, u)) * scale / math.sqrt(freedom * math.pi)


@pytest.mark.parametrize("freedom", [20, 27, 50])
@pytest.mark.parametrize("p", [0.975, 0.999, 1 - 1e-5, 1 - 1e-6])
def test_student_quantile_against_the_integral(freedom, p):
    assert tail(student_quantile(p, freedom), freedom) == pytest.approx(1 - p, rel=5e-3)


@pytest.mark.parametrize(("freedom", "median"), [(1, 0.4549), (2, 1.3863), (9, 8.3428)])
def test_chi_square_median_against_tables(freedom, median):
    assert chi_square_median(freedom) == pytest.approx(median / freedom, rel=0.04)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Policy(false_alarm_rate=0.0),
        lambda: Policy(min_percent=-1.0),
        lambda: Policy(min_percent=math.nan),
        lambda: judge({series(0): around(0.0)}, {series(0): nights_of(1.0)}),
    ],
)
def test_nonsense_is_refused(wrong: Callable[[], object]):
    with pytest.raises(DataError):
        wrong()
