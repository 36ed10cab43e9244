"""Frequency tables: right shares, no code impossible, the same after a file, damage refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.coding.statistics import TOTAL, SliceStatistics
from hil.core.errors import DataError


def tensors(seed: int = 0, dtype: str = "i1") -> np.ndarray:
    spread = np.array([2.0, 30.0, 0.0])
    values = np.random.default_rng(seed).normal(0, 1, (9, 4, 5, 3)) * spread
    return (values if dtype == "i1" else np.abs(values)).clip(-128, 127).astype(dtype)


def test_frequencies_by_hand() -> None:
    # One bit, unsigned: values below 64 are code 0. Channel 0: three of four; channel 1: all.
    values = np.array([[0, 9], [63, 0], [64, 0], [1, 0]], np.uint8).reshape(1, 2, 2, 2)
    table = SliceStatistics.of(values, 1).frequencies
    # 10 * count + 1: weights 31 and 11 of 42, 41 and 1 of 42; one of TOTAL to each beforehand
    assert table[0].tolist() == [1 + round(65534 * 31 / 42), 1 + round(65534 * 11 / 42)]
    assert table[1].tolist() == [1 + round(65534 * 41 / 42), 1 + round(65534 * 1 / 42)]


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, 8), st.sampled_from(["i1", "u1"]))
def test_tables_are_usable_and_close_to_the_counts(seed: int, bits: int, dtype: str) -> None:
    values = tensors(seed, dtype)
    table = SliceStatistics.of(values, bits).frequencies.astype(np.int64)
    assert table.shape == (3, 2**bits)
    assert table.min() >= 1 and (table.sum(axis=1) == TOTAL).all()
    step, low = 2 ** (8 - bits), -(2 ** (bits - 1)) if dtype == "i1" else 0
    for channel in range(3):
        exact = np.floor(values[..., channel] / step + 0.5).clip(low, low + 2**bits - 1)
        share = np.bincount((exact - low).astype(int).ravel(), minlength=2**bits) / exact.size
        expected = (share * exact.size + 0.1) / (exact.size + 0.1 * 2**bits)
        assert np.abs(table[channel] / TOTAL - expected).max() < (2**bits + 2) / TOTAL


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_the_same_after_a_file(bits: int) -> None:
    statistics, file = SliceStatistics.of(tensors(), bits), io.BytesIO()
    np.savez_compressed(file, **statistics.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as pack:
        again = SliceStatistics.from_arrays(dict(pack))
    assert (again.bits, again.signed, again.channels) == (bits, True, 3)
    assert np.array_equal(again.frequencies, statistics.frequencies)
    assert again.digest == statistics.digest and len(again.digest) == 64


def test_the_digest_tells_statistics_apart() -> None:
    base = SliceStatistics.of(tensors(), 4)
    moved = base.frequencies.copy()
    moved[0, 3] -= 1
    moved[0, 4] += 1
    others = [
        SliceStatistics(4, True, moved),
        SliceStatistics(4, False, base.frequencies),
        SliceStatistics(4, True, base.frequencies[[1, 0, 2]]),
    ]
    assert len({s.digest for s in [base, *others]}) == 4


def test_frozen() -> None:
    table = SliceStatistics.of(tensors(), 4).frequencies.copy()
    statistics = SliceStatistics(4, True, table)
    table[0, 0] += 1
    assert statistics.frequencies[0, 0] == table[0, 0] - 1
    with pytest.raises(ValueError, match="read-only"):
        statistics.frequencies[0, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("frequencies"), "without frequencies"),
        (lambda a: a.update(bits=np.uint8(9)), "9 bits; choose 1 to 8"),
        (lambda a: a.update(bits=np.uint8(5)), r"uint16 \(channels, 32\)"),
        (lambda a: a.update(bits=np.array([4, 4])), "not one integer"),
        (lambda a: a.update(signed=np.str_("yes")), "not one integer"),
        (lambda a: a.update(frequencies=a["frequencies"].astype(float)), "not float64"),
        (lambda a: a.update(frequencies=a["frequencies"][0]), r"not uint16 \(16,\)"),
        (lambda a: a.update(frequencies=a["frequencies"][:0]), "of 0 are no tables"),
        (lambda a: a.update(frequencies=a["frequencies"] + np.uint16(1)), r"channels \[0, 1, 2\]"),
        (lambda a: a.update(frequencies=_zeroed(a["frequencies"])), r"channels \[1\] of 3"),
    ],
)
def test_damaged_arrays(change, message: str) -> None:
    arrays = SliceStatistics.of(tensors(), 4).to_arrays()
    change(arrays)
    with pytest.raises(DataError, match=message):
        SliceStatistics.from_arrays(arrays)


def _zeroed(table: np.ndarray) -> np.ndarray:
    """The right sum, but a code that cannot be sent."""
    table = table.copy()
    table[1, 1] += table[1, 0]
    table[1, 0] = 0
    return table


def test_tensors_that_cannot_be_counted() -> None:
    for shape in ((4, 5, 3), (0, 4, 5, 3), (2, 4, 5, 0)):
        with pytest.raises(DataError, match=r"need tensors \(N, height, width, channels\)"):
            SliceStatistics.of(np.zeros(shape, np.int8), 4)
    with pytest.raises(DataError, match="int16"):
        SliceStatistics.of(np.zeros((1, 2, 2, 2), np.int16), 4)
