"""One Cortex-M7: unicorn executes, the native hook counts, Python answers for peripherals.

Where time is exact and where not: a block's whole cost is added when it starts. A peripheral
access inside a block sees the cycle of its own instruction: the cost of the rest of the block
is taken off (:mod:`.device_access`). A run ends before the first block at or behind its limit.

Exceptions are taken between two calls of the emulator (:mod:`.exceptions`): faults and SVC at
their instruction, everything else before the next block.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np
from unicorn import (
    UC_ARCH_ARM,
    UC_ERR_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ_PROT,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    Uc,
    UcError,
)
from unicorn.arm_const import (
    UC_ARM_REG_FPSCR,
    UC_ARM_REG_PC,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_XPSR,
    UC_CPU_ARM_CORTEX_M7,
)

from hil.core.errors import SimulationError
from hil.sim.chip import Fault, TraceWindow
from hil.sim.cores.cortex_m7 import costs, exceptions, semihosting
from hil.sim.cores.cortex_m7.blocks import BlockTable, MemoryRegion
from hil.sim.cores.cortex_m7.books import Books
from hil.sim.cores.cortex_m7.bus import Bus
from hil.sim.cores.cortex_m7.data_cache import Caches
from hil.sim.cores.cortex_m7.debug import CORE_REGISTERS, CoreDebug
from hil.sim.cores.cortex_m7.device_access import DeviceAccess
from hil.sim.cores.cortex_m7.exceptions import Cause, Exceptions, LockUpError
from hil.sim.cores.cortex_m7.glue import Glue
from hil.sim.cores.cortex_m7.hints import WFE, WFI, YIELD, hint_before
from hil.sim.cores.cortex_m7.layout import Floats, Ints
from hil.sim.cores.cortex_m7.live_registers import LiveRegisters
from hil.sim.cores.cortex_m7.monitor import Monitor
from hil.sim.cores.cortex_m7.postmortem import Moment, instruction_text
from hil.sim.cores.cortex_m7.profiling import BlockProfile
from hil.sim.cores.cortex_m7.protection import FETCHES, WRITES, Protection
from hil.sim.cores.cortex_m7.schedule import uses_fp
from hil.sim.cores.cortex_m7.system import SystemControlSpace
from hil.sim.cores.cortex_m7.tracing import CoreTrace

NEVER = 0xFFFFFFFE  # an ``until`` address that no code reaches
# QEMU's numbers, given to the interrupt hook.
EXCP_SWI, EXCP_PREFETCH_ABORT, EXCP_BKPT, EXCP_EXCEPTION_EXIT = 2, 3, 7, 8
PAGE = 0x1000
PROTECTED = (UC_MEM_READ_PROT, UC_MEM_WRITE_PROT, UC_MEM_FETCH_PROT)
ROUNDING_MODE = 3 << 22  # FPSCR.RMode
BKPT_SEMIHOSTING = 0xBEAB

# Plain integers: enum members are slower.
_BLOCK, _BLOCK_ADDRESS = int(Ints.BLOCK), int(Ints.BLOCK_ADDRESS)


class CoreStop(Enum):
    """Why the core came back."""

    LIMIT = "the cycle limit is reached or a stop was asked for"
    BREAK = "a breakpoint, or the end of a step"
    SLEEP = "WFI or WFE"
    EXIT = "semihosting exit"
    FAULT = "see fault"


class CortexM7(Books):
    """The core. One instance lives from one power-on to the next.

    ``peripheral_areas`` are (base, size) of address space that ``bus`` answers for.
    ``unmodelled`` names what the chip has at an address where this model has nothing, or "":
    an access there stops the run, since a bus fault would be a lie. ``caches`` gives their sizes
    and whether every access to the data cache is simulated.
    """

    def __init__(
        self,
        memories: list[MemoryRegion],
        peripheral_areas: list[tuple[int, int]],
        dwt_base: int,
        unmodelled: Callable[[int], str],
        caches: Caches,
    ) -> None:
        super().__init__(caches)
        self.memories = memories
        self._unmodelled = unmodelled
        self._dwt_base = dwt_base
        self.fault: Fault | None = None
        self.exit_code: int | None = None
        self._limit = 0.0
        self._stop_asked = self._check_asked = False
        self._cause: Cause | None = None  # of the fault that ended the emulator's run
        self._trap: int | None = None  # QEMU's number of the exception that did
        self._fp_at: int | None = None  # FP instruction ahead that the FPU's switch forbids
        self._awaits_event = False  # asleep by WFE, not WFI
        self._swallowed: list[int] = []  # pages lent to stores that go nowhere
        self._error: Exception | None = None
        self.block_profile: BlockProfile | None = None
        self.trace: CoreTrace | None = None
        self._table = BlockTable(self.ints, memories, self._register, caches.simulate_data)
        self._make_engine(peripheral_areas, caches)

    def _make_engine(self, peripheral_areas: list[tuple[int, int]], caches: Caches) -> None:
        self._uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M7)
        self._protection = Protection(self._uc, self.memories, caches.cached_ram, self.data_cache)
        self._devices = DeviceAccess(self, self._table, self._uc, self._protection, self._fail)
        self.debug = CoreDebug(self._uc)
        self._monitor = Monitor(self._uc, self.ints, self.floats)
        # Hooks must exist before the first translation to be compiled in.
        self._uc.hook_add(UC_HOOK_MEM_INVALID, self._on_invalid)
        self._uc.hook_add(UC_HOOK_INTR, self._on_exception)
        for base, size in peripheral_areas:
            read, write = self._devices.on_read, self._devices.on_write
            self._uc.mmio_map(base, size, read, base, write, base)
        self._glue = Glue(
            self.ints,
            self._resolve_block,
            self._follow_edge,
            self._read_dwt,
            lambda offset, size, value: self._devices.on_write(
                self._uc, offset, size, value, self._dwt_base
            ),
        )
        self._glue.map_dwt(self._uc, self._dwt_base)
        self._glue.add_block_hook(self._uc)
        if caches.simulate_data:
            self._registers = LiveRegisters(self._uc, self.ints)
            self._glue.add_instruction_hook(self._uc)

    @property
    def bus(self) -> Bus:
        """Who answers in ``peripheral_areas``."""
        return self._devices.bus

    @bus.setter
    def bus(self, bus: Bus) -> None:
        self._devices.bus = bus

    def look_on(self, profile: bool, window: TraceWindow | None) -> None:
        """From now on count cycles by block, and keep the instructions of ``window``."""
        table, state = self._table, (self._fast_ints, self._fast_floats)
        if profile:
            self.block_profile = BlockProfile(self.ints, self.floats, table)
        if window is not None:
            self.trace = CoreTrace(self._uc, window, *state, table, self.request_check)

    # Running

    def attach(
        self,
        scs: SystemControlSpace,
        report: Callable[[Fault], None],
        examine: Callable[[Moment], None],
    ) -> None:
        """Take the system control space of this life; ``report`` is told of each fault taken,
        ``examine`` how the core looked then."""
        self._scs = scs
        self._protection.attach(scs.mpu, scs.registers)
        self._exceptions = Exceptions(
            self._uc, scs.nvic, scs.registers, self._memory_at, self._forbidden, report, examine
        )

    def moment(self, fault: Fault) -> Moment:
        """The core as it stands, for a report of the ``fault`` that has stopped it."""
        return self._exceptions.moment(fault, "stopped", False)

    def code(self, address: int, size: int) -> bytes | None:
        """``size`` bytes of memory, None if not all of them are in one."""
        return self._table.code(address, size)

    def start(self, stack_pointer: int, entry: int) -> None:
        """Take the reset exception: load SP and PC as from the vector table."""
        self._exceptions.reset(stack_pointer, entry)
        self.ints[Ints.BLOCK] = -1

    def run(self, limit_cycles: float) -> CoreStop:
        """Run until the cycle counter reaches the limit or something else stops the core."""
        self._stop_asked = self._check_asked = False
        self.set_limit(limit_cycles)
        stop = CoreStop.FAULT if self.fault is not None else None
        while stop is None:
            try:
                self._take_pending()
                stop = self._protect() or self._run_once()
                if stop is CoreStop.BREAK and self._take_pending():
                    stop = None  # an exception comes before the instruction at a breakpoint
            except LockUpError as lock_up:
                self.fault = lock_up.fault
                stop = CoreStop.FAULT
        return stop

    def step(self) -> CoreStop | None:
        """Enter a pending exception or else execute one instruction; None: done."""
        self._stop_asked = self._check_asked = False
        if self.fault is not None:
            return CoreStop.FAULT
        try:
            if self._take_pending():
                return None
            if self._protect() is not None:
                return CoreStop.FAULT
            self.debug.arm_step()
            # A branch does not come to the address behind it: it ends before the next block.
            self.floats[Floats.LIMIT] = np.nextafter(self.cycles, np.inf)
            is_long = (self._halfword(self.pc) or 0) >> 11 > 0b11100
            stop = self._emulate(self.pc + (4 if is_long else 2))
            if self._fp_at is not None:
                stop = self._run_once()
        except LockUpError as lock_up:
            self.fault = lock_up.fault
            return CoreStop.FAULT
        return None if stop in (CoreStop.BREAK, CoreStop.LIMIT) else stop

    def _protect(self) -> CoreStop | None:
        """Let the memory protection hold from here on; FAULT if it cannot."""
        refused = self._protection.update(lambda: self._exceptions.is_urgent)
        if not refused:
            return None
        self._fail(refused, None)
        return CoreStop.FAULT

    def _forbidden(self, address: int, size: int, write: bool) -> bool:
        """The memory protection unit does not let a stack frame go there."""
        access = UC_MEM_WRITE_PROT if write else UC_MEM_READ_PROT
        return self._protection.forbidden(address, size, access) is not None

    def _run_once(self) -> CoreStop | None:
        """One call of the emulator; None if an exception was taken and the program goes on."""
        fp_at, self._fp_at = self._fp_at, None
        if fp_at == self.pc:
            self._cause = Cause(exceptions.NOCP, "FP instruction while CPACR keeps the FPU off")
            self._take_synchronous()
            return None
        until = NEVER if fp_at is None else fp_at
        self.debug.arm(until)
        stop = self._emulate(until)
        if stop is CoreStop.BREAK and fp_at == self.pc:
            self._fp_at = fp_at
            return self._run_once()
        return stop

    def _emulate(self, until: int) -> CoreStop | None:
        """Run to ``until``, a breakpoint or the limit; None as ``_run_once``."""
        self.ints[Ints.STOPPED] = 0
        if self.trace is not None:
            self.trace.prepare()
        blocks_before = int(self.ints[Ints.BLOCKS])
        try:
            self._uc.emu_start(self.pc | self._thumb, until)
        except UcError as error:
            if self._error is None and self.fault is None and self._cause is None:
                hint = self._hint(error)
                if hint is not None:
                    return self._wait_for_event() if hint == WFE else None
                self._explain(error)
        if self.ints[Ints.MISALIGNED]:
            self._misaligned()
        if self.trace is not None:
            self.trace.settle(faulted=self._cause is not None or self.fault is not None)
        self._return_pages()
        if self._protection.active and self._cause is not None:
            self._protection.forget_accesses()
        if self._error is not None:
            raised, self._error = self._error, None
            raise raised
        if self.fault is not None:
            return CoreStop.FAULT
        if self.exit_code is not None:
            return CoreStop.EXIT
        if self._cause is not None or self._trap is not None:
            self._take_synchronous()
            return None
        if self.ints[Ints.STOPPED]:
            return self._why_stopped()
        if self.ints[Ints.BLOCKS] != blocks_before and self._behind_wfi():
            self._awaits_event = False
            return CoreStop.SLEEP
        if self.pc == until or self.pc in self.debug.breakpoints:
            return CoreStop.BREAK
        self._fail("the emulator stopped without a reason it can name", None)
        return CoreStop.FAULT

    def _why_stopped(self) -> CoreStop | None:
        """The block hook has stopped the emulator: at the limit, or to look at what is pending."""
        if self._fp_at is not None:
            # The block is to be cut there. (Missing in unicorn's type stub.)
            self._uc.ctl_flush_tb()  # type: ignore[attr-defined]
            return None
        if self._check_asked and not self._stop_asked:
            self._check_asked = False
            self.set_limit(self._limit)
            return None
        return CoreStop.LIMIT

    def _behind_wfi(self) -> bool:
        """The last block has ended with a WFI."""
        end = self._table.end(self._fast_ints[_BLOCK], self._fast_ints[_BLOCK_ADDRESS])
        return self.pc == end and hint_before(end, self._halfword) == WFI

    def _hint(self, error: UcError) -> int | None:
        """WFE or YIELD: unicorn reports them as invalid instructions, with the PC behind them."""
        found = hint_before(self.pc, self._halfword) if error.errno == UC_ERR_INSN_INVALID else None
        return found if found in (WFE, YIELD) else None

    def _wait_for_event(self) -> CoreStop | None:
        """WFE: sleep, or clear the event register and go on (ARM B1.5.18)."""
        self._awaits_event = not self._exceptions.event
        self._exceptions.event = False
        return CoreStop.SLEEP if self._awaits_event else None

    @property
    def _thumb(self) -> int:
        """The T bit as bit 0 of an address: clear after a branch to an even one."""
        return int(self._uc.reg_read(UC_ARM_REG_XPSR)) >> 24 & 1

    # Exceptions

    def _take_pending(self) -> bool:
        """Enter the handler of an exception that may run now; whether there was one."""
        self._scs.nvic.sample()
        taken = self._exceptions.take_pending()
        if taken:
            self._jumped()
        return taken

    def _take_synchronous(self) -> None:
        """Handle what ended the emulator's run: a fault, SVC, BKPT or an exception return."""
        cause, self._cause = self._cause, None
        trap, self._trap = self._trap, None
        pc = self.pc
        if cause is not None:
            self._exceptions.fault(cause, pc)
        elif trap == EXCP_SWI:
            self._exceptions.supervisor_call(pc)
        elif trap == EXCP_BKPT:
            self._exceptions.breakpoint(pc)
        elif trap == EXCP_EXCEPTION_EXIT and self._exceptions.running:
            self._exceptions.leave(pc | 1)
        else:
            self._exceptions.fault(exceptions.fetch_cause(pc), pc)
        self._jumped()

    def _jumped(self) -> None:
        """Control has moved without a branch: nothing to predict, and it took its time."""
        self._monitor.clear()
        self.ints[Ints.BLOCK] = -1
        self.add_cycles(costs.EXCEPTION_CYCLES)

    def _explain(self, error: UcError) -> None:
        """Turn an error of the emulator into a fault of the program, or stop the chip."""
        if error.errno != UC_ERR_INSN_INVALID:
            self._fail(f"the emulator failed: {error}", None)
        elif not self._thumb:
            self._cause = Cause(exceptions.INVSTATE, "branch to an even address (Arm state)")
        else:
            self._undefined()

    def _undefined(self) -> None:
        """UsageFault, but for what the chip executes and the emulator does not."""
        text = instruction_text(self.pc, self._table.code)
        code = self._halfword(self.pc)
        word = "no memory" if code is None else f"0x{code:04x}"
        if "f64" not in text:
            reason = f"undefined instruction ({word})"
        elif self._scs.has_double:
            self._fail(
                f"{text}: the emulator has no double precision; build for single (fpv5-sp-d16)",
                None,
            )
            return
        else:
            reason = f"undefined instruction ({word}, {text}: no double precision on this chip)"
        self._cause = Cause(exceptions.UNDEFINSTR, reason)

    def _misaligned(self) -> None:
        """UsageFault, found while the data cache is followed (``native_data``)."""
        self.ints[Ints.MISALIGNED] = 0
        address = int(self.ints[Ints.MISALIGNED_ADDRESS])
        text = instruction_text(self.pc, self._table.code)
        self._cause = Cause(exceptions.UNALIGNED, f"{text} wants an aligned address", address)

    @property
    def running_exception(self) -> int:
        """IPSR."""
        return self._exceptions.running

    @property
    def wakes(self) -> bool:
        """Something pending would end the WFI, or the WFE, for which PRIMASK counts."""
        self._scs.nvic.sample()
        nvic, masks = self._scs.nvic, self._exceptions.masks
        return nvic.next(masks) is not None if self._awaits_event else nvic.wakes(masks)

    def request_check(self) -> None:
        """Look for an exception to take before the next block."""
        self._check_asked = True
        self.floats[Floats.LIMIT] = -1.0

    def jump(self, number: int, value: int) -> None:
        """A debugger sets a register; the next block is nobody's successor."""
        self.debug.write_register(number, value)
        self.ints[Ints.BLOCK] = -1

    def forget_blocks(self) -> None:
        """Ask for every block anew at its next run: what is allowed in one has changed."""
        self._table.forget()

    def _memory_at(self, address: int, size: int, writable: bool) -> bool:
        return any(
            memory.base <= address and address + size <= memory.end
            for memory in self.memories
            if memory.writable or not writable
        )

    def _return_pages(self) -> None:
        """Take back the pages that swallowed stores, so that the next access faults again."""
        while self._swallowed:
            self._uc.mem_unmap(self._swallowed.pop(), PAGE)

    # Where the run is, and its end

    @property
    def pc(self) -> int:
        """Program counter; inside a peripheral access it is that of the block."""
        return int(self._uc.reg_read(UC_ARM_REG_PC))

    @property
    def now_cycles(self) -> float:
        """Cycles at this instant: at the present peripheral access, else at the block's end."""
        return self._devices.cycles_at_access() if self._devices.accessing else self.cycles

    def set_limit(self, limit_cycles: float) -> None:
        """Move the end of the present run, unless a stop was asked for."""
        self._limit = limit_cycles
        if not self._stop_asked and not self._check_asked:
            self.floats[Floats.LIMIT] = limit_cycles

    def request_stop(self) -> None:
        """Let ``run`` return before the next block."""
        self._stop_asked = True
        self.floats[Floats.LIMIT] = -1.0

    def read_word(self, address: int) -> int:
        """A word of memory, not of a peripheral; SimulationError where nothing is mapped."""
        try:
            return int.from_bytes(self._uc.mem_read(address, 4), "little")
        except UcError as error:
            raise SimulationError(f"no memory at 0x{address:08x}") from error

    def _halfword(self, address: int) -> int | None:
        code = self._table.code(address, 2)
        return None if code is None else int.from_bytes(code, "little")

    # Callbacks

    def _fail(self, reason: str, address: int | None, pc: int | None = None) -> None:
        if self.fault is None:
            self.fault = Fault(reason, self.pc if pc is None else pc, 0, address)

    def _on_invalid(
        self, _uc: Uc, access: int, address: int, size: int, _value: int, _data: object
    ) -> bool:
        violated = self._protection.forbidden(address, size, access)
        known = self._unmodelled(address)
        if violated is not None:
            self._cause = exceptions.protection_cause(access in FETCHES, address, violated.region)
        elif access in PROTECTED and self._memory_at(address, size, access in WRITES):
            self._protection.allow()  # the page has several rights, and these suffice
            return True
        elif known:
            self._fail(f"access of {size} bytes to {known}, which is not modelled", address)
        elif access == UC_MEM_READ_UNMAPPED:
            reason = f"read of {size} bytes where nothing answers"
            self._cause = Cause(exceptions.PRECISERR, reason, address)
        elif access == UC_MEM_WRITE_UNMAPPED:
            self._swallow(address, size)
            self._protection.allow()
            return True
        elif access == UC_MEM_FETCH_UNMAPPED:
            self._cause = exceptions.fetch_cause(address)
        else:
            reason = f"{size}-byte access that the memory forbids (flash is read-only)"
            self._fail(reason, address)
        return False

    def _swallow(self, address: int, size: int) -> None:
        """A store to nowhere. The M7 reports it late, from its store buffer: the block goes on,
        with a page that takes its stores, and the bus fault is taken behind it."""
        page = address & ~(PAGE - 1)
        self._uc.mem_map(page, PAGE)
        self._swallowed.append(page)
        reason = f"write of {size} bytes where nothing answers"
        self._exceptions.bus_fault_later(Cause(exceptions.IMPRECISERR, reason, address), self.pc)
        self.request_check()

    def _on_exception(self, uc: Uc, number: int, _data: object) -> None:
        if number == EXCP_BKPT and self._halfword(self.pc) == BKPT_SEMIHOSTING:
            self._semihost()
        elif number in (EXCP_SWI, EXCP_BKPT, EXCP_PREFETCH_ABORT, EXCP_EXCEPTION_EXIT):
            self._trap = number
        else:
            self._fail(f"the emulator's exception {number}, which this model does not know", None)
        uc.emu_stop()

    def _semihost(self) -> None:
        operation, argument = (self._uc.reg_read(r) for r in (UC_ARM_REG_R0, UC_ARM_REG_R1))
        self.exit_code = semihosting.exit_code(operation, argument, self.read_word)
        if self.exit_code is None:
            self._fail(f"semihosting call 0x{operation:x} (only exit is modelled)", None)

    def _read_dwt(self, offset: int, size: int) -> int:
        """Called by the native callback of the DWT page for what it does not know."""
        try:
            return self._devices.on_read(self._uc, offset, size, self._dwt_base)
        except Exception as error:  # noqa: BLE001 - ctypes would print and drop it; run() raises it
            self._error = error
            self._uc.emu_stop()
            return 0

    # Blocks

    def _register(self, number: int) -> int:
        return int(self._uc.reg_read(CORE_REGISTERS[number]))

    def _resolve_block(self, address: int, size: int) -> int:
        """Called by the native hook for a block that it does not find: learn its cost."""
        try:
            return self._learn(address, size)
        except Exception as error:  # noqa: BLE001 - ctypes would print and drop it; run() raises it
            self._error = error
            return -1

    def _follow_edge(self, previous: int, block: int) -> int:
        """Called by the native hook for an edge that it does not find."""
        try:
            return self._table.edges.enter(previous, block)
        except Exception as error:  # noqa: BLE001 - as above
            self._error = error
            return -1

    def _learn(self, address: int, size: int) -> int:
        cost = self._table.cost(address, size)
        if cost is None:
            self._fail("code outside flash, ITCM and RAM", address, address)
            return -1
        if cost.uses_fp and not self._scs.fp_enabled:
            self._fp_at = next(op.address for op in cost.ops if uses_fp(op))
            return -1
        if cost.from_fixed and self._uc.reg_read(UC_ARM_REG_FPSCR) & ROUNDING_MODE:
            # The architecture rounds to nearest whatever the mode; unicorn 2.1.4 asks the mode.
            reason = "VCVT from fixed point with FPSCR.RMode set, which the emulator rounds wrongly"
            self._fail(reason, None, address)
            return -1
        self._monitor.used |= cost.exclusive
        if cost.sends_event:  # before the WFE, if there is one: that ends a block
            self._exceptions.event = True
        if cost.unmasks and self._scs.nvic.pending:
            self.request_check()
        return self._table.enter(address, size, cost)
