"""Verdicts of a comparison on intervals chosen by hand."""

from __future__ import annotations

import dataclasses

import pytest

from hil.core.cost import CostRow, CostTable, Interval, Samples
from hil.core.errors import DataError
from hil.core.provenance import Origin, Provenance
from hil.run.compare import Change, compare

ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "00", 10**6, "zig", "b" * 64, "net", "d" * 64,
    "t1", "m1", "virtual", 1,
)  # fmt: skip


def six(lo: float, median: float, hi: float) -> Interval:
    return Interval(median, lo, hi, 6, 0.97)


def row(index: int, name: str, cycles: Interval, energy: Interval | None = None) -> CostRow:
    return CostRow(
        index, name, "conv2d", 1, cycles, 0, 0, 0, Samples(("a",), (1.0,)), energy_uj=energy
    )


def table(*rows: CostRow, network: Interval | None = None) -> CostTable:
    return CostTable(rows, network, None, ORIGIN)


def test_verdicts() -> None:
    before = table(
        row(0, "same", six(9, 10, 11), six(1, 2, 3)),
        row(1, "faster", six(100, 110, 120), six(5, 6, 7)),
        row(2, "slower", six(100, 110, 120)),
        row(3, "old", six(1, 1, 1)),
        row(4, "once", Interval(10, 10, 10, 1, 0.0)),
        network=six(300, 310, 320),
    )
    after = table(
        row(0, "added", six(2, 3, 4)),
        row(1, "same", six(11, 12, 13), six(4, 5, 6)),
        row(2, "faster", six(80, 88, 99.9), six(4, 4.5, 4.9)),
        row(3, "slower", six(120.1, 121, 122), six(1, 1, 1)),
        row(4, "once", six(20, 21, 22)),
        network=six(290, 295, 299),
    )
    result = compare(before, after)
    assert [(x.name, x.cycles.change) for x in result.layers] == [
        ("added", Change.NEW),
        ("same", Change.WITHIN_NOISE),
        ("faster", Change.FASTER),
        ("slower", Change.SLOWER),
        ("once", Change.UNKNOWN),
        ("old", Change.GONE),
    ]
    assert [x.energy_uj.change for x in result.layers[1:4]] == [
        Change.MORE,
        Change.LESS,
        Change.NOT_MEASURED,
    ]
    faster = result.layers[2].cycles
    assert faster.percent == pytest.approx(-20.0)
    assert result.layers[0].cycles.before is None and result.layers[5].cycles.after is None
    assert result.network_cycles.change is Change.FASTER
    assert result.network_energy_uj.change is Change.NOT_MEASURED
    assert [x.name for x in result.worse()] == ["same", "slower"]
    assert result.differing == ()


def test_deterministic_cycles_and_the_smallest_change_that_counts() -> None:
    before, after = (
        table(row(0, "a", six(1000, 1000, 1000))),
        table(row(0, "a", six(1001, 1001, 1001))),
    )
    assert compare(before, after).layers[0].cycles.change is Change.SLOWER
    assert compare(before, before).layers[0].cycles.change is Change.WITHIN_NOISE
    assert compare(before, after, min_percent=0.5).layers[0].cycles.change is Change.WITHIN_NOISE


def test_layers_of_the_same_name_keep_their_order() -> None:
    before = table(row(0, "a", six(10, 10, 10)), row(1, "a", six(20, 20, 20)))
    names = [(x.name, x.cycles.change) for x in compare(before, before).layers]
    assert names == [("a", Change.WITHIN_NOISE), ("a (2)", Change.WITHIN_NOISE)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cycles_origin", Origin.MEASURED),
        ("energy_origin", Origin.MEASURED),
        ("board", "stm32f746"),
        ("clock_hz", 5),
        ("network", "other"),
        ("timing_model", "t2"),
        ("meter", "m2"),
        ("protocol", 2),
    ],
)
def test_runs_of_another_kind_are_refused(field: str, value: object) -> None:
    before = table(row(0, "a", six(1, 1, 1)))
    other = dataclasses.replace(ORIGIN, **{field: value})
    with pytest.raises(DataError, match=f"cannot be compared: {field} "):
        compare(before, dataclasses.replace(before, provenance=other))


def test_what_may_differ_is_listed() -> None:
    before = table(row(0, "a", six(1, 1, 1)))
    other = dataclasses.replace(ORIGIN, toolchain="gcc 13", build_id="c" * 64)
    result = compare(before, dataclasses.replace(before, provenance=other))
    assert result.differing == (
        ("toolchain", "zig", "gcc 13"),
        ("build_id", "b" * 64, "c" * 64),
    )
