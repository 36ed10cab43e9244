"""The books of a core: cycles, energy bins, what fetches and the caches cost.

They lie in arrays that the compiled hooks share (:mod:`.layout`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hil.sim.cores.cortex_m7 import costs, layout, native
from hil.sim.cores.cortex_m7.art import Art
from hil.sim.cores.cortex_m7.data_cache import Caches, DataCache
from hil.sim.cores.cortex_m7.layout import Floats, Ints

BIN_CAPACITY = 1 << 16
# Plain integers for the paths that every peripheral access takes.
_CYCLES, _BIN_EDGE = int(Floats.CYCLES), int(Floats.BIN_EDGE)
_ALL_ACCESSES = int(Ints.ALL_ACCESSES)


class Books:
    """All zero at power-on, both caches off."""

    def __init__(self, caches: Caches) -> None:
        self.ints = np.zeros(Ints.COUNT, np.int64)
        self.floats = np.zeros(Floats.COUNT, np.float64)
        # Views of the same memory that read and write one element several times faster.
        self._fast_ints: Any = self.ints.data
        self._fast_floats: Any = self.floats.data
        self.bins = np.zeros(BIN_CAPACITY, np.float64)
        self._icache = np.zeros(layout.ICACHE_WORDS, np.int64)
        self._full_bins: list[np.ndarray] = []
        self.forget_icache()
        self.ints[Ints.FLOATS] = self.floats.ctypes.data
        self.ints[Ints.BINS] = self.bins.ctypes.data
        self.ints[Ints.ICACHE] = self._icache.ctypes.data
        self.ints[Ints.ICACHE_SETS] = caches.sets(layout.ICACHE_WAYS)
        self.data_cache = DataCache(self.ints, self.floats, caches)
        self.art = Art(self.ints, self.floats)
        self.ints[Ints.BIN_CAPACITY] = BIN_CAPACITY
        self.ints[Ints.BLOCK] = -1
        self.floats[Floats.BIN_EDGE] = self.floats[Floats.BIN_CYCLES] = np.inf
        self.floats[Floats.DWT_STALL] = costs.PRIVATE_STALL
        self.floats[Floats.MISPREDICT_CYCLES] = costs.MISPREDICT_CYCLES
        self.floats[Floats.STORE_BUFFER_CYCLES] = costs.STORE_BUFFER_CYCLES
        self.set_caches(False, False)
        self.set_fetch(0, accelerator=False, prefetch=False)

    # Time

    @property
    def cycles(self) -> float:
        """Core clock cycles since power-on, the current block counted whole."""
        return self._fast_floats[_CYCLES]

    def add_cycles(self, cycles: float) -> None:
        """Let time pass without instructions (stalls, skipped polling, sleep)."""
        self._fast_floats[_CYCLES] += cycles
        if self._fast_floats[_CYCLES] >= self._fast_floats[_BIN_EDGE]:
            native.flush_bins(self.ints, self.floats, self.bins)

    @property
    def accesses(self) -> int:
        """Peripheral accesses since power-on."""
        return self._fast_ints[_ALL_ACCESSES]

    def set_cycle_counter(self, base: float, running: bool) -> None:
        """CYCCNT is the cycle count less ``base`` while it runs; else the DWT is asked."""
        self.floats[Floats.COUNTER_BASE] = base
        self.ints[Ints.COUNTER_RUNNING] = running

    # What memory costs

    def set_caches(self, instruction: bool, data: bool) -> None:
        """Switch the caches on or off."""
        self.ints[Ints.ICACHE_ON] = instruction
        self.data_cache.switch(data)

    def set_fetch(self, wait_states: int, accelerator: bool, prefetch: bool) -> None:
        """What a line costs with the flash's wait states, and through its ITCM port."""
        self.floats[Floats.LINE_MISS_CYCLES] = wait_states + costs.LINE_MISS_BRIDGE_CYCLES
        self.floats[Floats.AXI_LINE_CYCLES] = wait_states + costs.LINE_UNCACHED_CYCLES
        self.floats[Floats.RAM_LINE_CYCLES] = costs.SRAM_LINE_CYCLES
        self.art.switch(wait_states, accelerator, prefetch)

    def forget_icache(self) -> None:
        """Invalidate the instruction cache."""
        self._icache.reshape(-1, 3)[:] = (-1, -1, 0)

    # Energy

    def book_base_energy(self) -> None:
        """Book base energy up to now, before its rate or the clock changes."""
        self._flush_all()
        floats = self.floats
        since = floats[Floats.BASE_SINCE]
        floats[Floats.PENDING_J] += floats[Floats.BASE_J] * (floats[Floats.CYCLES] - since)
        floats[Floats.BASE_SINCE] = floats[Floats.CYCLES]

    def drain_bins(self) -> list[np.ndarray]:
        """The complete energy bins since the last call, in joules."""
        self._flush_all()
        full, self._full_bins = self._full_bins, []
        return full

    def _flush_all(self) -> None:
        """Close all bins that have ended, however many there are."""
        while True:
            native.flush_bins(self.ints, self.floats, self.bins)
            count = int(self.ints[Ints.BIN_COUNT])
            if count == 0:
                return
            self._full_bins.append(self.bins[:count].copy())
            self.ints[Ints.BIN_COUNT] = 0
