"""The GAP8's timers (archi/timer/timer_v2.h): prescaler, 64 bits, one shot, compare events."""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import PES_SLEEP, run_to_exit
from gap8_registers import pass_time, read, spinning, write

from hil.sim.socs.gap8 import Gap8

TIMER = 0x1B200400
CFG_LO, CFG_HI, CNT_LO, CNT_HI, CMP_LO, CMP_HI, START_LO, START_HI, RESET_LO, RESET_HI = range(
    TIMER, TIMER + 0x28, 4
)
ENABLE, CLEAR, EVENT, MATCH_CLEARS, ONE_SHOT = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 5
PRESCALER, REFERENCE, CASCADE = 1 << 6, 1 << 7, 1 << 31
RESULTS = 0x1C070000


@pytest.fixture(scope="module")
def blank() -> Gap8:
    return Gap8()


@pytest.fixture
def chip(blank: Gap8) -> Gap8:
    return spinning(blank)


def cycles(chip: Gap8) -> int:
    return chip.counters()["fc_clock_cycles"]


@pytest.mark.parametrize("config", [CFG_LO, CFG_HI])
@pytest.mark.parametrize("prescaler", [0, 1, 3, 255])
def test_prescaler(chip: Gap8, config: int, prescaler: int) -> None:
    """The counter goes on every prescaler + 1 cycles; without its enable bit in each."""
    started = cycles(chip)
    write(chip, config, ENABLE | PRESCALER | prescaler << 8)
    for _ in range(3):
        pass_time(chip, 7e-6)
        passed = cycles(chip) - started
        assert read(chip, config + 8) == passed // (prescaler + 1)
    write(chip, config, ENABLE | CLEAR | prescaler << 8)
    started = cycles(chip)
    pass_time(chip, 7e-6)
    assert read(chip, config + 8) == cycles(chip) - started


def test_reference_clock(chip: Gap8) -> None:
    write(chip, CFG_HI, ENABLE | REFERENCE)
    pass_time(chip, 10.5 / 32768)
    assert read(chip, CNT_HI) == 10


def test_cascade_counts_64_bits(chip: Gap8) -> None:
    write(chip, CNT_LO, 0xFFFFFFF0)
    started = cycles(chip)
    write(chip, CFG_LO, ENABLE | CASCADE)
    write(chip, CNT_HI, 6)
    write(chip, CNT_LO, 0xFFFFFFF0)
    pass_time(chip, 10e-6)
    count = (6 << 32 | 0xFFFFFFF0) + cycles(chip) - started
    assert (read(chip, CNT_HI), read(chip, CNT_LO)) == (7, count & 0xFFFFFFFF)
    write(chip, CMP_HI, 0x12)
    write(chip, CMP_LO, 0x34)
    assert (read(chip, CMP_HI), read(chip, CMP_LO)) == (0x12, 0x34)
    write(chip, RESET_LO, 1)
    assert (read(chip, CNT_HI), read(chip, CNT_LO)) == (0, 0)
    write(chip, CFG_LO, ENABLE)
    pass_time(chip, 1e-6)
    assert read(chip, CNT_HI) == 0, "two counters again"


def test_cascade_matches_all_64_bits(chip: Gap8) -> None:
    """A match that clears: at 1 << 32 | 100, not at 100."""
    write(chip, CFG_LO, ENABLE | CASCADE | MATCH_CLEARS)
    write(chip, CMP_LO, 100)
    write(chip, CMP_HI, 1)
    started = cycles(chip)
    write(chip, CNT_HI, 0)
    write(chip, CNT_LO, 0)
    pass_time(chip, 10e-6)
    assert read(chip, CNT_LO) == cycles(chip) - started > 100
    write(chip, CNT_HI, 1)
    write(chip, CNT_LO, 90)
    started = cycles(chip)
    pass_time(chip, 1e-6)
    assert (read(chip, CNT_HI), read(chip, CNT_LO)) == (0, cycles(chip) - started - 10)


@pytest.mark.parametrize("prescaler", [0, 7])
def test_one_shot_stops_at_the_match(chip: Gap8, prescaler: int) -> None:
    write(chip, CMP_LO, 100)
    write(chip, CFG_LO, ENABLE | ONE_SHOT | PRESCALER | prescaler << 8)
    pass_time(chip, 101 * (prescaler + 1) * 20e-9 / 2)
    assert read(chip, CFG_LO) & ENABLE and 0 < read(chip, CNT_LO) < 100
    pass_time(chip, 100e-6)
    assert not read(chip, CFG_LO) & ENABLE and read(chip, CNT_LO) == 100
    write(chip, CNT_LO, 0)
    write(chip, START_LO, 1)
    pass_time(chip, 100e-6)
    assert read(chip, CNT_LO) == 100


def test_a_match_comes_with_the_prescalers_phase(chip: Gap8) -> None:
    """The compare register written in the middle of a count: the match comes with that count."""
    write(chip, CFG_LO, ENABLE | ONE_SHOT | PRESCALER | 255 << 8)
    started = cycles(chip)
    pass_time(chip, 200 * 20e-9)
    write(chip, CMP_LO, 2)
    pass_time(chip, 305 * 20e-9)
    passed = cycles(chip) - started
    assert 500 <= passed < 512 and read(chip, CFG_LO) & ENABLE
    pass_time(chip, 20 * 20e-9)
    assert not read(chip, CFG_LO) & ENABLE


def test_events_wake_the_core_once_or_each_time(tmp_path: Path) -> None:
    """The control core sleeps until event 10 of one shot (300 cycles), then twice 11 (100 each)."""
    wait = """
    p.elw t1, 0x38(s1)
    csrr t3, 0x7A0
    lw t2, 0x1C(s1)
    sw t2, 0(s2)
    sw t2, 0x28(s1)
    lw t3, {count}(s0)
    sw t3, 4(s2)
    addi s2, s2, 8
"""
    source = f"""
fc_main:
    li s0, {TIMER}
    li s1, 0x00204000
    li s2, {RESULTS}
    li t0, 0xC00
    sw t0, 0(s1)
    li t0, 300
    sw t0, 0x10(s0)
    li t0, {ENABLE | EVENT | ONE_SHOT}
    sw t0, 0(s0)
{wait.format(count=8)}
    li t0, 100
    sw t0, 0x14(s0)
    li t0, {ENABLE | EVENT | MATCH_CLEARS}
    sw t0, 4(s0)
{wait.format(count=12)}
{wait.format(count=12)}
    li a0, 0
    j exit_program
"""
    chip = run_to_exit(tmp_path, source + PES_SLEEP)
    buffers = chip.peek_words(RESULTS, 6).tolist()
    assert buffers[0::2] == [1 << 10, 1 << 11, 1 << 11]
    assert buffers[1] == 300
    assert all(0 < count < 40 for count in buffers[3::2])
