"""Steps the chip: nine cores, two clock domains, L1 banks, caches, DMA and energy bins.

``run`` executes instructions until something outside numba has to act. Each core has the cycle
at which it may issue next; a cycle in which no core can issue costs nothing, so sleeping cores
and waits are skipped. An L1 access is served when its bank is next free, in order of issue (the
vendor simulator's rule); it takes effect at issue, a few cycles before a stalled core goes on.

Simplifications, deliberate: an instruction's effect is complete when it issues; the FC's and
the cluster's accesses to L2 do not disturb each other; decoded instructions follow stores to
L2 at once, where the chip needs a flush of the instruction cache.
"""

from __future__ import annotations

import numba
import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.decode import decode
from hil.sim.cores.xpulp.scalar import highest_set, scalar, sx
from hil.sim.cores.xpulp.simd import simd
from hil.sim.cores.xpulp.source_digest import SOURCE_DIGEST
from hil.sim.socs.gap8 import access, events, mchan, system, timing
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.energy import close_bin

WORD = 0xFFFFFFFF


@numba.njit
def _next_ready(core, low, high):
    """The earliest issue cycle among cores low..high-1."""
    soonest = L.NEVER
    for c in range(low, high):
        soonest = min(soonest, core[c * L.CORE_SPAN + L.READY])
    return soonest


@numba.njit
def _refill(cache, chip, domain, line, cycle):
    """A cache miss: chooses a way, evicts its line, returns the cycle the fetch can go on."""
    ready = cycle + (timing.FETCH_MISS_FC if domain == 0 else timing.FETCH_MISS_CLUSTER)
    if chip[L.CACHE_ON + domain] == 0:
        return ready
    # pseudo-random replacement: a 16-bit Galois LFSR
    state = chip[L.REPLACEMENT]
    chip[L.REPLACEMENT] = (state >> 1) ^ (0xB400 if state & 1 else 0)
    sets = 16 if domain == 0 else 64
    first = L.CACHE_TAGS + (0 if domain == 0 else 64)
    at = first + (line % sets) * L.CACHE_WAYS + chip[L.REPLACEMENT] % L.CACHE_WAYS
    for way in range(L.CACHE_WAYS):
        empty = first + (line % sets) * L.CACHE_WAYS + way
        if cache[empty] < 0:
            at = empty
            break
    if cache[at] >= 0:
        cache[domain * L.L2_LINES + cache[at]] = L.NEVER
    cache[at] = line
    cache[domain * L.L2_LINES + line] = ready
    return ready


@numba.njit
def _decode_at(mem, code, half):
    """Decodes the instruction at a halfword of L2 and remembers it."""
    word = numba.int64(mem[half >> 1])
    if half & 1:
        word >>= 16
        if half + 1 < L.L2_BYTES // 2:
            word |= (numba.int64(mem[(half + 1) >> 1]) & 0xFFFF) << 16
    code[half] = decode(word & WORD)
    return code[half]


@numba.njit
def _divide_cycles(op, divisor):
    """Cycles of div, divu, rem, remu from the divisor (see timing)."""
    if divisor == 0:
        return timing.DIV_BY_ZERO
    signed = op == ops.DIV or op == ops.REM
    if signed and divisor & 0x80000000:
        return timing.DIV_BASE_NEGATIVE + 31 - highest_set(-sx(divisor))
    return timing.DIV_BASE_POSITIVE + 31 - highest_set(divisor)


@numba.njit
def _set_loop(core, base, op, loop, pc, value, imm, immediate):
    """lp.* instructions; the loop end is the address of the last instruction of the body."""
    at = base + L.LOOP_START + 3 * loop
    if op == ops.LP_START:
        core[at] = pc + (imm << 1)
    elif op == ops.LP_END:
        core[at + 1] = pc + (imm << 1)
    elif op == ops.LP_COUNT:
        core[at + 2] = value
    elif op == ops.LP_COUNTI:
        core[at + 2] = imm
    elif op == ops.LP_SETUP:
        core[at], core[at + 1], core[at + 2] = pc + 4, pc + imm, value
    else:
        core[at], core[at + 1], core[at + 2] = pc + 4, pc + (imm >> 12), imm & 0xFFF


@numba.njit
def _viterbi(core, base, op, a, b):
    """pv.vitop.max and pv.vitop.sel with the two decision flags of the core."""
    a_high, b_high = sx(a) >> 16, sx(b) >> 16
    a_low, b_low = (a << 48) >> 48, (b << 48) >> 48
    if op == ops.VITOP_MAX:
        core[base + L.VITERBI0] = 1 if a_high <= b_high else 0
        core[base + L.VITERBI1] = 1 if a_low <= b_low else 0
        return ((max(a_high, b_high) & 0xFFFF) << 16) | (max(a_low, b_low) & 0xFFFF)
    high = b_high if core[base + L.VITERBI0] else a_high
    low = b_low if core[base + L.VITERBI1] else a_low
    high = ((high << 1) | core[base + L.VITERBI0]) & 0xFFFF
    low = ((low << 1) | core[base + L.VITERBI1]) & 0xFFFF
    return (high << 16) | low


@numba.njit
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


@numba.njit
def _sized(op, value):
    """Extends a loaded value as its instruction says."""
    if op == ops.LB:
        return ((value << 56) >> 56) & WORD
    if op == ops.LH:
        return ((value << 48) >> 48) & WORD
    return value


def _make_domain_stepper(digest):
    """``digest`` of all sources is a free variable: numba's cache key must depend on them.

    numba checks only the file that holds a cached function; the functions it calls live in
    other files, whose changes it would miss.
    """

    @numba.njit
    def step_domain(mem, code, regs, core, eu, dma, chip, cache, banks, domain, horizon):
        """Runs one clock domain up to (not including) cycle ``horizon``."""
        if len(digest) == 0:
            return np.int64(L.RUN_FAULT)
        low = L.FC if domain == L.DOMAIN_FC else 0
        high = L.CORES if domain == L.DOMAIN_FC else L.PE_COUNT
        cycle = _next_ready(core, low, high)
        while cycle < horizon:
            soonest = np.int64(L.NEVER)
            for c in range(low, high):
                base = c * L.CORE_SPAN
                ready = core[base + L.READY]
                if ready > cycle:
                    soonest = min(soonest, ready)
                    continue

                if core[base + L.IRQ_READY] != 0:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    if not system.enter_interrupt(regs, core, eu, chip, c):
                        access.fault(core, chip, c, L.F_NO_HANDLER, core[base + L.PC])
                        return np.int64(L.RUN_FAULT)

                # fetch
                pc = core[base + L.PC]
                half = (pc - L.L2_BASE) >> 1
                if half < 0 or half >= L.L2_BYTES // 2:
                    access.fault(core, chip, c, L.F_FETCH, pc)
                    return np.int64(L.RUN_FAULT)
                line = half >> (L.LINE_SHIFT - 1)
                if line != core[base + L.LINE]:
                    present = cache[domain * L.L2_LINES + line]
                    if present > cycle:
                        if present == L.NEVER:
                            present = _refill(cache, chip, domain, line, cycle)
                            core[base + L.N_IMISS] += 1
                        core[base + L.LINE] = line
                        core[base + L.READY] = present
                        soonest = min(soonest, present)
                        continue
                    core[base + L.LINE] = line
                record = code[half]
                if record == 0:
                    record = _decode_at(mem, code, half)

                op = record & 511
                rd = (record >> 9) & 31
                rs1 = (record >> 14) & 31
                rs2 = (record >> 19) & 31
                rs3 = (record >> 24) & 31
                mode = (record >> 30) & 3
                imm = record >> 32
                file = c * 32

                hazard = core[base + L.HAZARD]
                if hazard != 0:
                    core[base + L.HAZARD] = 0
                    if hazard == rs1 or hazard == rs2 or hazard == rs3:
                        core[base + L.N_LOAD_STALL] += 1
                        core[base + L.READY] = cycle + 1
                        soonest = min(soonest, cycle + 1)
                        continue

                a = regs[file + rs1]
                next_pc = pc + 2 + ((record >> 28) & 2)
                ready = cycle + 1
                jumped = False

                if op >= ops.ALU:
                    # second operand: register, immediate or broadcast lane
                    b = regs[file + rs2]
                    if mode == 1:
                        b = imm & WORD
                    elif mode == 2:
                        b = (b & 0xFFFF) * 0x00010001
                    elif mode == 3:
                        b = (b & 0xFF) * 0x01010101
                    if op >= ops.SIMD:
                        regs[file + rd] = simd(op, a, b, regs[file + rs3])
                    elif op == ops.AUIPC:
                        regs[file + rd] = (pc + imm) & WORD
                    else:
                        regs[file + rd] = scalar(op, a, b, regs[file + rs3], imm)
                        if op >= ops.MUL:
                            if op == ops.MUL:
                                core[base + L.HAZARD] = rd
                            elif op <= ops.MULHU:
                                ready = cycle + timing.MULH
                            else:
                                ready = cycle + _divide_cycles(op, b)
                    regs[file] = 0

                elif op <= ops.LAST_MEMORY and op > ops.ILLEGAL:
                    # address
                    address = a
                    if mode == 0:
                        address = (a + imm) & WORD
                    elif mode == 1:
                        address = (a + regs[file + rs3]) & WORD
                    size = 4
                    if op == ops.LB or op == ops.LBU or op == ops.SB:
                        size = 1
                    elif op == ops.LH or op == ops.LHU or op == ops.SH:
                        size = 2
                    crossing = (address & 3) + size > 4
                    is_store = op >= ops.SB and op <= ops.SW
                    page = address >> 16
                    word = np.int64(-1)
                    if domain == L.DOMAIN_CLUSTER and (page == 0x1000 or page == 0):
                        if (address & 0xFFFF) + size <= L.L1_BYTES:
                            word = L.L1_WORD + ((address & 0xFFFF) >> 2)
                            bank = (address >> 2) & (L.L1_BANKS - 1)
                            served = max(cycle, banks[bank])
                            banks[bank] = served + 1
                            core[base + L.N_CONFLICT] += served - cycle
                            ready = served + timing.L1
                    elif address >> 19 == L.L2_BASE >> 19:
                        if (address & (L.L2_BYTES - 1)) + size <= L.L2_BYTES:
                            word = L.L2_WORD + ((address & (L.L2_BYTES - 1)) >> 2)
                            if domain == L.DOMAIN_CLUSTER:
                                served = max(cycle * 1000, chip[L.L2_FREE_MILLI])
                                chip[L.L2_FREE_MILLI] = served + timing.L2_PORT_MILLI
                                ready = served // 1000 + timing.L2_FROM_CLUSTER
                            else:
                                ready = cycle + timing.L2_FROM_FC
                            if is_store:
                                access.forget_code(code, address, size)
                                core[base + L.N_STORE_EXT] += 1
                                core[base + L.N_STORE_EXT_CYCLES] += ready - cycle - 1
                            else:
                                core[base + L.N_LOAD_EXT] += 1
                                core[base + L.N_LOAD_EXT_CYCLES] += ready - cycle - 1
                    if is_store:
                        core[base + L.N_STORE] += 1
                    else:
                        core[base + L.N_LOAD] += 1

                    if word >= 0 and op != ops.ELW:
                        if crossing:
                            ready += timing.MISALIGNED
                        if is_store:
                            value = regs[file + rs2]
                            if size == 4 and not crossing:
                                mem[word] = value
                            else:
                                access.write_value(mem, word, address, size, value)
                        elif size == 4 and not crossing:
                            regs[file + rd] = mem[word]
                            core[base + L.HAZARD] = rd
                        else:
                            value = access.read_value(mem, word, address, size)
                            regs[file + rd] = _sized(op, value)
                            core[base + L.HAZARD] = rd
                    else:
                        chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                        chip[L.NOW_FS] = events.cycle_time(chip, domain, cycle)
                        if is_store:
                            status = access.store(
                                mem, code, regs, core, eu, dma, chip, c, address, size,
                                regs[file + rs2],
                            )  # fmt: skip
                        else:
                            status = access.load(
                                mem, regs, core, eu, dma, chip, c, address, size, rd,
                                op == ops.ELW,
                            )  # fmt: skip
                        if status == access.FAULT:
                            chip[L.FAULT_ADDRESS] = address
                            return np.int64(L.RUN_FAULT)
                        if status == access.RETRY:
                            core[base + L.READY] = cycle + 1
                            soonest = min(soonest, cycle + 1)
                            continue
                        ready = cycle + chip[L.LATENCY]
                        if status == access.ASLEEP:
                            ready = np.int64(L.NEVER)
                        elif status == access.DONE and not is_store:
                            regs[file + rd] = _sized(op, chip[L.VALUE])
                            core[base + L.HAZARD] = rd
                        if status == access.DEVICE:
                            # finish the instruction, Python supplies a load's value
                            if not is_store:
                                core[base + L.HAZARD] = rd
                            if mode == 2:
                                regs[file + rs1] = (a + imm) & WORD
                            elif mode == 3:
                                regs[file + rs1] = (a + regs[file + rs3]) & WORD
                            core[base + L.N_INSTRUCTIONS] += 1
                            core[base + L.PC] = next_pc
                            core[base + L.READY] = ready
                            return np.int64(L.RUN_ACCESS)
                    if mode == 2:
                        regs[file + rs1] = (a + imm) & WORD
                    elif mode == 3:
                        regs[file + rs1] = (a + regs[file + rs3]) & WORD
                    regs[file] = 0

                elif op <= ops.BGEU and op >= ops.BEQ:
                    b = regs[file + rs2]
                    offset = imm
                    if mode == 1:
                        b = (imm >> 16) & WORD
                        offset = (imm << 48) >> 48
                    core[base + L.N_BRANCH] += 1
                    if _branches(op, a, b):
                        core[base + L.N_TAKEN] += 1
                        next_pc = (pc + offset) & WORD
                        ready = cycle + timing.TAKEN_BRANCH
                        jumped = True

                elif op == ops.JAL or op == ops.JALR:
                    target = pc + imm
                    if op == ops.JALR:
                        target = (a + imm) & 0xFFFFFFFE
                    regs[file + rd] = next_pc
                    regs[file] = 0
                    next_pc = target & WORD
                    ready = cycle + timing.JUMP
                    core[base + L.N_JUMP] += 1
                    jumped = True

                elif op >= ops.LP_START and op <= ops.LP_SETUPI:
                    _set_loop(core, base, op, rd, pc, a, imm, mode)

                elif op >= ops.CSRRW and op <= ops.CSRRC:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    operand, writes = a, op == ops.CSRRW or rs1 != 0
                    if mode == 1:
                        operand = imm >> 12
                        writes = op == ops.CSRRW or operand != 0
                    if not system.csr(
                        regs, core, eu, chip, c, op, rd, imm & 0xFFF, operand, writes
                    ):
                        access.fault(core, chip, c, L.F_CSR, imm & 0xFFF)
                        return np.int64(L.RUN_FAULT)
                    ready = cycle + timing.CSR

                elif op == ops.VITOP_MAX or op == ops.VITOP_SEL:
                    regs[file + rd] = _viterbi(core, base, op, a, regs[file + rs2])
                    regs[file] = 0

                elif op == ops.MRET:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    system.return_from_interrupt(regs, core, eu, chip, c)
                    next_pc = core[base + L.PC]
                    ready = cycle + timing.JUMP
                    jumped = True

                elif op == ops.WFI:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    at = c * L.EU_SPAN
                    if eu[at + L.EU_BUFFER] & (eu[at + L.EU_MASK] | eu[at + L.EU_IRQ_MASK]) == 0:
                        events.sleep(core, chip, c, L.WAIT_INTERRUPT, 0, next_pc)
                        ready = np.int64(L.NEVER)

                elif op != ops.FENCE:
                    reason = L.F_ILLEGAL
                    if op == ops.ECALL:
                        reason = L.F_ECALL
                    elif op == ops.EBREAK:
                        reason = L.F_EBREAK
                    access.fault(core, chip, c, reason, pc)
                    return np.int64(L.RUN_FAULT)

                # hardware loops; loop 0 is the inner one
                if not jumped:
                    if pc == core[base + L.LOOP_END] and core[base + L.LOOP_COUNT] > 0:
                        core[base + L.LOOP_COUNT] -= 1
                        if core[base + L.LOOP_COUNT] > 0:
                            next_pc = core[base + L.LOOP_START]
                            jumped = True
                    if (
                        not jumped
                        and pc == core[base + L.LOOP_END + 3]
                        and core[base + L.LOOP_COUNT + 3] > 0
                    ):
                        core[base + L.LOOP_COUNT + 3] -= 1
                        if core[base + L.LOOP_COUNT + 3] > 0:
                            next_pc = core[base + L.LOOP_START + 3]

                core[base + L.N_INSTRUCTIONS] += 1
                core[base + L.PC] = next_pc
                if ready != L.NEVER:
                    core[base + L.READY] = ready
                    soonest = min(soonest, ready)

            if chip[L.DIRTY] != 0:
                return np.int64(L.RUN_LIMIT)
            cycle = soonest
        return np.int64(L.RUN_LIMIT)

    return step_domain


_step_domain = _make_domain_stepper(SOURCE_DIGEST)


@numba.njit
def _first_event(chip):
    """The next moment at which something other than a core acts."""
    due = min(chip[L.LIMIT_FS], min(chip[L.DEVICE_DUE_FS], chip[L.BIN_DUE_FS]))
    if chip[L.DMA_DUE_CYCLE] != L.NEVER:
        due = min(due, events.cycle_time(chip, L.DOMAIN_CLUSTER, chip[L.DMA_DUE_CYCLE]))
    return due


def _make_run(digest):
    """The engine's entry, bound to the sources' digest for numba's cache (see above)."""

    @numba.njit(nogil=True, cache=True)
    def run(mem, code, regs, core, eu, dma, chip, cache, banks, energy):
        """Advances the chip to chip[LIMIT_FS] and says why it came back earlier (RUN_*).

        RUN_STALLED: no core can ever go on by itself and no event is due.
        """
        if len(digest) == 0:
            return np.int64(L.RUN_FAULT)
        while True:
            chip[L.DIRTY] = 0
            fc_ready = _next_ready(core, L.FC, L.CORES)
            pe_ready = _next_ready(core, 0, L.PE_COUNT)
            fc_fs = pe_fs = np.int64(L.NEVER)
            if fc_ready != L.NEVER:
                fc_fs = events.cycle_time(chip, L.DOMAIN_FC, fc_ready)
            if pe_ready != L.NEVER:
                pe_fs = events.cycle_time(chip, L.DOMAIN_CLUSTER, pe_ready)
            due = _first_event(chip)

            if due <= min(fc_fs, pe_fs):
                idle = fc_fs == L.NEVER and pe_fs == L.NEVER
                if (
                    idle
                    and chip[L.DEVICE_DUE_FS] == L.NEVER
                    and chip[L.DMA_DUE_CYCLE] == L.NEVER
                ):
                    return np.int64(L.RUN_STALLED)
                chip[L.NOW_FS] = due
                if chip[L.BIN_DUE_FS] <= due:
                    if chip[L.BIN_COUNT] == chip[L.BIN_ROOM]:
                        return np.int64(L.RUN_BINS_FULL)
                    close_bin(core, dma, chip, energy)
                    continue
                if chip[L.LIMIT_FS] <= due:
                    return np.int64(L.RUN_LIMIT)
                if chip[L.DEVICE_DUE_FS] <= due:
                    return np.int64(L.RUN_DEVICE)
                chip[L.NOW_DOMAIN] = L.DOMAIN_CLUSTER
                chip[L.NOW_CYCLE] = chip[L.DMA_DUE_CYCLE]
                mchan.complete_due(mem, code, regs, core, eu, dma, chip)
                continue

            # the domain whose edge comes first runs until the other one or an event is due;
            # at equal times the FC goes first
            if fc_fs <= pe_fs:
                horizon = due
                if pe_fs != L.NEVER:
                    horizon = min(due, pe_fs + 1)
                domain = L.DOMAIN_FC
            else:
                horizon = min(due, fc_fs)
                domain = L.DOMAIN_CLUSTER
            until = events.cycle_at(chip, domain, horizon)
            status = _step_domain(
                mem, code, regs, core, eu, dma, chip, cache, banks, domain, until
            )
            if status != L.RUN_LIMIT:
                return status

    return run


run = _make_run(SOURCE_DIGEST)


def _make_raise_events(digest):
    """``events.raise_events`` for the devices in Python, cached like ``run``."""

    @numba.njit(cache=True)
    def raise_core_events(regs, core, eu, chip, c, bits):
        """Buffers events for core ``c`` at chip[NOW_*]."""
        if len(digest) != 0:
            events.raise_events(regs, core, eu, chip, c, bits)

    return raise_core_events


raise_core_events = _make_raise_events(SOURCE_DIGEST)
