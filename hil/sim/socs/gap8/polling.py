"""Recognise a control core that polls the UART, so that nobody has to simulate the wait.

A turn of a poll loop begins and ends with the same load of the same register. Where it brings the
same value, where the core's registers, its state and the top of its stack are as before, and where
the turn has stored to no device and read no other one, the next turn is the same again, until a
device acts. The wait is skipped in whole turns with all that they count: a run goes on as if each
turn had been executed. A loop that counts its turns in a register or on the stack is executed; one
that does so in other memory alone is taken for a wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.sim.socs.gap8 import access
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import Machine

# UART RX CFG and SADDR, TX CFG, STATUS: they change when a device acts, and at no other time
POLLED_REGISTERS = frozenset({0x1A102200, 0x1A102208, 0x1A102218, 0x1A102220})
SP, STACK_WORDS = 2, 64
_BASE = L.FC * L.CORE_SPAN
# What decides how the core goes on: all but its counters and its place in a profile.
_STATE = ((0, L.COUNT), (L.COUNT + 16, L.PROFILE_ROW), (L.PCCR, L.N_PACKED))
_MORE = slice(_BASE + L.N_PACKED, _BASE + L.N_MULTIPLY + 1)
_COUNTS = slice(_BASE + L.COUNT, _BASE + L.COUNT + 16)
# Places in a visit's counts
_MISSES = L.N_IMISS - L.COUNT
_WITH_ENERGY = [_MISSES, L.N_LOAD_EXT - L.COUNT, L.N_STORE_EXT - L.COUNT, 16, 17]

# The engine's address map as a plain Python function.
_memory_word = access.memory_word.py_func


@dataclass
class _Visit:
    """The last load of a register at one place of the program."""

    cycle: int
    value: int
    state: bytes
    counts: np.ndarray  # 16 of pcer_v1.h, packed instructions, multiplications
    turn_cycles: int = 0  # since the load before; 0: that was another state
    turn: np.ndarray | None = None  # what it has counted
    certain: bool = False


class PollWatch:
    """Watches the control core's loads of device registers."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.forget()

    def forget(self) -> None:
        """Something has happened that the loop may see: look at its turns anew."""
        self._visits: dict[tuple[int, int], _Visit] = {}
        self._polling: _Visit | None = None

    @property
    def polling(self) -> bool:
        """The core polls, and neither it nor a debugger has done anything since its last load."""
        return self._polling is not None and self._polling.state == self._core_state()

    def loaded(self, address: int, value: int) -> None:
        """The core has just loaded a device's register, while nothing else runs on the chip."""
        if address not in POLLED_REGISTERS:
            self.forget()
            return
        chip = self._machine.state.chip
        key = (int(chip[L.ACCESS_PC]), address)
        visit = _Visit(int(chip[L.NOW_CYCLE]), value, self._core_state(), self._core_counts())
        before = self._visits.get(key)
        self._visits[key] = visit
        if before is not None and (before.value, before.state) == (value, visit.state):
            self._compare(before, visit)
        if visit.certain:
            self._polling = visit

    def _compare(self, before: _Visit, visit: _Visit) -> None:
        visit.turn_cycles, visit.turn = visit.cycle - before.cycle, visit.counts - before.counts
        if before.turn is None or visit.turn_cycles != before.turn_cycles:
            return
        # which line a miss evicts is pseudo-random
        cached = self._machine.state.chip[L.CACHE_ON + L.DOMAIN_FC] and visit.turn[_MISSES]
        visit.certain = not cached and bool((visit.turn == before.turn).all())

    def skip(self, until_fs: int) -> None:
        """Let all whole turns pass whose last load comes before ``until_fs``."""
        visit, self._polling = self._polling, None  # until its next load
        assert visit is not None and visit.turn is not None
        state = self._machine.state
        if visit.turn[_WITH_ENERGY].any():  # each energy bin gets its own turns
            until_fs = min(until_fs, int(state.chip[L.BIN_DUE_FS]))
        until = self._machine.cycle_at(L.DOMAIN_FC, until_fs)
        turns = max((until - 1 - visit.cycle) // visit.turn_cycles, 0)
        counted = turns * visit.turn
        state.core[L.READY + L.FC] += turns * visit.turn_cycles
        state.core[_COUNTS] += counted[:16]
        state.core[_MORE] += counted[16:]
        visit.cycle += turns * visit.turn_cycles
        visit.counts += counted

    def _core_state(self) -> bytes:
        state = self._machine.state
        parts = [state.core[_BASE + low : _BASE + high] for low, high in _STATE]
        parts.append(state.regs[L.FC * 32 : L.FC * 32 + 32])
        stack = _memory_word(L.FC, int(state.regs[L.FC * 32 + SP]), 4)
        if stack >= 0:
            parts.append(state.mem[stack : stack + STACK_WORDS])
        return b"".join(part.tobytes() for part in parts)

    def _core_counts(self) -> np.ndarray:
        core = self._machine.state.core
        return np.concatenate((core[_COUNTS], core[_MORE]))
