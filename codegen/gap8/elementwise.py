"""Layers without weights: boards/gap8/elementwise.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.backend import LayerPlan
from codegen.gap8.conv import Band, band_of
from codegen.gap8.depthwise import block
from codegen.gap8.steps import (
    CORES,
    Grid,
    Kernel,
    Scratch,
    Step,
    Tiling,
    Transfer,
    best_grid,
    even_parts,
    layer_plan,
    pipeline_cycles,
    scratch_limit,
    spans,
    too_big,
)
from codegen.names import tensor_macro
from hil.core.board import Board
from hil.core.network import Layer, Network, Op

ADD_TILE_BYTES = 44
POOL_TILE_BYTES = 80
ADD_CYCLES = 9  # an element
AVERAGE_CYCLES, MAXIMUM_CYCLES = 8, 5  # four channels of a pixel of the window
WINDOW_CYCLES = 60


# Addition ----------------------------------------------------------------------------------------


def plan_add(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of an add layer: runs of bytes, whatever the shape."""
    layer = network.layers[index]
    count = network.tensors[index + 1].size_bytes
    choices = [
        (size, buffers)
        for size in even_parts(count, 4 * CORES)
        for buffers in ((1,) if size == count else (2, 1))
    ]
    fitting = [c for c in choices if _add_layout(*c)[0].size_bytes <= scratch_limit(board)]
    if not fitting:
        smallest = min(_add_layout(*c)[0].size_bytes for c in choices)
        raise too_big(network, index, board, smallest)
    size, buffers = min(fitting, key=lambda c: _add_cycles(count, *c))
    letters = ["s8" if network.tensors[t].signed else "u8" for t in layer.inputs]
    kernel = Kernel("elementwise.h", "add_step_t", ADD_TILE_BYTES, "add_" + "_".join(letters))
    return layer_plan(network, index, kernel, _add_tiling(network, index, size, buffers))


def _add_layout(size: int, buffers: int) -> tuple[Scratch, list[tuple[int, ...]]]:
    scratch = Scratch(ADD_TILE_BYTES)
    return scratch, [scratch.take_halves(size, buffers) for _ in range(3)]


def _add_cycles(count: int, size: int, buffers: int) -> float:
    compute = ADD_CYCLES * size / CORES + 40
    return pipeline_cycles(size / 4 + 36, compute, size / 8 + 18, -(-count // size), buffers)


def _add_tiling(network: Network, index: int, size: int, buffers: int) -> Tiling:
    layer = network.layers[index]
    count = network.tensors[index + 1].size_bytes
    scratch, (xs, ys, outputs) = _add_layout(size, buffers)
    steps = []
    for tile, (begin, end) in enumerate(spans(count, size)):
        half = tile % buffers
        length = end - begin
        loads = tuple(
            Transfer(l1[half], tensor_macro(tensor), begin, length)
            for l1, tensor in zip((xs, ys), layer.inputs, strict=True)
        )
        fields = {
            "x": f"scratch + {xs[half]}",
            "y": f"scratch + {ys[half]}",
            "output": f"scratch + {outputs[half]}",
            "count": length,
            "count_a_core": -(-length // CORES),
            **_add_arithmetic(layer),
        }
        store = Transfer(outputs[half], tensor_macro(index + 1), begin, length)
        steps.append(Step(f"elements {begin} to {end - 1}", loads, store, {"tile": fields}))
    note = f"{len(steps)} tiles of up to {size} of {count} elements"
    cycles = _add_cycles(count, size, buffers)
    return Tiling(cycles, scratch.size_bytes, note, buffers, tuple(steps))


def _add_arithmetic(layer: Layer) -> dict[str, int | str]:
    multiplier, shift = layer.multiplier, layer.shift
    assert multiplier is not None and shift is not None, "an add layer has both"
    dropped = int(shift[0])
    return {
        "multiplier_x": int(multiplier[0]),
        "multiplier_y": int(multiplier[1]),
        "rounding": 1 << (dropped - 1) if dropped else 0,
        "shift": dropped,
        "lowest": layer.clamp[0],
        "highest": layer.clamp[1],
    }


# Pooling -----------------------------------------------------------------------------------------


def plan_pool(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of an average or maximum pooling layer."""
    layer = network.layers[index]
    letter = "s8" if network.tensors[layer.inputs[0]].signed else "u8"
    kernel = Kernel("elementwise.h", "pool_step_t", POOL_TILE_BYTES, f"{layer.op.value}_{letter}")
    choices = list(_pool_choices(network, index))
    fitting = [c for c in choices if c.layout()[0].size_bytes <= scratch_limit(board)]
    if not fitting:
        smallest = min(c.layout()[0].size_bytes for c in choices)
        raise too_big(network, index, board, smallest)
    best = min(fitting, key=lambda c: c.cycles)
    tiling = best.tiling(tensor_macro(layer.inputs[0]), tensor_macro(index + 1))
    if not tiling.is_possible:
        raise too_big(network, index, board, best.layout()[0].size_bytes)
    return layer_plan(network, index, kernel, tiling)


def _pool_choices(network: Network, index: int) -> Iterator[_Pool]:
    layer = network.layers[index]
    source = network.tensors[layer.inputs[0]].shape
    target = network.tensors[index + 1].shape
    for band_rows in even_parts(target[0]):
        for channels in even_parts(target[2], 4):
            whole = band_rows == target[0] and channels == target[2]
            for buffers in (1,) if whole else (2, 1):
                yield _Pool(layer, source, target, band_rows, channels, buffers)


@dataclass(frozen=True)
class _Pool:
    """Bands of output rows x slices of channels."""

    layer: Layer
    source: tuple[int, int, int]
    target: tuple[int, int, int]
    band_rows: int
    slice_channels: int
    buffers: int

    def layout(self) -> tuple[Scratch, tuple[int, ...], tuple[int, ...]]:
        """L1: input and output buffers."""
        scratch = Scratch(POOL_TILE_BYTES)
        rows = (self.band_rows - 1) * self.layer.stride[0] + self.layer.kernel[0]
        size = min(rows, self.source[0]) * self.source[1] * self.slice_channels
        inputs = scratch.take_halves(size, self.buffers)
        out_size = self.band_rows * self.target[1] * self.slice_channels
        return scratch, inputs, scratch.take_halves(out_size, self.buffers)

    @property
    def cycles(self) -> float:
        slices = -(-self.target[2] // self.slice_channels)
        tiles = -(-self.target[0] // self.band_rows) * slices
        grid = self._grid(self.band_rows * self.target[1], self.slice_channels)
        a_tap = AVERAGE_CYCLES if self.layer.op is Op.AVGPOOL else MAXIMUM_CYCLES
        taps = self.layer.kernel[0] * self.layer.kernel[1]
        compute = grid.first_each * (grid.second_each * (taps * a_tap + 40) + WINDOW_CYCLES)
        _, inputs, outputs = self.layout()
        rows = (self.band_rows - 1) * self.layer.stride[0] + self.layer.kernel[0]
        load = min(rows, self.source[0]) * self.source[1] * self.slice_channels / 8 + 20
        store = self.band_rows * self.target[1] * self.slice_channels / 8 + 20
        return pipeline_cycles(load, compute, store, tiles, self.buffers)

    def _grid(self, pixels: int, channels: int) -> Grid:
        return best_grid(pixels, -(-channels // 4))

    def tiling(self, source: str, target: str) -> Tiling:
        """Everything laid out between the tensors ``source`` and ``target``."""
        scratch, inputs, outputs = self.layout()
        layer = self.layer
        steps = []
        for low, high in spans(self.target[2], self.slice_channels):
            for span in spans(self.target[0], self.band_rows):
                band = band_of(span, self.source[0], layer.kernel[0], layer.stride[0], layer.pad[0])
                half = len(steps) % self.buffers
                first = band.first * self.source[1] * self.source[2] + low
                pixels = (band.last - band.first) * self.source[1]
                loads = block(inputs[half], source, first, pixels, high - low, self.source[2])
                out_first = band.begin * self.target[1] * self.target[2] + low
                out_pixels = (band.end - band.begin) * self.target[1]
                (store,) = block(
                    outputs[half], target, out_first, out_pixels, high - low, self.target[2]
                )
                fields = {
                    "input": f"scratch + {inputs[half]}",
                    "output": f"scratch + {outputs[half]}",
                    **self._geometry(band, high - low),
                }
                comment = f"rows {band.begin} to {band.end - 1}, channels {low} to {high - 1}"
                steps.append(Step(comment, loads, store, {"tile": fields}))
        note = (
            f"{len(steps)} tiles of up to {self.band_rows} x {self.target[1]} pixels, "
            f"{self.slice_channels} of {self.target[2]} channels"
        )
        return Tiling(self.cycles, scratch.size_bytes, note, self.buffers, tuple(steps))

    def _geometry(self, band: Band, channels: int) -> dict[str, int | str]:
        layer = self.layer
        rows = band.end - band.begin
        grid = self._grid(rows * self.target[1], channels)
        average = layer.multiplier is not None and layer.shift is not None
        return {
            "rows": band.last - band.first,
            "columns": self.source[1],
            "channels": channels,
            "top": band.top,
            "left": layer.pad[1],
            "kernel_rows": layer.kernel[0],
            "kernel_columns": layer.kernel[1],
            "stride_down": layer.stride[0],
            "stride_across": layer.stride[1],
            "output_rows": rows,
            "output_columns": self.target[1],
            "multiplier": int(layer.multiplier[0]) if average else 0,  # type: ignore[index]
            "shift": int(layer.shift[0]) if average else 0,  # type: ignore[index]
            "lowest": layer.clamp[0],
            "highest": layer.clamp[1],
            "pixels_a_core": grid.first_each,
            "channels_a_core": 4 * grid.second_each,
            "pixel_cores": grid.cores,
        }
