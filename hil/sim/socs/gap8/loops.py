"""The hardware loops of a core: where they lead, how they are set, what may not be nested.

What a body may hold is checked in Python (``loop_check``) before a loop is armed, once for each
lp.setup and once for each pair of addresses written one by one. The inner loop of the engine pays
nothing for that: until a pair is checked its start lies outside all memory (UNCHECKED), so that
the first jump back comes to ``seldom.fetch_line``. A program may write the count before the
addresses: a loop that cannot be judged yet is DEFERRED to that jump.
"""

from __future__ import annotations

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inlined, inner
from hil.sim.socs.gap8 import layout as L

WORD = 0xFFFFFFFF
UNCHECKED = 1 << 40  # in LOOP_START: the pair of addresses has not been checked
DEFERRED = 1 << 41  # beside it: nor can it be before an address is written or the loop jumps back
CHECKED_SETUP = 1 << 30  # in the immediate of a decoded lp.setup or lp.setupi: the body is legal


@inlined
def after(core, base, pc, next_pc):
    """Where the core goes on behind the instruction at ``pc``; loop 0 is the inner."""
    if pc == core[base + L.LOOP_END] and core[base + L.LOOP_COUNT] > 0:
        core[base + L.LOOP_COUNT] -= 1
        if core[base + L.LOOP_COUNT] > 0:
            return core[base + L.LOOP_START]
    if pc == core[base + L.LOOP_END + 3] and core[base + L.LOOP_COUNT + 3] > 0:
        core[base + L.LOOP_COUNT + 3] -= 1
        if core[base + L.LOOP_COUNT + 3] > 0:
            return core[base + L.LOOP_START + 3]
    return next_pc


@inner
def setup_end(op, pc, imm):
    """The last instruction of the body that lp.setup or lp.setupi at ``pc`` names."""
    imm &= CHECKED_SETUP - 1
    return pc + (imm if op == ops.LP_SETUP else imm >> 12)


@inner
def write(core, base, number, field, value):
    """Writes start (field 0), end (1) or count (2) of a loop."""
    at = base + L.LOOP_START + 3 * number
    if field == 2:
        core[at + 2] = value
    elif field == 1:
        if core[at + 1] != value:
            core[at] = core[at] & WORD | UNCHECKED
        core[at + 1] = value
    elif core[at] != value:
        core[at] = value | UNCHECKED


@inner
def arms_unchecked(core, base, number, count):
    """Whether writing this count starts a loop that should be checked first."""
    return count > 0 and core[base + L.LOOP_START + 3 * number] & ~WORD == UNCHECKED


@inner
def set_loop(core, base, op, number, pc, value, imm):
    """The lp.* instructions; ``value`` is the register that lp.setup and lp.count read."""
    at = base + L.LOOP_START + 3 * number
    if op == ops.LP_START:
        write(core, base, number, 0, pc + (imm << 1))
    elif op == ops.LP_END:
        write(core, base, number, 1, pc + (imm << 1))
    elif op == ops.LP_COUNT:
        core[at + 2] = value
    elif op == ops.LP_COUNTI:
        core[at + 2] = imm
    else:
        core[at], core[at + 1] = pc + 4, setup_end(op, pc, imm)
        core[at + 2] = value if op == ops.LP_SETUP else imm & 0xFFF


@inner
def tangled(core, chip, base):
    """Whether both loops are active, overlap, and are not loop 0 well inside loop 1.

    Where loop 1 ends one instruction behind loop 0 it is counted: the manual asks for two, the
    vendor's simulator ran one (layout.CLOSE_ENDS).
    """
    if core[base + L.LOOP_COUNT] <= 0 or core[base + L.LOOP_COUNT + 3] <= 0:
        return False
    start, end = core[base + L.LOOP_START] & WORD, core[base + L.LOOP_END]
    outer_start, outer_end = core[base + L.LOOP_START + 3] & WORD, core[base + L.LOOP_END + 3]
    if end < outer_start or outer_end < start:
        return False
    if outer_end == end + 4:
        chip[L.CLOSE_ENDS] += 1
    return start < outer_start or outer_end < end + 4
