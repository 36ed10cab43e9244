"""Energy between two timestamps, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.timestamps import timestamp_window

INTERVAL_S = 10e-6
HOLD = 5  # samples of 50 us
SUPPLY_V = 2.0


def waveform(
    falls: list[int], current_a: np.ndarray, hold: int = HOLD, **other: object
) -> Waveform:
    marker = np.ones(len(current_a), np.bool_)
    for fall in falls:
        marker[fall : fall + hold] = False
    known = {"lost_samples": 0, "overload": False, "sample_interval_s": INTERVAL_S, **other}
    return Waveform(
        t0_s=0.0, current_a=current_a.astype(np.float32), marker=marker, supply_v=SUPPLY_V,
        range_a=1.0, meter="meter", origin=Origin.MODELLED, **known,  # type: ignore[arg-type]
    )  # fmt: skip


def steps(low_a: float, high_a: float, start: int, stop: int, size: int = 400) -> np.ndarray:
    current = np.full(size, low_a)
    current[start:stop] = high_a
    return current


def test_what_is_drawn_between_two_falls_and_the_holding_belongs_to_it() -> None:
    found = timestamp_window(waveform([100, 300], steps(0.01, 0.05, 100, 300)), 50e-6)
    assert found.duration_s == pytest.approx(200 * INTERVAL_S)
    assert found.energy_uj == pytest.approx(200 * 0.05 * SUPPLY_V * 10, rel=1e-6)
    # Half a sample of 0.05 A at either edge.
    assert found.edge_uncertainty_uj == pytest.approx(0.05 * SUPPLY_V * 10, rel=1e-6)


@pytest.mark.parametrize("dip", [slice(350, 351), slice(200, 202), slice(50, 52), slice(99, 100)])
def test_a_dip_is_no_timestamp(dip: slice) -> None:
    """Of 20 us within the window: it would otherwise begin there."""
    noisy = waveform([100, 300], steps(0.01, 0.05, 100, 300))
    noisy.marker[dip] = False
    assert timestamp_window(noisy, 50e-6).duration_s == pytest.approx(200 * INTERVAL_S, rel=0.006)


@pytest.mark.parametrize("sample", [101, 102, 301, 302, 303])
def test_a_high_sample_does_not_split_a_timestamp(sample: int) -> None:
    noisy = waveform([100, 300], steps(0.01, 0.05, 100, 300))
    noisy.marker[sample] = True
    assert timestamp_window(noisy, 50e-6).duration_s == pytest.approx(200 * INTERVAL_S)


def test_an_inference_of_one_sample() -> None:
    seen = waveform([100, 106], steps(0.01, 0.05, 100, 106))
    assert timestamp_window(seen, 50e-6).duration_s == pytest.approx(6 * INTERVAL_S)


@pytest.mark.parametrize("interval_s", [5e-6, 12.5e-6, 25e-6])
def test_timestamps_at_other_rates(interval_s: float) -> None:
    seen = waveform(
        [100, 300], steps(0.01, 0.05, 100, 300), round(50e-6 / interval_s),
        sample_interval_s=interval_s,
    )  # fmt: skip
    assert timestamp_window(seen, 50e-6).duration_s == pytest.approx(200 * interval_s)


@pytest.mark.parametrize("size", [302, 304, 305, 310])
def test_a_record_that_ends_within_or_right_behind_the_closing_timestamp(size: int) -> None:
    with pytest.raises(InstrumentError, match="not high for a timestamp's 50 us at the end"):
        timestamp_window(waveform([100, 300], steps(0.01, 0.05, 100, 300, size)), 50e-6)


def test_a_line_that_was_held_low_within_the_window() -> None:
    reset = waveform([100, 300], steps(0.01, 0.05, 100, 300))
    reset.marker[200:250] = False
    with pytest.raises(InstrumentError, match="low for 500 us, a timestamp is 50 us; was the boa"):
        timestamp_window(reset, 50e-6)


def test_a_line_that_was_low_before_the_first_timestamp() -> None:
    current = steps(0.01, 0.05, 100, 300)
    booting = waveform([100, 300], current)
    booting.marker[:50] = False
    assert timestamp_window(booting, 50e-6).duration_s == pytest.approx(200 * INTERVAL_S)


@pytest.mark.parametrize(
    ("falls", "other", "says"),
    [
        ([], {}, "0 timestamps"),
        ([100], {}, "1 timestamps in 0.004 s"),
        ([50, 100, 300], {}, "3 timestamps"),
        ([100, 300], {"lost_samples": 3}, "3 samples were lost"),
        ([100, 300], {"overload": True}, "range above 1 A"),
        ([100, 300], {"sample_interval_s": 1e-3}, "sample_rate_hz to 40000 or more"),
    ],
)
def test_what_cannot_be_used(falls: list[int], other: dict[str, object], says: str) -> None:
    with pytest.raises(InstrumentError, match=says):
        timestamp_window(waveform(falls, steps(0.01, 0.05, 100, 300), **other), 50e-6)


def test_estimates_of_the_meter_are_in_the_limit() -> None:
    seen = waveform(
        [100, 300], steps(0.01, 0.05, 120, 300), estimated=np.array([99, 120, 121, 122, 300])
    )
    found = timestamp_window(seen, 50e-6)
    assert found.estimate_limit_uj == pytest.approx(3 * 0.04 * SUPPLY_V * 10, rel=1e-6)
    many = waveform([100, 300], steps(0.01, 0.05, 100, 300), estimated=np.arange(150, 171))
    with pytest.raises(InstrumentError, match="21 of the 200 samples of the window are estimates"):
        timestamp_window(many, 50e-6)
