"""Devices of the GAP8 by small programs on its control core (tests/sim/firmware/gap8_devices.S).

They run on the virtual GAP8 or behind ``--gdb-target``. Expected values are those of the vendor's
headers (archi/chips/gap, eu_v3.h, timer_v2.h, pcer_v1.h).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import ChipTarget, Programs, Target, words, write_words

SOURCE = Path(__file__).parent / "firmware" / "gap8_devices.S"
GPIO_DIR, GPIO_IN, GPIO_OUT, GPIO_INTEN, _, GPIO_INTTYPE1, GPIO_INTSTATUS, GPIO_EN = range(
    0x1A101000, 0x1A101020, 4
)
PADFUN1, PADFUN2 = 0x1A104144, 0x1A104148
LOOP = 1000


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(SOURCE, "gap8", gap8_target, tmp_path_factory.mktemp("gap8"))


def test_the_control_core_is_cluster_32(programs: Programs) -> None:
    programs.run("identity")
    assert programs.results("a0") == (32 << 5,)


def test_byte_lanes_and_an_unaligned_load(gap8_target: Target, programs: Programs) -> None:
    programs.run("lanes", a5=gap8_target.ram.end - 0x100)
    assert programs.results("a0", "a1", "a2") == (0x66779544, 0xFFFFFF95, 0x99AABB66)


def test_l2_holds_what_is_written(gap8_target: Target) -> None:
    gap8_target.reset()
    places = range(gap8_target.ram.start, gap8_target.ram.end, 0x4000)
    for place in places:
        write_words(gap8_target, place, place, ~place & 0xFFFFFFFF)
    for place in places:
        assert words(gap8_target, place, 2) == (place, ~place & 0xFFFFFFFF)


def test_timer_and_cycle_counter_agree(programs: Programs) -> None:
    """Both count the control core's clock; a turn of the loop takes two instructions."""
    programs.run("timers")
    timer, cycles = programs.results("a0", "a1")
    assert 2 * LOOP <= cycles < 20 * LOOP
    assert timer == pytest.approx(cycles, abs=40)


def test_event_mask_by_store_or_and_and(programs: Programs) -> None:
    programs.run("masks")
    assert programs.results("a0", "a1", "a2") == (0x30, 0x1030, 0x1020)


def test_software_event_shows_in_the_buffer_until_it_is_cleared(programs: Programs) -> None:
    programs.run("software_event")
    seen, cleared = programs.results("a0", "a1")
    assert seen & 0xFF == 1 << 3 and cleared & 0xFF == 0


def test_gpio_keeps_direction_and_output(gap8_target: Target) -> None:
    gap8_target.reset()
    write_words(gap8_target, GPIO_DIR, 1 << 17)
    for level in (1 << 17, 0):
        write_words(gap8_target, GPIO_OUT, level)
        assert words(gap8_target, GPIO_OUT, 1) == (level,)
    assert words(gap8_target, GPIO_DIR, 1) == (1 << 17,)


@pytest.mark.parametrize(("kind", "asked"), [(0, (0,)), (1, (1,)), (2, (0, 1))])
def test_a_wire_brings_levels_and_edges(
    gap8_target: Target, request: pytest.FixtureRequest, kind: int, asked: tuple[int, ...]
) -> None:
    """From GPIO17 (pad 31, function 1) to GPIO18 (pad 32); on the virtual chip the test is it."""
    on_chip = isinstance(gap8_target, ChipTarget)
    if not on_chip and not request.config.getoption("--gdb-gpio-loopback"):
        pytest.skip("needs a wire from GPIO17 to GPIO18, and --gdb-gpio-loopback")

    def drive(level: int) -> None:
        write_words(gap8_target, GPIO_OUT, level << 17)
        if on_chip:
            gap8_target.chip.drive_gpio(18, bool(level))

    def read(register: int) -> int:
        return words(gap8_target, register, 1)[0]

    gap8_target.reset()
    write_words(gap8_target, PADFUN1, read(PADFUN1) & 0x3FFFFFFF | 1 << 30)
    write_words(gap8_target, PADFUN2, read(PADFUN2) & 0xFFFFFFFC | 1)
    write_words(gap8_target, GPIO_DIR, 1 << 17)
    drive(0)
    write_words(gap8_target, GPIO_INTTYPE1, kind << 4)
    write_words(gap8_target, GPIO_EN, 1 << 18)
    write_words(gap8_target, GPIO_INTEN, 1 << 18)
    read(GPIO_INTSTATUS)
    before = 0
    for level in (1, 1, 0, 0, 1, 0):
        drive(level)
        assert read(GPIO_IN) >> 18 & 1 == level
        edge = level != before and level in asked
        assert [read(GPIO_INTSTATUS) >> 18 & 1 for _ in range(2)] == [edge, 0], "clears when read"
        before = level
