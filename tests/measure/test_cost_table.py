"""Cost tables, trials and sums over layers, on numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from hil.core.cost import (
    CostRow,
    CostTable,
    Interval,
    Samples,
    independent_difference,
    independent_sum,
)
from hil.core.errors import DataError, FlashError, HilError, InstrumentError, WrongOutputError
from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.core.provenance import Origin, Provenance
from hil.core.trial import (
    OK,
    WHOLE_NETWORK,
    Attachment,
    Event,
    LayerCycles,
    RunSample,
    SelfTestSample,
    Trial,
    TrialKind,
    Verdict,
    WindowSample,
    Workload,
    trial_key,
)
from hil.measure import segments
from hil.measure.budget import MeterAccuracy
from hil.measure.table import cost_table

ORIGIN = Provenance(
    cycles_origin=Origin.SIMULATED,
    energy_origin=Origin.MODELLED,
    board="gap8",
    chip_id="00",
    clock_hz=1_000_000,
    toolchain="zig",
    build_id="b" * 64,
    network="net",
    network_digest="d" * 64,
    timing_model="t1",
    meter="m1",
    rig="virtual",
    protocol=1,
)


def network() -> Network:
    tensors = tuple(Tensor((2, 2, 4), 0.1, True) for _ in range(4))
    weight = np.ones((4, 1, 1, 4), np.int8)
    layers = tuple(Layer(f"conv{i}", Op.POINTWISE, (i,), weight=weight) for i in range(3))
    return Network("net", tensors, layers, (Cut("one", 1),))


def workload(kind: TrialKind, layers: int = 3, image: int = 0, **more: object) -> Workload:
    return Workload(kind, layers, image, "5" * 64, **more)  # type: ignore[arg-type]


def trial(work: Workload, verdict: Verdict = OK, **samples: object) -> Trial:
    key = trial_key(ORIGIN.build_id, ORIGIN.rig, work, ORIGIN.protocol)
    return Trial(key, work, ORIGIN, verdict, "t0", "t1", **samples)  # type: ignore[arg-type]


def run(*totals: int, warmup: bool = False) -> RunSample:
    layers = tuple(LayerCycles(t, t // 2, t // 4) for t in totals)
    return RunSample(warmup, 1, sum(totals), layers)


def window(layer: int, repeat: int, energy_uj: float, iterations: int = 10) -> WindowSample:
    return WindowSample(False, repeat, layer, iterations, 1000, 0.01, 100, energy_uj, 0.1, 0.001)


LAYERS = trial(
    workload(TrialKind.LAYERS, repeats=3, warmups=1),
    runs=(
        run(900, 900, 900, warmup=True),
        run(100, 200, 300),
        run(110, 190, 300),
        run(90, 210, 303),
    ),
)
NETWORK = trial(
    workload(TrialKind.NETWORK, iterations=(2,), repeats=2),
    runs=(RunSample(False, 2, 1210), RunSample(False, 2, 1214)),
)
ENERGY = trial(
    workload(TrialKind.ENERGY, iterations=(10, 20, 10)),
    windows=(
        window(0, 0, 50.0),
        window(1, 0, 200.0, iterations=20),
        window(WHOLE_NETWORK, 0, 450.0, iterations=3),
    ),
)


def test_table_from_trials_by_hand() -> None:
    table = cost_table(network(), ORIGIN, [LAYERS, NETWORK, ENERGY])
    first = table.row(0)
    assert (first.cycles.median, first.cycles.lo, first.cycles.hi, first.cycles.n) == (
        100,
        90,
        110,
        3,
    )
    assert first.cycles.confidence == 0.75  # three samples: 1 - 2 / 2**3
    assert (first.compute_cycles, first.copy_cycles, first.other_cycles) == (50, 25, 25)
    assert first.macs == 2 * 2 * 4 * 4
    assert first.energy_uj is not None and first.energy_uj.median == 5.0
    assert table.row(1).energy_uj.median == 10.0  # type: ignore[union-attr]
    assert table.row(2).energy_uj is None
    assert table.network_cycles is not None and table.network_cycles.median == 606.0
    assert table.network_energy_uj is not None and table.network_energy_uj.median == 150.0


def test_windows_and_runs_of_a_shorter_partition_are_not_the_network() -> None:
    short_energy = trial(
        workload(TrialKind.ENERGY, layers=2, iterations=(3,)),
        windows=(window(WHOLE_NETWORK, 0, 30.0, iterations=3),),
    )
    short_run = trial(workload(TrialKind.NETWORK, layers=2), runs=(RunSample(False, 1, 300),))
    table = cost_table(network(), ORIGIN, [LAYERS, short_energy, short_run])
    assert table.network_energy_uj is None and table.network_cycles is None


def test_void_foreign_and_warmup_samples_do_not_count() -> None:
    void = trial(
        workload(TrialKind.LAYERS, image=1),
        Verdict.void(WrongOutputError("layer conv1 differs")),
        runs=(run(1, 1, 1),),
    )
    table = cost_table(network(), ORIGIN, [void, LAYERS])
    assert table.row(0).cycles.n == 3
    other = dataclasses.replace(ORIGIN, build_id="c" * 64)
    with pytest.raises(DataError, match=r"no good per-layer trial of net .build c{12}"):
        cost_table(network(), other, [LAYERS])


def test_prefix_sums_are_taken_run_by_run() -> None:
    table = cost_table(network(), ORIGIN, [LAYERS])
    # Layers 0 and 1 vary against each other: every pass needs exactly 300 cycles for both.
    two = segments.segment_cycles(table, 0, 2)
    assert (two.median, two.lo, two.hi, two.n) == (300, 300, 300, 3)
    apart = independent_sum([table.row(0).cycles, table.row(1).cycles])
    assert (apart.lo, apart.hi) == pytest.approx(
        (300 - math.hypot(10, 10), 300 + math.hypot(10, 10))
    )
    assert segments.prefix_latency_s(table, 3).median == pytest.approx(600e-6)
    assert segments.prefix_latency_s(table, 0) == Interval.exact(0.0)
    assert segments.prefix_energy_uj(table, 3) is None


def test_an_energy_is_trusted_no_better_than_the_meter() -> None:
    """Three repeats that agree to 0.2 %, by a meter that may be 3 % off in all of them."""
    values = (499.0, 500.0, 501.0)
    sweeps = trial(
        workload(TrialKind.ENERGY, iterations=(10, 10, 10)),
        windows=tuple(
            dataclasses.replace(window(layer, n, uj), supply_v=3.3)
            for n, uj in enumerate(values)
            for layer in range(3)
        ),
    )
    by_repeats = cost_table(network(), ORIGIN, [LAYERS, sweeps])
    plain = segments.segment_energy_uj(by_repeats, 0, 2)
    assert plain is not None and (plain.lo, plain.median, plain.hi) == (99.8, 100.0, 100.2)
    assert segments.trusted_energy_uj(by_repeats, 0, 2) == plain

    table = cost_table(network(), ORIGIN, [LAYERS, sweeps], MeterAccuracy(gain=0.03))
    budget = table.row(0).energy_budget
    assert budget is not None and budget.expanded_uj > 2 * 0.03 * 50 / math.sqrt(3)
    trusted = segments.trusted_energy_uj(table, 0, 2)
    assert trusted is not None and (trusted.median, trusted.n) == (100.0, 3)
    # Both layers are off to the same side.
    assert trusted.above == trusted.below == pytest.approx(2 * budget.expanded_uj)
    # What compares two runs of one meter keeps the repeats' interval.
    assert table.row(0).energy_uj == by_repeats.row(0).energy_uj
    assert segments.prefix_energy_uj(table, 2) == plain
    assert plain.at_least(0.1) == plain


def test_layers_measured_in_other_runs_join_as_independent() -> None:
    joined = segments.summed(
        [
            Samples(("a", "b", "c"), (100, 110, 90)),
            Samples(("c", "a", "b"), (210, 200, 190)),
            Samples(("x", "y"), (10, 14)),
        ]
    )
    # The first two sum to 300 in every run; the third is 12 +- 2 by itself.
    assert (joined.median, joined.lo, joined.hi, joined.n) == (312, 310, 314, 2)


def test_interval_arithmetic() -> None:
    a, b = Interval(10, 7, 12, 6, 0.96), Interval(4, 0, 5, 8, 0.95)
    difference = independent_difference(a, b)
    assert difference.median == 6
    # a's reach down is 3, b's reach up is 1; a's reach up is 2, b's reach down is 4.
    assert difference.lo == pytest.approx(6 - math.hypot(3, 1))
    assert difference.hi == pytest.approx(6 + math.hypot(2, 4))
    assert (difference.n, difference.confidence) == (6, 0.95)
    assert a.scaled(0.5) == Interval(5, 3.5, 6, 6, 0.96)
    assert a.overlaps(Interval(13, 12, 14, 6, 0.96)) and not a.overlaps(b)
    for wrong in ((1, 2, 3), (math.nan, 0, 1), (1, 0, math.inf)):
        with pytest.raises(DataError, match="not an interval"):
            Interval(*wrong, 6, 0.9)
    with pytest.raises(DataError, match="factor >= 0"):
        a.scaled(-1)


def test_table_survives_json_and_shows_as_frame() -> None:
    table = cost_table(network(), ORIGIN, [LAYERS, NETWORK, ENERGY])
    again = CostTable.from_dict(json.loads(json.dumps(table.to_dict(), allow_nan=False)))
    assert again == table
    frame = table.to_frame()
    assert list(frame.index) == [0, 1, 2]
    assert frame.loc[1, "cycles"] == 200 and frame.loc[1, "time_us"] == pytest.approx(200)
    assert frame.loc[0, "macs_per_cycle"] == pytest.approx(64 / 100)
    assert math.isnan(frame.loc[2, "energy_uj"])
    assert frame.attrs["provenance"]["board"] == "gap8"


@pytest.mark.parametrize("spoil", [lambda d: d.update(schema=9), lambda d: d.pop("rows")])
def test_damaged_table_is_refused(spoil) -> None:
    data = cost_table(network(), ORIGIN, [LAYERS]).to_dict()
    spoil(data)
    with pytest.raises(DataError, match=r"schema 9|damaged cost table"):
        CostTable.from_dict(data)


def test_tables_of_different_origin_do_not_merge() -> None:
    table = cost_table(network(), ORIGIN, [LAYERS])
    measured = dataclasses.replace(ORIGIN, cycles_origin=Origin.MEASURED)
    with pytest.raises(DataError, match="cycles_origin: simulated and measured"):
        table.merged(dataclasses.replace(table, provenance=measured))


def test_merge_takes_the_newer_row() -> None:
    table = cost_table(network(), ORIGIN, [LAYERS])
    newer = dataclasses.replace(table.row(1), cycles=Interval(5, 5, 5, 6, 0.96))
    merged = table.merged(CostTable((newer,), None, None, ORIGIN))
    assert [row.cycles.median for row in merged.rows] == [100, 5, 300]
    with pytest.raises(DataError, match="no measured cost of layer 7; measured: 0, 1, 2"):
        merged.row(7)
    with pytest.raises(DataError, match="rows of a cost table go up"):
        CostTable((newer, table.row(0)), None, None, ORIGIN)


def test_trial_survives_json() -> None:
    full = trial(
        workload(TrialKind.ENERGY, iterations=(10, 20)),
        Verdict.void(InstrumentError("meter timed out")),
        runs=(run(1, 2, warmup=True),),
        windows=(window(0, 0, 5.0),),
        self_tests=(SelfTestSample(1, 2, 3),),
        events=(Event("t", "retry", "first read timed out"),),
        attachments=(Attachment("w.npz", "e" * 64, "application/x-npz", 12),),
    )
    assert Trial.from_dict(json.loads(json.dumps(full.to_dict()))) == full
    assert full.verdict.who == "instrument"
    assert full.attachment("w.npz").size_bytes == 12
    with pytest.raises(DataError, match=r"no attachment 'x'; it has: w\.npz"):
        full.attachment("x")


def test_key_depends_on_everything_that_matters() -> None:
    base = workload(TrialKind.LAYERS)
    keys = {
        trial_key("b1", "rig", base, 1),
        trial_key("b2", "rig", base, 1),
        trial_key("b1", "rig2", base, 1),
        trial_key("b1", "rig", base, 2),
        *(
            trial_key("b1", "rig", dataclasses.replace(base, **change), 1)
            for change in (
                {"kind": TrialKind.NETWORK},
                {"layers": 2},
                {"image": 1},
                {"input_sha256": "6" * 64},
                {"iterations": (2,)},
                {"warmups": 1},
                {"repeats": 2},
            )
        ),
    }
    assert len(keys) == 11
    assert trial_key("b1", "rig", workload(TrialKind.LAYERS), 1) in keys


def test_key_of_another_build_is_refused() -> None:
    with pytest.raises(DataError, match="does not belong to build"):
        dataclasses.replace(LAYERS, provenance=dataclasses.replace(ORIGIN, build_id="c" * 64))
    data = LAYERS.to_dict()
    del data["runs"]
    with pytest.raises(DataError, match="damaged trial: KeyError"):
        Trial.from_dict(data)


def test_verdict_names_the_culprit() -> None:
    assert Verdict.void(FlashError("no probe")) == Verdict("void", "no probe", "flash")
    assert Verdict.void(HilError()).who == "bench"
    with pytest.raises(DataError, match="'ok' or 'void'"):
        Verdict("maybe")
    with pytest.raises(DataError, match="has a reason"):
        Verdict("void")


def test_samples_need_distinct_runs() -> None:
    with pytest.raises(DataError, match="different run names"):
        Samples(("a", "a"), (1, 2))


def test_row_of_an_unmeasured_layer_has_no_window() -> None:
    row = CostRow(0, "a", "add", 4, Interval.exact(1.0), 1, 0, 0, Samples(("a",), (1.0,)))
    assert CostRow.from_dict(row.to_dict()) == row
