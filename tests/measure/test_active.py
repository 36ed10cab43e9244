"""The active energy's budget, by hand and against draws of every cause."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hil.core.trial import WindowSample
from hil.measure.active import active_budget_of_pass
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.overhead import MarkerOverhead

SUPPLY_V = 3.0


def window(energy_uj: float, base_w: float = 0.03, lost_uj: float = 0.0) -> WindowSample:
    """10 passes in 10 ms."""
    return WindowSample(
        False, 0, 0, 10, 1_000_000, 0.01, 100, energy_uj, 6.0, base_w, SUPPLY_V, 1.01, 1e-4, 4,
        int(lost_uj > 0), lost_uj,
    )  # fmt: skip


def test_terms_by_hand() -> None:
    # A pass: 89.9, 90 and 90.1 uJ over bases of 29, 30 and 31 mW in a millisecond.
    windows = [window(899.0, 0.031, 9.0), window(900.0, 0.030, 9.0), window(901.0, 0.029, 9.0)]
    accuracy = MeterAccuracy(
        gain=1e-3, offset_a=1e-3, resolution_a=2e-6, shunt=5e-3, supply=2e-3, time_base=1e-4
    )
    budget = active_budget_of_pass(windows, accuracy, MarkerOverhead(1e-6, 1.0, 0.25))
    assert budget is not None and budget.energy_uj == pytest.approx(60.0)
    root3 = math.sqrt(3)
    of_mean = 4.30 / 2 / root3  # Student's t of 2 degrees of freedom, of a mean of 3
    expected = {
        "noise": 0.1 * of_mean,
        "base power": 1e-3 * 1e-3 * 1e6 * of_mean,
        # On the difference of 60 uJ, not on the 90 uJ; the offset of 1 mA is in both readings.
        "gain": 0.06 / root3,
        "shunt": 0.3 / root3,
        "supply": 0.12 / root3,
        "time base": 0.006 / root3,
        "resolution": math.sqrt(2) * 1e-6 * SUPPLY_V * 1e-3 * 1e6 / root3,
        "edges": 0.6 / root3,
        "clock ratio": 60 * 1e-4 / math.sqrt(3) / 1.01,
        "marker overhead": 0.25,
        "lost samples": 0.9 / root3,
    }
    assert {term.name: term.standard_uj for term in budget.terms} == pytest.approx(expected)


def test_one_window_tells_nothing() -> None:
    assert active_budget_of_pass([window(900.0)], MeterAccuracy()) is None


def test_an_offset_widens_the_energy_and_not_the_difference() -> None:
    windows, poor = [window(899.0), window(901.0)], MeterAccuracy(offset_a=1e-2)
    total, bare = budget_of_pass(windows, poor), budget_of_pass(windows, MeterAccuracy())
    active = active_budget_of_pass(windows, poor)
    assert total is not None and bare is not None and active is not None
    assert total.combined_uj > 5 * bare.combined_uj
    assert active.combined_uj < 2 * bare.combined_uj


def test_the_interval_covers_the_true_difference() -> None:
    """Gain, supply and offset fixed for a bench, noise of work and gaps in each of 6 repeats."""
    rng = np.random.default_rng(24)
    limits = MeterAccuracy(gain=3e-3, supply=2e-3, offset_a=1e-4)
    work_w, base_w, misses = 0.09, 0.03, []
    for _ in range(300):
        scale = (1 + rng.uniform(-3e-3, 3e-3)) * (1 + rng.uniform(-2e-3, 2e-3))
        offset_w = rng.uniform(-1e-4, 1e-4) * SUPPLY_V
        drift_w = rng.normal(0, 2e-4, 6)  # both readings of a repeat share it
        seen = [
            window(
                ((work_w + d + rng.normal(0, 3e-4)) * scale + offset_w) * 0.01 * 1e6,
                (base_w + d + rng.normal(0, 3e-4)) * scale + offset_w,
            )
            for d in drift_w
        ]
        seen = [dataclasses.replace(w, edge_uncertainty_uj=0.0) for w in seen]
        budget = active_budget_of_pass(seen, limits)
        assert budget is not None
        misses.append((budget.energy_uj - 60.0) / budget.expanded_uj)
    covered = float(np.mean(np.abs(misses) <= 1))
    assert covered >= 0.912  # 95 %, and three standard deviations of 300 draws
    assert float(np.std(misses)) > 0.25  # and not idly wide
    assert abs(np.mean(misses)) < 3 * np.std(misses) / math.sqrt(300)
