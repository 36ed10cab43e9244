"""Parameters packed for the convolution kernels: a record for every four output channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from codegen.gap8.steps import Transfer, ceil_div
from hil.core.network import Layer

CHANNELS = 4  # a record
EXTRA_WORDS = 9  # four biases, four multipliers, four one-byte shifts


@dataclass(frozen=True)
class Records:
    """A constant of records: its C name and the words of one record."""

    name: str
    words: int

    def size_bytes(self, channels: int) -> int:
        """Bytes of the records of so many channels."""
        return ceil_div(channels, CHANNELS) * self.words * 4

    def load(self, l1: int, low: int, high: int) -> Transfer:
        """The records of channels ``low`` (a multiple of four) up to ``high``."""
        first = low // CHANNELS * self.words
        return Transfer(l1, self.name, first, self.size_bytes(high - low))


class Requantisation(NamedTuple):
    """int32 rows, one a record: four biases, four multipliers, a word of four shifts."""

    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray


def requantisation(layer: Layer, channels: int) -> Requantisation:
    """What a layer's records hold besides weights; zeros behind the last channel."""
    bias = layer.bias if layer.bias is not None else np.zeros(channels, np.int32)
    return Requantisation(
        _by_fours(bias, np.int32),
        _by_fours(layer.multiplier, np.int32),
        _by_fours(layer.shift, np.uint8).view("<i4"),
    )


def _by_fours(values: np.ndarray | None, dtype: type) -> np.ndarray:
    count = len(values)  # type: ignore[arg-type]
    padded: np.ndarray = np.zeros(ceil_div(count, CHANNELS) * CHANNELS, dtype)
    padded[:count] = values
    return padded.reshape(-1, CHANNELS)
