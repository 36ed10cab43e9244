"""How often each code occurs in each channel: what a range coder knows beforehand.

The statistics are frozen. They are counted once, on calibration images, and both ends hold the
same table; nothing of it is sent. A channel's table are integer frequencies that sum to
``TOTAL``, each at least 1, so that a code that calibration never showed can still be sent (it
then costs up to 16 bits). Only integers decide, so a table is the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hil.coding.bits import check_bits, code_range, reduce
from hil.core.errors import DataError

TOTAL = 1 << 16
# A code counts as if it had been seen this often (in tenths) before calibration began. On the
# shipped network a tenth of a count came within 1 % of the best of a dozen other smoothings.
_PRIOR_TENTHS = 1


@dataclass(frozen=True, eq=False)
class SliceStatistics:
    """Frequencies uint16 (channels, 2**bits) of the codes, the lowest code first.

    DataError for a table that no coder could use.
    """

    bits: int
    signed: bool
    frequencies: np.ndarray

    def __post_init__(self) -> None:
        check_bits(self.bits)
        table = self.frequencies
        if table.dtype != np.uint16 or table.ndim != 2 or table.shape[1:] != (1 << self.bits,):
            raise DataError(
                f"slice statistics of {self.bits} bits are uint16 (channels, {1 << self.bits}), "
                f"not {table.dtype} {table.shape}"
            )
        wrong = np.flatnonzero((table.min(axis=1) < 1) | (table.sum(axis=1) != TOTAL))
        if not len(table) or len(wrong):
            raise DataError(
                f"slice statistics: channels {wrong[:5].tolist()} of {len(table)} are no tables "
                f"of positive frequencies with sum {TOTAL}; the file is damaged"
            )
        frozen = table.copy()
        frozen.setflags(write=False)
        object.__setattr__(self, "frequencies", frozen)

    @classmethod
    def of(cls, tensors: np.ndarray, bits: int) -> SliceStatistics:
        """Count the codes of int8 or uint8 tensors (N, height, width, channels)."""
        if tensors.ndim != 4 or not tensors.size:
            raise DataError(
                f"slice statistics need tensors (N, height, width, channels), not {tensors.shape}"
            )
        signed = tensors.dtype == np.int8
        low, _ = code_range(bits, signed)
        symbols = reduce(tensors, bits).astype(np.int64) - low
        by_channel = symbols.reshape(-1, symbols.shape[3]).T
        counts = np.stack([np.bincount(row, minlength=1 << bits) for row in by_channel])
        return cls(bits, signed, _frequencies(counts))

    @property
    def channels(self) -> int:
        return len(self.frequencies)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a coder uses."""
        head = (int(self.bits), bool(self.signed), self.frequencies.shape)
        sha = hashlib.sha256(repr(head).encode())
        sha.update(self.frequencies.astype("<u2").tobytes())
        return sha.hexdigest()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for ``np.savez_compressed``; 2**bits * 2 bytes a channel before that."""
        return {
            "bits": np.array(self.bits, np.uint8),
            "signed": np.array(self.signed),
            "frequencies": self.frequencies,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SliceStatistics:
        """The inverse of ``to_arrays``. DataError says which array is missing or wrong."""
        missing = {"bits", "signed", "frequencies"} - set(arrays)
        if missing:
            raise DataError(f"slice statistics without {', '.join(sorted(missing))}")
        for name in ("bits", "signed"):
            if np.shape(arrays[name]) != () or np.asarray(arrays[name]).dtype.kind not in "bui":
                raise DataError(f"slice statistics: {name} is {arrays[name]!r}, not one integer")
        table = np.asarray(arrays["frequencies"])
        return cls(int(arrays["bits"]), bool(arrays["signed"]), table)


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """Counts (channels, codes) to frequencies of sum TOTAL, each at least 1.

    One to every code, the rest by share; what rounding leaves over goes to the largest
    remainders, the lower code first.
    """
    weights = 10 * counts + _PRIOR_TENTHS
    codes = weights.shape[1]
    shares = weights * (TOTAL - codes)
    sums = weights.sum(axis=1, keepdims=True)
    table = 1 + shares // sums
    order = np.argsort(-(shares % sums), axis=1, kind="stable")
    for row, largest in zip(table, order, strict=True):
        row[largest[: TOTAL - int(row.sum())]] += 1
    return table.astype(np.uint16)
