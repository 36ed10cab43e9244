"""Exception entry and return, faults and their escalation, lock-up.

Reference: Armv7-M ARM B1.5; PM0253 sections 2.3 and 2.4. The emulator only says *that* an
instruction could not be executed; everything a Cortex-M7 then does happens here, between two
calls of the emulator: status registers, the frame on the stack, EXC_RETURN, the vector.

Simpler than the chip: the FP registers are stacked at entry instead of at the handler's first FP
instruction (no lazy stacking), tail-chaining and late arrival are a return and an entry, and
entry and return always take ``costs.EXCEPTION_CYCLES``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from unicorn import Uc
from unicorn.arm_const import (
    UC_ARM_REG_BASEPRI,
    UC_ARM_REG_CONTROL,
    UC_ARM_REG_FAULTMASK,
    UC_ARM_REG_FPSCR,
    UC_ARM_REG_IPSR,
    UC_ARM_REG_LR,
    UC_ARM_REG_MSP,
    UC_ARM_REG_PC,
    UC_ARM_REG_PRIMASK,
    UC_ARM_REG_PSP,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_R12,
    UC_ARM_REG_S0,
    UC_ARM_REG_SP,
    UC_ARM_REG_XPSR,
)

from hil.sim.chip import Fault
from hil.sim.cores.cortex_m7 import nvic
from hil.sim.cores.cortex_m7.debug import CORE_REGISTERS
from hil.sim.cores.cortex_m7.nvic import BUS_FAULT, HARD_FAULT, MEM_MANAGE, USAGE_FAULT, Masks, Nvic
from hil.sim.cores.cortex_m7.postmortem import CFSR_BITS, STATUS_BITS, Moment
from hil.sim.cores.cortex_m7.registers import RegisterFile
from hil.sim.fault_report import STACK_WORDS

# Bits of CFSR.
IACCVIOL, DACCVIOL, MUNSTKERR, MSTKERR, MMARVALID = 0, 1, 3, 4, 7
IBUSERR, PRECISERR, IMPRECISERR, UNSTKERR, STKERR, BFARVALID = 8, 9, 10, 11, 12, 15
UNDEFINSTR, INVSTATE, INVPC, NOCP, UNALIGNED, DIVBYZERO = 16, 17, 18, 19, 24, 25
VECTTBL, FORCED, DEBUGEVT = 1, 30, 31  # HFSR
BKPT = 1  # DFSR
STKALIGN, NONBASETHRDENA = 9, 0  # CCR
ASPEN = 31  # FPCCR
FPCA, SPSEL, UNPRIVILEGED = 4, 2, 1  # CONTROL
ALIGNED = 1 << 9  # xPSR in a frame: a word was left out to align it
THUMB = 1 << 24
EXCEPTION_NUMBER = 0x1FF
IT_STATE = 0x0600FC00

RETURN_HANDLER, RETURN_MAIN, RETURN_PROCESS = 0xFFFFFFF1, 0xFFFFFFF9, 0xFFFFFFFD
NO_FP_FRAME = 1 << 4  # of an EXC_RETURN: clear if the frame holds FP registers
_RETURNS = {base & ~fp for base in (RETURN_HANDLER, RETURN_MAIN, RETURN_PROCESS)
            for fp in (0, NO_FP_FRAME)}  # fmt: skip
BASIC_WORDS, FP_WORDS = 8, 26
FAULTS = (HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT)
_SAVED = (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3, UC_ARM_REG_R12, UC_ARM_REG_LR)
_SINGLES = tuple(UC_ARM_REG_S0 + n for n in range(16))
FPDSCR_BITS = 0x07C00000

# ABFSR: the interface that reported an asynchronous bus fault (Cortex-M7 TRM, 3.3.13).
ABFSR_AHBP, ABFSR_AXIM_DECODE, ABFSR_EPPB = 1 << 2, 1 << 3 | 3 << 8, 1 << 4


@dataclass(frozen=True)
class Cause:
    """Why an instruction could not go on: its CFSR bit, and the address it wanted, if any."""

    status: int
    reason: str
    address: int | None = None

    @property
    def exception(self) -> int:
        """The fault that has this bit."""
        if self.status < IBUSERR:
            return MEM_MANAGE
        return BUS_FAULT if self.status < UNDEFINSTR else USAGE_FAULT

    def __str__(self) -> str:
        return f"{nvic.name_of(self.exception)} {CFSR_BITS[self.status]}: {self.reason}"


@dataclass(frozen=True)
class _Pushed:
    """What an entry did to the stack: EXC_RETURN, the stack pointer before and behind it.

    ``stored``: the frame is there; ``forbidden``: it is not, because of the MPU.
    """

    link: int
    top: int
    base: int
    stored: bool
    forbidden: bool


class LockUpError(Exception):
    """A fault at a place where no handler can run; carries it. The chip stands still."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def never_executes(address: int) -> bool:
    """The default memory map marks it XN (ARM B3.1): devices and the system region."""
    return 0x40000000 <= address < 0x60000000 or address >= 0xA0000000


def fetch_cause(address: int) -> Cause:
    """Why no instruction can be fetched from ``address``."""
    if never_executes(address):
        return Cause(IACCVIOL, "execution of what is no program memory", address)
    return Cause(IBUSERR, "fetch where nothing answers", address)


def protection_cause(is_fetch: bool, address: int, region: int | None) -> Cause:
    """The memory protection unit forbids an access; None: no region allows it."""
    by = "no MPU region allows" if region is None else f"MPU region {region} forbids"
    if is_fetch:
        return Cause(IACCVIOL, f"execution that {by}", address)
    return Cause(DACCVIOL, f"access that {by}", address)


class Exceptions:
    """The exception model of one core. ``registers`` are those of the system control space.

    ``memory_at`` (address, bytes, to be written) says whether memory holds all of that range,
    ``forbidden`` (the same) whether the memory protection unit keeps it from a stack frame;
    ``report`` is told every fault that a handler is entered for, ``examine`` how it looked.
    """

    def __init__(
        self,
        uc: Uc,
        controller: Nvic,
        registers: RegisterFile,
        memory_at: Callable[[int, int, bool], bool],
        forbidden: Callable[[int, int, bool], bool],
        report: Callable[[Fault], None],
        examine: Callable[[Moment], None],
    ) -> None:
        self._uc = uc
        self._memory_at = memory_at
        self._forbidden = forbidden
        self.nvic = controller
        self._registers = registers
        self._report = report
        self._examine = examine
        self._latest: Fault | None = None  # to be named in a lock-up
        self.event = False  # the event register: WFE clears it, or sleeps (ARM B1.5.18)

    def reset(self, stack_pointer: int, entry: int) -> None:
        """The reset exception: registers as after it, SP and PC as from the vector table."""
        self.event = False
        # CONTROL can be written whole in handler mode only: unprivileged code may have been reset.
        self._set(UC_ARM_REG_IPSR, HARD_FAULT)
        for register in (
            UC_ARM_REG_CONTROL, UC_ARM_REG_PRIMASK, UC_ARM_REG_FAULTMASK, UC_ARM_REG_BASEPRI
        ):  # fmt: skip
            self._set(register, 0)
        self._set(UC_ARM_REG_XPSR, THUMB)
        self._set(UC_ARM_REG_MSP, stack_pointer)
        self._set(UC_ARM_REG_SP, stack_pointer)
        self._set(UC_ARM_REG_PC, entry | 1)

    # Registers

    def _get(self, register: int) -> int:
        return int(self._uc.reg_read(register))

    def _set(self, register: int, value: int) -> None:
        self._uc.reg_write(register, value & 0xFFFFFFFF)

    @property
    def running(self) -> int:
        """IPSR: the exception whose handler runs, 0 in thread mode."""
        return self._get(UC_ARM_REG_IPSR) & EXCEPTION_NUMBER

    @property
    def masks(self) -> Masks:
        """PRIMASK, FAULTMASK and BASEPRI."""
        return Masks(
            bool(self._get(UC_ARM_REG_PRIMASK) & 1),
            bool(self._get(UC_ARM_REG_FAULTMASK) & 1),
            self._get(UC_ARM_REG_BASEPRI) & nvic.PRIORITY_BITS,
        )

    @property
    def is_urgent(self) -> bool:
        """HardFault, NMI or FAULTMASK: the execution priority is negative."""
        return self.nvic.execution_priority(self.masks) < 0

    def _flag(self, register: str, bit: int) -> None:
        self._registers[register] |= 1 << bit

    # Faults

    def fault(self, cause: Cause, pc: int) -> None:
        """Take a fault of the instruction at ``pc``; LockUpError where nothing can handle it."""
        self._record(cause)
        found = Fault(str(cause), pc, 0, cause.address)
        self._take_synchronous(cause.exception, pc, found)

    def breakpoint(self, pc: int) -> None:
        """BKPT with no debugger attached is a HardFault (ARM C1.4.3)."""
        self._flag("HFSR", DEBUGEVT)
        self._flag("DFSR", BKPT)
        self._force(Fault("breakpoint instruction without a debugger", pc), pc)

    def supervisor_call(self, behind: int) -> None:
        """SVC; ``behind`` is the address after the instruction."""
        found = Fault("SVC where its priority does not let it run", behind - 2)
        self._take_synchronous(nvic.SV_CALL, behind, found)

    def bus_fault_later(self, cause: Cause, pc: int) -> None:
        """A store went wrong in the store buffer: the program goes on until the fault is taken."""
        self._record(cause)
        assert cause.address is not None
        self._registers["ABFSR"] = _interface(cause.address)
        self._latest = found = Fault(str(cause), pc, 0, cause.address)
        self._report(found)
        if self.nvic.fault_enabled(BUS_FAULT):
            self.nvic.pend(BUS_FAULT)
        else:
            self._flag("HFSR", FORCED)
            self.nvic.pend(HARD_FAULT)

    def _record(self, cause: Cause) -> None:
        self._flag("CFSR", cause.status)
        if cause.status == PRECISERR and cause.address is not None:
            self._registers["BFAR"] = cause.address
            self._flag("CFSR", BFARVALID)
        elif cause.status == DACCVIOL and cause.address is not None:
            self._registers["MMFAR"] = cause.address
            self._flag("CFSR", MMARVALID)

    def _take_synchronous(self, exception: int, pc: int, found: Fault) -> None:
        """Enter the handler, or HardFault's if that one is off or not urgent enough."""
        present = self.nvic.execution_priority(self.masks)
        possible = exception not in nvic.FAULT_ENABLES or self.nvic.fault_enabled(exception)
        if possible and self.nvic.preemption(exception) < present:
            if exception != nvic.SV_CALL:
                self._latest = found
                self._report(found)
            self._enter(exception, pc)
            return
        self._flag("HFSR", FORCED)
        self._force(found, pc)

    def _force(self, found: Fault, pc: int) -> None:
        """HardFault, unless the core is in it or in NMI already, or FAULTMASK is set."""
        if self.nvic.execution_priority(self.masks) <= -1:
            raise LockUpError(self._lock_up(found))
        self._latest = found
        self._report(found)
        self._enter(HARD_FAULT, pc)

    def _lock_up(self, found: Fault) -> Fault:
        running = self.running
        where = f"in the {nvic.name_of(running)} handler" if running else "with FAULTMASK set"
        first = "" if self._latest is None else f", which ran because of: {self._latest}"
        return Fault(f"lock-up: {found.reason}, {where}{first}", found.pc, 0, found.address)

    # Entry

    def take_pending(self) -> bool:
        """Enter the most urgent pending exception, if one may run now."""
        if not self.nvic.pending:
            return False
        exception = self.nvic.next(self.masks)
        if exception is None:
            return False
        self._enter(exception, self._get(UC_ARM_REG_PC))
        return True

    def _enter(self, exception: int, return_address: int) -> None:
        pushed = self._push_frame(return_address)
        if not pushed.stored:
            exception = self._stacking_failed(exception, return_address, pushed)
        self._start_handler(exception, pushed.link, pushed)

    def _start_handler(self, exception: int, link: int, pushed: _Pushed | None = None) -> None:
        """Everything of an entry behind the frame: mode, masks, vector."""
        if exception in FAULTS and self._latest is not None:
            event = f"{nvic.name_of(exception)} handler entered"
            self._examine(self.moment(self._latest, event, True, pushed))
        self.nvic.enter(exception)
        self.event = True
        flags = self._get(UC_ARM_REG_XPSR) & ~(EXCEPTION_NUMBER | IT_STATE)
        self._set(UC_ARM_REG_XPSR, flags | exception)
        control = self._get(UC_ARM_REG_CONTROL)
        if control & FPCA:
            self._set(UC_ARM_REG_FPSCR, self._registers["FPDSCR"] & FPDSCR_BITS)
        self._set(UC_ARM_REG_CONTROL, control & UNPRIVILEGED)
        self._set(UC_ARM_REG_LR, link)
        vector = self._word(self._registers["VTOR"] + 4 * exception)
        if vector is None:
            self._vector_failed(exception, link, pushed)
            return
        self._jump(vector)

    def _jump(self, vector: int) -> None:
        # Bit 0 of a vector becomes the T bit; a clear one faults at the handler's first fetch.
        state = self._get(UC_ARM_REG_XPSR) & ~THUMB
        self._set(UC_ARM_REG_XPSR, state | (THUMB if vector & 1 else 0))
        self._set(UC_ARM_REG_PC, vector)

    def _vector_failed(self, exception: int, link: int, pushed: _Pushed | None) -> None:
        self._flag("HFSR", VECTTBL)
        at = self._registers["VTOR"] + 4 * exception
        name = nvic.name_of(exception)
        found = Fault(f"no memory at 0x{at:08x}, the vector of {name}", link, 0, at)
        if exception in (HARD_FAULT, nvic.NMI):
            raise LockUpError(self._lock_up(found))
        self._latest = found
        self._report(found)
        self._start_handler(HARD_FAULT, link, pushed)

    def _stacking_failed(self, exception: int, pc: int, pushed: _Pushed) -> int:
        """The frame found no memory: the exception that is entered now (ARM B1.5.8)."""
        status = MSTKERR if pushed.forbidden else STKERR
        cause = Cause(status, f"no memory for the frame of {nvic.name_of(exception)}", pushed.base)
        fault = cause.exception
        self._flag("CFSR", status)
        if exception not in FAULTS:
            self._latest = found = Fault(str(cause), pc, 0, pushed.base)
            self._report(found)
        preempts = self.nvic.preemption(fault) < self.nvic.preemption(exception)
        if not self.nvic.fault_enabled(fault):
            self._flag("HFSR", FORCED)
            if exception not in (HARD_FAULT, nvic.NMI):
                self.nvic.pend(exception)
                return HARD_FAULT
        elif preempts:
            self.nvic.pend(exception)
            return fault
        else:
            self.nvic.pend(fault)
        return exception

    def _push_frame(self, return_address: int) -> _Pushed:
        """The stack pointer moves whether the stack has room or not."""
        control, flags = self._get(UC_ARM_REG_CONTROL), self._get(UC_ARM_REG_XPSR)
        with_fp = bool(control & FPCA) and self._registers.bit("FPCCR", ASPEN)
        handler = bool(flags & EXCEPTION_NUMBER)
        process = not handler and bool(control & SPSEL)
        stack = UC_ARM_REG_PSP if process else UC_ARM_REG_MSP
        top = self._get(stack)
        align = with_fp or self._registers.bit("CCR", STKALIGN)
        base = top - 4 * (FP_WORDS if with_fp else BASIC_WORDS)
        padded = align and base & 4 != 0
        base = (base - 4 if padded else base) & 0xFFFFFFFF
        words = [self._get(register) for register in _SAVED]
        words += [return_address, (flags & ~ALIGNED) | (ALIGNED if padded else 0)]
        if with_fp:
            words += [self._get(register) for register in _SINGLES]
            words += [self._get(UC_ARM_REG_FPSCR), 0]
            self._registers["FPCAR"] = base + 4 * BASIC_WORDS
        self._set(stack, base)
        link = RETURN_HANDLER if handler else RETURN_PROCESS if process else RETURN_MAIN
        link &= ~(NO_FP_FRAME if with_fp else 0)
        forbidden = self._forbidden(base, 4 * len(words), True)
        return _Pushed(link, top, base, not forbidden and self._store(base, words), forbidden)

    # What a fault looked like

    def moment(
        self, found: Fault, event: str, handled: bool, pushed: _Pushed | None = None
    ) -> Moment:
        """The core as ``found`` met it; ``pushed`` is what an entry has done since."""
        registers = [self._get(register) for register in (*CORE_REGISTERS, UC_ARM_REG_XPSR)]
        if pushed is not None:
            registers[CORE_REGISTERS.index(UC_ARM_REG_SP)] = pushed.top
        frame = self._load(pushed.base, BASIC_WORDS) if pushed and pushed.stored else None
        return Moment(
            found,
            event,
            handled,
            tuple(registers),
            {name: self._registers[name] for name in (*STATUS_BITS, "MMFAR", "BFAR")},
            self._stack_words(registers[CORE_REGISTERS.index(UC_ARM_REG_SP)]),
            pushed.base if pushed else None,
            frame or (),
        )

    def _stack_words(self, address: int) -> tuple[int, ...]:
        words = []
        for at in range(address, address + 4 * STACK_WORDS, 4):
            word = self._word(at)
            if word is None:
                break
            words.append(word)
        return tuple(words)

    def _word(self, address: int) -> int | None:
        words = self._load(address, 1)
        return None if words is None else words[0]

    def _load(self, address: int, count: int) -> tuple[int, ...] | None:
        if not self._memory_at(address, 4 * count, False):
            return None
        return struct.unpack(f"<{count}I", self._uc.mem_read(address, 4 * count))

    def _store(self, address: int, words: list[int]) -> bool:
        if not self._memory_at(address, 4 * len(words), True):
            return False
        self._uc.mem_write(address, struct.pack(f"<{len(words)}I", *words))
        return True

    # Return

    def leave(self, code: int) -> None:
        """Branch to ``code``, an EXC_RETURN, in handler mode: take the frame off its stack."""
        running = self.running
        problem = self._return_problem(code, running)
        self.nvic.leave(running)
        if running != nvic.NMI:
            self._set(UC_ARM_REG_FAULTMASK, 0)
        if problem:
            self._return_fault(Cause(INVPC, problem), code)
            return
        process = code & 0xF == RETURN_PROCESS & 0xF
        stack = UC_ARM_REG_PSP if process else UC_ARM_REG_MSP
        base = self._get(stack)
        with_fp = not code & NO_FP_FRAME
        count = FP_WORDS if with_fp else BASIC_WORDS
        if self._forbidden(base, 4 * count, False):
            self._return_fault(Cause(MUNSTKERR, "the MPU forbids the stacked frame", base), code)
            return
        words = self._load(base, count)
        if words is None:
            self._return_fault(Cause(UNSTKERR, "no memory under the stacked frame", base), code)
            return
        problem = _frame_problem(code, words[7] & EXCEPTION_NUMBER)
        if problem:
            self._return_fault(Cause(INVPC, problem), code)
            return
        self._pop_frame(words, stack, base, process)

    def _pop_frame(self, words: tuple[int, ...], stack: int, base: int, process: bool) -> None:
        flags, with_fp = words[7], len(words) == FP_WORDS
        align = with_fp or self._registers.bit("CCR", STKALIGN)
        self._set(stack, base + 4 * len(words) + (4 if align and flags & ALIGNED else 0))
        control = self._get(UC_ARM_REG_CONTROL) & UNPRIVILEGED
        control |= FPCA if with_fp else 0
        self._set(UC_ARM_REG_CONTROL, control | (SPSEL if process else 0))
        for register, value in zip(_SAVED, words, strict=False):
            self._set(register, value)
        if with_fp:
            for register, value in zip(_SINGLES, words[BASIC_WORDS:], strict=False):
                self._set(register, value)
            self._set(UC_ARM_REG_FPSCR, words[24])
        self._set(UC_ARM_REG_XPSR, flags & ~ALIGNED)
        self._set(UC_ARM_REG_PC, words[6] & ~1 | (1 if flags & THUMB else 0))
        self.event = True

    def _return_problem(self, code: int, running: int) -> str:
        """What an integrity check on exception return finds (ARM B1.5.8), or nothing."""
        if not self.nvic.active >> running & 1:
            return f"return from {nvic.name_of(running)}, which is not active"
        if code not in _RETURNS and code | NO_FP_FRAME not in _RETURNS:
            return f"0x{code:08x} is no EXC_RETURN"
        nested = self.nvic.active & ~(1 << running) != 0
        to_thread = _to_thread(code)
        if to_thread and nested and not self._registers.bit("CCR", NONBASETHRDENA):
            return "return to thread mode with another exception active"
        if not to_thread and not nested:
            return "return to handler mode with no other exception active"
        return ""

    def _return_fault(self, cause: Cause, code: int) -> None:
        """A return that fails tail-chains to the fault's handler; the frame stays where it is."""
        self._record(cause)
        found = Fault(str(cause), code, 0, cause.address)
        present = self.nvic.execution_priority(self.masks)
        exception = cause.exception
        possible = self.nvic.fault_enabled(exception)
        if not possible or self.nvic.preemption(exception) >= present:
            self._flag("HFSR", FORCED)
            exception = HARD_FAULT
            if present <= -1:
                raise LockUpError(self._lock_up(found))
        self._latest = found
        self._report(found)
        self._start_handler(exception, code)


def _to_thread(code: int) -> bool:
    return code & 0xF != RETURN_HANDLER & 0xF


def _frame_problem(code: int, stacked: int) -> str:
    """What the checks behind the unstacking find; ``stacked``: IPSR of the frame (ARM B1.5.8)."""
    if _to_thread(code) and stacked:
        return f"return to thread mode with {nvic.name_of(stacked)} in the stacked xPSR"
    if not _to_thread(code) and not stacked:
        return "return to handler mode with no exception in the stacked xPSR"
    return ""


def _interface(address: int) -> int:
    """ABFSR for a store to ``address``."""
    if 0x40000000 <= address < 0x60000000:
        return ABFSR_AHBP
    return ABFSR_EPPB if address >= 0xE0000000 else ABFSR_AXIM_DECODE
