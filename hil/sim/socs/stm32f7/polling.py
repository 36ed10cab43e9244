"""Recognise firmware that polls a status register, so that nobody has to simulate the wait.

A poll loop reads the same register again and again and touches no other peripheral. Where a turn
brings the same value, leaves registers and the top of the stack as they were and takes as long as
the turn before, the next one is the same again until something happens from outside. The wait is
skipped in whole turns with all that they count and draw: a run goes on as if each had been
executed. A loop that counts its turns in a register or on the stack is executed; one that does so
in other memory alone is taken for a wait.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hil.sim.cores.cortex_m7.core import CortexM7
from hil.sim.cores.cortex_m7.layout import Floats, Ints

LONGEST_TURN_CYCLES = 400.0  # reads further apart are work that looks at the register in passing
ROUNDING_CYCLES = 1e-6
STACK_BYTES = 256
# What a turn counts
_COUNTS = [
    int(slot)
    for slot in (
        Ints.INSTRUCTIONS, Ints.BLOCKS, Ints.BRANCHES, Ints.MISPREDICTS, Ints.ICACHE_MISSES,
        Ints.ART_MISSES, Ints.DCACHE_MISSES, Ints.DCACHE_WRITE_BACKS, Ints.ALL_ACCESSES,
    )
]  # fmt: skip
# Cycles until which, or from which, something goes on beside the program
_CYCLES_AHEAD = [
    int(slot)
    for slot in (
        Floats.BUS_BUSY, Floats.UNALIGNED_BUSY, Floats.STORES_BUSY, Floats.FLASH_FREE,
        Floats.PREFETCHED_AT,
    )
]  # fmt: skip


@dataclass
class _Read:
    """One read of the register; what follows ``value`` is noted only where the last one is near."""

    access: int = -2
    cycles: float = 0.0
    value: int = -1
    turn_cycles: float = 0.0
    program: bytes = b""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(len(_COUNTS), np.int64))
    booked_until: float = -1.0
    booked_j: float = 0.0


class PollWatch:
    """Watches a core's reads of one register."""

    def __init__(self, core: CortexM7) -> None:
        self._core = core
        self.forget()

    def forget(self) -> None:
        """The next read starts a new count."""
        self._last = _Read()
        self._turn = np.zeros(len(_COUNTS), np.int64)
        self._turn_j = 0.0

    def seen(self, value: int) -> bool:
        """Note a read at the access being served; True if the program is certainly polling."""
        core, before = self._core, self._last
        read = self._last = _Read(core.accesses, core.now_cycles, value)
        turn = read.cycles - before.cycles
        if read.access != before.access + 1 or value != before.value:
            return False
        if not 0 < turn <= LONGEST_TURN_CYCLES:
            return False
        read.turn_cycles, read.program = turn, self._program()
        read.counts = core.ints[_COUNTS]
        self._note_energy()
        self._turn, self._turn_j = read.counts - before.counts, read.booked_j - before.booked_j
        in_one_bin = read.booked_until == before.booked_until
        steady = abs(turn - before.turn_cycles) < ROUNDING_CYCLES
        return in_one_bin and steady and read.program == before.program

    def skip(self, until_cycle: float) -> None:
        """Let all whole turns pass whose read comes before ``until_cycle``. While polling only."""
        core, turn = self._core, self._last.turn_cycles
        wait = until_cycle - self._last.cycles - ROUNDING_CYCLES
        turns = math.ceil(wait / turn) - 1
        if turns <= 0:
            return
        core.ints[_COUNTS] += turns * self._turn
        core.floats[_CYCLES_AHEAD] += turns * turn
        base_j = core.floats[Floats.BASE_J]
        core.book_base_energy()
        core.floats[Floats.BASE_J] += self._turn_j / turn  # spread evenly
        core.add_cycles(turns * turn)
        core.book_base_energy()
        core.floats[Floats.BASE_J] = base_j
        self._last.access += turns
        self._last.cycles += turns * turn
        self._last.counts += turns * self._turn
        self._note_energy()

    def _note_energy(self) -> None:
        floats = self._core.floats
        self._last.booked_until = floats[Floats.BASE_SINCE]
        self._last.booked_j = floats[Floats.PENDING_J]

    def _program(self) -> bytes:
        """Registers and the top of the stack."""
        core = self._core
        registers, stack = core.debug.snapshot()
        for memory in core.memories:
            if memory.base <= stack < memory.end:
                at = stack - memory.base
                return registers + memory.data[at : at + STACK_BYTES].tobytes()
        return registers
