"""A meter that knows its edges only within a stretch: limits, by hand and term by term."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.active import active_budget_of_pass
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.clock import ClockRatio, clock_ratio
from hil.measure.energy import PlannedWindow, WindowEnergy, measure_windows
from hil.measure.losses import Missing
from hil.measure.overhead import MarkerOverhead
from hil.measure.timestamps import timestamp_window
from hil.measure.windows import Window, check_duration, find_windows, fit_duration

DT_S, CLOCK_HZ, SUPPLY_V = 1e-4, 1e8, 2.0
BLIND = 3  # samples either way


def wave(length: int = 200, moved: int = 0, gap: int = 0, blind: int = BLIND) -> Waveform:
    """30 mA over a base of 10 mA, ``length`` samples from 100 on; marked ``moved`` samples late."""
    current_a, marker = np.full(400, 0.01, np.float32), np.zeros(400, np.bool_)
    current_a[100 : 100 + length] = 0.03
    marker[100 + moved : 100 + length + moved] = True
    return Waveform(
        0.0, DT_S, current_a, marker, SUPPLY_V, 0.1, False, 0, "meter 7", Origin.MODELLED,
        edge_uncertainty_s=blind * DT_S, edge_gap_s=gap * DT_S,
    )  # fmt: skip


PLAN = PlannedWindow(0, 1, round(200 * DT_S * CLOCK_HZ))
TRUE_UJ = 200 * DT_S * 0.06 * 1e6


def measured(waveform: Waveform) -> WindowSample:
    (sample,) = measure_windows(waveform, [PLAN], CLOCK_HZ, 0)
    return sample


@pytest.mark.parametrize("moved", [-3, 0, 3])
def test_edges_that_are_late_take_base_power_only(moved: int) -> None:
    """What was measured is known; only the place of the base beside it is not: nothing here."""
    sample = measured(wave(moved=moved))
    assert sample.energy_uj == pytest.approx(TRUE_UJ, rel=1e-6)
    # Each edge 3 samples either way at 20 mW.
    assert sample.edge_limit_uj == pytest.approx(2 * 3 * 0.02 * DT_S * 1e6, rel=1e-6)
    assert sample.base_power_w == pytest.approx(0.02)


def test_what_was_not_measured_may_have_been_either() -> None:
    """Half a gap of 4 samples at each edge, between 20 and 60 mW."""
    sample = measured(wave(gap=4))
    limit_uj = (2 * 3 * 0.02 + 2 * 2 * 0.04) * DT_S * 1e6
    assert sample.edge_limit_uj == pytest.approx(limit_uj, rel=1e-6)


def test_a_meter_that_samples_the_marker_has_no_such_limit() -> None:
    assert measured(wave(blind=0)).edge_limit_uj == 0.0


def test_the_boards_count_places_edges_within_what_is_unknown() -> None:
    window = Window(100, 306, 100.0, 306.0, blind=3.0)
    fitted = fit_duration(window, 6.0)
    assert (fitted.start, fitted.stop, fitted.slack, fitted.blind) == (103.0, 303.0, 0.0, 3.0)
    farther = replace(window, end=312, stop=312.0)
    assert check_duration(farther, 0, 200 * DT_S, wave()) == pytest.approx(12.0)
    placed = fit_duration(farther, 12.0)
    # 5 samples are left over: they may be at either edge.
    assert (placed.start, placed.stop, placed.blind) == (103.5, 308.5, 5.5)
    with pytest.raises(InstrumentError, match=r"window 0 lasts 0\.0213"):
        check_duration(replace(window, end=313, stop=313.0), 0, 200 * DT_S, wave())


@pytest.mark.parametrize("late", [(3, 0), (0, 3)])
@pytest.mark.parametrize("clock", [-0.015, 0.0, 0.015])
def test_without_a_ratio_the_count_moves_no_edge(late: tuple[int, int], clock: float) -> None:
    """A nominal clock that is off would add its own error to that of the edges."""
    seen = wave(length=200)
    marker = np.zeros(400, np.bool_)
    marker[100 + late[0] : 300 + late[1]] = True
    plan = PlannedWindow(0, 1, round(PLAN.cycles * (1 + clock)))
    (sample,) = measure_windows(replace(seen, marker=marker), [plan], CLOCK_HZ, 0)
    assert abs(sample.energy_uj - TRUE_UJ) <= sample.edge_limit_uj
    assert sample.duration_s == pytest.approx((200 + late[1] - late[0]) * DT_S)


def test_the_clock_ratio_is_no_better_than_the_edges_allow() -> None:
    ratio = clock_ratio(wave(), [PLAN.cycles], CLOCK_HZ)
    assert ratio.blind == pytest.approx(2 * 3 / 200)
    assert ratio.tolerance == pytest.approx(3 * ratio.uncertainty + 2 * 3 / 200)
    # A board 4 % fast is no longer certain to be; one that is 6 % fast is.
    clock_ratio(wave(), [round(PLAN.cycles * 1.04)], CLOCK_HZ).check(tolerance=0.02)
    with pytest.raises(InstrumentError, match="differ by"):
        clock_ratio(wave(), [round(PLAN.cycles * 1.06)], CLOCK_HZ).check(tolerance=0.02)


def test_missing_samples_are_known_less_well() -> None:
    clock = ClockRatio(1.0, 0.0, 2, blind=0.01)
    sharp, blind = (Window(100, 290, 100.0, 290.0, blind=b) for b in (0.0, 2.0))
    assert Missing.of(sharp, 200.0, 50, clock) == Missing(10.0, 7.0, 13.0)
    assert Missing.of(blind, 200.0, 50, clock) == Missing(10.0, 3.0, 17.0)


def test_windows_much_shorter_than_that_are_refused() -> None:
    find_windows(wave(length=60), 1)  # 6 of 60 samples
    with pytest.raises(InstrumentError, match=r"\+-300 us, window 0 lasts 5900 us; .* 6000 us"):
        find_windows(wave(length=59), 1)


def test_a_record_that_begins_within_the_border() -> None:
    early = wave()
    early = replace(early, current_a=early.current_a[97:], marker=early.marker[97:])
    with pytest.raises(InstrumentError, match="no quiet sample before window 0"):
        measured(early)


def test_a_gap_too_short_for_its_blind_borders() -> None:
    waveform = wave()
    marker = waveform.marker.copy()
    marker[100:110], marker[118:300] = True, True
    marker[110:118] = False
    close = replace(waveform, marker=marker, edge_uncertainty_s=0.5 * DT_S)
    find_windows(close, 2)
    plans = [
        PlannedWindow(n, 1, round(count * DT_S * CLOCK_HZ)) for n, count in enumerate((10, 182))
    ]
    measure_windows(close, plans, CLOCK_HZ, 0)
    with pytest.raises(InstrumentError, match=r"no quiet sample .* at least 13 samples"):
        blind = replace(close, edge_uncertainty_s=5 * DT_S)
        longer = replace(blind, marker=np.concatenate((np.repeat(marker[:110], 20), marker[110:])),
                         current_a=np.full(2490, 0.01, np.float32))  # fmt: skip
        plans[0] = PlannedWindow(0, 1, round(200 * DT_S * CLOCK_HZ))
        measure_windows(longer, plans, CLOCK_HZ, 0)


def test_terms_of_the_budgets() -> None:
    """The limit does not average out over repeats; without one there is no such term."""
    samples = [measured(wave(gap=4, moved=moved)) for moved in (0, 1, 2)]
    limit_uj = samples[0].edge_limit_uj
    for budget in (
        budget_of_pass(samples, MeterAccuracy()),
        active_budget_of_pass(samples, MeterAccuracy()),
    ):
        assert budget is not None
        (term,) = [term for term in budget.terms if term.name == "edge limits"]
        assert term.standard_uj == pytest.approx(limit_uj / sqrt(3))
    sharp = budget_of_pass([measured(wave(blind=0))] * 2, MeterAccuracy())
    assert sharp is not None and "edge limits" not in {term.name for term in sharp.terms}


def test_the_markers_overhead_keeps_it() -> None:
    empty = WindowEnergy(5.0, 1e-3, 0.0, 0.02, edge_limit_uj=0.3)
    assert MarkerOverhead.measured([empty] * 10).uncertainty_uj == pytest.approx(0.3 / sqrt(3))


def test_energyrunners_timestamps_need_a_level() -> None:
    with pytest.raises(InstrumentError, match="timestamps need a meter that samples the marker"):
        timestamp_window(wave(), hold_s=1.0)
