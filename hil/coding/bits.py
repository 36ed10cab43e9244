"""Fewer bits a value: what a board can do to a slice with one shift and one saturation.

With s = 8 - b, an 8-bit value q becomes the b-bit code

    code = clamp((q + 2**(s-1)) >> s, low, high)        (s = 0: code = q)

with an arithmetic shift (floor), so halves round towards plus infinity, and low..high the range
of b bits: -2**(b-1)..2**(b-1)-1 for signed tensors, 0..2**b-1 for unsigned ones. Back on the
8-bit grid the value is ``code << s``. The difference is at most 2**(s-1), except next to the
upper end, where the code saturates: there it is less than 2**s. Eight bits change nothing.

Packed codes are the low b bits of each code (two's complement), the first code in the highest
bits of the first byte, without gaps; the last byte is filled up with zeros. The first n codes
are whole in the first ``packed_bytes(n, b)`` bytes, whatever follows in the last of them, so
packed slices are progressive as well. Packed at eight bits they are the values' own bytes.
"""

from __future__ import annotations

import numpy as np

from hil.core.errors import DataError, ProtocolError

GRID_BITS = 8


def check_bits(bits: int) -> None:
    """DataError unless a value can have so many bits."""
    if not 1 <= bits <= GRID_BITS:
        raise DataError(f"slice values of {bits} bits; choose 1 to {GRID_BITS}")


def code_range(bits: int, signed: bool) -> tuple[int, int]:
    """The lowest and the highest code."""
    check_bits(bits)
    half = 1 << (bits - 1)
    return (-half, half - 1) if signed else (0, 2 * half - 1)


def reduce(values: np.ndarray, bits: int) -> np.ndarray:
    """Codes of int8 or uint8 values, of the same shape and type. DataError for other types."""
    if values.dtype not in (np.int8, np.uint8):
        raise DataError(f"slice values are {values.dtype}; only int8 and uint8 can be reduced")
    low, high = code_range(bits, values.dtype == np.int8)
    shift = GRID_BITS - bits
    rounding = (1 << shift) >> 1
    codes = (values.astype(np.int16) + rounding) >> shift
    return np.clip(codes, low, high).astype(values.dtype)


def restore(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes back on the 8-bit grid, of the same shape and type."""
    check_bits(bits)
    return codes << (GRID_BITS - bits)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of ``count`` packed codes."""
    return -(-count * bits // 8)


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Codes, in memory order, in the fewest whole bytes of fixed length."""
    check_bits(bits)
    single = np.ascontiguousarray(codes).view(np.uint8).reshape(-1, 1)
    return np.packbits(np.unpackbits(single, axis=1)[:, GRID_BITS - bits :]).tobytes()


def unpack(payload: bytes, bits: int, count: int, signed: bool) -> np.ndarray:
    """The first ``count`` codes (int8 or uint8). ProtocolError unless the length fits exactly."""
    check_bits(bits)
    expected = packed_bytes(count, bits)
    if len(payload) != expected:
        raise ProtocolError(
            f"{count} values of {bits} bits are {expected} bytes, the slice has {len(payload)}"
        )
    stream = np.unpackbits(np.frombuffer(payload, np.uint8), count=count * bits)
    wide = np.zeros((count, GRID_BITS), np.uint8)
    wide[:, GRID_BITS - bits :] = stream.reshape(count, bits)
    if signed:
        wide[:, : GRID_BITS - bits] = wide[:, GRID_BITS - bits, np.newaxis]
    return np.packbits(wide).view(np.int8 if signed else np.uint8)
