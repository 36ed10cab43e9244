"""Fewer bits and packing: against floats, against a hand-worked case, back and forth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.coding.bits import code_range, pack, packed_bytes, reduce, restore, unpack
from hil.core.errors import DataError, ProtocolError

TYPES = [np.dtype(np.int8), np.dtype(np.uint8)]
BITS = range(1, 9)


def grid(dtype: np.dtype) -> np.ndarray:
    """All values of an 8-bit type."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
def test_every_value_against_floats(dtype: np.dtype, bits: int) -> None:
    step = 2.0 ** (8 - bits)
    top = (128 if dtype == np.int8 else 256) / step - 1
    exact = grid(dtype).astype(np.float64)
    codes = np.minimum(np.floor(exact / step + 0.5), top)
    assert np.array_equal(reduce(grid(dtype), bits), codes)
    assert reduce(grid(dtype), bits).dtype == dtype
    back = restore(reduce(grid(dtype), bits), bits)
    assert back.dtype == dtype and np.array_equal(back, codes * step)
    error = np.abs(back - exact)
    below = exact < top * step
    assert error[below].max() <= step / 2 and error.max() < step
    if bits < 8:
        assert error[below].max() == step / 2  # the bound is met: it is no looser than it must be


@pytest.mark.parametrize("bits", BITS)
def test_reducing_what_was_restored_changes_nothing(bits: int) -> None:
    for dtype in TYPES:
        low, high = code_range(bits, dtype == np.int8)
        codes = np.arange(low, high + 1).astype(dtype)
        assert np.array_equal(reduce(restore(codes, bits), bits), codes)
        assert set(reduce(grid(dtype), bits).tolist()) == set(codes.tolist())


def test_packing_by_hand() -> None:
    # 3 bits, two's complement: 1 -> 001, -4 -> 100, 3 -> 011, -1 -> 111; then -2 -> 110
    codes = np.array([1, -4, 3, -1, -2], np.int8)
    assert pack(codes, 3) == bytes([0b001_100_01, 0b1_111_110_0])
    assert pack(codes[:4], 3) == bytes([0b001_100_01, 0b1_111_0000])
    # whatever follows the fourth code in its last byte
    assert unpack(bytes([0b001_100_01, 0b1_111_1111]), 3, 4, True).tolist() == [1, -4, 3, -1]
    assert unpack(bytes([0b001_100_01, 0b1_111_0000]), 3, 4, False).tolist() == [1, 4, 3, 7]


@given(st.sampled_from(TYPES), st.integers(1, 8), st.binary(min_size=1, max_size=80), st.data())
def test_packed_prefixes(dtype: np.dtype, bits: int, raw: bytes, data: st.DataObject) -> None:
    codes = reduce(np.frombuffer(raw, dtype), bits)
    payload = pack(codes, bits)
    assert len(payload) == math.ceil(len(codes) * bits / 8)
    count = data.draw(st.integers(0, len(codes)))
    prefix = payload[: packed_bytes(count, bits)]
    assert np.array_equal(unpack(prefix, bits, count, dtype == np.int8), codes[:count])


def test_packed_at_eight_bits_is_raw() -> None:
    for dtype in TYPES:
        assert pack(grid(dtype), 8) == grid(dtype).tobytes()


def test_what_cannot_be() -> None:
    for bits in (0, 9, -1):
        with pytest.raises(DataError, match=rf"values of {bits} bits; choose 1 to 8"):
            reduce(np.zeros(3, np.int8), bits)
    with pytest.raises(DataError, match="float32; only int8 and uint8"):
        reduce(np.zeros(3, np.float32), 4)
    for length in (1, 3):
        with pytest.raises(ProtocolError, match=f"4 values of 3 bits are 2 bytes.*has {length}"):
            unpack(bytes(length), 3, 4, True)
