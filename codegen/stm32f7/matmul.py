"""Convolutions as matrix products: pointwise, conv2d and linear.

Pixels are expanded to halfwords in DTCM, a tile at a time; then for every pair of output
channels the weights of both are expanded there too and meet all pixels of the tile in blocks of
two by two. A tile is long enough that expanding weights is a small share, and short enough
that its outputs stay in the 4 KB data cache while channel pairs pass over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.names import layer_function
from codegen.stm32f7.code_size import (
    CONV2D_BYTES,
    LINEAR_BYTES,
    POINTWISE_BYTES,
    blocks_bytes,
)
from codegen.stm32f7.requant import clamp_call, requant_table, weight_of
from hil.core.network import Network

TILE_OUTPUT_BYTES = 4096  # the data cache (DS10916: 4 KB)
SHORTEST_TILE = 16
LONGEST_TILE = 64
LONGEST_UNROLLED = 16  # units of 64 bytes of code: a quarter of the instruction cache
PACKED_BYTES = 24 * 1024  # of the 64 KB DTCM; the rest is for stack, state and activations


@dataclass(frozen=True)
class Matrix:
    """The product a layer is: ``pixels`` x ``units * 4`` times that x ``channels``."""

    pixels: int
    channels: int
    units: int

    @property
    def pairs(self) -> int:
        return -(-self.channels // 2)

    @property
    def tile(self) -> int:
        """Pixels packed at a time: even, at least two."""
        by_output = min(max(TILE_OUTPUT_BYTES // self.channels, SHORTEST_TILE), LONGEST_TILE)
        by_memory = PACKED_BYTES // (self.units * 8)
        wanted = min(by_output, by_memory, self.pixels + self.pixels % 2)
        return max(2, wanted // 2 * 2)

    @property
    def packed_bytes(self) -> int:
        return self.tile * self.units * 8

    @property
    def weights_bytes(self) -> int:
        return self.units * 16

    @property
    def unrolled(self) -> bool:
        return self.units <= LONGEST_UNROLLED

    @property
    def blocks_bytes(self) -> int:
        """Code of the blocks, at most."""
        return blocks_bytes(self.pixels, self.tile, self.units, self.unrolled)


def interleave_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (channels, 4 * units) int8 as the kernels stream them: of each pair of channels, four
    bytes of the first, four of the second, and so on; an odd last channel gets a zero partner."""
    channels, length = rows.shape
    even = np.zeros((channels + channels % 2, length), np.int8)
    even[:channels] = rows
    return np.ascontiguousarray(even.reshape(-1, 2, length // 4, 4).transpose(0, 2, 1, 3)).ravel()


def fill_up(rows: np.ndarray) -> np.ndarray:
    """The last axis filled with zeros to a multiple of four."""
    missing = -rows.shape[-1] % 4
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)])


def kind_of(signed: bool) -> str:
    """Suffix of the expanding functions of kernels.h."""
    return "s8" if signed else "u8"


def plan_pointwise(network: Network, index: int) -> LayerPlan:
    """1x1 convolution, stride 1, no padding: pixels are rows already."""
    layer = network.layers[index]
    height, width, in_channels = network.tensors[layer.inputs[0]].shape
    weight = weight_of(layer)
    rows = fill_up(weight.reshape(len(weight), -1))
    matrix = Matrix(height * width, len(rows), rows.shape[1] // 4)
    context = {**_matmul_context(network, index, matrix), "in_channels": in_channels}
    scratch_bytes = matrix.packed_bytes + matrix.weights_bytes
    code_bytes = POINTWISE_BYTES + matrix.blocks_bytes
    return _plan(network, index, "pointwise", context, rows, scratch_bytes, code_bytes)


def plan_conv2d(network: Network, index: int) -> LayerPlan:
    """Any convolution: patches are packed kernel row by kernel row, each filled up to words."""
    layer = network.layers[index]
    source = network.tensors[layer.inputs[0]]
    weight = weight_of(layer)
    channels, kernel_height = weight.shape[:2]
    filled = fill_up(weight.reshape(channels, kernel_height, -1))
    row_units = filled.shape[2] // 4
    out_height, out_width, _ = network.tensors[index + 1].shape
    matrix = Matrix(out_height * out_width, channels, kernel_height * row_units)
    zero_row_at = matrix.packed_bytes + matrix.weights_bytes
    edge_row_at = zero_row_at + 4 * row_units
    context = {
        **_matmul_context(network, index, matrix),
        "in_height": source.shape[0],
        "in_width": source.shape[1],
        "in_channels": source.shape[2],
        "kernel_height": kernel_height,
        "kernel_width": weight.shape[2],
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "pad_top": layer.pad[0],
        "pad_left": layer.pad[1],
        "out_width": out_width,
        "row_units": row_units,
        "zero_row_at": zero_row_at,
        "edge_row_at": edge_row_at,
    }
    rows = filled.reshape(channels, -1)
    scratch_bytes = edge_row_at + 8 * row_units
    code_bytes = CONV2D_BYTES + matrix.blocks_bytes
    return _plan(network, index, "conv2d", context, rows, scratch_bytes, code_bytes)


def plan_linear(network: Network, index: int) -> LayerPlan:
    """A matrix times one vector: no packing, no scratch."""
    layer = network.layers[index]
    rows = fill_up(weight_of(layer))
    context = {
        "channels": len(rows),
        "channel_pairs": -(-len(rows) // 2),
        "units": rows.shape[1] // 4,
        "kind": kind_of(network.tensors[layer.inputs[0]].signed),
        **clamp_call(*layer.clamp),
    }
    return _plan(network, index, "linear", context, rows, 0, LINEAR_BYTES)


def _matmul_context(network: Network, index: int, matrix: Matrix) -> dict[str, Any]:
    layer = network.layers[index]
    return {
        "channels": matrix.channels,
        "channel_pairs": matrix.pairs,
        "pixels": matrix.pixels,
        "tile": matrix.tile,
        "units": matrix.units,
        "weights_at": matrix.packed_bytes,
        "unrolled": matrix.unrolled,
        "whole_pairs": matrix.channels % 2 == 0,
        "kind": kind_of(network.tensors[layer.inputs[0]].signed),
        **clamp_call(*layer.clamp),
    }


def _plan(
    network: Network,
    index: int,
    template: str,
    context: dict[str, Any],
    rows: np.ndarray,
    scratch_bytes: int,
    code_bytes: int,
) -> LayerPlan:
    function = layer_function(network, index)
    comment = f"{rows.shape[0]} channels x {rows.shape[1]}, pairs of channels interleaved by fours"
    weights = Constant(f"{function}_weights", "int8_t", interleave_rows(rows), comment)
    table = requant_table(network.layers[index], len(rows), function)
    return LayerPlan(
        f"stm32f7/{template}.c.j2",
        function,
        context,
        (weights, table),
        scratch_bytes,
        code_bytes,
    )
