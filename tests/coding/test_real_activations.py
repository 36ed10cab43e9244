"""The shipped network's slices: statistics from calibration images, sizes on test images."""

from __future__ import annotations

import numpy as np
import pytest

from hil.coding.sizes import slice_sizes
from hil.coding.slice_codec import Coding, SliceCodec
from hil.coding.statistics import TOTAL, SliceStatistics
from hil.core.network import Network
from hil.nn import assets
from hil.nn.reference import quantise_input, run

# 32x32x8, 16x16x16, 8x8x32 and 4x4x112
CUTS = ("block2", "block5", "block12", "block17")
Tensors = tuple[Network, list[np.ndarray], list[np.ndarray]]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Every tensor of 30 calibration images and of 8 test images."""
    network = assets.default_network()
    images = assets.calibration_images().x[::3][:30], assets.sample_images().x[:8]
    upto = network.cut(CUTS[-1]).layers
    calibration, tested = (run(network, quantise_input(x), upto) for x in images)
    return network, calibration, tested


def entropy_bytes(statistics: SliceStatistics, tensor: np.ndarray) -> np.ndarray:
    """-log2 of the tables' shares, summed over the first 1, 2, ... channels; in bytes."""
    step = 2.0 ** (8 - statistics.bits)
    low = -(2 ** (statistics.bits - 1)) if statistics.signed else 0
    codes = np.floor(tensor / step + 0.5).clip(low, low + 2**statistics.bits - 1)
    index = (codes - low).astype(int).reshape(-1, tensor.shape[2])
    share = statistics.frequencies[np.arange(tensor.shape[2]), index] / TOTAL
    return np.cumsum(-np.log2(share).sum(axis=0)) / 8


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("bits", [8, 5, 3])
def test_slices_are_as_small_as_their_entropy(tensors: Tensors, cut: str, bits: int) -> None:
    network, calibration, tested = tensors
    layers = network.cut(cut).layers
    statistics = SliceStatistics.of(calibration[layers], bits)
    codec = SliceCodec(network.tensors[layers], Coding.RANGE, bits, statistics)
    packed = SliceCodec(network.tensors[layers], Coding.PACKED, bits)
    for tensor in tested[layers]:
        stream, ideal = codec.encode_all(tensor), entropy_bytes(statistics, tensor)
        borders = np.array(stream.borders[1:])
        # Within 2 %, or three bytes where a slice has less than 150: a border costs one or two.
        assert (np.abs(borders - ideal) < np.maximum(3, 0.02 * ideal)).all()
        channels = int(tensor.shape[2] // 2)
        payload = stream.payload[: borders[channels - 1]]
        assert np.array_equal(
            codec.decode(payload, channels),
            packed.decode(packed.encode(tensor, channels), channels),
        )


def test_coding_pays_on_real_slices(tensors: Tensors) -> None:
    """At 5 bits the mean range-coded slice is smaller than the packed, the packed than the raw."""
    network, calibration, tested = tensors
    for cut in CUTS:
        layers = network.cut(cut).layers
        tensor, statistics = network.tensors[layers], SliceStatistics.of(calibration[layers], 5)
        raw, packed, ranged = (
            slice_sizes(codec, tested[layers])[-1].mean_bytes
            for codec in (
                SliceCodec(tensor),
                SliceCodec(tensor, Coding.PACKED, 5),
                SliceCodec(tensor, Coding.RANGE, 5, statistics),
            )
        )
        assert raw == tensor.size_bytes and packed == raw * 5 / 8
        assert ranged < 0.85 * packed
