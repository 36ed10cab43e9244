"""The table of edges: what a block carries into the one that follows it (``schedule.carry``).

A hash table with open addressing that the native hook reads; Python enters an edge when it is taken
for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.sim.cores.cortex_m7.layout import BLOCK_CAPACITY, FIRST_EDGES, NO_EDGE, Ints, edge_place
from hil.sim.cores.cortex_m7.schedule import BlockCost, carry


class EdgeTable:
    """All edges taken since power-on, between blocks of ``known`` by their numbers."""

    def __init__(self, ints: np.ndarray, known: Sequence[BlockCost]) -> None:
        self._ints, self._known = ints, known
        self._used = 0
        self._make(FIRST_EDGES)

    def enter(self, previous: int, block: int) -> int:
        """The place of the edge, whose carry is there from now on."""
        if 2 * self._used >= len(self._keys):
            self._grow()
        self._used += 1
        return self._put(previous, block, carry(self._known[previous], self._known[block]))

    def _make(self, places: int) -> None:
        self._keys = np.full(places, NO_EDGE, np.int64)
        self._carries = np.zeros(places, np.float64)
        self._ints[Ints.EDGES] = self._keys.ctypes.data
        self._ints[Ints.CARRIES] = self._carries.ctypes.data
        self._ints[Ints.EDGE_MASK] = places - 1

    def _grow(self) -> None:
        taken = self._keys != NO_EDGE
        keys, carries = self._keys[taken], self._carries[taken]
        self._make(2 * len(self._keys))
        for key, cycles in zip(keys.tolist(), carries.tolist(), strict=True):
            previous, block = divmod(key, BLOCK_CAPACITY)
            self._put(previous, block, cycles)

    def _put(self, previous: int, block: int, cycles: float) -> int:
        mask = len(self._keys) - 1
        place = edge_place(previous, block, mask)
        while self._keys[place] != NO_EDGE:
            place = (place + 1) & mask
        self._keys[place] = previous * BLOCK_CAPACITY + block
        self._carries[place] = cycles
        return place
