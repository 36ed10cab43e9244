"""Where the simulated GAP8 keeps its state: indices into a few int64 arrays.

numba steps the chip through flat arrays; the names here are their only documentation. Core 0-7
are the cluster's processing elements (PE), core 8 is the fabric controller (FC). Clock domain 0
is the FC's, domain 1 the cluster's. Times in ``*_FS`` are femtoseconds since reset (int64 lasts
2.5 hours); cycles count edges of one domain's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = 1 << 62
FS_PER_S = 10**15

PE_COUNT = 8
FC = 8
CORES = 9
DOMAIN_FC, DOMAIN_CLUSTER = 0, 1

# Memory: one uint32 array; word offsets of the parts (memory_map.h of the GAP SDK).
L2_BASE, L2_BYTES = 0x1C000000, 0x80000
L1_BASE, L1_BYTES = 0x10000000, 0x10000
FC_TCDM_BASE, FC_TCDM_BYTES = 0x1B000000, 0x4000
L2_WORD = 0
L1_WORD = L2_BYTES // 4
FC_TCDM_WORD = L1_WORD + L1_BYTES // 4
MEMORY_WORDS = FC_TCDM_WORD + FC_TCDM_BYTES // 4
L1_BANKS = 16
POISON = 0xDEADBEEF  # what memory holds when its power comes
TEST_AND_SET = 0x10100000

# --- core state: core[c * CORE_SPAN + field] -----------------------------------------------------
CORE_SPAN = 80
PC, HAZARD, LINE, MODE = 0, 2, 3, 4
LOOP_START, LOOP_END, LOOP_COUNT = 5, 6, 7  # loop 0; loop 1 at +3
WAIT_RD, WAIT_KIND, AWAKE_SINCE = 11, 12, 14
IRQ_READY = 15
ASLEEP_FROM = 33  # cycle from which a core in p.elw or wfi has no clock
COUNT = 16  # 16 event counters since reset in the order of pcer_v1.h
(
    N_CYCLES, N_INSTRUCTIONS, N_LOAD_STALL, N_JUMP_STALL, N_IMISS, N_LOAD, N_STORE, N_JUMP,
    N_BRANCH, N_TAKEN, N_COMPRESSED, N_LOAD_EXT, N_STORE_EXT, N_LOAD_EXT_CYCLES,
    N_STORE_EXT_CYCLES, N_CONFLICT,
) = range(COUNT, COUNT + 16)  # fmt: skip
MSTATUS, MEPC, MCAUSE, MTVEC, MSCRATCH = 34, 35, 36, 37, 38
PCER, PCMR = 39, 40
VITERBI0, VITERBI1 = 41, 42
PROFILE_ROW, PROFILE_TO, PROFILE_PAUSE = 43, 44, 45  # only in profiled runs, see profiling.py
TRACE_OPEN = 46  # only in profiled runs, see tracing.py
N_PACKED, N_MULTIPLY = 64, 65  # instructions of these classes, for the energy
PCCR = 48  # 16 values: the count when stopped, else raw counter minus the count
READY = CORES * CORE_SPAN  # core[READY + c]: cycle from which the core can issue, side by side
CORE_WORDS = READY + CORES

# In HAZARD: a register that waits for a load or multiply; less than 0: minus the one that the last
# instruction wrote in its own cycle.
NO_HAZARD = 0
# MODE
HELD, RUNNING, SLEEPING = 0, 1, 2
# WAIT_KIND of a core sleeping in p.elw or wfi
WAIT_EVENT, WAIT_EVENT_CLEAR, WAIT_BARRIER, WAIT_MUTEX, WAIT_DISPATCH, WAIT_INTERRUPT = range(6)

# --- event unit: eu[...] -------------------------------------------------------------------------
EU_SPAN = 4
# eu[c * EU_SPAN + field]; joined: 1 + the barrier that the core has reached and still waits at
EU_MASK, EU_IRQ_MASK, EU_BUFFER, EU_JOINED = 0, 1, 2, 3
BARRIER = 40  # 8 x (trigger mask, arrived, target mask)
BARRIER_SPAN, BARRIER_TRIGGER, BARRIER_ARRIVED, BARRIER_TARGET = 3, 0, 1, 2
DISPATCH_PUSHED, DISPATCH_TEAM = 70, 71
DISPATCH_VALUE, DISPATCH_MASK, DISPATCH_TAKEN = 72, 80, 88  # 8 each
MUTEX_OWNER, MUTEX_VALUE = 100, 101  # owner: core, or -1
EU_WORDS = 104
EVENT_DMA, EVENT_DMA_INTERRUPT, EVENT_TIMER_LO, EVENT_TIMER_HI = 8, 9, 10, 11
EVENT_BARRIER, EVENT_MUTEX, EVENT_DISPATCH = 16, 17, 18
EVENT_CLUSTER_ON, EVENT_CLOCK_GATE, EVENT_SOC = 22, 23, 27  # FC numbers

# --- MCHAN DMA: dma[...] -------------------------------------------------------------------------
DMA_IDS = 16
DMA_ALLOCATED, DMA_UNFINISHED = 0, DMA_IDS  # dma[field + id]; commands queued and under way
DMA_SLOT, DMA_SLOTS, DMA_SLOT_SPAN = 2 * DMA_IDS, 64, 8  # commands queued and under way
# dma[DMA_SLOT + slot * DMA_SLOT_SPAN + field]; due: NEVER in an empty slot; leaves: when it goes
# from its core's queue to the common one
DMA_DUE, DMA_LEAVES, DMA_COMMAND, DMA_L1, DMA_L2, DMA_2D, DMA_CORE, DMA_ID = range(8)
DMA_PORT = DMA_SLOT + DMA_SLOTS * DMA_SLOT_SPAN  # one port a core: 1 + id, words received, 4 words
DMA_PORT_SPAN = 8
# A stream each to L2 and to L1: when it is free, commands so far, when the last eight began
DMA_STREAM = DMA_PORT + CORES * DMA_PORT_SPAN
DMA_FREE, DMA_COUNT, DMA_BEGAN, DMA_STREAM_SPAN = 0, 1, 2, 10
DMA_BYTES = DMA_STREAM + 2 * DMA_STREAM_SPAN
DMA_WORDS = DMA_BYTES + 1

# --- chip scalars: chip[...] ---------------------------------------------------------------------
NOW_FS, LIMIT_FS, DEVICE_DUE_FS, BIN_DUE_FS = 0, 1, 2, 3
ORIGIN_FS, ORIGIN_CYCLE, PERIOD_FS = 4, 6, 8  # two each, one a domain
DMA_DUE_CYCLE = 10  # earliest completion, cluster cycles
CLUSTER_BARRED = 11  # 0, or why the FC cannot reach the cluster (F_CLUSTER_*)
DIRTY = 12  # another core, the DMA or the horizon changed: plan again
VALUE, LATENCY = 13, 14  # result of a slow access
NOW_CYCLE = 15  # cycle of the domain that executes
L2_FREE_MILLI = 16  # cluster port to L2: next free time in 1/1000 cycle
CACHE_ON = 18  # two: FC, cluster
NOW_DOMAIN = 20
REPLACEMENT = 21  # two: state of the caches' pseudo-random replacement
# access left to the devices in Python
ACCESS_CORE, ACCESS_ADDRESS, ACCESS_SIZE, ACCESS_STORE, ACCESS_VALUE, ACCESS_RD, ACCESS_PC = range(
    24, 31
)
ACCESS_SIGNED = 31
FAULT_REASON, FAULT_CORE, FAULT_PC, FAULT_ADDRESS = 32, 33, 34, 35
BIN_FS, BIN_COUNT, BIN_ROOM = 36, 37, 38
DECODE_HALF = 39  # halfword of L2 that has to be decoded
REFILL_FREE = 40  # two: cycle from which the cache can fetch another line from L2
# Work of a device that the energy bins follow: units done, units under way (0: none), from, until
HYPERBUS_BYTES, HWCE_MACS = 42, 46
WORK_DONE, WORK_UNITS, WORK_FROM_FS, WORK_UNTIL_FS = range(4)
LOOP_CORE, LOOP_NUMBER = 50, 51  # a hardware loop that has to be checked
CLOSE_ENDS = 52  # times that nested loops were armed with ends one instruction apart
CHIP_WORDS = 53

# --- instruction caches: cache[...] --------------------------------------------------------------
# For each domain and each 16-byte line of L2: the cycle from which it can be fetched, NEVER when
# absent. After them the lines held by every way (the sets' contents).
LINE_SHIFT = 4
L2_LINES = L2_BYTES >> LINE_SHIFT
CACHE_WAYS = 4
CACHE_SETS = (16, 64)  # FC 1 KB, cluster 4 KB (gap8_revc.json)
CACHE_TAGS = 2 * L2_LINES
CACHE_WORDS = CACHE_TAGS + CACHE_WAYS * (CACHE_SETS[0] + CACHE_SETS[1])

# --- why the engine came back --------------------------------------------------------------------
(
    RUN_LIMIT, RUN_DEVICE, RUN_ACCESS, RUN_FAULT, RUN_STALLED, RUN_BINS_FULL, RUN_DECODE, RUN_LOOP,
) = range(8)  # fmt: skip

# --- fault reasons -------------------------------------------------------------------------------
(
    F_ILLEGAL, F_FETCH, F_UNMAPPED, F_MISALIGNED, F_ECALL, F_EBREAK, F_CSR, F_EVENT_UNIT, F_DMA,
    F_DMA_RANGE, F_DMA_LONG, F_ELW, F_DISPATCH, F_CLUSTER_OFF, F_CLUSTER_RESET, F_CLUSTER_GATED,
    F_CLUSTER_ISOLATED, F_NO_HANDLER, F_LOOPS,
) = range(1, 20)  # fmt: skip

FAULT_TEXT = {
    F_ILLEGAL: "illegal instruction",
    F_FETCH: "instruction fetch outside L2",
    F_UNMAPPED: "access to an unmapped address",
    F_MISALIGNED: "misaligned or narrow access to a peripheral",
    F_ECALL: "ecall: this bare-metal chip model has no handler",
    F_EBREAK: "ebreak",
    F_CSR: "access to a control register the core does not have",
    F_EVENT_UNIT: "access to an event unit register that is not modelled",
    F_DMA: "MCHAN command without an allocated transfer, or an impossible one",
    F_DMA_RANGE: "MCHAN transfer outside L1 or L2",
    F_DMA_LONG: (
        "MCHAN command of 32768 bytes or more: the chip takes the low 15 bits of the length and "
        "reports the rest as moved (docs/virtual-bench.md); split the transfer"
    ),
    F_ELW: "p.elw outside the event unit",
    F_DISPATCH: "dispatch FIFO overrun: a team core lags more than 8 entries",
    F_CLUSTER_OFF: (
        "access to the cluster while it is off (CL_BYPASS bit 3; its power needs a while, wait for "
        "SoC event 31)"
    ),
    F_CLUSTER_RESET: "access to the cluster while it is in reset (CL_BYPASS bit 13)",
    F_CLUSTER_GATED: "access to the cluster while its clock is gated (CL_BYPASS bit 10)",
    F_CLUSTER_ISOLATED: "access to the cluster while it is isolated: write 0 to CL_ISOLATE first",
    F_NO_HANDLER: "interrupt without a vector table",
    F_LOOPS: (
        "hardware loops overlap: loop 0 must lie inside loop 1, which must end at least one "
        "instruction behind it"
    ),
}


@dataclass(frozen=True)
class State:
    """All arrays of one chip, in the order the engine takes them."""

    mem: np.ndarray
    code: np.ndarray
    regs: np.ndarray
    core: np.ndarray
    eu: np.ndarray
    dma: np.ndarray
    chip: np.ndarray
    cache: np.ndarray
    banks: np.ndarray
    energy: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The engine's arguments."""
        return (self.mem, self.code, self.regs, self.core, self.eu, self.dma, self.chip,
                self.cache, self.banks, self.energy)  # fmt: skip


def new_state(bin_room: int) -> State:
    """Zeroed arrays with room for ``bin_room`` energy bins."""

    def words(count: int) -> np.ndarray:
        return np.zeros(count, dtype=np.int64)

    return State(
        mem=np.zeros(MEMORY_WORDS, dtype=np.uint32),
        code=words(L2_BYTES // 2),
        regs=words(CORES * 32),
        core=words(CORE_WORDS),
        eu=words(EU_WORDS),
        dma=words(DMA_WORDS),
        chip=words(CHIP_WORDS),
        cache=words(CACHE_WORDS),
        banks=words(L1_BANKS),
        energy=np.zeros(ENERGY_BINS + bin_room, dtype=np.float64),
    )


# --- energy: energy[...] -------------------------------------------------------------------------
# coefficients and the counts of the previous bin, in the order of energy.COEFFICIENTS; then bins
ENERGY_TERMS = 12
ENERGY_COEFFICIENT, ENERGY_PREVIOUS, ENERGY_BINS = 0, ENERGY_TERMS, 2 * ENERGY_TERMS
(
    E_SECONDS, E_FC_CYCLES, E_PE_CYCLES, E_L1, E_L2, E_DMA_BYTES, E_IMISS, E_CLUSTER_SECONDS,
    E_PACKED, E_MULTIPLY, E_HYPERBUS_BYTES, E_HWCE_MACS,
) = range(ENERGY_TERMS)  # fmt: skip
