"""Which exceptions are enabled, pending and active, and which of them may run now.

Reference: Armv7-M ARM B1.5 (exception model), B3.2 (ICSR, SHPR, SHCSR), B3.4 (NVIC). Exceptions
carry their architectural numbers: interrupt n of the chip is exception 16 + n. Sets of them are
integers, a bit each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.sim.cores.cortex_m7.bus import BusError

THREAD, NMI, HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT = 0, 2, 3, 4, 5, 6
SV_CALL, PEND_SV, SYS_TICK, FIRST_INTERRUPT = 11, 14, 15, 16
NAMES = {
    NMI: "NMI",
    HARD_FAULT: "HardFault",
    MEM_MANAGE: "MemManage",
    BUS_FAULT: "BusFault",
    USAGE_FAULT: "UsageFault",
    SV_CALL: "SVCall",
    PEND_SV: "PendSV",
    SYS_TICK: "SysTick",
}
NO_PRIORITY = 256  # thread mode, nothing masked
WORD = 0xFFFFFFFF
PRIORITY_BITS = 0xF0  # the F746 implements the upper four

ICSR, SHPR, SHCSR, STIR = 0xD04, range(0xD18, 0xD24, 4), 0xD24, 0xF00
ISER, ICER = range(0x100, 0x110, 4), range(0x180, 0x190, 4)
ISPR, ICPR = range(0x200, 0x210, 4), range(0x280, 0x290, 4)
IABR, IPR = range(0x300, 0x310, 4), range(0x400, 0x470, 4)
OFFSETS = frozenset((ICSR, SHCSR, STIR, *SHPR, *ISER, *ICER, *ISPR, *ICPR, *IABR, *IPR))
# Where a zero that is written does nothing.
ACT_ON_ONES = frozenset((ICSR, *ISER, *ICER, *ISPR, *ICPR))

# SHCSR: bit of each exception's enable, active and pended flag.
FAULT_ENABLES = {MEM_MANAGE: 16, BUS_FAULT: 17, USAGE_FAULT: 18}
ACTIVE_FLAGS = {
    **{MEM_MANAGE: 0, BUS_FAULT: 1, USAGE_FAULT: 3},
    **{SV_CALL: 7, PEND_SV: 10, SYS_TICK: 11},
}
PENDED_FLAGS = {USAGE_FAULT: 12, MEM_MANAGE: 13, BUS_FAULT: 14, SV_CALL: 15}
ENABLE_MASK = sum(1 << bit for bit in FAULT_ENABLES.values())
# ICSR: the bits that pend and unpend.
PEND_BITS = {31: NMI, 28: PEND_SV, 26: SYS_TICK}
UNPEND_BITS = {27: PEND_SV, 25: SYS_TICK}


def name_of(exception: int) -> str:
    """An exception as a reader knows it."""
    return NAMES.get(exception, f"interrupt {exception - FIRST_INTERRUPT}")


@dataclass(frozen=True)
class Masks:
    """The special registers that hold exceptions back."""

    primask: bool = False
    faultmask: bool = False
    basepri: int = 0


class Nvic:
    """The interrupt controller and the system handlers' switches.

    ``changed`` is called when a register write may let an exception through. ``lines`` gives the
    set of interrupts (as exceptions) whose request line is high at present, ``ticked`` whether
    SysTick has run out since it was last asked.
    """

    def __init__(
        self, changed: Callable[[], None], lines: Callable[[], int], ticked: Callable[[], bool]
    ) -> None:
        self._changed = changed
        self._lines = lines
        self._ticked = ticked
        self.pending = 0
        self.active = 0
        self.priority_group = 0  # AIRCR.PRIGROUP
        self._enabled = 0  # interrupts only
        self._fault_enables = 0  # SHCSR bits 16 to 18
        self._priorities = bytearray(FIRST_INTERRUPT + 4 * len(IPR))

    # What may run

    def fault_enabled(self, exception: int) -> bool:
        """MemManage, BusFault or UsageFault has its own handler; else it becomes a HardFault."""
        return bool(self._fault_enables >> FAULT_ENABLES[exception] & 1)

    def interrupt_enabled(self, number: int) -> bool:
        """Interrupt ``number`` of the chip is let through."""
        return bool(self._enabled >> (FIRST_INTERRUPT + number) & 1)

    def priority(self, exception: int) -> int:
        """The priority in force, lower is more urgent; sub-priorities included."""
        if exception in (NMI, HARD_FAULT):
            return exception - 4
        return self._priorities[exception]

    def preemption(self, exception: int) -> int:
        """The part of the priority that decides whether it interrupts another one."""
        return self._group(self.priority(exception))

    def _group(self, priority: int) -> int:
        return priority if priority < 0 else priority & ~((2 << self.priority_group) - 1)

    def execution_priority(self, masks: Masks) -> int:
        """The priority that an exception has to beat (ARM ExecutionPriority())."""
        lowest = min((self.preemption(n) for n in members(self.active)), default=NO_PRIORITY)
        if masks.basepri:
            lowest = min(lowest, self._group(masks.basepri))
        if masks.primask:
            lowest = min(lowest, 0)
        return min(lowest, -1) if masks.faultmask else lowest

    def sample(self) -> None:
        """Pend the interrupts whose line is high and whose handler does not run already."""
        if self._ticked():
            self.pend(SYS_TICK)
        self.pending |= self._lines() & ~self.active

    @property
    def waiting(self) -> int:
        """Exceptions that are pending and enabled, masked or not: what ends a WFI."""
        if not self.pending:
            return 0
        system = self.pending & ((1 << FIRST_INTERRUPT) - 1)
        return system | self.pending & self._enabled

    def next(self, masks: Masks) -> int | None:
        """The exception to take now, if any."""
        if not self.waiting:
            return None
        best = min(members(self.waiting), key=lambda n: (self.priority(n), n))
        return best if self.preemption(best) < self.execution_priority(masks) else None

    def wakes(self, masks: Masks) -> bool:
        """A WFI ends: an exception waits that would run if PRIMASK were clear."""
        open_masks = Masks(False, masks.faultmask, masks.basepri)
        return self.next(open_masks) is not None

    def pend(self, exception: int) -> None:
        """Make an exception pending."""
        self.pending |= 1 << exception

    def enter(self, exception: int) -> None:
        """Its handler begins."""
        self.pending &= ~(1 << exception)
        self.active |= 1 << exception

    def leave(self, exception: int) -> None:
        """Its handler has returned."""
        self.active &= ~(1 << exception)

    # Registers

    def read(self, offset: int, running: int) -> int:
        """A register of ``OFFSETS``; ``running`` is the exception number in IPSR."""
        shift = FIRST_INTERRUPT + (offset & 0x7F) * 8
        if offset in ISER or offset in ICER:
            return self._enabled >> shift & WORD
        if offset in ISPR or offset in ICPR:
            return self.pending >> shift & WORD
        if offset in IABR:
            return self.active >> shift & WORD
        if offset in IPR or offset in SHPR:
            at = _first_priority(offset)
            return int.from_bytes(self._priorities[at : at + 4], "little")
        if offset == SHCSR:
            return self._handler_state()
        return self._control_state(running) if offset == ICSR else 0

    def _handler_state(self) -> int:
        flags = self._fault_enables
        for exception, bit in ACTIVE_FLAGS.items():
            flags |= (self.active >> exception & 1) << bit
        for exception, bit in PENDED_FLAGS.items():
            flags |= (self.pending >> exception & 1) << bit
        return flags

    def _control_state(self, running: int) -> int:
        best = min(members(self.waiting), key=lambda n: (self.priority(n), n), default=0)
        alone = self.active & ~(1 << running) == 0
        state = running | alone << 11 | best << 12
        state |= (self.pending >> FIRST_INTERRUPT != 0) << 22
        for bit, exception in PEND_BITS.items():
            state |= (self.pending >> exception & 1) << bit
        return state

    def write(self, offset: int, value: int) -> None:
        """Write a register of ``OFFSETS``; BusError names what is not modelled."""
        interrupts = value << (FIRST_INTERRUPT + (offset & 0x7F) * 8)
        if offset in ISER:
            self._enabled |= interrupts
        elif offset in ICER:
            self._enabled &= ~interrupts
        elif offset in ISPR:
            self.pending |= interrupts
        elif offset in ICPR:
            self.pending &= ~interrupts
        elif offset in IPR or offset in SHPR:
            at = _first_priority(offset)
            self._priorities[at : at + 4] = (value & 0x01010101 * PRIORITY_BITS).to_bytes(
                4, "little"
            )
        elif offset == SHCSR:
            self._write_handler_state(value)
        elif offset == STIR:
            self.pend(FIRST_INTERRUPT + (value & 0x1FF))
        elif offset == ICSR:
            self._write_control_state(value)
        self._changed()

    def _write_handler_state(self, value: int) -> None:
        if (value ^ self._handler_state()) & ~ENABLE_MASK:
            raise BusError(f"SHCSR = 0x{value:x}: writing active and pended bits is not modelled")
        self._fault_enables = value & ENABLE_MASK

    def _write_control_state(self, value: int) -> None:
        for bit, exception in UNPEND_BITS.items():
            if value >> bit & 1:
                self.pending &= ~(1 << exception)
        for bit, exception in PEND_BITS.items():
            if value >> bit & 1:
                self.pend(exception)


def members(exceptions: int) -> list[int]:
    """The numbers in a set."""
    found = []
    while exceptions:
        lowest = exceptions & -exceptions
        found.append(lowest.bit_length() - 1)
        exceptions ^= lowest
    return found


def _first_priority(offset: int) -> int:
    """Exception of the register's lowest byte."""
    return FIRST_INTERRUPT + offset - IPR.start if offset in IPR else 4 + offset - SHPR.start
