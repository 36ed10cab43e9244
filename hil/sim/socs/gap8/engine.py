"""Steps the chip: nine cores, two clock domains, L1 banks, caches, DMA and energy bins.

``run`` executes instructions until something outside numba has to act. Each core has the cycle
at which it may issue next; a cycle in which no core can issue costs nothing, so sleeping cores
and waits are skipped. An L1 access is served when its bank is next free, in order of issue (the
vendor simulator's rule); it takes effect at issue, a few cycles before a stalled core goes on.
Between accesses a core runs ahead of the others: only memory, events, control registers and
cache misses need the common cycle, so the result is that of a step by step lockstep.

Simplifications, deliberate: an instruction's effect is complete when it issues; the FC's and
the cluster's accesses to L2 do not disturb each other; decoded instructions follow stores to
L2 at once, where the chip needs a flush of the instruction cache.
"""

from __future__ import annotations

import numba
import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.scalar import highest_set, scalar, sx
from hil.sim.cores.xpulp.simd import simd
from hil.sim.cores.xpulp.source_digest import SOURCE_DIGEST
from hil.sim.socs.gap8 import access, events, mchan, profiling, system, timing, tracing
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.energy import close_bin

WORD = 0xFFFFFFFF
NO_HAZARD = -1  # in HAZARD: no register waits for a load or multiply

# Two bits an operation: log2 of the bytes that loads and stores move.
_LOG_SIZE = sum(
    bits << (2 * op)
    for op, bits in (
        (ops.LH, 1), (ops.LHU, 1), (ops.SH, 1), (ops.LW, 2), (ops.SW, 2), (ops.ELW, 2),
    )
)  # fmt: skip


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
    latency = timing.FETCH_MISS_FC if domain == 0 else timing.FETCH_MISS_CLUSTER
    if chip[L.CACHE_ON + domain] == 0:
        return cycle + latency
    ready = max(cycle, chip[L.REFILL_FREE + domain]) + latency
    chip[L.REFILL_FREE + domain] = ready
    # replacement as in the vendor simulator: an 8-bit shift register with feedback from bits 7,
    # 3, 2, 1 (inverted) names the way in its bits 2:1, also while other ways are empty
    state = chip[L.REPLACEMENT + domain]
    feedback = 1 ^ (((state >> 7) ^ (state >> 3) ^ (state >> 2) ^ (state >> 1)) & 1)
    state = ((state << 1) | feedback) & 0xFF
    chip[L.REPLACEMENT + domain] = state
    sets = 16 if domain == 0 else 64
    first = L.CACHE_TAGS + (0 if domain == 0 else 64)
    at = first + (line % sets) * L.CACHE_WAYS + ((state >> 1) & (L.CACHE_WAYS - 1))
    if cache[at] >= 0:
        cache[domain * L.L2_LINES + cache[at]] = L.NEVER
    cache[at] = line
    cache[domain * L.L2_LINES + line] = ready
    return ready


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


@numba.njit(forceinline=True)
def _sized(op, value):
    """Cuts and extends a loaded value as its instruction says."""
    if op == ops.LB:
        return ((value << 56) >> 56) & WORD
    if op == ops.LBU:
        return value & 0xFF
    if op == ops.LH:
        return ((value << 48) >> 48) & WORD
    if op == ops.LHU:
        return value & 0xFFFF
    return value


def _make_domain_stepper(digest):
    """``digest`` of all sources is a free variable: numba's cache key must depend on them.

    numba checks only the file that holds a cached function; the functions it calls live in
    other files, whose changes it would miss.
    """

    @numba.njit
    def step_domain(mem, code, regs, core, eu, dma, chip, cache, banks, domain, horizon, profile):
        """Runs one clock domain up to (not including) cycle ``horizon``.

        ``profile`` is None or an array (profiling.py): numba drops the branches of None.
        """
        if len(digest) == 0:
            return np.int64(L.RUN_FAULT)
        low = L.FC if domain == L.DOMAIN_FC else 0
        high = L.CORES if domain == L.DOMAIN_FC else L.PE_COUNT
        cycle = _next_ready(core, low, high)
        while cycle < horizon:
            soonest = np.int64(L.NEVER)
            for c in range(low, high):
                base = c * L.CORE_SPAN
                now = core[base + L.READY]
                if now > cycle:
                    soonest = min(soonest, now)
                    continue

                if core[base + L.IRQ_READY] != 0:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    if not system.enter_interrupt(regs, core, eu, chip, c):
                        access.fault(core, chip, c, L.F_NO_HANDLER, core[base + L.PC])
                        return np.int64(L.RUN_FAULT)

                # Instructions that touch only this core run ahead of the others, up to the next
                # one that does not; ``now`` is this core's cycle, ``cycle`` everybody's. A core
                # that may be interrupted does not run ahead.
                file = c * 32
                pc = core[base + L.PC]
                hazard = core[base + L.HAZARD]
                limit = horizon if core[base + L.MSTATUS] & 8 == 0 else cycle + 1
                executed = 0
                while now < limit:
                    # fetch
                    half = (pc - L.L2_BASE) >> 1
                    if half < 0 or half >= L.L2_BYTES // 2:
                        core[base + L.PC] = pc
                        access.fault(core, chip, c, L.F_FETCH, pc)
                        return np.int64(L.RUN_FAULT)
                    if profile is not None:
                        profiling.enter(profile, core, base, domain, half, now)
                    line = half >> (L.LINE_SHIFT - 1)
                    if line != core[base + L.LINE]:
                        present = cache[domain * L.L2_LINES + line]
                        if present > now:
                            if present == L.NEVER:
                                if now != cycle:
                                    break  # a miss changes the cache all cores share
                                present = _refill(cache, chip, domain, line, now)
                                core[base + L.N_IMISS] += 1
                            core[base + L.LINE] = line
                            if profile is not None:
                                profiling.count(profile, core, base, profiling.FETCH, present - now)
                            now = present
                            continue
                        core[base + L.LINE] = line
                    record = code[half]
                    if record == 0:
                        chip[L.DECODE_HALF] = half
                        core[base + L.PC] = pc
                        core[base + L.HAZARD] = hazard
                        core[base + L.N_INSTRUCTIONS] += executed
                        core[base + L.READY] = now
                        return np.int64(L.RUN_DECODE)

                    op = record & 511
                    rd = (record >> 9) & 31
                    rs1 = (record >> 14) & 31
                    rs2 = (record >> 19) & 31
                    rs3 = (record >> 24) & 31
                    mode = (record >> 30) & 3
                    imm = record >> 32

                    if (hazard == rs1) | (hazard == rs2) | (hazard == rs3):
                        hazard = np.int64(NO_HAZARD)
                        core[base + L.N_LOAD_STALL] += 1
                        if profile is not None:
                            profiling.count(profile, core, base, profiling.LOAD_USE, 1)
                        now += 1
                        continue
                    if profile is not None:
                        profiling.count(profile, core, base, profiling.INSTRUCTIONS, 1)
                        tracing.begin(profile, mem, regs, core, chip, c, domain, half, record, now)

                    a = regs[file + rs1]
                    b = regs[file + rs2]
                    d = regs[file + rs3]
                    next_pc = pc + 2 + ((record >> 28) & 2)

                    if op >= ops.ALU:
                        hazard = np.int64(NO_HAZARD)
                        # second operand: register, immediate or broadcast lane
                        if mode == 1:
                            b = imm & WORD
                        elif mode == 2:
                            b = (b & 0xFFFF) * 0x00010001
                        elif mode == 3:
                            b = (b & 0xFF) * 0x01010101
                        if op >= ops.SIMD:
                            regs[file + rd] = simd(op, a, b, d)
                            core[base + L.N_PACKED] += 1
                        elif op == ops.AUIPC:
                            regs[file + rd] = (pc + imm) & WORD
                        else:
                            regs[file + rd] = scalar(op, a, b, d, imm)
                            if op >= ops.MUL:
                                core[base + L.N_MULTIPLY] += 1
                                if op == ops.MUL:
                                    hazard = rd - (rd == 0)
                                elif op <= ops.MULHU:
                                    now += timing.MULH - 1
                                else:
                                    now += _divide_cycles(op, b) - 1
                        regs[file] = 0
                        now += 1

                    elif op <= ops.BGEU and op >= ops.BEQ:
                        hazard = np.int64(NO_HAZARD)
                        offset = imm
                        if mode == 1:
                            b = (imm >> 16) & WORD
                            offset = (imm << 48) >> 48
                        core[base + L.N_BRANCH] += 1
                        now += 1
                        if _branches(op, a, b):
                            core[base + L.N_TAKEN] += 1
                            now += timing.TAKEN_BRANCH - 1
                            pc = (pc + offset) & WORD
                            executed += 1
                            continue

                    elif now != cycle and (op <= ops.LAST_MEMORY or op >= ops.CSRRW):
                        if profile is not None:
                            profiling.count(profile, core, base, profiling.INSTRUCTIONS, -1)
                            tracing.undo(profile, core, c)
                        break  # wait until the others have come to this cycle

                    elif op <= ops.LAST_MEMORY and op > ops.ILLEGAL:
                        offset = d + imm
                        address = (a + offset) & WORD if mode < 2 else a
                        size = np.int64(1) << ((_LOG_SIZE >> (2 * op)) & 3)
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
                                if profile is not None:
                                    profiling.count(
                                        profile, core, base, profiling.BANK, served - cycle
                                    )
                                now = served + timing.L1
                        elif address >> 19 == L.L2_BASE >> 19:  # noqa: SIM102 - as the L1 case
                            if (address & (L.L2_BYTES - 1)) + size <= L.L2_BYTES:
                                word = L.L2_WORD + ((address & (L.L2_BYTES - 1)) >> 2)
                                if domain == L.DOMAIN_CLUSTER:
                                    served = max(cycle * 1000, chip[L.L2_FREE_MILLI])
                                    chip[L.L2_FREE_MILLI] = served + timing.L2_PORT_MILLI
                                    now = served // 1000 + timing.L2_FROM_CLUSTER
                                else:
                                    now = cycle + timing.L2_FROM_FC
                                if profile is not None:
                                    core[base + L.PROFILE_PAUSE] = profiling.PAUSE_WAIT
                                if is_store:
                                    access.forget_code(code, address, size)
                                    core[base + L.N_STORE_EXT] += 1
                                    core[base + L.N_STORE_EXT_CYCLES] += now - cycle - 1
                                else:
                                    core[base + L.N_LOAD_EXT] += 1
                                    core[base + L.N_LOAD_EXT_CYCLES] += now - cycle - 1
                        core[base + L.N_LOAD + is_store] += 1
                        hazard = np.int64(NO_HAZARD)

                        if word >= 0 and op != ops.ELW:
                            if crossing:
                                now += timing.MISALIGNED
                            if is_store:
                                if size == 4 and not crossing:
                                    mem[word] = b
                                else:
                                    access.write_value(mem, word, address, size, b)
                            else:
                                value = np.int64(mem[word]) >> (8 * (address & 3))
                                if crossing:
                                    value = access.read_value(mem, word, address, size)
                                regs[file + rd] = _sized(op, value)
                                hazard = rd - (rd == 0)
                        else:
                            chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                            chip[L.NOW_FS] = events.cycle_time(chip, domain, cycle)
                            core[base + L.PC] = pc
                            if is_store:
                                status = access.store(
                                    mem, code, regs, core, eu, dma, chip, c, address, size, b
                                )
                            else:
                                status = access.load(
                                    mem, regs, core, eu, dma, chip, c, address, size, rd,
                                    op == ops.ELW,
                                )  # fmt: skip
                            if status == access.FAULT:
                                chip[L.FAULT_ADDRESS] = address
                                return np.int64(L.RUN_FAULT)
                            if status == access.RETRY:
                                if profile is not None:
                                    profiling.count(profile, core, base, profiling.INSTRUCTIONS, -1)
                                    tracing.undo(profile, core, c)
                                now = cycle + 1
                                break
                            if profile is not None:
                                core[base + L.PROFILE_PAUSE] = profiling.PAUSE_WAIT
                            now = cycle + chip[L.LATENCY]
                            if status == access.ASLEEP:
                                now = np.int64(L.NEVER)
                            elif status == access.DONE and not is_store:
                                regs[file + rd] = _sized(op, chip[L.VALUE])
                                hazard = rd - (rd == 0)
                            elif status == access.DEVICE and not is_store:
                                hazard = rd - (rd == 0)  # Python supplies the value
                            if status == access.DEVICE:
                                if mode >= 2:
                                    regs[file + rs1] = (a + offset) & WORD
                                regs[file] = 0
                                core[base + L.N_INSTRUCTIONS] += executed + 1
                                core[base + L.PC] = next_pc
                                core[base + L.HAZARD] = hazard
                                core[base + L.READY] = now
                                return np.int64(L.RUN_ACCESS)
                        if mode >= 2:
                            regs[file + rs1] = (a + offset) & WORD
                        regs[file] = 0

                    elif op == ops.JAL or op == ops.JALR:
                        hazard = np.int64(NO_HAZARD)
                        target = pc + imm
                        if op == ops.JALR:
                            target = (a + imm) & 0xFFFFFFFE
                        regs[file + rd] = next_pc
                        regs[file] = 0
                        core[base + L.N_JUMP] += 1
                        pc = target & WORD
                        now += timing.JUMP
                        executed += 1
                        continue

                    elif op >= ops.LP_START and op <= ops.LP_SETUPI:
                        hazard = np.int64(NO_HAZARD)
                        _set_loop(core, base, op, rd, pc, a, imm, mode)
                        now += 1

                    else:
                        chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                        hazard = np.int64(NO_HAZARD)
                        core[base + L.PC] = pc
                        core[base + L.N_INSTRUCTIONS] += executed  # a CSR read sees them
                        executed = 0
                        now = cycle + 1
                        if op >= ops.CSRRW and op <= ops.CSRRC:
                            operand, writes = a, op == ops.CSRRW or rs1 != 0
                            if mode == 1:
                                operand = imm >> 12
                                writes = op == ops.CSRRW or operand != 0
                            if not system.csr(
                                regs, core, eu, chip, c, op, rd, imm & 0xFFF, operand, writes
                            ):
                                access.fault(core, chip, c, L.F_CSR, imm & 0xFFF)
                                return np.int64(L.RUN_FAULT)
                            now = cycle + timing.CSR
                            if core[base + L.MSTATUS] & 8 != 0:
                                limit = now  # interrupts may be on from here
                        elif op == ops.VITOP_MAX or op == ops.VITOP_SEL:
                            regs[file + rd] = _viterbi(core, base, op, a, b)
                            regs[file] = 0
                        elif op == ops.MRET:
                            system.return_from_interrupt(regs, core, eu, chip, c)
                            pc = core[base + L.PC]
                            now = cycle + timing.JUMP
                            executed += 1
                            limit = now
                            continue
                        elif op == ops.WFI:
                            if not events.interrupt_pending(eu, c):
                                events.sleep(core, chip, c, L.WAIT_INTERRUPT, 0, next_pc)
                                now = np.int64(L.NEVER)
                        elif op != ops.FENCE:
                            reason = L.F_ILLEGAL
                            if op == ops.ECALL:
                                reason = L.F_ECALL
                            elif op == ops.EBREAK:
                                reason = L.F_EBREAK
                            access.fault(core, chip, c, reason, pc)
                            return np.int64(L.RUN_FAULT)

                    # hardware loops; loop 0 is the inner one
                    again = False
                    if pc == core[base + L.LOOP_END] and core[base + L.LOOP_COUNT] > 0:
                        core[base + L.LOOP_COUNT] -= 1
                        if core[base + L.LOOP_COUNT] > 0:
                            next_pc = core[base + L.LOOP_START]
                            again = True
                    outer = pc == core[base + L.LOOP_END + 3] and not again
                    if outer and core[base + L.LOOP_COUNT + 3] > 0:
                        core[base + L.LOOP_COUNT + 3] -= 1
                        if core[base + L.LOOP_COUNT + 3] > 0:
                            next_pc = core[base + L.LOOP_START + 3]
                    pc = next_pc
                    executed += 1

                core[base + L.PC] = pc
                core[base + L.HAZARD] = hazard
                core[base + L.N_INSTRUCTIONS] += executed
                core[base + L.READY] = now
                if profile is not None and now == L.NEVER:
                    core[base + L.PROFILE_PAUSE] = profiling.PAUSE_ASLEEP
                soonest = min(soonest, now)

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
    def run(mem, code, regs, core, eu, dma, chip, cache, banks, energy, profile):
        """Advances the chip to chip[LIMIT_FS] and says why it came back earlier (RUN_*).

        RUN_STALLED: no core can ever go on by itself and no event is due. ``profile``: None or
        profiling.new_profile(); each is compiled at its first use.
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
                if idle and chip[L.DEVICE_DUE_FS] == L.NEVER and chip[L.DMA_DUE_CYCLE] == L.NEVER:
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
                mem, code, regs, core, eu, dma, chip, cache, banks, domain, until, profile
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
