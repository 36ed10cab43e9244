"""Cycles of the GAP8 cores and their surroundings: every number with its source.

"measured" means: measured with our own programs on the vendor simulator (GVSoC, gapuino_v3),
one PE, code warm in the instruction cache. Where documents disagree with it, the measured value
is used and the other one named.
"""

from __future__ import annotations

LOAD_USE = 1  # next instruction uses the loaded register (measured; RI5CY manual)
MUL_USE = 1  # next instruction uses a mul result: measured; CV32 documents say 0
MULH = 5  # mulh, mulhu, mulhsu in all (measured; CV32 documents; RI5CY manual text says 4)
TAKEN_BRANCH = 3  # measured; CV32 documents
JUMP = 2  # jal, jalr (measured; CV32 documents)
MISALIGNED = 2  # more than an aligned access (measured); documents: at least 1
DIV_BASE_POSITIVE, DIV_BASE_NEGATIVE = 3, 2  # + leading zeros of |divisor| (measured)
DIV_BY_ZERO = 34  # measured (div_by_0 row: 36 with two nops)
CSR = 1  # measured; CV32E40P documents 4 for some

L1 = 1  # one access a bank and cycle
L2_FROM_CLUSTER = 9  # measured (lw_L2 11 cycles with two nops)
# Eight PEs in parallel take 12.35 cycles per lw + nop (measured), not 10: the common port serves
# one access each 12.35 / 8 cycles.
L2_PORT_MILLI = 1544
L2_FROM_FC = 8  # mapping latency in the vendor simulator's configuration
FC_TCDM = 1
ACROSS_DOMAINS = 9  # FC to L1, PE to FC memory: taken equal to the L2 path, not measured
CLUSTER_PERIPHERAL = 1  # measured (lw_periph_timer 3 cycles with two nops)
SOC_PERIPHERAL_FC = 9  # 1 + APB router latency 8 in the vendor simulator's configuration
SOC_PERIPHERAL_PE = 18  # both routers
FC_PERIPHERAL = 1

# One refill at a time a cache; pseudo-random replacement (both in the vendor simulator's cache
# model, models/cache/cache_impl.cpp of pulp-platform/gvsoc; see the engine).
FETCH_MISS_CLUSTER = 12  # per 16-byte line from L2 (measured: 2048 nops cold 8205 cycles)
FETCH_MISS_FC = 12  # not measured; the same refill from the same memory

ELW = 3  # p.elw that need not sleep: 1 + 2 (vendor simulator's p.elw adds 2)
BARRIER_LAST = 11  # the last core to arrive goes on 11 cycles after its p.elw (measured)
# A core that has to wait in p.elw keeps its clock for 6 cycles, then sleeps: with WAKE these are
# the 13 cycles that a waiting core counts (measured: csrr, p.elw, csrr 14, however long it waits)
ELW_AWAKE = 6
WAKE = 7  # waiting cores go on 7 cycles after the barrier fills (measured), also other events

# MCHAN: completion counted from the last command word; 8 bytes a cycle (measured; an L1 -> L2
# transfer takes one more cycle each 256-byte burst). Latency and short lines are fitted: the
# measured programs polled in steps of 6 or, it seems, 7 cycles; their code is not recorded.
DMA_LATENCY = 4
DMA_BEAT_BYTES = 8
DMA_BURST_BYTES = 256
DMA_SHORT_LINE_TENTHS = 11  # a 2D line under 8 bytes costs 1.1 beats (measured 297 for 256 lines)
