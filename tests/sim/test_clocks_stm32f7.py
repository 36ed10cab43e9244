"""The clocks of an STM32F7 up to 216 MHz and back, by scripts on the chip (m7_scripts.py).

They run on the virtual STM32F746 or behind ``--gdb-target``. Sequences and expected values are the
reference manual's (RM0385 3.3, 4.1, 5.2 and 5.3).
"""

from __future__ import annotations

import pytest
from m7_registers import DWT_CYCCNT, SYST_CSR, SYST_CVR, SYST_RVR
from m7_scripts import Scripts, Step, spin, store
from stm32_devices import (
    COUNT_CYCLES,
    FLASH_ACR,
    ODRDY,
    ODSWRDY,
    PLLRDY,
    PWR_CR1,
    PWR_CSR1,
    RCC_APB1ENR,
    RCC_CFGR,
    RCC_CR,
    TIM2_CNT,
    TIM2_CR1,
    TIM2EN,
    VOSRDY,
    back_to_16_mhz,
    registers,
    to_216_mhz,
)
from targets import Target

COUNTERS = (DWT_CYCCNT, SYST_CVR, TIM2_CNT)
CLOCK_STATE = (RCC_CR, RCC_CFGR, PWR_CR1, PWR_CSR1, FLASH_ACR)
BETWEEN = 60  # cycles, generously, between two of three counters that are read in turn
LOOP = 20_000
ONE_LOOP: list[Step] = [*registers(*COUNTERS), spin(LOOP), *registers(*COUNTERS)]


@pytest.fixture(scope="module")
def scripts(stm32_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    return Scripts(stm32_target, tmp_path_factory.mktemp("clocks"))


def counting(systick: int) -> list[Step]:
    """All three on; ``systick`` is its control register."""
    return [
        *COUNT_CYCLES,
        store(SYST_RVR, 0xFFFFFF), store(SYST_CVR, 0), store(SYST_CSR, systick),
        store(RCC_APB1ENR, TIM2EN), store(TIM2_CR1, 1),
    ]  # fmt: skip


def spans(trail: list[int]) -> tuple[int, int, int]:
    """Of ``ONE_LOOP``: by DWT, SysTick (it counts down) and TIM2."""
    cycles, ticks, counts = (trail[n + 3] - trail[n] for n in range(3))
    return cycles, -ticks & 0xFFFFFF, counts


def test_three_counters_agree_at_16_mhz(scripts: Scripts) -> None:
    cycles, ticks, counts = spans(scripts.run([*counting(systick=5), *ONE_LOOP]))
    assert LOOP <= cycles < 3 * LOOP
    assert ticks == pytest.approx(cycles, abs=BETWEEN)
    assert counts == pytest.approx(cycles, abs=BETWEEN)


def test_to_216_mhz_and_back(scripts: Scripts) -> None:
    """TIM2 then runs at 108 MHz, twice APB1's 54; SysTick's reference is always HCLK / 8."""
    trail = scripts.run(
        [
            *counting(systick=1), *ONE_LOOP,
            *to_216_mhz(), *registers(*CLOCK_STATE), *ONE_LOOP,
            *back_to_16_mhz(), *registers(*CLOCK_STATE), *ONE_LOOP,
        ]
    )  # fmt: skip
    before, fast, after = trail[:6], trail[11:17], trail[22:]
    for loop, cycles_a_count in ((before, 1), (fast, 2), (after, 1)):
        cycles, ticks, counts = spans(loop)
        assert counts * cycles_a_count == pytest.approx(cycles, abs=2 * BETWEEN)
        assert ticks * 8 == pytest.approx(cycles, abs=2 * BETWEEN)
    control, configuration, _, power, access = trail[6:11]
    assert control & PLLRDY and power & VOSRDY and power & ODRDY and power & ODSWRDY
    assert configuration & 0xFFFF == 0x940A and access & 0xF == 7
    control, configuration, power_control, power, access = trail[17:22]
    assert not control & PLLRDY and not power & ODSWRDY
    assert (configuration, power_control, access) == (0, 0xC000, 0)
