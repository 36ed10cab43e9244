"""Costs of the Cortex-M7 around its pipeline: branches, fetch, memory, energy of instructions.

Rule numbers R1..R26 are those of the project's timing notes (measurements by jnk0le on an
STM32H743, LLVM's ARMScheduleM7, GCC's cortex-m7.md); Arm publishes no cycle table. Values
marked "assumed" have no source and are to be fitted against end-to-end anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.sim.cores.cortex_m7.op import Kind

TIMING_MODEL = "block-cost-6"

# R20: 8 cycles, or 6 when the flags are old; the mean of the two.
MISPREDICT_CYCLES = 7.0

# A 32-byte line into the instruction cache: the flash's wait states plus the AXI way (assumed).
LINE_MISS_BRIDGE_CYCLES = 6.0
# Fetch of a 32-byte line with the cache off, beyond the wait states (assumed).
LINE_UNCACHED_CYCLES = 4.0
# A line of code in SRAM1 with the cache off (assumed).
SRAM_LINE_CYCLES = 4.0
# A line from SRAM into the data cache, and a modified one back (assumed: the AXI way, and four
# beats of 64 bits); one load and one store past the cache (assumed).
RAM_LINE_MISS_CYCLES, WRITE_BACK_CYCLES = 7.0, 4.0
RAM_LOAD_CYCLES, RAM_STORE_CYCLES = 4.0, 2.0
# Where the data cache is not simulated: mean stall of a load that may leave the TCM, cache on,
# cache off (assumed).
LOAD_STALL_CACHED, LOAD_STALL_UNCACHED = 0.10, 3.0

# Peripheral accesses: AHB peripherals, APB through a bridge at a quarter of the core clock, the
# private bus of the core (assumed).
AHB_STALL, APB_STALL, PRIVATE_STALL = 5.0, 12.0, 1.0


# Entry into a handler and return from it, each: Arm's figure for its M3, M4 and M7 with memory that
# does not wait, kept for the M7 (assumed; its TRM gives none).
EXCEPTION_CYCLES = 12.0


@dataclass(frozen=True)
class Latency:
    """Cycles from a producer's issue until a consumer may issue, by what the consumer does with it.

    ``store`` data is always in time (R19).
    """

    alu: int
    multiply: int
    accumulate: int
    address: int
    shift: int


# R2: a result of the early ALU reaches the late ALU of the younger instruction in one cycle.
EARLY = Latency(alu=0, multiply=1, accumulate=1, address=1, shift=1)  # R14, R15
LATE = Latency(alu=1, multiply=1, accumulate=1, address=2, shift=2)  # R14, R15
LATENCY = {
    Kind.EARLY: EARLY,
    Kind.ALU: LATE,
    Kind.DSP: LATE,
    Kind.SATURATE: Latency(2, 2, 2, 3, 3),  # R21
    Kind.MAC: Latency(alu=2, multiply=2, accumulate=1, address=3, shift=3),  # R18
    Kind.DIVIDE: Latency(7, 7, 7, 8, 8),  # R22
    Kind.LOAD: Latency(alu=1, multiply=2, accumulate=1, address=3, shift=2),  # R16
    Kind.LOAD_NARROW: Latency(alu=2, multiply=3, accumulate=1, address=4, shift=3),  # R17
    Kind.LOAD_MANY: Latency(alu=1, multiply=2, accumulate=1, address=3, shift=2),  # as R16
    Kind.BRANCH: EARLY,  # the link register
    Kind.SYSTEM: LATE,
    Kind.FP_ADD: Latency(3, 3, 3, 3, 3),  # R23
    Kind.FP_FMA: Latency(alu=5, multiply=5, accumulate=3, address=5, shift=5),  # R23
    Kind.FP_DIVIDE: Latency(16, 16, 16, 16, 16),  # R23
    Kind.FP_MOVE: Latency(2, 2, 2, 3, 3),  # R23: 1 to, 3 from the FPU; the mean
}
BASE_UPDATE = EARLY  # R8: an updated base is not ready for the other half of its pair

# Kinds that issue alone, and the cycles they hold the issue stage.
ALONE = {
    Kind.DIVIDE: 7,  # R22
    Kind.TABLE: 3,  # assumed: a load feeding a branch
    Kind.BARRIER: 6,  # assumed
    Kind.SYSTEM: 2,  # assumed
    Kind.FP_MOVE: 1,  # R13
    Kind.FP_DIVIDE: 1,
}
SIMD = {Kind.DSP, Kind.SATURATE}  # R6, R21: one unit for them all
STORES = {Kind.STORE, Kind.STORE_NARROW, Kind.STORE_MANY}
LOADS = {Kind.LOAD, Kind.LOAD_NARROW}
MANY = {Kind.LOAD_MANY, Kind.STORE_MANY}  # R10: alone, two registers a cycle
FP_ARITHMETIC = {Kind.FP_ADD, Kind.FP_FMA, Kind.FP_DIVIDE}

# R24: what one store keeps the write port busy; the buffer takes five before the core waits.
NARROW_STORE_DRAIN, WORD_STORE_DRAIN, STORE_BUFFER_ENTRIES = 2.4, 1.0, 5
STORE_BUFFER_CYCLES = STORE_BUFFER_ENTRIES * NARROW_STORE_DRAIN
# R10: STM and PUSH of an even number of words at an address that is no multiple of eight, where the
# addresses are followed (taken for STRD and VSTM too).
SPLIT_STORE_CYCLES = 1.0
# R25: an access over a word's border, where the addresses are followed: a load waits 3 cycles as
# the older of a pair and 4 as the younger (the mean), a store keeps the write port busy.
UNALIGNED_LOAD_CYCLES, UNALIGNED_STORE_DRAIN = 3.5, 4.0

# What an instruction adds to the base energy of its cycles, in joules at 216 MHz. Ratios are
# assumptions (a multiplier and a TCM or cache port cost about twice a plain ALU operation); the
# scale makes CNN kernels (a quarter MAC, a quarter loads, 1.6 instructions a cycle) draw the
# datasheet's run current.
INSTRUCTION_J = {
    Kind.EARLY: 0.20e-9,
    Kind.ALU: 0.20e-9,
    Kind.DSP: 0.24e-9,
    Kind.SATURATE: 0.24e-9,
    Kind.MAC: 0.36e-9,
    Kind.DIVIDE: 1.0e-9,
    Kind.LOAD: 0.38e-9,
    Kind.LOAD_NARROW: 0.36e-9,
    Kind.STORE: 0.34e-9,
    Kind.STORE_NARROW: 0.34e-9,
    Kind.LOAD_MANY: 0.38e-9,  # a register
    Kind.STORE_MANY: 0.34e-9,  # a register
    Kind.BRANCH: 0.20e-9,
    Kind.TABLE: 0.50e-9,
    Kind.IT: 0.10e-9,
    Kind.HINT: 0.08e-9,
    Kind.BARRIER: 0.10e-9,
    Kind.SYSTEM: 0.20e-9,
    Kind.FP_ADD: 0.34e-9,
    Kind.FP_FMA: 0.50e-9,
    Kind.FP_DIVIDE: 2.0e-9,
    Kind.FP_MOVE: 0.22e-9,
}
