"""Convolution, pointwise and linear layers: boards/gap8/conv.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.gap8.steps import (
    Fields,
    Grid,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    best_grid,
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
from hil.core.network import Layer, Network, Op

SHAPE_BYTES, STEP_BYTES = 20, 56
NEVER = 65535  # pixels in a row of a layer over single pixels: the kernel turns no corner
RECORD_CHANNELS = 4
RECORD_EXTRA_WORDS = 9  # four biases, four multipliers, four one-byte shifts
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
        return RECORD_EXTRA_WORDS + 4 * self.kernel[0] * self.segment_words


@dataclass(frozen=True)
class Names:
    """C names of a layer's weights, input and output."""

    weights: str
    source: str
    target: str


@dataclass(frozen=True)
class Band:
    """Output rows ``begin`` to ``end`` and the input rows they need: ``top`` zero rows, rows
    ``first`` to ``last`` of the tensor, ``bottom`` zero rows."""

    begin: int
    end: int
    first: int
    last: int
    top: int
    bottom: int

    @property
    def rows(self) -> int:
        """Input rows, zero rows included."""
        return self.top + self.last - self.first + self.bottom


def band_of(span: tuple[int, int], rows: int, kernel: int, stride: int, pad: int) -> Band:
    """Band of output rows ``span`` over an input of ``rows`` rows under ``pad`` zero rows."""
    begin, end = span
    low = begin * stride - pad
    high = (end - 1) * stride + kernel - pad
    first, last = min(max(low, 0), rows), min(max(high, 0), rows)
    return Band(begin, end, first, last, first - low, high - last)


def plan_conv(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of a conv2d, pointwise or linear layer."""
    layer = network.layers[index]
    shape = shape_of(network, index)
    signed = network.tensors[layer.inputs[0]].signed
    kernel = Kernel(
        "conv.h",
        "conv_shape_t",
        SHAPE_BYTES,
        "conv_step_t",
        STEP_BYTES,
        f"conv_{'s8' if signed else 'u8'}" + ("_from_zero" if layer.clamp[0] == 0 else ""),
    )
    name = f"{layer_function(network, index)}_weights"
    names = Names(name, tensor_macro(layer.inputs[0]), tensor_macro(index + 1))
    choices = _choices(shape, layer.clamp, names)
    tiling = best_tiling(choices, network, index, board)
    words = pack_weights(layer, shape)
    comment = (
        f"{len(words) // shape.record_words} records of four channels: 4 biases, "
        f"{shape.kernel[0]} x {shape.segment_words} x 4 words of weights, 4 multipliers, 4 shifts"
    )
    return layer_plan(network, index, kernel, tiling, (Constant(name, "int32_t", words, comment),))


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
    fours = ceil_div(channels, RECORD_CHANNELS)
    rows, words = shape.kernel[0], shape.segment_words
    weight = np.zeros((fours * 4, rows, words * 4), np.int8)
    run = shape.kernel[1] * shape.channels
    runs = layer.weight.reshape(channels, rows, run)  # type: ignore[union-attr]
    weight[:channels, :, :run] = runs
    packed = np.ascontiguousarray(
        weight.view("<i4").reshape(fours, 4, rows * words).transpose(0, 2, 1)
    ).reshape(fours, -1)
    bias = layer.bias if layer.bias is not None else np.zeros(channels, np.int32)
    shift = np.ascontiguousarray(by_fours(layer.shift, fours, np.uint8)).view("<i4")
    parts = (
        by_fours(bias, fours, np.int32),
        packed,
        by_fours(layer.multiplier, fours, np.int32),
        shift,
    )
    return np.concatenate(parts, axis=1).astype(np.int32).ravel()


def by_fours(values: np.ndarray | None, fours: int, dtype: type) -> np.ndarray:
    """Per-channel values as rows of four, zeros behind the last channel."""
    padded: np.ndarray = np.zeros(fours * 4, dtype)
    padded[: len(values)] = values  # type: ignore[arg-type]
    return padded.reshape(fours, 4)


# Tilings -----------------------------------------------------------------------------------------


def _choices(shape: Shape, clamp: tuple[int, int], names: Names) -> Iterator[_Choice]:
    row_multiple = 16 if shape.out_columns == 1 else 1
    for band_rows in even_parts(shape.out_rows, row_multiple):
        for channels in even_parts(shape.out_channels, RECORD_CHANNELS):
            whole = band_rows == shape.out_rows and channels == shape.out_channels
            for buffers in (1,) if whole else (2, 1):
                yield _Choice(shape, clamp, names, band_rows, channels, buffers)


@dataclass(frozen=True)
class _Choice:
    """Bands of output rows x slices of output channels; the bands of a slice follow each other."""

    shape: Shape
    clamp: tuple[int, int]
    names: Names
    band_rows: int
    slice_channels: int
    buffers: int

    @property
    def bands(self) -> list[Band]:
        shape = self.shape
        return [
            band_of(span, shape.rows, shape.kernel[0], shape.stride[0], shape.pad[0])
            for span in spans(shape.out_rows, self.band_rows)
        ]

    @property
    def input_bytes(self) -> int:
        shape = self.shape
        rows = (self.band_rows - 1) * shape.stride[0] + shape.kernel[0]
        return rows * shape.pitch

    @property
    def weight_bytes(self) -> int:
        return ceil_div(self.slice_channels, 4) * self.shape.record_words * 4

    @property
    def output_bytes(self) -> int:
        return self.band_rows * self.shape.out_columns * self.slice_channels

    @property
    def slices(self) -> int:
        return ceil_div(self.shape.out_channels, self.slice_channels)

    @property
    def tiles(self) -> int:
        return ceil_div(self.shape.out_rows, self.band_rows) * self.slices

    @property
    def scratch_bytes(self) -> int:
        return self._layout()[0].size_bytes

    def _layout(self) -> tuple[Scratch, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        scratch = Scratch(SHAPE_BYTES, STEP_BYTES)
        weights = scratch.take_halves(self.weight_bytes, self.buffers if self.slices > 1 else 1)
        inputs = scratch.take_halves(self.input_bytes, self.buffers)
        outputs = scratch.take_halves(self.output_bytes, self.buffers)
        return scratch, weights, inputs, outputs

    @property
    def cycles(self) -> float:
        shape = self.shape
        bands = ceil_div(shape.out_rows, self.band_rows)
        rows = shape.out_rows / bands
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
        return pipeline_cycles(load, compute, store, self.tiles, self.buffers)

    @property
    def _aligned(self) -> bool:
        shape = self.shape
        return (shape.channels % 4 == 0) or (shape.rows == shape.columns == 1)

    def tiling(self) -> Tiling:
        """Everything laid out."""
        scratch, weights, inputs, outputs = self._layout()
        steps: list[Step] = []
        for s, (low, high) in enumerate(spans(self.shape.out_channels, self.slice_channels)):
            at = weights[s % len(weights)]
            for b, band in enumerate(self.bands):
                half = len(steps) % self.buffers
                part = Part(band, low, high, inputs[half], at, outputs[half])
                loads = self._input(part)
                if b == 0:
                    loads += (self._weights(part),)
                comment = f"rows {band.begin} to {band.end - 1}, channels {low} to {high - 1}"
                steps.append(Step(comment, loads, self._output(part), self._fields(part)))
        note = (
            f"Up to {self.band_rows} x {self.shape.out_columns} pixels and "
            f"{self.slice_channels} of {self.shape.out_channels} channels a tile"
        )
        return Tiling(scratch.size_bytes, note, self.buffers, self._shape_fields(), tuple(steps))

    def _input(self, part: Part) -> tuple[Transfer, ...]:
        shape, band = self.shape, part.band
        rows = band.last - band.first
        if rows == 0:
            return ()
        line = shape.columns * shape.channels
        at = part.input + band.top * shape.pitch + shape.pad[1] * shape.channels
        offset = band.first * line
        if shape.pitch == line or rows == 1:
            return (Transfer(at, self.names.source, offset, rows * line),)
        # A line runs on into the padding of its row and the next one's: whatever comes there is
        # zeroed afterwards. That makes one command of all rows.
        size = (rows - 1) * shape.pitch + line
        return (Transfer(at, self.names.source, offset, size, shape.pitch, line),)

    def _weights(self, part: Part) -> Transfer:
        words = self.shape.record_words
        first, last = part.low // 4, ceil_div(part.high, 4)
        size = (last - first) * words * 4
        return Transfer(part.weights, self.names.weights, first * words, size)

    def _output(self, part: Part) -> Transfer:
        shape = self.shape
        pixels = (part.band.end - part.band.begin) * shape.out_columns
        offset = part.band.begin * shape.out_columns * shape.out_channels + part.low
        channels = part.high - part.low
        (store,) = block(
            part.output, self.names.target, offset, pixels, channels, shape.out_channels
        )
        return store

    def _shape_fields(self) -> Fields:
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
            "lowest": self.clamp[0],
            "highest": self.clamp[1],
        }

    def _fields(self, part: Part) -> Fields:
        band, channels = part.band, part.high - part.low
        pixels = (band.end - band.begin) * self.shape.out_columns
        grid = _grid(pixels, channels)
        fields = {
            "input": part.input,
            "output": part.output,
            "weights": part.weights,
            "pixels": pixels,
            "channels": channels,
            "pixel_cores": grid.cores,
            "pairs_a_core": grid.first_each,
            "records_a_core": grid.second_each,
        }
        if any(self.shape.pad):
            fields |= {"rows": band.rows, "top": band.top, "bottom": band.bottom}
        return fields


@dataclass(frozen=True)
class Part:
    """One tile and its L1 offsets."""

    band: Band
    low: int
    high: int
    input: int
    weights: int
    output: int


def _grid(pixels: int, channels: int) -> Grid:
    return best_grid(ceil_div(pixels, 2), ceil_div(channels, RECORD_CHANNELS))
