"""The GAP8's cluster by programs on its eight cores: start, events, barrier, dispatch, locks.

The control core powers it and starts the cores as boards/gap8 does. The programs run on the
virtual GAP8 or behind ``--gdb-target`` (docs/instruction-tests.md).
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from targets import ChipTarget, Target

ROUNDS, TIMES = 24, 100
CORES = range(8)

SOURCE = f"""
# Each core: its mhartid to L2, and that of its neighbour by way of L1.
identities:
    mv s10, ra
    mv s11, a0
    jal join_barrier
    slli t0, s11, 2
    csrr t1, 0xF14
    add t2, a2, t0
    sw t1, 0(t2)
    li s9, 0x10000100
    add t3, s9, t0
    sw t1, 0(t3)
    jal barrier
    addi t0, s11, 1
    andi t0, t0, 7
    slli t0, t0, 2
    add t3, s9, t0
    lw t1, 0(t3)
    slli t0, s11, 2
    add t2, a2, t0
    sw t1, 32(t2)
    jr s10

# {ROUNDS} rounds, in each another core comes last; s5 counts looks at a core that is not there yet.
barriers:
    mv s10, ra
    mv s11, a0
    jal join_barrier
    li s8, 0x10000100
    slli t0, s11, 2
    add s7, s8, t0
    li s6, 0
    li s5, 0
1:  addi s6, s6, 1
    add t0, s11, s6
    andi t0, t0, 7
    slli t0, t0, 4
2:  addi t0, t0, -1
    bgez t0, 2b
    sw s6, 0(s7)
    jal barrier
    mv t0, s8
    li t1, 8
3:  lw t2, 0(t0)
    beq t2, s6, 4f
    addi s5, s5, 1
4:  addi t0, t0, 4
    addi t1, t1, -1
    bnez t1, 3b
    jal barrier
    li t0, {ROUNDS}
    bne s6, t0, 1b
    slli t0, s11, 3
    add t0, t0, a2
    sw s5, 0(t0)
    sw s6, 4(t0)
    jr s10

# Core 0 has a team (parameter) run `job` more often than the FIFO has entries, then all finish.
dispatch:
    mv s11, a0
    mv s7, a1
    mv s8, a2
    li t0, 0x00204000
    li t1, 0x50000             # dispatch and barrier end a wait
    beqz a0, master
    sw t1, 0(t0)
worker:
    li t0, 0x00204080
    p.elw s1, 0(t0)
    p.elw a1, 0(t0)
    jalr s1
    jal barrier
    j worker
job:
    slli t0, s11, 2
    add t0, t0, a1
    lw t1, 0(t0)
    add t1, t1, s11
    addi t1, t1, 100
    sw t1, 0(t0)
    ret
master:
    li t1, 0x10000             # it never takes from the FIFO
    sw t1, 0(t0)
    lw t1, 0(s7)
    li t0, 0x00204200
    sw t1, 0(t0)
    sw t1, 0x0C(t0)
    li t0, 0x00204080
    sw t1, 4(t0)
    li s2, {ROUNDS}
2:  la t1, job
    li t0, 0x00204080
    sw t1, 0(t0)
    mv a1, s8
    sw a1, 0(t0)
    jal job
    jal barrier
    addi s2, s2, -1
    bnez s2, 2b
    li t0, 0x00204080
    li t1, 0xFF
    sw t1, 4(t0)
    la t1, finish
    sw t1, 0(t0)
    sw zero, 0(t0)
    j finish

# All cores add to one word, {TIMES} times each, under the mutex or under a lock by test-and-set.
    .macro add_under_lock name, take, free
\\name:
    mv s10, ra
    mv s11, a0
    li s8, 0x10000100
    bnez a0, 1f
    sw zero, 0(s8)
    li t0, 0x002040C0
    sw zero, 0(t0)
    li t0, 0x10000040
    sw zero, 0(t0)
1:  jal join_barrier
    jal barrier
    li t0, 0x00204000
    li t1, 0x30000             # mutex and barrier
    sw t1, 0(t0)
    li s9, {TIMES}
    li s7, 0x10100040
2:  \\take
    lw t3, 0(s8)
    addi t3, t3, 1
    nop
    nop
    sw t3, 0(s8)
    \\free
    addi s9, s9, -1
    bnez s9, 2b
    jal barrier
    bnez s11, 4f
    lw t0, 0(s8)
    sw t0, 0(a2)
4:  jr s10
    .endm
    .macro take_mutex
    li t0, 0x00204000
    p.elw t1, 0xC0(t0)
    .endm
    .macro free_mutex
    sw zero, 0xC0(t0)
    .endm
    .macro take_word
3:  lw t1, 0(s7)
    bnez t1, 3b
    .endm
    .macro free_word
    li t0, 0x10000040
    sw zero, 0(t0)
    .endm
    add_under_lock mutex, take_mutex, free_mutex
    add_under_lock spin_lock, take_word, free_word

test_and_set:
    bnez a0, 1f
    li t0, 0x10000040
    li t1, 5
    sw t1, 0(t0)
    li t2, 0x10100040
    lw t1, 0(t2)
    sw t1, 0(a2)
    lw t1, 0(t2)
    sw t1, 4(a2)
    lw t1, 0(t0)
    sw t1, 8(a2)
1:  ret

misaligned_word:
    li t0, 0x10100042
    sw t0, 0(t0)
    ret
misaligned_half:
    li t0, 0x1010FFFF
    sh t0, 0(t0)
    ret

# An event from core to core, 1 from core 0 on; each writes down which number it is.
relay:
    mv s11, a0
    li s0, 0x00204000
    li s8, 0x10000100
    bnez a0, 1f
    sw zero, 0(s8)
    j 2f
1:  li t0, 2
    sw t0, 0(s0)
3:  p.elw t1, 0x38(s0)
    lw t1, 0x1C(s0)
    andi t1, t1, 2
    beqz t1, 3b
    sw t1, 0x28(s0)
2:  lw t0, 0(s8)
    slli t1, s11, 3
    add t1, t1, a2
    sw t0, 0(t1)
    lw t2, 0x1C(s0)
    andi t2, t2, 0xFF
    sw t2, 4(t1)
    addi t0, t0, 1
    sw t0, 0(s8)
    li t0, 2
    sll t0, t0, s11
    andi t0, t0, 0xFF
    sw t0, 0x104(s0)
    ret

# The control core wakes all with event 2 (`told` runs on it).
told:
    jal launch
    la t0, results
    lw t1, 0(t0)
    sw t1, 64(t0)              # before its event nobody can have gone on
    li t0, 0x10200E08
    li t1, 0xFF
    sw t1, 0(t0)
    j await_cluster
listener:
    li s0, 0x00204000
    li t0, 4
    sw t0, 0(s0)
1:  p.elw t1, 0x38(s0)
    lw t1, 0x1C(s0)
    andi t1, t1, 4
    beqz t1, 1b
    sw t1, 0x28(s0)
    slli t0, a0, 2
    add t0, t0, a2
    addi t1, a0, 1
    sw t1, 0(t0)
    ret
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("cluster"))


def test_eight_cores_start_and_share_l1(programs: Gap8Programs) -> None:
    programs.on_cluster("identities")
    assert programs.words(16) == (*CORES, *(core + 1 & 7 for core in CORES))


def test_nobody_passes_a_barrier_alone(programs: Gap8Programs) -> None:
    programs.on_cluster("barriers")
    assert programs.words(16) == (0, ROUNDS) * 8


@pytest.mark.parametrize("team", [0xFF, 0x2D])
def test_dispatch_runs_a_function_on_the_team(programs: Gap8Programs, team: int) -> None:
    programs.on_cluster("dispatch", [team])
    assert programs.words(8) == tuple((team >> i & 1) * ROUNDS * (100 + i) for i in CORES)


@pytest.mark.parametrize("lock", ["mutex", "spin_lock"])
def test_a_lock_keeps_the_others_out(programs: Gap8Programs, lock: str) -> None:
    programs.on_cluster(lock)
    assert programs.words(1) == (8 * TIMES,)


def test_test_and_set_returns_the_old_value_and_sets_all_bits(programs: Gap8Programs) -> None:
    programs.on_cluster("test_and_set")
    assert programs.words(3) == (5, 0xFFFFFFFF, 0xFFFFFFFF)


def test_software_events_from_core_to_core(programs: Gap8Programs) -> None:
    """Each arrives at the one core it was sent to, and is gone when it has been cleared."""
    programs.on_cluster("relay")
    assert programs.words(16)[0::2] == tuple(CORES)
    assert programs.words(16)[1::2] == (0,) * 8


def test_the_control_core_wakes_the_cluster(programs: Gap8Programs) -> None:
    programs.run("told", a0=programs.symbols["listener"])
    assert programs.words(8) == tuple(core + 1 for core in CORES)
    assert programs.words(17)[16] == 0


def test_the_cluster_starts_again_while_it_is_still_on(
    gap8_target: Target, programs: Gap8Programs
) -> None:
    """Off and on by the control core, as behind a debugger whose reset the cluster does not see."""
    programs.on_cluster("identities")
    gap8_target.set_register("a0", programs.symbols["spin_lock"])
    gap8_target.run(programs.symbols["on_cluster"], programs.symbols["stop"])
    assert programs.words(1) == (8 * TIMES,)


@pytest.mark.parametrize(("store", "address"), [("word", 0x10100042), ("half", 0x1010FFFF)])
def test_a_misaligned_store_to_test_and_set_is_a_fault(
    virtual_gap8: ChipTarget, programs: Gap8Programs, store: str, address: int
) -> None:
    with pytest.raises(AssertionError, match="misaligned"):
        programs.on_cluster(f"misaligned_{store}")
    assert virtual_gap8.chip.fault is not None and virtual_gap8.chip.fault.address == address
