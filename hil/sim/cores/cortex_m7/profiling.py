"""Cycles by instruction: the native hook counts by block, here blocks are taken apart."""

from __future__ import annotations

import numpy as np

from hil.sim.cores.cortex_m7 import layout
from hil.sim.cores.cortex_m7.blocks import BlockTable
from hil.sim.cores.cortex_m7.layout import Ending, Floats, Ints, ProfileFloats
from hil.sim.cores.cortex_m7.op import Op
from hil.sim.cores.cortex_m7.schedule import BlockCost, loads_outside_tcm
from hil.sim.cores.cortex_m7.stalls import explain
from hil.sim.profile import CodeLine, CoreClassCycles

KINDS = (
    "cycles", "instructions", "load_use", "alone", "fetch", "data", "wait", "asleep", "branch",
    "long",
)  # fmt: skip
CYCLES, INSTRUCTIONS, LOAD_USE, ALONE, FETCH, DATA, WAIT, ASLEEP, BRANCH, LONG = range(len(KINDS))


class BlockProfile:
    """Counts of the blocks from now on; ``ints`` and ``floats`` are the core's shared state."""

    def __init__(self, ints: np.ndarray, floats: np.ndarray, table: BlockTable) -> None:
        self._ints, self._floats, self._table = ints, floats, table
        self._counts = np.zeros((layout.BLOCK_CAPACITY, ProfileFloats.COUNT), np.float64)
        ints[Ints.PROFILE] = self._counts.ctypes.data
        ints[Ints.PROFILE_BLOCK] = -1
        floats[Floats.PROFILED] = floats[Floats.CYCLES]

    def slept(self, cycles: float) -> None:
        """The last ``cycles`` cycles were sleep."""
        block = max(int(self._ints[Ints.PROFILE_BLOCK]), 0)
        self._counts[block, ProfileFloats.ASLEEP] += cycles
        self._floats[Floats.PROFILED] += cycles

    def cycles(self) -> CoreClassCycles:
        """All counts up to now, by address."""
        counts = self._counts.copy()
        block = max(int(self._ints[Ints.PROFILE_BLOCK]), 0)
        rest = self._floats[Floats.CYCLES] - self._floats[Floats.PROFILED]
        counts[block, ProfileFloats.WAIT] += rest
        rows: dict[int, np.ndarray] = {}
        lines: dict[int, CodeLine] = {}
        for number, cost in enumerate(self._table.known):
            if counts[number].any():
                self._take_apart(number, cost, counts[number], rows, lines)
        addresses = sorted(rows)
        table = np.array([rows[address] for address in addresses]).reshape(-1, len(KINDS))
        code = tuple(lines[address] for address in addresses)
        return CoreClassCycles(
            "Cortex-M7", 1, np.array(addresses, dtype=np.int64), table, KINDS, code
        )

    def _take_apart(
        self,
        number: int,
        cost: BlockCost,
        counts: np.ndarray,
        rows: dict[int, np.ndarray],
        lines: dict[int, CodeLine],
    ) -> None:
        """Add the counts of one block to the rows of its instructions."""
        repeats = counts[ProfileFloats.REPEATS]
        times = (counts[ProfileFloats.RUNS] - repeats, repeats)
        block = np.zeros((len(cost.ops), len(KINDS)))
        block[:, INSTRUCTIONS] = counts[ProfileFloats.RUNS]
        passes = explain(cost.ops)
        for runs, parts in zip(times, passes, strict=True):
            for row, part in zip(block, parts, strict=True):
                row[CYCLES] += runs * part.cycles
                row[LOAD_USE] += runs * part.operands
                row[ALONE] += runs * part.alone
                row[LONG] += runs * part.long
        # What the block's cost has beyond its instructions' own: the store buffer was full.
        full = counts[ProfileFloats.PIPELINE] - block[:, CYCLES].sum() - counts[ProfileFloats.CARRY]
        _charge(block, -1, LOAD_USE, full)
        # Its first instruction waits for the block before, or pairs with that one's last.
        block[0, CYCLES] += counts[ProfileFloats.CARRY]
        block[0, LOAD_USE] += max(0.0, counts[ProfileFloats.CARRY])
        _charge(block, 0, FETCH, counts[ProfileFloats.FETCH])
        _charge(block, -1, BRANCH, counts[ProfileFloats.BRANCH])
        _charge(block, -1, ASLEEP, counts[ProfileFloats.ASLEEP])
        loads = np.array([loads_outside_tcm(op) for op in cost.ops], dtype=float)
        _spread(block, loads, DATA, counts[ProfileFloats.DATA])
        devices = self._table.device_accesses(number)
        at = np.array([op.address in devices for op in cost.ops], dtype=float)
        _spread(block, at, WAIT, counts[ProfileFloats.WAIT])
        texts = self._table.texts(cost)
        for op, row, (one, other) in zip(cost.ops, block, zip(*passes, strict=True), strict=True):
            rows[op.address] = rows.get(op.address, 0) + row
            lines[op.address] = _line(
                op, texts[op.address], (other if times[1] > times[0] else one).note
            )


def _line(op: Op, text: str, note: str) -> CodeLine:
    closes = op.ending in (Ending.DIRECT, Ending.CONDITIONAL) and op.target is not None
    loop = None
    if closes and op.target is not None and op.target <= op.address:
        loop = (op.target, op.address)
    return CodeLine(op.address, text, loop, note)


def _charge(block: np.ndarray, row: int, kind: int, cycles: float) -> None:
    block[row, kind] += cycles
    block[row, CYCLES] += cycles


def _spread(block: np.ndarray, weights: np.ndarray, kind: int, cycles: float) -> None:
    """Share ``cycles`` out by weight; without any weight the last instruction has them."""
    if not weights.any():
        weights = np.zeros(len(block))
        weights[-1] = 1.0
    share = cycles * weights / weights.sum()
    block[:, kind] += share
    block[:, CYCLES] += share
