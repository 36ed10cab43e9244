"""The line of a supply under load: by hand, the record's energy kept, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.rig.meters.supply_fit import Supply, fit_supply


def fit(current_a: np.ndarray, voltage_v: np.ndarray) -> Supply:
    return fit_supply(current_a, voltage_v, current_a * voltage_v)


def test_a_line_by_hand() -> None:
    found = fit(np.array([0.1, 0.3, 0.2, 0.1]), np.array([3.15, 2.85, 3.0, 3.15]))
    assert (found.open_v, found.ohms) == pytest.approx((3.3, 1.5))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(-1.0, 2.0), st.floats(0.0, 0.05))
def test_the_records_energy_is_what_was_sampled(seed: int, ohms: float, noise_v: float) -> None:
    """Whatever line there is or is not, and with products that are not those of the means."""
    rng = np.random.default_rng(seed)
    current_a = rng.uniform(0.0, 0.2, (200, 5))
    voltage_v = 3.3 - ohms * current_a + noise_v * rng.standard_normal(current_a.shape)
    means_a, power_w = current_a.mean(axis=1), (current_a * voltage_v).mean(axis=1)
    found = fit_supply(means_a, voltage_v.mean(axis=1), power_w)
    told_w = means_a * (found.open_v - found.ohms * means_a)
    assert told_w.sum() == pytest.approx(power_w.sum(), rel=1e-12)
    assert found.ohms >= 0


@pytest.mark.parametrize(
    "current_a",
    [
        np.full(1000, 0.05),
        # The noise of both inputs may go together; it is no sag.
        0.05 + 1e-4 * np.random.default_rng(1).standard_normal(1000),
    ],
)
def test_a_steady_current_tells_of_no_sag(current_a: np.ndarray) -> None:
    voltage_v = 3.3 - 20.0 * (current_a - current_a.mean())
    found = fit(current_a, voltage_v)
    charged_v = np.dot(current_a, voltage_v) / current_a.sum()
    assert found.ohms == 0.0 and found.open_v == pytest.approx(charged_v)


def test_noise_of_the_voltage_is_no_sag() -> None:
    rng = np.random.default_rng(2)
    current_a = rng.uniform(0.02, 0.1, 1000)
    found = [fit(current_a, 3.3 + 1e-3 * rng.standard_normal(1000)) for _ in range(50)]
    assert sum(supply.ohms > 0 for supply in found) <= 2
    assert all(supply.ohms < 5e-3 for supply in found)


def test_a_supply_that_rises_with_the_load_has_no_resistance() -> None:
    current_a = np.array([0.1, 0.2, 0.3])
    found = fit(current_a, np.array([3.1, 3.2, 3.3]))
    assert found.ohms == 0.0 and found.open_v == pytest.approx((0.31 + 0.64 + 0.99) / 0.6)


def test_samples_that_are_no_numbers_do_not_count() -> None:
    current_a = np.array([0.1, np.nan, 0.3, 0.2, 0.1])
    voltage_v = np.array([3.2, 3.2, 3.0, np.nan, 3.2])
    found = fit(current_a, voltage_v)
    assert (found.open_v, found.ohms) == pytest.approx((3.3, 1.0))


def test_nothing_drawn_and_nothing_sampled() -> None:
    assert fit(np.zeros(3), np.array([3.0, 3.2, 3.4])) == Supply(pytest.approx(3.2), 0.0)
    nothing = fit(np.full(3, np.nan), np.full(3, 3.0))
    assert np.isnan(nothing.open_v) and nothing.ohms == 0.0
