"""The GAP8's cluster through its power switch, reset, clock gate and isolation.

That a gated clock stops the cluster is tried on any target (docs/instruction-tests.md); what is
refused, and what memory loses, on the virtual chip.
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from gap8_registers import write
from targets import ChipTarget, Target

from hil.core.errors import SimulationError
from hil.sim.socs.gap8 import layout as L

TURNS = 3000  # of 4 cycles, on the control core as on the cluster's core 0
MOVED = 32_000  # bytes, at eight a cycle
WORD = 0x10000000

SOURCE = f"""
    .macro spin turns
    li t6, \\turns
9:  addi t6, t6, -1
    bnez t6, 9b
    .endm
    .macro bypass value
    li t1, \\value
    sw t1, 0x70(t0)
    .endm

# Core 0 counts in L1. Core 1 has MCHAN move {MOVED} bytes meanwhile. The control core stops the
# cluster's clock for a time, twice as long as that takes. a0: turns of core 0, a1: cycles of the
# cluster's timer, over the times without and with clock; result: cycles of the transfer by it.
gate:
    la a0, busy
    jal launch
    spin 300
    li s0, {WORD}
    li s1, 0x1A104000
    li s2, 0x10200400
    lw s3, 0(s0)
    lw s4, 8(s2)
    lw s5, 0x70(s1)
    li t1, 0x400
    or t1, t1, s5
    sw t1, 0x70(s1)
    spin {TURNS}
    sw s5, 0x70(s1)
    spin {TURNS}
    lw a0, 0(s0)
    sub a0, a0, s3
    lw a1, 8(s2)
    sub a1, a1, s4
    j stop
busy:
    li s0, {WORD}
    li s2, 0x10200400
    li t1, 1
    sw t1, 0(s2)
    beqz a0, 1f
    beq a0, t1, 3f
    ret
1:  li t1, 0
2:  addi t1, t1, 1
    sw t1, 0(s0)
    j 2b
3:  li s7, 0x00204400
    li s8, 0x00204000
    li t1, 0x100
    sw t1, 0(s8)
    lw s3, 8(s2)
    lw t1, 0(s7)
    li t1, {MOVED | 1 << 16 | 1 << 17 | 1 << 19}
    sw t1, 0(s7)
    li t1, {WORD + 0x1000}
    sw t1, 0(s7)
    li t1, 0x1C010000
    sw t1, 0(s7)
    p.elw t1, 0x3C(s8)
    lw t1, 8(s2)
    sub t1, t1, s3
    sw t1, 0(a2)
    ret

# The cluster on, and then what keeps the control core out.
    .macro cluster_on
    li t0, 0x1A104000
    bypass 0x201
    bypass 0x209
    spin 1000
    .endm
early:
    li t0, 0x1A104000
    sw zero, 0x0C(t0)
    bypass 0x209
    j touch
untold:
    cluster_on
    j touch
isolated:
    cluster_on
    sw zero, 0x0C(t0)
    li t1, 1
    sw t1, 0x0C(t0)
    j touch
in_reset:
    cluster_on
    sw zero, 0x0C(t0)
    bypass 0x2209
    j touch
gated:
    cluster_on
    sw zero, 0x0C(t0)
    bypass 0x609
    j touch
off:
    cluster_on
    sw zero, 0x0C(t0)
    bypass 0x201
touch:
    li t3, {WORD}
    lw a0, 0(t3)
    j stop

# a0: a word of L1 behind a reset of the cluster, a1: behind its power.
kept:
    cluster_on
    sw zero, 0x0C(t0)
    li t3, {WORD}
    li t1, 42
    sw t1, 0(t3)
    bypass 0x2209
    bypass 0x209
    lw a0, 0(t3)
    bypass 0x201
    spin 1000
    bypass 0x209
    spin 1000
    lw a1, 0(t3)
    j stop
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("power"))


def test_a_gated_clock_stops_cores_timer_and_dma(programs: Gap8Programs) -> None:
    programs.run("gate")
    turns, cycles = programs.results("a0", "a1")
    assert turns == pytest.approx(TURNS, rel=0.05)
    assert cycles == pytest.approx(4 * TURNS, rel=0.05)
    assert programs.words(1)[0] == pytest.approx(MOVED / 8, rel=0.02)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("early", "is off"), ("untold", "isolated"), ("isolated", "isolated"),
        ("in_reset", "in reset"), ("gated", "gated"), ("off", "is off"),
    ],
)  # fmt: skip
def test_the_control_core_is_kept_out(
    virtual_gap8: ChipTarget, programs: Gap8Programs, way: str, reason: str
) -> None:
    with pytest.raises(AssertionError, match=f"FAULT.*access to the cluster while it.*{reason}"):
        programs.run(way)
    assert virtual_gap8.chip.fault is not None and virtual_gap8.chip.fault.address == WORD


def test_l1_survives_reset_and_no_power_cut(
    virtual_gap8: ChipTarget, programs: Gap8Programs
) -> None:
    programs.run("kept")
    assert programs.results("a0", "a1") == (42, L.POISON)


def test_a_gated_clock_under_the_hwce_is_refused(
    virtual_gap8: ChipTarget, programs: Gap8Programs
) -> None:
    programs.run("kept")
    machine = virtual_gap8.chip._machine
    machine.begin_work(L.HWCE_MACS, 100, machine.now_fs + L.FS_PER_S)
    with pytest.raises(SimulationError, match="while the HWCE works"):
        write(virtual_gap8.chip, 0x1A104070, 0x609)
