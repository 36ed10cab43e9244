"""State that the core's Python side and its compiled hooks share: where things are in the arrays.

State lies in two arrays (``Ints``, ``Floats``), two tables of blocks (``BlockInts``,
``BlockFloats``) and one of their instructions that access memory (``Row``). Function pointers and
table addresses are passed as data, not as constants, so that the compiled hooks can be kept on
disk.
"""

from __future__ import annotations

from enum import IntEnum

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
    ROWS = 34  # address of the rows of all blocks' instructions with accesses
    ROW = 35  # the next one of the block that runs now
    LAST_ROW = 36  # the first one behind them
    NEXT_ACCESS = 37  # address of that row's instruction, NO_ACCESS: no more in this block
    REGISTERS = 38  # address of r0..r15 of the running program, 0: they have to be asked for
    READ_BATCH_FUNCTION = 39  # uc_reg_read_batch, its register numbers, places, and their contents
    BATCH_NUMBERS = 40
    BATCH_PLACES = 41
    BATCH_VALUES = 42
    POLICIES = (
        43  # address of a Policy a line, SRAM then flash; 0: as the default memory map has it
    )
    EDGES = 44  # addresses of the hash table of edges: keys, and their carries
    CARRIES = 45
    EDGE_MASK = 46  # its places less one
    EDGE_FUNCTION = 47  # Python: (previous block, block) -> place in the table, or -1 to stop
    ART = 48  # address of the lines that the flash's accelerator keeps, the last used first
    ART_ON = 49
    PREFETCH_ON = 50
    ART_MISSES = 51  # lines that were waited for at the flash's ITCM port
    PORT_LINE = 52  # the line that code is fetched from there, -1: none
    PREFETCHED_LINE = 53
    FETCH_FUNCTION = 54  # native_art.on_port_fetch and on_port_load
    LOAD_FUNCTION = 55
    MISALIGNED = 56  # the instruction stopped at wants an aligned address, and has the one below
    MISALIGNED_ADDRESS = 57
    COUNT = 58


class Policy(IntEnum):
    """How the data cache treats a line; the first is the default memory map's for SRAM."""

    ALLOCATING = 0  # write-back, lines are fetched for stores too
    WRITE_BACK = 1
    WRITE_THROUGH = 2
    NONCACHEABLE = 3
    DEVICE = 4  # Device and Strongly-ordered: not cached, and aligned accesses only


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
    LINE_MISS_J = 9  # a line from flash
    AXI_LINE_CYCLES = 10  # fetch of one line with the cache off
    FLASH_WAIT_CYCLES = 11  # wait states, for lines through the flash's ITCM port
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
    UNALIGNED_LOAD_CYCLES = 22
    UNALIGNED_STORE_CYCLES = 23  # until an unaligned store has left the store buffer
    UNALIGNED_BUSY = 24  # cycle until which all unaligned stores have left it
    UNALIGNED_AHEAD = 25  # cycles of them that the buffer holds before the core waits
    STORES_BUSY = 26  # cycle until which the write port has stores to take
    STORE_BUFFER_CYCLES = 27  # of it that stores wait for while the core goes on
    FLASH_FREE = 28  # cycle from which the flash's array can read for its ITCM port
    PREFETCHED_AT = 29  # cycle from which the prefetched line is there
    SPLIT_STORE_CYCLES = 30  # a store of an even number of words between two double words
    SRAM_LINE_J = 31  # a line from SRAM into the data cache or back
    SRAM_ACCESS_J = 32  # one load or store of SRAM past the cache
    PORT_WAIT = 33  # of the last call of FETCH_FUNCTION or LOAD_FUNCTION
    COUNT = 34


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
    FIRST_ROW = 8
    ROWS = 9  # instructions with accesses to memory, while the data cache is followed
    BEFORE = 10  # the block behind which it ran last, whose carry is in ``BlockFloats.CARRY``
    COUNT = 11


class BlockFloats(IntEnum):
    """Columns of the floating-point table of blocks."""

    CYCLES = 0
    LOADS = 1  # loads whose address may be cached memory
    ENERGY_J = 2  # of the instructions, above the base energy of a cycle
    STORE_DRAIN = 3  # cycles that its stores keep the write port busy
    BEHIND = 4  # cycles behind the block's first four peripheral accesses, NaN until known
    CARRY = 8
    COUNT = 9


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
    CARRY = 8  # of PIPELINE, what other blocks carried into this one
    COUNT = 9


class Ending(IntEnum):
    """How control leaves a block."""

    FALL = 0
    DIRECT = 1
    CONDITIONAL = 2
    INDIRECT = 3


class Row(IntEnum):
    """Columns of the table of instructions with accesses (see ``addresses.Transfer``)."""

    ADDRESS = 0  # of the instruction
    BASE = 1  # a register, -1: none
    OFFSET = 2
    INDEX = 3
    SHIFT = 4
    ACCESSES = 5
    SIZE = 6
    STORES = 7
    ALIGNED_BITS = 8  # of the address that must be clear
    COUNT = 9


class Area(IntEnum):
    """Where a block's code is fetched from."""

    AXI = 0
    ALIAS = 1
    ITCM = 2
    RAM = 3


NO_EDGE = -1  # key of a free place
FIRST_EDGES = 1 << 12  # places; twice as many whenever half of them are taken
EDGE_HASH = 0x9E3779B1  # odd, from the golden ratio: neighbouring keys end up far apart


def edge_place(previous: int, block: int, mask: int) -> int:
    """Where in the table of edges to begin looking for ``block`` behind ``previous``."""
    return ((previous * BLOCK_CAPACITY + block) * EDGE_HASH >> 16) & mask


ICACHE_WAYS, DCACHE_WAYS, LINE_SHIFT = 2, 4, 5  # 32-byte lines
ART_LINES = 64  # of the same size (:mod:`.art`)
POLICY_FLASH_AT = RAM_BYTES >> LINE_SHIFT
POLICY_COUNT = POLICY_FLASH_AT + (FLASH_BYTES >> LINE_SHIFT)
MOST_SETS = {ICACHE_WAYS: 256, DCACHE_WAYS: 128}  # of 16 KB
# Three words a set: the two line numbers and which of them is older.
ICACHE_WORDS = MOST_SETS[ICACHE_WAYS] * 3
# Nine words a set: four line numbers, four modified flags, the way to be replaced next.
DCACHE_SET_WORDS = 2 * DCACHE_WAYS + 1
DCACHE_WORDS = MOST_SETS[DCACHE_WAYS] * DCACHE_SET_WORDS
STORES_AHEAD = 4.0  # stores on their way to the bus before the core waits

KNOWN_ACCESSES = 4
CYCCNT = 4

NO_ACCESS = 1 << 32


def code_index(address: int) -> int:
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
