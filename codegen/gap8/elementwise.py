"""Layers without weights: boards/gap8/elementwise.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.backend import LayerPlan
from codegen.gap8.bands import BandedChoice, Image, Layout, Part, Task, ways_to_cut
from codegen.gap8.steps import (
    CORES,
    Fields,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    best_grid,
    best_tiling,
    ceil_div,
    even_parts,
    layer_plan,
    pipeline_cycles,
    spans,
)
from codegen.names import tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network, Op

ADD_SHAPE_BYTES, ADD_STEP_BYTES = 20, 48
POOL_SHAPE_BYTES, POOL_STEP_BYTES = 24, 56
ADD_CYCLES = 9  # an element
AVERAGE_CYCLES, MAXIMUM_CYCLES = 8, 5  # four channels of a pixel of the window
WINDOW_CYCLES = 60


# Addition ----------------------------------------------------------------------------------------


def plan_add(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of an add layer: runs of bytes, whatever the shape."""
    layer = network.layers[index]
    letters = ["s8" if network.tensors[t].signed else "u8" for t in layer.inputs]
    kernel = Kernel(
        "elementwise.h",
        "add_shape_t",
        ADD_SHAPE_BYTES,
        "add_step_t",
        ADD_STEP_BYTES,
        "add_" + "_".join(letters),
    )
    tiling = best_tiling(_add_choices(network, index), network, index, board)
    return layer_plan(network, index, kernel, tiling)


def _add_choices(network: Network, index: int) -> Iterator[_Add]:
    layer = network.layers[index]
    sources = tuple(tensor_macro(t) for t in layer.inputs)
    count = network.tensors[index + 1].size_bytes
    for size in even_parts(count, 4 * CORES):
        for buffers in (1,) if size == count else (2, 1):
            yield _Add(layer, sources, tensor_macro(index + 1), count, size, buffers)


@dataclass(frozen=True)
class _Add:
    """Runs of ``size`` of all ``count`` elements."""

    layer: Layer
    sources: tuple[str, ...]
    target: str
    count: int
    size: int
    buffers: int

    @property
    def tiles(self) -> int:
        return ceil_div(self.count, self.size)

    @property
    def scratch_bytes(self) -> int:
        return self._layout()[0].size_bytes

    def _layout(self) -> tuple[Scratch, list[tuple[int, ...]]]:
        scratch = Scratch(ADD_SHAPE_BYTES, ADD_STEP_BYTES)
        return scratch, [scratch.take_halves(self.size, self.buffers) for _ in range(3)]

    @property
    def cycles(self) -> float:
        compute = ADD_CYCLES * self.size / CORES + 40
        load, store = self.size / 4 + 36, self.size / 8 + 18
        return pipeline_cycles(load, compute, store, self.tiles, self.buffers)

    def tiling(self) -> Tiling:
        """Everything laid out."""
        scratch, places = self._layout()
        steps = []
        for tile, (begin, end) in enumerate(spans(self.count, self.size)):
            x, y, output = (halves[tile % self.buffers] for halves in places)
            length = end - begin
            loads = tuple(
                Transfer(l1, source, begin, length)
                for l1, source in zip((x, y), self.sources, strict=True)
            )
            store = Transfer(output, self.target, begin, length)
            fields = {
                "x": x,
                "y": y,
                "output": output,
                "count": length,
                "count_a_core": _share(length),
            }
            steps.append(Step(f"elements {begin} to {end - 1}", loads, store, fields))
        note = f"Up to {self.size} of {self.count} elements a tile"
        return Tiling(scratch.size_bytes, note, self.buffers, self._shape_fields(), tuple(steps))

    def _shape_fields(self) -> Fields:
        multiplier, shift = self.layer.multiplier, self.layer.shift
        assert multiplier is not None and shift is not None, "an add layer has both"
        dropped = int(shift[0])
        return {
            "multiplier_x": int(multiplier[0]),
            "multiplier_y": int(multiplier[1]),
            "rounding": 1 << (dropped - 1) if dropped else 0,
            "lowest": self.layer.clamp[0],
            "highest": self.layer.clamp[1],
            "shift": dropped,
        }


def _share(count: int) -> int:
    """Elements a core: an odd number of words, so that the cores, which go in step, start on
    different ones of L1's 16 banks."""
    words = ceil_div(ceil_div(count, CORES), 4)
    return 4 * (words + 1 - words % 2)


# Pooling -----------------------------------------------------------------------------------------


def plan_pool(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of an average or maximum pooling layer."""
    layer = network.layers[index]
    source = network.tensors[layer.inputs[0]]
    kernel = Kernel(
        "elementwise.h",
        "pool_shape_t",
        POOL_SHAPE_BYTES,
        "pool_step_t",
        POOL_STEP_BYTES,
        f"{layer.op.value}_{'s8' if source.signed else 'u8'}",
    )
    task = Task(
        kernel,
        Image(tensor_macro(layer.inputs[0]), *source.shape),
        Image(tensor_macro(index + 1), *network.tensors[index + 1].shape),
        layer.kernel[0],
        layer.stride[0],
        layer.pad[0],
        layer.clamp,
    )
    choices = (_Pool(task, cutting, layer) for cutting in ways_to_cut(task.target))
    return layer_plan(network, index, kernel, best_tiling(choices, network, index, board))


@dataclass(frozen=True)
class _Pool(BandedChoice):
    layer: Layer

    @property
    def cycles(self) -> float:
        cutting = self.cutting
        fours = ceil_div(cutting.slice_channels, 4)
        grid = best_grid(cutting.band_rows * self.task.target.columns, fours)
        a_tap = AVERAGE_CYCLES if self.layer.op is Op.AVGPOOL else MAXIMUM_CYCLES
        taps = self.layer.kernel[0] * self.layer.kernel[1]
        compute = grid.first_each * (grid.second_each * (taps * a_tap + 40) + WINDOW_CYCLES)
        load, store = self.input_bytes / 8 + 20, self.output_bytes / 8 + 20
        return pipeline_cycles(load, compute, store, self.tiles, cutting.buffers)

    def shape_fields(self, layout: Layout) -> Fields:
        layer = self.layer
        average: Fields = {}
        if layer.multiplier is not None and layer.shift is not None:
            average = {"shift": int(layer.shift[0]), "multiplier": int(layer.multiplier[0])}
        return {
            "columns": self.task.source.columns,
            "left": layer.pad[1],
            "kernel_rows": layer.kernel[0],
            "kernel_columns": layer.kernel[1],
            "stride_down": layer.stride[0],
            "stride_across": layer.stride[1],
            "output_columns": self.task.target.columns,
            "lowest": layer.clamp[0],
            "highest": layer.clamp[1],
            **average,
        }

    def step_fields(self, part: Part) -> Fields:
        band = part.band
        grid = best_grid(part.output_rows * self.task.target.columns, ceil_div(part.channels, 4))
        return {
            "input": part.input,
            "output": part.output,
            "rows": band.last - band.first,
            "top": band.top,
            "channels": part.channels,
            "output_rows": part.output_rows,
            "pixel_cores": grid.cores,
            "pixels_a_core": grid.first_each,
            "channels_a_core": 4 * grid.second_each,
        }
