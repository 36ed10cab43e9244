"""How the slices of one tensor become bytes: bits a value, coding, statistics.

A ``SliceCodec`` is what the two ends of a partition agree on beforehand. The sender codes the
whole tensor once and sends as many channels as the link allows; the receiver gets the values
back on the tensor's 8-bit grid, so the network's tail knows nothing of the coding.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from hil.coding import bits as slice_bits
from hil.coding.range_coder import RangeCoder, SliceStream
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError, ProtocolError
from hil.core.network import Tensor


class Coding(IntEnum):
    """The coding's number in a slice frame."""

    RAW = 0  # a byte a value: what the firmware sends
    PACKED = 1  # ``bits`` a value, packed (hil.coding.bits)
    RANGE = 2  # ``bits`` a value, range-coded (hil.coding.range_coder)


@dataclass(frozen=True, eq=False)
class SliceCodec:
    """Codes slices of ``tensor``. DataError for parts that do not belong together.

    RAW has 8 bits; RANGE, and only RANGE, has statistics of the same bits, sign and channels.
    """

    tensor: Tensor
    coding: Coding = Coding.RAW
    bits: int = slice_bits.GRID_BITS
    statistics: SliceStatistics | None = None

    def __post_init__(self) -> None:
        slice_bits.check_bits(self.bits)
        if self.coding is Coding.RAW and self.bits != slice_bits.GRID_BITS:
            raise DataError(f"raw slices have 8 bits a value, not {self.bits}; choose packed")
        known = self.statistics
        if (known is not None) != (self.coding is Coding.RANGE):
            raise DataError(
                f"{self.coding.name.lower()} slices {'with' if known else 'without'} statistics; "
                "range coding needs them, the others have no use for them"
            )
        expected = (self.bits, self.tensor.signed, self.tensor.shape[2])
        if known is not None and (known.bits, known.signed, known.channels) != expected:
            raise DataError(
                f"statistics of {known.bits} bits, signed {known.signed}, {known.channels} "
                f"channels for slices of {self.bits} bits of a tensor {self.tensor}"
            )

    def encode_all(self, tensor: np.ndarray) -> SliceStream:
        """Code a tensor (height, width, channel): all channels, and where each one ends."""
        if tensor.shape != self.tensor.shape or tensor.dtype != self.tensor.dtype:
            raise DataError(
                f"codec for {self.tensor.dtype} {self.tensor.shape} got {tensor.dtype} "
                f"{tensor.shape}"
            )
        codes = slice_bits.reduce(np.ascontiguousarray(tensor.transpose(2, 0, 1)), self.bits)
        if self.coding is Coding.RANGE:
            symbols = codes.reshape(len(codes), -1).astype(np.int32) - self._low
            return self._coder.encode(symbols)
        borders = (
            slice_bits.packed_bytes(n * self._pixels, self.bits) for n in range(len(codes) + 1)
        )
        return SliceStream(slice_bits.pack(codes, self.bits), tuple(borders))

    def encode(self, tensor: np.ndarray, channels: int) -> bytes:
        """The slice of the first ``channels`` channels of a tensor (height, width, channel)."""
        total = self.tensor.shape[2]
        if not 1 <= channels <= total:
            raise DataError(f"{channels} channels cannot be sent of a tensor with {total}")
        stream = self.encode_all(tensor)
        return stream.payload[: stream.borders[channels]]

    def decode(self, payload: bytes, channels: int) -> np.ndarray:
        """Values (channels, height, width) on the 8-bit grid, of the tensor's type.

        ProtocolError for a payload that cannot be a slice of so many channels.
        """
        height, width, total = self.tensor.shape
        if not 1 <= channels <= total:
            raise ProtocolError(f"slice of {channels} channels of a tensor with {total}")
        if self.coding is Coding.RANGE:
            symbols = self._coder.decode(payload, channels, self._pixels)
            codes = (symbols + self._low).astype(self.tensor.dtype)
        else:
            count = channels * self._pixels
            codes = slice_bits.unpack(payload, self.bits, count, self.tensor.signed)
        return slice_bits.restore(codes, self.bits).reshape(channels, height, width)

    def describe(self) -> dict[str, Any]:
        """What the codec is, in JSON's types; for journals and artifacts."""
        return {
            "coding": self.coding.name.lower(),
            "bits": self.bits,
            "shape": list(self.tensor.shape),
            "signed": self.tensor.signed,
            "scale": self.tensor.scale,
            "statistics": self.statistics.digest if self.statistics else None,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ``describe``: codecs with the same digest understand each other."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    @property
    def _pixels(self) -> int:
        return self.tensor.shape[0] * self.tensor.shape[1]

    @property
    def _low(self) -> int:
        return slice_bits.code_range(self.bits, self.tensor.signed)[0]

    @cached_property
    def _coder(self) -> RangeCoder:
        if self.statistics is None:
            raise DataError("range coding without statistics")
        return RangeCoder(self.statistics)
