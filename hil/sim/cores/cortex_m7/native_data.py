"""The data cache in the emulator's loop, compiled with numba.

Unicorn calls ``on_instruction`` before every instruction. Those that access memory are rows of
their block: the addresses come from the registers as they are then, and go through the cache in
their order. Unicorn's own hooks of memory are not used: they restore the core's state at each
access, which takes three times as long, and behind an access inside an IT block unicorn 2.1.4 goes
on with that block's conditions.
"""

from __future__ import annotations

from numba import cfunc, njit, types

from hil.sim.cores.cortex_m7.layout import (
    DCACHE_SET_WORDS,
    DCACHE_WAYS,
    FLASH_AXI,
    FLASH_BYTES,
    FLASH_ITCM,
    LINE_SHIFT,
    NO_ACCESS,
    RAM,
    RAM_BYTES,
    STORES_AHEAD,
    Floats,
    Ints,
    Policy,
    ProfileFloats,
    Row,
)
from hil.sim.cores.cortex_m7.pointers import (
    call_port,
    call_read_batch,
    call_stop,
    float_pointer,
    int_pointer,
    register_pointer,
)
from hil.sim.cores.cortex_m7.source_digest import SOURCE_DIGEST

WORD, REGISTERS, WORD_BYTES, DOUBLE_BYTES = 0xFFFFFFFF, 16, 4, 8
# numba freezes plain integers, not enum members, into compiled code.
_I_FLOATS, _I_ROWS, _I_ROW = int(Ints.FLOATS), int(Ints.ROWS), int(Ints.ROW)
_I_LAST_ROW, _I_NEXT = int(Ints.LAST_ROW), int(Ints.NEXT_ACCESS)
_I_DCACHE, _I_DCACHE_ON = int(Ints.DCACHE), int(Ints.DCACHE_ON)
_I_DCACHE_SETS, _I_OPEN_LINE = int(Ints.DCACHE_SETS), int(Ints.OPEN_LINE)
_I_CACHED_RAM, _I_THROUGH = int(Ints.CACHED_RAM), int(Ints.WRITE_THROUGH)
_I_DCACHE_MISSES, _I_BACKS = int(Ints.DCACHE_MISSES), int(Ints.DCACHE_WRITE_BACKS)
_I_POLICIES, _I_PORT = int(Ints.POLICIES), int(Ints.LOAD_FUNCTION)
_ALLOCATING, _WRITE_BACK = int(Policy.ALLOCATING), int(Policy.WRITE_BACK)
_NONCACHEABLE, _DEVICE = int(Policy.NONCACHEABLE), int(Policy.DEVICE)
_I_PROFILE, _I_PROFILE_BLOCK = int(Ints.PROFILE), int(Ints.PROFILE_BLOCK)
_I_REGISTERS, _I_READ_BATCH = int(Ints.REGISTERS), int(Ints.READ_BATCH_FUNCTION)
_I_NUMBERS, _I_PLACES = int(Ints.BATCH_NUMBERS), int(Ints.BATCH_PLACES)
_I_VALUES = int(Ints.BATCH_VALUES)
_F_CYCLES, _F_BUSY, _F_PENDING = int(Floats.CYCLES), int(Floats.BUS_BUSY), int(Floats.PENDING_J)
_F_MISS, _F_MISS_J = int(Floats.LINE_MISS_CYCLES), int(Floats.LINE_MISS_J)
_F_AXI, _F_RAM_MISS = int(Floats.AXI_LINE_CYCLES), int(Floats.RAM_MISS_CYCLES)
_F_BACK, _F_RAM_LOAD = int(Floats.WRITE_BACK_CYCLES), int(Floats.RAM_LOAD_CYCLES)
_F_RAM_STORE, _F_PROFILED = int(Floats.RAM_STORE_CYCLES), int(Floats.PROFILED)
_F_UNALIGNED_LOAD = int(Floats.UNALIGNED_LOAD_CYCLES)
_F_UNALIGNED_STORE = int(Floats.UNALIGNED_STORE_CYCLES)
_F_UNALIGNED_BUSY, _F_UNALIGNED_AHEAD = int(Floats.UNALIGNED_BUSY), int(Floats.UNALIGNED_AHEAD)
_F_LINE_J, _F_ACCESS_J = int(Floats.SRAM_LINE_J), int(Floats.SRAM_ACCESS_J)
_F_SPLIT_STORE, _F_PORT_WAIT = int(Floats.SPLIT_STORE_CYCLES), int(Floats.PORT_WAIT)
_N_PROFILE, _P_DATA = int(ProfileFloats.COUNT), int(ProfileFloats.DATA)
_R_ADDRESS, _R_BASE, _R_OFFSET = int(Row.ADDRESS), int(Row.BASE), int(Row.OFFSET)
_R_INDEX, _R_SHIFT, _R_ACCESSES = int(Row.INDEX), int(Row.SHIFT), int(Row.ACCESSES)
_R_SIZE, _R_STORES, _R_COUNT = int(Row.SIZE), int(Row.STORES), int(Row.COUNT)
_R_ALIGNED, _I_STOP = int(Row.ALIGNED_BITS), int(Ints.STOP_FUNCTION)
_I_MISALIGNED, _I_MISALIGNED_ADDRESS = int(Ints.MISALIGNED), int(Ints.MISALIGNED_ADDRESS)


# The cache


@njit(inline="always")
def _find_way(cache, at, line):  # type: ignore[no-untyped-def]
    """The word of the set at ``at`` that holds ``line``, or -1."""
    for place in range(at, at + DCACHE_WAYS):
        if cache[place] == line:
            return place
    return -1


@njit
def _allocate(ints, floats, cache, at, line):  # type: ignore[no-untyped-def]
    """Put ``line`` into its set, turn by turn; (its word, bus cycles of the line it drives out)."""
    way = cache[at + 2 * DCACHE_WAYS]
    cache[at + 2 * DCACHE_WAYS] = (way + 1) % DCACHE_WAYS
    place = at + way
    back = 0.0
    if cache[place] >= 0 and cache[place + DCACHE_WAYS]:
        ints[_I_BACKS] += 1
        back = floats[_F_BACK]
        floats[_F_PENDING] += floats[_F_LINE_J]
    cache[place] = line
    cache[place + DCACHE_WAYS] = 0
    ints[_I_DCACHE_MISSES] += 1
    return place, back


@njit(inline="always")
def _policy(ints, address):  # type: ignore[no-untyped-def]
    """How the MPU has the cache treat the line of ``address``."""
    if ints[_I_POLICIES] == 0:
        return _ALLOCATING
    line = address - RAM if address >= RAM else address - FLASH_AXI + RAM_BYTES
    return int_pointer(ints[_I_POLICIES])[line >> LINE_SHIFT]


@njit
def _load_cycles(ints, floats, cache, line, in_flash, policy):  # type: ignore[no-untyped-def]
    """Cycles the core waits for a load from behind the AXI bus."""
    if not ints[_I_DCACHE_ON] or policy >= _NONCACHEABLE:
        if not in_flash:
            floats[_F_PENDING] += floats[_F_ACCESS_J]
            return floats[_F_RAM_LOAD]
        if line == ints[_I_OPEN_LINE]:
            return floats[_F_RAM_LOAD]
        ints[_I_OPEN_LINE] = line
        floats[_F_PENDING] += floats[_F_MISS_J]
        return floats[_F_AXI]
    at = (line & (ints[_I_DCACHE_SETS] - 1)) * DCACHE_SET_WORDS
    if _find_way(cache, at, line) >= 0:
        return 0.0
    _, back = _allocate(ints, floats, cache, at, line)
    wait = max(0.0, floats[_F_BUSY] - floats[_F_CYCLES])
    wait += floats[_F_MISS] if in_flash else floats[_F_RAM_MISS]
    floats[_F_PENDING] += floats[_F_MISS_J] if in_flash else floats[_F_LINE_J]
    floats[_F_BUSY] = floats[_F_CYCLES] + wait + back  # the line driven out leaves behind it
    return wait


@njit
def _store_cycles(ints, floats, cache, line, policy):  # type: ignore[no-untyped-def]
    """Cycles the core waits for a store to SRAM. It goes on unless the bus is behind already."""
    now, busy = floats[_F_CYCLES], floats[_F_BUSY]
    at = (line & (ints[_I_DCACHE_SETS] - 1)) * DCACHE_SET_WORDS
    place = _find_way(cache, at, line)
    goes_back = policy == _ALLOCATING or (policy == _WRITE_BACK and place >= 0)
    if ints[_I_DCACHE_ON] and not ints[_I_THROUGH] and goes_back:
        wait = 0.0
        if place < 0:
            place, back = _allocate(ints, floats, cache, at, line)
            wait = max(0.0, busy - now)
            floats[_F_PENDING] += floats[_F_LINE_J]
            floats[_F_BUSY] = now + wait + floats[_F_RAM_MISS] + back
        cache[place + DCACHE_WAYS] = 1
        return wait
    floats[_F_PENDING] += floats[_F_ACCESS_J]
    floats[_F_BUSY] = max(now, busy) + floats[_F_RAM_STORE]
    return max(0.0, floats[_F_BUSY] - now - STORES_AHEAD * floats[_F_RAM_STORE])


@njit(inline="always")
def _is_cached(ints, address):  # type: ignore[no-untyped-def]
    """The address is behind the AXI bus."""
    in_flash = FLASH_AXI <= address < FLASH_AXI + FLASH_BYTES
    return in_flash or ints[_I_CACHED_RAM] <= address < RAM + RAM_BYTES


@njit(inline="always")
def _is_device(ints, address):  # type: ignore[no-untyped-def]
    """A region of the MPU makes this memory Device or Strongly-ordered. The alignment of accesses
    is checked by that in DTCM too (TRM 5.8.1, DDI 0489F)."""
    if ints[_I_POLICIES] == 0:
        return False
    in_ram = RAM <= address < RAM + RAM_BYTES
    in_flash = FLASH_AXI <= address < FLASH_AXI + FLASH_BYTES
    return (in_ram or in_flash) and _policy(ints, address) == _DEVICE


@njit(inline="always")
def _profile(ints, floats, stall):  # type: ignore[no-untyped-def]
    """Give the ``stall`` to the data accesses of the block, if a profile is kept."""
    if ints[_I_PROFILE] and ints[_I_PROFILE_BLOCK] >= 0:
        rows = float_pointer(ints[_I_PROFILE])
        rows[ints[_I_PROFILE_BLOCK] * _N_PROFILE + _P_DATA] += stall
        floats[_F_PROFILED] += stall


@njit
def _charge(ints, address, size, accesses, stores):  # type: ignore[no-untyped-def]
    """Take accesses through the cache and add what they wait for memory behind the AXI bus."""
    floats, cache = float_pointer(ints[_I_FLOATS]), int_pointer(ints[_I_DCACHE])
    before = floats[_F_CYCLES]
    for n in range(accesses):
        target = address + n * size
        if not _is_cached(ints, target):
            continue
        if stores:
            floats[_F_CYCLES] += _store_cycles(
                ints, floats, cache, target >> LINE_SHIFT, _policy(ints, target)
            )
        else:
            floats[_F_CYCLES] += _load_cycles(
                ints, floats, cache, target >> LINE_SHIFT, target < RAM, _policy(ints, target)
            )
    _profile(ints, floats, floats[_F_CYCLES] - before)


@njit
def _charge_port(ints, address, size):  # type: ignore[no-untyped-def]
    """Add what loads of ``size`` bytes in a row wait for the flash's ITCM port."""
    floats = float_pointer(ints[_I_FLOATS])
    call_port(ints[_I_PORT], ints, address, size)  # type: ignore[call-arg]
    floats[_F_CYCLES] += floats[_F_PORT_WAIT]
    _profile(ints, floats, floats[_F_PORT_WAIT])


@njit
def _charge_unaligned(ints, stores):  # type: ignore[no-untyped-def]
    """Add what an access over a word's border waits beyond an aligned one (R25)."""
    floats = float_pointer(ints[_I_FLOATS])
    stall = floats[_F_UNALIGNED_LOAD]
    if stores:
        now = floats[_F_CYCLES]
        busy = max(now, floats[_F_UNALIGNED_BUSY]) + floats[_F_UNALIGNED_STORE]
        floats[_F_UNALIGNED_BUSY] = busy
        stall = max(0.0, busy - now - floats[_F_UNALIGNED_AHEAD])
    floats[_F_CYCLES] += stall
    _profile(ints, floats, stall)


@njit(inline="always")
def _is_split(address, size, accesses, stores):  # type: ignore[no-untyped-def]
    """Several words are stored, whole double words of them, but not at a double word (R10)."""
    if not stores or accesses == 1:
        return False
    return size * accesses % DOUBLE_BYTES == 0 and address % DOUBLE_BYTES != 0


@njit
def _charge_split(ints):  # type: ignore[no-untyped-def]
    floats = float_pointer(ints[_I_FLOATS])
    floats[_F_CYCLES] += floats[_F_SPLIT_STORE]
    _profile(ints, floats, floats[_F_SPLIT_STORE])


# Instructions


@njit(inline="always")
def _expect(ints, table, row):  # type: ignore[no-untyped-def]
    """Wait for the instruction of ``row``, a place in the table of rows."""
    ints[_I_ROW] = row
    ints[_I_NEXT] = table[row + _R_ADDRESS] if row < ints[_I_LAST_ROW] else NO_ACCESS


@njit(inline="always")
def begin_rows(ints, first, count):  # type: ignore[no-untyped-def]
    """A block begins whose instructions with accesses are the ``count`` rows from ``first``."""
    ints[_I_LAST_ROW] = (first + count) * _R_COUNT
    _expect(ints, int_pointer(ints[_I_ROWS]), first * _R_COUNT)


@njit(inline="always")
def _registers(ints, engine):  # type: ignore[no-untyped-def]
    """r0 to r15 as they are now."""
    place = ints[_I_REGISTERS]
    if place == 0:
        place = ints[_I_VALUES]
        batch, numbers, places = ints[_I_READ_BATCH], ints[_I_NUMBERS], ints[_I_PLACES]
        call_read_batch(batch, engine, numbers, places, REGISTERS)  # type: ignore[call-arg]
    return register_pointer(place)


@njit(inline="always")
def _is_free(ints, address, last, stores):  # type: ignore[no-untyped-def]
    """It loads from one line, which the cache has: nothing to wait for, nothing to change."""
    line, cache = address >> LINE_SHIFT, int_pointer(ints[_I_DCACHE])
    if stores or last >> LINE_SHIFT != line or not ints[_I_DCACHE_ON]:
        return False
    at = (line & (ints[_I_DCACHE_SETS] - 1)) * DCACHE_SET_WORDS
    return _find_way(cache, at, line) >= 0


@njit(inline="always")
def _execute(ints, engine, address):  # type: ignore[no-untyped-def]
    """Count the accesses of the instruction at ``address``, or stop before it if they fault by
    their alignment. Those before it that were expected have been skipped by their condition."""
    table, row = int_pointer(ints[_I_ROWS]), ints[_I_ROW]
    while ints[_I_NEXT] < address:
        row += _R_COUNT
        _expect(ints, table, row)
    if ints[_I_NEXT] != address:
        return
    registers = _registers(ints, engine)
    target = table[row + _R_OFFSET]
    if table[row + _R_BASE] >= 0:
        target += types.int64(registers[table[row + _R_BASE]])
    if table[row + _R_INDEX] >= 0:
        target += types.int64(registers[table[row + _R_INDEX]]) << table[row + _R_SHIFT]
    target &= WORD
    size = table[row + _R_SIZE]
    faults = target & table[row + _R_ALIGNED] != 0
    if not faults and target & (size - 1):  # unaligned: an exception in device memory only
        faults = _is_device(ints, target)
    if faults:
        ints[_I_MISALIGNED], ints[_I_MISALIGNED_ADDRESS] = 1, target
        call_stop(ints[_I_STOP], engine)  # type: ignore[call-arg]
        return
    accesses = table[row + _R_ACCESSES]
    stores = table[row + _R_STORES]
    if accesses == 1 and size <= WORD_BYTES and (target & (WORD_BYTES - 1)) + size > WORD_BYTES:
        _charge_unaligned(ints, stores)
    if _is_split(target, size, accesses, stores):
        _charge_split(ints)
    last = target + size * (accesses - 1)
    if _is_cached(ints, target) or _is_cached(ints, last):
        if not _is_free(ints, target, last, stores):
            _charge(ints, target, size, accesses, stores)
    elif FLASH_ITCM <= target < FLASH_ITCM + FLASH_BYTES:
        _charge_port(ints, target, size * accesses)
    _expect(ints, table, row + _R_COUNT)


def _make_on_instruction(digest):  # type: ignore[no-untyped-def]
    """Unicorn's hook before an instruction whose condition is true, bound to the sources' digest
    for numba's cache: ``void (uc_engine *, uint64_t address, uint32_t size, void *)``."""

    @cfunc(
        types.void(types.int64, types.uint64, types.uint32, types.CPointer(types.int64)),
        cache=True,
    )
    def on_instruction(engine, address_u, _size, user):  # type: ignore[no-untyped-def]
        address = types.int64(address_u)
        if len(digest) != 0 and address >= user[_I_NEXT]:
            _execute(user, engine, address)

    return on_instruction


on_instruction = _make_on_instruction(SOURCE_DIGEST)
