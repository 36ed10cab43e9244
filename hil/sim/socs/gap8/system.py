"""Control registers (RISC-V privileged 1.9 as RI5CY has it), performance counters, interrupts."""

from __future__ import annotations

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inner
from hil.sim.cores.xpulp.scalar import highest_set
from hil.sim.socs.gap8 import events, loops
from hil.sim.socs.gap8 import layout as L

CSR_MSTATUS, CSR_MTVEC, CSR_MSCRATCH, CSR_MEPC, CSR_MCAUSE = 0x300, 0x305, 0x340, 0x341, 0x342
CSR_MHARTID = 0xF14
CSR_PCCR, CSR_PCER, CSR_PCMR, CSR_LOOP = 0x780, 0x7A0, 0x7A1, 0x7B0
CSR_UHARTID, CSR_PRIVILEGE = 0x014, 0xC10  # RI5CY's own
EVENTS = 16
PCMR_ACTIVE, PCMR_SATURATE = 1, 2
MIE, MPIE = 1 << 3, 1 << 7
MOST = 0xFFFFFFFF

# Of csr(): done, no such register or read-only, a hardware loop has to be checked first
DONE, REFUSED, UNCHECKED_LOOP = range(3)


@inner
def is_loop_register(number):
    """Whether a control register is start, end or count of a hardware loop."""
    return number >= CSR_LOOP and number < CSR_LOOP + 7 and number != CSR_LOOP + 3


@inner
def loop_number(number):
    """Whose register it is."""
    return (number - CSR_LOOP) >> 2


@inner
def raw_count(core, chip, c, event):
    """An event counter of a core since reset."""
    base = c * L.CORE_SPAN
    value = core[base + L.COUNT + event]
    if event == 0 and core[base + L.MODE] == L.RUNNING:
        value += chip[L.NOW_CYCLE] - core[base + L.AWAKE_SINCE]
    return value


@inner
def _counting(core, c, event):
    base = c * L.CORE_SPAN
    return core[base + L.PCMR] & PCMR_ACTIVE != 0 and (core[base + L.PCER] >> event) & 1 != 0


@inner
def _count(core, chip, c, event):
    count = core[c * L.CORE_SPAN + L.PCCR + event]
    if _counting(core, c, event):
        count = raw_count(core, chip, c, event) - count
    if core[c * L.CORE_SPAN + L.PCMR] & PCMR_SATURATE:
        return min(count, MOST)
    return count & MOST


@inner
def _set_count(core, chip, c, event, value):
    if _counting(core, c, event):
        value = raw_count(core, chip, c, event) - value
    core[c * L.CORE_SPAN + L.PCCR + event] = value


@inner
def _select(core, chip, c, register, value):
    """Writes PCER or PCMR; running counts keep their value."""
    for event in range(EVENTS):
        count = _count(core, chip, c, event)
        old = core[c * L.CORE_SPAN + register]
        core[c * L.CORE_SPAN + register] = value
        _set_count(core, chip, c, event, count)
        core[c * L.CORE_SPAN + register] = old
    core[c * L.CORE_SPAN + register] = value


@inner
def read_csr(core, chip, c, number):
    """The value of a control register, -1 when the core does not have it."""
    base = c * L.CORE_SPAN
    if number in (CSR_MHARTID, CSR_UHARTID):
        return (32 << 5) if c == L.FC else c
    if number == CSR_MSTATUS:
        return core[base + L.MSTATUS]
    if number == CSR_MTVEC:
        return core[base + L.MTVEC]
    if number == CSR_MSCRATCH:
        return core[base + L.MSCRATCH]
    if number == CSR_MEPC:
        return core[base + L.MEPC] & MOST
    if number == CSR_MCAUSE:
        return core[base + L.MCAUSE]
    if number == CSR_PRIVILEGE:
        return 3
    if number >= CSR_PCCR and number < CSR_PCCR + EVENTS:
        return _count(core, chip, c, number - CSR_PCCR)
    if number == CSR_PCER:
        return core[base + L.PCER]
    if number == CSR_PCMR:
        return core[base + L.PCMR]
    if is_loop_register(number):
        field = (number - CSR_LOOP) & 3
        return core[base + L.LOOP_START + 3 * loop_number(number) + field] & MOST
    return -1


@inner
def write_csr(regs, core, eu, chip, c, number, value):
    """Writes a control register. Returns False when it does not exist or is read-only."""
    base = c * L.CORE_SPAN
    if number == CSR_MSTATUS:
        core[base + L.MSTATUS] = value & (MIE | MPIE) | 0x1800
        events.refresh(regs, core, eu, chip, c)
    elif number == CSR_MTVEC:
        core[base + L.MTVEC] = value & 0xFFFFFF00
    elif number == CSR_MSCRATCH:
        core[base + L.MSCRATCH] = value
    elif number == CSR_MEPC:
        core[base + L.MEPC] = value & 0xFFFFFFFE
    elif number == CSR_MCAUSE:
        core[base + L.MCAUSE] = value
    elif number >= CSR_PCCR and number < CSR_PCCR + EVENTS:
        _set_count(core, chip, c, number - CSR_PCCR, value)
    elif number == CSR_PCCR + 31:  # PCCR31: writes all counters at once
        for event in range(EVENTS):
            _set_count(core, chip, c, event, value)
    elif number == CSR_PCER:
        _select(core, chip, c, L.PCER, value)
    elif number == CSR_PCMR:
        _select(core, chip, c, L.PCMR, value & 3)
    elif is_loop_register(number):
        loops.write(core, base, loop_number(number), (number - CSR_LOOP) & 3, value)
    else:
        return False
    return True


@inner
def csr(regs, core, eu, chip, c, op, rd, number, operand, writes):
    """csrrw, csrrs, csrrc. Returns DONE, REFUSED or UNCHECKED_LOOP; only DONE has effects."""
    old = read_csr(core, chip, c, number)
    if old < 0 and number == CSR_PCCR + 31:
        old = 0  # write-only
    if old < 0:
        return REFUSED
    if writes:
        new = operand
        if op == ops.CSRRS:
            new = old | operand
        elif op == ops.CSRRC:
            new = old & ~operand
        is_count = is_loop_register(number) and (number - CSR_LOOP) & 3 == 2
        if is_count and loops.arms_unchecked(core, c * L.CORE_SPAN, loop_number(number), new):
            return UNCHECKED_LOOP
        if not write_csr(regs, core, eu, chip, c, number, new):
            return REFUSED
    regs[c * 32 + rd] = old
    regs[c * 32] = 0
    return DONE


@inner
def enter_interrupt(regs, core, eu, chip, c):
    """Takes the highest-numbered pending interrupt, at no cost: both as the vendor's simulator.

    Returns False without a vector table.
    """
    base = c * L.CORE_SPAN
    asked = eu[c * L.EU_SPAN + L.EU_BUFFER] & eu[c * L.EU_SPAN + L.EU_IRQ_MASK]
    number = highest_set(asked)
    if core[base + L.MTVEC] == 0:
        return False
    # the event unit clears the buffered event when the core acknowledges it
    eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~(1 << number)
    core[base + L.MEPC] = core[base + L.PC]
    core[base + L.MCAUSE] = 0x80000000 | number
    core[base + L.MSTATUS] = (core[base + L.MSTATUS] & ~(MIE | MPIE)) | MPIE
    core[base + L.PC] = core[base + L.MTVEC] + 4 * number
    core[base + L.LINE] = -1
    core[base + L.HAZARD] = L.NO_HAZARD
    events.refresh(regs, core, eu, chip, c)
    return True


@inner
def return_from_interrupt(regs, core, eu, chip, c):
    """mret: back to mepc with the interrupt enable of before."""
    base = c * L.CORE_SPAN
    status = core[base + L.MSTATUS]
    enabled = MIE if status & MPIE else 0
    core[base + L.MSTATUS] = (status & ~MIE) | enabled | MPIE
    core[base + L.PC] = core[base + L.MEPC]
    core[base + L.LINE] = -1
    events.refresh(regs, core, eu, chip, c)
