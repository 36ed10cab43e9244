"""The GAP8's two frequency-locked loops by programs on its control core; on any target, see
docs/instruction-tests.md.

A loop's output is counted by its domain's timer against the 32768 Hz reference, which no loop can
falsify. The formula is fll_v1.h's: 32768 Hz * multiplier / 2**(divider - 1).
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from targets import Target

REFERENCE_HZ, TICKS = 32768, 32
MATCH = 300_000  # cycles that a timer counts while its clock changes
LOCKED = 8  # steps of the multiplier, as boards/gap8 waits for

SOURCE = f"""
# Writes CONF1 of the loop at t0 and waits until its status is near the multiplier.
    .macro retune conf1
    sw \\conf1, 4(t0)
    slli t1, \\conf1, 16
    srli t1, t1, 16
1:  lw t2, 0(t0)
    slli t2, t2, 16
    srli t2, t2, 16
    sub t2, t2, t1
    addi t2, t2, {LOCKED}
    li t3, {2 * LOCKED}
    bgtu t2, t3, 1b
    .endm

# Counts the timer at s2 from one edge of the reference to that {TICKS} behind: a2. Then the loop's
# CONF1 and status are in a0 and a1.
    .macro count
    li s1, 0x1B200400
    li t1, 0x83                # the high counter: enabled, from 0, by the reference
    sw t1, 4(s1)
    li t1, 3
    sw t1, 0(s2)
    lw t1, 0xC(s1)
2:  lw t2, 0xC(s1)
    beq t1, t2, 2b
    lw a2, 8(s2)
    addi t2, t2, {TICKS}
3:  lw t1, 0xC(s1)
    bne t1, t2, 3b
    lw t1, 8(s2)
    sub a2, t1, a2
    lw a0, 4(t0)
    lw a1, 0(t0)
    .endm

# a0: CONF1 (0: left as it is); the one found comes back at the end.
control_clock:
    li t0, 0x1A100000
    lw s3, 4(t0)
    beqz a0, 4f
    retune a0
4:  li s2, 0x1B200400
    count
    retune s3
    j stop

cluster_clock:
    mv s3, a0
    la a0, finish
    jal launch
    li t0, 0x1A100010
    retune s3
    li s2, 0x10200400
    count
    j stop

# The timer at \\timer matches at {MATCH}; the core sleeps until its event 10: a0 is the count then.
    .macro start_timer timer
    li s2, \\timer
    li t1, {MATCH}
    sw t1, 0x10(s2)
    li t1, 7                   # enabled, from 0, with its event
    sw t1, 0(s2)
    .endm
    .macro await_match
    li s1, 0x00204000
    li t1, 0x400
    sw t1, 0(s1)
    p.elw t1, 0x3C(s1)
    lw a0, 8(s2)
    .endm

# Between the clocks a0 and a1 (CONF1).
control_match:
    li t0, 0x1A100000
    mv s3, a1
    retune a0
    start_timer 0x1B200400
    sw s3, 4(t0)
    await_match
    j stop

# The same in the cluster: from the control core's clock to a0.
cluster_match:
    mv s3, a0
    la a0, match_in_cluster
    jal launch
    la t1, results
1:  lw t2, 0(t1)
    beqz t2, 1b
    li t0, 0x1A100010
    sw s3, 4(t0)
    j await_cluster
match_in_cluster:
    beqz a0, 2f
    ret
2:  start_timer 0x10200400
    li t1, 1
    sw t1, 0(a2)
    await_match
    sw a0, 4(a2)
    ret
"""


def conf1(multiplier: int, divider: int) -> int:
    """Closed loop, output gated until it is locked."""
    return 0xC0000000 | divider << 26 | multiplier


def output_hz(value: int, multiplier: int) -> float:
    """Of a loop with this CONF1, by a multiplier asked for or measured."""
    return REFERENCE_HZ * multiplier / 2 ** (max(value >> 26 & 15, 1) - 1)


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("clocks"))


def measured_hz(programs: Gap8Programs) -> float:
    """What the last run counted; the loop's status must say the same."""
    value, status, cycles = programs.results("a0", "a1", "a2")
    hz = cycles * REFERENCE_HZ / TICKS
    assert output_hz(value, status & 0xFFFF) == pytest.approx(hz, rel=0.005)
    return hz


def test_the_control_clock_is_what_its_loop_says(programs: Gap8Programs) -> None:
    programs.run("control_clock", a0=0)
    assert measured_hz(programs) > 1e6


# None needs more than 1.0 V of core voltage.
@pytest.mark.parametrize(("multiplier", "divider"), [(6103, 3), (6103, 2), (9155, 2)])
def test_the_control_clock_follows(programs: Gap8Programs, multiplier: int, divider: int) -> None:
    wanted = conf1(multiplier, divider)
    programs.run("control_clock", a0=wanted)
    assert measured_hz(programs) == pytest.approx(output_hz(wanted, multiplier), rel=0.005)
    value, status = programs.results("a0", "a1")
    assert value & 0x3C00FFFF == wanted & 0x3C00FFFF
    assert abs((status & 0xFFFF) - multiplier) <= LOCKED


@pytest.mark.parametrize(("multiplier", "divider"), [(6103, 3), (4883, 2)])
def test_the_clusters_clock_follows(programs: Gap8Programs, multiplier: int, divider: int) -> None:
    wanted = conf1(multiplier, divider)
    programs.run("cluster_clock", a0=wanted)
    assert measured_hz(programs) == pytest.approx(output_hz(wanted, multiplier), rel=0.005)


SLOW, FAST = conf1(6103, 3), conf1(9155, 2)  # 50 and 150 MHz


@pytest.mark.parametrize(("first", "then"), [(SLOW, FAST), (FAST, SLOW)], ids=["up", "down"])
def test_a_timers_match_follows_its_clock(programs: Gap8Programs, first: int, then: int) -> None:
    programs.run("control_match", a0=first, a1=then)
    assert MATCH <= programs.results("a0")[0] < MATCH + 200


def test_a_match_in_the_cluster_follows_its_clock(programs: Gap8Programs) -> None:
    programs.run("cluster_match", a0=conf1(4883, 2))
    assert MATCH <= programs.words(2)[1] < MATCH + 200
