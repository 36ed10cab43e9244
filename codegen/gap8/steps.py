"""What the C of a layer is made of: transfers and steps, as boards/gap8/tiles.h knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from codegen.backend import Constant, LayerPlan
from codegen.names import layer_function
from hil.core.board import Board
from hil.core.errors import PlanError
from hil.core.network import Network

TEMPLATE = "gap8/tiled.c.j2"
STEP_SLOTS = 4  # tiles.h
STEP_IO_BYTES = 36  # step_io_t: three transfers
LINE_LIMIT = 32767  # MCHAN: 15 bits for the length of a line, 15 for the distance
TRANSFER_LIMIT = 32764  # MCHAN: 15 bits on the chip (docs/virtual-bench.md), in whole words
LAYER_BYTES = 20  # tiled_layer_t
# The function that hands a tiled_layer_t to tiles_run(): GCC 12 takes 14 bytes, zig 22.
FUNCTION_BYTES = 24
TEXT_COLUMNS = 88
CORES = 8
TILE_CYCLES = 300
# Tables of tiles take L2 from the activations: of tilings about as fast, the fewest tiles.
ABOUT_AS_FAST = 1.02

Fields = dict[str, int]


@dataclass(frozen=True)
class Transfer:
    """One DMA command between ``scratch + l1`` and ``name + l2`` (bytes, or words of constants).

    ``line`` and ``distance``: lines of that many bytes, so far apart in L2; 0: one run of bytes.
    """

    l1: int
    name: str
    l2: int
    size_bytes: int
    line: int = 0
    distance: int = 0

    @property
    def is_possible(self) -> bool:
        """Whether the command's fields can hold it."""
        lines = max(self.line, self.distance) <= LINE_LIMIT
        return 0 < self.size_bytes <= TRANSFER_LIMIT and lines

    @property
    def text(self) -> str:
        """Initialiser of a transfer_t."""
        lines = f", {self.line}, {self.distance}" if self.line else ""
        return f"{{{self.name} + {self.l2}, {self.l1}, {self.size_bytes}{lines}}}"


@dataclass(frozen=True)
class Step:
    """A tile: what comes, what goes, what the kernel is told of it."""

    comment: str
    loads: tuple[Transfer, ...]
    store: Transfer
    fields: Fields

    @property
    def text(self) -> str:
        """The fields as wrapped initialiser text."""
        return _wrapped(self.fields, 8)


def _wrapped(fields: Fields, indent: int) -> str:
    rows = [""]
    for key, value in fields.items():
        item = f".{key} = {value},"
        if rows[-1] and len(rows[-1]) + 1 + len(item) > TEXT_COLUMNS:
            rows.append("")
        rows[-1] += (" " if rows[-1] else "") + item
    return ("\n" + " " * indent).join(rows)


@dataclass(frozen=True)
class Kernel:
    """The C side of an operator: header, structures with their sizes, function."""

    header: str
    shape_type: str
    shape_bytes: int
    step_type: str
    step_bytes: int
    function: str

    def table_bytes(self, steps: int) -> int:
        """Bytes of a layer's shape and steps in L2."""
        return self.shape_bytes + steps * self.step_bytes


class Scratch:
    """Hands out L1 from its start, in words. Shape and ring of steps come first (tiles.h)."""

    def __init__(self, shape_bytes: int, step_bytes: int) -> None:
        self.size_bytes = shape_bytes + STEP_SLOTS * step_bytes

    def take(self, size_bytes: int) -> int:
        """Offset of ``size_bytes`` more."""
        offset = self.size_bytes
        self.size_bytes += ceil_div(size_bytes, 4) * 4
        return offset

    def take_halves(self, size_bytes: int, halves: int) -> tuple[int, ...]:
        """Offsets of one or two buffers."""
        return tuple(self.take(size_bytes) for _ in range(halves))


@dataclass(frozen=True, eq=False)
class Tiling:
    """A layer cut into tiles, laid out."""

    scratch_bytes: int
    note: str
    buffers: int
    shape: Fields
    steps: tuple[Step, ...]

    @property
    def is_possible(self) -> bool:
        """Whether every transfer fits the DMA's fields."""
        return all(t.is_possible for step in self.steps for t in (*step.loads, step.store))


class Choice(Protocol):
    """A way to cut a layer, not yet laid out."""

    @property
    def cycles(self) -> float:
        """Estimated time."""

    @property
    def tiles(self) -> int:
        """Number of tiles."""

    @property
    def scratch_bytes(self) -> int:
        """L1 it takes."""

    def tiling(self) -> Tiling:
        """Everything laid out."""


def best_tiling(choices: Iterable[Choice], network: Network, index: int, board: Board) -> Tiling:
    """The fastest of the choices that fit L1 and the DMA; PlanError when none does."""
    tried = list(choices)
    fitting = [c for c in tried if c.scratch_bytes <= scratch_limit(board)]
    while fitting:
        fastest = min(c.cycles for c in fitting)
        near = [c for c in fitting if c.cycles <= fastest * ABOUT_AS_FAST]
        best = min(near, key=lambda c: (c.tiles, c.cycles))
        tiling = best.tiling()
        if tiling.is_possible:
            return tiling
        fitting.remove(best)
        if not fitting:
            raise _too_long(network, index, board)
    raise _too_big(network, index, board, min(c.scratch_bytes for c in tried))


def scratch_limit(board: Board) -> int:
    """Bytes of L1 that tiles may take."""
    memory = board.memories_for("scratch")[0]
    return memory.size_bytes - memory.reserved_bytes


def _too_big(network: Network, index: int, board: Board, smallest_bytes: int) -> PlanError:
    """The error for a layer that no tiling fits."""
    layer = network.layers[index]
    memory = board.memories_for("scratch")[0]
    return PlanError(
        f"{board.name}: layer {index} ({layer.name}, {layer.op.value}): its smallest tile takes "
        f"{smallest_bytes} bytes of memory {memory.name}, {scratch_limit(board)} are free; use a "
        "smaller kernel or fewer channels, or cut the network earlier"
    )


def _too_long(network: Network, index: int, board: Board) -> PlanError:
    """The error for a layer whose tilings fit L1 but not the DMA's commands."""
    layer = network.layers[index]
    return PlanError(
        f"{board.name}: layer {index} ({layer.name}, {layer.op.value}): its smallest tile needs a "
        f"DMA transfer of more than {TRANSFER_LIMIT} bytes, or lines more than {LINE_LIMIT} bytes "
        "apart; use a smaller kernel or fewer channels, or cut the network earlier"
    )


def layer_plan(
    network: Network,
    index: int,
    kernel: Kernel,
    tiling: Tiling,
    constants: tuple[Constant, ...] = (),
) -> LayerPlan:
    """The plan of a layer whose tiling is chosen."""
    return LayerPlan(
        template=TEMPLATE,
        function=layer_function(network, index),
        context={
            "kernel": kernel,
            "note": tiling.note,
            "buffers": tiling.buffers,
            "shape": _wrapped(tiling.shape, 4),
            "steps": tiling.steps,
        },
        constants=constants,
        scratch_bytes=tiling.scratch_bytes,
        code_bytes=kernel.table_bytes(len(tiling.steps)) + LAYER_BYTES + FUNCTION_BYTES,
    )


def ceil_div(count: int, size: int) -> int:
    """How many parts of ``size`` hold ``count``."""
    return -(-count // size)


def even_parts(count: int, multiple: int = 1, most: int = 64) -> Iterator[int]:
    """Sizes of near-equal parts of ``count``, largest first, each a multiple of ``multiple`` or
    the whole."""
    seen: set[int] = set()
    for parts in range(1, min(count, most) + 1):
        size = ceil_div(count, parts)
        size = min(count, ceil_div(size, multiple) * multiple)
        if size not in seen:
            seen.add(size)
            yield size
    if min(count, multiple) not in seen:
        yield min(count, multiple)


def spans(count: int, size: int) -> list[tuple[int, int]]:
    """(begin, end) of parts of ``size``; the last may be shorter."""
    return [(begin, min(begin + size, count)) for begin in range(0, count, size)]


@dataclass(frozen=True)
class Grid:
    """The eight cores over two dimensions: ``cores`` share the first, 8 / cores the second."""

    cores: int
    first_each: int
    second_each: int


def best_grid(first: int, second: int) -> Grid:
    """The grid whose busiest core has least to do; the first dimension wins ties."""
    grids = [
        Grid(cores, ceil_div(first, cores), ceil_div(second, (CORES // cores)))
        for cores in (8, 4, 2, 1)
    ]
    return min(grids, key=lambda g: g.first_each * g.second_each)


def pipeline_cycles(load: float, compute: float, store: float, tiles: int, buffers: int) -> float:
    """Estimated time of equal tiles. A tile costs TILE_CYCLES beyond its work: barrier, commands,
    the wait for the slowest core, instructions that left the 4 KB cache."""
    if buffers == 1:
        return tiles * (load + compute + store + TILE_CYCLES)
    return load + store + tiles * (max(compute, load + store) + TILE_CYCLES)


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
