"""Range-coded prefixes: whole, short, and refused when they cannot be right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.coding.range_coder import FILL, RangeCoder
from hil.coding.statistics import TOTAL, SliceStatistics
from hil.core.errors import DataError, ProtocolError


def coder_of(tables: list[list[int]]) -> RangeCoder:
    bits = (len(tables[0]) - 1).bit_length()
    return RangeCoder(SliceStatistics(bits, False, np.array(tables, np.uint16)))


def laplace(
    seed: int, pixels: int, channels: int = 20, bits: int = 6
) -> tuple[RangeCoder, np.ndarray, np.ndarray]:
    """A coder with the statistics of Laplace-distributed channels of many widths, fresh symbols
    (channels, pixels) of the same distributions, and the bits of each by the tables alone."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(1, 2**bits / 6, channels)

    def draw(count: int) -> np.ndarray:
        values = rng.laplace(0, spread, (count, channels))
        return (np.rint(values) * 2 ** (8 - bits)).clip(-128, 127).astype(np.int8)

    statistics = SliceStatistics.of(draw(20 * pixels).reshape(20, pixels, 1, channels), bits)
    symbols = (draw(pixels).T >> (8 - bits)).astype(np.int32) + 2 ** (bits - 1)
    shares = statistics.frequencies / TOTAL
    cost = np.array([-np.log2(shares[c][symbols[c]]).sum() for c in range(channels)])
    return RangeCoder(statistics), symbols, cost


def test_a_stream_by_hand() -> None:
    """Powers of two: each symbol appends its own bits."""
    coder = coder_of([[32768, 16384, 8192, 8192], [16384] * 4])
    symbols = np.array([[0, 1, 2, 3, 0, 0, 1, 0], [1, 2, 0, 3, 2, 1, 3, 0]], np.int32)
    stream = coder.encode(symbols)
    # 0 10 110 111 0 0 10 0, then 01 10 00 11 10 01 11 00, then two bits that do not matter
    bits = "01011011100100" + "0110001110011100"
    assert f"{int.from_bytes(stream.payload, 'big'):032b}".startswith(bits)
    assert stream.borders == (0, 2, 4)


def decoded_by_the_book(
    payload: bytes, tables: np.ndarray, channels: int, pixels: int
) -> list[list[int]]:
    """A range decoder written out: 64-bit state, 32-bit words, shares of 2**24."""
    words = iter(np.frombuffer(payload + FILL * (64 - len(payload) % 4), ">u4").tolist())
    lower, width, point = 0, 2**64 - 1, next(words) << 32 | next(words)
    rows = []
    for table in tables[:channels].astype(int) * 256:
        starts, row = [0, *np.cumsum(table).tolist()], []
        for _ in range(pixels):
            unit = width >> 24
            share = ((point - lower) % 2**64) // unit
            symbol = next(s for s in range(len(table)) if share < starts[s + 1])
            lower = (lower + unit * starts[symbol]) % 2**64
            width = unit * int(table[symbol])
            if width < 2**32:
                lower, width = lower << 32 & 2**64 - 1, width << 32
                point = (point << 32 | next(words)) & 2**64 - 1
            row.append(symbol)
        rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_another_decoder_reads_the_same(seed: int) -> None:
    """What the module states is all there is to the format."""
    coder, symbols, _ = laplace(seed, pixels=30, channels=6, bits=5)
    stream = coder.encode(symbols)
    for channels in range(1, 7):
        prefix = stream.payload[: stream.borders[channels]]
        tables = coder.statistics.frequencies
        assert decoded_by_the_book(prefix, tables, channels, 30) == symbols[:channels].tolist()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_prefix_decodes(data: st.DataObject) -> None:
    """Any tables, likely and unlikely symbols, down to a single pixel."""
    bits, channels = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 7))
    pixels, seed = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    peak = data.draw(st.sampled_from([1, 100, 10_000]))
    weights = rng.dirichlet(np.full(2**bits, 1 / peak), channels)
    tables = 1 + np.floor(weights * (TOTAL - 2**bits)).astype(np.int64)
    tables[:, 0] += TOTAL - tables.sum(axis=1)
    coder = RangeCoder(SliceStatistics(bits, False, tables.astype(np.uint16)))
    likely = np.stack([rng.choice(2**bits, pixels, p=row / TOTAL) for row in tables])
    rare = rng.integers(0, 2**bits, (channels, pixels))
    share = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    symbols = np.where(rng.random((channels, pixels)) < share, rare, likely).astype(np.int32)

    stream = coder.encode(symbols)
    assert len(stream.borders) == channels + 1 and stream.borders[0] == 0
    assert stream.borders[-1] == len(stream.payload)
    assert list(stream.borders) == sorted(stream.borders)
    for count in range(1, channels + 1):
        prefix = stream.payload[: stream.borders[count]]
        assert np.array_equal(coder.decode(prefix, count, pixels), symbols[:count])
        if prefix:  # one byte less is too little: the border is the shortest there is
            assert not _decodes_to(coder, prefix[:-1], symbols[:count])


def _decodes_to(coder: RangeCoder, payload: bytes, symbols: np.ndarray) -> bool:
    try:
        return np.array_equal(coder.decode(payload, *symbols.shape), symbols)
    except ProtocolError:
        return False


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_size_within_two_percent_of_the_entropy(side: int, bits: int) -> None:
    coder, symbols, cost = laplace(side + bits, side * side, bits=bits)
    borders = np.array(coder.encode(symbols).borders[1:])
    ideal = np.cumsum(cost) / 8
    assert (borders > ideal - 2).all() and (borders <= 1.02 * ideal).all()


def test_the_price_of_a_border() -> None:
    """Bytes beyond the entropy do not add up over channels: half a byte, wherever one stops."""
    beyond = []
    for seed in range(40):
        coder, symbols, cost = laplace(seed, pixels=16)
        beyond.append(np.array(coder.encode(symbols).borders[1:]) - np.cumsum(cost) / 8)
    every = np.array(beyond)
    assert every.mean() < 0.5 and every.max() < 3
    assert np.abs(every.mean(axis=0)).max() < 0.75  # for each number of channels alike


def test_an_unseen_symbol_costs_at_most_sixteen_bits() -> None:
    coder = coder_of([[1, 1, 1, TOTAL - 3]])
    symbols = np.zeros((1, 100), np.int32)
    stream = coder.encode(symbols)
    assert len(stream.payload) <= 201
    assert np.array_equal(coder.decode(stream.payload, 1, 100), symbols)


def test_a_certain_channel_costs_next_to_nothing() -> None:
    coder = coder_of([[TOTAL - 1, 1], [TOTAL - 1, 1]])
    assert coder.encode(np.zeros((2, 1000), np.int32)).borders[-1] <= 1


@settings(deadline=None)
@given(st.binary(max_size=120), st.integers(1, 20))
def test_noise_is_refused_or_gives_symbols(noise: bytes, channels: int) -> None:
    coder = laplace(0, pixels=16)[0]
    try:
        symbols = coder.decode(noise, channels, 16)
    except ProtocolError:
        return
    assert symbols.shape == (channels, 16) and symbols.min() >= 0 and symbols.max() < 64


def test_a_wrong_length_is_refused() -> None:
    coder, symbols, _ = laplace(1, pixels=64)
    payload = coder.encode(symbols).payload
    for cut in range(9, len(payload) + 1):
        with pytest.raises(ProtocolError, match=r"range-coded slice (of|has) \d+ bytes"):
            coder.decode(payload[:-cut], 20, 64)
    for more in (FILL, b"\0", bytes(100)):
        with pytest.raises(ProtocolError, match=f"has {len(payload + more)} bytes"):
            coder.decode(payload + more, 20, 64)


def test_what_cannot_be_coded() -> None:
    coder, symbols, _ = laplace(2, pixels=4)
    for wrong in (symbols - 64, symbols + 64):
        with pytest.raises(DataError, match="for statistics of 6 bits"):
            coder.encode(wrong)
    for count in (0, 21):
        with pytest.raises(DataError, match=f"{count} channels with statistics of 20"):
            coder.decode(b"", count, 4)
    with pytest.raises(DataError, match="21 channels with statistics of 20"):
        coder.encode(np.concatenate([symbols, symbols[:1]]))
