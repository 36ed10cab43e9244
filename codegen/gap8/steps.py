"""What the C of a layer is made of: transfers and steps, as boards/gap8/tiles.h knows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from codegen.backend import Constant, LayerPlan
from codegen.names import layer_function
from hil.core.board import Board
from hil.core.errors import PlanError
from hil.core.network import Network

TEMPLATE = "gap8/tiled.c.j2"
STEP_SLOTS = 4  # tiles.h
STEP_IO_BYTES = 64  # step_io_t: four transfers of four words
LINE_LIMIT = 32767  # MCHAN: 15 bits for the length of a line, 15 for the distance
TRANSFER_LIMIT = 65535  # MCHAN: 16 bits
TEXT_COLUMNS = 84
CORES = 8


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
    def cycles(self) -> int:
        """Estimate: 18 for the command, then eight bytes a cycle, whole beats a line."""
        if self.line == 0:
            return 18 + -(-self.size_bytes // 8)
        lines = -(-self.size_bytes // self.line)
        return 18 + lines * -(-self.line // 8)

    def text(self, verb: str) -> str:
        """Initialiser of a transfer_t; ``verb``: LOAD or STORE."""
        head = f"scratch + {self.l1}, {self.name} + {self.l2}, {self.size_bytes}"
        if self.line == 0:
            return f"{verb}({head})"
        return f"{verb}_LINES({head}, {self.line}, {self.distance})"


@dataclass(frozen=True)
class Step:
    """A tile: what comes, what the kernel is told (field -> C expression), what goes."""

    comment: str
    loads: tuple[Transfer, ...]
    store: Transfer
    parts: dict[str, dict[str, int | str]]

    @property
    def rows(self) -> dict[str, str]:
        """Each part as wrapped initialiser text."""
        return {name: _wrapped(fields) for name, fields in self.parts.items()}

    @property
    def load_texts(self) -> list[str]:
        return [load.text("LOAD") for load in self.loads]

    @property
    def store_text(self) -> str:
        return self.store.text("STORE")


def _wrapped(fields: dict[str, int | str]) -> str:
    rows = [""]
    for key, value in fields.items():
        item = f".{key} = {value},"
        if rows[-1] and len(rows[-1]) + 1 + len(item) > TEXT_COLUMNS:
            rows.append("")
        rows[-1] += (" " if rows[-1] else "") + item
    return ("\n" + " " * 12).join(rows)


class Scratch:
    """Hands out L1 from its start, in words. The ring of steps comes first."""

    def __init__(self, tile_bytes: int) -> None:
        self.step_bytes = STEP_IO_BYTES + tile_bytes
        self.size_bytes = STEP_SLOTS * self.step_bytes

    def take(self, size_bytes: int) -> int:
        """Offset of ``size_bytes`` more."""
        offset = self.size_bytes
        self.size_bytes += -(-size_bytes // 4) * 4
        return offset

    def take_halves(self, size_bytes: int, halves: int) -> tuple[int, ...]:
        """Offsets of one or two buffers."""
        return tuple(self.take(size_bytes) for _ in range(halves))


@dataclass(frozen=True)
class Kernel:
    """The C side of an operator: header, step type with its size beyond the io, function."""

    header: str
    step_type: str
    tile_bytes: int
    function: str


@dataclass(frozen=True, eq=False)
class Tiling:
    """A candidate: its estimated time, its L1 bytes, and how to lay it out."""

    cycles: float
    scratch_bytes: int
    note: str
    buffers: int
    steps: Sequence[Step] = field(default=())

    @property
    def is_possible(self) -> bool:
        """Whether every transfer fits the DMA's fields."""
        return all(t.is_possible for step in self.steps for t in (*step.loads, step.store))


def scratch_limit(board: Board) -> int:
    """Bytes of L1 that tiles may take."""
    memory = board.memories_for("scratch")[0]
    return memory.size_bytes - memory.reserved_bytes


def too_big(network: Network, index: int, board: Board, smallest_bytes: int) -> PlanError:
    """The error for a layer that no tiling fits."""
    layer = network.layers[index]
    memory = board.memories_for("scratch")[0]
    return PlanError(
        f"{board.name}: layer {index} ({layer.name}, {layer.op.value}): its smallest tile takes "
        f"{smallest_bytes} bytes of memory {memory.name}, {scratch_limit(board)} are free; use a "
        "smaller kernel or fewer channels, or cut the network earlier"
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
            "steps": tiling.steps,
            "step_bytes": STEP_IO_BYTES + kernel.tile_bytes,
        },
        constants=constants,
        scratch_bytes=tiling.scratch_bytes,
    )


def even_parts(count: int, multiple: int = 1, most: int = 64) -> Iterator[int]:
    """Sizes of near-equal parts of ``count``, largest first, each a multiple (but for the whole)."""
    seen: set[int] = set()
    for parts in range(1, min(count, most) + 1):
        size = -(-count // parts)
        size = min(count, -(-size // multiple) * multiple)
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
        Grid(cores, -(-first // cores), -(-second // (CORES // cores))) for cores in (8, 4, 2, 1)
    ]
    return min(grids, key=lambda g: g.first_each * g.second_each)


def pipeline_cycles(load: float, compute: float, store: float, tiles: int, buffers: int) -> float:
    """Estimated time of equal tiles; 100 cycles each for barrier, steps and commands."""
    if buffers == 1:
        return tiles * (load + compute + store + 150)
    return load + store + tiles * (max(compute, load + store) + 100)
