"""Accepted losses: how many samples a window lacks, what they are taken for, how wrong that is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.clock import ClockRatio, clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.losses import Missing, accepted_losses
from hil.measure.windows import Window, find_windows

DT_S = 1e-4
CLOCK_HZ = 1e8
SUPPLY_V = 3.0
# Two windows, each with a step of power inside: 20 mA, then 40 mA, over a base of 10 mA.
EDGES = ((100, 300), (400, 800))


def whole() -> Waveform:
    current_a, marker = np.full(900, 0.01, np.float32), np.zeros(900, np.bool_)
    for start, end in EDGES:
        middle = (start + end) // 2
        current_a[start:middle], current_a[middle:end] = 0.02, 0.04
        marker[start:end] = True
    return Waveform(
        0.0, DT_S, current_a, marker, SUPPLY_V, 0.1, False, 0, "meter 7", Origin.MODELLED
    )


def holed(first: int, count: int) -> Waveform:
    """The same without ``count`` samples from ``first`` on."""
    wave, gone = whole(), slice(first, first + count)
    return dataclasses.replace(
        wave,
        current_a=np.delete(wave.current_a, gone),
        marker=np.delete(wave.marker, gone),
        lost_samples=count,
    )


CYCLES = [round((end - start) * DT_S * CLOCK_HZ) for start, end in EDGES]
PLANS = [PlannedWindow(n, 1, cycles) for n, cycles in enumerate(CYCLES)]
TRUE_UJ = [(end - start) * DT_S * 0.03 * SUPPLY_V * 1e6 for start, end in EDGES]


def measured(wave: Waveform, max_lost: int = 10) -> tuple[WindowSample, ...]:
    ratio = clock_ratio(wave, CYCLES, CLOCK_HZ, max_lost=max_lost)
    return measure_windows(wave, PLANS, CLOCK_HZ, 0, ratio=ratio, max_lost=max_lost)


def test_how_many_a_window_lacks() -> None:
    window, clock = Window(100, 295, 100.0, 295.0), ClockRatio(1.0, 0.01 / 3**0.5, 2)
    # 200 counted, 195 seen, the clock to 1 %: 5 are missing, 3 more or less, at most those lost.
    for counted, lost, least, most in ((200, 10, 2, 8), (200, 7, 2, 7), (196, 10, 0, 3.96)):
        lack = Missing.of(window, counted, lost, clock)
        assert (lack.least, lack.most) == pytest.approx((least, most))
        assert lack.samples == (lack.least + lack.most) / 2
    assert Missing.of(window, 200.0, 10, None) == Missing(5.0, 0.0, 10.0)
    assert Missing.of(window, 200.0, 0, clock) == Missing(0.0, 0.0, 0.0)


def test_what_losses_leave_open_of_the_clock_ratio() -> None:
    found = clock_ratio(holed(700, 8), CYCLES, CLOCK_HZ, max_lost=8)
    # Not below 199 of 200 samples, nor above 392 seen, 8 lost and 1 for the edges, of 400.
    low, high = 199 / 200, 401 / 400
    assert found.ratio == pytest.approx((low + high) / 2)
    assert found.uncertainty == pytest.approx((high - low) / 2 / 3**0.5)


def test_many_windows_together_lack_no_more_than_was_lost() -> None:
    marker = np.append(np.tile(np.repeat([False, True], 100), 50), np.zeros(100, np.bool_))
    marker = np.delete(marker, np.s_[150:158])
    wave = dataclasses.replace(
        whole(), current_a=np.full(len(marker), 0.01, np.float32), marker=marker, lost_samples=8
    )
    found = clock_ratio(wave, [round(100 * DT_S * CLOCK_HZ)] * 50, CLOCK_HZ, max_lost=8)
    # 49 whole windows of 100 samples allow 99 to 109; all 50, with 3 standard uncertainties of
    # their edges, 4992 seen and 8 lost of 5000.
    low, high = 0.99, (5000 + 3 * (50 / 6) ** 0.5) / 5000
    assert found.ratio == pytest.approx((low + high) / 2)


def test_the_threshold_counts_lost_samples_among_all() -> None:
    wave = holed(120, 4)
    assert accepted_losses(wave, 0) == 0
    assert accepted_losses(wave, 4444) == 3 and accepted_losses(wave, 4445) == 4
    with pytest.raises(InstrumentError, match=r"4 samples were lost .* lost_samples_per_million"):
        measured(wave, max_lost=3)


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_wherever_samples_are_lost_the_limit_holds(count: int) -> None:
    for first in range(60, 880 - count, 7):
        wave = holed(first, count)
        if len(find_windows(wave, 2, max_lost=count)) != 2:
            continue
        ratio = clock_ratio(wave, CYCLES, CLOCK_HZ, max_lost=count)
        assert abs(ratio.ratio - 1.0) <= 3**0.5 * ratio.uncertainty
        for window, true_uj in zip(measured(wave), TRUE_UJ, strict=True):
            error_uj = abs(window.energy_uj - true_uj)
            assert error_uj <= window.lost_limit_uj + window.edge_uncertainty_uj
            assert window.lost_samples == count


def test_a_window_with_a_hole_by_hand() -> None:
    # 8 samples of 40 mA gone: what is left has a mean of (200 * 20 + 192 * 40) / 392 mA.
    wave = holed(700, 8)
    _, second = measured(wave)
    mean_w = (200 * 0.02 + 192 * 0.04) / 392 * SUPPLY_V
    window = find_windows(wave, 2, max_lost=8)[1]
    clock = clock_ratio(wave, CYCLES, CLOCK_HZ, max_lost=8)
    lack = Missing.of(window, 400 * clock.ratio, 8, clock)
    assert lack.least < lack.most == 8
    assert second.duration_s == pytest.approx((392 + lack.samples) * DT_S)
    assert second.energy_uj == pytest.approx(mean_w * second.duration_s * 1e6, rel=1e-6)
    # Half of what is open at the mean, and 8 of them anywhere between 20 and 40 mA.
    limit_uj = ((8 - lack.least) / 2 * mean_w + 8 * 0.02 * SUPPLY_V) * DT_S * 1e6
    assert second.lost_limit_uj == pytest.approx(limit_uj, rel=1e-6)
    budget = budget_of_pass([second, second], MeterAccuracy())
    assert budget is not None
    (term,) = [term for term in budget.terms if term.name == "lost samples"]
    assert term.standard_uj == pytest.approx(limit_uj / 3**0.5)


def test_one_window_alone_may_lack_any_of_them() -> None:
    wave = holed(700, 8)
    _, second = measure_windows(wave, PLANS, CLOCK_HZ, 0, max_lost=8)
    mean_w = (200 * 0.02 + 192 * 0.04) / 392 * SUPPLY_V
    assert second.lost_limit_uj == pytest.approx((4 * mean_w + 8 * 0.06) * DT_S * 1e6, rel=1e-6)
    assert abs(second.energy_uj - TRUE_UJ[1]) < second.lost_limit_uj


def test_a_meter_that_loses_more_than_it_tells() -> None:
    wave = dataclasses.replace(holed(700, 30), lost_samples=3)
    with pytest.raises(InstrumentError, match="lack more than the 3 samples that were lost"):
        clock_ratio(wave, CYCLES, CLOCK_HZ, max_lost=3)


def test_without_losses_nothing_changes() -> None:
    for window, true_uj in zip(measured(whole()), TRUE_UJ, strict=True):
        assert window.energy_uj == pytest.approx(true_uj, rel=1e-6)
        assert (window.lost_samples, window.lost_limit_uj) == (0, 0.0)
