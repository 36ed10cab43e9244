"""The GAP8's event unit where cores part ways: dispatch to some of them, interrupts at a barrier.

The programs run on the virtual GAP8 or behind ``--gdb-target`` (docs/instruction-tests.md).
"""

from __future__ import annotations

import random

import pytest
from gap8_program import Gap8Programs
from targets import Target, words, write_words

PACE, LONG_WORK = 50, 300  # turns of 4 cycles: from push to push; five to six of these
LIST_BYTES = 512
WITH_WORK, LAST = 1 << 8, -1
FIRST_EVENT, MARK = 1, 77

SOURCE = f"""
    .macro spin turns
    mv t6, \\turns
9:  addi t6, t6, -1
    bnez t6, 9b
    .endm

# Parameters: a list of words (team, above it a value of 24 bits; 0 at the end), and where each core
# writes down what it takes, {LIST_BYTES} bytes each. Core 0 pushes the values.
teams:
    lw s0, 0(a1)
    lw s2, 4(a1)
    li s3, 0x00204080
    li s4, 0x00204000
    li s5, {LONG_WORK}
    li s6, {PACE}
    beqz a0, 3f
    li t0, 0x40000
    sw t0, 0(s4)
    slli t0, a0, 9
    add s2, s2, t0
1:  p.elw t0, 0(s3)
    sw t0, 0(s2)
    addi s2, s2, 4
    bltz t0, 2f
    andi t1, t0, {WITH_WORK}
    beqz t1, 1b
    spin s5
    j 1b
2:  ret
3:  lw t0, 0(s0)
    addi s0, s0, 4
    beqz t0, 4f
    andi t1, t0, 0xFF
    sw t1, 4(s3)
    srli t0, t0, 8
    sw t0, 0(s3)
    spin s6
    j 3b
4:  li t1, 0xFE
    sw t1, 4(s3)
    li t0, {LAST}
    sw t0, 0(s3)
    ret

# Parameters: turns of the interrupt handler, and of core 0 from the interrupt to the barrier. Core
# 1 sleeps at the barrier when core 0 interrupts it. Results: what core 1 had left in L1 when core 0
# was through its second barrier; how often core 1 was interrupted.
interrupted:
    li s0, 0x00204000
    li s1, 0x00204200
    li t1, 0x10000
    sw t1, 0(s0)
    li t2, 2
    blt a0, t2, 1f
    ret
1:  lw s4, 0(a1)
    lw s5, 4(a1)
    li s7, 600
    li s6, 0
    li t1, 3
    sw t1, 0(s1)
    sw t1, 0x0C(s1)
    li s3, 0x10000100
    bnez a0, 2f
    spin s7
    li t1, 2
    sw t1, {0x100 + 4 * FIRST_EVENT}(s0)
    spin s5
    p.elw t1, 0x1C(s1)
    spin s7
    p.elw t1, 0x1C(s1)
    lw t1, 0(s3)
    sw t1, 0(a2)
    ret
2:  la t1, interrupt_vectors
    csrw mtvec, t1
    li t1, {1 << FIRST_EVENT}
    sw t1, 0x0C(s0)
    sw zero, 0(s3)
    csrsi mstatus, 8
    p.elw t1, 0x1C(s1)
    slli s7, s7, 2
    spin s7
    li t1, {MARK}
    sw t1, 0(s3)
    p.elw t1, 0x1C(s1)
    csrci mstatus, 8
    sw s6, 4(a2)
    ret
handler:
    addi s6, s6, 1
    mv s8, t6
    spin s4
    mv t6, s8
    mret

# Software events 2, 5 and 3 wait for the control core: a0 is their causes, 8 bits each, in order.
order:
    la t0, cause_vectors
    csrw mtvec, t0
    li s0, 0x00204000
    li t1, -1
    sw t1, 0x28(s0)
    li t1, 0x2C
    sw t1, 0x0C(s0)
    li s2, 0x1B200E00
    li t1, 1
    sw t1, 8(s2)
    sw t1, 20(s2)
    sw t1, 12(s2)
    li a0, 0
    csrsi mstatus, 8
    .rept 8
    nop
    .endr
    csrci mstatus, 8
    j stop
note_cause:
    csrr t2, mcause
    andi t2, t2, 31
    slli a0, a0, 8
    or a0, a0, t2
    mret

    .balign 256
interrupt_vectors:
    .rept 32
    j handler
    .endr
    .balign 256
cause_vectors:
    .rept 32
    j note_cause
    .endr
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("events"))


def _sequence() -> list[tuple[int, int]]:
    """Pairs of team and value.

    Cores 4 to 7 are left out of 18 entries, more than the FIFO has; then they lag by five, twice in
    a row, while entries of others come before and behind theirs.
    """
    some, others = 0x0E, 0xF0
    teams = [(some, 0)] * 18 + [(others, WITH_WORK)] * 2 + [(some, 0)] * 3
    teams += [(others, 0)] + [(some, 0)] * 4 + [(others, 0)]
    choose = random.Random(8)
    teams += [(choose.choice((some, others, 0xFE, 2, 0x40)), 0) for _ in range(60)]
    return [(team, work | i) for i, (team, work) in enumerate(teams)]


def test_each_core_takes_what_its_teams_got(gap8_target: Target, programs: Gap8Programs) -> None:
    sequence = _sequence()
    at = gap8_target.ram.start + 0x8000
    lists = at + 0x1000
    pushed = [team | value << 8 for team, value in sequence]
    programs.on_cluster("teams", [at, lists], lambda: write_words(gap8_target, at, *pushed, 0))
    for core in range(1, 8):
        expected = [value for team, value in sequence if team >> core & 1] + [LAST & 0xFFFFFFFF]
        taken = words(gap8_target, lists + LIST_BYTES * core, len(expected))
        assert list(taken) == expected, f"core {core}"


@pytest.mark.parametrize(("handler", "arrives"), [(300, 40), (20, 300)], ids=["during", "behind"])
def test_an_interrupt_at_a_barrier_is_no_second_arrival(
    programs: Gap8Programs, handler: int, arrives: int
) -> None:
    """The barrier fills while core 1 is in its handler, or when it sleeps again."""
    programs.on_cluster("interrupted", [handler, arrives])
    assert programs.words(2) == (MARK, 1)


def test_the_highest_event_interrupts_first(programs: Gap8Programs) -> None:
    programs.run("order")
    assert programs.results("a0")[0] == 5 << 16 | 3 << 8 | 2
