"""Depthwise layers: boards/gap8/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.gap8.conv import Names, Part, band_of, by_fours
from codegen.gap8.steps import (
    CORES,
    Fields,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    best_tiling,
    block,
    ceil_div,
    even_parts,
    layer_plan,
    pipeline_cycles,
    spans,
)
from codegen.names import layer_function, tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network

SHAPE_BYTES, STEP_BYTES = 28, 56
RECORD_EXTRA_WORDS = 9  # four biases, four multipliers, four one-byte shifts
# Cycles, counted in planes.h and depthwise.c.
PLANE_WORD_CYCLES = 26
PLANE_ROW_CYCLES = 60
PAIR_CYCLES = 29  # two outputs of the 3x3 kernel
STRIDE2_CYCLES = 16
SWEEP_CYCLES = 8
CHANNEL_CYCLES = 40


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
        return ceil_div(self.kernel[1], 4)

    @property
    def record_words(self) -> int:
        """Words of the parameters of four channels."""
        return RECORD_EXTRA_WORDS + 4 * self.kernel[0] * self.kernel_words

    @property
    def way(self) -> str:
        """Which of the kernel's three ways: "3x3", "3x3_stride2" or "any"."""
        if self.kernel != (3, 3):
            return "any"
        return {(1, 1): "3x3", (2, 2): "3x3_stride2"}.get(self.stride, "any")

    @property
    def right(self) -> int:
        """Zero columns behind the input that a tap can meet."""
        reach = (self.out_columns - 1) * self.stride[1] + self.kernel[1]
        return max(0, reach - self.pad[1] - self.columns)

    @property
    def plane_pitch(self) -> int:
        """Bytes of a plane row: what planes_row() stores, and all that is ever read."""
        last = (self.out_columns - 1) * self.stride[1]
        if self.way == "3x3":
            last -= last % 2  # columns go in pairs
        needed = max(
            self.pad[1] + ceil_div(self.columns, 4) * 4,
            self.pad[1] + self.columns + 4,
            self.pad[1] + self.columns + self.right,
            last + 4 * self.kernel_words,
        )
        return ceil_div(needed, 4) * 4

    def plane_rows(self, out_rows: int) -> int:
        """Plane rows that ``out_rows`` output rows need."""
        return (out_rows - 1) * self.stride[0] + self.kernel[0]


def plan_depthwise(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of a depthwise layer."""
    layer = network.layers[index]
    shape = shape_of(network, index)
    letter = "s8" if network.tensors[layer.inputs[0]].signed else "u8"
    if letter == "u8" and shape.way != "any" and layer.clamp[0] == 0:
        letter = "u8_from_zero"
    kernel = Kernel(
        "depthwise.h",
        "depthwise_shape_t",
        SHAPE_BYTES,
        "depthwise_step_t",
        STEP_BYTES,
        f"depthwise_{shape.way}_{letter}",
    )
    name = f"{layer_function(network, index)}_weights"
    names = Names(name, tensor_macro(layer.inputs[0]), tensor_macro(index + 1))
    tiling = best_tiling(_choices(shape, layer.clamp, names), network, index, board)
    words = pack_weights(layer, shape)
    comment = (
        f"{len(words) // shape.record_words} records of four channels: 4 biases, 4 multipliers, "
        f"4 shifts, 4 x {shape.kernel[0]} x {shape.kernel_words} words of weights"
    )
    return layer_plan(network, index, kernel, tiling, (Constant(name, "int32_t", words, comment),))


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
    fours = ceil_div(channels, 4)
    taps: np.ndarray = np.zeros((fours * 4, rows, shape.kernel_words * 4), np.int8)
    taps[:channels, :, :columns] = layer.weight
    bias = layer.bias if layer.bias is not None else np.zeros(channels, np.int32)
    parts = (
        by_fours(bias, fours, np.int32),
        by_fours(layer.multiplier, fours, np.int32),
        by_fours(layer.shift, fours, np.uint8).view("<i4"),
        taps.reshape(fours, -1).view("<i4"),
    )
    return np.concatenate(parts, axis=1).astype(np.int32).ravel()


def _choices(shape: Shape, clamp: tuple[int, int], names: Names) -> Iterator[_Choice]:
    for band_rows in even_parts(shape.out_rows):
        for channels in even_parts(shape.channels, 4):
            whole = band_rows == shape.out_rows and channels == shape.channels
            for buffers in (1,) if whole else (2, 1):
                for row_cores in (1, 2, 4, 8):
                    yield _Choice(shape, clamp, names, band_rows, channels, buffers, row_cores)


@dataclass(frozen=True)
class _Choice:
    """Bands of output rows x slices of channels, and how many ways the cores split the rows."""

    shape: Shape
    clamp: tuple[int, int]
    names: Names
    band_rows: int
    slice_channels: int
    buffers: int
    row_cores: int

    @property
    def rows_a_core(self) -> int:
        return ceil_div(self.band_rows, self.row_cores)

    @property
    def plane_bytes(self) -> int:
        return self.shape.plane_rows(self.rows_a_core) * self.shape.plane_pitch

    @property
    def slices(self) -> int:
        return ceil_div(self.shape.channels, self.slice_channels)

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
        return ceil_div(self.slice_channels, 4) * self.shape.record_words * 4

    @property
    def tiles(self) -> int:
        return ceil_div(self.shape.out_rows, self.band_rows) * self.slices

    @property
    def scratch_bytes(self) -> int:
        return self._layout()[0].size_bytes

    def _layout(self) -> tuple[Scratch, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        scratch = Scratch(SHAPE_BYTES, STEP_BYTES)
        weights = scratch.take_halves(self.weight_bytes, self.buffers if self.slices > 1 else 1)
        inputs = scratch.take_halves(self.input_bytes, self.buffers)
        outputs = scratch.take_halves(self.output_bytes, self.buffers)
        planes = scratch.take(CORES * 4 * self.plane_bytes)
        return scratch, planes, weights, inputs, outputs

    @property
    def cycles(self) -> float:
        shape = self.shape
        rows = self.rows_a_core
        quads = ceil_div(ceil_div(self.slice_channels, 4), CORES // self.row_cores)
        word = PLANE_WORD_CYCLES + (0 if shape.channels % 4 == 0 else 6)
        plane_row = shape.plane_pitch // 4 * word + PLANE_ROW_CYCLES
        quad = shape.plane_rows(rows) * plane_row + 4 * self._channel_cycles(rows)
        line_bytes = self.slice_channels if self.slices > 1 else 8
        narrow = ceil_div(line_bytes, 8) * 8 / line_bytes
        load = self.input_bytes * narrow / 8 + 40
        load += self.weight_bytes / 8 * self.slices / self.tiles
        store = self.output_bytes * narrow / 8 + 20
        return pipeline_cycles(load, quads * quad, store, self.tiles, self.buffers)

    def _channel_cycles(self, rows: int) -> float:
        shape = self.shape
        if shape.way == "3x3":
            return CHANNEL_CYCLES + ceil_div(shape.out_columns, 2) * (
                PAIR_CYCLES * rows + SWEEP_CYCLES
            )
        if shape.way == "3x3_stride2":
            return CHANNEL_CYCLES + shape.out_columns * (STRIDE2_CYCLES * rows + SWEEP_CYCLES)
        return shape.out_columns * rows * (shape.kernel[0] * (6 * shape.kernel_words + 4) + 20)

    def tiling(self) -> Tiling:
        """Everything laid out."""
        shape = self.shape
        scratch, planes, weights, inputs, outputs = self._layout()
        steps: list[Step] = []
        for s, (low, high) in enumerate(spans(shape.channels, self.slice_channels)):
            at = weights[s % len(weights)]
            for b, span in enumerate(spans(shape.out_rows, self.band_rows)):
                band = band_of(span, shape.rows, shape.kernel[0], shape.stride[0], shape.pad[0])
                half = len(steps) % self.buffers
                part = Part(band, low, high, inputs[half], at, outputs[half])
                loads = self._input(part)
                if b == 0:
                    loads += (self._weights(part),)
                comment = f"rows {band.begin} to {band.end - 1}, channels {low} to {high - 1}"
                steps.append(Step(comment, loads, self._output(part), self._fields(part)))
        note = (
            f"Up to {self.band_rows} x {shape.out_columns} pixels and "
            f"{self.slice_channels} of {shape.channels} channels a tile"
        )
        fields = self._shape_fields(planes)
        return Tiling(scratch.size_bytes, note, self.buffers, fields, tuple(steps))

    def _shape_fields(self, planes: int) -> Fields:
        shape = self.shape
        return {
            "planes": planes,
            "plane_bytes": self.plane_bytes,
            "plane_pitch": shape.plane_pitch,
            "columns": shape.columns,
            "left": shape.pad[1],
            "right": shape.right,
            "kernel_rows": shape.kernel[0],
            "kernel_words": shape.kernel_words,
            "stride_down": shape.stride[0],
            "stride_across": shape.stride[1],
            "output_columns": shape.out_columns,
            "row_cores": self.row_cores,
            "lowest": self.clamp[0],
            "highest": self.clamp[1],
        }

    def _fields(self, part: Part) -> Fields:
        band, channels = part.band, part.high - part.low
        rows = band.end - band.begin
        return {
            "input": part.input,
            "output": part.output,
            "weights": part.weights,
            "rows": band.last - band.first,
            "top": band.top,
            "channels": channels,
            "output_rows": rows,
            "rows_a_core": ceil_div(rows, self.row_cores),
            "quads_a_core": ceil_div(ceil_div(channels, 4), CORES // self.row_cores),
        }

    def _input(self, part: Part) -> tuple[Transfer, ...]:
        shape, band = self.shape, part.band
        pixels = (band.last - band.first) * shape.columns
        offset = band.first * shape.columns * shape.channels + part.low
        channels = part.high - part.low
        return block(part.input, self.names.source, offset, pixels, channels, shape.channels)

    def _weights(self, part: Part) -> Transfer:
        words = self.shape.record_words
        first, last = part.low // 4, ceil_div(part.high, 4)
        size = (last - first) * words * 4
        return Transfer(part.weights, self.names.weights, first * words, size)

    def _output(self, part: Part) -> Transfer:
        shape, band = self.shape, part.band
        pixels = (band.end - band.begin) * shape.out_columns
        offset = band.begin * shape.out_columns * shape.channels + part.low
        channels = part.high - part.low
        (store,) = block(part.output, self.names.target, offset, pixels, channels, shape.channels)
        return store
