"""Decimation keeps every peak, within one quantisation step and the page's budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hil.core.errors import DataError
from reports import decimate

currents = hnp.arrays(
    np.float32, st.integers(1, 400), elements=st.floats(-1.0, 2.0, width=32, allow_nan=False)
)


@given(currents, st.integers(1, 50))
def test_band_holds_the_extremes_of_each_bucket(samples, size):
    found = decimate.band(samples, size)
    for i in range(len(found.low)):
        bucket = samples[i * size : (i + 1) * size]
        assert found.low[i] == min(bucket)
        assert found.high[i] == max(bucket)
    assert len(found.low) == -(-len(samples) // size)


@given(currents, st.integers(1, 20))
@settings(max_examples=60)
def test_packing_is_exact_to_half_a_step(samples, size):
    drawn = decimate.band(samples, size)
    data = decimate.pack(drawn)
    back = decimate.unpack(data)
    # float32 input: its own rounding comes on top of half a step.
    tolerance = data.step_a / 2 + 1e-6
    np.testing.assert_allclose(back.low, drawn.low, atol=tolerance, rtol=0)
    np.testing.assert_allclose(back.high, drawn.high, atol=tolerance, rtol=0)


def test_a_single_sample_spike_among_a_million_survives_within_the_budget():
    rng = np.random.default_rng(3)
    samples = np.round(rng.normal(0.1, 0.004, 1_000_000) / 1e-5) * 1e-5
    samples[654_321] = 0.9
    data = decimate.packed(samples)
    assert len(data.text) <= decimate.WAVEFORM_BUDGET_BYTES
    found = decimate.unpack(data)
    place = int(np.argmax(found.high))
    assert place == 654_321 // data.samples_per_bucket
    assert found.high[place] == pytest.approx(0.9, abs=data.step_a)


def test_a_missing_sample_is_a_gap_and_not_a_number():
    samples = np.linspace(0.0, 1.0, 40)
    samples[17] = np.nan
    found = decimate.unpack(decimate.pack(decimate.band(samples, 10)))
    np.testing.assert_array_equal(np.isnan(found.low), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(found.high), [False, True, False, False])


def test_nothing_but_gaps_and_a_constant_can_be_packed():
    assert np.isnan(decimate.unpack(decimate.packed(np.full(5, np.nan))).low).all()
    np.testing.assert_allclose(decimate.unpack(decimate.packed(np.full(5, 0.25))).high, 0.25)


def test_short_recordings_are_drawn_in_full():
    assert decimate.packed(np.random.default_rng(1).random(500)).samples_per_bucket == 1


def test_marker_edges():
    assert decimate.edges(np.array([0, 0, 1, 1, 0])) == ([2, 4], False)
    assert decimate.edges(np.array([1, 1])) == ([], True)


def test_an_empty_bucket_is_refused():
    with pytest.raises(DataError, match="at least one sample"):
        decimate.band(np.zeros(3), 0)
