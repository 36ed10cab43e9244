"""The data cache: its lines, which of them are modified, what a miss costs.

Only costs are kept here; the data themselves are in memory at all times, so a program that
forgets maintenance around DMA works here and not on the chip. Loads and stores are followed by
:mod:`.native_data`. Attributes are those of the default memory map (Armv7-M ARM B3.1), in which
SRAM is write-back with write allocation, or the MPU's (:mod:`.protection`); with CACR.FORCEWT all
stores are written through. Flash is only read.
A line is replaced in turn, where the core chooses at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.sim.cores.cortex_m7 import costs, layout
from hil.sim.cores.cortex_m7.layout import DCACHE_SET_WORDS, DCACHE_WAYS, Floats, Ints


@dataclass(frozen=True)
class Caches:
    """``size_bytes`` of each level 1 cache; memory from ``cached_ram`` on is behind them.

    ``simulate_data``: the data cache's lines are followed; else a load stalls by an average.
    """

    size_bytes: int
    cached_ram: int
    simulate_data: bool

    def sets(self, ways: int) -> int:
        """Sets of a cache of that many ways."""
        return self.size_bytes // ways >> layout.LINE_SHIFT


class DataCache:
    """The lines of one power-on, in memory that the native hook shares."""

    def __init__(self, ints: np.ndarray, floats: np.ndarray, caches: Caches) -> None:
        self._ints = ints
        self._floats = floats
        self._simulated = caches.simulate_data
        sets = caches.sets(DCACHE_WAYS)
        self._lines = np.zeros((sets, DCACHE_SET_WORDS), np.int64)
        self._lines[:, :DCACHE_WAYS] = -1
        ints[Ints.DCACHE] = self._lines.ctypes.data
        ints[Ints.DCACHE_SETS] = sets
        ints[Ints.CACHED_RAM] = caches.cached_ram
        ints[Ints.OPEN_LINE] = -1
        floats[Floats.RAM_MISS_CYCLES] = costs.RAM_LINE_MISS_CYCLES
        floats[Floats.WRITE_BACK_CYCLES] = costs.WRITE_BACK_CYCLES
        floats[Floats.RAM_LOAD_CYCLES] = costs.RAM_LOAD_CYCLES
        floats[Floats.RAM_STORE_CYCLES] = costs.RAM_STORE_CYCLES
        floats[Floats.SPLIT_STORE_CYCLES] = costs.SPLIT_STORE_CYCLES
        floats[Floats.UNALIGNED_LOAD_CYCLES] = costs.UNALIGNED_LOAD_CYCLES
        floats[Floats.UNALIGNED_STORE_CYCLES] = costs.UNALIGNED_STORE_DRAIN
        floats[Floats.UNALIGNED_AHEAD] = costs.STORE_BUFFER_ENTRIES * costs.UNALIGNED_STORE_DRAIN

    def switch(self, on: bool) -> None:
        """CCR.DC."""
        self._ints[Ints.DCACHE_ON] = on
        average = costs.LOAD_STALL_CACHED if on else costs.LOAD_STALL_UNCACHED
        self._floats[Floats.LOAD_STALL_CYCLES] = 0.0 if self._simulated else average

    @property
    def is_followed(self) -> bool:
        """By lines; else loads stall by an average."""
        return self._simulated

    def set_policies(self, policies: np.ndarray | None) -> None:
        """A ``Policy`` a line (int64, ``layout.POLICY_COUNT`` of them); None: the default map."""
        self._policies = policies
        self._ints[Ints.POLICIES] = 0 if policies is None else policies.ctypes.data

    def set_write_through(self, on: bool) -> None:
        """CACR.FORCEWT: stores pass the cache."""
        self._ints[Ints.WRITE_THROUGH] = on

    def maintain(self, operand: int, by_way: bool, clean: bool, invalidate: bool) -> float:
        """A maintenance operation; cycles of the line written back.

        ``operand``: an address, or ``by_way`` as in DCISW (way from bit 30, set from bit 5).
        """
        line = operand >> layout.LINE_SHIFT
        row = self._lines[line & (len(self._lines) - 1)]
        ways = [operand >> 30] if by_way else [w for w in range(DCACHE_WAYS) if row[w] == line]
        return sum(self._maintain_way(row, way, clean, invalidate) for way in ways)

    def _maintain_way(self, row: np.ndarray, way: int, clean: bool, invalidate: bool) -> float:
        modified = row[way] >= 0 and row[way + DCACHE_WAYS] != 0
        if clean or invalidate:
            row[way + DCACHE_WAYS] = 0
        if invalidate:
            row[way] = -1
        if not (clean and modified):
            return 0.0
        self._ints[Ints.DCACHE_WRITE_BACKS] += 1
        self._floats[Floats.PENDING_J] += self._floats[Floats.SRAM_LINE_J]
        return float(self._floats[Floats.WRITE_BACK_CYCLES])
