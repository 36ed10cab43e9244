"""Event unit: event buffers, barriers, dispatch, mutex, software events, and sleeping in p.elw.

Register names follow the GAP SDK's archi/eu/eu_v3.h. Cores sleep in ``p.elw`` until an event of
their mask is buffered; dispatch and mutex also need their own event bit in the mask, as the chip.
"""

from __future__ import annotations

from hil.sim.cores.xpulp.compiled import inner
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8 import timing
from hil.sim.socs.gap8.loops import after

MASK32 = 0xFFFFFFFF


@inner
def domain_of(c):
    return L.DOMAIN_FC if c == L.FC else L.DOMAIN_CLUSTER


@inner
def cycle_time(chip, domain, cycle):
    """Time in fs of a clock edge."""
    elapsed = cycle - chip[L.ORIGIN_CYCLE + domain]
    return chip[L.ORIGIN_FS + domain] + elapsed * chip[L.PERIOD_FS + domain]


@inner
def cycle_at(chip, domain, time_fs):
    """The first clock edge at or after a time."""
    period = chip[L.PERIOD_FS + domain]
    elapsed = max(time_fs - chip[L.ORIGIN_FS + domain], 0)
    return chip[L.ORIGIN_CYCLE + domain] + (elapsed + period - 1) // period


@inner
def _finish_wait(regs, core, eu, c):
    """What the p.elw of a woken core returns and clears."""
    base = c * L.CORE_SPAN
    kind = core[base + L.WAIT_KIND]
    value = 0
    eu[c * L.EU_SPAN + L.EU_JOINED] = 0
    if kind == L.WAIT_EVENT_CLEAR:
        eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~eu[c * L.EU_SPAN + L.EU_MASK]
    elif kind == L.WAIT_BARRIER:
        eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~(1 << L.EVENT_BARRIER)
    elif kind == L.WAIT_MUTEX:
        eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~(1 << L.EVENT_MUTEX)
        value = eu[L.MUTEX_VALUE]
    elif kind == L.WAIT_DISPATCH:
        value = take_dispatch(eu, c)
    # After a real sleep WAIT and WAIT_CLEAR return 0 on the vendor simulator: firmware must look
    # at BUFFER. The same here, so that wrong firmware shows.
    rd = core[base + L.WAIT_RD]
    regs[c * 32 + rd] = value
    regs[c * 32] = 0
    pc = core[base + L.PC]
    core[base + L.PC] = after(core, base, pc, pc + 4)


@inner
def _may_wake(core, eu, c):
    """Whether the wait of a sleeping core is over."""
    kind = core[c * L.CORE_SPAN + L.WAIT_KIND]
    mask = eu[c * L.EU_SPAN + L.EU_MASK]
    pending = eu[c * L.EU_SPAN + L.EU_BUFFER] & mask
    if kind == L.WAIT_DISPATCH:
        return (mask >> L.EVENT_DISPATCH) & 1 != 0 and next_dispatch(eu, c) >= 0
    if kind == L.WAIT_MUTEX:
        return eu[L.MUTEX_OWNER] == c and (mask >> L.EVENT_MUTEX) & 1 != 0
    if kind == L.WAIT_INTERRUPT:
        irq_mask = eu[c * L.EU_SPAN + L.EU_IRQ_MASK]
        return eu[c * L.EU_SPAN + L.EU_BUFFER] & irq_mask != 0 or pending != 0
    return pending != 0


@inner
def _resume(core, chip, c, delay):
    base = c * L.CORE_SPAN
    domain = domain_of(c)
    if domain == chip[L.NOW_DOMAIN]:
        cycle = chip[L.NOW_CYCLE]
    else:
        cycle = cycle_at(chip, domain, chip[L.NOW_FS])
    core[base + L.MODE] = L.RUNNING
    core[L.READY + c] = cycle + delay
    core[base + L.AWAKE_SINCE] = max(cycle, core[base + L.ASLEEP_FROM])
    chip[L.DIRTY] = 1


@inner
def refresh(regs, core, eu, chip, c):
    """Wakes core ``c`` and raises its interrupt line as its buffer and masks now stand."""
    base = c * L.CORE_SPAN
    asked = eu[c * L.EU_SPAN + L.EU_BUFFER] & eu[c * L.EU_SPAN + L.EU_IRQ_MASK]
    enabled = (core[base + L.MSTATUS] >> 3) & 1
    core[base + L.IRQ_READY] = 1 if asked != 0 and enabled != 0 else 0
    if core[base + L.MODE] != L.SLEEPING:
        return
    if _may_wake(core, eu, c):
        if core[base + L.WAIT_KIND] != L.WAIT_INTERRUPT:
            _finish_wait(regs, core, eu, c)
        _resume(core, chip, c, timing.WAKE)
    elif core[base + L.IRQ_READY] != 0:
        # the interrupt is served first, then the p.elw, where the pc still is, runs again
        _resume(core, chip, c, timing.WAKE)


@inner
def raise_events(regs, core, eu, chip, c, bits):
    """Buffers events for core ``c``."""
    eu[c * L.EU_SPAN + L.EU_BUFFER] |= bits
    refresh(regs, core, eu, chip, c)


@inner
def sleep(core, chip, c, kind, rd):
    """Puts core ``c`` to sleep at the current cycle."""
    base = c * L.CORE_SPAN
    core[base + L.MODE] = L.SLEEPING
    core[base + L.WAIT_KIND] = kind
    core[base + L.WAIT_RD] = rd
    core[L.READY + c] = L.NEVER
    awake = 1 if kind == L.WAIT_INTERRUPT else timing.ELW_AWAKE
    core[base + L.ASLEEP_FROM] = chip[L.NOW_CYCLE] + awake
    core[base + L.N_CYCLES] += core[base + L.ASLEEP_FROM] - core[base + L.AWAKE_SINCE]


@inner
def interrupt_pending(eu, c):
    """Whether an event of core ``c``'s event or interrupt mask is buffered (wfi goes on)."""
    at = c * L.EU_SPAN
    return eu[at + L.EU_BUFFER] & (eu[at + L.EU_MASK] | eu[at + L.EU_IRQ_MASK]) != 0


@inner
def next_dispatch(eu, c):
    """Number of the oldest dispatch entry core ``c`` has not taken, -1 when there is none."""
    entry = eu[L.DISPATCH_TAKEN + c]
    while entry < eu[L.DISPATCH_PUSHED]:
        if (eu[L.DISPATCH_MASK + (entry & 7)] >> c) & 1:
            return entry
        entry += 1
    return -1


@inner
def take_dispatch(eu, c):
    """Pops the next dispatch entry of core ``c``."""
    entry = next_dispatch(eu, c)
    eu[L.DISPATCH_TAKEN + c] = entry + 1
    if next_dispatch(eu, c) < 0:
        eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~(1 << L.EVENT_DISPATCH)
    return eu[L.DISPATCH_VALUE + (entry & 7)]


@inner
def push_dispatch(regs, core, eu, chip, c, value):
    """The master writes one word for its team. Returns False on an overrun."""
    pushed = eu[L.DISPATCH_PUSHED]
    for i in range(L.PE_COUNT):
        entry = next_dispatch(eu, i)
        if entry < 0:
            entry = pushed
        elif pushed - entry >= 8:
            # A master inside its own team mask need not take its entries (as on the chip).
            if i != c:
                return False
            entry += 1
        eu[L.DISPATCH_TAKEN + i] = entry  # the places of the entries before are used again
    eu[L.DISPATCH_VALUE + (pushed & 7)] = value
    eu[L.DISPATCH_MASK + (pushed & 7)] = eu[L.DISPATCH_TEAM]
    eu[L.DISPATCH_PUSHED] = pushed + 1
    for i in range(L.PE_COUNT):
        if (eu[L.DISPATCH_TEAM] >> i) & 1:
            raise_events(regs, core, eu, chip, i, 1 << L.EVENT_DISPATCH)
    return True


@inner
def arrive(regs, core, eu, chip, barrier, c):
    """Core ``c`` reaches a barrier. Returns True when it was the last one."""
    at = L.BARRIER + barrier * L.BARRIER_SPAN
    eu[at + L.BARRIER_ARRIVED] |= 1 << c
    wanted = eu[at + L.BARRIER_TRIGGER]
    if wanted == 0 or eu[at + L.BARRIER_ARRIVED] & wanted != wanted:
        return False
    eu[at + L.BARRIER_ARRIVED] = 0
    for i in range(L.PE_COUNT):
        if (eu[at + L.BARRIER_TARGET] >> i) & 1:
            raise_events(regs, core, eu, chip, i, 1 << L.EVENT_BARRIER)
    return True


@inner
def _elw_mutex(core, eu, chip, c, rd):
    if eu[L.MUTEX_OWNER] < 0:
        eu[L.MUTEX_OWNER] = c
        return True
    sleep(core, chip, c, L.WAIT_MUTEX, rd)
    return False


@inner
def unlock(regs, core, eu, chip, value):
    """Frees the mutex and gives it to the lowest-numbered waiting core."""
    eu[L.MUTEX_OWNER] = -1
    eu[L.MUTEX_VALUE] = value
    for i in range(L.PE_COUNT):
        base = i * L.CORE_SPAN
        if core[base + L.MODE] == L.SLEEPING and core[base + L.WAIT_KIND] == L.WAIT_MUTEX:
            eu[L.MUTEX_OWNER] = i
            raise_events(regs, core, eu, chip, i, 1 << L.EVENT_MUTEX)
            return


@inner
def _elw_barrier(regs, core, eu, chip, c, offset, rd):
    """Reaches a barrier and waits.

    After an interrupt in the wait the p.elw runs again: the core has reached the barrier already,
    and what ended the wait meanwhile is still in its buffer.
    """
    at, barrier = c * L.EU_SPAN, (offset - 0x200) >> 5
    last = False
    if eu[at + L.EU_JOINED] != barrier + 1:
        eu[at + L.EU_JOINED] = barrier + 1
        last = arrive(regs, core, eu, chip, barrier, c)
    clears = offset & 0x1F == 0x1C
    if eu[at + L.EU_BUFFER] & eu[at + L.EU_MASK] == 0:
        sleep(core, chip, c, L.WAIT_BARRIER if clears else L.WAIT_EVENT, rd)
        return ASLEEP
    eu[at + L.EU_JOINED] = 0
    if last:
        chip[L.LATENCY] = timing.BARRIER_LAST
    if clears:
        eu[at + L.EU_BUFFER] &= ~(1 << L.EVENT_BARRIER)
    return DONE


# Results of elw(): done with chip[VALUE] and chip[LATENCY], asleep, or not a waiting register.
DONE, ASLEEP, REFUSED = 0, 1, 2


@inner
def elw(regs, core, eu, chip, c, offset, rd):
    """p.elw from demultiplexed offset ``offset`` of core ``c``'s event unit."""
    chip[L.LATENCY] = timing.ELW
    mask = eu[c * L.EU_SPAN + L.EU_MASK]
    pending = eu[c * L.EU_SPAN + L.EU_BUFFER] & mask
    chip[L.VALUE] = pending
    if offset == 0x38 or offset == 0x3C:
        if pending == 0:
            kind = L.WAIT_EVENT if offset == 0x38 else L.WAIT_EVENT_CLEAR
            sleep(core, chip, c, kind, rd)
            return ASLEEP
        if offset == 0x3C:
            eu[c * L.EU_SPAN + L.EU_BUFFER] &= ~mask
        return DONE
    if c == L.FC:
        return REFUSED
    if offset == 0x80:
        if next_dispatch(eu, c) >= 0:
            chip[L.VALUE] = take_dispatch(eu, c)
            return DONE
        sleep(core, chip, c, L.WAIT_DISPATCH, rd)
        return ASLEEP
    if offset == 0xC0:
        chip[L.VALUE] = eu[L.MUTEX_VALUE]
        return DONE if _elw_mutex(core, eu, chip, c, rd) else ASLEEP
    if offset >= 0x200 and offset < 0x300 and offset & 0x1F >= 0x18:
        return _elw_barrier(regs, core, eu, chip, c, offset, rd)
    return REFUSED


@inner
def read_core_register(eu, c, offset):
    """MASK, IRQ_MASK and BUFFER registers; -1 for one that is not modelled."""
    mask = eu[c * L.EU_SPAN + L.EU_MASK]
    irq_mask = eu[c * L.EU_SPAN + L.EU_IRQ_MASK]
    pending = eu[c * L.EU_SPAN + L.EU_BUFFER]
    if offset == 0x00:
        return mask
    if offset == 0x0C:
        return irq_mask
    if offset == 0x1C:
        return pending
    if offset == 0x20:
        return pending & mask
    if offset == 0x24:
        return pending & irq_mask
    return -1


@inner
def write_core_register(regs, core, eu, chip, c, offset, value):
    """Event masks and BUFFER_CLEAR. Returns False for a register that is not modelled."""
    at = c * L.EU_SPAN
    if offset == 0x00:
        eu[at + L.EU_MASK] = value
    elif offset == 0x04:
        eu[at + L.EU_MASK] &= ~value & MASK32
    elif offset == 0x08:
        eu[at + L.EU_MASK] |= value
    elif offset == 0x0C:
        eu[at + L.EU_IRQ_MASK] = value
    elif offset == 0x10:
        eu[at + L.EU_IRQ_MASK] &= ~value & MASK32
    elif offset == 0x14:
        eu[at + L.EU_IRQ_MASK] |= value
    elif offset == 0x28:
        eu[at + L.EU_BUFFER] &= ~value & MASK32
    else:
        return False
    refresh(regs, core, eu, chip, c)
    return True


@inner
def software_event(regs, core, eu, chip, event, value, from_fc_unit):
    """Raises software event 0-7 on the cores of a mask (0: all, as the SDK uses it)."""
    if from_fc_unit:
        raise_events(regs, core, eu, chip, L.FC, 1 << event)
        return
    targets = value if value != 0 else (1 << L.PE_COUNT) - 1
    for i in range(L.PE_COUNT):
        if (targets >> i) & 1:
            raise_events(regs, core, eu, chip, i, 1 << event)


@inner
def read_private(eu, c, offset):
    """A plain load from the demultiplexed event unit; -1 when not modelled."""
    if offset < 0x40:
        return read_core_register(eu, c, offset)
    if offset == 0x84:
        return eu[L.DISPATCH_TEAM]
    if offset >= 0x200 and offset < 0x300:
        at = L.BARRIER + ((offset - 0x200) >> 5) * L.BARRIER_SPAN
        register = offset & 0x1F
        if register == 0x00:
            return eu[at + L.BARRIER_TRIGGER]
        if register == 0x04:
            return eu[at + L.BARRIER_ARRIVED]
        if register == 0x0C:
            return eu[at + L.BARRIER_TARGET]
    return -1


@inner
def write_private(regs, core, eu, chip, c, offset, value):
    """A store to the demultiplexed event unit. 0 done, else a fault reason."""
    if offset < 0x40:
        done = write_core_register(regs, core, eu, chip, c, offset, value)
        return 0 if done else L.F_EVENT_UNIT
    if offset >= 0x100 and offset < 0x120:
        software_event(regs, core, eu, chip, (offset - 0x100) >> 2, value, c == L.FC)
        return 0
    if c == L.FC:
        return L.F_EVENT_UNIT
    if offset == 0x80:
        return 0 if push_dispatch(regs, core, eu, chip, c, value) else L.F_DISPATCH
    if offset == 0x84:
        eu[L.DISPATCH_TEAM] = value & 0xFF
        return 0
    if offset == 0xC0:
        unlock(regs, core, eu, chip, value)
        return 0
    if offset >= 0x200 and offset < 0x300:
        return _write_barrier(regs, core, eu, chip, c, (offset - 0x200) >> 5, offset & 0x1F, value)
    return L.F_EVENT_UNIT


@inner
def _write_barrier(regs, core, eu, chip, c, barrier, register, value):
    at = L.BARRIER + barrier * L.BARRIER_SPAN
    if register == 0x00:
        eu[at + L.BARRIER_TRIGGER] = value & 0xFF
    elif register == 0x0C:
        eu[at + L.BARRIER_TARGET] = value & 0xFF
    elif register == 0x10:
        for i in range(L.PE_COUNT):
            if (value >> i) & 1:
                arrive(regs, core, eu, chip, barrier, i)
    elif register == 0x14:
        arrive(regs, core, eu, chip, barrier, c)
    else:
        return L.F_EVENT_UNIT
    return 0
