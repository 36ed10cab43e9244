"""Core and devices of an STM32F7 by small programs (tests/sim/firmware/m7_devices.S).

They run on the virtual STM32F746 or behind ``--gdb-target``: the core's tests on any Cortex-M7, the
devices' on an STM32F74x or F76x, told by its DBGMCU. Expected values are the reference manuals'.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from stm32_devices import device_of
from targets import Programs, Target, words, write_words

SOURCE = Path(__file__).parent / "firmware" / "m7_devices.S"
FLASH_KB, RCC_AHB1ENR = 0x1FF0F442, 0x40023830
GPIOF, GPIOF_EN, PIN = 0x40021400, 1 << 5, 12  # Arduino D8 of the Nucleo-144
MODER, IDR, ODR, BSRR = 0x00, 0x10, 0x14, 0x18
HARD_FAULT, FORCED, PRECISE = 3, 1 << 30, 1 << 9 | 1 << 15


@pytest.fixture(scope="module")
def programs(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(SOURCE, "cortex-m7", m7_target, tmp_path_factory.mktemp("m7"))


# The core


def test_identity(programs: Programs) -> None:
    programs.run("identity")
    assert programs.results("r0")[0] >> 4 & 0xFFF == 0xC27  # Cortex-M7


def test_byte_lanes_and_an_unaligned_load(m7_target: Target, programs: Programs) -> None:
    programs.run("lanes", r6=m7_target.ram.end - 0x100)
    assert programs.results("r0", "r1") == (0x66775544, 0x99AABB66)


# The chip


def test_ram_holds_what_is_written(stm32_target: Target) -> None:
    stm32_target.reset()
    places = range(stm32_target.ram.start, stm32_target.ram.end, 0x4000)
    for place in places:
        write_words(stm32_target, place, place, ~place & 0xFFFFFFFF)
    for place in places:
        assert words(stm32_target, place, 2) == (place, ~place & 0xFFFFFFFF)


def test_load_behind_ram_is_a_precise_bus_fault(stm32_target: Target, programs: Programs) -> None:
    behind = 0x20000000 + device_of(stm32_target).ram_bytes
    programs.run("load", r6=behind)
    cfsr, hfsr, bfar, pc, exception = programs.results("r0", "r1", "r2", "r3", "r4")
    assert (cfsr, hfsr, exception) == (PRECISE, FORCED, HARD_FAULT)
    assert (bfar, pc) == (behind, programs.symbols["load_at"])


def test_flash_size(stm32_target: Target) -> None:
    assert words(stm32_target, FLASH_KB & ~3, 1)[0] >> 16 in (512, 1024, 2048)


def test_a_pin_follows_set_and_reset(stm32_target: Target) -> None:
    target = stm32_target
    target.reset()
    write_words(target, RCC_AHB1ENR, words(target, RCC_AHB1ENR, 1)[0] | GPIOF_EN)
    write_words(target, GPIOF + MODER, words(target, GPIOF + MODER, 1)[0] | 1 << 2 * PIN)
    for level in (1, 0, 1):
        write_words(target, GPIOF + BSRR, 1 << PIN + (0 if level else 16))
        for register in (ODR, IDR):
            assert words(target, GPIOF + register, 1)[0] >> PIN & 1 == level
