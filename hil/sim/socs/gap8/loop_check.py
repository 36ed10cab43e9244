"""The rules for the body of a hardware loop, checked before the loop is armed.

From the RI5CY user manual, chapter "PULP Hardware Loop Extensions". Where its rules and what the
vendor's simulator ran for the timed rows (docs/gap8-timing.md) differ, what ran is legal here, and
``beyond_manual`` keeps the loop: a body of two instructions (the manual says three, elsewhere two),
and compressed instructions between the first and the last one (the manual: none).

A body that is overwritten later is not checked again, unless its lp.setup is overwritten too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.sim.chip import Fault
from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.decode import LONG_BIT, decode
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8 import loops

LEAST_INSTRUCTIONS = 3  # in the manual's list of constraints
_setup_end = loops.setup_end.py_func
_tangled = loops.tangled.py_func


@dataclass(frozen=True)
class Body:
    """What is wrong with a body (empty: nothing) and where, or which rule it stretches."""

    broken: str = ""
    at: int = 0
    by_address: bool = False  # the rule is one about the two addresses alone
    beyond_manual: bool = False


def examine(start: int, end: int, code: Callable[[int], int]) -> Body:
    """The body from ``start`` to the instruction at ``end``; ``code`` gives 32 bits of L2."""
    if start % 4 or end % 4:
        return Body("its start and end must be word-aligned", start if start % 4 else end, True)
    if end <= start:
        return Body("its body must be two instructions or more", end, True)
    for at in (start, end):
        if not L.L2_BASE <= at <= L.L2_BASE + L.L2_BYTES - 4:
            return Body("its body must lie in L2", at, True)
        if code(at) & 3 != 3:
            return Body("its first and last instruction must not be compressed", at)
    count, at, compressed = 1, start, False
    while at < end:
        is_long = decode(code(at)) >> LONG_BIT & 1
        compressed = compressed or not is_long
        at += 4 if is_long else 2
        count += 1
    if at != end:
        return Body("its end must be an instruction of its body", end)
    last = decode(code(end)) & 511
    if ops.BEQ <= last <= ops.JALR or last == ops.MRET:
        return Body("its last instruction must not be a jump or branch", end)
    return Body(beyond_manual=compressed or count < LEAST_INSTRUCTIONS)


class LoopCheck:
    """Answers the engine's RUN_LOOP."""

    def __init__(self, state: L.State) -> None:
        self._state = state
        self.beyond_manual: set[tuple[int, int]] = set()  # (start, end) of such loops since reset

    def reset(self) -> None:
        """Nothing is checked."""
        self.beyond_manual.clear()
        for c in range(L.CORES):
            for number in range(2):
                at = c * L.CORE_SPAN + L.LOOP_START + 3 * number
                self._state.core[at] = loops.UNCHECKED

    def check(self) -> Fault | None:
        """Looks at the loop in question. None: the engine may go on.

        Where a count is written while the addresses make no loop, they may yet be written, and
        the loop is judged at its first jump back.
        """
        chip, core, code = self._state.chip, self._state.core, self._state.code
        c, number = int(chip[L.LOOP_CORE]), int(chip[L.LOOP_NUMBER])
        base = c * L.CORE_SPAN
        at, pc = base + L.LOOP_START + 3 * number, int(core[base + L.PC])
        jumped_back = pc >= loops.UNCHECKED
        record = 0 if jumped_back else int(code[(pc - L.L2_BASE) >> 1])
        op = record & 511
        by_setup = op in (ops.LP_SETUP, ops.LP_SETUPI)
        if by_setup:
            start, end = pc + 4, int(_setup_end(op, pc, record >> 32))
        else:
            start, end = int(core[at]) & loops.WORD, int(core[at + 1])
        body = examine(start, end, self._code)
        if body.by_address and not by_setup and not jumped_back:
            core[at] |= loops.DEFERRED
            return None
        if body.broken:
            where = f"hardware loop {number} from 0x{start:08x} to 0x{end:08x}"
            return Fault(f"{where}: {body.broken}", end if jumped_back else pc, c, body.at)
        if jumped_back and _tangled(core, chip, base):
            return Fault(L.FAULT_TEXT[L.F_LOOPS], end, c, end)
        if body.beyond_manual:
            self.beyond_manual.add((start, end))
        if by_setup:
            code[(pc - L.L2_BASE) >> 1] = record | loops.CHECKED_SETUP << 32
        else:
            core[at] = start
        if jumped_back:
            core[base + L.PC] = start
        return None

    def _code(self, address: int) -> int:
        halves = self._state.mem.view(np.uint16)
        half = (address - L.L2_BASE) >> 1
        return int(halves[half]) | int(halves[half + 1]) << 16
