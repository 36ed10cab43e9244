"""Two buffers' readings as samples with a marker: by hand, and against a current that is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.clock import clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.windows import find_windows
from hil.rig.meters.switched_buffers import LONGEST_SWITCH_S, Merged, Readings, merge

DT_S = 1e-4
NONE = Readings(np.zeros(0), np.zeros(0))
CLOCK_HZ = 1e8
SUPPLY_V = 3.0
LIMIT_S = 60e-6  # what the driver is told that an edge takes at most


def readings(*samples: int, at: float = 0.0) -> Readings:
    """Readings that tell their own number in amperes."""
    numbers = np.array(samples, np.float64)
    return Readings((numbers + at) * DT_S, numbers)


class TestByHand:
    def test_no_gap_and_no_latency(self) -> None:
        merged = merge(readings(0, 1, 2, 6, 7), readings(3, 4, 5), DT_S, 0.0)
        assert merged.current_a.tolist() == list(range(8))
        assert merged.marker.tolist() == [False] * 3 + [True] * 3 + [False] * 2 or (
            merged.marker.tolist() == [False] * 2 + [True] * 4 + [False] * 2
        )
        # From the begin of the last low reading to that of the first high one.
        assert merged.edge_uncertainty_s == pytest.approx(DT_S / 2)
        assert (merged.lost_samples, merged.edge_gap_s) == (0, 0.0)

    def test_a_switch_takes_time(self) -> None:
        """Four samples are not there: each half is taken from beside; the edge is in the middle."""
        merged = merge(readings(0, 1, 2), readings(7, 8), DT_S, 0.0)
        assert merged.current_a.tolist() == [0, 1, 2, 2, 2, 7, 7, 7, 8]
        assert np.flatnonzero(merged.marker)[0] in (4, 5)  # the middle of samples 2 to 7
        assert merged.edge_uncertainty_s == pytest.approx(2.5 * DT_S)
        assert merged.edge_gap_s == pytest.approx(4 * DT_S) and merged.lost_samples == 0

    def test_an_edge_may_have_come_before_it_was_noticed(self) -> None:
        merged = merge(readings(0, 1, 2, 3, 4, 5, 6), readings(7, 8), DT_S, 5 * DT_S)
        # It lies in samples 6 - 5 to 7.
        assert np.flatnonzero(merged.marker)[0] == 4
        assert merged.edge_uncertainty_s == pytest.approx(3 * DT_S)
        assert merged.edge_gap_s == 0 and merged.current_a.tolist() == list(range(9))

    def test_gaps_elsewhere_are_lost_samples(self) -> None:
        merged = merge(readings(0, 1, 5, 6), readings(7, 8, 11), DT_S, 0.0)
        assert merged.lost_samples == 3 + 2 and len(merged.marker) == 7
        assert merged.edge_gap_s == 0

    def test_a_hole_behind_the_first_reading_in_the_new_buffer(self) -> None:
        """That reading was under way at the edge, which lies anywhere up to the hole's end."""
        merged = merge(readings(0, 1, 2, 9), readings(3, 7, 8), DT_S, 0.0)
        assert merged.current_a.tolist() == [0, 1, 2, 3, 3, 3, 7, 7, 8, 9]
        assert merged.lost_samples == 0 and merged.edge_gap_s == pytest.approx(3 * DT_S)
        assert np.flatnonzero(merged.marker)[0] in (4, 5)  # the middle of samples 2 to 7
        assert merged.edge_uncertainty_s == pytest.approx(2.5 * DT_S)

    def test_holes_before_and_behind_it(self) -> None:
        merged = merge(readings(0, 1, 2), readings(5, 8, 9), DT_S, 0.0)
        assert merged.lost_samples == 0 and merged.edge_gap_s == pytest.approx(4 * DT_S)
        assert merged.edge_uncertainty_s == pytest.approx(3 * DT_S)

    @pytest.mark.parametrize("apart", [-0.4, 0.0, 0.4])
    def test_one_input_is_not_read_twice_at_a_time(self, apart: float) -> None:
        with pytest.raises(DataError, match=r"two buffers do not belong together: .* us apart"):
            merge(readings(0, 1, 2), readings(2, 3, 4, at=apart), DT_S, 0.0)

    @pytest.mark.parametrize("shift_s", [2e-4, -2e-4])
    def test_a_buffer_that_is_shifted_against_the_other(self, shift_s: float) -> None:
        low, high = readings(0, 1, 2, 9, 10, at=0.3), readings(4, 5, 6, 7)
        shifted = Readings(high.times_s + shift_s, high.current_a)
        with pytest.raises(DataError, match="two buffers do not belong together"):
            merge(low, shifted, DT_S, 0.0)

    @pytest.mark.parametrize("factor", [0.9985, 1.0015])
    def test_the_interval_is_that_of_the_readings_own_times(self, factor: float) -> None:
        low, high = readings(*range(500)), readings(*range(504, 900))
        merged = merge(
            Readings(low.times_s * factor, low.current_a),
            Readings(high.times_s * factor, high.current_a),
            DT_S, 0.0,
        )  # fmt: skip
        assert merged.sample_interval_s == pytest.approx(factor * DT_S, rel=1e-9)
        assert len(merged.marker) == 900 and merged.edge_gap_s == pytest.approx(4 * DT_S * factor)

    def test_a_switch_too_long_to_be_one(self) -> None:
        most = round(LONGEST_SWITCH_S / DT_S)
        assert merge(readings(0), readings(most + 1), DT_S, 0.0).lost_samples == 0
        merged = merge(readings(0, 1), readings(most + 3), DT_S, 0.0)
        assert merged.lost_samples == most + 1 and len(merged.marker) == 3

    @pytest.mark.parametrize(
        ("low", "high", "level"), [(readings(0, 1), NONE, False), (NONE, readings(0, 1), True)]
    )
    def test_one_level_only(self, low: Readings, high: Readings, level: bool) -> None:
        merged = merge(low, high, DT_S, LIMIT_S)
        assert merged.marker.tolist() == [level] * 2 and merged.edge_uncertainty_s == 0

    def test_nothing(self) -> None:
        with pytest.raises(DataError, match="no reading in either buffer"):
            merge(NONE, NONE, DT_S, 0.0)

    @pytest.mark.parametrize("factor", [0.5, 0.98, 1.02])
    def test_another_rate_than_told(self, factor: float) -> None:
        times_s = np.arange(1000) * DT_S * factor
        with pytest.raises(DataError, match="the readings' own times cover"):
            merge(Readings(times_s, times_s), NONE, DT_S, 0.0)


def taken(
    edges_s: list[float],
    latency_s: float,
    switch_s: float,
    phase: float,
    interval_s: float = DT_S,
    straddling: bool = False,
) -> Merged:
    """What a digitizer makes of 20 mA between the edges and 10 mA outside.

    ``straddling``: a reading that is under way when the buffers change goes to the new one.
    """

    def drawn_as(times_s: np.ndarray) -> np.ndarray:
        high = sum(
            np.clip(times_s, start_s, stop_s) - start_s
            for start_s, stop_s in zip(edges_s[::2], edges_s[1::2], strict=True)
        )
        return 0.01 * (times_s + high)

    parts: list[list[np.ndarray]] = [[], []]
    start_s = phase * interval_s
    for number, stop_s in enumerate([*(edge_s + latency_s for edge_s in edges_s), 0.1]):
        part_s = start_s + np.arange(np.ceil((stop_s - start_s) / interval_s)) * interval_s
        kept = len(part_s) - (straddling and number < len(edges_s))
        parts[number % 2].append(part_s[:kept])
        parts[1 - number % 2].append(part_s[kept:])
        start_s = max(stop_s + switch_s + phase * interval_s, part_s[-1] + interval_s)
    low_s, high_s = (np.concatenate(part) for part in parts)
    low, high = (
        Readings(times_s, (drawn_as(times_s + interval_s) - drawn_as(times_s)) / interval_s)
        for times_s in (low_s, high_s)
    )
    return merge(low, high, DT_S, LIMIT_S)


def waveform(merged: Merged) -> Waveform:
    return Waveform(
        0.0, merged.sample_interval_s, merged.current_a.astype(np.float32), merged.marker,
        SUPPLY_V, 0.1, False, merged.lost_samples, "meter 7", Origin.MODELLED,
        edge_uncertainty_s=merged.edge_uncertainty_s, edge_gap_s=merged.edge_gap_s,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.01, 0.011),
    st.floats(0.025, 0.03),
    st.floats(0.01, 0.012),
    st.floats(0.025, 0.03),
    st.floats(0, LIMIT_S),
    st.floats(0, 5e-4),
    st.floats(0, 0.999),
    st.floats(0.9985, 1.0015),
    st.booleans(),
)
def test_energies_are_within_their_limits(
    before_s: float,
    first_s: float,
    between_s: float,
    second_s: float,
    latency_s: float,
    switch_s: float,
    phase: float,
    rate: float,
    straddling: bool,
) -> None:
    """Any latency up to the limit, any switch: edges, ratio and energies hold the truth."""
    lengths_s = [first_s, second_s]
    edges_s = np.cumsum([before_s, first_s, between_s, second_s]).tolist()
    wave = waveform(taken(edges_s, latency_s, switch_s, phase, DT_S * rate, straddling))
    cycles = [round(length_s * CLOCK_HZ) for length_s in lengths_s]
    found = find_windows(wave, 2)
    interval_s = wave.sample_interval_s
    known_s = 2 * (wave.edge_uncertainty_s + 0.5 * interval_s)
    for window, length_s in zip(found, lengths_s, strict=True):
        assert abs(window.samples * interval_s - length_s) <= known_s + 1e-9
    ratio = clock_ratio(wave, cycles, CLOCK_HZ)
    assert abs(ratio.ratio - 1) <= ratio.tolerance
    plans = [PlannedWindow(number, 1, count) for number, count in enumerate(cycles)]
    for placed in (None, ratio):
        for sample, length_s in zip(
            measure_windows(wave, plans, CLOCK_HZ, 0, ratio=placed), lengths_s, strict=True
        ):
            error_uj = abs(sample.energy_uj - 0.02 * SUPPLY_V * length_s * 1e6)
            assert error_uj <= sample.edge_limit_uj + sample.edge_uncertainty_uj + 1e-3


def test_a_window_not_much_longer_than_its_edges_is_refused() -> None:
    edges_s = [0.01, 0.0155, 0.03, 0.05]
    wave = waveform(taken(edges_s, 1e-5, 5e-4, 0.3))
    says = r"each edge of the marker to \+-\d+ us, window 0 lasts .* repeat the work more often"
    with pytest.raises(InstrumentError, match=says):
        find_windows(wave, 2)
