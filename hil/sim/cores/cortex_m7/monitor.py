"""The exclusive monitor of the Cortex-M7: entry into an exception and return from it clear it.

Unicorn keeps the monitor and clears it at its own exceptions, not at those of
:mod:`.exceptions`. So CLREX is executed in the emulator, on a page that is there only meanwhile and
past the books: the block hook stands at its limit, and the function with which it would stop the
emulator does nothing. Reference: Armv7-M ARM A3.4.4, B1.5.6, B1.5.8.
"""

from __future__ import annotations

import ctypes

import numpy as np
from unicorn import Uc, UcError
from unicorn.arm_const import UC_ARM_REG_PC, UC_ARM_REG_XPSR

from hil.sim.cores.cortex_m7.layout import Floats, Ints

PLACE, PAGE = 0x1EFFF000, 0x1000  # in the code region, where no chip of the family has memory
CLREX, UDF = b"\xbf\xf3\x2f\x8f", b"\x00\xde"
THUMB, IT_STATE = 1 << 24, 0x0600FC00
_Stop = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Monitor:
    """``ints`` and ``floats``: of the native hooks. ``used``: the program has exclusives."""

    def __init__(self, uc: Uc, ints: np.ndarray, floats: np.ndarray) -> None:
        self._uc, self._ints, self._floats = uc, ints, floats
        self._go_on = _Stop(lambda engine: None)
        self.used = False

    def clear(self) -> None:
        """Nothing but the monitor changes."""
        if not self.used:
            return
        limit, stop = self._floats[Floats.LIMIT], self._ints[Ints.STOP_FUNCTION]
        pc, flags = (int(self._uc.reg_read(r)) for r in (UC_ARM_REG_PC, UC_ARM_REG_XPSR))
        self._floats[Floats.LIMIT] = -np.inf
        self._ints[Ints.STOP_FUNCTION] = ctypes.cast(self._go_on, ctypes.c_void_p).value or 0
        self._uc.reg_write(UC_ARM_REG_XPSR, flags & ~IT_STATE | THUMB)
        self._uc.mem_map(PLACE, PAGE)
        self._uc.mem_write(PLACE, CLREX + UDF)
        try:
            self._uc.emu_start(PLACE | 1, PLACE + PAGE)
        except UcError:
            pass  # the undefined instruction behind it
        finally:
            self._uc.mem_unmap(PLACE, PAGE)
            self._uc.reg_write(UC_ARM_REG_XPSR, flags)
            self._uc.reg_write(UC_ARM_REG_PC, pc | (1 if flags & THUMB else 0))
            self._floats[Floats.LIMIT], self._ints[Ints.STOP_FUNCTION] = limit, stop
