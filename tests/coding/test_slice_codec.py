"""Codecs over shapes, types, bits and all borders; parts that do not fit; identity."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.coding.sizes import slice_sizes
from hil.coding.slice_codec import Coding, SliceCodec
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError, ProtocolError
from hil.core.network import Tensor


def codec_of(tensors: np.ndarray, coding: Coding, bits: int) -> SliceCodec:
    """A codec for tensors (N, height, width, channel), with their statistics if it needs any."""
    tensor = Tensor(tensors.shape[1:], 0.25, tensors.dtype == np.int8)
    statistics = SliceStatistics.of(tensors, bits) if coding is Coding.RANGE else None
    return SliceCodec(tensor, coding, bits, statistics)


def random_tensors(shape: tuple[int, ...], dtype: str, seed: int, spread: float) -> np.ndarray:
    values = np.random.default_rng(seed).laplace(0, spread, shape)
    return (values if dtype == "i1" else np.abs(values)).clip(-128, 127).astype(dtype)


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7)),
    st.sampled_from(["i1", "u1"]),
    st.sampled_from([Coding.PACKED, Coding.RANGE]),
    st.integers(1, 8),
    st.integers(0, 2**32),
    st.sampled_from([1.0, 10.0, 100.0]),
)
def test_every_border_of_every_tensor(
    shape: tuple[int, int, int], dtype: str, coding: Coding, bits: int, seed: int, spread: float
) -> None:
    """Statistics of other tensors: many a code is met for the first time."""
    codec = codec_of(random_tensors((2, *shape), dtype, seed, spread), coding, bits)
    tensor = random_tensors(shape, dtype, seed + 1, 2 * spread)
    step, top = 2.0 ** (8 - bits), 128 if dtype == "i1" else 256
    coarse = np.minimum(np.floor(tensor / step + 0.5) * step, top - step)
    stream = codec.encode_all(tensor)
    for channels in range(1, shape[2] + 1):
        payload = codec.encode(tensor, channels)
        assert payload == stream.payload[: stream.borders[channels]]
        values = codec.decode(payload, channels)
        assert values.dtype == np.dtype(dtype)
        assert np.array_equal(values.transpose(1, 2, 0), coarse[:, :, :channels])
        if coding is Coding.PACKED:
            assert len(payload) == math.ceil(shape[0] * shape[1] * channels * bits / 8)


def test_raw_is_the_bytes_themselves() -> None:
    tensor = random_tensors((3, 4, 5), "i1", 0, 50)
    codec = SliceCodec(Tensor((3, 4, 5), 0.25, True))
    for channels in (1, 5):
        raw = tensor[:, :, :channels].transpose(2, 0, 1)
        assert codec.encode(tensor, channels) == raw.tobytes()
        assert np.array_equal(codec.decode(raw.tobytes(), channels), raw)


def test_eight_bits_lose_nothing() -> None:
    tensors = random_tensors((3, 8, 8, 4), "i1", 1, 30)
    for coding in Coding:
        codec = codec_of(tensors, coding, 8)
        values = codec.decode(codec.encode(tensors[0], 4), 4)
        assert np.array_equal(values.transpose(1, 2, 0), tensors[0])


@settings(deadline=None)
@given(st.sampled_from(list(Coding)), st.binary(max_size=100), st.integers(-1, 9))
def test_noise_gives_values_of_the_right_shape_or_a_refusal(
    coding: Coding, noise: bytes, channels: int
) -> None:
    codec = codec_of(random_tensors((3, 4, 4, 5), "i1", 2, 30), coding, 8)
    try:
        values = codec.decode(noise, channels)
    except ProtocolError:
        return
    assert values.shape == (channels, 4, 4) and values.dtype == np.int8


TENSORS = random_tensors((3, 4, 4, 5), "i1", 3, 30)
STATISTICS = SliceStatistics.of(TENSORS, 6)
TENSOR = Tensor((4, 4, 5), 0.25, True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((TENSOR, Coding.RAW, 6), "raw slices have 8 bits a value, not 6; choose packed"),
        ((TENSOR, Coding.PACKED, 0), "values of 0 bits"),
        ((TENSOR, Coding.PACKED, 6, STATISTICS), "packed slices with statistics"),
        ((TENSOR, Coding.RANGE, 6), "range slices without statistics"),
        ((TENSOR, Coding.RANGE, 5, STATISTICS), "statistics of 6 bits.*for slices of 5 bits"),
        ((Tensor((4, 4, 6), 1.0, True), Coding.RANGE, 6, STATISTICS), "signed True, 5 channels"),
        ((Tensor((4, 4, 5), 1.0, False), Coding.RANGE, 6, STATISTICS), "signed True, 5 channels"),
    ],
)
def test_parts_that_do_not_fit(parts, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SliceCodec(*parts)


def test_tensors_that_do_not_fit() -> None:
    codec = SliceCodec(TENSOR, Coding.RANGE, 6, STATISTICS)
    for wrong in (TENSORS, TENSORS[0].view(np.uint8), TENSORS[0][:, :, :4]):
        with pytest.raises(DataError, match=r"codec for int8 \(4, 4, 5\) got"):
            codec.encode(wrong, 1)
    for channels in (0, 6):
        with pytest.raises(DataError, match=f"{channels} channels cannot be sent"):
            codec.encode(TENSORS[0], channels)
        with pytest.raises(ProtocolError, match=f"slice of {channels} channels"):
            codec.decode(b"", channels)


def test_identity() -> None:
    other = SliceStatistics.of(TENSORS // 2, 6)
    codecs = [
        SliceCodec(TENSOR),
        SliceCodec(TENSOR, Coding.PACKED),
        SliceCodec(TENSOR, Coding.PACKED, 6),
        SliceCodec(Tensor((4, 4, 5), 0.5, True), Coding.PACKED, 6),
        SliceCodec(TENSOR, Coding.RANGE, 6, STATISTICS),
        SliceCodec(TENSOR, Coding.RANGE, 6, other),
    ]
    assert len({codec.digest for codec in codecs}) == len(codecs)
    again = SliceStatistics.from_arrays(STATISTICS.to_arrays())
    assert SliceCodec(TENSOR, Coding.RANGE, 6, again).digest == codecs[4].digest
    assert json.loads(json.dumps(codecs[4].describe())) == {
        "coding": "range",
        "bits": 6,
        "shape": [4, 4, 5],
        "signed": True,
        "scale": 0.25,
        "statistics": STATISTICS.digest,
    }


def test_sizes_over_many_tensors() -> None:
    raw, packed, ranged = (
        slice_sizes(codec_of(TENSORS, coding, bits), TENSORS)
        for coding, bits in ((Coding.RAW, 8), (Coding.PACKED, 3), (Coding.RANGE, 3))
    )
    assert [row.max_bytes for row in raw] == [16, 32, 48, 64, 80]
    assert [row.mean_bytes for row in packed] == [6, 12, 18, 24, 30]
    codec = codec_of(TENSORS, Coding.RANGE, 3)
    for row in ranged:
        lengths = [len(codec.encode(tensor, row.channels)) for tensor in TENSORS]
        assert (row.n, row.max_bytes) == (3, max(lengths))
        assert row.median_bytes == sorted(lengths)[1]
        assert row.mean_bytes == pytest.approx(sum(lengths) / 3)
    with pytest.raises(DataError, match=r"sizes need tensors \(N, height"):
        slice_sizes(codec, TENSORS[0])
