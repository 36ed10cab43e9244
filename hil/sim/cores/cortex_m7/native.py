"""The part of the cycle model that runs inside the emulator's loop, compiled with numba.

Unicorn calls ``on_block`` before every basic block. The hook adds the block's cost and what the
block before carries into it, learned once by :mod:`.schedule`, judges the branch that led here,
follows the store buffer, asks the instruction cache, books the energy and stops the emulation when
the cycle limit is reached *before* the block runs, so that a later run resumes at the same block
and nothing is counted twice. Where the data cache is followed (:mod:`.native_data`), the block's
instructions add what they wait for data.
"""

from __future__ import annotations

import math

from numba import carray, cfunc, njit, types

from hil.sim.cores.cortex_m7 import layout
from hil.sim.cores.cortex_m7.layout import (
    BLOCK_CAPACITY,
    CYCCNT,
    KNOWN_ACCESSES,
    NO_EDGE,
    Area,
    BlockFloats,
    BlockInts,
    Ending,
    Floats,
    Ints,
    ProfileFloats,
)
from hil.sim.cores.cortex_m7.native_data import begin_rows
from hil.sim.cores.cortex_m7.pointers import (
    call_port,
    call_python,
    call_stop,
    float_pointer,
    index_pointer,
    int_pointer,
)
from hil.sim.cores.cortex_m7.source_digest import SOURCE_DIGEST

# numba freezes plain integers, not enum members, into compiled code.
_I_FLOATS, _I_INDEX, _I_BLOCK_INTS = int(Ints.FLOATS), int(Ints.INDEX), int(Ints.BLOCK_INTS)
_I_BLOCK_FLOATS, _I_BINS, _I_ICACHE = int(Ints.BLOCK_FLOATS), int(Ints.BINS), int(Ints.ICACHE)
_I_STOP, _I_STOPPED = int(Ints.STOP_FUNCTION), int(Ints.STOPPED)
_I_PORT = int(Ints.FETCH_FUNCTION)
_I_RESOLVE, _I_INSTRUCTIONS = int(Ints.RESOLVE_FUNCTION), int(Ints.INSTRUCTIONS)
_I_BLOCK, _I_BLOCK_ADDRESS = int(Ints.BLOCK), int(Ints.BLOCK_ADDRESS)
_I_ACCESSES, _I_BIN_COUNT = int(Ints.ACCESSES), int(Ints.BIN_COUNT)
_I_BIN_CAPACITY, _I_ICACHE_ON = int(Ints.BIN_CAPACITY), int(Ints.ICACHE_ON)
_I_ICACHE_MISSES, _I_MISPREDICTS = int(Ints.ICACHE_MISSES), int(Ints.MISPREDICTS)
_I_BRANCHES, _I_BLOCKS = int(Ints.BRANCHES), int(Ints.BLOCKS)
_I_ALL_ACCESSES, _I_READ = int(Ints.ALL_ACCESSES), int(Ints.READ_FUNCTION)
_I_RUNNING, _I_ICACHE_SETS = int(Ints.COUNTER_RUNNING), int(Ints.ICACHE_SETS)
_F_BASE, _F_DWT_STALL = int(Floats.COUNTER_BASE), int(Floats.DWT_STALL)
_C_BEHIND = int(BlockFloats.BEHIND)
_F_CYCLES, _F_LIMIT, _F_EDGE = int(Floats.CYCLES), int(Floats.LIMIT), int(Floats.BIN_EDGE)
_F_BIN_CYCLES, _F_SINCE = int(Floats.BIN_CYCLES), int(Floats.BASE_SINCE)
_F_BASE_J, _F_PENDING = int(Floats.BASE_J), int(Floats.PENDING_J)
_F_MISPREDICT, _F_MISS = int(Floats.MISPREDICT_CYCLES), int(Floats.LINE_MISS_CYCLES)
_F_MISS_J, _F_AXI = int(Floats.LINE_MISS_J), int(Floats.AXI_LINE_CYCLES)
_F_RAM, _F_LOAD_STALL = int(Floats.RAM_LINE_CYCLES), int(Floats.LOAD_STALL_CYCLES)
_F_PORT_WAIT = int(Floats.PORT_WAIT)
_B_SIZE, _B_INSTRUCTIONS = int(BlockInts.SIZE), int(BlockInts.INSTRUCTIONS)
_B_ENDING, _B_NEXT = int(BlockInts.ENDING), int(BlockInts.NEXT)
_B_PREDICTOR, _B_AREA = int(BlockInts.PREDICTOR), int(BlockInts.AREA)
_B_FIRST, _B_LAST = int(BlockInts.FIRST_LINE), int(BlockInts.LAST_LINE)
_B_COUNT = int(BlockInts.COUNT)
_C_COUNT, _C_CYCLES = int(BlockFloats.COUNT), int(BlockFloats.CYCLES)
_C_LOADS, _C_ENERGY = int(BlockFloats.LOADS), int(BlockFloats.ENERGY_J)
_C_DRAIN = int(BlockFloats.STORE_DRAIN)
_B_BEFORE, _C_CARRY = int(BlockInts.BEFORE), int(BlockFloats.CARRY)
_I_EDGES, _I_CARRIES = int(Ints.EDGES), int(Ints.CARRIES)
_I_EDGE_MASK, _I_FOLLOW = int(Ints.EDGE_MASK), int(Ints.EDGE_FUNCTION)
_F_STORES, _F_BUFFERED = int(Floats.STORES_BUSY), int(Floats.STORE_BUFFER_CYCLES)
_I_PROFILE, _I_PROFILE_BLOCK = int(Ints.PROFILE), int(Ints.PROFILE_BLOCK)
_F_PROFILED = int(Floats.PROFILED)
_N_PROFILE = int(ProfileFloats.COUNT)
_P_RUNS, _P_REPEATS = int(ProfileFloats.RUNS), int(ProfileFloats.REPEATS)
_P_PIPELINE, _P_BRANCH = int(ProfileFloats.PIPELINE), int(ProfileFloats.BRANCH)
_P_FETCH, _P_DATA = int(ProfileFloats.FETCH), int(ProfileFloats.DATA)
_P_WAIT, _P_CARRY = int(ProfileFloats.WAIT), int(ProfileFloats.CARRY)
_CONDITIONAL = int(Ending.CONDITIONAL)
_INDIRECT = int(Ending.INDIRECT)
_AREA_AXI, _AREA_ALIAS, _AREA_ITCM = int(Area.AXI), int(Area.ALIAS), int(Area.ITCM)
_B_ROWS, _B_FIRST_ROW = int(BlockInts.ROWS), int(BlockInts.FIRST_ROW)

code_index = njit(layout.code_index)
first_place = njit(layout.edge_place)


@njit
def _stop(engine, ints):  # type: ignore[no-untyped-def]
    """Let the emulator come back before the block that was to run."""
    ints[_I_STOPPED] = 1
    begin_rows(ints, 0, 0)  # the hook of its first instruction is called nevertheless
    call_stop(ints[_I_STOP], engine)  # type: ignore[call-arg]


@njit
def _close_bins(ints, floats, bins):  # type: ignore[no-untyped-def]
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


@njit
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


@njit
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


@njit
def _fetch_cycles(ints, floats, cache, blocks, block):  # type: ignore[no-untyped-def]
    """Cycles the front end waits for the block's lines."""
    area = blocks[block, _B_AREA]
    if area == _AREA_ITCM:
        return 0.0
    if area == _AREA_ALIAS:
        return floats[_F_PORT_WAIT]
    first, last = blocks[block, _B_FIRST], blocks[block, _B_LAST]
    if ints[_I_ICACHE_ON]:
        misses = _cache_misses(cache, ints[_I_ICACHE_SETS], first, last)
        ints[_I_ICACHE_MISSES] += misses
        floats[_F_PENDING] += misses * floats[_F_MISS_J]
        return floats[_F_MISS] * misses
    if area == _AREA_AXI:
        floats[_F_PENDING] += (last - first + 1) * floats[_F_MISS_J]
        return floats[_F_AXI] * (last - first + 1)
    return floats[_F_RAM] * (last - first + 1)


@njit
def _edge_place(ints, previous, block):  # type: ignore[no-untyped-def]
    """The place of the edge in its table; -1 to stop."""
    keys, mask = int_pointer(ints[_I_EDGES]), ints[_I_EDGE_MASK]
    wanted = previous * BLOCK_CAPACITY + block
    place = first_place(previous, block, mask)
    while keys[place] != wanted:
        if keys[place] == NO_EDGE:
            return call_python(ints[_I_FOLLOW], previous, block)  # type: ignore[call-arg]
        place = (place + 1) & mask
    return place


@njit
def _carry_behind(carry, front):  # type: ignore[no-untyped-def]
    """What is left of a carry when the front end waits ``front`` cycles: latencies go by meanwhile,
    and nothing pairs over the border."""
    if front > 0.0:
        return max(0.0, carry - front)
    return carry


@njit
def _store_wait(floats, cycles, drain):  # type: ignore[no-untyped-def]
    """Cycles that a block of ``cycles`` waits for room in the store buffer beyond its own (R24)."""
    if drain == 0.0:
        return 0.0
    now = floats[_F_CYCLES]
    busy = max(now, floats[_F_STORES]) + drain
    floats[_F_STORES] = busy
    return max(0.0, busy - (now + cycles) - floats[_F_BUFFERED])


@njit
def _profile(ints, floats, previous, block, pipeline, carry, branch, fetch, data):  # type: ignore[no-untyped-def]
    """Count a run of ``block``; what time has passed since the last one's end was its wait."""
    rows = carray(float_pointer(ints[_I_PROFILE]), (BLOCK_CAPACITY, _N_PROFILE))
    before = ints[_I_PROFILE_BLOCK]
    if before < 0:
        before = block
    rows[before, _P_WAIT] += floats[_F_CYCLES] - floats[_F_PROFILED]
    rows[block, _P_RUNS] += 1.0
    if previous == block:
        rows[block, _P_REPEATS] += 1.0
    else:
        rows[block, _P_CARRY] += carry
    rows[block, _P_PIPELINE] += pipeline
    rows[max(previous, 0), _P_BRANCH] += branch
    rows[block, _P_FETCH] += fetch
    rows[block, _P_DATA] += data
    ints[_I_PROFILE_BLOCK] = block
    floats[_F_PROFILED] = floats[_F_CYCLES] + (pipeline + branch + fetch + data)


@njit
def _begin_block(engine, ints, address, size):  # type: ignore[no-untyped-def]
    """Count the block that runs next."""
    floats = float_pointer(ints[_I_FLOATS])
    if floats[_F_CYCLES] >= floats[_F_LIMIT]:
        _stop(engine, ints)
        return
    index = index_pointer(ints[_I_INDEX])
    blocks = carray(int_pointer(ints[_I_BLOCK_INTS]), (BLOCK_CAPACITY, _B_COUNT))
    at = code_index(address)
    block = types.int64(-1)
    if at >= 0:
        block = types.int64(index[at])
    if block < 0 or blocks[block, _B_SIZE] != size:
        block = call_python(ints[_I_RESOLVE], address, size)  # type: ignore[call-arg]
        if block < 0:
            _stop(engine, ints)
            return
    costs = carray(float_pointer(ints[_I_BLOCK_FLOATS]), (BLOCK_CAPACITY, _C_COUNT))
    cache = int_pointer(ints[_I_ICACHE])
    previous = ints[_I_BLOCK]
    if previous >= 0 and blocks[block, _B_BEFORE] != previous:
        place = _edge_place(ints, previous, block)
        if place < 0:
            _stop(engine, ints)
            return
        blocks[block, _B_BEFORE] = previous
        costs[block, _C_CARRY] = float_pointer(ints[_I_CARRIES])[place]
    if blocks[block, _B_AREA] == _AREA_ALIAS:
        call_port(ints[_I_PORT], ints, address, block)  # type: ignore[call-arg]
    branch, carry = 0.0, 0.0
    if previous >= 0 and _judge_branch(ints, blocks, previous, address):
        ints[_I_MISPREDICTS] += 1
        branch = floats[_F_MISPREDICT]
    fetch = _fetch_cycles(ints, floats, cache, blocks, block)
    data = costs[block, _C_LOADS] * floats[_F_LOAD_STALL]
    if previous >= 0:
        carry = _carry_behind(costs[block, _C_CARRY], branch + fetch)
    pipeline = costs[block, _C_CYCLES] + carry
    pipeline += _store_wait(floats, pipeline + branch + fetch + data, costs[block, _C_DRAIN])
    cycles = pipeline + branch + fetch + data
    if ints[_I_PROFILE]:
        _profile(ints, floats, previous, block, pipeline, carry, branch, fetch, data)
    ints[_I_BLOCK] = block
    ints[_I_BLOCK_ADDRESS] = address
    ints[_I_ACCESSES] = 0
    ints[_I_BLOCKS] += 1
    ints[_I_INSTRUCTIONS] += blocks[block, _B_INSTRUCTIONS]
    floats[_F_CYCLES] += cycles
    floats[_F_PENDING] += costs[block, _C_ENERGY]
    if floats[_F_CYCLES] >= floats[_F_EDGE]:
        bins = float_pointer(ints[_I_BINS])
        _close_bins(ints, floats, bins)
    begin_rows(ints, blocks[block, _B_FIRST_ROW], blocks[block, _B_ROWS])


@njit
def _read_dwt(ints, offset, size):  # type: ignore[no-untyped-def]
    """A word of the DWT page: CYCCNT without Python, which delays poll a lot."""
    floats = float_pointer(ints[_I_FLOATS])
    block, ordinal = ints[_I_BLOCK], ints[_I_ACCESSES]
    known = offset == CYCCNT and size == 4 and block >= 0 and ordinal < KNOWN_ACCESSES
    if known and ints[_I_RUNNING]:
        costs = carray(float_pointer(ints[_I_BLOCK_FLOATS]), (BLOCK_CAPACITY, _C_COUNT))
        behind = costs[block, _C_BEHIND + ordinal]
        if not math.isnan(behind):
            count = floats[_F_CYCLES] - behind - floats[_F_BASE]
            floats[_F_CYCLES] += floats[_F_DWT_STALL]
            ints[_I_ACCESSES] = ordinal + 1
            ints[_I_ALL_ACCESSES] += 1
            return types.uint64(types.int64(math.floor(count)) & 0xFFFFFFFF)
    offset, size = types.int64(offset), types.int64(size)
    return types.uint64(call_python(ints[_I_READ], offset, size) & 0xFFFFFFFF)  # type: ignore[call-arg]


def _make_flush_bins(digest):  # type: ignore[no-untyped-def]
    """``_close_bins`` for Python; the sources' digest is part of numba's cache key."""

    @njit(cache=True)
    def flush_bins(ints, floats, bins):  # type: ignore[no-untyped-def]
        """Close every energy bin that ends at or before the current cycle."""
        if len(digest) != 0:
            _close_bins(ints, floats, bins)

    return flush_bins


def _make_on_block(digest):  # type: ignore[no-untyped-def]
    """Unicorn's block hook: ``void (uc_engine *, uint64_t address, uint32_t size, void *)``."""

    @cfunc(
        types.void(types.int64, types.uint64, types.uint32, types.CPointer(types.int64)),
        cache=True,
    )
    def on_block(engine, address, size, user):  # type: ignore[no-untyped-def]
        if len(digest) != 0:
            _begin_block(engine, user, types.int64(address), types.int64(size))

    return on_block


def _make_on_dwt_read(digest):  # type: ignore[no-untyped-def]
    """Unicorn's read callback of the DWT page."""

    @cfunc(
        types.uint64(types.int64, types.uint64, types.uint32, types.CPointer(types.int64)),
        cache=True,
    )
    def on_dwt_read(_engine, offset, size, user):  # type: ignore[no-untyped-def]
        if len(digest) != 0:
            return _read_dwt(user, offset, size)
        return types.uint64(0)

    return on_dwt_read


flush_bins = _make_flush_bins(SOURCE_DIGEST)
on_block = _make_on_block(SOURCE_DIGEST)
on_dwt_read = _make_on_dwt_read(SOURCE_DIGEST)
