"""The waveform noun: what it refuses, and that its bytes bring it back whole."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hil.core.errors import DataError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform


def waveform(samples: int = 11) -> Waveform:
    return Waveform(
        t0_s=0.25,
        sample_interval_s=1e-5,
        current_a=np.linspace(0, 0.1, samples, dtype=np.float32),
        marker=np.arange(samples) % 3 == 0,
        supply_v=3.3,
        range_a=0.1,
        overload=True,
        lost_samples=7,
        meter="ACME,M,1,2",
        origin=Origin.MEASURED,
    )


@given(
    arrays.arrays(
        np.float32, st.integers(0, 40), elements=st.floats(-1, 1, width=32, allow_nan=False)
    )
)
def test_bytes_bring_it_back(current: np.ndarray) -> None:
    marker = np.arange(len(current)) % 2 == 1
    first = replace(waveform(), current_a=current, marker=marker, edge_gap_s=3e-5)
    first = replace(first, source_ohms=0.25, estimated=np.flatnonzero(marker))
    again = Waveform.from_bytes(first.to_bytes())
    for field in fields(Waveform):
        assert np.array_equal(getattr(again, field.name), getattr(first, field.name)), field.name
    assert again.to_bytes() == first.to_bytes()
    assert again.origin is Origin.MEASURED and again.marker.dtype == np.bool_


def test_power_and_duration() -> None:
    made = waveform()
    assert made.duration_s == pytest.approx(11e-5) and len(made) == 11
    assert made.power_w[-1] == pytest.approx(0.33) and made.power_w.dtype == np.float64
    behind_a_shunt = replace(made, series_ohms=2.0)
    assert behind_a_shunt.power_w[-1] == pytest.approx(0.1 * (3.3 - 0.2))
    assert behind_a_shunt.board_v == pytest.approx(3.3 - 0.05 * 2.0)  # 50 mA on average
    sagging = replace(behind_a_shunt, source_ohms=1.0)
    assert sagging.power_w[-1] == pytest.approx(0.1 * (3.3 - 0.3))
    assert sagging.board_v == pytest.approx(3.3 - 0.05 * 3.0)


# Fields that older schemas lack.
LATER = ("series_ohms", "edge_uncertainty_s", "edge_gap_s", "source_ohms", "estimated")


@pytest.mark.parametrize(("schema", "missing"), [(1, LATER), (2, LATER[1:]), (3, LATER[3:])])
def test_older_schemas_are_still_read(schema: int, missing: tuple[str, ...]) -> None:
    made = replace(
        waveform(), series_ohms=2.0, edge_uncertainty_s=1e-5, edge_gap_s=2e-5, source_ohms=0.5,
        estimated=np.array([3, 4]),
    )  # fmt: skip
    content = {f.name: getattr(made, f.name) for f in fields(Waveform) if f.name not in missing}
    content |= {"origin": "measured", "marker": np.packbits(content["marker"]), "schema": schema}
    file = io.BytesIO()
    np.savez(file, **content)
    again = Waveform.from_bytes(file.getvalue())
    for name in LATER:
        expected = getattr(waveform() if name in missing else made, name)
        assert np.array_equal(getattr(again, name), expected), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"current_a": np.zeros(11)}, "float64"),
        ({"marker": np.zeros(10, np.bool_)}, "differ in length"),
        ({"marker": np.zeros(11, np.uint8)}, "uint8"),
        ({"sample_interval_s": 0.0}, "interval of 0.0 s"),
        ({"sample_interval_s": float("nan")}, "interval of nan"),
        ({"edge_uncertainty_s": -1e-6}, "edges known to -1e-06 s"),
        ({"edge_gap_s": float("inf")}, "gaps of inf s"),
        ({"source_ohms": -0.1}, "a supply of -0.1 ohms"),
        ({"estimated": np.array([3, 3])}, "estimated samples are not rising"),
        ({"estimated": np.array([11])}, "estimated samples are not .* below 11"),
        ({"estimated": np.array([3.0])}, "estimated samples are not .*int64"),
        ({"current_a": np.full(11, np.nan, np.float32)}, "sample 0 of 11 is nan"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(waveform(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_damaged_bytes(cut: int) -> None:
    data = waveform().to_bytes()
    with pytest.raises(DataError, match="damaged waveform"):
        Waveform.from_bytes(data[:cut])


def test_other_archives() -> None:
    file = io.BytesIO()
    np.savez(file, a=1)
    with pytest.raises(DataError, match="not a waveform of schema 4, it holds: a"):
        Waveform.from_bytes(file.getvalue())
