"""Costs of the Cortex-M7 around its pipeline: branches, fetch, memory, energy of instructions.

Rule numbers R1..R26 are those of the project's timing notes (measurements by jnk0le on an
STM32H743, LLVM's ARMScheduleM7, GCC's cortex-m7.md); Arm publishes no cycle table. Values
marked "assumed" have no source and are to be fitted against end-to-end anchors.
"""

from __future__ import annotations

TIMING_MODEL = "block-cost-1"

# R20: 8 cycles, or 6 when the flags are old; the mean of the two.
MISPREDICT_CYCLES = 7.0

# A 32-byte line into the instruction cache: the flash's wait states plus the AXI way (assumed).
LINE_MISS_BRIDGE_CYCLES = 6.0
# Fetch of a 32-byte line with the cache off, beyond the wait states (assumed).
LINE_UNCACHED_CYCLES = 4.0
# A line of code in SRAM1 with the cache off (assumed).
SRAM_LINE_CYCLES = 4.0
# Mean stall of a load that may leave the TCM: cache on, cache off (assumed; the data cache's
# content is not simulated).
LOAD_STALL_CACHED, LOAD_STALL_UNCACHED = 0.10, 3.0

# Peripheral accesses: AHB peripherals, APB through a bridge at a quarter of the core clock, the
# private bus of the core (assumed).
AHB_STALL, APB_STALL, PRIVATE_STALL = 5.0, 12.0, 1.0
