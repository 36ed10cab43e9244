"""Depthwise layers: boards/gap8/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.gap8 import records
from codegen.gap8.bands import BandedChoice, Image, Layout, Part, Task, ways_to_cut
from codegen.gap8.records import Records, requantisation
from codegen.gap8.steps import (
    CORES,
    Fields,
    Kernel,
    best_tiling,
    ceil_div,
    layer_plan,
    pipeline_cycles,
)
from codegen.names import layer_function, tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network

SHAPE_BYTES, STEP_BYTES = 28, 56
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
        return records.EXTRA_WORDS + 4 * self.kernel[0] * self.kernel_words

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


def plan_depthwise(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of a depthwise layer."""
    layer = network.layers[index]
    shape = shape_of(network, index)
    name = f"{layer_function(network, index)}_weights"
    task = Task(
        _kernel(network, layer, shape),
        Image(tensor_macro(layer.inputs[0]), shape.rows, shape.columns, shape.channels),
        Image(tensor_macro(index + 1), shape.out_rows, shape.out_columns, shape.channels),
        shape.kernel[0],
        shape.stride[0],
        shape.pad[0],
        layer.clamp,
        Records(name, shape.record_words),
    )
    tiling = best_tiling(_choices(task, shape), network, index, board)
    words = pack_weights(layer, shape)
    comment = (
        f"{len(words) // shape.record_words} records of four channels: 4 biases, 4 multipliers, "
        f"4 shifts, 4 x {shape.kernel[0]} x {shape.kernel_words} words of weights"
    )
    constants = (Constant(name, "int32_t", words, comment),)
    return layer_plan(network, index, task.kernel, tiling, constants)


def _kernel(network: Network, layer: Layer, shape: Shape) -> Kernel:
    letter = "s8" if network.tensors[layer.inputs[0]].signed else "u8"
    if letter == "u8" and shape.way != "any" and layer.clamp[0] == 0:
        letter = "u8_from_zero"
    return Kernel(
        "depthwise.h",
        "depthwise_shape_t",
        SHAPE_BYTES,
        "depthwise_step_t",
        STEP_BYTES,
        f"depthwise_{shape.way}_{letter}",
    )


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
    bias, multiplier, shift = requantisation(layer, channels)
    weight = taps.reshape(fours, -1).view("<i4")
    return np.concatenate((bias, multiplier, shift, weight), axis=1).astype(np.int32).ravel()


def _choices(task: Task, shape: Shape) -> Iterator[_Choice]:
    for cutting in ways_to_cut(task.target):
        for row_cores in (1, 2, 4, 8):
            yield _Choice(task, cutting, shape, row_cores)


@dataclass(frozen=True)
class _Choice(BandedChoice):
    """``row_cores``: how many ways the cores split the rows of a tile."""

    shape: Shape
    row_cores: int

    @property
    def rows_a_core(self) -> int:
        return ceil_div(self.cutting.band_rows, self.row_cores)

    @property
    def plane_bytes(self) -> int:
        return self.task.input_rows(self.rows_a_core) * self.shape.plane_pitch

    @property
    def planes_bytes(self) -> int:
        return CORES * 4 * self.plane_bytes

    @property
    def cycles(self) -> float:
        shape = self.shape
        rows, channels = self.rows_a_core, self.cutting.slice_channels
        quads = ceil_div(ceil_div(channels, 4), CORES // self.row_cores)
        word = PLANE_WORD_CYCLES + (0 if shape.channels % 4 == 0 else 6)
        plane_row = shape.plane_pitch // 4 * word + PLANE_ROW_CYCLES
        quad = self.task.input_rows(rows) * plane_row + 4 * self._channel_cycles(rows)
        line_bytes = channels if self.slices > 1 else 8
        narrow = ceil_div(line_bytes, 8) * 8 / line_bytes
        load = self.input_bytes * narrow / 8 + 40
        load += self.weight_bytes / 8 * self.slices / self.tiles
        store = self.output_bytes * narrow / 8 + 20
        return pipeline_cycles(load, quads * quad, store, self.tiles, self.cutting.buffers)

    def _channel_cycles(self, rows: int) -> float:
        shape = self.shape
        if shape.way == "3x3":
            return CHANNEL_CYCLES + ceil_div(shape.out_columns, 2) * (
                PAIR_CYCLES * rows + SWEEP_CYCLES
            )
        if shape.way == "3x3_stride2":
            return CHANNEL_CYCLES + shape.out_columns * (STRIDE2_CYCLES * rows + SWEEP_CYCLES)
        return shape.out_columns * rows * (shape.kernel[0] * (6 * shape.kernel_words + 4) + 20)

    def shape_fields(self, layout: Layout) -> Fields:
        shape = self.shape
        return {
            "planes": layout.planes,
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
            "lowest": self.task.clamp[0],
            "highest": self.task.clamp[1],
        }

    def step_fields(self, part: Part) -> Fields:
        band, rows = part.band, part.output_rows
        return {
            "input": part.input,
            "output": part.output,
            "weights": part.weights,
            "rows": band.last - band.first,
            "top": band.top,
            "channels": part.channels,
            "output_rows": rows,
            "rows_a_core": ceil_div(rows, self.row_cores),
            "quads_a_core": ceil_div(ceil_div(part.channels, 4), CORES // self.row_cores),
        }
