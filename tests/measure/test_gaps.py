"""What gaps beside a window tell: the base of a current that pulses, and a current that is late."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.energy import WindowEnergy, window_energies
from hil.measure.settling import late_power_w
from hil.measure.windows import find_windows

DT_S, SUPPLY_V = 1e-5, 2.0
GAP, LENGTH, WINDOWS = 50, 500, 4
MARKER = np.concatenate([np.repeat([False, True], (GAP, LENGTH))] * WINDOWS + [np.zeros(GAP, bool)])
BASE_A, WORK_A = 0.02, 0.05


def energies(
    current_a: np.ndarray, marker: np.ndarray = MARKER, **more: object
) -> list[WindowEnergy]:
    wave = Waveform(
        0.0, DT_S, current_a.astype(np.float32), marker, SUPPLY_V, 0.1, bool(more), 0, "meter 7",
        Origin.MODELLED,
    )  # fmt: skip
    return list(window_energies(wave, find_windows(wave, WINDOWS), GAP * DT_S))


@pytest.mark.parametrize("phase", range(0, 50, 7))
@pytest.mark.parametrize("period_s", [5e-5, 1e-4])
def test_the_base_of_a_current_that_pulses_is_its_mean(period_s: float, phase: int) -> None:
    """A regulator's bursts, a fifth of the time: a median sees none of them."""
    ends_s = (np.arange(len(MARKER) + 1) + phase / 50) * DT_S
    full, rest = np.divmod(ends_s, period_s)
    bursts_a = 0.01 * np.diff(full * period_s / 5 + np.minimum(rest, period_s / 5)) / DT_S
    for energy in energies(np.where(MARKER, WORK_A, BASE_A) + bursts_a):
        base_w = SUPPLY_V * (BASE_A + 0.01 / 5)
        assert energy.base_power_w == pytest.approx(base_w, rel=5e-3)


def test_what_the_board_did_before_the_gap_is_no_base() -> None:
    """A layer without a window runs before the gap that the firmware waits."""
    current_a = np.where(MARKER, WORK_A, BASE_A)
    busy = np.full(200, WORK_A)
    marker = np.concatenate((np.zeros(200, bool), MARKER))
    for energy in energies(np.concatenate((busy, current_a)), marker):
        assert energy.base_power_w == pytest.approx(SUPPLY_V * BASE_A)


@pytest.mark.parametrize("place", [GAP - 20, GAP + LENGTH + 20])
def test_a_clipped_sample_in_a_gap_voids(place: int) -> None:
    current_a = np.where(MARKER, WORK_A, BASE_A)
    current_a[place] = 0.1
    with pytest.raises(
        InstrumentError, match=rf"1 samples in the gaps beside window 0 .* {place};"
    ):
        energies(current_a, overload=True)


def lagged(time_constant: float) -> np.ndarray:
    """The meter's current behind resistance and capacitance; ``time_constant`` in samples."""
    seen, current_a, keep = np.empty(len(MARKER)), BASE_A, exp(-1 / time_constant)
    mean = time_constant * (1 - keep)  # of exp(-t / time_constant) in a sample
    for i, target_a in enumerate(np.where(MARKER, WORK_A, BASE_A)):
        seen[i] = target_a + (current_a - target_a) * mean
        current_a = target_a + (current_a - target_a) * keep
    return seen


@pytest.mark.parametrize("time_constant", [0.5, 2.0, 3.0])
def test_a_late_current_lies_within_the_limit(time_constant: float) -> None:
    true_uj = LENGTH * DT_S * SUPPLY_V * WORK_A * 1e6
    late_uj = time_constant * DT_S * SUPPLY_V * (WORK_A - BASE_A) * 1e6
    for energy in energies(lagged(time_constant)):
        # What is in the border's own samples is counted already.
        assert 0.5 * late_uj < true_uj - energy.energy_uj + 0.5 * energy.edge_uncertainty_uj
        assert true_uj - energy.energy_uj <= 1.02 * energy.edge_limit_uj
        assert energy.edge_limit_uj <= late_uj
        assert energy.base_power_w == pytest.approx(SUPPLY_V * BASE_A, rel=1e-3)


@pytest.mark.parametrize("time_constant", [6.0, 20.0, 100.0])
def test_a_gap_that_does_not_settle_voids(time_constant: float) -> None:
    with pytest.raises(InstrumentError, match="window 0: the current has not settled within 48 sa"):
        energies(lagged(time_constant))


def test_a_current_that_pulses_slowly_is_settled() -> None:
    """Whatever phase, duty and period: pulses do not approach a level."""
    time = np.arange(48)
    for period in (10, 24, 37, 60, 100):
        for duty in (0.1, 0.3, 0.5, 0.8):
            for phase in range(period):
                gap = 1.0 * ((time + phase) % period < duty * period)
                late = late_power_w(gap, "meter 7")
                assert late == pytest.approx(gap[:24].sum() - gap[24:].sum())


def test_noise_is_settled() -> None:
    rng = np.random.default_rng(7)
    late = [late_power_w(1 + rng.normal(0, 0.1, 48), "meter 7") for _ in range(5000)]
    # Of 24 samples and of 24 times a mean of 24: 0.1 times the root of 48.
    assert np.std(late) == pytest.approx(0.1 * 48**0.5, rel=0.05)
    assert abs(np.mean(late)) < 4 * np.std(late) / 5000**0.5


def test_a_gap_of_few_samples() -> None:
    assert late_power_w(np.array([]), "meter 7") == late_power_w(np.array([1.0]), "meter 7") == 0.0
    assert late_power_w(np.array([3.0, 1.0]), "meter 7") == 2.0
