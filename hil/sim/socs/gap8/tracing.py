"""The instruction trace of the GAP8's cores, kept by the engine's profiled variant.

The trace lies behind the counts in the profile array: a header, then a ring of entries. Cores run
ahead of each other, so entries are sorted by time afterwards, and the ring has slack on both sides
of its start for what comes out of order. Once it has all it needs the engine goes on without:
tracing never makes it come back, and so can change no cycle.
"""

from __future__ import annotations

import numpy as np

from hil.sim.chip import TraceWindow
from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inner
from hil.sim.cores.xpulp.decode import LONG_BIT
from hil.sim.disassembly import REGISTERS_RISCV, xpulp_text
from hil.sim.socs.gap8 import events
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.profiling import COUNT_WORDS
from hil.sim.trace import TracedInstruction

HEADER = COUNT_WORDS
# Header words. USED counts entries ever begun; STARTED is what it was at the start, -1 before; KEEP
# entries behind the start are kept. FROM_HALF -1: there is no start to wait for.
USED, STARTED, KEEP, FROM_CYCLE, FROM_HALF, LOW_HALF, HIGH_HALF = range(HEADER, HEADER + 7)
ENTRIES = HEADER + 8
ENTRY_SPAN = 8
TIME, CYCLE, CORE, HALF, WORD, RECORD, RD_VALUE, RS1_VALUE = range(ENTRY_SPAN)
# A core is ahead of another by an energy bin (10 us) at most: 9 cores at up to 400 MHz.
SLACK = 9 * 4000


def room(window: TraceWindow | None) -> int:
    """Words of the profile array that the trace of ``window`` takes."""
    return 8 + (0 if window is None else (window.count + 2 * SLACK) * ENTRY_SPAN)


def start(profile: np.ndarray, window: TraceWindow | None) -> None:
    """Write the header."""
    if window is None:
        return
    profile[KEEP] = window.count + SLACK
    profile[STARTED] = 0 if window.from_address is None else -1
    profile[FROM_CYCLE] = window.from_cycle
    profile[FROM_HALF] = -1 if window.from_address is None else _half(window.from_address)
    low, high = window.inside or (L.L2_BASE, L.L2_BASE + L.L2_BYTES)
    profile[LOW_HALF], profile[HIGH_HALF] = _half(low), _half(high)


def _half(address: int) -> int:
    return (address - L.L2_BASE) >> 1


@inner
def begin(profile, mem, regs, core, chip, c, domain, half, record, now):
    """Core ``c`` issues the instruction at ``half`` in cycle ``now`` of its clock."""
    _close(profile, regs, core, c)
    used = profile[USED]
    if half == profile[FROM_HALF] and profile[STARTED] < 0:
        profile[STARTED] = used
    if profile[STARTED] >= 0 and used - profile[STARTED] >= profile[KEEP]:
        return
    if now < profile[FROM_CYCLE]:
        return
    if half < profile[LOW_HALF] or half >= profile[HIGH_HALF]:
        return
    word = np.int64(mem[half >> 1])
    if half & 1:
        word = (word >> 16) | (np.int64(mem[min((half >> 1) + 1, L.L2_BYTES // 4 - 1)]) << 16)
    at = ENTRIES + used % (profile[KEEP] + SLACK) * ENTRY_SPAN
    profile[at + TIME] = events.cycle_time(chip, domain, now)
    profile[at + CYCLE] = now
    profile[at + CORE] = c
    profile[at + HALF] = half
    profile[at + WORD] = word & 0xFFFFFFFF
    profile[at + RECORD] = record
    profile[USED] = used + 1
    core[c * L.CORE_SPAN + L.TRACE_OPEN] = at


@inner
def undo(profile, core, c):
    """The instruction of the last ``begin`` has to wait and will begin again."""
    base = c * L.CORE_SPAN
    if core[base + L.TRACE_OPEN] != 0:
        profile[USED] -= 1
        core[base + L.TRACE_OPEN] = 0


@inner
def _close(profile, regs, core, c):
    """Note the results of the core's last instruction."""
    at = core[c * L.CORE_SPAN + L.TRACE_OPEN]
    if at == 0:
        return
    record = profile[at + RECORD]
    profile[at + RD_VALUE] = regs[c * 32 + ((record >> 9) & 31)]
    profile[at + RS1_VALUE] = regs[c * 32 + ((record >> 14) & 31)]
    core[c * L.CORE_SPAN + L.TRACE_OPEN] = 0


def rows(
    profile: np.ndarray, regs: np.ndarray, core: np.ndarray, count: int
) -> list[TracedInstruction]:
    """The first ``count`` instructions in order of time; at equal times FC, then PE 0 to 7."""
    profile, core = profile.copy(), core.copy()
    for c in range(L.CORES):
        _close.py_func(profile, regs, core, c)
    if profile[STARTED] < 0:
        return []
    used = min(int(profile[USED]), int(profile[KEEP]) + SLACK)
    entries = profile[ENTRIES : ENTRIES + used * ENTRY_SPAN].reshape(-1, ENTRY_SPAN)
    rank = (entries[:, CORE] + 1) % L.CORES  # the FC, 8, goes first
    entries = entries[np.lexsort((rank, entries[:, TIME]))]
    begin = 0
    if profile[FROM_HALF] >= 0:
        begin = int(np.flatnonzero(entries[:, HALF] == profile[FROM_HALF])[0])
    return [_row(entry) for entry in entries[begin : begin + count].tolist()]


def _row(entry: list[int]) -> TracedInstruction:
    c, pc, record = entry[CORE], L.L2_BASE + 2 * entry[HALF], entry[RECORD]
    size = 4 if record >> LONG_BIT & 1 else 2
    return TracedInstruction(
        cycle=entry[CYCLE],
        core="FC" if c == L.FC else f"PE{c}",
        pc=pc,
        code=(entry[WORD] & ((1 << 8 * size) - 1)).to_bytes(size, "little"),
        text=xpulp_text(entry[WORD], pc),
        writes=tuple(
            (REGISTERS_RISCV[register], value & 0xFFFFFFFF)
            for register, value in _written(record, entry[RD_VALUE], entry[RS1_VALUE])
        ),
    )


def _written(record: int, rd_value: int, rs1_value: int) -> list[tuple[int, int]]:
    """(register, value) of what the instruction wrote."""
    op, rd, rs1, mode = record & 511, record >> 9 & 31, record >> 14 & 31, record >> 30 & 3
    written = []
    if rd and not ops.LP_START <= op <= ops.LP_SETUPI:
        written.append((rd, rd_value))
    if rs1 and ops.ELW < op <= ops.SW and mode >= 2:
        written.append((rs1, rs1_value))
    return written
