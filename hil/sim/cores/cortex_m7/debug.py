"""What a debugger needs of the core: registers by number, and places where the emulator stops.

Unicorn ends a block of translated code at every exit address, so a breakpoint cuts the block it
lies in, and a step executes a block of one instruction. Cut blocks cost what their parts cost:
instructions no longer issue in pairs over the cut, a loop that is cut is not recognised as one,
and while the instruction cache is off each part fetches its line anew (4 cycles and the flash's
wait states). That is all that a stop changes; a breakpoint that is not reached and the time while
the core stands still change nothing.
"""

from __future__ import annotations

import ctypes

from unicorn import Uc, UcError
from unicorn.arm_const import (
    UC_ARM_REG_BASEPRI,
    UC_ARM_REG_CONTROL,
    UC_ARM_REG_D0,
    UC_ARM_REG_FAULTMASK,
    UC_ARM_REG_FPSCR,
    UC_ARM_REG_LR,
    UC_ARM_REG_MSP,
    UC_ARM_REG_PC,
    UC_ARM_REG_PRIMASK,
    UC_ARM_REG_PSP,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_R4,
    UC_ARM_REG_R5,
    UC_ARM_REG_R6,
    UC_ARM_REG_R7,
    UC_ARM_REG_R8,
    UC_ARM_REG_R9,
    UC_ARM_REG_R10,
    UC_ARM_REG_R11,
    UC_ARM_REG_R12,
    UC_ARM_REG_SP,
    UC_ARM_REG_XPSR,
)
from unicorn.unicorn_py3.unicorn import uclib

from hil.sim.debug import Register

# r0 to pc, in the order of the architecture.
CORE_REGISTERS = (
    UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3, UC_ARM_REG_R4, UC_ARM_REG_R5,
    UC_ARM_REG_R6, UC_ARM_REG_R7, UC_ARM_REG_R8, UC_ARM_REG_R9, UC_ARM_REG_R10, UC_ARM_REG_R11,
    UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC,
)  # fmt: skip
_PROFILE = "org.gnu.gdb.arm.m-profile"
_SYSTEM, _FLOAT = "org.gnu.gdb.arm.m-system", "org.gnu.gdb.arm.vfp"
_NAMED = (("sp", "data_ptr"), ("lr", ""), ("pc", "code_ptr"), ("xpsr", ""))
REGISTERS = (
    *(Register(f"r{n}", 32, _PROFILE) for n in range(13)),
    *(Register(name, 32, _PROFILE, kind) for name, kind in _NAMED),
    *(Register(f"d{n}", 64, _FLOAT, "ieee_double") for n in range(16)),
    Register("fpscr", 32, _FLOAT),
    *(Register(name, 32, _SYSTEM, "data_ptr") for name in ("msp", "psp")),
    *(Register(name, 32, _SYSTEM) for name in ("primask", "basepri", "faultmask", "control")),
)
_UNICORN = (
    *CORE_REGISTERS, UC_ARM_REG_XPSR,
    *(UC_ARM_REG_D0 + n for n in range(16)), UC_ARM_REG_FPSCR,
    UC_ARM_REG_MSP, UC_ARM_REG_PSP,
    UC_ARM_REG_PRIMASK, UC_ARM_REG_BASEPRI, UC_ARM_REG_FAULTMASK, UC_ARM_REG_CONTROL,
)  # fmt: skip
PC_NUMBER, SP_NUMBER = 15, 13
_SNAPSHOT = (*CORE_REGISTERS[:PC_NUMBER], UC_ARM_REG_XPSR)


class CoreDebug:
    """Registers and breakpoints of the core that ``uc`` emulates."""

    def __init__(self, uc: Uc) -> None:
        self._uc = uc
        self.breakpoints: set[int] = set()
        self._exits_on = False
        self._cut = False  # translated blocks end where none should any more
        self._snapshot = (ctypes.c_uint32 * len(_SNAPSHOT))()
        self._numbers = (ctypes.c_int * len(_SNAPSHOT))(*_SNAPSHOT)
        first = ctypes.addressof(self._snapshot)
        places = (first + 4 * n for n in range(len(_SNAPSHOT)))
        self._places = (ctypes.c_void_p * len(_SNAPSHOT))(*places)

    def snapshot(self) -> tuple[bytes, int]:
        """r0 to lr and xpsr, also inside a peripheral access, and sp; faster than one by one."""
        status = uclib.uc_reg_read_batch(self._uc._uch, self._numbers, self._places, len(_SNAPSHOT))
        if status:
            raise UcError(status)
        return bytes(self._snapshot), self._snapshot[SP_NUMBER]

    def read_register(self, number: int) -> int:
        """A register of ``REGISTERS``, by its place there."""
        return int(self._uc.reg_read(_UNICORN[number]))

    def write_register(self, number: int, value: int) -> None:
        """Set it; an address in pc is that of Thumb code with or without bit 0."""
        self._uc.reg_write(_UNICORN[number], value | (number == PC_NUMBER))

    def break_at(self, addresses: set[int]) -> None:
        """The places before which a run ends."""
        if addresses != self.breakpoints:
            self.breakpoints = set(addresses)
            self._cut = True

    def arm(self, until: int) -> None:
        """Before a run: ends at ``until`` and at every breakpoint."""
        self._forget_cuts()
        if self.breakpoints:
            self._exits(True)
            self._uc.ctl_set_exits(sorted(self.breakpoints | {until}))
        else:
            self._exits(False)

    def arm_step(self) -> None:
        """Before a step: ends at the address given to the emulator only."""
        self._uc.ctl_flush_tb()  # type: ignore[attr-defined]  # missing in unicorn's stub
        self._exits(False)
        self._cut = True

    def code_changed(self) -> None:
        """Memory that may hold code was written."""
        self._cut = True

    def _forget_cuts(self) -> None:
        if self._cut:
            self._uc.ctl_flush_tb()  # type: ignore[attr-defined]  # missing in unicorn's stub
            self._cut = False

    def _exits(self, on: bool) -> None:
        if on != self._exits_on:
            self._uc.ctl_exits_enabled(on)
            self._exits_on = on
