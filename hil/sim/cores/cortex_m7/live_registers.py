"""Where the emulator keeps r0 to r15 of the running program, for code that cannot afford to ask.

Unicorn has no function for that. The place is looked for in what its engine points to, by values
that are then seen to follow other writes. Where it is not found (another system than Linux, an
emulator built otherwise) the registers are asked for by ``uc_reg_read_batch`` each time, which
takes longer and says the same.
"""

from __future__ import annotations

import os
import random
import struct

import numpy as np
from unicorn import Uc

from hil.sim.cores.cortex_m7.debug import CORE_REGISTERS
from hil.sim.cores.cortex_m7.layout import Ints
from hil.sim.cores.cortex_m7.op import PC, SP

ENGINE_WORDS, OBJECT_BYTES = 512, 1 << 17
HIGHEST_ADDRESS = 1 << 47
PATTERN_WORDS = SP  # r0 to r12 are searched, SP and LR compared afterwards
# (word of the engine, offset from where it points): found once, tried first from then on.
_found: list[tuple[int, int]] = []


class LiveRegisters:
    """Tells the native hooks how to read an emulator's registers; keeps what they use alive."""

    def __init__(self, uc: Uc, ints: np.ndarray) -> None:
        self._numbers = np.array(CORE_REGISTERS, np.int32)
        self._values = np.zeros(len(CORE_REGISTERS), np.uint32)
        first = self._values.ctypes.data
        self._places = first + self._values.itemsize * np.arange(len(CORE_REGISTERS))
        ints[Ints.BATCH_NUMBERS] = self._numbers.ctypes.data
        ints[Ints.BATCH_PLACES] = self._places.ctypes.data
        ints[Ints.BATCH_VALUES] = first
        ints[Ints.REGISTERS] = address_of(uc)


def address_of(uc: Uc) -> int:
    """Where r0 lies, the others behind it, as 32-bit words; 0 if that is not found. For a chip that
    has not started: its registers are 0 afterwards."""
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return _search(uc, memory)
    finally:
        os.close(memory)
        _write(uc, [0] * PC)


def _search(uc: Uc, memory: int) -> int:
    engine = _words(_bytes(memory, getattr(uc._uch, "value", 0), 8 * ENGINE_WORDS), "Q")
    for word, offset in _found:
        if word < len(engine) and _follows(uc, memory, engine[word] + offset):
            return engine[word] + offset
    pattern = struct.pack(f"<{PATTERN_WORDS}I", *_write_random(uc)[:PATTERN_WORDS])
    for word, base in enumerate(engine):
        offset = _bytes(memory, base, OBJECT_BYTES).find(pattern)
        if offset >= 0 and _follows(uc, memory, base + offset):
            _found.append((word, offset))
            return base + offset
    return 0


def _follows(uc: Uc, memory: int, place: int) -> bool:
    """The words at ``place`` are what is written into the registers, each time."""
    for _ in range(3):
        written = _write_random(uc)
        if _words(_bytes(memory, place, 4 * PC), "I") != tuple(written):
            return False
    return True


def _write_random(uc: Uc) -> list[int]:
    values = [random.getrandbits(30) << 2 for _ in range(PC)]  # SP keeps no lower bits
    _write(uc, values)
    return values


def _write(uc: Uc, values: list[int]) -> None:
    for register, value in zip(CORE_REGISTERS, values, strict=False):
        uc.reg_write(register, value)


def _bytes(memory: int, start: int, size: int) -> bytes:
    """What can be read of memory from ``start``: maybe less than ``size``, maybe nothing."""
    if not 0 < start < HIGHEST_ADDRESS:
        return b""
    try:
        return os.pread(memory, size, start)
    except OSError:
        return b""


def _words(data: bytes, code: str) -> tuple[int, ...]:
    count = len(data) // struct.calcsize(code)
    return struct.unpack_from(f"<{count}{code}", data)
