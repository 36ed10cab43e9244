"""Which chip of the STM32F7 family a target is, and what scripts do with its devices (RM0385)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from m7_registers import DEMCR, DWT_CTRL, DWT_CYCCNT, DWT_LAR, LAR_KEY, TRCENA
from m7_scripts import Step, await_bits, read, store
from targets import Target, words

from hil.core.errors import HilError

DBGMCU_IDCODE = 0xE0042000
RCC_CR, RCC_PLLCFGR, RCC_CFGR = 0x40023800, 0x40023804, 0x40023808
RCC_AHB1ENR, RCC_APB1ENR, RCC_DCKCFGR2 = 0x40023830, 0x40023840, 0x40023890
PWR_CR1, PWR_CSR1, FLASH_ACR = 0x40007000, 0x40007004, 0x40023C00
TIM2_CR1, TIM2_CNT = 0x40000000, 0x40000024
PWREN, TIM2EN, USART3EN = 1 << 28, 1 << 0, 1 << 18  # of APB1ENR
GPIODEN, AHB1_AT_RESET = 1 << 3, 0x00100000  # the clock of DTCM
HSION, PLLON, PLLRDY = 1 << 0, 1 << 24, 1 << 25
VOS_1, ODEN, ODSWEN = 3 << 14, 1 << 16, 1 << 17
VOSRDY, ODRDY, ODSWRDY = 1 << 14, 1 << 16, 1 << 17
APB_CLOCKS = PWREN | TIM2EN | USART3EN

COUNT_CYCLES = [
    store(DEMCR, TRCENA), store(DWT_LAR, LAR_KEY), store(DWT_CYCCNT, 0), store(DWT_CTRL, 1)
]  # fmt: skip


def to_216_mhz() -> list[Step]:
    """From the reset state; PLL from HSI, which every board has (RM0385 4.1.4, 5.2)."""
    return [
        store(RCC_APB1ENR, APB_CLOCKS),
        store(PWR_CR1, VOS_1),
        store(RCC_PLLCFGR, 0x29003608),  # M 8, N 216, P 2, Q 9
        store(RCC_CR, 0x80 | HSION | PLLON),
        store(PWR_CR1, VOS_1 | ODEN),
        await_bits(PWR_CSR1, ODRDY, ODRDY),
        store(PWR_CR1, VOS_1 | ODEN | ODSWEN),
        await_bits(PWR_CSR1, ODSWRDY, ODSWRDY),
        store(FLASH_ACR, 7),
        await_bits(FLASH_ACR, 0xF, 7),
        store(RCC_CFGR, 0x9400),  # APB1 by four, APB2 by two
        await_bits(RCC_CR, PLLRDY, PLLRDY),
        store(RCC_CFGR, 0x9402),
        await_bits(RCC_CFGR, 3 << 2, 2 << 2),
    ]


def back_to_16_mhz() -> list[Step]:
    """To the reset state."""
    return [
        store(RCC_CFGR, 0x9400),
        await_bits(RCC_CFGR, 3 << 2, 0),
        store(RCC_CFGR, 0),
        store(PWR_CR1, VOS_1),
        await_bits(PWR_CSR1, ODSWRDY, 0),
        store(RCC_CR, 0x80 | HSION),
        await_bits(RCC_CR, PLLRDY, 0),
        store(FLASH_ACR, 0),
    ]


def registers(*addresses: int) -> list[Step]:
    """Their values into the trail."""
    return [read(address) for address in addresses]


@dataclass(frozen=True)
class Device:
    """``cache_bytes`` is the size of each of the two caches."""

    name: str
    ram_bytes: int
    cache_bytes: int


DEVICES = {
    0x449: Device("STM32F74x", 320 << 10, 4 << 10),
    0x451: Device("STM32F76x", 512 << 10, 16 << 10),
}


def device_of(target: Target) -> Device:
    """What its DBGMCU says; another chip's test is skipped."""
    try:
        found = words(target, DBGMCU_IDCODE, 1)[0] & 0xFFF
    except HilError:
        found = 0
    if found not in DEVICES:
        known = " or ".join(device.name for device in DEVICES.values())
        pytest.skip(f"device id 0x{found:03x} is no {known}")
    return DEVICES[found]
