"""Hardware loops of the GAP8: how often they turn, by programs on any target, see
docs/instruction-tests.md. Turns follow from the counts; the rules that loops must keep are in
test_gap8_loop_rules.py.
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from targets import ChipTarget, Target

TURNS = 10
# Last instructions of a body, each served elsewhere in the model.
LAST = {
    "timer": "lw t1, 8(s1)",
    "timer, post-increment": "p.lw t1, 0(s1!)",
    "GPIO": "sw t1, 8(s2)",
    "FC memory": "lw t1, 0(s4)",
    "misaligned": "lw t1, 1(s5)",
    "event unit": "sw zero, 0(s6)",
    "control register": "csrr t1, 0x780",
    "nop": "nop",
}
BASES = """
    li s1, 0x1B200400
    li s2, 0x1A101000
    li s4, 0x1B000000
    la s5, scratch
    li s6, 0x00204000
"""


def _single(last: str) -> str:
    return f"""
    li t4, 0
    li t3, {TURNS}
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    {last}
    sw t4, 0(s0)
    addi s0, s0, 4
"""


def _nested(last: str) -> str:
    """3 times 4 turns, with the instruction last in both bodies."""
    return f"""
    li t4, 0
    li t6, 0
    li t2, 3
    li t3, 4
    lp.setup x1, t2, 32
    addi t6, t6, 1
    nop
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    {last}
    nop
    {last}
    sw t4, 0(s0)
    sw t6, 4(s0)
    addi s0, s0, 8
"""


SOURCE = f"""
    .balign 4
scratch: .space 8

accesses:
    la s0, results
{BASES}
{"".join(_single(last) + _nested(last) for last in LAST.values())}
    j stop

# Eight cores, 2 times (3 barriers and another one), core 0 comes late to each.
barriers:
    mv tp, ra
    mv s11, a0
    jal join_barrier
    jal barrier
    li t0, 0x00204200
    li t4, 0
    li t6, 0
    li t2, 40
    bnez s11, 2f
    li t2, 4000000
2:
    lp.setupi x1, 2, 36
    addi t6, t6, 1
    nop
    lp.setupi x0, 3, 12
    addi t4, t4, 1
    divu t3, t2, t6
    p.elw t1, 0x1C(t0)
    nop
    divu t3, t6, t2
    p.elw t1, 0x1C(t0)
    slli t1, s11, 3
    add t1, t1, a2
    sw t4, 0(t1)
    sw t6, 4(t1)
    jr tp

# Twenty MCHAN requests, sixteen are granted at once, core 1 frees them later. And test-and-set:
# twice two turns.
requests:
    li t0, 1
    beq a0, t0, free
    bnez a0, finish
    li t0, 32                  # event 5: loads
    csrw 0x7A0, t0
    li s1, 0x00204400
    li t4, 0
    li t3, 20
    csrw 0x785, zero
    csrwi 0x7A1, 1
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    lw t1, 0(s1)
    csrr t5, 0x785
    li s2, 0x10100040
    li t6, 0
    lp.setupi x1, 2, 32
    nop
    lp.setupi x0, 2, 12
    addi t6, t6, 1
    nop
    lw t1, 0(s2)
    nop
    nop
    lw t1, 0(s2)
    sw t4, 0(a2)
    sw t5, 4(a2)
    sw t6, 8(a2)
    j finish
free:
    li t0, 1000
1:  addi t0, t0, -1
    bnez t0, 1b
    li s1, 0x00204400
    li t1, 0xFFFF
    sw t1, 4(s1)
    j finish

# The timer interrupts each p.elw, whose event its handler raises. a0: turns, a1: interrupts.
interrupted:
    la t0, vectors
    csrw mtvec, t0
    li t0, 0x1B200400
    li t1, 1000
    sw t1, 0x10(t0)
    li t1, 0x17                # enable, from 0, event, clear on match
    sw t1, 0(t0)
    li t0, 0x00204000
    li t1, 0x400               # timer: interrupt
    sw t1, 0x0C(t0)
    li t1, 1                   # software event 0: event
    sw t1, 0(t0)
    li a1, 0
    li s1, 0x1B200E00
    li a0, 0
    li t3, 5
    li t2, 1
    csrwi mstatus, 8
    lp.setup x0, t3, 12
    addi a0, a0, 1
    nop
    p.elw t1, 0x3C(t0)
    csrwi mstatus, 0
    j stop
    .balign 256
vectors:
    .rept 10
    j stop
    .endr
    addi a1, a1, 1
    sw t2, 0(s1)
    mret

written:
    la s0, results
    li t3, 3

    li t4, 0
    lp.counti x0, 7        # the count first
    lp.starti x0, 8
    lp.endi x0, 12
    addi t4, t4, 1
    nop
    nop
    sw t4, 0(s0)
    li t4, 0
    la t0, 1f
    csrw 0x7B4, t0
    addi t0, t0, 8
    csrw 0x7B5, t0
    csrwi 0x7B6, 6
    j 1f
    .balign 4
1:  addi t4, t4, 1
    nop
    nop
    sw t4, 4(s0)
    csrr t0, 0x7B6
    sw t0, 8(s0)
    li t4, 0
    lp.setup x0, t3, 16    # left early, its count stays
    nop
    addi t4, t4, 1
    beq t4, t4, 2f
    nop
    nop
2:
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    nop
    sw t4, 12(s0)
    li t4, 0
    lp.setupi x0, 0, 12    # no count, no loop
    addi t4, t4, 1
    nop
    nop
    sw t4, 16(s0)
    j stop
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("loops"))


def test_any_access_may_be_the_last_of_a_body(programs: Gap8Programs) -> None:
    programs.run("accesses")
    turns = programs.words(3 * len(LAST))
    by_name = {name: turns[3 * i : 3 * i + 3] for i, name in enumerate(LAST)}
    assert by_name == dict.fromkeys(LAST, (TURNS, 12, 3))


def test_waiting_for_a_barrier_may_be_the_last_of_a_body(programs: Gap8Programs) -> None:
    programs.on_cluster("barriers")
    assert programs.words(16) == (6, 2) * 8


def test_a_blocked_transfer_request_may_be_the_last_of_a_body(programs: Gap8Programs) -> None:
    programs.on_cluster("requests")
    assert programs.words(3) == (20, 20, 4)


def test_an_interrupted_wait_ends_its_body_once(programs: Gap8Programs) -> None:
    programs.run("interrupted")
    assert programs.results("a0", "a1") == (5, 5)


def test_loops_written_register_by_register(gap8_target: Target, programs: Gap8Programs) -> None:
    programs.run("written")
    assert programs.words(5) == (7, 6, 0, 4, 1)
    if isinstance(gap8_target, ChipTarget):
        assert gap8_target.chip.counters()["hardware_loops_beyond_manual"] == 0
