"""Depthwise layers: boards/gap8/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.gap8.conv import Band, band_of
from codegen.gap8.steps import (
    CORES,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    even_parts,
    layer_plan,
    pipeline_cycles,
    scratch_limit,
    spans,
    too_big,
)
from codegen.names import layer_function, tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network

TILE_BYTES = 88
HEAD_WORDS = 3  # bias, multiplier, shift
# Cycles, counted in planes.h and depthwise.c.
PLANE_WORD_CYCLES = 18
PLANE_ROW_CYCLES = 90
PAIR_CYCLES = 29  # two outputs of the 3x3 kernel
STRIDE2_CYCLES = 16
SWEEP_CYCLES = 35


@dataclass(frozen=True)
class Shape:
    """A layer's geometry and the kernel it takes."""

    rows: int
    columns: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    out_rows: int
    out_columns: int

    @property
    def kernel_words(self) -> int:
        """Words of one kernel row."""
        return -(-self.kernel[1] // 4)

    @property
    def record_words(self) -> int:
        """Words of a channel's parameters."""
        return HEAD_WORDS + self.kernel[0] * self.kernel_words

    @property
    def way(self) -> str:
        """Which of the kernel's three ways: "3x3", "3x3_stride2" or "any"."""
        if self.kernel != (3, 3):
            return "any"
        return {(1, 1): "3x3", (2, 2): "3x3_stride2"}.get(self.stride, "any")

    @property
    def plane_pitch(self) -> int:
        """Bytes of a plane row: the padded input row, or up to the end of the last word read."""
        last = (self.out_columns - 1) * self.stride[1]
        if self.way == "3x3":
            last -= last % 2  # columns go in pairs
        needed = max(self.pad[1] + self.columns, last + 4 * self.kernel_words)
        return -(-needed // 4) * 4

    def plane_rows(self, out_rows: int) -> int:
        """Plane rows that ``out_rows`` output rows need."""
        return (out_rows - 1) * self.stride[0] + self.kernel[0]


def plan_depthwise(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of a depthwise layer."""
    layer = network.layers[index]
    shape = shape_of(network, index)
    letter = "s8" if network.tensors[layer.inputs[0]].signed else "u8"
    kernel = Kernel(
        "depthwise.h", "depthwise_step_t", TILE_BYTES, f"depthwise_{shape.way}_{letter}"
    )
    name = f"{layer_function(network, index)}_weights"
    choices = list(_choices(shape))
    fitting = [c for c in choices if c.scratch_bytes <= scratch_limit(board)]
    if not fitting:
        raise too_big(network, index, board, min(c.scratch_bytes for c in choices))
    best = min(fitting, key=lambda c: c.cycles)
    tiling = best.tiling(name, layer, tensor_macro(layer.inputs[0]), tensor_macro(index + 1))
    if not tiling.is_possible:
        raise too_big(network, index, board, best.scratch_bytes)
    comment = (
        f"{shape.channels} records: bias, multiplier, shift, "
        f"{shape.kernel[0]} x {shape.kernel_words} words of weights"
    )
    constant = Constant(name, "int32_t", pack_weights(layer, shape), comment)
    return layer_plan(network, index, kernel, tiling, (constant,))


def shape_of(network: Network, index: int) -> Shape:
    """Geometry of layer ``index``."""
    layer = network.layers[index]
    rows, columns, channels = network.tensors[layer.inputs[0]].shape
    out_rows, out_columns, _ = network.tensors[index + 1].shape
    return Shape(
        rows, columns, channels, layer.kernel, layer.stride, layer.pad, out_rows, out_columns
    )


def pack_weights(layer: Layer, shape: Shape) -> np.ndarray:
    """int32 words of all records (depthwise.h)."""
    channels, rows, columns = layer.weight.shape  # type: ignore[union-attr]
    padded = np.zeros((channels, rows, shape.kernel_words * 4), np.int8)
    padded[:, :, :columns] = layer.weight
    bias = layer.bias if layer.bias is not None else np.zeros(channels)
    head = np.stack([bias, layer.multiplier, layer.shift], axis=1).astype(np.int32)  # type: ignore[list-item]
    taps = padded.reshape(channels, -1).view("<i4")
    return np.concatenate([head, taps], axis=1).astype(np.int32).ravel()


def _choices(shape: Shape) -> Iterator[_Choice]:
    for band_rows in even_parts(shape.out_rows):
        for channels in even_parts(shape.channels, 4):
            whole = band_rows == shape.out_rows and channels == shape.channels
            for buffers in (1,) if whole else (2, 1):
                for row_cores in (1, 2, 4, 8):
                    yield _Choice(shape, band_rows, channels, buffers, row_cores)


@dataclass(frozen=True)
class _Choice:
    """Bands of output rows x slices of channels, and how many ways the cores split the rows."""

    shape: Shape
    band_rows: int
    slice_channels: int
    buffers: int
    row_cores: int

    @property
    def rows_a_core(self) -> int:
        return -(-self.band_rows // self.row_cores)

    @property
    def plane_bytes(self) -> int:
        return self.shape.plane_rows(self.rows_a_core) * self.shape.plane_pitch

    @property
    def slices(self) -> int:
        return -(-self.shape.channels // self.slice_channels)

    @property
    def input_bytes(self) -> int:
        shape = self.shape
        rows = min(shape.rows, shape.plane_rows(self.band_rows))
        return rows * shape.columns * self.slice_channels

    @property
    def output_bytes(self) -> int:
        return self.band_rows * self.shape.out_columns * self.slice_channels

    @property
    def weight_bytes(self) -> int:
        return self.slice_channels * self.shape.record_words * 4

    @property
    def scratch_bytes(self) -> int:
        return self._layout()[0].size_bytes

    def _layout(self) -> tuple[Scratch, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        scratch = Scratch(TILE_BYTES)
        weights = scratch.take_halves(self.weight_bytes, self.buffers if self.slices > 1 else 1)
        inputs = scratch.take_halves(self.input_bytes, self.buffers)
        outputs = scratch.take_halves(self.output_bytes, self.buffers)
        planes = scratch.take(CORES * 4 * self.plane_bytes)
        return scratch, planes, weights, inputs, outputs

    @property
    def cycles(self) -> float:
        shape = self.shape
        bands = -(-shape.out_rows // self.band_rows)
        tiles = bands * self.slices
        rows = self.rows_a_core
        quads = -(-(-(-self.slice_channels // 4)) // (CORES // self.row_cores))
        word = PLANE_WORD_CYCLES + (0 if shape.channels % 4 == 0 else 6)
        plane_row = shape.plane_pitch // 4 * word + PLANE_ROW_CYCLES
        quad = shape.plane_rows(rows) * plane_row + 4 * self._channel_cycles(rows)
        line_bytes = self.slice_channels if self.slices > 1 else 8
        narrow = -(-line_bytes // 8) * 8 / line_bytes
        load = self.input_bytes * narrow / 8 + 40
        load += self.weight_bytes / 8 / (bands if self.slices > 1 else tiles)
        store = self.output_bytes * narrow / 8 + 20
        return pipeline_cycles(load, quads * quad, store, tiles, self.buffers)

    def _channel_cycles(self, rows: int) -> float:
        shape = self.shape
        if shape.way == "3x3":
            return -(-shape.out_columns // 2) * (PAIR_CYCLES * rows + SWEEP_CYCLES)
        if shape.way == "3x3_stride2":
            return shape.out_columns * (STRIDE2_CYCLES * rows + SWEEP_CYCLES)
        return shape.out_columns * rows * (shape.kernel[0] * (6 * shape.kernel_words + 4) + 20)

    def tiling(self, name: str, layer: Layer, source: str, target: str) -> Tiling:
        """Everything laid out. ``name``: the constant; ``source``, ``target``: tensors."""
        shape = self.shape
        scratch, planes, weights, inputs, outputs = self._layout()
        steps = []
        for s, (low, high) in enumerate(spans(shape.channels, self.slice_channels)):
            at = weights[s % len(weights)]
            for b, span in enumerate(spans(shape.out_rows, self.band_rows)):
                band = band_of(span, shape.rows, shape.kernel[0], shape.stride[0], shape.pad[0])
                half = len(steps) % self.buffers
                loads = self._input(source, band, low, high, inputs[half])
                if b == 0:
                    words = shape.record_words
                    loads += (Transfer(at, name, low * words, (high - low) * words * 4),)
                tile = {
                    "input": f"scratch + {inputs[half]}",
                    "output": f"scratch + {outputs[half]}",
                    "weights": f"scratch + {at}",
                    "planes": f"scratch + {planes}",
                    **self._geometry(band, high - low, layer),
                }
                comment = f"rows {band.begin} to {band.end - 1}, channels {low} to {high - 1}"
                store = self._output(target, band, low, high, outputs[half])
                steps.append(Step(comment, loads, store, {"tile": tile}))
        note = (
            f"{len(steps)} tiles of up to {self.band_rows} x {shape.out_columns} pixels, "
            f"{self.slice_channels} of {shape.channels} channels"
        )
        return Tiling(self.cycles, scratch.size_bytes, note, self.buffers, tuple(steps))

    def _geometry(self, band: Band, channels: int, layer: Layer) -> dict[str, int | str]:
        shape = self.shape
        rows = band.end - band.begin
        return {
            "rows": band.last - band.first,
            "columns": shape.columns,
            "channels": channels,
            "top": band.top,
            "left": shape.pad[1],
            "plane_pitch": shape.plane_pitch,
            "plane_bytes": self.plane_bytes,
            "kernel_rows": shape.kernel[0],
            "kernel_words": shape.kernel_words,
            "stride_down": shape.stride[0],
            "stride_across": shape.stride[1],
            "output_rows": rows,
            "output_columns": shape.out_columns,
            "lowest": layer.clamp[0],
            "highest": layer.clamp[1],
            "rows_a_core": -(-rows // self.row_cores),
            "quads_a_core": -(-(-(-channels // 4)) // (CORES // self.row_cores)),
            "row_cores": self.row_cores,
        }

    def _input(
        self, source: str, band: Band, low: int, high: int, l1: int
    ) -> tuple[Transfer, ...]:
        pixels = (band.last - band.first) * self.shape.columns
        offset = band.first * self.shape.columns * self.shape.channels + low
        return block(l1, source, offset, pixels, high - low, self.shape.channels)

    def _output(self, target: str, band: Band, low: int, high: int, l1: int) -> Transfer:
        columns = self.shape.out_columns
        pixels = (band.end - band.begin) * columns
        offset = band.begin * columns * self.shape.channels + low
        return block(l1, target, offset, pixels, high - low, self.shape.channels)[0]


def block(
    l1: int, name: str, l2: int, pixels: int, channels: int, all_channels: int
) -> tuple[Transfer, ...]:
    """Some channels of some consecutive pixels of a tensor; nothing for no pixels."""
    if pixels == 0:
        return ()
    size = pixels * channels
    if channels == all_channels or pixels == 1:
        return (Transfer(l1, name, l2, size),)
    return (Transfer(l1, name, l2, size, channels, all_channels),)
