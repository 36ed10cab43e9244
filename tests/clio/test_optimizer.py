"""The optimizer against a three-cut network priced by hand and against brute force."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.clio.designer import PartitionDesigner, Wanted
from hil.clio.optimizer import Decision, Goal, Outcome, decide, sweep
from hil.clio.partitions import ALL_DEVICE, ALL_REMOTE, Partition, partitions
from hil.clio.pricing import Measured, Target, latency_difference, price
from hil.clio.radio import BLE, Radio
from hil.core.cost import CostRow, CostTable, Interval, Samples
from hil.core.errors import DataError, ModelError
from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.core.provenance import Origin, Provenance

ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "00", 10**6, "zig", "b" * 64, "net", "d" * 64,
    "t1", "m1", "virtual", 1,
)  # fmt: skip
SHAPES = ((32, 32, 3), (16, 16, 4), (8, 8, 8), (4, 4, 16), (1, 1, 10))
# Milliseconds and microjoules of the four layers at the table's 1 MHz.
DEVICE_MS = (20.0, 30.0, 40.0, 10.0)
DEVICE_UJ = (1000.0, 1500.0, 2000.0, 500.0)


def network() -> Network:
    weight = np.ones((1,), np.int8)
    layers = tuple(Layer(f"l{i}", Op.POINTWISE, (i,), weight=weight) for i in range(4))
    cuts = tuple(Cut(f"cut{i}", i) for i in (1, 2, 3))
    return Network("net", tuple(Tensor(s, 0.1, True) for s in SHAPES), layers, cuts)


def spread(median: float, half: float, runs: str = "abcdef") -> Samples:
    """Six samples from median - half to median + half, the same order in every layer."""
    steps = np.linspace(-half, half, len(runs))
    return Samples(tuple(runs), tuple(float(median + s) for s in steps))


def interval(samples: Samples) -> Interval:
    return Interval(
        float(np.median(samples.values)), min(samples.values), max(samples.values),
        len(samples.values), 0.97,
    )  # fmt: skip


def row(
    index: int, ms: float, uj: float | None, half_ms: float = 0.0, half_uj: float = 0.0
) -> CostRow:
    cycles = spread(ms * 1000, half_ms * 1000)
    energy = None if uj is None else spread(uj, half_uj)
    return CostRow(
        index, f"l{index}", "pointwise", 1, interval(cycles), 0, 0, 0, cycles,
        energy and interval(energy), energy,
    )  # fmt: skip


def table(**half: float) -> CostTable:
    rows = zip(DEVICE_MS, DEVICE_UJ, strict=True)
    return CostTable(tuple(row(i, *r, **half) for i, r in enumerate(rows)), None, None, ORIGIN)


def cloud(half_s: float = 0.0) -> dict[tuple[str, int], Interval]:
    """4 ms for the whole network, 1 ms less a cut."""
    found = {}
    for candidate in partitions(network()):
        if candidate.wire_bytes:
            seconds = 0.004 - 0.001 * candidate.layers
            found[candidate.key] = Interval(seconds, seconds - half_s, seconds + half_s, 6, 0.97)
    return found


def certain() -> Measured:
    return Measured(table(), cloud())


def cheapest(decision: Decision) -> tuple[str, int]:
    return decision.require().partition.key


def test_every_cut_and_channel_count_once() -> None:
    found = partitions(network(), {"cut2": (2, 8, 4)}, frame_bytes=24)
    sizes = {(p.cut, p.channels): p.wire_bytes for p in found}
    assert sizes[ALL_REMOTE, 3] == 32 * 32 * 3 + 24
    assert [k for k in sizes if k[0] == "cut2"] == [("cut2", 2), ("cut2", 4), ("cut2", 8)]
    assert sizes["cut2", 2] == 8 * 8 * 2 + 24
    assert sizes[ALL_DEVICE, 10] == 0
    assert len(found) == 1 + 4 + 3 + 16 + 1
    none = partitions(network(), {"cut1": (), "cut2": (2,), "cut3": ()})
    assert [p.cut for p in none] == [ALL_REMOTE, "cut2", ALL_DEVICE]
    with pytest.raises(ModelError, match="9 channels cannot be sent, it has 8"):
        partitions(network(), {"cut2": (9,)})
    with pytest.raises(ModelError, match="unknown cuts cut9; known: cut1, cut2, cut3"):
        partitions(network(), {"cut9": (1,)})


def test_prices_by_hand() -> None:
    radio = Radio("r", 100.0, 0.05)
    priced = price(Partition("cut2", 2, 3, 8, 192), certain(), radio)
    # 20 + 30 ms on the device, 192 * 8 bit at 100 kbit/s = 15.36 ms, 2 ms in the cloud.
    assert priced.latency_s is not None
    assert priced.latency_s.median == pytest.approx(0.05 + 0.01536 + 0.002)
    # 2,500 uJ on the device and 15.36 ms at 50 mW.
    assert priced.energy_uj is not None
    assert priced.energy_uj.median == pytest.approx(2500 + 768)
    everything = price(Partition("device", 4, 10, 10, 0), certain(), radio)
    assert everything.latency_s.median == pytest.approx(0.1)  # type: ignore[union-attr]
    assert everything.energy_uj.median == pytest.approx(5000)  # type: ignore[union-attr]
    nothing = price(Partition("input", 0, 3, 3, 3072), certain(), radio)
    assert nothing.latency_s.median == pytest.approx(0.24576 + 0.004)  # type: ignore[union-attr]
    assert nothing.energy_uj.median == pytest.approx(12288)  # type: ignore[union-attr]


def test_connection_latency_hides_behind_the_device() -> None:
    sleepy = Radio("r", 100.0, 0.05, connection_latency_s=0.030)
    prices = {p.cut: price(p, certain(), sleepy) for p in partitions(network(), {
        "cut1": (4,), "cut2": (8,), "cut3": (16,)})}  # fmt: skip
    seconds = {cut: p.latency_s.median for cut, p in prices.items() if p.latency_s}
    assert seconds["input"] == pytest.approx(0.030 + 0.24576 + 0.004)
    assert seconds["cut1"] == pytest.approx(0.030 + 1024 * 8e-5 + 0.003)  # not 20 ms
    assert seconds["cut2"] == pytest.approx(0.050 + 512 * 8e-5 + 0.002)
    assert seconds["device"] == pytest.approx(0.100)
    for a, b in itertools.permutations(prices.values(), 2):
        difference = latency_difference(a, b, certain(), sleepy)
        assert difference.median == pytest.approx(a.latency_s.median - b.latency_s.median)


def test_best_by_hand_over_bandwidth() -> None:
    """Whole tensors only. Latencies in ms at b kbit/s: input 4 + 24576/b, cut1 23 + 8192/b,
    cut2 52 + 4096/b, cut3 91 + 2048/b, device 100."""
    whole = partitions(network(), {"cut1": (4,), "cut2": (8,), "cut3": (16,)})
    result = sweep(whole, certain(), BLE, Goal(Target.LATENCY), [50, 90, 120, 250, 1000])
    assert [d.require().partition.cut for d in result.decisions] == [
        "device", "cut2", "cut2", "cut1", "input",
    ]  # fmt: skip
    # Equal latencies: 48 = 4096/b; 29 = 4096/b; 19 = 16384/b.
    switches = [(s.below.cut, s.above.cut) for s in result.switches if s.below and s.above]
    assert switches == [("device", "cut2"), ("cut2", "cut1"), ("cut1", "input")]
    assert [s.bandwidth_kbps for s in result.switches] == pytest.approx(
        [4096 / 48, 4096 / 29, 16384 / 19], rel=1.1e-3
    )


def test_limits_and_unknown_accuracy() -> None:
    accuracy = {
        ("cut1", 4): Interval(0.90, 0.89, 0.91, 1000, 0.95),
        ("cut1", 2): Interval(0.85, 0.84, 0.86, 1000, 0.95),
        ("cut1", 1): Interval(0.60, 0.58, 0.62, 1000, 0.95),
        ("device", 10): Interval(0.90, 0.89, 0.91, 1000, 0.95),
    }
    measured = dataclasses.replace(certain(), accuracy=accuracy)
    found = partitions(network())

    def choose(**limits: float) -> tuple[str, int]:
        return cheapest(decide(found, measured, BLE, Goal(Target.LATENCY, **limits)))

    assert choose() == ("cut1", 1)
    assert choose(min_accuracy=0.80) == ("cut1", 2)
    assert choose(min_accuracy=0.88) == ("cut1", 4)
    assert choose(min_accuracy=0.88, max_latency_s=0.06) == ("cut1", 4)
    with pytest.raises(DataError, match="no partition keeps all limits"):
        choose(min_accuracy=0.95)
    with pytest.raises(DataError, match="no partition keeps all limits"):
        choose(max_latency_s=0.01)
    decision = decide(found, measured, BLE, Goal(Target.LATENCY, min_accuracy=0.88))
    assert sum(r.reason == "accuracy unknown" for r in decision.rejected) == 1 + 1 + 8 + 16
    blind = decide(found, certain(), BLE, Goal(Target.LATENCY, min_accuracy=0.1))
    assert (blind.outcome, blind.best) == (Outcome.ACCURACY_UNKNOWN, None)


def test_energy_target_and_energy_limit() -> None:
    found = partitions(network())
    # cut1 with one channel: 1,000 uJ + 256 B * 8 / 250 kbit/s * 15 mW = 122.88 uJ.
    decision = decide(found, certain(), BLE, Goal(Target.ENERGY))
    assert cheapest(decision) == ("cut1", 1)
    assert decision.require().energy_uj.median == pytest.approx(1122.88)  # type: ignore[union-attr]
    limited = Goal(Target.LATENCY, max_energy_uj=1300.0)
    assert cheapest(decide(found, certain(), BLE.at(1e6), limited)) == (ALL_REMOTE, 3)


ACCURACIES = {
    ("cut1", 1): 0.60, ("cut1", 2): 0.85, ("cut1", 4): 0.90, ("cut2", 2): 0.80,
    ("cut2", 8): 0.88, ("device", 10): 0.90,
}  # fmt: skip


def evaluated(**half: float) -> Measured:
    known = {key: Interval.exact(top1) for key, top1 in ACCURACIES.items()}
    return dataclasses.replace(certain(), table=table(**half), accuracy=known)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        # At 250 kbit/s cut1 with n channels takes 23 + 8.192 n ms.
        ({"max_latency_s": 0.0312}, ("cut1", 1)),
        ({"max_latency_s": 0.0311}, None),
        ({"max_latency_s": 0.050}, ("cut1", 2)),
        ({"max_latency_s": 0.0558}, ("cut1", 4)),
        # All on the device is as accurate in 100 ms: the sooner one wins.
        ({"max_latency_s": 0.200}, ("cut1", 4)),
        # 1,000 uJ + 122.88 n; all on the device 5,000 uJ.
        ({"max_energy_uj": 1300.0}, ("cut1", 2)),
        ({"max_energy_uj": 9000.0}, ("cut1", 4)),
        ({"max_energy_uj": 9000.0, "max_latency_s": 0.050}, ("cut1", 2)),
        ({"max_latency_s": 0.200, "min_accuracy": 0.95}, None),
    ],
)
def test_best_accuracy_within_a_limit_by_hand(
    limits: dict[str, float], expected: tuple[str, int] | None
) -> None:
    decision = decide(partitions(network()), evaluated(), BLE, Goal(Target.ACCURACY, **limits))
    if expected is None:
        assert decision.outcome is Outcome.TOO_TIGHT
    else:
        assert cheapest(decision) == expected and not decision.uncertain


def test_a_faster_link_lets_more_channels_through() -> None:
    """Within 50 ms, cut1 with n channels needs 2048 n / 27 kbit/s."""
    goal = Goal(Target.ACCURACY, max_latency_s=0.050)
    result = sweep(partitions(network()), evaluated(), BLE, goal, [50, 100, 200, 1000])
    assert [d.best and d.best.partition.key for d in result.decisions] == [
        None, ("cut1", 1), ("cut1", 2), ("cut1", 4),
    ]  # fmt: skip
    assert [s.bandwidth_kbps for s in result.switches] == pytest.approx(
        [2048 / 27, 4096 / 27, 8192 / 27], rel=1.1e-3
    )


def test_a_more_accurate_split_that_may_keep_the_limit_is_a_rival() -> None:
    """At 300 kbit/s cut1 with 4 channels takes 50.3 ms, give or take the device's 1 ms."""
    goal = Goal(Target.ACCURACY, max_latency_s=0.050)
    noisy = evaluated(half_ms=1.0)
    designer = PartitionDesigner(partitions(network()), noisy, BLE, goal, [300.0])
    (decision,) = designer.sweep.decisions
    assert cheapest(decision) == ("cut1", 2)
    assert [(r.option.partition.key, r.difference.median) for r in decision.rivals] == [
        (("cut1", 4), pytest.approx(-0.05))
    ]
    wanted = {(s.wanted, s.layer) for s in designer.suggest(9) if s.wanted is not Wanted.ACCURACY}
    assert wanted == {(Wanted.LAYER_CYCLES, 0)}
    designer.update(table=table())
    assert cheapest(designer.sweep.decisions[0]) == ("cut1", 2)
    assert not designer.sweep.decisions[0].uncertain


def test_accuracy_needs_a_limit_and_a_known_accuracy() -> None:
    with pytest.raises(DataError, match="within a limit"):
        Goal(Target.ACCURACY, min_accuracy=0.5)
    blind = decide(
        partitions(network()), certain(), BLE, Goal(Target.ACCURACY, max_latency_s=0.050)
    )
    assert (blind.outcome, blind.best) == (Outcome.ACCURACY_UNKNOWN, None)
    assert str(Goal(Target.ACCURACY, 0.05, 900.0)) == "best accuracy within 50 ms and 900 uJ"


def test_what_does_not_fit_or_is_not_measured_is_never_chosen() -> None:
    found = partitions(network())
    refused = dataclasses.replace(certain(), refused={"cut1": "l2_low needs 70000 of 65536 bytes"})
    decision = decide(found, refused, BLE, Goal(Target.LATENCY))
    assert cheapest(decision) == ("cut2", 1)
    reasons = {r.reason for r in decision.rejected}
    assert reasons == {"does not fit the board: l2_low needs 70000 of 65536 bytes"}
    cuts = {p.cut: "no" for p in found}
    nothing = decide(found, dataclasses.replace(certain(), refused=cuts), BLE, Goal(Target.LATENCY))
    assert nothing.outcome is Outcome.NOTHING_FITS
    partly = CostTable(table().rows[:2], None, None, ORIGIN)
    decision = decide(found, Measured(partly, cloud()), BLE, Goal(Target.LATENCY))
    assert {r.option.partition.cut for r in decision.rejected} == {"cut3", ALL_DEVICE}
    assert {r.reason for r in decision.rejected} >= {"not measured: cycles of layers 2"}
    none = Measured(CostTable((), None, None, ORIGIN), {})
    assert decide(found, none, BLE, Goal(Target.LATENCY)).outcome is Outcome.NOTHING_KNOWN
    with pytest.raises(DataError, match="no partitions to choose from"):
        decide([], certain(), BLE, Goal(Target.LATENCY))


def test_shared_layers_do_not_make_a_decision_uncertain() -> None:
    """All six samples drift together by 5 ms: far more than a channel's 8 ms / 1 ms airtime."""
    drifting = Measured(table(half_ms=5.0), cloud())
    found = [p for p in partitions(network()) if p.cut == "cut2"]
    decision = decide(found, drifting, BLE.at(1000.0), Goal(Target.LATENCY))
    one, two = (price(p, drifting, BLE.at(1000.0)) for p in found[:2])
    assert one.latency_s.overlaps(two.latency_s)  # type: ignore[union-attr]
    assert not decision.uncertain


def test_overlap_is_uncertain_and_the_noisiest_layer_is_asked_for() -> None:
    # cut1 (23 + 8192/b) and cut2 (52 + 4096/b) are equal at 141.2 kbit/s.
    whole = partitions(network(), {"cut1": (4,), "cut2": (8,), "cut3": (16,)})
    rows = (row(0, 20, 1000, half_ms=9), row(1, 30, 1500, half_ms=3), *table().rows[2:])
    noisy = Measured(CostTable(rows, None, None, ORIGIN), cloud(half_s=0.001))
    designer = PartitionDesigner(whole, noisy, BLE, Goal(Target.LATENCY), [141.0])
    (decision,) = designer.sweep.decisions
    assert decision.uncertain and not designer.certain
    assert [rival.option.partition.cut for rival in decision.rivals] == ["cut1"]
    first, *others = designer.suggest(10)
    # Layer 0 is three times as noisy, but both cuts have it: only layer 1 tells them apart.
    assert (first.wanted, first.layer) == (Wanted.LAYER_CYCLES, 1)
    assert first.score == pytest.approx(9 / 11)
    assert {(s.wanted, s.key) for s in others} == {
        (Wanted.TAIL_LATENCY, ("cut1", 4)),
        (Wanted.TAIL_LATENCY, ("cut2", 8)),
    }
    better = CostTable((row(1, 30, 1500, half_ms=0.001),), None, None, ORIGIN)
    designer.update(table=better, cloud_s=cloud())
    assert designer.certain and designer.suggest(10) == ()


def test_a_limit_within_the_interval_is_a_doubt() -> None:
    noisy = Measured(table(half_ms=1.0), cloud())
    only = [p for p in partitions(network()) if p.cut == "cut2" and p.channels == 1]
    goal = Goal(Target.LATENCY, max_latency_s=0.0545)
    designer = PartitionDesigner(only, noisy, BLE, goal, [250.0])
    (decision,) = designer.sweep.decisions
    assert decision.best is not None and decision.doubts == (
        "latency may reach 0.056048 s, limit 0.0545 s",
    )
    assert {(s.layer, round(s.score, 3)) for s in designer.suggest(5)} == {(0, 0.5), (1, 0.5)}


def test_what_was_never_measured_comes_first() -> None:
    found = partitions(network(), {"cut1": (4,), "cut2": (8,), "cut3": (16,)})
    rows = tuple(row(r.index, 10, None) for r in table().rows[:2])
    partly = Measured(CostTable(rows, None, None, ORIGIN), {})
    designer = PartitionDesigner(found, partly, BLE, Goal(Target.ENERGY, max_latency_s=1), [250.0])
    asked = {(s.wanted, s.layer if s.key is None else s.key) for s in designer.suggest(99)}
    assert asked == {
        (Wanted.LAYER_CYCLES, 2),
        (Wanted.LAYER_CYCLES, 3),
        (Wanted.LAYER_ENERGY, 0),
        (Wanted.LAYER_ENERGY, 1),
        *((Wanted.TAIL_LATENCY, key) for key in (("input", 3), ("cut1", 4), ("cut2", 8))),
        (Wanted.TAIL_LATENCY, ("cut3", 16)),
    }
    assert all(s.reason == "never measured" for s in designer.suggest(99))
    designer.update(table=table(), cloud_s=cloud())
    assert designer.certain


def test_one_sample_is_no_certainty() -> None:
    samples = Samples(("a",), (30_000.0,))
    once = dataclasses.replace(
        row(1, 30, 1500), cycles=Interval(30_000, 30_000, 30_000, 1, 0.0), cycle_samples=samples
    )
    rows = (table().rows[0], once, *table().rows[2:])
    measured = Measured(CostTable(rows, None, None, ORIGIN), cloud())
    whole = partitions(network(), {"cut1": (4,), "cut2": (8,), "cut3": (16,)})
    designer = PartitionDesigner(whole, measured, BLE, Goal(Target.LATENCY), [250.0])
    assert not designer.certain
    (suggestion,) = designer.suggest(1)
    assert (suggestion.layer, suggestion.reason) == (1, "measured only once")


def test_accuracy_is_asked_for_where_it_could_win() -> None:
    known = {("device", 10): Interval(0.9, 0.89, 0.91, 1000, 0.95)}
    measured = dataclasses.replace(certain(), accuracy=known)
    found = partitions(network(), {"cut1": (1, 4), "cut2": (8,), "cut3": (16,)})
    goal = Goal(Target.LATENCY, min_accuracy=0.8)
    designer = PartitionDesigner(found, measured, BLE, goal, [250.0])
    (decision,) = designer.sweep.decisions
    assert cheapest(decision) == ("device", 10)
    keys = {s.key for s in designer.suggest(9) if s.wanted is Wanted.ACCURACY}
    # At 250 kbit/s: input 102 ms is slower than the device's 100, all others are faster.
    assert keys == {("cut1", 1), ("cut1", 4), ("cut2", 8), ("cut3", 16)}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.1, 100), min_size=4, max_size=4),
    st.lists(st.floats(1, 5000), min_size=4, max_size=4),
    st.floats(20, 2000),
    st.sampled_from(list(Target)),
    st.one_of(st.none(), st.floats(0.001, 0.3)),
    st.one_of(st.none(), st.floats(500, 10000)),
    st.integers(0, 2**32 - 1),
)
def test_against_brute_force(
    ms: list[float],
    uj: list[float],
    bandwidth: float,
    target: Target,
    max_latency_s: float | None,
    max_energy_uj: float | None,
    seed: int,
) -> None:
    """Costs written out again from the formula, without any code of the optimizer."""
    rng = np.random.default_rng(seed)
    rows = tuple(row(i, *costs) for i, costs in enumerate(zip(ms, uj, strict=True)))
    found = partitions(network())
    accuracy = {
        p.key: Interval(a, a, a, 1000, 0.95)
        for p in found
        if (a := round(float(rng.uniform(0.5, 1.0)), 3)) < 0.95
    }
    measured = Measured(CostTable(rows, None, None, ORIGIN), cloud(), accuracy)
    if target is Target.ACCURACY and max_latency_s is None and max_energy_uj is None:
        max_latency_s = 0.3
    goal = Goal(target, max_latency_s, max_energy_uj, min_accuracy=0.7)
    best: tuple[float, str, int] | None = None
    for layers, (height, width, channels) in enumerate(SHAPES):
        name = ("input", "cut1", "cut2", "cut3", "device")[layers]
        for n in (channels,) if layers in (0, 4) else range(1, channels + 1):
            air = 0.0 if layers == 4 else height * width * n * 8 / (bandwidth * 1000)
            tail = 0.0 if layers == 4 else 0.004 - 0.001 * layers
            latency = sum(ms[:layers]) / 1000 + air + tail
            energy = sum(uj[:layers]) + air * 0.015 * 1e6
            if max_latency_s is not None and latency > max_latency_s:
                continue
            if max_energy_uj is not None and energy > max_energy_uj:
                continue
            if (name, n) not in accuracy or accuracy[name, n].median < 0.7:
                continue
            if target is Target.ACCURACY:
                value = -accuracy[name, n].median
            else:
                value = latency if target is Target.LATENCY else energy
            if best is None or value < best[0]:
                best = value, name, n
    decision = decide(found, measured, BLE.at(bandwidth), goal)
    if best is None:
        assert decision.best is None
        return
    chosen = decision.require()
    value = chosen.value(target).median  # type: ignore[union-attr]
    assert (-value if target is Target.ACCURACY else value) == pytest.approx(best[0])


def test_decisions_do_not_depend_on_the_order_of_candidates() -> None:
    found = partitions(network())
    goal = Goal(Target.ENERGY)
    assert (
        decide(found, certain(), BLE, goal).require()
        == decide(found[::-1], certain(), BLE, goal).require()
    )
