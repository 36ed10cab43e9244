"""The table of basic blocks: what each one costs, and where in it an access to a peripheral lies.

The native hook finds a block by its address (``index``) and reads its row; Python fills the rows
when a block is met for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hil.core.errors import SimulationError
from hil.sim.cores.cortex_m7 import layout
from hil.sim.cores.cortex_m7.addresses import transfer
from hil.sim.cores.cortex_m7.edges import EdgeTable
from hil.sim.cores.cortex_m7.layout import Area, BlockFloats, BlockInts, Ending, Ints, Row
from hil.sim.cores.cortex_m7.op import PC, Op
from hil.sim.cores.cortex_m7.schedule import BlockCost, analyse, remaining_at
from hil.sim.disassembly import block_texts

FIRST_CAPACITY = 1 << 12  # rows; twice as many each time that they are used up


@dataclass(frozen=True)
class MemoryRegion:
    """Memory that the core reaches directly. ``data`` is shared with the owner, not copied."""

    name: str
    base: int
    data: np.ndarray
    writable: bool = True

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.base + len(self.data)


class BlockTable:
    """All blocks met since power-on. ``register`` reads a core register of the running program.

    ``followed``: the data cache is, so that rows for the accesses of a block are made.
    """

    def __init__(
        self,
        ints: np.ndarray,
        memories: list[MemoryRegion],
        register: Callable[[int], int],
        followed: bool,
    ) -> None:
        self._memories = memories
        self._register = register
        self._rows = RowTable(ints) if followed else None
        self._cached_ram = int(ints[Ints.CACHED_RAM])
        self._index = np.full(layout.INDEX_ENTRIES, -1, np.int32)
        self._block_ints = np.zeros((layout.BLOCK_CAPACITY, BlockInts.COUNT), np.int64)
        self._block_floats = np.zeros((layout.BLOCK_CAPACITY, BlockFloats.COUNT), np.float64)
        self._block_floats[:, BlockFloats.BEHIND : BlockFloats.CARRY] = np.nan
        self.known: list[BlockCost] = []
        self.edges = EdgeTable(ints, self.known)
        self._blocks: dict[tuple[int, bytes], int] = {}
        self._places: dict[tuple[int, int], tuple[int, float]] = {}
        ints[Ints.INDEX] = self._index.ctypes.data
        ints[Ints.BLOCK_INTS] = self._block_ints.ctypes.data
        ints[Ints.BLOCK_FLOATS] = self._block_floats.ctypes.data

    def cost(self, address: int, size: int) -> BlockCost | None:
        """The cost of the code there; None where no program can be."""
        code = self.code(address, size)
        if layout.code_index(address) < 0 or code is None:
            return None
        return analyse(code, address)

    def code(self, address: int, size: int) -> bytes | None:
        """``size`` bytes of memory, None if not all of them are in one."""
        for memory in self._memories:
            if memory.base <= address and address + size <= memory.end:
                return bytes(memory.data[address - memory.base :][:size])
        return None

    def texts(self, cost: BlockCost) -> dict[int, str]:
        """The instructions of a block for people, by address."""
        first, last = cost.ops[0], cost.ops[-1]
        code = self.code(first.address, last.address + last.size - first.address) or b""
        return block_texts(code, tuple((op.address, op.size) for op in cost.ops))

    def enter(self, address: int, size: int, cost: BlockCost) -> int:
        """The block's number. The native hook finds it from now on, unless Python has to see
        each of its runs: it may let a pending exception through, send an event, or depend on
        FPSCR."""
        code = self.code(address, size) or b""
        # The same code seen again: the emulator cut the block elsewhere in the meantime.
        block = self._blocks.get((address, code), len(self.known))
        if block >= layout.BLOCK_CAPACITY:
            raise SimulationError(f"more than {layout.BLOCK_CAPACITY} blocks; code rewrites itself")
        if block == len(self.known):
            self._blocks[address, code] = block
            self.known.append(cost)
            self._fill(block, cost, address, size)
            if self._rows is not None:
                self._rows.enter(self._block_ints[block], _rows(code, address))
        if not (cost.unmasks or cost.from_fixed or cost.sends_event):
            self._index[layout.code_index(address)] = block
        return block

    def end(self, block: int, address: int) -> int:
        """The first address behind ``block``, which was run at ``address``."""
        return address + int(self._block_ints[block, BlockInts.SIZE])

    def forget(self) -> None:
        """Ask for every block anew at its next run: what is allowed in one has changed."""
        self._index.fill(-1)

    def _fill(self, block: int, cost: BlockCost, address: int, size: int) -> None:
        row = self._block_ints[block]
        row[BlockInts.SIZE] = size
        row[BlockInts.INSTRUCTIONS] = cost.instructions
        row[BlockInts.ENDING] = cost.ending
        row[BlockInts.NEXT] = address + size
        # Static prediction until the history says otherwise: backward taken, forward not.
        row[BlockInts.PREDICTOR] = 2 if cost.backward and cost.ending == Ending.CONDITIONAL else 1
        row[BlockInts.FIRST_LINE] = address >> layout.LINE_SHIFT
        row[BlockInts.LAST_LINE] = (address + size - 1) >> layout.LINE_SHIFT
        row[BlockInts.AREA] = _area(address, self._cached_ram)
        row[BlockInts.BEFORE] = -1
        costs = self._block_floats[block]
        costs[BlockFloats.CYCLES] = cost.cycles
        costs[BlockFloats.STORE_DRAIN] = cost.store_drain
        costs[BlockFloats.LOADS] = cost.loads
        costs[BlockFloats.ENERGY_J] = cost.energy_j

    # Accesses to peripherals

    def access_place(self, block: int, ordinal: int, target: int, start: int) -> tuple[int, float]:
        """(address of the accessing instruction, cycles of its block behind it), looked up once.

        It is access number ``ordinal`` of this run of the block at ``start``, to ``target``.
        Unicorn keeps the PC of the block during a peripheral access, but the registers are
        current: it is the first access behind the last one whose address works out.
        """
        key = block, ordinal
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._find_access(block, ordinal, target, start)
        return place

    def device_accesses(self, block: int) -> set[int]:
        """Addresses of instructions of ``block`` that have been seen to access a peripheral."""
        return {place[0] for (number, _), place in self._places.items() if number == block}

    def _find_access(self, block: int, ordinal: int, target: int, start: int) -> tuple[int, float]:
        cost = self.known[block]
        seen = self._places.get((block, ordinal - 1), (-1, 0.0))[0]
        for op in cost.ops:
            wanted = op.address > seen and op.access is not None
            if wanted and self._effective_address(op) == target:
                behind = remaining_at(cost, op.address)
                if ordinal < layout.KNOWN_ACCESSES:
                    self._block_floats[block, BlockFloats.BEHIND + ordinal] = behind
                return op.address, behind
        return start, 0.0

    def unaligned_access(self, block: int, first: int, end: int) -> tuple[int, int] | None:
        """(address of the instruction, where it goes) of a load or store of one register in
        ``block`` that by the registers now goes to between ``first`` and ``end``, unaligned."""
        for op in self.known[block].ops:
            access = transfer(self.code(op.address, op.size) or b"", op)
            if op.access is None or access is None:
                continue
            address = self._effective_address(op)
            if first <= address < end and address % access.size:
                return op.address, address
        return None

    def _effective_address(self, op: Op) -> int:
        access = op.access
        assert access is not None
        base = (op.address + 4) & ~3 if access.base == PC else self._register(access.base)
        if access.index is None:
            return base + access.offset & 0xFFFFFFFF
        return base + (self._register(access.index) << access.shift) & 0xFFFFFFFF


class RowTable:
    """The instructions with accesses (``layout.Row``) of all blocks, one behind the other."""

    def __init__(self, ints: np.ndarray) -> None:
        self._ints = ints
        self._used = 0
        self._rows = np.zeros((FIRST_CAPACITY, Row.COUNT), np.int64)
        ints[Ints.ROWS] = self._rows.ctypes.data

    def enter(self, block: np.ndarray, rows: np.ndarray) -> None:
        """Keep the rows of a block, whose line of ``BlockInts`` then says where they are."""
        while self._used + len(rows) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._ints[Ints.ROWS] = self._rows.ctypes.data
        block[BlockInts.FIRST_ROW], block[BlockInts.ROWS] = self._used, len(rows)
        self._rows[self._used :][: len(rows)] = rows
        self._used += len(rows)


@lru_cache(maxsize=1 << 16)
def _rows(code: bytes, address: int) -> np.ndarray:
    """The rows of a block; kept, since every power-on asks again."""
    found = []
    for op in analyse(code, address).ops:
        access = transfer(code[op.address - address :][: op.size], op)
        if access is not None:
            base, index = (-1 if n is None else n for n in (access.base, access.index))
            found.append(
                (op.address, base, access.offset, index, access.shift, access.count, access.size,
                 access.stores, access.alignment - 1)
            )  # fmt: skip
    return np.array(found, np.int64).reshape(-1, Row.COUNT)


def _area(address: int, cached_ram: int) -> Area:
    """Where the code is. Both TCMs answer fetches without a cache (TRM 5.1), so DTCM as ITCM."""
    if address >= layout.RAM:
        return Area.RAM if address >= cached_ram else Area.ITCM
    if address >= layout.FLASH_AXI:
        return Area.AXI
    return Area.ALIAS if address >= layout.FLASH_ITCM else Area.ITCM
