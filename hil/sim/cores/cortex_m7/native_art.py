"""The flash's ITCM port in the emulator's loop, compiled with numba: current line, prefetched line,
and the lines that the ART accelerator keeps (:mod:`.art`).

The array reads one line at a time, in its wait states and one cycle, and a read that has begun is
ended. The first word comes with the last cycle, so that the core waits for the wait states.
"""

from __future__ import annotations

from numba import cfunc, njit, types

from hil.sim.cores.cortex_m7.layout import (
    ART_LINES,
    LINE_SHIFT,
    BlockFloats,
    BlockInts,
    Floats,
    Ints,
)
from hil.sim.cores.cortex_m7.pointers import float_pointer, int_pointer
from hil.sim.cores.cortex_m7.source_digest import SOURCE_DIGEST

# numba freezes plain integers, not enum members, into compiled code.
_I_FLOATS, _I_ART, _I_ART_ON = int(Ints.FLOATS), int(Ints.ART), int(Ints.ART_ON)
_I_PREFETCH_ON, _I_MISSES = int(Ints.PREFETCH_ON), int(Ints.ART_MISSES)
_I_CURRENT, _I_PREFETCHED = int(Ints.PORT_LINE), int(Ints.PREFETCHED_LINE)
_F_WAIT, _F_FREE = int(Floats.FLASH_WAIT_CYCLES), int(Floats.FLASH_FREE)
_F_READY, _F_PENDING = int(Floats.PREFETCHED_AT), int(Floats.PENDING_J)
_F_LINE_J, _F_PORT_WAIT = int(Floats.LINE_MISS_J), int(Floats.PORT_WAIT)
_F_CYCLES = int(Floats.CYCLES)
_I_BLOCK_INTS, _I_BLOCK_FLOATS = int(Ints.BLOCK_INTS), int(Ints.BLOCK_FLOATS)
_B_SIZE, _B_COUNT = int(BlockInts.SIZE), int(BlockInts.COUNT)
_C_CYCLES, _C_COUNT = int(BlockFloats.CYCLES), int(BlockFloats.COUNT)


@njit
def _place(ints, line):  # type: ignore[no-untyped-def]
    """Where the accelerator keeps ``line``, 0 is the line used last; -1: nowhere."""
    if ints[_I_ART_ON]:
        lines = int_pointer(ints[_I_ART])
        for place in range(ART_LINES):
            if lines[place] == line:
                return place
    return -1


@njit
def _keep(ints, line, place):  # type: ignore[no-untyped-def]
    """Make ``line`` the one used last: those used behind ``place``, its own, become older."""
    if ints[_I_ART_ON]:
        lines = int_pointer(ints[_I_ART])
        for at in range(place, 0, -1):
            lines[at] = lines[at - 1]
        lines[0] = line


@njit
def _read(ints, floats, line, now):  # type: ignore[no-untyped-def]
    """Cycles until the array has given ``line``, which is kept from then on."""
    wait = max(0.0, floats[_F_FREE] - now) + floats[_F_WAIT]
    floats[_F_FREE] = now + wait + 1.0
    floats[_F_PENDING] += floats[_F_LINE_J]
    ints[_I_MISSES] += 1
    _keep(ints, line, ART_LINES - 1)
    return wait


@njit
def _prefetch(ints, floats, line, now):  # type: ignore[no-untyped-def]
    """Have the array read ``line`` as soon as it is free, unless it is there."""
    if ints[_I_PREFETCHED] == line or _place(ints, line) >= 0:
        return
    begins = max(now, floats[_F_FREE])
    ints[_I_PREFETCHED] = line
    floats[_F_READY] = begins + floats[_F_WAIT]
    floats[_F_FREE] = begins + floats[_F_WAIT] + 1.0
    floats[_F_PENDING] += floats[_F_LINE_J]


@njit
def _get(ints, floats, line, now):  # type: ignore[no-untyped-def]
    """Cycles until ``line`` is there, for code or for data. What was waited for is kept."""
    place = _place(ints, line)
    if place >= 0:
        _keep(ints, line, place)
        return 0.0
    if line != ints[_I_PREFETCHED]:
        return _read(ints, floats, line, now)
    wait = floats[_F_READY] - now
    if wait <= 0.0:
        return 0.0
    ints[_I_MISSES] += 1
    _keep(ints, line, ART_LINES - 1)
    return wait


@njit
def _fetch(ints, floats, address, size, own):  # type: ignore[no-untyped-def]
    """Cycles that a block of ``size`` bytes waits for its lines. It comes to each line as if its
    ``own`` cycles were spread evenly over its bytes."""
    now, waited = floats[_F_CYCLES], 0.0
    for line in range(address >> LINE_SHIFT, (address + size - 1 >> LINE_SHIFT) + 1):
        if line == ints[_I_CURRENT]:
            continue
        before = max(0, (line << LINE_SHIFT) - address)
        at = now + waited + own * before / size
        wait = _get(ints, floats, line, at)
        waited += wait
        ints[_I_CURRENT] = line
        if ints[_I_PREFETCH_ON]:
            _prefetch(ints, floats, line + 1, at + wait)
    return waited


@njit
def _load(ints, floats, address, size):  # type: ignore[no-untyped-def]
    """Cycles that loads of ``size`` bytes in a row wait for their lines. Without the accelerator
    code and data share the current line."""
    waited = 0.0
    for line in range(address >> LINE_SHIFT, (address + size - 1 >> LINE_SHIFT) + 1):
        if line == ints[_I_CURRENT]:
            continue
        if not ints[_I_ART_ON]:
            ints[_I_CURRENT] = line
        waited += _get(ints, floats, line, floats[_F_CYCLES] + waited)
    return waited


_SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


def _make_on_port_fetch(digest):  # type: ignore[no-untyped-def]
    """What ``native.on_block`` calls before a block at the port: (ints, address, block)."""

    @cfunc(_SIGNATURE, cache=True)
    def on_port_fetch(ints, address, block):  # type: ignore[no-untyped-def]
        if len(digest) != 0:
            floats = float_pointer(ints[_I_FLOATS])
            size = int_pointer(ints[_I_BLOCK_INTS])[block * _B_COUNT + _B_SIZE]
            own = float_pointer(ints[_I_BLOCK_FLOATS])[block * _C_COUNT + _C_CYCLES]
            floats[_F_PORT_WAIT] = _fetch(ints, floats, address, size, own)

    return on_port_fetch


def _make_on_port_load(digest):  # type: ignore[no-untyped-def]
    """What ``native_data.on_instruction`` calls for loads there: (ints, address, bytes)."""

    @cfunc(_SIGNATURE, cache=True)
    def on_port_load(ints, address, size):  # type: ignore[no-untyped-def]
        if len(digest) != 0:
            floats = float_pointer(ints[_I_FLOATS])
            floats[_F_PORT_WAIT] = _load(ints, floats, address, size)

    return on_port_load


on_port_fetch = _make_on_port_fetch(SOURCE_DIGEST)
on_port_load = _make_on_port_load(SOURCE_DIGEST)
