"""Slice rules and probabilities, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clio.radio import BLE
from hil.clio.slicing.slice_set import (
    SliceSet,
    from_bandwidth,
    radio_bandwidths,
    slice_channels,
    uniform,
)
from hil.core.errors import DataError, ModelError


@pytest.mark.parametrize(
    "rule,of,expected",
    [
        ("every:2", 8, (2, 4, 6, 8)),
        ("every:4", 10, (4, 8, 10)),
        ("every:20", 8, (8,)),
        ("pow2", 1, (1,)),
        ("pow2", 8, (1, 2, 4, 8)),
        ("pow2", 11, (1, 2, 4, 8, 11)),
        ("5,1,3,3", 8, (1, 3, 5)),
    ],
)
def test_rules(rule, of, expected):
    assert slice_channels(rule, of) == expected


@pytest.mark.parametrize("rule", ["every:0", "every:x", "half", "", "1,,2", "0,2", "3,9", "-1"])
def test_bad_rules(rule):
    with pytest.raises(ModelError, match="slice"):
        slice_channels(rule, 8)


def test_probabilities_from_bandwidth_by_hand():
    # 0.1 s at 8, 16, 40, 80 and 800 kbit/s carries 100, 200, 500, 1000 and 10000 bytes.
    bandwidth = np.array([8.0, 16.0, 40.0, 80.0, 800.0])
    found = from_bandwidth("b", (1, 2, 4), (200, 400, 800), bandwidth, 0.1)
    # 100 bytes: nothing fits, left out; 200: slice 1; 500: slice 2; 1000 and 10000: slice 4.
    assert found == SliceSet("b", (1, 2, 4), (0.25, 0.25, 0.5))


@given(
    st.lists(st.floats(1, 5000), min_size=1, max_size=50),
    st.lists(st.integers(1, 20_000), min_size=1, max_size=6, unique=True),
)
def test_probabilities_are_shares_of_samples(bandwidth, sizes):
    sizes.sort()
    channels = tuple(range(1, len(sizes) + 1))
    samples = np.array(bandwidth)
    usable = [b for b in bandwidth if b * 125 * 0.2 >= sizes[0]]
    if not usable:
        with pytest.raises(DataError, match="not even the smallest slice"):
            from_bandwidth("b", channels, sizes, samples, 0.2)
        return
    found = from_bandwidth("b", channels, sizes, samples, 0.2)
    largest = [max(i for i, s in enumerate(sizes) if s <= b * 125 * 0.2) for b in usable]
    shares = [largest.count(i) / len(usable) for i in range(len(sizes))]
    assert found.probabilities == pytest.approx(shares)


def test_no_time_left_and_bad_samples():
    with pytest.raises(DataError, match=r"in -50.0 ms .* not even the smallest slice \(200"):
        from_bandwidth("b", (1,), (200,), np.array([100.0]), -0.05)
    with pytest.raises(DataError, match="finite"):
        from_bandwidth("b", (1,), (200,), np.array([np.nan]), 0.1)


def test_bad_sets():
    with pytest.raises(ModelError, match="ascending"):
        uniform("b", (3, 1))
    with pytest.raises(ModelError, match="sum to 1"):
        SliceSet("b", (1, 2), (0.5, 0.4))


def test_weights_count_samples_by_time():
    found = from_bandwidth(
        "b", (1, 2), (100, 200), np.array([8.0, 16.0]), 0.1, weights=np.array([3.0, 1.0])
    )
    assert found.probabilities == (0.75, 0.25)


def test_a_radios_bandwidths_are_gaussian_quantiles():
    kbps = radio_bandwidths(BLE, 0.2)
    assert kbps.mean() == pytest.approx(BLE.bandwidth_kbps)
    assert kbps.std() == pytest.approx(0.2 * BLE.bandwidth_kbps, rel=0.01)
    assert np.mean(kbps < 200) == pytest.approx(0.1587, abs=0.002)  # one deviation below
    assert radio_bandwidths(BLE, 2.0).min() == 0.0
    assert set(radio_bandwidths(BLE, 0.0)) == {BLE.bandwidth_kbps}
    with pytest.raises(DataError, match="not negative"):
        radio_bandwidths(BLE, -1)
