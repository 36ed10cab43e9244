"""Joins unicorn's C interface with the compiled hooks of :mod:`.native`, past its Python binding.

The binding wraps every callback in Python, which the block hook cannot afford.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from unicorn import UC_HOOK_BLOCK, UC_HOOK_CODE, Uc
from unicorn.unicorn_py3.unicorn import uclib

from hil.core.errors import SimulationError
from hil.sim.cores.cortex_m7 import native, native_art, native_data
from hil.sim.cores.cortex_m7.layout import Ints

DWT_BYTES = 0x1000

_Resolve = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_Write = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_void_p
)


def _address(function: Any) -> int:
    """Where a C function, or the C side of a Python one, lies."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Glue:
    """The native hooks of one emulator; keeps what C points to alive.

    ``resolve`` (address, size), ``follow`` (previous block, block) and ``dwt_read`` (offset, size)
    are what native code calls when it does not know better; ``dwt_write`` gets (offset, size,
    value). They must not raise.
    """

    def __init__(
        self,
        ints: np.ndarray,
        resolve: Callable[[int, int], int],
        follow: Callable[[int, int], int],
        dwt_read: Callable[[int, int], int],
        dwt_write: Callable[[int, int, int], None],
    ) -> None:
        self._ints = ints
        self._resolve, self._follow = _Resolve(resolve), _Resolve(follow)
        self._dwt_read = _Resolve(dwt_read)
        self._dwt_write = _Write(
            lambda _engine, offset, size, value, _data: dwt_write(offset, size, value)
        )
        ints[Ints.STOP_FUNCTION] = _address(uclib.uc_emu_stop)
        ints[Ints.RESOLVE_FUNCTION] = _address(self._resolve)
        ints[Ints.EDGE_FUNCTION] = _address(self._follow)
        ints[Ints.READ_FUNCTION] = _address(self._dwt_read)
        ints[Ints.FETCH_FUNCTION] = native_art.on_port_fetch.address
        ints[Ints.LOAD_FUNCTION] = native_art.on_port_load.address
        ints[Ints.READ_BATCH_FUNCTION] = _address(uclib.uc_reg_read_batch)

    def map_dwt(self, uc: Uc, base: int) -> None:
        """The DWT page: native reads, writes through Python like everything else."""
        status = uclib.uc_mmio_map(
            uc._uch,
            ctypes.c_uint64(base),
            ctypes.c_uint64(DWT_BYTES),
            ctypes.c_void_p(native.on_dwt_read.address),
            ctypes.c_void_p(self._ints.ctypes.data),
            ctypes.cast(self._dwt_write, ctypes.c_void_p),
            None,
        )
        if status != 0:
            raise SimulationError(f"unicorn refuses the DWT page at 0x{base:08x}: error {status}")

    def add_block_hook(self, uc: Uc) -> None:
        """Call ``native.on_block`` before every basic block."""
        self._add_hook(uc, UC_HOOK_BLOCK, native.on_block)

    def add_instruction_hook(self, uc: Uc) -> None:
        """Call ``native_data.on_instruction`` before every instruction that is executed."""
        self._add_hook(uc, UC_HOOK_CODE, native_data.on_instruction)

    def _add_hook(self, uc: Uc, kind: int, function: Any) -> None:
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            uc._uch,
            ctypes.byref(handle),
            kind,
            ctypes.c_void_p(function.address),
            ctypes.c_void_p(self._ints.ctypes.data),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != 0:
            raise SimulationError(f"unicorn refuses a hook of kind {kind}: error {status}")
