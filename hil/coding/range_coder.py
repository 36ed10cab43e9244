"""Range coding of channels with frozen statistics; any whole number of channels is a prefix.

All channels are coded one after the other into one stream, as one would code a single message
(G. N. N. Martin, *Range encoding*, 1979): every channel narrows an interval of numbers, and any
number of the interval after channel i decodes to the first i channels. The coder is that of the
``constriction`` library (32-bit words, 64-bit state, probabilities of 24 bits); bytes are sent
most significant first.

Nothing is flushed between channels. The border after channel i is instead the fewest bytes of
the stream that still decode to the first i channels when the decoder takes every missing byte
for ``FILL``. The middle of what may follow is a better guess than its lower end (zero): a cut
stream then falls out of its interval half as often. A slice of any number of channels so pays
once for its border: about half a byte, on average, beyond the bits of its codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from constriction import stream as entropy

from hil.coding.statistics import TOTAL, SliceStatistics
from hil.core.errors import DataError, ProtocolError

FILL = b"\x80"
_WORD_BYTES = 4
_STATE_BYTES = 8
_STATE_SPAN = 1 << (8 * _STATE_BYTES)


@dataclass(frozen=True)
class SliceStream:
    """A whole tensor, coded. ``payload[:borders[i]]`` is the slice of the first i channels."""

    payload: bytes
    borders: tuple[int, ...]


@dataclass(frozen=True)
class _Interval:
    """The coder's state: the numbers from ``lower``, ``width`` of them, after ``offset`` bytes.

    ``lower`` counts modulo 2**64 in the eight bytes that follow; a carry into the bytes before
    them is already in the finished stream.
    """

    offset: int
    lower: int
    width: int

    @classmethod
    def of(cls, encoder: Any) -> _Interval:
        words, (lower, width) = encoder.pos()
        return cls(words * _WORD_BYTES, lower, width)

    def number(self, data: bytes, count: int) -> int:
        """The eight bytes behind ``offset`` if ``data`` ended after ``count`` bytes."""
        known = data[self.offset : count]
        return int.from_bytes(known.ljust(_STATE_BYTES, FILL)[:_STATE_BYTES], "big")

    def bytes_needed(self, data: bytes) -> int:
        """The fewest bytes of ``data`` whose number still lies in the interval."""
        whole = self.number(data, len(data))
        above = (whole - self.lower) % _STATE_SPAN
        for count in range(self.offset, self.offset + _STATE_BYTES + 1):
            if 0 <= above + self.number(data, count) - whole < self.width:
                return count
        raise ProtocolError(
            f"range-coded slice of {len(data)} bytes contradicts what it decodes to"
        )

    def shortest(self, data: bytes) -> bytes:
        """The shortest bytes that lie in the interval, where ``data`` is any number of it.

        Of several, those nearest its middle: earlier borders are longer where numbers are close
        to an end of their intervals.
        """
        size = self.offset + _STATE_BYTES
        value = int.from_bytes(data.ljust(size, FILL)[:size], "big")
        low = value - (value - self.lower) % _STATE_SPAN
        middle = low + self.width // 2
        number, count = next(
            (number, count)
            for count in range(self.offset, size + 1)
            for number in _filled(middle, size - count)
            if 0 <= number - low < self.width
        )
        return number.to_bytes(size, "big")[:count]


def _filled(number: int, count: int) -> tuple[int, int]:
    """The nearest numbers below (or equal) and above whose last ``count`` bytes are ``FILL``."""
    step = 1 << (8 * count)
    below = number - (number - int.from_bytes(FILL * count, "big")) % step
    return below, below + step


@dataclass(frozen=True, eq=False)
class RangeCoder:
    """Codes channels of symbols (code minus the lowest code) with fixed statistics."""

    statistics: SliceStatistics

    @cached_property
    def _models(self) -> list[Any]:
        # "Perfect" models take shares of a power of two as they are: 256 * frequency of 2**24.
        # The faster ones round, and the stream would depend on how.
        shares = self.statistics.frequencies / np.float64(TOTAL)
        return [entropy.model.Categorical(row, perfect=True) for row in shares]

    def encode(self, symbols: np.ndarray) -> SliceStream:
        """Code int32 symbols (channels, pixels) of at most as many channels as statistics.

        DataError for more channels or for symbols beyond the statistics' bits.
        """
        self._check(len(symbols))
        if symbols.min() < 0 or symbols.max() >> self.statistics.bits:
            raise DataError(
                f"symbols {symbols.min()}..{symbols.max()} for statistics of "
                f"{self.statistics.bits} bits"
            )
        encoder, intervals = self._run(symbols)
        words = encoder.get_compressed()
        payload = intervals[-1].shortest(words.astype(">u4").tobytes())
        borders = (0, *(interval.bytes_needed(payload) for interval in intervals))
        return SliceStream(payload, borders)

    def decode(self, payload: bytes, channels: int, pixels: int) -> np.ndarray:
        """Symbols int32 (channels, pixels) of a slice's payload.

        Every payload is decoded with the statistics, so damaged bytes give other symbols: only
        a checksum tells. What can be told is that the length is wrong: ProtocolError unless
        ``payload`` is exactly as long as the border of the symbols it decodes to. A stream that
        lost only its last few bytes may still pass.
        """
        self._check(channels)
        whole = payload.ljust(-(-len(payload) // _WORD_BYTES) * _WORD_BYTES + _STATE_BYTES, FILL)
        decoder = entropy.queue.RangeDecoder(np.frombuffer(whole, ">u4").astype(np.uint32))
        try:
            rows = [decoder.decode(model, pixels) for model in self._models[:channels]]
        except AssertionError as error:  # how constriction says that no symbol fits
            raise ProtocolError(
                f"range-coded slice of {len(payload)} bytes does not decode"
            ) from error
        symbols = np.stack(rows)
        _, intervals = self._run(symbols)
        needed = intervals[-1].bytes_needed(payload)
        if needed != len(payload):
            raise ProtocolError(
                f"range-coded slice has {len(payload)} bytes, its {channels} channels need {needed}"
            )
        return symbols

    def _run(self, symbols: np.ndarray) -> tuple[Any, list[_Interval]]:
        """Code all rows; the state after each."""
        encoder, intervals = entropy.queue.RangeEncoder(), []
        for row, model in zip(symbols, self._models, strict=False):
            encoder.encode(row, model)
            intervals.append(_Interval.of(encoder))
        return encoder, intervals

    def _check(self, channels: int) -> None:
        if not 1 <= channels <= self.statistics.channels:
            raise DataError(
                f"{channels} channels with statistics of {self.statistics.channels} channels"
            )
