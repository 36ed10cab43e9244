"""Samples that a meter estimates: in the window's count and limit, in both budgets, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.active import active_budget_of_pass
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig.meters.ppk2 import SPIKE_SAMPLES, settled

DT_S, CLOCK_HZ, SUPPLY_V = 1e-5, 1e8, 2.0
FIRST, END = 100, 600
PLAN = PlannedWindow(0, 10, round((END - FIRST) * DT_S * CLOCK_HZ))


def wave(current_a: np.ndarray, estimated: np.ndarray) -> Waveform:
    marker = np.zeros(len(current_a), np.bool_)
    marker[FIRST:END] = True
    return Waveform(
        0.0, DT_S, current_a.astype(np.float32), marker, SUPPLY_V, 1.0, False, 0, "meter 7",
        Origin.MODELLED, estimated=estimated,
    )  # fmt: skip


def steps() -> np.ndarray:
    """60 mA within the window, 20 mA outside."""
    current_a = np.full(700, 0.02)
    current_a[FIRST:END] = 0.06
    return current_a


def test_by_hand() -> None:
    """Three at the rise, a border sample behind the fall, and two beyond it that do not count."""
    estimated = np.array([100, 101, 102, 600, 601, 602])
    (window,) = measure_windows(wave(steps(), estimated), [PLAN], CLOCK_HZ, 0)
    limit_uj = 4 * 0.04 * SUPPLY_V * DT_S * 1e6
    assert window.estimated_samples == 4
    assert window.estimate_limit_uj == pytest.approx(limit_uj, rel=1e-6)
    for made in (budget_of_pass, active_budget_of_pass):
        budget = made([window, window], MeterAccuracy())
        assert budget is not None
        terms = {term.name: term.standard_uj for term in budget.terms}
        # Of one of ten passes, uniform, and not smaller with more repeats.
        assert terms["estimates"] == pytest.approx(limit_uj / 10 / 3**0.5, rel=1e-6)


def test_without_estimates_there_is_no_term() -> None:
    (window,) = measure_windows(wave(steps(), np.zeros(0, np.int64)), [PLAN], CLOCK_HZ, 0)
    budget = budget_of_pass([window, window], MeterAccuracy())
    assert window.estimated_samples == 0 and budget is not None
    assert "estimates" not in {term.name for term in budget.terms}


def test_a_window_with_many_is_refused() -> None:
    says = "51 of the 502 samples of window 0 are estimates of the meter, 10% may be"
    with pytest.raises(InstrumentError, match=says):
        measure_windows(wave(steps(), np.arange(200, 251)), [PLAN], CLOCK_HZ, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=12, max_size=30),
    st.floats(1.0, 3.0),
    st.integers(0, 2**31),
)
def test_the_limit_holds_whatever_a_changed_range_does(
    lengths: list[int], spike: float, seed: int
) -> None:
    """Levels in two ranges of any length, samples of which spike up behind each change."""
    rng = np.random.default_rng(seed)
    current_a, place, high = steps(), FIRST, True
    for length in lengths:
        current_a[place : min(place + length, END)] = rng.uniform(0.06, 0.1) if high else 0.03
        place, high = place + length, not high
    ranges = np.where(current_a > 0.05, 4, 3)
    seen_a = current_a.copy()
    for change in np.flatnonzero(np.diff(ranges)) + 1:
        spoiled = slice(change, change + int(rng.integers(1, SPIKE_SAMPLES + 1)))
        seen_a[spoiled] *= spike
    try:
        (window,) = measure_windows(wave(*settled(seen_a, ranges)), [PLAN], CLOCK_HZ, 0)
    except InstrumentError as error:
        assert "are estimates of the meter" in str(error)
        return
    true_uj = current_a[FIRST:END].sum() * SUPPLY_V * DT_S * 1e6
    assert abs(window.energy_uj - true_uj) <= window.estimate_limit_uj + 1e-3
