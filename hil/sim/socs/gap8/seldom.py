"""What the inner loop of the GAP8's engine leaves to others: one instruction or cache line a call.

Accesses that are not plain L1 or L2 words, control registers, sleep, hardware loop setup, faults;
and the instruction caches. Functions return GO_ON (the core issues next at its READY), WAIT (it
tries again at its READY) or what the engine's ``run`` has to return (RUN_*).
"""

from __future__ import annotations

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inner
from hil.sim.cores.xpulp.scalar import sx
from hil.sim.socs.gap8 import access, events, loops, profiling, system, timing, tracing
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.burst import WORD, access_address, access_bytes, sized
from hil.sim.socs.gap8.loops import after

GO_ON, WAIT = -1, -2


@inner
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


@inner
def fetch_line(core, chip, cache, c, domain, cycle, profile):
    """Core ``c`` needs another line of code at its READY: one that is absent or still to come."""
    base = c * L.CORE_SPAN
    pc, now = core[base + L.PC], core[L.READY + c]
    half = (pc - L.L2_BASE) >> 1
    if half < 0 or half >= L.L2_BYTES // 2:
        if pc >= loops.UNCHECKED:
            return _ask_loop(core, chip, c, 0 if pc == core[base + L.LOOP_START] else 1)
        access.fault(core, chip, c, L.F_FETCH, pc)
        return L.RUN_FAULT
    if profile is not None:
        profiling.enter(profile, core, base, domain, half, now)
    line = half >> (L.LINE_SHIFT - 1)
    present = cache[domain * L.L2_LINES + line]
    if present == L.NEVER:
        if now != cycle:
            return WAIT  # a miss changes the cache all cores share
        present = _refill(cache, chip, domain, line, now)
        core[base + L.N_IMISS] += 1
    if profile is not None:
        profiling.count(profile, core, base, profiling.FETCH, present - now)
    core[base + L.LINE] = line
    core[L.READY + c] = present
    return GO_ON


@inner
def _ask_loop(core, chip, c, number):
    """Has Python check a hardware loop of core ``c``; the core then goes on where it is."""
    chip[L.LOOP_CORE], chip[L.LOOP_NUMBER] = c, number
    return L.RUN_LOOP


@inner
def _begins_again(profile, core, base, c):
    """The instruction that core ``c`` has begun will begin once more."""
    profiling.count(profile, core, base, profiling.INSTRUCTIONS, -1)
    tracing.undo(profile, core, c)


@inner
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


@inner
def _access(mem, code, regs, core, eu, dma, chip, c, cycle, record, profile):
    """A load, store or p.elw that is no plain L1 or L2 word."""
    base, file = c * L.CORE_SPAN, c * 32
    op, rd = record & 511, (record >> 9) & 31
    rs1, mode, imm = (record >> 14) & 31, (record >> 30) & 3, record >> 32
    a, b, d = (
        regs[file + rs1],
        regs[file + ((record >> 19) & 31)],
        regs[file + ((record >> 24) & 31)],
    )
    address, size = access_address(a, d, imm, mode), access_bytes(op)
    pc = core[base + L.PC]
    next_pc = pc + 2 + ((record >> 28) & 2)
    is_store = op >= ops.SB
    chip[L.NOW_FS] = events.cycle_time(chip, chip[L.NOW_DOMAIN], cycle)
    if is_store:
        status = access.store(mem, code, regs, core, eu, dma, chip, c, address, size, b)
    else:
        status = access.load(
            mem, regs, core, eu, dma, chip, c, address, size, rd, op == ops.ELW
        )  # fmt: skip
    if status == access.FAULT:
        chip[L.FAULT_ADDRESS] = address
        return L.RUN_FAULT
    core[base + L.HAZARD] = L.NO_HAZARD
    if status == access.RETRY:
        if profile is not None:
            _begins_again(profile, core, base, c)
        core[L.READY + c] = cycle + 1
        return WAIT
    if profile is not None:
        core[base + L.PROFILE_PAUSE] = profiling.PAUSE_WAIT
    core[base + L.N_LOAD + is_store] += 1
    core[base + L.N_INSTRUCTIONS] += 1
    core[base + L.N_COMPRESSED] += (pc + 4 - next_pc) >> 1
    core[L.READY + c] = cycle + chip[L.LATENCY]
    if status == access.ASLEEP:
        # it ends when the core wakes (events.refresh)
        core[L.READY + c] = L.NEVER
        if profile is not None:
            core[base + L.PROFILE_PAUSE] = profiling.PAUSE_ASLEEP
        return GO_ON
    if not is_store:
        core[base + L.HAZARD] = rd
        if status == access.DONE:  # else Python supplies the value
            regs[file + rd] = sized(op, chip[L.VALUE])
    if mode >= 2:
        regs[file + rs1] = (a + d + imm) & WORD
    regs[file] = 0
    core[base + L.PC] = after(core, base, pc, next_pc)
    return L.RUN_ACCESS if status == access.DEVICE else GO_ON


@inner
def _csr(regs, core, eu, chip, c, record):
    """csrrw, csrrs, csrrc and their immediate forms; returns a status of ``system``."""
    op, rd, rs1 = record & 511, (record >> 9) & 31, (record >> 14) & 31
    imm = record >> 32
    operand, writes = regs[c * 32 + rs1], op == ops.CSRRW or rs1 != 0
    if (record >> 30) & 3 == 1:
        operand = imm >> 12
        writes = op == ops.CSRRW or operand != 0
    return system.csr(regs, core, eu, chip, c, op, rd, imm & 0xFFF, operand, writes)


@inner
def _must_be_checked(core, base, op, number, value, imm):
    """Whether an lp.* instruction would arm a loop that Python has not looked at."""
    if op == ops.LP_SETUP or op == ops.LP_SETUPI:
        return imm & loops.CHECKED_SETUP == 0
    if op == ops.LP_COUNT or op == ops.LP_COUNTI:
        count = value if op == ops.LP_COUNT else imm
        return loops.arms_unchecked(core, base, number, count)
    return False


@inner
def _fault_reason(op):
    if op == ops.ECALL:
        return L.F_ECALL
    return L.F_EBREAK if op == ops.EBREAK else L.F_ILLEGAL


@inner
def execute(mem, code, regs, core, eu, dma, chip, c, domain, cycle, profile):
    """The instruction at core ``c``'s PC, one that ``run_ahead`` does not execute."""
    base, file = c * L.CORE_SPAN, c * 32
    pc = core[base + L.PC]
    record = code[(pc - L.L2_BASE) >> 1]
    if record == 0:
        chip[L.DECODE_HALF] = (pc - L.L2_BASE) >> 1
        return L.RUN_DECODE
    op, rd, imm = record & 511, (record >> 9) & 31, record >> 32
    a = regs[file + ((record >> 14) & 31)]
    next_pc = pc + 2 + ((record >> 28) & 2)
    if op <= ops.LAST_SHARED:
        chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
    if op >= ops.ELW and op <= ops.SW:
        return _access(mem, code, regs, core, eu, dma, chip, c, cycle, record, profile)

    now = core[L.READY + c] + 1
    written = 0  # the register that is written at once
    if op >= ops.LP_START and op <= ops.LP_SETUPI:
        if _must_be_checked(core, base, op, rd, a, imm):
            if profile is not None:
                _begins_again(profile, core, base, c)
            return _ask_loop(core, chip, c, rd)
        loops.set_loop(core, base, op, rd, pc, a, imm)
        if loops.tangled(core, chip, base):
            access.fault(core, chip, c, L.F_LOOPS, pc)
            return L.RUN_FAULT
    elif op >= ops.CSRRW and op <= ops.CSRRC:
        status = _csr(regs, core, eu, chip, c, record)
        if status == system.UNCHECKED_LOOP:
            if profile is not None:
                _begins_again(profile, core, base, c)
            return _ask_loop(core, chip, c, system.loop_number(imm & 0xFFF))
        if status != system.DONE:
            access.fault(core, chip, c, L.F_CSR, imm & 0xFFF)
            return L.RUN_FAULT
        if system.is_loop_register(imm & 0xFFF) and loops.tangled(core, chip, base):
            access.fault(core, chip, c, L.F_LOOPS, pc)
            return L.RUN_FAULT
        now = cycle + timing.CSR
        written = rd
    elif op == ops.VITOP_MAX or op == ops.VITOP_SEL:
        regs[file + rd] = _viterbi(core, base, op, a, regs[file + ((record >> 19) & 31)])
        regs[file] = 0
        written = rd
    elif op == ops.MRET:
        system.return_from_interrupt(regs, core, eu, chip, c)
        core[base + L.HAZARD] = L.NO_HAZARD
        core[L.READY + c] = cycle + timing.JUMP
        core[base + L.N_INSTRUCTIONS] += 1
        return GO_ON
    elif op == ops.WFI:
        if not events.interrupt_pending(eu, c):
            events.sleep(core, chip, c, L.WAIT_INTERRUPT, 0)
            now = L.NEVER
            if profile is not None:
                core[base + L.PROFILE_PAUSE] = profiling.PAUSE_ASLEEP
    elif op != ops.FENCE:
        access.fault(core, chip, c, _fault_reason(op), pc)
        return L.RUN_FAULT
    core[base + L.PC] = after(core, base, pc, next_pc)
    core[base + L.HAZARD] = -written
    core[L.READY + c] = now
    core[base + L.N_INSTRUCTIONS] += 1
    return GO_ON
