"""The GAP8's timers (archi/timer/timer_v2.h): prescaler, 64 bits, one shot, compare events.

Programs on the control core; on any target, see docs/instruction-tests.md. A counter is held
against the other one of its pair, which counts cycles.
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from targets import Target

TIMER = 0x1B200400
ENABLE, CLEAR, EVENT, MATCH_CLEARS, ONE_SHOT = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 5
PRESCALER, CASCADE = 1 << 6, 1 << 31
ACCESSES = 60  # cycles at most between two things a program does one behind the other

SOURCE = f"""
    .macro spin turns
    li t6, \\turns
9:  addi t6, t6, -1
    bnez t6, 9b
    .endm

# CFG a0 for the counter at offset a1, the other one counts cycles: both counts.
prescaled:
    li s0, {TIMER}
    add s1, s0, a1
    xori a1, a1, 4
    add s2, s0, a1
    li t0, {ENABLE | CLEAR}
    sw t0, 0(s2)
    sw a0, 0(s1)
    spin 1000
    lw a0, 8(s1)
    lw a1, 8(s2)
    j stop

# a0, a1: high and low half behind a carry. a2, a3: both compare registers. a4: the high half behind
# a reset of the counter, a5: the high half of two counters again.
cascade:
    li s0, {TIMER}
    li t0, -256
    sw t0, 8(s0)
    li t1, {ENABLE | CASCADE}
    sw t1, 0(s0)
    li t1, 6
    sw t1, 0xC(s0)
    sw t0, 8(s0)
    spin 200
    lw a0, 0xC(s0)
    lw a1, 8(s0)
    li t0, 0x12
    sw t0, 0x14(s0)
    li t0, 0x34
    sw t0, 0x10(s0)
    lw a2, 0x14(s0)
    lw a3, 0x10(s0)
    li t0, 1
    sw t0, 0x20(s0)
    lw a4, 0xC(s0)
    sw zero, 0xC(s0)
    li t0, {ENABLE}
    sw t0, 0(s0)
    spin 10
    lw a5, 0xC(s0)
    j stop

# Two counters become one: a0, a1: its upper halves of count and compare value as HI had them; two
# again: a2, a3: count and compare value of HI, a4: of LO.
halves:
    li s0, {TIMER}
    sw zero, 0(s0)
    sw zero, 4(s0)
    li t0, 7
    sw t0, 8(s0)
    li t0, 5
    sw t0, 0xC(s0)
    li t0, 1000
    sw t0, 0x10(s0)
    li t0, 9
    sw t0, 0x14(s0)
    li t1, {CASCADE}
    sw t1, 0(s0)
    lw a0, 0xC(s0)
    lw a1, 0x14(s0)
    li t0, 6
    sw t0, 0xC(s0)
    sw zero, 0(s0)
    lw a2, 0xC(s0)
    lw a3, 0x14(s0)
    lw a4, 8(s0)
    j stop

# A match clears at 1 << 32 | 100 only. a0: beyond 100 without the high half; a1, a2: behind the
# match.
wide_match:
    li s0, {TIMER}
    li t0, {ENABLE | CASCADE | MATCH_CLEARS}
    sw t0, 0(s0)
    li t0, 100
    sw t0, 0x10(s0)
    li t0, 1
    sw t0, 0x14(s0)
    sw zero, 0xC(s0)
    sw zero, 8(s0)
    spin 200
    lw a0, 8(s0)
    sw t0, 0xC(s0)
    li t0, 90
    sw t0, 8(s0)
    spin 50
    lw a1, 0xC(s0)
    lw a2, 8(s0)
    j stop

# CFG a0 with a match at 100. a0: CFG at once, a1, a2: CFG and count at last, a3, a4: the same
# behind another start.
one_shot:
    li s0, {TIMER}
    li t0, 100
    sw t0, 0x10(s0)
    sw a0, 0(s0)
    lw a0, 0(s0)
    spin 1000
    lw a1, 0(s0)
    lw a2, 8(s0)
    sw zero, 8(s0)
    li t0, 1
    sw t0, 0x18(s0)
    lw a3, 0(s0)
    spin 1000
    lw a4, 8(s0)
    j stop

# One count takes 256 cycles, and the compare value 2 comes in the middle of the first one. a0:
# cycles until the counter has stopped.
phase:
    li s0, 0x1B201400          # instruction cache on: one from L2 takes many cycles
    li t0, -1
    sw t0, 0(s0)
    li s0, {TIMER}
    li t0, {ENABLE | CLEAR}
    li t1, {ENABLE | CLEAR | ONE_SHOT | PRESCALER | 255 << 8}
    sw t1, 0(s0)
    sw t0, 4(s0)
    spin 40
    li t0, 2
    sw t0, 0x10(s0)
1:  lw t0, 0(s0)
    andi t0, t0, {ENABLE}
    bnez t0, 1b
    lw a0, 0xC(s0)
    j stop

# The control core sleeps until event 10 of one shot (300 cycles), then twice for 11 (400 each).
# Event buffers in a0, a2, a4, counts in a1, a3, a5.
    .macro wait buffer, count, offset
    p.elw t1, 0x38(s1)
    lw \\buffer, 0x1C(s1)
    sw \\buffer, 0x28(s1)
    lw \\count, \\offset(s0)
    .endm
events:
    li s0, {TIMER}
    li s1, 0x00204000
    li t0, -1
    sw t0, 0x28(s1)
    li t0, 0xC00
    sw t0, 0(s1)
    li t0, 300
    sw t0, 0x10(s0)
    li t0, {ENABLE | CLEAR | EVENT | ONE_SHOT}
    sw t0, 0(s0)
    wait a0, a1, 8
    li t0, 400
    sw t0, 0x14(s0)
    li t0, {ENABLE | CLEAR | EVENT | MATCH_CLEARS}
    sw t0, 4(s0)
    wait a2, a3, 0xC
    wait a4, a5, 0xC
    j stop

# Three interrupts of the low counter, 1000 cycles each. a0: their cause, a1: cycles, a2: how many.
interrupts:
    la t0, vectors
    csrw mtvec, t0
    li s0, {TIMER}
    li t1, 1000
    sw t1, 0x10(s0)
    li t1, {ENABLE | CLEAR}
    sw t1, 4(s0)
    li t1, {ENABLE | CLEAR | EVENT | MATCH_CLEARS}
    sw t1, 0(s0)
    li t0, 0x00204000
    li t1, 0x400
    sw t1, 0x0C(t0)
    li a2, 0
    li t1, 3
    csrwi mstatus, 8
1:  wfi
    bne a2, t1, 1b
    csrwi mstatus, 0
    lw a1, 0xC(s0)
    csrr a0, mcause
    j stop
    .balign 256
vectors:
    .rept 10
    j stop
    .endr
    addi a2, a2, 1
    mret
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("timers"))


@pytest.mark.parametrize("counter", [0, 4], ids=["low", "high"])
@pytest.mark.parametrize("prescaler", [0, 1, 3, 255])
def test_prescaler(programs: Gap8Programs, counter: int, prescaler: int) -> None:
    """The counter goes on every prescaler + 1 cycles; without its enable bit in each."""
    config = ENABLE | CLEAR | prescaler << 8
    for value, cycles_a_count in ((config | PRESCALER, prescaler + 1), (config, 1)):
        programs.run("prescaled", a0=value, a1=counter)
        count, cycles = programs.results("a0", "a1")
        assert cycles > 2000
        assert -ACCESSES < cycles - count * cycles_a_count < cycles_a_count + ACCESSES


def test_cascade_counts_64_bits(programs: Gap8Programs) -> None:
    programs.run("cascade")
    high, low, *compare, reset, single = programs.results("a0", "a1", "a2", "a3", "a4", "a5")
    assert high == 7 and 400 - 256 <= low < 1200
    assert compare == [0x12, 0x34]
    assert reset == 0
    assert single == 0, "two counters again"


def test_two_counters_become_one_and_two_again(programs: Gap8Programs) -> None:
    programs.run("halves")
    assert programs.results("a0", "a1", "a2", "a3", "a4") == (5, 9, 6, 9, 7)


def test_cascade_matches_all_64_bits(programs: Gap8Programs) -> None:
    programs.run("wide_match")
    beyond, high, low = programs.results("a0", "a1", "a2")
    assert beyond >= 400
    assert high == 0 and 100 - 10 <= low < 90 + 300


@pytest.mark.parametrize("prescaler", [0, 7])
def test_one_shot_stops_at_the_match(programs: Gap8Programs, prescaler: int) -> None:
    programs.run("one_shot", a0=ENABLE | CLEAR | ONE_SHOT | PRESCALER | prescaler << 8)
    at_once, at_last, count, again, count_again = programs.results("a0", "a1", "a2", "a3", "a4")
    assert at_once & ENABLE and not at_last & ENABLE and again & ENABLE
    assert count == count_again == 100


def test_a_match_comes_with_the_prescalers_phase(programs: Gap8Programs) -> None:
    programs.run("phase")
    assert 512 - ACCESSES < programs.results("a0")[0] < 512 + ACCESSES


def test_events_wake_the_core_once_or_each_time(programs: Gap8Programs) -> None:
    programs.run("events")
    first, one_shot, *twice = programs.results("a0", "a1", "a2", "a3", "a4", "a5")
    assert first & 0xC00 == 1 << 10 and one_shot == 300
    assert [buffer & 0xC00 for buffer in twice[0::2]] == [1 << 11, 1 << 11]
    assert all(count < ACCESSES for count in twice[1::2])


def test_timer_interrupt_enters_its_vector(programs: Gap8Programs) -> None:
    programs.run("interrupts")
    cause, cycles, interrupts = programs.results("a0", "a1", "a2")
    assert interrupts == 3
    assert cause >> 31 == 1 and cause & 31 == 10
    assert cycles == pytest.approx(3000, abs=2 * ACCESSES)
