"""The part of the cycle model that runs inside the emulator's loop, compiled with numba.

Unicorn calls ``on_block`` before every basic block. The hook adds the block's cost, learned
once by :mod:`.schedule`, judges the branch that led here, asks the instruction cache, books the
energy and stops the emulation when the cycle limit is reached *before* the block runs, so that a
later run resumes at the same block and nothing is counted twice.

State shared with Python lives in two arrays (``Ints``, ``Floats``) and two tables of blocks.
Function pointers and table addresses are passed as data, not as constants, so that the compiled
hook can be kept on disk by numba.
"""

from __future__ import annotations

import math
from enum import IntEnum

from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

FLASH_AXI, FLASH_ITCM, ITCM, RAM = 0x08000000, 0x00200000, 0, 0x20000000
# Room for the largest chip of the family, the F76x; what a chip has of it says its memory map.
FLASH_BYTES, ITCM_BYTES, RAM_BYTES = 2 << 20, 16 << 10, 512 << 10
# Order of the code areas in the index table, in halfwords.
AXI_AT, ALIAS_AT, ITCM_AT, RAM_AT = 0, FLASH_BYTES // 2, FLASH_BYTES, FLASH_BYTES + ITCM_BYTES // 2
INDEX_ENTRIES = RAM_AT + RAM_BYTES // 2
BLOCK_CAPACITY = 1 << 16


class Ints(IntEnum):
    """Slots of the integer state."""

    FLOATS = 0  # addresses of the other arrays
    INDEX = 1
    BLOCK_INTS = 2
    BLOCK_FLOATS = 3
    BINS = 4
    ICACHE = 5
    STOP_FUNCTION = 6  # uc_emu_stop
    RESOLVE_FUNCTION = 7  # Python: (address, size) -> block number, or -1 to stop
    INSTRUCTIONS = 8
    BLOCK = 9  # the block that runs now, -1 after a jump made from outside
    BLOCK_ADDRESS = 10
    ACCESSES = 11  # peripheral accesses since the block began
    STOPPED = 12  # the hook has asked the emulator to stop
    BIN_COUNT = 13  # complete energy bins waiting in BINS
    BIN_CAPACITY = 14
    ICACHE_ON = 15
    ICACHE_MISSES = 16
    MISPREDICTS = 17
    BRANCHES = 18
    BLOCKS = 19
    ALL_ACCESSES = 20  # peripheral accesses since power-on
    READ_FUNCTION = 21  # Python: (offset, size) -> word, for what on_dwt_read does not know
    COUNTER_RUNNING = 22  # CYCCNT counts
    DCACHE = 23  # address of its array
    DCACHE_ON = 24
    ICACHE_SETS = 25
    DCACHE_SETS = 26
    CACHED_RAM = 27  # first address of RAM behind the AXI bus; below it is DTCM
    WRITE_THROUGH = 28  # CACR.FORCEWT
    DCACHE_MISSES = 29
    DCACHE_WRITE_BACKS = 30
    OPEN_LINE = 31  # the flash line read last with the data cache off
    PROFILE = 32  # address of the profile (ProfileFloats a block), 0: none is kept
    PROFILE_BLOCK = 33  # the last block that the profile has seen, -1: none yet
    COUNT = 34


class Floats(IntEnum):
    """Slots of the floating-point state. Cycles are of the core clock, energy is in joules."""

    CYCLES = 0
    LIMIT = 1
    BIN_EDGE = 2  # cycle at which the current energy bin ends
    BIN_CYCLES = 3
    BASE_SINCE = 4  # cycle up to which base energy is booked
    BASE_J = 5  # base energy of a cycle
    PENDING_J = 6  # energy of the current bin so far, without base since BASE_SINCE
    MISPREDICT_CYCLES = 7
    LINE_MISS_CYCLES = 8  # a line from flash or SRAM into the instruction cache
    LINE_MISS_J = 9
    AXI_LINE_CYCLES = 10  # fetch of one line with the cache off
    ALIAS_LINE_CYCLES = 11  # the same through the ITCM flash port (ART accelerator)
    RAM_LINE_CYCLES = 12
    LOAD_STALL_CYCLES = 13  # expected stall of a load that may leave the TCM
    COUNTER_BASE = 14  # CYCCNT is CYCLES less this while it counts
    DWT_STALL = 15  # of one read of CYCCNT
    BUS_BUSY = 16  # cycle until which line fills and stores occupy the AXI bus
    RAM_MISS_CYCLES = 17  # a line from SRAM into the data cache
    WRITE_BACK_CYCLES = 18  # a modified line back to SRAM
    RAM_LOAD_CYCLES = 19  # one uncached load, one store past the cache
    RAM_STORE_CYCLES = 20
    PROFILED = 21  # cycle up to which the profile is complete
    COUNT = 22


class BlockInts(IntEnum):
    """Columns of the integer table of blocks."""

    SIZE = 0
    INSTRUCTIONS = 1
    ENDING = 2
    NEXT = 3  # address behind the block
    PREDICTOR = 4  # two-bit counter of a conditional branch, last target of an indirect one
    FIRST_LINE = 5
    LAST_LINE = 6
    AREA = 7
    COUNT = 8


class BlockFloats(IntEnum):
    """Columns of the floating-point table of blocks."""

    CYCLES = 0
    LOADS = 1  # loads whose address may be cached memory
    ENERGY_J = 2  # of the instructions, above the base energy of a cycle
    REPEAT_CYCLES = 3  # when the block follows itself: hazards carried round the loop
    BEHIND = 4  # cycles behind the block's first four peripheral accesses, NaN until known
    COUNT = 8


class ProfileFloats(IntEnum):
    """Columns of the profile, a row a block: how often it ran, then its cycles by reason."""

    RUNS = 0
    REPEATS = 1  # of these, runs behind itself
    PIPELINE = 2
    BRANCH = 3  # the branch at its end was foretold wrongly
    FETCH = 4
    DATA = 5
    WAIT = 6  # added between this block's start and the next one's
    ASLEEP = 7
    COUNT = 8


class Ending(IntEnum):
    """How control leaves a block."""

    FALL = 0
    DIRECT = 1
    CONDITIONAL = 2
    INDIRECT = 3


class Area(IntEnum):
    """Where a block's code is fetched from."""

    AXI = 0
    ALIAS = 1
    ITCM = 2
    RAM = 3


ICACHE_WAYS, DCACHE_WAYS, LINE_SHIFT = 2, 4, 5  # 32-byte lines
MOST_SETS = {ICACHE_WAYS: 256, DCACHE_WAYS: 128}  # of 16 KB
# Three words a set: the two line numbers and which of them is older.
ICACHE_WORDS = MOST_SETS[ICACHE_WAYS] * 3
# Nine words a set: four line numbers, four modified flags, the way to be replaced next.
DCACHE_SET_WORDS = 2 * DCACHE_WAYS + 1
DCACHE_WORDS = MOST_SETS[DCACHE_WAYS] * DCACHE_SET_WORDS
STORES_AHEAD = 4.0  # stores on their way to the bus before the core waits
UC_MEM_WRITE = 17

KNOWN_ACCESSES = 4
CYCCNT = 4

# numba freezes plain integers, not enum members, into compiled code.
_I_FLOATS, _I_INDEX = int(Ints.FLOATS), int(Ints.INDEX)
_I_BLOCK_INTS, _I_BLOCK_FLOATS = int(Ints.BLOCK_INTS), int(Ints.BLOCK_FLOATS)
_I_BINS, _I_ICACHE = int(Ints.BINS), int(Ints.ICACHE)
_I_STOP, _I_RESOLVE = int(Ints.STOP_FUNCTION), int(Ints.RESOLVE_FUNCTION)
_I_INSTRUCTIONS, _I_BLOCK = int(Ints.INSTRUCTIONS), int(Ints.BLOCK)
_I_BLOCK_ADDRESS, _I_ACCESSES = int(Ints.BLOCK_ADDRESS), int(Ints.ACCESSES)
_I_STOPPED, _I_BIN_COUNT = int(Ints.STOPPED), int(Ints.BIN_COUNT)
_I_BIN_CAPACITY, _I_ICACHE_ON = int(Ints.BIN_CAPACITY), int(Ints.ICACHE_ON)
_I_ICACHE_MISSES, _I_MISPREDICTS = int(Ints.ICACHE_MISSES), int(Ints.MISPREDICTS)
_I_BRANCHES, _I_BLOCKS = int(Ints.BRANCHES), int(Ints.BLOCKS)
_I_ALL_ACCESSES, _I_READ = int(Ints.ALL_ACCESSES), int(Ints.READ_FUNCTION)
_I_RUNNING = int(Ints.COUNTER_RUNNING)
_I_DCACHE, _I_DCACHE_ON = int(Ints.DCACHE), int(Ints.DCACHE_ON)
_I_ICACHE_SETS, _I_DCACHE_SETS = int(Ints.ICACHE_SETS), int(Ints.DCACHE_SETS)
_I_CACHED_RAM, _I_THROUGH = int(Ints.CACHED_RAM), int(Ints.WRITE_THROUGH)
_I_DCACHE_MISSES, _I_BACKS = int(Ints.DCACHE_MISSES), int(Ints.DCACHE_WRITE_BACKS)
_I_OPEN_LINE = int(Ints.OPEN_LINE)
_F_BUSY, _F_RAM_MISS = int(Floats.BUS_BUSY), int(Floats.RAM_MISS_CYCLES)
_F_BACK, _F_RAM_LOAD = int(Floats.WRITE_BACK_CYCLES), int(Floats.RAM_LOAD_CYCLES)
_F_RAM_STORE = int(Floats.RAM_STORE_CYCLES)
_F_BASE, _F_DWT_STALL = int(Floats.COUNTER_BASE), int(Floats.DWT_STALL)
_C_BEHIND = int(BlockFloats.BEHIND)
_N_INTS, _N_FLOATS = int(Ints.COUNT), int(Floats.COUNT)
_F_CYCLES, _F_LIMIT, _F_EDGE = int(Floats.CYCLES), int(Floats.LIMIT), int(Floats.BIN_EDGE)
_F_BIN_CYCLES, _F_SINCE = int(Floats.BIN_CYCLES), int(Floats.BASE_SINCE)
_F_BASE_J, _F_PENDING = int(Floats.BASE_J), int(Floats.PENDING_J)
_F_MISPREDICT, _F_MISS = int(Floats.MISPREDICT_CYCLES), int(Floats.LINE_MISS_CYCLES)
_F_MISS_J, _F_AXI = int(Floats.LINE_MISS_J), int(Floats.AXI_LINE_CYCLES)
_F_ALIAS, _F_RAM = int(Floats.ALIAS_LINE_CYCLES), int(Floats.RAM_LINE_CYCLES)
_F_LOAD_STALL = int(Floats.LOAD_STALL_CYCLES)
_B_SIZE, _B_INSTRUCTIONS = int(BlockInts.SIZE), int(BlockInts.INSTRUCTIONS)
_B_ENDING, _B_NEXT = int(BlockInts.ENDING), int(BlockInts.NEXT)
_B_PREDICTOR, _B_AREA = int(BlockInts.PREDICTOR), int(BlockInts.AREA)
_B_FIRST, _B_LAST = int(BlockInts.FIRST_LINE), int(BlockInts.LAST_LINE)
_B_COUNT, _C_COUNT = int(BlockInts.COUNT), int(BlockFloats.COUNT)
_C_CYCLES, _C_LOADS = int(BlockFloats.CYCLES), int(BlockFloats.LOADS)
_C_ENERGY, _C_REPEAT = int(BlockFloats.ENERGY_J), int(BlockFloats.REPEAT_CYCLES)
_I_PROFILE, _I_PROFILE_BLOCK = int(Ints.PROFILE), int(Ints.PROFILE_BLOCK)
_F_PROFILED, _N_PROFILE = int(Floats.PROFILED), int(ProfileFloats.COUNT)
_P_RUNS, _P_REPEATS = int(ProfileFloats.RUNS), int(ProfileFloats.REPEATS)
_P_PIPELINE, _P_BRANCH = int(ProfileFloats.PIPELINE), int(ProfileFloats.BRANCH)
_P_FETCH, _P_DATA, _P_WAIT = (
    int(ProfileFloats.FETCH), int(ProfileFloats.DATA), int(ProfileFloats.WAIT)
)  # fmt: skip
_CONDITIONAL, _INDIRECT = int(Ending.CONDITIONAL), int(Ending.INDIRECT)
_AREA_AXI, _AREA_ALIAS, _AREA_ITCM = int(Area.AXI), int(Area.ALIAS), int(Area.ITCM)


@intrinsic
def _int_pointer(_typing, address):  # type: ignore[no-untyped-def]
    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.int64), build


@intrinsic
def _float_pointer(_typing, address):  # type: ignore[no-untyped-def]
    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float64)(types.int64), build


@intrinsic
def _index_pointer(_typing, address):  # type: ignore[no-untyped-def]
    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int32)(types.int64), build


@intrinsic
def _call_stop(_typing, function, engine):  # type: ignore[no-untyped-def]
    """``uc_err uc_emu_stop(uc_engine *)`` by address."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        pointer = ir.FunctionType(ir.IntType(32), [word]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), build


@intrinsic
def _call_resolve(_typing, function, address, size):  # type: ignore[no-untyped-def]
    """``int64 resolve(int64 address, int64 size)`` by address; the callee takes the GIL."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        pointer = ir.FunctionType(word, [word, word]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], pointer), list(arguments[1:]))

    return types.int64(types.int64, types.int64, types.int64), build


@njit(cache=True)
def code_index(address):  # type: ignore[no-untyped-def]
    """The index-table entry of code at ``address``, or -1 where no code can be."""
    if FLASH_AXI <= address < FLASH_AXI + FLASH_BYTES:
        return AXI_AT + ((address - FLASH_AXI) >> 1)
    if RAM <= address < RAM + RAM_BYTES:
        return RAM_AT + ((address - RAM) >> 1)
    if FLASH_ITCM <= address < FLASH_ITCM + FLASH_BYTES:
        return ALIAS_AT + ((address - FLASH_ITCM) >> 1)
    if address < ITCM_BYTES:
        return ITCM_AT + (address >> 1)
    return -1


@njit(cache=True)
def flush_bins(ints, floats, bins):  # type: ignore[no-untyped-def]
    """Close every energy bin that ends at or before the current cycle."""
    while floats[_F_CYCLES] >= floats[_F_EDGE]:
        count = ints[_I_BIN_COUNT]
        if count >= ints[_I_BIN_CAPACITY]:
            return
        edge = floats[_F_EDGE]
        bins[count] = floats[_F_PENDING] + floats[_F_BASE_J] * (edge - floats[_F_SINCE])
        ints[_I_BIN_COUNT] = count + 1
        floats[_F_PENDING] = 0.0
        floats[_F_SINCE] = edge
        floats[_F_EDGE] = edge + floats[_F_BIN_CYCLES]


@njit(cache=True)
def _judge_branch(ints, blocks, previous, address):  # type: ignore[no-untyped-def]
    """1 if the branch that ended block ``previous`` was mispredicted; teaches the predictor."""
    ending = blocks[previous, _B_ENDING]
    if ending == _CONDITIONAL:
        ints[_I_BRANCHES] += 1
        counter = blocks[previous, _B_PREDICTOR]
        if address != blocks[previous, _B_NEXT]:
            blocks[previous, _B_PREDICTOR] = min(counter + 1, 3)
            return 1 if counter < 2 else 0
        blocks[previous, _B_PREDICTOR] = max(counter - 1, 0)
        return 1 if counter >= 2 else 0
    if ending == _INDIRECT:
        ints[_I_BRANCHES] += 1
        wrong = blocks[previous, _B_PREDICTOR] != address
        blocks[previous, _B_PREDICTOR] = address
        return 1 if wrong else 0
    return 0


@njit(cache=True)
def _cache_misses(cache, sets, first, last):  # type: ignore[no-untyped-def]
    """Misses of lines first..last in a two-way cache that replaces the older way."""
    misses = 0
    for line in range(first, last + 1):
        at = (line & (sets - 1)) * 3
        if cache[at] == line:
            cache[at + 2] = 1
        elif cache[at + 1] == line:
            cache[at + 2] = 0
        else:
            older = cache[at + 2]
            cache[at + older] = line
            cache[at + 2] = 1 - older
            misses += 1
    return misses


@njit(cache=True)
def _fetch_cycles(ints, floats, cache, blocks, block):  # type: ignore[no-untyped-def]
    """Cycles the front end waits for the block's lines."""
    area = blocks[block, _B_AREA]
    if area == _AREA_ITCM:
        return 0.0
    first, last = blocks[block, _B_FIRST], blocks[block, _B_LAST]
    if area == _AREA_ALIAS:
        return floats[_F_ALIAS] * (last - first + 1)
    if ints[_I_ICACHE_ON]:
        misses = _cache_misses(cache, ints[_I_ICACHE_SETS], first, last)
        ints[_I_ICACHE_MISSES] += misses
        floats[_F_PENDING] += misses * floats[_F_MISS_J]
        return floats[_F_MISS] * misses
    if area == _AREA_AXI:
        floats[_F_PENDING] += (last - first + 1) * floats[_F_MISS_J]
        return floats[_F_AXI] * (last - first + 1)
    return floats[_F_RAM] * (last - first + 1)


@njit(cache=True)
def _profile(ints, floats, previous, block, pipeline, branch, fetch, data):  # type: ignore[no-untyped-def]
    """Count a run of ``block``; what time has passed since the last one's end was its wait."""
    rows = carray(_float_pointer(ints[_I_PROFILE]), (BLOCK_CAPACITY, _N_PROFILE))  # type: ignore[call-arg]
    before = ints[_I_PROFILE_BLOCK]
    if before < 0:
        before = block
    rows[before, _P_WAIT] += floats[_F_CYCLES] - floats[_F_PROFILED]
    rows[block, _P_RUNS] += 1.0
    if previous == block:
        rows[block, _P_REPEATS] += 1.0
    rows[block, _P_PIPELINE] += pipeline
    rows[max(previous, 0), _P_BRANCH] += branch
    rows[block, _P_FETCH] += fetch
    rows[block, _P_DATA] += data
    ints[_I_PROFILE_BLOCK] = block
    floats[_F_PROFILED] = floats[_F_CYCLES] + (pipeline + branch + fetch + data)


@cfunc(types.void(types.int64, types.uint64, types.uint32, types.CPointer(types.int64)), cache=True)
def on_block(engine, address_u, size_u, user):  # type: ignore[no-untyped-def]
    """Unicorn's block hook: ``void (uc_engine *, uint64_t address, uint32_t size, void *)``."""
    address, size = types.int64(address_u), types.int64(size_u)
    ints = carray(user, (_N_INTS,))
    floats = carray(_float_pointer(ints[_I_FLOATS]), (_N_FLOATS,))  # type: ignore[call-arg]
    if floats[_F_CYCLES] >= floats[_F_LIMIT]:
        ints[_I_STOPPED] = 1
        _call_stop(ints[_I_STOP], engine)
        return
    index = carray(_index_pointer(ints[_I_INDEX]), (INDEX_ENTRIES,))
    blocks = carray(_int_pointer(ints[_I_BLOCK_INTS]), (BLOCK_CAPACITY, _B_COUNT))
    at = code_index(address)
    block = types.int64(-1)
    if at >= 0:
        block = types.int64(index[at])
    if block < 0 or blocks[block, _B_SIZE] != size:
        block = _call_resolve(ints[_I_RESOLVE], address, size)
        if block < 0:
            ints[_I_STOPPED] = 1
            _call_stop(ints[_I_STOP], engine)
            return
    costs = carray(_float_pointer(ints[_I_BLOCK_FLOATS]), (BLOCK_CAPACITY, _C_COUNT))
    cache = carray(_int_pointer(ints[_I_ICACHE]), (ICACHE_WORDS,))
    previous = ints[_I_BLOCK]
    pipeline, branch = costs[block, _C_CYCLES], 0.0
    if previous == block:
        pipeline = costs[block, _C_REPEAT]
    if previous >= 0 and _judge_branch(ints, blocks, previous, address):
        ints[_I_MISPREDICTS] += 1
        branch = floats[_F_MISPREDICT]
    fetch = _fetch_cycles(ints, floats, cache, blocks, block)
    data = costs[block, _C_LOADS] * floats[_F_LOAD_STALL]
    cycles = pipeline + branch + fetch + data
    if ints[_I_PROFILE]:
        _profile(ints, floats, previous, block, pipeline, branch, fetch, data)
    ints[_I_BLOCK] = block
    ints[_I_BLOCK_ADDRESS] = address
    ints[_I_ACCESSES] = 0
    ints[_I_BLOCKS] += 1
    ints[_I_INSTRUCTIONS] += blocks[block, _B_INSTRUCTIONS]
    floats[_F_CYCLES] += cycles
    floats[_F_PENDING] += costs[block, _C_ENERGY]
    if floats[_F_CYCLES] >= floats[_F_EDGE]:
        bins = carray(_float_pointer(ints[_I_BINS]), (ints[_I_BIN_CAPACITY],))
        flush_bins(ints, floats, bins)


@njit(cache=True)
def _find_way(cache, at, line):  # type: ignore[no-untyped-def]
    """The word of the set at ``at`` that holds ``line``, or -1."""
    for way in range(DCACHE_WAYS):
        if cache[at + way] == line:
            return at + way
    return -1


@njit(cache=True)
def _allocate(ints, floats, cache, at, line):  # type: ignore[no-untyped-def]
    """Put ``line`` into its set, turn by turn; (its word, bus cycles of the line it drives out)."""
    way = cache[at + 2 * DCACHE_WAYS]
    cache[at + 2 * DCACHE_WAYS] = (way + 1) % DCACHE_WAYS
    place = at + way
    back = 0.0
    if cache[place] >= 0 and cache[place + DCACHE_WAYS]:
        ints[_I_BACKS] += 1
        back = floats[_F_BACK]
    cache[place] = line
    cache[place + DCACHE_WAYS] = 0
    ints[_I_DCACHE_MISSES] += 1
    return place, back


@njit(cache=True)
def _load_cycles(ints, floats, cache, line, in_flash):  # type: ignore[no-untyped-def]
    """Cycles the core waits for a load from behind the AXI bus."""
    if not ints[_I_DCACHE_ON]:
        if not in_flash:
            return floats[_F_RAM_LOAD]
        again = line == ints[_I_OPEN_LINE]
        ints[_I_OPEN_LINE] = line
        return floats[_F_RAM_LOAD] if again else floats[_F_AXI]
    at = (line & (ints[_I_DCACHE_SETS] - 1)) * DCACHE_SET_WORDS
    if _find_way(cache, at, line) >= 0:
        return 0.0
    _, back = _allocate(ints, floats, cache, at, line)
    wait = max(0.0, floats[_F_BUSY] - floats[_F_CYCLES])
    wait += floats[_F_MISS] if in_flash else floats[_F_RAM_MISS]
    if in_flash:
        floats[_F_PENDING] += floats[_F_MISS_J]
    floats[_F_BUSY] = floats[_F_CYCLES] + wait + back  # the line driven out leaves behind it
    return wait


@njit(cache=True)
def _store_cycles(ints, floats, cache, line):  # type: ignore[no-untyped-def]
    """Cycles the core waits for a store to SRAM. It goes on unless the bus is behind already."""
    now, busy = floats[_F_CYCLES], floats[_F_BUSY]
    at = (line & (ints[_I_DCACHE_SETS] - 1)) * DCACHE_SET_WORDS
    if ints[_I_DCACHE_ON] and not ints[_I_THROUGH]:
        place = _find_way(cache, at, line)
        wait = 0.0
        if place < 0:
            place, back = _allocate(ints, floats, cache, at, line)
            wait = max(0.0, busy - now)
            floats[_F_BUSY] = now + wait + floats[_F_RAM_MISS] + back
        cache[place + DCACHE_WAYS] = 1
        return wait
    floats[_F_BUSY] = max(now, busy) + floats[_F_RAM_STORE]
    return max(0.0, floats[_F_BUSY] - now - STORES_AHEAD * floats[_F_RAM_STORE])


@cfunc(
    types.void(
        types.int64,
        types.int32,
        types.uint64,
        types.int32,
        types.int64,
        types.CPointer(types.int64),
    ),
    cache=True,
)
def on_access(_engine, kind, address_u, _size, _value, user):  # type: ignore[no-untyped-def]
    """Unicorn's hook of every load and store of data: ``void (uc_engine *, uc_mem_type,
    uint64_t address, int size, int64_t value, void *)``. Adds what the data cache lets through."""
    address = types.int64(address_u)
    ints = carray(user, (_N_INTS,))
    in_flash = FLASH_AXI <= address < FLASH_AXI + FLASH_BYTES
    if not in_flash and not ints[_I_CACHED_RAM] <= address < RAM + RAM_BYTES:
        return
    floats = carray(_float_pointer(ints[_I_FLOATS]), (_N_FLOATS,))  # type: ignore[call-arg]
    cache = carray(_int_pointer(ints[_I_DCACHE]), (DCACHE_WORDS,))
    line = address >> LINE_SHIFT
    if kind == UC_MEM_WRITE:
        stall = _store_cycles(ints, floats, cache, line)
    else:
        stall = _load_cycles(ints, floats, cache, line, in_flash)
    floats[_F_CYCLES] += stall
    if ints[_I_PROFILE] and ints[_I_PROFILE_BLOCK] >= 0:
        rows = carray(_float_pointer(ints[_I_PROFILE]), (BLOCK_CAPACITY, _N_PROFILE))  # type: ignore[call-arg]
        rows[ints[_I_PROFILE_BLOCK], _P_DATA] += stall
        floats[_F_PROFILED] += stall


@cfunc(
    types.uint64(types.int64, types.uint64, types.uint32, types.CPointer(types.int64)), cache=True
)
def on_dwt_read(_engine, offset, size, user):  # type: ignore[no-untyped-def]
    """Unicorn's read callback of the DWT page: CYCCNT without Python, which delays poll a lot."""
    ints = carray(user, (_N_INTS,))
    floats = carray(_float_pointer(ints[_I_FLOATS]), (_N_FLOATS,))  # type: ignore[call-arg]
    block, ordinal = ints[_I_BLOCK], ints[_I_ACCESSES]
    known = offset == CYCCNT and size == 4 and block >= 0 and ordinal < KNOWN_ACCESSES
    if known and ints[_I_RUNNING]:
        costs = carray(_float_pointer(ints[_I_BLOCK_FLOATS]), (BLOCK_CAPACITY, _C_COUNT))
        behind = costs[block, _C_BEHIND + ordinal]
        if not math.isnan(behind):
            count = floats[_F_CYCLES] - behind - floats[_F_BASE]
            floats[_F_CYCLES] += floats[_F_DWT_STALL]
            ints[_I_ACCESSES] = ordinal + 1
            ints[_I_ALL_ACCESSES] += 1
            return types.uint64(types.int64(math.floor(count)) & 0xFFFFFFFF)
    return types.uint64(
        _call_resolve(ints[_I_READ], types.int64(offset), types.int64(size)) & 0xFFFFFFFF
    )
