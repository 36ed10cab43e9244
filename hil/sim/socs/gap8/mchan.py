"""MCHAN: the cluster's DMA between L1 and L2 (GAP SDK archi/dma/mchan_v6.h).

A core reads CMD for a transfer number, then writes the words of one command or several under that
number. The bytes move when the command completes; meanwhile neither side shows partial data. The
commands of one direction run one after another, their set-up overlaps; the directions are two
streams. The DMA's own use of L1 banks is not charged to the cores.

Numbers, events, streams and queues as in GVSoC's model of MCHAN: a number ends with its last
command; one given back while busy can be taken again, and nothing is lost; each core has a queue of
two commands, each direction one of eight behind them, and a core whose queue is full is stalled by
the next command's first word. There commands leave the common queue when the one before has asked
for all its data, here when that has moved.
"""

from __future__ import annotations

from hil.sim.cores.xpulp.compiled import inner
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8 import timing
from hil.sim.socs.gap8.events import raise_events

TO_L1, INCREMENT, TWO_D = 1 << 16, 1 << 17, 1 << 18
EVENT, INTERRUPT, BROADCAST = 1 << 19, 1 << 20, 1 << 21
CORE_QUEUE, COMMON_QUEUE = 2, 8
LONGEST = 0x7FFF  # bytes; the chip drops bit 15 of a length (layout: F_DMA_LONG)
QUEUE_FULL = -1  # of write_command: the core tries again


@inner
def allocate(dma, port):
    """CMD read: a free transfer number for this port, or -1 when all 16 are taken."""
    for i in range(L.DMA_IDS):
        if dma[L.DMA_ALLOCATED + i] == 0:
            dma[L.DMA_ALLOCATED + i] = 1
            at = L.DMA_PORT + port * L.DMA_PORT_SPAN
            dma[at] = i + 1
            dma[at + 1] = 0
            return i
    return -1


@inner
def status(dma):
    """STATUS: bit i transfer i busy, bit 16 + i allocated."""
    value = 0
    for i in range(L.DMA_IDS):
        if dma[L.DMA_ALLOCATED + i] != 0:
            value |= 1 << (16 + i)
        if dma[L.DMA_UNFINISHED + i] != 0:
            value |= 1 << i
    return value


@inner
def free(dma, mask):
    """STATUS write: gives transfer numbers back; no port has them any more."""
    for i in range(L.DMA_IDS):
        if (mask >> i) & 1:
            dma[L.DMA_ALLOCATED + i] = 0
    for port in range(L.CORES):
        at = L.DMA_PORT + port * L.DMA_PORT_SPAN
        if dma[at] != 0 and (mask >> (dma[at] - 1)) & 1:
            dma[at] = 0


@inner
def _beats(command, two_d):
    """Cycles the transfer occupies the engine."""
    count = command & 0xFFFF
    if command & TWO_D:
        line = two_d & 0x7FFF
        lines = (count + line - 1) // line
        if line < timing.DMA_BEAT_BYTES:
            cycles = (lines * timing.DMA_SHORT_LINE_TENTHS + 9) // 10
        else:
            cycles = lines * ((line + timing.DMA_BEAT_BYTES - 1) // timing.DMA_BEAT_BYTES)
    else:
        cycles = (count + timing.DMA_BEAT_BYTES - 1) // timing.DMA_BEAT_BYTES
    if not command & TO_L1:
        cycles += count // timing.DMA_BURST_BYTES
    return cycles


@inner
def _slot(slot):
    return L.DMA_SLOT + slot * L.DMA_SLOT_SPAN


@inner
def _plan_next(dma, chip):
    due = L.NEVER
    for slot in range(L.DMA_SLOTS):
        due = min(due, dma[_slot(slot) + L.DMA_DUE])
    chip[L.DMA_DUE_CYCLE] = due
    chip[L.DIRTY] = 1


@inner
def _free_slot(dma, chip, port):
    """Where a new command of ``port`` goes; -1 when its core's queue is full."""
    found, queued = -1, 0
    for slot in range(L.DMA_SLOTS):
        at = _slot(slot)
        if dma[at + L.DMA_DUE] == L.NEVER:
            found = at
        elif dma[at + L.DMA_CORE] == port and dma[at + L.DMA_LEAVES] > chip[L.NOW_CYCLE]:
            queued += 1
    return found if queued < CORE_QUEUE else -1


@inner
def _valid(l1, l2, count, two_d, stride, line):
    """Whether the transfer stays inside L1 and L2."""
    if count == 0 or (two_d and line == 0):
        return False
    extent = count
    if two_d:
        lines = (count + line - 1) // line
        extent = (lines - 1) * stride + line
    if l1 < L.L1_BASE or l1 + count > L.L1_BASE + L.L1_BYTES:
        return False
    return l2 >= L.L2_BASE and l2 + extent <= L.L2_BASE + L.L2_BYTES


@inner
def write_command(dma, chip, port, value):
    """CMD write. 0 when accepted, QUEUE_FULL, else a fault reason."""
    at = L.DMA_PORT + port * L.DMA_PORT_SPAN
    if dma[at] == 0:
        return L.F_DMA
    slot = _free_slot(dma, chip, port)
    if slot < 0:
        return QUEUE_FULL
    dma[at + 2 + dma[at + 1]] = value
    dma[at + 1] += 1
    command = dma[at + 2]
    needed = 4 if command & TWO_D else 3
    if dma[at + 1] < needed:
        return 0
    if not command & INCREMENT:
        return L.F_DMA  # fixed-address transfers are for peripherals, which MCHAN does not reach
    dma[at + 1] = 0
    if command & 0xFFFF > LONGEST:
        return L.F_DMA_LONG
    two_d = dma[at + 5] if command & TWO_D else 0
    l1, l2 = dma[at + 3], dma[at + 4]
    if l1 < L.L1_BYTES:
        l1 += L.L1_BASE  # the cluster's alias of L1 at 0
    if not _valid(l1, l2, command & 0xFFFF, command & TWO_D, two_d >> 16, two_d & 0x7FFF):
        return L.F_DMA_RANGE
    _append(dma, chip, slot, command, _beats(command, two_d))
    dma[slot + L.DMA_COMMAND] = command
    dma[slot + L.DMA_L1] = l1
    dma[slot + L.DMA_L2] = l2
    dma[slot + L.DMA_2D] = two_d
    dma[slot + L.DMA_CORE] = port
    dma[slot + L.DMA_ID] = dma[at] - 1
    dma[L.DMA_UNFINISHED + dma[at] - 1] += 1
    _plan_next(dma, chip)
    return 0


@inner
def _append(dma, chip, slot, command, beats):
    """Puts a command behind the others of its direction: when it leaves its queue and is due."""
    stream = L.DMA_STREAM + (L.DMA_STREAM_SPAN if command & TO_L1 else 0)
    start = max(chip[L.NOW_CYCLE], dma[stream + L.DMA_FREE])
    began = stream + L.DMA_BEGAN + dma[stream + L.DMA_COUNT] % COMMON_QUEUE
    # the common queue has room for it when the eighth command before it begins
    dma[slot + L.DMA_LEAVES] = max(chip[L.NOW_CYCLE] + 1, dma[began])
    dma[slot + L.DMA_DUE] = start + beats + timing.DMA_LATENCY
    dma[began] = start
    dma[stream + L.DMA_COUNT] += 1
    dma[stream + L.DMA_FREE] = start + beats


@inner
def _get_byte(mem, at):
    return (mem[at >> 2] >> (8 * (at & 3))) & 0xFF


@inner
def _put_byte(mem, at, value):
    shift = 8 * (at & 3)
    mem[at >> 2] = (mem[at >> 2] & ~(0xFF << shift)) | (value << shift)


@inner
def _copy_line(mem, code, source, target, count):
    """Copies bytes between byte offsets of ``mem``; words when both sides are aligned."""
    i = 0
    if source & 3 == 0 and target & 3 == 0:
        while i + 4 <= count:
            mem[(target + i) >> 2] = mem[(source + i) >> 2]
            i += 4
    while i < count:
        _put_byte(mem, target + i, _get_byte(mem, source + i))
        i += 1
    if target < L.L2_BYTES:
        for half in range(max((target >> 1) - 1, 0), (target + count + 1) >> 1):
            code[half] = 0


@inner
def _move(mem, code, command, l1, l2, two_d):
    count = command & 0xFFFF
    inside_l1 = L.L1_WORD * 4 + l1 - L.L1_BASE
    inside_l2 = L.L2_WORD * 4 + l2 - L.L2_BASE
    line = two_d & 0x7FFF if command & TWO_D else count
    stride = two_d >> 16
    while count > 0:
        now = min(line, count)
        if command & TO_L1:
            _copy_line(mem, code, inside_l2, inside_l1, now)
        else:
            _copy_line(mem, code, inside_l1, inside_l2, now)
        inside_l1 += now
        inside_l2 += stride
        count -= now


@inner
def complete_due(mem, code, regs, core, eu, dma, chip):
    """Finishes every command due at or before the current cluster cycle."""
    for slot in range(L.DMA_SLOTS):
        record = _slot(slot)
        if dma[record + L.DMA_DUE] > chip[L.NOW_CYCLE]:
            continue
        command = dma[record + L.DMA_COMMAND]
        _move(mem, code, command, dma[record + L.DMA_L1], dma[record + L.DMA_L2],
              dma[record + L.DMA_2D])  # fmt: skip
        dma[L.DMA_BYTES] += command & 0xFFFF
        dma[record + L.DMA_DUE] = L.NEVER
        unfinished = L.DMA_UNFINISHED + dma[record + L.DMA_ID]
        dma[unfinished] -= 1
        if dma[unfinished] != 0:
            continue
        bits = 1 << L.EVENT_DMA if command & EVENT else 0
        if command & INTERRUPT:
            bits |= 1 << L.EVENT_DMA_INTERRUPT
        for c in range(L.PE_COUNT):
            if bits != 0 and (command & BROADCAST or c == dma[record + L.DMA_CORE]):
                raise_events(regs, core, eu, chip, c, bits)
    _plan_next(dma, chip)
