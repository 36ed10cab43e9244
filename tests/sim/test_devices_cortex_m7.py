"""Core and devices of an STM32F7 by small programs (tests/sim/firmware/m7_devices.S).

They run on the virtual STM32F746 or behind ``--gdb-target``: the core's tests on any Cortex-M7, the
devices' on an STM32F74x or F76x, told by its DBGMCU. Expected values are the reference manuals'.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import Programs, Target, words, write_words

from hil.core.errors import HilError

SOURCE = Path(__file__).parent / "firmware" / "m7_devices.S"
DBGMCU_IDCODE, FLASH_KB, RCC_AHB1ENR = 0xE0042000, 0x1FF0F442, 0x40023830
RAM_BYTES = {0x449: 320 << 10, 0x451: 512 << 10}  # by device id
GPIOF, GPIOF_EN, PIN = 0x40021400, 1 << 5, 12  # Arduino D8 of the Nucleo-144
MODER, IDR, ODR, BSRR = 0x00, 0x10, 0x14, 0x18
HARD_FAULT, SV_CALL = 3, 11
FORCED, UNDEFINSTR, PRECISE = 1 << 30, 1 << 16, 1 << 9 | 1 << 15
LOOP = 10_000


@pytest.fixture(scope="module")
def programs(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(SOURCE, "cortex-m7", m7_target, tmp_path_factory.mktemp("m7"))


@pytest.fixture(scope="module")
def stm32(m7_target: Target) -> Target:
    """The target if it is a chip of the family."""
    try:
        device = words(m7_target, DBGMCU_IDCODE, 1)[0] & 0xFFF
    except HilError:
        device = 0
    if device not in RAM_BYTES:
        pytest.skip(f"device id 0x{device:03x} is no STM32F74x or F76x")
    return m7_target


# The core


def test_identity(programs: Programs) -> None:
    programs.run("identity")
    assert programs.results("r0")[0] >> 4 & 0xFFF == 0xC27  # Cortex-M7


def test_undefined_instruction_is_a_forced_hard_fault(programs: Programs) -> None:
    programs.run("undefined")
    found = programs.results("r0", "r1", "r3", "r4")
    assert found == (UNDEFINSTR, FORCED, programs.symbols["undefined_at"], HARD_FAULT)


def test_supervisor_call_stacks_the_next_instruction(programs: Programs) -> None:
    programs.run("service")
    assert programs.results("r0", "r3", "r4") == (0, programs.symbols["behind_service"], SV_CALL)


def test_byte_lanes_and_an_unaligned_load(m7_target: Target, programs: Programs) -> None:
    programs.run("lanes", r6=m7_target.ram.end - 0x100)
    assert programs.results("r0", "r1") == (0x66775544, 0x99AABB66)


# The chip


def test_ram_holds_what_is_written(stm32: Target) -> None:
    stm32.reset()
    places = range(stm32.ram.start, stm32.ram.end, 0x4000)
    for place in places:
        write_words(stm32, place, place, ~place & 0xFFFFFFFF)
    for place in places:
        assert words(stm32, place, 2) == (place, ~place & 0xFFFFFFFF)


def test_load_behind_ram_is_a_precise_bus_fault(stm32: Target, programs: Programs) -> None:
    behind = 0x20000000 + RAM_BYTES[words(stm32, DBGMCU_IDCODE, 1)[0] & 0xFFF]
    programs.run("load", r6=behind)
    cfsr, hfsr, bfar, pc, exception = programs.results("r0", "r1", "r2", "r3", "r4")
    assert (cfsr, hfsr, exception) == (PRECISE, FORCED, HARD_FAULT)
    assert (bfar, pc) == (behind, programs.symbols["load_at"])


def test_flash_size(stm32: Target) -> None:
    assert words(stm32, FLASH_KB & ~3, 1)[0] >> 16 in (512, 1024, 2048)


def test_three_counters_agree(stm32: Target, programs: Programs) -> None:
    """After reset everything runs from 16 MHz; between the three reads lie a few cycles."""
    programs.run("timers")
    dwt, systick, tim2 = programs.results("r3", "r4", "r5")
    assert LOOP <= dwt < 40 * LOOP
    assert systick == pytest.approx(dwt, abs=60) and tim2 == pytest.approx(dwt, abs=60)


def test_a_pin_follows_set_and_reset(stm32: Target) -> None:
    stm32.reset()
    write_words(stm32, RCC_AHB1ENR, words(stm32, RCC_AHB1ENR, 1)[0] | GPIOF_EN)
    write_words(stm32, GPIOF + MODER, words(stm32, GPIOF + MODER, 1)[0] | 1 << 2 * PIN)
    for level in (1, 0, 1):
        write_words(stm32, GPIOF + BSRR, 1 << PIN + (0 if level else 16))
        for register in (ODR, IDR):
            assert words(stm32, GPIOF + register, 1)[0] >> PIN & 1 == level
