"""The timer pairs of the FC (0x1B200400) and the cluster (0x10200400), archi/timer/timer_v2.h.

Two 32-bit counters, LO and HI, each on its domain's clock or on the 32768 Hz reference; with
CFG_LO bit 31 they form one 64-bit counter. A compare match raises event 10 (LO) or 11 (HI).
"""

from __future__ import annotations

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.devices.clocks import REFERENCE_FS
from hil.sim.socs.gap8.machine import BusFault, Machine

CFG, CNT, CMP, START, RESET = 0x00, 0x08, 0x10, 0x18, 0x20  # LO; HI at +4
ENABLE, CLEAR, EVENT, INPUT_EVENT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
CLEAR_ON_MATCH, ONE_SHOT = 1 << 4, 1 << 5
PRESCALER, REFERENCE, CASCADE = 1 << 6, 1 << 7, 1 << 31


class _Counter:
    """One counter: a value at a moment, and ticks since."""

    def __init__(self, machine: Machine, domain: int, event: int, cores: range) -> None:
        self._machine = machine
        self._domain = domain
        self._event = event
        self._cores = cores
        self.bits = 32
        self._plan = 0
        self.reset()

    def reset(self) -> None:
        """Stopped at 0."""
        self.cfg = 0
        self.compare = 0
        self._value = 0
        self._since = 0
        self._plan += 1  # what was planned is off
        self._match_tick: int | None = None

    def _ticks(self) -> int:
        """Input clock edges since reset of the chip."""
        if self.cfg & REFERENCE:
            return self._machine.now_fs // REFERENCE_FS
        return self._machine.cycle(self._domain)

    def _divider(self) -> int:
        return ((self.cfg >> 8) & 0xFF) + 1 if self.cfg & PRESCALER else 1

    @property
    def value(self) -> int:
        """The count now."""
        value = self._value
        if self.cfg & ENABLE:
            value += (self._ticks() - self._since) // self._divider()
        return value & ((1 << self.bits) - 1)

    def set_value(self, value: int) -> None:
        """Writes the count."""
        self._value = value & ((1 << self.bits) - 1)
        self._since = self._ticks()
        self._schedule()

    def configure(self, cfg: int) -> None:
        """Writes CFG; the count goes on from where it is."""
        value = 0 if cfg & CLEAR else self.value
        self.cfg = cfg & ~CLEAR
        self.set_value(value)

    def set_compare(self, value: int) -> None:
        """Writes CMP."""
        self.compare = value
        self._schedule()

    def _schedule(self) -> None:
        """Plans the next compare match."""
        self._plan += 1
        self._match_tick = None
        if not self.cfg & ENABLE or not self.cfg & (EVENT | CLEAR_ON_MATCH | ONE_SHOT):
            return
        ahead = (self.compare - self.value) % (1 << self.bits) or 1 << self.bits
        divider = self._divider()
        counted = (self._ticks() - self._since) // divider
        self._match_tick = self._since + (counted + ahead) * divider
        self.time_match()

    def time_match(self) -> None:
        """Sets the time of the planned match, again after a change of the clock."""
        if self._match_tick is None:
            return
        self._plan += 1
        if self.cfg & REFERENCE:
            due = self._match_tick * REFERENCE_FS
        else:
            due = self._machine.time_fs(self._domain, self._match_tick)
        if due >= L.NEVER:
            return  # far behind the end of the model's time
        plan = self._plan
        self._machine.at(due, lambda: self._match(plan))

    def _match(self, plan: int) -> None:
        if plan != self._plan:
            return  # reprogrammed meanwhile
        if self.cfg & ONE_SHOT:
            self._value = self.value
            self.cfg &= ~ENABLE
        elif self.cfg & CLEAR_ON_MATCH:
            self._value, self._since = 0, self._ticks()
        if self.cfg & EVENT:
            for core in self._cores:
                self._machine.raise_core_event(core, self._event)
        self._schedule()


class TimerPair:
    """Registers of one timer block."""

    def __init__(self, machine: Machine, domain: int) -> None:
        cores = range(L.FC, L.CORES) if domain == L.DOMAIN_FC else range(L.PE_COUNT)
        self._low = _Counter(machine, domain, L.EVENT_TIMER_LO, cores)
        self._high = _Counter(machine, domain, L.EVENT_TIMER_HI, cores)
        machine.on_clock_change(domain, self._low.time_match)
        machine.on_clock_change(domain, self._high.time_match)

    def reset(self) -> None:
        """Both counters stopped at 0."""
        self._low.reset()
        self._high.reset()
        self._low.bits = 32

    def _pick(self, offset: int) -> _Counter:
        return self._high if offset & 4 else self._low

    def _join(self) -> None:
        """Both halves of count and compare value become one counter of 64 bits, LO."""
        count = self._low.value | self._high.value << 32
        self._low.bits = 64
        self._low.set_compare(self._low.compare | self._high.compare << 32)
        self._low.set_value(count)

    def _split(self) -> None:
        """The upper halves go back to HI."""
        count, compare = self._low.value, self._low.compare
        self._low.bits = 32
        self._low.set_compare(compare & 0xFFFFFFFF)
        self._low.set_value(count)
        self._high.set_compare(compare >> 32)
        self._high.set_value(count >> 32)

    def read(self, offset: int) -> int:
        """CFG, CNT and CMP."""
        register, counter = offset & ~4, self._pick(offset)
        if register == CFG:
            return counter.cfg
        if register == CNT:
            if self._low.bits == 64:
                return (self._low.value >> (32 if offset & 4 else 0)) & 0xFFFFFFFF
            return counter.value
        if register == CMP:
            if self._low.bits == 64:
                return (self._low.compare >> (32 if offset & 4 else 0)) & 0xFFFFFFFF
            return counter.compare
        raise BusFault(f"timer register +0x{offset:x} is not readable")

    def write(self, offset: int, value: int) -> None:
        """All registers; in 64-bit mode LO holds the whole counter."""
        register, counter = offset & ~4, self._pick(offset)
        cascaded = self._low.bits == 64
        if register == CFG:
            if value & INPUT_EVENT:
                raise BusFault("timer started by an input event (CFG bit 3) is not modelled")
            if counter is self._low and cascaded != bool(value & CASCADE):
                self._split() if cascaded else self._join()
            counter.configure(value)
        elif register in (CNT, CMP) and cascaded:
            old = self._low.value if register == CNT else self._low.compare
            shift = 32 if offset & 4 else 0
            new = (old & ~(0xFFFFFFFF << shift)) | (value << shift)
            (self._low.set_value if register == CNT else self._low.set_compare)(new)
        elif register == CNT:
            counter.set_value(value)
        elif register == CMP:
            counter.set_compare(value)
        elif register == START:
            counter.configure(counter.cfg | ENABLE)
        elif register == RESET:
            counter.set_value(0)
        else:
            raise BusFault(f"timer has no register +0x{offset:x}")
