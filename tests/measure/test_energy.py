"""Windows and energies of waveforms whose true energy is known in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.clock import ClockRatio
from hil.measure.energy import PlannedWindow, measure_windows, window_energies
from hil.measure.windows import find_windows, fit_duration

DT_S = 1e-4
SUPPLY_V = 3.0


def waveform(current_a: np.ndarray, marker: np.ndarray | str, **more: object) -> Waveform:
    if isinstance(marker, str):
        marker = np.array([m == "1" for m in marker], bool)
    fields: dict[str, object] = {
        "t0_s": 0.0,
        "sample_interval_s": DT_S,
        "current_a": np.asarray(current_a, np.float32),
        "marker": marker,
        "supply_v": SUPPLY_V,
        "range_a": 0.1,
        "overload": False,
        "lost_samples": 0,
        "meter": "meter 7",
        "origin": Origin.MODELLED,
    }
    return Waveform(**{**fields, **more})  # type: ignore[arg-type]


def flat(marker: str, **more: object) -> Waveform:
    return waveform(np.full(len(marker), 0.01), marker, **more)


def sampled(edges: list[float], high_a: float, low_a: float, samples: int) -> Waveform:
    """What the meter makes of a current that is high between the edges (in samples).

    An independent model of the sampling: averages over each interval, marker at its middle.
    """
    grid = 1000
    fine = (np.arange(samples * grid) + 0.5) / grid
    high = np.searchsorted(edges, fine) % 2 == 1
    current = np.where(high, high_a, low_a).reshape(samples, grid).mean(axis=1)
    return waveform(current, np.searchsorted(edges, np.arange(samples) + 0.5) % 2 == 1)


def test_energy_by_hand() -> None:
    current = np.array([1, 1, 1, 5, 6, 7, 1, 1, 1, 1, 2, 2, 1, 1]) * 1e-3
    wave = waveform(current, "00011100001100")
    one, two = window_energies(wave, find_windows(wave, 2))
    # 3 V * (5 + 6 + 7) mA * 100 us = 5.4 uJ; base is 3 V * 1 mA.
    assert one.energy_uj == pytest.approx(5.4, rel=1e-6)
    assert one.duration_s == pytest.approx(3e-4)
    assert one.base_power_w == pytest.approx(3e-3)
    assert two.energy_uj == pytest.approx(1.2, rel=1e-6)
    # Each edge by itself: half a sample of 3 mW on both sides.
    assert one.edge_uncertainty_uj == pytest.approx(0.3, rel=1e-6)


def test_the_boards_count_places_the_edges() -> None:
    # High at 10 mA from 3.75 to 8.5, 2 mA outside; the marker is sampled at x.5.
    current = np.array([2, 2, 2, 4, 10, 10, 10, 10, 6, 2, 2, 2]) * 1e-3
    wave = waveform(current, "000011111000")
    (window,) = find_windows(wave, 1)
    fitted = fit_duration(window, window.samples - 4.75)
    assert (fitted.start, fitted.stop, fitted.slack) == pytest.approx((4.125, 8.875, 0.375))
    (energy,) = window_energies(wave, [fitted])
    # 3 V * 10 mA * 475 us, although neither edge is where it was put.
    assert energy.energy_uj == pytest.approx(14.25, rel=1e-6)
    assert energy.duration_s == pytest.approx(4.75 * DT_S)
    assert energy.edge_uncertainty_uj == pytest.approx(0.0, abs=1e-9)


def test_different_power_on_both_sides_is_the_remaining_uncertainty() -> None:
    wave = waveform(np.array([1] * 5 + [9] * 10 + [3] * 5) * 1e-3, "0" * 5 + "1" * 10 + "0" * 5)
    fitted = fit_duration(find_windows(wave, 1)[0], 0.0)
    (energy,) = window_energies(wave, [fitted])
    assert energy.energy_uj == pytest.approx(27.0, rel=1e-6)
    assert energy.edge_uncertainty_uj == pytest.approx(0.5 * 3 * 2e-3 * 100, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(20, 21), st.floats(100, 160), st.floats(0.001, 0.05), st.floats(0.0005, 0.05))
def test_true_energy_lies_within_the_edge_uncertainty(
    start: float, length: float, high_a: float, low_a: float
) -> None:
    wave = sampled([start, start + length], high_a, low_a, 220)
    plan = PlannedWindow(3, 8, round(length * DT_S * 1e8))
    (window,) = measure_windows(wave, [plan], 1e8, repeat=2, ratio=ClockRatio(1.0, 0.0, 1))
    true_uj = SUPPLY_V * high_a * length * DT_S * 1e6
    grid_uj = 2e-3 * SUPPLY_V * DT_S * 1e6 * max(high_a, low_a)  # of the model's own sampling
    assert abs(window.energy_uj - true_uj) <= window.edge_uncertainty_uj + grid_uj
    assert window.base_power_w == pytest.approx(SUPPLY_V * low_a, rel=1e-4)
    assert (window.layer, window.iterations, window.repeat) == (3, 8, 2)
    assert window.duration_s == pytest.approx(length * DT_S, rel=1e-3)


def test_knowing_the_duration_beats_counting_samples() -> None:
    rng = np.random.default_rng(4)
    plain, fitted = [], []
    for start in rng.uniform(20, 21, 100):
        wave = sampled([start, start + 50.5], 0.02, 0.015, 100)
        windows = find_windows(wave, 1)
        true_uj = SUPPLY_V * 0.02 * 50.5 * DT_S * 1e6
        known = [fit_duration(windows[0], windows[0].samples - 50.5)]
        plain.append(abs(window_energies(wave, windows)[0].energy_uj - true_uj))
        fitted.append(abs(window_energies(wave, known)[0].energy_uj - true_uj))
    assert np.mean(fitted) < np.mean(plain) / 100


def test_glitches_are_not_windows() -> None:
    wave = flat("000100111101111000010")
    (window,) = find_windows(wave, 1)
    assert (window.first, window.end) == (6, 15)
    with pytest.raises(InstrumentError, match="begins with the marker high"):
        find_windows(flat("1100110"), 1, min_run=1)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("0001110001110000", "meter 7: 2 marked windows in 0.0016 s, 1 were asked for"),
        ("0000000000000000", "0 marked windows"),
        ("1110000111000000", "begins with the marker high.*arm the meter before"),
        ("0000111000011111", "ends with the marker high.*acquire for longer"),
        ("0101010101010101", "no marker level lasts 2 of the 16 samples"),
        ("", "no marker level lasts"),
    ],
)
def test_a_waveform_with_other_windows_is_refused(marker: str, message: str) -> None:
    with pytest.raises(InstrumentError, match=message):
        find_windows(flat(marker), 1)


def test_lost_samples_void_the_waveform() -> None:
    with pytest.raises(InstrumentError, match="3 samples were lost among 7"):
        find_windows(flat("0001100", lost_samples=3), 1)


def test_overload_matters_where_the_window_is() -> None:
    current = np.full(12, 0.01)
    current[1] = 0.1
    outside = waveform(current, "000001111000", overload=True)
    assert len(find_windows(outside, 1)) == 1
    current[6] = 0.1
    with pytest.raises(InstrumentError, match=r"1 samples of window 0 are clipped.*sample 6"):
        find_windows(waveform(current, "000001111000", overload=True), 1)
    with pytest.raises(InstrumentError, match="cannot be found in the samples"):
        find_windows(flat("000001111000", overload=True), 1)


def test_board_and_meter_must_agree_about_the_time() -> None:
    wave = flat("0" * 10 + "1" * 100 + "0" * 10)
    plan = PlannedWindow(0, 1, 100)
    assert measure_windows(wave, [plan], 1 / DT_S, 0)[0].duration_s == pytest.approx(0.01)
    for cycles in (80, 120):
        wrong = dataclasses.replace(plan, cycles=cycles)
        with pytest.raises(InstrumentError, match=r"window 0 lasts 0\.01 s by the marker"):
            measure_windows(wave, [wrong], 1 / DT_S, 0)


def test_windows_without_a_gap_have_no_base() -> None:
    wave = flat("0000111001110000")
    with pytest.raises(InstrumentError, match="no quiet sample after window 0"):
        window_energies(wave, find_windows(wave, 2))
    wave = flat("00111000")
    with pytest.raises(InstrumentError, match=r"no quiet sample before window 0.*gap of at least"):
        window_energies(wave, [dataclasses.replace(w, first=1) for w in find_windows(wave, 1)])
