"""The inner loop of the GAP8's engine: what one core does between two looks at the others.

``run_ahead`` issues instructions of one core until the next one has to wait for the cycle that
all cores have reached, or is one of those that ``seldom`` executes. It holds what kernels are made
of: arithmetic, branches, hardware loops, plain accesses to L1 and L2.
"""

from __future__ import annotations

import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inlined, inner
from hil.sim.cores.xpulp.decode import LONG_BIT
from hil.sim.cores.xpulp.scalar import highest_set, scalar, sx
from hil.sim.cores.xpulp.simd import simd
from hil.sim.socs.gap8 import access, profiling, timing, tracing
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.loops import after

WORD = 0xFFFFFFFF
LONG = 1 << LONG_BIT

# Why run_ahead came back: the core has to wait, or the rest of the engine has to act first
AHEAD, NEW_LINE, SELDOM = range(3)

# Two bits an operation: log2 of the bytes that loads and stores move.
_LOG_SIZE = sum(
    bits << (2 * op)
    for op, bits in (
        (ops.LH, 1), (ops.LHU, 1), (ops.SH, 1), (ops.LW, 2), (ops.SW, 2), (ops.ELW, 2),
    )
)  # fmt: skip


@inlined
def access_bytes(op):
    """Bytes that a load or store moves."""
    return np.int64(1) << ((_LOG_SIZE >> (2 * op)) & 3)


@inlined
def access_address(a, d, imm, mode):
    """Where a load or store goes: rs1 plus the offset, or rs1 alone before its increment."""
    return (a + d + imm) & WORD if mode < 2 else a


@inlined
def sized(op, value):
    """Cuts and extends a loaded value as its instruction says."""
    if op == ops.LW:
        return value
    if op == ops.LBU:
        return value & 0xFF
    if op == ops.LB:
        return ((value << 56) >> 56) & WORD
    if op == ops.LH:
        return ((value << 48) >> 48) & WORD
    if op == ops.LHU:
        return value & 0xFFFF
    return value


@inlined
def _reads(record, register):
    """Whether the instruction reads the register."""
    return (
        ((record >> 14) & 31 == register)
        | ((record >> 19) & 31 == register)
        | ((record >> 24) & 31 == register)
    )


@inner
def _divide_cycles(op, divisor):
    """Cycles of div, divu, rem, remu from the divisor (see timing)."""
    if divisor == 0:
        return timing.DIV_BY_ZERO
    signed = op == ops.DIV or op == ops.REM
    if signed and divisor & 0x80000000:
        return timing.DIV_BASE_NEGATIVE + 31 - highest_set(-sx(divisor))
    return timing.DIV_BASE_POSITIVE + 31 - highest_set(divisor)


@inlined
def _branches(op, a, b):
    if op == ops.BEQ:
        return a == b
    if op == ops.BNE:
        return a != b
    if op == ops.BLT:
        return sx(a) < sx(b)
    if op == ops.BGE:
        return sx(a) >= sx(b)
    if op == ops.BLTU:
        return a < b
    return a >= b


@inlined
def run_ahead(
    mem, code, regs, core, chip, cache, banks, c, domain, cycle, limit, profile
):  # fmt: skip
    """Issues instructions of core ``c`` from its READY on, before cycle ``limit``.

    Instructions that touch only this core run ahead of the others; what memory or another core
    can see is done at the common ``cycle`` only. Returns AHEAD (the core's READY is behind
    ``cycle``), NEW_LINE (the instruction cache has to act) or SELDOM (the instruction at PC, which
    issues at READY, is for ``seldom``).

    Every host instruction counts here, and so the fields of a record (decode.py) are taken apart
    in place: through functions, even inlined ones, arithmetic is a seventh slower (measured).
    """
    base = c * L.CORE_SPAN
    file = c * 32
    pc = core[base + L.PC]
    now = core[L.READY + c]
    hazard = core[base + L.HAZARD]
    l1_bytes = L.L1_BYTES if domain == L.DOMAIN_CLUSTER else 0
    why = AHEAD
    while now < limit:
        half = (pc - L.L2_BASE) >> 1
        line = half >> (L.LINE_SHIFT - 1)
        if line != core[base + L.LINE]:
            if half < 0 or half >= L.L2_BYTES // 2 or cache[domain * L.L2_LINES + line] > now:
                why = NEW_LINE
                break
            core[base + L.LINE] = line
        if profile is not None:
            profiling.enter(profile, core, base, domain, half, now)
        record = code[np.uint64(half)]
        op = record & 511
        if hazard > 0 and _reads(record, hazard):
            core[base + L.N_LOAD_STALL] += 1
            if profile is not None:
                profiling.count(profile, core, base, profiling.LOAD_USE, 1)
            hazard = np.int64(L.NO_HAZARD)
            now += 1
            if now == limit:
                break
            if profile is not None:
                profiling.enter(profile, core, base, domain, half, now)
        if op <= ops.LAST_SHARED and now != cycle:
            break  # wait until the others have come to this cycle
        if profile is not None and record != 0:
            profiling.count(profile, core, base, profiling.INSTRUCTIONS, 1)
            tracing.begin(profile, mem, regs, core, chip, c, domain, half, record, now)

        mode = (record >> 30) & 3
        imm = record >> 32

        if op <= ops.LAST_SHARED:
            if op < ops.LB:
                why = SELDOM
                break
            address = regs[file + ((record >> 14) & 31)]
            moved = (address + regs[file + ((record >> 24) & 31)] + imm) & WORD
            if mode < 2:
                address = moved
            at = address & 0xEFFFFFFF  # L1 is at 0, too
            if at < l1_bytes and (at <= L.L1_BYTES - 4 or at + access_bytes(op) <= L.L1_BYTES):
                word = L.L1_WORD + (at >> 2)
                bank = (at >> 2) & (L.L1_BANKS - 1)
                served = max(cycle, banks[bank])
                banks[bank] = served + 1
                core[base + L.N_CONFLICT] += served - cycle
                if profile is not None:
                    profiling.count(profile, core, base, profiling.BANK, served - cycle)
                now = served + timing.L1
            elif address >> 19 == L.L2_BASE >> 19:
                size = access_bytes(op)
                if (address & (L.L2_BYTES - 1)) + size > L.L2_BYTES:
                    why = SELDOM
                    break
                word = L.L2_WORD + ((address & (L.L2_BYTES - 1)) >> 2)
                if domain == L.DOMAIN_CLUSTER:
                    served = max(cycle * 1000, chip[L.L2_FREE_MILLI])
                    chip[L.L2_FREE_MILLI] = served + timing.L2_PORT_MILLI
                    now = served // 1000 + timing.L2_FROM_CLUSTER
                else:
                    now = cycle + timing.L2_FROM_FC
                if profile is not None:
                    core[base + L.PROFILE_PAUSE] = profiling.PAUSE_WAIT
                if op >= ops.SB:
                    access.forget_code(code, address, size)
                    core[base + L.N_STORE_EXT] += 1
                    core[base + L.N_STORE_EXT_CYCLES] += now - cycle - 1
                else:
                    core[base + L.N_LOAD_EXT] += 1
                    core[base + L.N_LOAD_EXT_CYCLES] += now - cycle - 1
            else:
                why = SELDOM
                break
            shift = address & 3
            if op >= ops.SB:
                core[base + L.N_STORE] += 1
                b = regs[file + ((record >> 19) & 31)]
                hazard = np.int64(L.NO_HAZARD)
                if op == ops.SW and shift == 0:
                    mem[word] = b
                else:
                    size = access_bytes(op)
                    if shift + size > 4:
                        now += timing.MISALIGNED
                    access.write_value(mem, word, address, size, b)
            else:
                core[base + L.N_LOAD] += 1
                value = np.int64(mem[word])
                if shift != 0:
                    value >>= 8 * shift
                    size = access_bytes(op)
                    if shift + size > 4:
                        now += timing.MISALIGNED
                        value = access.read_value(mem, word, address, size)
                regs[file + ((record >> 9) & 31)] = sized(op, value)
                hazard = (record >> 9) & 31
            if mode >= 2:
                regs[file + ((record >> 14) & 31)] = moved
            regs[file] = 0

        elif op >= ops.SIMD:
            a = regs[file + ((record >> 14) & 31)]
            b = regs[file + ((record >> 19) & 31)]
            # second operand: register, immediate or broadcast lane
            if mode != 0:
                if mode == 1:
                    b = imm & WORD
                elif mode == 2:
                    b = (b & 0xFFFF) * 0x00010001
                else:
                    b = (b & 0xFF) * 0x01010101
            regs[file + ((record >> 9) & 31)] = simd(op, a, b, regs[file + ((record >> 24) & 31)])
            regs[file] = 0
            core[base + L.N_PACKED] += 1
            hazard = -((record >> 9) & 31)
            now += 1

        elif op >= ops.ALU:
            b = imm & WORD if mode == 1 else regs[file + ((record >> 19) & 31)]
            hazard = -((record >> 9) & 31)
            if op == ops.AUIPC:
                regs[file + ((record >> 9) & 31)] = (pc + imm) & WORD
            else:
                regs[file + ((record >> 9) & 31)] = scalar(
                    op,
                    regs[file + ((record >> 14) & 31)],
                    b,
                    regs[file + ((record >> 24) & 31)],
                    imm,
                )
                if op >= ops.MUL:
                    core[base + L.N_MULTIPLY] += 1
                    if op == ops.MUL:
                        hazard = (record >> 9) & 31
                    elif op <= ops.MULHU:
                        now += timing.MULH - 1
                    else:
                        now += _divide_cycles(op, b) - 1
            regs[file] = 0
            now += 1

        elif op <= ops.BGEU and op >= ops.BEQ:
            hazard = np.int64(L.NO_HAZARD)
            b = regs[file + ((record >> 19) & 31)]
            offset = imm
            if mode == 1:
                b = (imm >> 16) & WORD
                offset = (imm << 48) >> 48
            core[base + L.N_BRANCH] += 1
            now += 1
            if _branches(op, regs[file + ((record >> 14) & 31)], b):
                core[base + L.N_TAKEN] += 1
                core[base + L.N_INSTRUCTIONS] += 1
                if record & LONG == 0:
                    core[base + L.N_COMPRESSED] += 1
                now += timing.TAKEN_BRANCH - 1
                pc = (pc + offset) & WORD
                continue

        elif op == ops.JAL or op == ops.JALR:
            target = pc + imm
            if op == ops.JALR:
                target = (regs[file + ((record >> 14) & 31)] + imm) & 0xFFFFFFFE
                if hazard < 0 and hazard == -((record >> 14) & 31):
                    core[base + L.N_JUMP_STALL] += 1  # counted; costs nothing (timing.JUMP)
            hazard = np.int64(L.NO_HAZARD)
            regs[file + ((record >> 9) & 31)] = pc + 2 + ((record >> 28) & 2)
            regs[file] = 0
            core[base + L.N_JUMP] += 1
            core[base + L.N_INSTRUCTIONS] += 1
            if record & LONG == 0:
                core[base + L.N_COMPRESSED] += 1
            pc = target & WORD
            now += timing.JUMP
            continue

        else:
            why = SELDOM
            break

        pc = after(core, base, pc, pc + 2 + ((record >> 28) & 2))
        core[base + L.N_INSTRUCTIONS] += 1
        if record & LONG == 0:
            core[base + L.N_COMPRESSED] += 1

    core[base + L.PC] = pc
    core[base + L.HAZARD] = hazard
    core[L.READY + c] = now
    return why
