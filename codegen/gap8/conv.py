"""Convolution, pointwise and linear layers: boards/gap8/conv.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.gap8 import records
from codegen.gap8.bands import BandedChoice, Image, Layout, Part, Task, ways_to_cut
from codegen.gap8.records import Records, requantisation
from codegen.gap8.steps import (
    Fields,
    Grid,
    Kernel,
    Transfer,
    best_grid,
    best_tiling,
    ceil_div,
    layer_plan,
    pipeline_cycles,
)
from codegen.names import layer_function, tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network, Op

SHAPE_BYTES, STEP_BYTES = 20, 56
NEVER = 65535  # pixels in a row of a layer over single pixels: the kernel turns no corner
# Cycles, counted in conv.c as compiled: an inner step is 14 (16 with misaligned input); a block of
# 4 channels x 2 pixels adds two requantisations a channel and its loop, a pixel pair its walk.
BLOCK_CYCLES = 95
SEGMENT_CYCLES = 8
PAIR_CYCLES = 30


@dataclass(frozen=True)
class Shape:
    """A layer as the kernel sees it. Layers over single pixels become one column of rows."""

    rows: int
    columns: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    out_rows: int
    out_columns: int
    out_channels: int

    @property
    def pitch(self) -> int:
        """Bytes of an input row in L1, padding included."""
        return (self.pad[1] + self.columns + self.pad[3]) * self.channels

    @property
    def segment_words(self) -> int:
        """Words of one kernel row."""
        return ceil_div(self.kernel[1] * self.channels, 4)

    @property
    def record_words(self) -> int:
        """Words of the parameters of four output channels."""
        return records.EXTRA_WORDS + 4 * self.kernel[0] * self.segment_words


def plan_conv(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of a conv2d, pointwise or linear layer."""
    layer = network.layers[index]
    shape = shape_of(network, index)
    name = f"{layer_function(network, index)}_weights"
    task = Task(
        _kernel(network, layer),
        Image(tensor_macro(layer.inputs[0]), shape.rows, shape.columns, shape.channels),
        Image(tensor_macro(index + 1), shape.out_rows, shape.out_columns, shape.out_channels),
        shape.kernel[0],
        shape.stride[0],
        shape.pad[0],
        layer.clamp,
        Records(name, shape.record_words),
    )
    tiling = best_tiling(_choices(task, shape), network, index, board)
    words = pack_weights(layer, shape)
    comment = (
        f"{len(words) // shape.record_words} records of four channels: 4 biases, "
        f"{shape.kernel[0]} x {shape.segment_words} x 4 words of weights, 4 multipliers, 4 shifts"
    )
    constants = (Constant(name, "int32_t", words, comment),)
    return layer_plan(network, index, task.kernel, tiling, constants)


def _kernel(network: Network, layer: Layer) -> Kernel:
    function = "conv_s8" if network.tensors[layer.inputs[0]].signed else "conv_u8"
    if layer.clamp[0] == 0:
        function += "_from_zero"
    return Kernel("conv.h", "conv_shape_t", SHAPE_BYTES, "conv_step_t", STEP_BYTES, function)


def shape_of(network: Network, index: int) -> Shape:
    """The layer's geometry; pointwise layers of stride 1 and linear ones run over single pixels."""
    layer = network.layers[index]
    rows, columns, channels = network.tensors[layer.inputs[0]].shape
    out_rows, out_columns, out_channels = network.tensors[index + 1].shape
    one = (1, 1)
    if layer.op is Op.LINEAR:
        features = rows * columns * channels
        return Shape(1, 1, features, one, one, (0, 0, 0, 0), 1, 1, out_channels)
    if layer.kernel == one and layer.stride == one and not any(layer.pad):
        pixels = rows * columns
        return Shape(pixels, 1, channels, one, one, layer.pad, pixels, 1, out_channels)
    return Shape(
        rows,
        columns,
        channels,
        layer.kernel,
        layer.stride,
        layer.pad,
        out_rows,
        out_columns,
        out_channels,
    )


def pack_weights(layer: Layer, shape: Shape) -> np.ndarray:
    """int32 words of all records (conv.h): rows padded to words, channels to fours, with zeros."""
    channels = len(layer.weight)  # type: ignore[arg-type]
    fours = ceil_div(channels, records.CHANNELS)
    rows, words = shape.kernel[0], shape.segment_words
    weight = np.zeros((fours * 4, rows, words * 4), np.int8)
    run = shape.kernel[1] * shape.channels
    runs = layer.weight.reshape(channels, rows, run)  # type: ignore[union-attr]
    weight[:channels, :, :run] = runs
    packed = np.ascontiguousarray(
        weight.view("<i4").reshape(fours, 4, rows * words).transpose(0, 2, 1)
    ).reshape(fours, -1)
    bias, multiplier, shift = requantisation(layer, channels)
    return np.concatenate((bias, packed, multiplier, shift), axis=1).astype(np.int32).ravel()


# Tilings -----------------------------------------------------------------------------------------


def _choices(task: Task, shape: Shape) -> Iterator[_Choice]:
    row_multiple = 16 if shape.out_columns == 1 else 1
    for cutting in ways_to_cut(task.target, row_multiple):
        yield _Choice(task, cutting, shape)


@dataclass(frozen=True)
class _Choice(BandedChoice):
    """Input rows carry their zero padding in L1, and every slice needs all input channels."""

    shape: Shape

    @property
    def input_bytes(self) -> int:
        return self.task.input_rows(self.cutting.band_rows) * self.shape.pitch

    @property
    def cycles(self) -> float:
        shape = self.shape
        rows = shape.out_rows / self.bands
        channels = round(shape.out_channels / self.slices)
        grid = _grid(max(1, round(rows * shape.out_columns)), max(1, channels))
        inner = 14 if self._aligned else 16
        block_cycles = (
            shape.kernel[0] * (shape.segment_words * inner + SEGMENT_CYCLES) + BLOCK_CYCLES
        )
        compute: float = grid.first_each * (grid.second_each * block_cycles + PAIR_CYCLES)
        loads_of_weights = self.slices / self.tiles
        load = self.input_bytes / 8 + 40 + self.weight_bytes / 8 * loads_of_weights
        if any(shape.pad):
            compute += self.input_bytes / 40 + 40
        store = self.output_bytes / 8 + 20
        return pipeline_cycles(load, compute, store, self.tiles, self.cutting.buffers)

    @property
    def _aligned(self) -> bool:
        shape = self.shape
        return (shape.channels % 4 == 0) or (shape.rows == shape.columns == 1)

    def input_loads(self, part: Part) -> tuple[Transfer, ...]:
        shape, band, name = self.shape, part.band, self.task.source.name
        rows = band.last - band.first
        if rows == 0:
            return ()
        line = shape.columns * shape.channels
        at = part.input + band.top * shape.pitch + shape.pad[1] * shape.channels
        offset = band.first * line
        if shape.pitch == line or rows == 1:
            return (Transfer(at, name, offset, rows * line),)
        # A line runs on into the padding of its row and the next one's: whatever comes there is
        # zeroed afterwards. That makes one command of all rows.
        size = (rows - 1) * shape.pitch + line
        return (Transfer(at, name, offset, size, shape.pitch, line),)

    def shape_fields(self, layout: Layout) -> Fields:
        shape = self.shape
        row_step = shape.stride[0] * shape.pitch
        single = shape.out_columns == 1
        return {
            "columns": NEVER if single else shape.out_columns,
            "column_step": row_step if single else shape.stride[1] * shape.channels,
            "row_step": row_step,
            "segments": shape.kernel[0],
            "segment_words": shape.segment_words,
            "segment_pitch": shape.pitch,
            "left": shape.pad[1] * shape.channels,
            "right": shape.pad[3] * shape.channels,
            "lowest": self.task.clamp[0],
            "highest": self.task.clamp[1],
        }

    def step_fields(self, part: Part) -> Fields:
        pixels = part.output_rows * self.shape.out_columns
        grid = _grid(pixels, part.channels)
        fields = {
            "input": part.input,
            "output": part.output,
            "weights": part.weights,
            "pixels": pixels,
            "channels": part.channels,
            "pixel_cores": grid.cores,
            "pairs_a_core": grid.first_each,
            "records_a_core": grid.second_each,
        }
        if any(self.shape.pad):
            band = part.band
            fields |= {"rows": band.rows, "top": band.top, "bottom": band.bottom}
        return fields


def _grid(pixels: int, channels: int) -> Grid:
    return best_grid(ceil_div(pixels, 2), ceil_div(channels, records.CHANNELS))
