"""Layers over images: a tile is a band of output rows x a slice of channels.

What convolution, depthwise and pooling layers have in common: where the bands lie, which L1
buffers they take and which transfers they need. An operator adds its estimate of the time and
what its kernel is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from codegen.gap8.records import Records
from codegen.gap8.steps import (
    Fields,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    block,
    ceil_div,
    even_parts,
    spans,
)


@dataclass(frozen=True)
class Image:
    """A tensor in L2: its C name and shape."""

    name: str
    rows: int
    columns: int
    channels: int

    def move(self, l1: int, first: int, last: int, low: int, high: int) -> tuple[Transfer, ...]:
        """Rows ``first`` up to ``last``, channels ``low`` up to ``high``; nothing for no rows."""
        offset = first * self.columns * self.channels + low
        pixels = (last - first) * self.columns
        return block(l1, self.name, offset, pixels, high - low, self.channels)


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


@dataclass(frozen=True)
class Task:
    """What all ways to cut a layer have in common. ``pad``: zero rows above the input.
    ``records``: the weights of its output channels, if it has any."""

    kernel: Kernel
    source: Image
    target: Image
    kernel_rows: int
    stride: int
    pad: int
    clamp: tuple[int, int]
    records: Records | None = None

    def input_rows(self, output_rows: int) -> int:
        """Input rows under so many output rows, zero rows included."""
        return (output_rows - 1) * self.stride + self.kernel_rows


@dataclass(frozen=True)
class Cutting:
    """Largest tile, and one buffer a tensor or two. The bands of a slice follow each other."""

    band_rows: int
    slice_channels: int
    buffers: int


def ways_to_cut(target: Image, row_multiple: int = 1) -> Iterator[Cutting]:
    """Near-equal parts of rows and channels; a layer in one piece needs no second buffer."""
    for band_rows in even_parts(target.rows, row_multiple):
        for channels in even_parts(target.channels, 4):
            whole = band_rows == target.rows and channels == target.channels
            for buffers in (1,) if whole else (2, 1):
                yield Cutting(band_rows, channels, buffers)


@dataclass(frozen=True)
class Layout:
    """L1 offsets of the buffers, and the bytes of all."""

    size_bytes: int
    weights: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    planes: int


@dataclass(frozen=True)
class Part:
    """One tile, channels ``low`` up to ``high``, and its L1 offsets."""

    band: Band
    low: int
    high: int
    input: int
    weights: int
    output: int
    begins_slice: bool

    @property
    def output_rows(self) -> int:
        """Rows of the tile."""
        return self.band.end - self.band.begin

    @property
    def channels(self) -> int:
        """Channels of the tile."""
        return self.high - self.low

    @property
    def comment(self) -> str:
        """What the reader of the C sees of it."""
        rows = f"rows {self.band.begin} to {self.band.end - 1}"
        return f"{rows}, channels {self.low} to {self.high - 1}"


@dataclass(frozen=True)
class BandedChoice(ABC):
    """A way to cut a layer (codegen.gap8.steps.Choice)."""

    task: Task
    cutting: Cutting

    @property
    @abstractmethod
    def cycles(self) -> float:
        """Estimated time."""

    @abstractmethod
    def shape_fields(self, layout: Layout) -> Fields:
        """What the kernel is told once."""

    @abstractmethod
    def step_fields(self, part: Part) -> Fields:
        """What it is told of a tile."""

    @property
    def slices(self) -> int:
        """Parts of the channels."""
        return ceil_div(self.task.target.channels, self.cutting.slice_channels)

    @property
    def bands(self) -> int:
        """Parts of the rows."""
        return ceil_div(self.task.target.rows, self.cutting.band_rows)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.bands * self.slices

    @property
    def input_bytes(self) -> int:
        """The largest tile's input: as in L2, without padding, unless the kernel wants more."""
        source = self.task.source
        rows = min(self.task.input_rows(self.cutting.band_rows), source.rows)
        return rows * source.columns * self.cutting.slice_channels

    @property
    def weight_bytes(self) -> int:
        """The largest slice's records."""
        records = self.task.records
        return records.size_bytes(self.cutting.slice_channels) if records else 0

    @property
    def output_bytes(self) -> int:
        """The largest tile's output."""
        return self.cutting.band_rows * self.task.target.columns * self.cutting.slice_channels

    @property
    def planes_bytes(self) -> int:
        """Room for all cores to rearrange their input in."""
        return 0

    @property
    def scratch_bytes(self) -> int:
        """L1 it takes."""
        return self._layout().size_bytes

    def _layout(self) -> Layout:
        buffers = self.cutting.buffers
        scratch = Scratch(self.task.kernel.shape_bytes, self.task.kernel.step_bytes)
        weights = scratch.take_halves(self.weight_bytes, buffers if self.slices > 1 else 1)
        inputs = scratch.take_halves(self.input_bytes, buffers)
        outputs = scratch.take_halves(self.output_bytes, buffers)
        planes = scratch.take(self.planes_bytes)
        return Layout(scratch.size_bytes, weights, inputs, outputs, planes)

    def tiling(self) -> Tiling:
        """Everything laid out."""
        cutting, target, layout = self.cutting, self.task.target, self._layout()
        note = (
            f"Up to {cutting.band_rows} x {target.columns} pixels and "
            f"{cutting.slice_channels} of {target.channels} channels a tile"
        )
        steps = tuple(self._step(part) for part in self._parts(layout))
        shape = self.shape_fields(layout)
        return Tiling(layout.size_bytes, note, cutting.buffers, shape, steps)

    def _parts(self, layout: Layout) -> Iterator[Part]:
        task, tile = self.task, 0
        for s, (low, high) in enumerate(spans(task.target.channels, self.cutting.slice_channels)):
            weights = layout.weights[s % len(layout.weights)]
            for b, span in enumerate(spans(task.target.rows, self.cutting.band_rows)):
                band = band_of(span, task.source.rows, task.kernel_rows, task.stride, task.pad)
                half = tile % self.cutting.buffers
                tile += 1
                yield Part(
                    band, low, high, layout.inputs[half], weights, layout.outputs[half], b == 0
                )

    def _step(self, part: Part) -> Step:
        loads = self.input_loads(part)
        if self.task.records and part.begins_slice:
            loads += (self.task.records.load(part.weights, part.low, part.high),)
        (store,) = self.task.target.move(
            part.output, part.band.begin, part.band.end, part.low, part.high
        )
        return Step(part.comment, loads, store, self.step_fields(part))

    def input_loads(self, part: Part) -> tuple[Transfer, ...]:
        """The tile's input rows, those channels only."""
        band = part.band
        return self.task.source.move(part.input, band.first, band.last, part.low, part.high)
