"""What marker and counter add, and costs without it, on numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from hil.core.cost import CostTable
from hil.core.network import Layer, Network, Op, Tensor
from hil.core.overhead import Overhead
from hil.core.provenance import Origin, Provenance
from hil.core.trial import (
    EMPTY_LAYER,
    OK,
    WHOLE_NETWORK,
    EmptyWindow,
    LayerCycles,
    RunSample,
    Trial,
    TrialKind,
    WindowSample,
    Workload,
    trial_key,
)
from hil.measure.budget import MeterAccuracy
from hil.measure.overhead import in_window, meter_sees, overhead_of, without
from hil.measure.table import cost_table

CLOCK_HZ = 1_000_000
ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "00", CLOCK_HZ, "zig", "b" * 64, "net", "d" * 64,
    "t1", "m1", "virtual", 2,
)  # fmt: skip
# The first window finds empty caches. Marker 42, pass 34, layer 22 are the medians.
EMPTIES = (
    EmptyWindow(64, 81, 62, 42),
    EmptyWindow(38, 34, 42, 22),
    EmptyWindow(38, 34, 42, 22),
    EmptyWindow(39, 35, 42, 22),
    EmptyWindow(38, 33, 42, 22),
)
OVERHEAD = Overhead(42, 34, 22, 22 / math.sqrt(3), math.sqrt(2 / 3), 5)


def trial(kind: TrialKind, iterations: tuple[int, ...] = (1,), **samples: object) -> Trial:
    work = Workload(kind, 1, 0, "5" * 64, iterations)
    key = trial_key(ORIGIN.build_id, ORIGIN.rig, work, ORIGIN.protocol)
    return Trial(key, work, ORIGIN, OK, "t0", "t1", **samples)  # type: ignore[arg-type]


def window(repeat: int, layer: int = 0, iterations: int = 10) -> WindowSample:
    """10 passes of 1000 cycles: 10 ms at 90 mW over a base of 30 mW, and the overhead."""
    cycles = iterations * 1034
    duration_s = (cycles + 42) / CLOCK_HZ
    # Marker and looks at the middle of both powers, as is assumed of them.
    work_uj, middle_uj = 0.09e6 * iterations * 1e-3, 0.06 * (42 + iterations * 34)
    return WindowSample(
        False, repeat, layer, iterations, cycles, duration_s, 100, work_uj + middle_uj, 0.5, 0.03,
        3.0, 1.0, 1e-4, 3,
    )  # fmt: skip


def network() -> Network:
    layer = Layer("pool", Op.MAXPOOL, (0,), kernel=(2, 2), stride=(2, 2))
    return Network(
        "net", (Tensor((2, 2, 4), 0.1, True), Tensor((1, 1, 4), 0.1, True)), (layer,), ()
    )


EMPTY = trial(TrialKind.OVERHEAD, empties=EMPTIES)
LAYERS = trial(
    TrialKind.LAYERS,
    runs=tuple(RunSample(False, 1, 1022, (LayerCycles(1022, 700, 200),)) for _ in range(3)),
)
WHOLE = trial(TrialKind.NETWORK, (2,), runs=(RunSample(False, 2, 2 * 1034),) * 3)
ENERGY = trial(TrialKind.ENERGY, (10,), windows=tuple(window(n) for n in range(3)))


def test_overhead_of_empty_windows_by_hand() -> None:
    found = overhead_of([EMPTY, LAYERS], ORIGIN)
    assert found is not None and found.energy_uj is None
    assert found.to_dict() == pytest.approx(OVERHEAD.to_dict())
    assert overhead_of([LAYERS], ORIGIN) is None
    assert overhead_of([EMPTY], dataclasses.replace(ORIGIN, rig="another")) is None


def test_stated_in_cycles_and_an_assumed_power() -> None:
    seen = window(0)
    share = in_window(OVERHEAD, seen, CLOCK_HZ)
    cycles = 42 + 10 * 34
    assert share.duration_s == pytest.approx(cycles * 1e-6)
    # The window's own mean power lies below 90 mW, since the overhead is in it.
    middle_w = (seen.energy_uj * 1e-6 / seen.duration_s + 0.03) / 2
    assert share.energy_uj == pytest.approx(middle_w * cycles)
    off_uj = (1.3 * seen.energy_uj * 1e-6 / seen.duration_s - middle_w) * cycles / math.sqrt(3)
    counted_uj = middle_w * math.hypot(OVERHEAD.marker_uncertainty, 10 * OVERHEAD.pass_uncertainty)
    assert share.uncertainty_uj == pytest.approx(math.hypot(off_uj, counted_uj))


def test_by_the_meter_in_proportion_to_the_cycles() -> None:
    # Two empty windows of 76 cycles: 3 and 5 uJ, edges 0.6 uJ either way.
    seen = tuple(
        WindowSample(False, n, EMPTY_LAYER, 1, 34, 76e-6, 15, uj, 0.6, 0.03, 3.0)
        for n, uj in enumerate((3.0, 5.0))
    )
    found = overhead_of([dataclasses.replace(EMPTY, windows=seen)], ORIGIN)
    assert found is not None and found.energy_uj == pytest.approx(4.0)
    assert found.energy_uncertainty_uj == pytest.approx(math.sqrt((2.0 + 0.12) / 2))
    share = in_window(found, window(0), CLOCK_HZ)
    factor = (42 + 340) / 76
    assert (share.duration_s, share.energy_uj) == pytest.approx((382e-6, 4.0 * factor))
    assert share.uncertainty_uj > found.energy_uncertainty_uj * factor
    assert meter_sees(76, CLOCK_HZ, 7e-6) and not meter_sees(76, CLOCK_HZ, 8e-6)


def test_what_is_left_of_a_window_does_not_depend_on_its_passes() -> None:
    once, often = window(0, iterations=1), window(0, iterations=10)

    def apart(quantity: str) -> tuple[float, float]:
        """Relative difference of a pass's share, before and after."""
        pairs = [
            (once, often),
            (without(once, OVERHEAD, CLOCK_HZ), without(often, OVERHEAD, CLOCK_HZ)),
        ]
        before, after = (
            abs(getattr(a, quantity) / getattr(b, quantity) * b.iterations - 1) for a, b in pairs
        )
        return before, after

    for quantity in ("duration_s", "energy_uj"):
        before, after = apart(quantity)
        assert after < before / 10
    assert without(once, OVERHEAD, CLOCK_HZ).cycles == 1000
    assert without(often, OVERHEAD, CLOCK_HZ).cycles == 10_000


def test_a_table_without_the_overhead() -> None:
    table = cost_table(network(), ORIGIN, [EMPTY, LAYERS, WHOLE, ENERGY], MeterAccuracy())
    row = table.row(0)
    assert row.cycles.median == 1000 and row.other_cycles == 100
    assert table.network_cycles is not None and table.network_cycles.median == 1000
    assert row.energy_uj is not None and row.energy_uj.median == pytest.approx(90.0, rel=2e-3)
    assert row.window is not None and row.window.window_s == pytest.approx(0.01)
    # The assumed power is that of a window with overhead: somewhat lower than the true one.
    assert row.window.overhead_uj == pytest.approx(0.06 * 38.2, rel=0.03)
    assert row.energy_budget is not None
    (term,) = [term for term in row.energy_budget.terms if term.name == "marker overhead"]
    share = in_window(OVERHEAD, window(0), CLOCK_HZ)
    assert term.standard_uj == pytest.approx(share.uncertainty_uj / 10)
    assert table.overhead == overhead_of([EMPTY], ORIGIN)
    assert table.to_frame().attrs["overhead"]["marker_cycles"] == 42
    assert CostTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


def test_an_older_journal_is_read_and_nothing_is_subtracted() -> None:
    records = [LAYERS.to_dict(), WHOLE.to_dict(), ENERGY.to_dict()]
    for record in records:
        del record["empties"]
    table = cost_table(network(), ORIGIN, map(Trial.from_dict, records), MeterAccuracy())
    assert table.overhead is None
    row = table.row(0)
    assert row.cycles.median == 1022 and row.window.overhead_uj is None  # type: ignore[union-attr]
    assert row.energy_uj.median == pytest.approx(window(0).energy_uj / 10)  # type: ignore[union-attr]
    terms = row.energy_budget.terms  # type: ignore[union-attr]
    assert "marker overhead" not in {term.name for term in terms}
    assert math.isnan(table.to_frame().loc[0, "overhead_uj"])
    old = table.to_dict() | {"schema": 2}
    del old["overhead"]
    assert CostTable.from_dict(old) == table


def test_empty_windows_survive_the_journal() -> None:
    assert Trial.from_dict(json.loads(json.dumps(EMPTY.to_dict()))) == EMPTY


def test_the_whole_network_loses_its_marker_too() -> None:
    whole = trial(TrialKind.ENERGY, (5,), windows=(window(0, WHOLE_NETWORK, 5),))
    bare = cost_table(network(), ORIGIN, [LAYERS, whole])
    table = cost_table(network(), ORIGIN, [EMPTY, LAYERS, whole])
    assert bare.network_energy_uj is not None and table.network_energy_uj is not None
    less_uj = bare.network_energy_uj.median - table.network_energy_uj.median
    share = in_window(OVERHEAD, window(0, WHOLE_NETWORK, 5), CLOCK_HZ)
    assert less_uj == pytest.approx(share.energy_uj / 5)
