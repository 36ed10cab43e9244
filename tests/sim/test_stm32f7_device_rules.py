"""What an STM32F7's devices refuse, ignore and reset, as RM0385 says, by accesses of a debugger.

Registers are written and read between runs of an empty loop, which lets time pass. What the model
does not do ends a run by name; a debugger is told the same.
"""

from __future__ import annotations

import pytest
from targets import RAMS, ChipTarget, words, write_words

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.chips import make_chip

RCC, PWR, FLASH_ACR = 0x40023800, 0x40007000, 0x40023C00
CR, PLLCFGR, CFGR, APB1RSTR, AHB1RSTR = RCC, RCC + 4, RCC + 8, RCC + 0x20, RCC + 0x10
AHB1ENR, APB1ENR, BDCR, CSR, DCKCFGR1 = (RCC + at for at in (0x30, 0x40, 0x70, 0x74, 0x8C))
HSION, HSIRDY, HSEON, HSERDY, HSEBYP, PLLON, PLLRDY = (1 << n for n in (0, 1, 16, 17, 18, 24, 25))
TRIM = 0x80  # of CR
PLL_FROM_HSI, PLL_FROM_HSE = 0x29003608, 0x29403604  # to 216 MHz
PWREN, USART3EN, TIM2EN, TIMPRE = 1 << 28, 1 << 18, 1 << 0, 1 << 24
VOS_1, VOS_3, ODEN, ODSWEN = 0xC000, 0x4000, 1 << 16, 1 << 17  # regulator scales 1 and 3
USART3, GPIOA = 0x40004800, 0x40020000
CR1, BRR, ISR, TDR = USART3, USART3 + 0x0C, USART3 + 0x1C, USART3 + 0x28
UE_TE, OVER8, TEACK = 1 << 0 | 1 << 3, 1 << 15, 1 << 21
TIM2, CNT, PSC, ARR, SR = 0x40000000, *(0x40000000 + at for at in (0x24, 0x28, 0x2C, 0x10))
LOCK_S, LOOP = 200e-6, b"\xfe\xe7"


class Probe:
    """A chip with an empty loop in RAM."""

    def __init__(self) -> None:
        self.target = ChipTarget(make_chip("stm32f746"), RAMS["cortex-m7"], "instructions")
        self.target.write(self.target.ram.start, LOOP)
        self.target.set_register("pc", self.target.ram.start)

    def read(self, address: int) -> int:
        """A word."""
        return words(self.target, address, 1)[0]

    def write(self, address: int, value: int) -> None:
        """A word."""
        write_words(self.target, address, value)

    def wait(self, seconds: float = LOCK_S) -> None:
        """Let that time pass."""
        assert self.target.chip.run(seconds) is Stop.BUDGET, self.target.chip.fault

    def to_pll(self, configuration: int, control: int) -> None:
        """The system clock from the PLL, at 216 MHz."""
        self.write(APB1ENR, PWREN)
        self.write(PLLCFGR, configuration)
        self.write(CR, TRIM | HSION | control)
        self.write(CR, TRIM | HSION | control | PLLON)
        for value in (VOS_1 | ODEN, VOS_1 | ODEN | ODSWEN):
            self.write(PWR, value)
            self.wait()
        self.write(FLASH_ACR, 7)
        self.write(CFGR, 0x9400)
        self.write(CFGR, 0x9402)
        assert self.read(CFGR) & 0xC == 8


@pytest.fixture
def probe() -> Probe:
    return Probe()


# Clocks (RM0385 5.2, 5.3 and 4.4)


def test_the_pll_locks_only_on_an_oscillator_that_runs(probe: Probe) -> None:
    probe.write(PLLCFGR, PLL_FROM_HSE)
    probe.write(CR, TRIM | HSION | PLLON)
    probe.wait()
    assert not probe.read(CR) & PLLRDY
    assert any("PLL does not lock" in text for text in probe.target.chip.warnings)  # type: ignore[attr-defined]
    probe.write(CR, TRIM | HSION | PLLON | HSEBYP)
    probe.write(CR, TRIM | HSION | PLLON | HSEBYP | HSEON)
    probe.wait()
    assert probe.read(CR) & PLLRDY


@pytest.mark.parametrize(
    ("configuration", "control", "kept"),
    [(PLL_FROM_HSI, 0, HSION | HSIRDY), (PLL_FROM_HSE, HSEBYP | HSEON, HSEBYP | HSEON | HSERDY)],
    ids=["HSI", "HSE"],
)
def test_oscillators_behind_the_system_clock_stay_on(
    probe: Probe, configuration: int, control: int, kept: int
) -> None:
    probe.to_pll(configuration, control)
    probe.write(CR, TRIM)
    probe.wait()
    kept |= PLLON | PLLRDY
    assert probe.read(CR) & (kept | HSION | HSEON) == kept
    assert probe.target.chip.clock_hz == 216e6


def test_the_voltage_scale_is_kept_while_the_pll_is_on(probe: Probe) -> None:
    probe.write(APB1ENR, PWREN)
    probe.write(PWR, VOS_3)
    probe.write(PLLCFGR, PLL_FROM_HSI)
    probe.write(CR, TRIM | HSION | PLLON)
    probe.write(PWR, VOS_1)
    assert probe.read(PWR) == VOS_3
    probe.write(CR, TRIM | HSION)
    probe.write(PWR, VOS_1)
    assert probe.read(PWR) == VOS_1


@pytest.mark.parametrize(
    ("prescaler", "timpre", "cycles_a_count"),
    [(0, 0, 1), (4, 0, 1), (5, 0, 2), (7, 0, 8), (0, 1, 1), (5, 1, 1), (6, 1, 2), (7, 1, 4)],
)
def test_clock_of_the_timers(
    probe: Probe, prescaler: int, timpre: int, cycles_a_count: int
) -> None:
    """PPRE1 4, 5, 6 and 7 divide by 2, 4, 8 and 16."""
    probe.write(CFGR, prescaler << 10)
    probe.write(DCKCFGR1, timpre * TIMPRE)
    probe.write(APB1ENR, TIM2EN)
    probe.write(TIM2, 1)
    probe.wait(1e-3)
    assert probe.read(CNT) == pytest.approx(16_000 / cycles_a_count, rel=0.01)


def test_lsi_becomes_ready_and_lse_is_refused(probe: Probe) -> None:
    probe.write(CSR, 1)
    assert not probe.read(CSR) & 2
    probe.wait()
    assert probe.read(CSR) & 2
    with pytest.raises(SimulationError, match="LSE"):
        probe.write(BDCR, 1)


# Resets (RM0385 5.3.5 and on)


def test_a_reset_bit_resets_and_holds(probe: Probe) -> None:
    probe.write(APB1ENR, USART3EN | TIM2EN)
    for register, value in ((BRR, 139), (CR1, UE_TE), (ARR, 9_999), (PSC, 7), (TIM2, 1)):
        probe.write(register, value)
    probe.wait()
    probe.write(APB1RSTR, USART3EN)
    probe.write(BRR, 16)  # lost
    probe.write(APB1RSTR, 0)
    assert (probe.read(BRR), probe.read(CR1), probe.read(ISR) & TEACK) == (0, 0, 0)
    assert (probe.read(ARR), probe.read(PSC)) == (9_999, 7) and probe.read(CNT) > 0
    probe.write(APB1RSTR, TIM2EN)
    probe.write(APB1RSTR, 0)
    assert [probe.read(at) for at in (TIM2, CNT, PSC, ARR)] == [0, 0, 0, 0xFFFFFFFF]
    probe.write(APB1ENR, USART3EN | TIM2EN | PWREN)
    probe.write(PWR, VOS_3)
    probe.write(APB1RSTR, PWREN)
    probe.write(APB1RSTR, 0)
    assert probe.read(PWR) == VOS_1


def test_reset_of_a_port(probe: Probe) -> None:
    probe.write(AHB1ENR, 1)
    probe.write(GPIOA, 0xA8000001)
    probe.write(AHB1RSTR, 1)
    assert probe.read(GPIOA) == 0
    probe.write(AHB1RSTR, 0)
    assert probe.read(GPIOA) == 0xA8000000


# Devices


@pytest.mark.parametrize(("cr1", "brr"), [(0, 15), (OVER8, 0x07)])
def test_baud_rate_divider_below_16(probe: Probe, cr1: int, brr: int) -> None:
    """RM0385 31.5.4. With OVER8 the three lowest bits of BRR are bits 3 to 1 of USARTDIV."""
    probe.write(AHB1ENR, 1 << 3)
    probe.write(GPIOA + 0xC00, 2 << 16 | 2 << 18)
    probe.write(GPIOA + 0xC24, 0x77)
    probe.write(APB1ENR, USART3EN)
    probe.write(BRR, brr)
    probe.write(CR1, cr1 | UE_TE)
    with pytest.raises(SimulationError, match=f"BRR = {brr}: USARTDIV is 1[45], must be 16"):
        probe.write(TDR, 0x55)


def test_a_timer_above_its_limit_runs_to_the_end_of_its_bits(probe: Probe) -> None:
    probe.write(APB1ENR, TIM2EN)
    probe.write(CNT, 0xFFFFFFFF - 16_000)
    probe.write(ARR, 9_999)
    probe.write(TIM2, 1)
    probe.wait(0.5e-3)
    assert probe.read(CNT) > 0xFFFFFFFF - 8_500 and not probe.read(SR) & 1
    probe.wait(1e-3)
    assert probe.read(CNT) == pytest.approx(8_000, abs=100) and not probe.read(SR) & 1
    probe.wait(0.25e-3)
    assert probe.read(CNT) == pytest.approx(2_000, abs=100) and probe.read(SR) & 1


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x40026000, "DMA1"),
        (0x40003000, "IWDG"),
        (0x40012000, "ADC"),
        (0x40002800, "RTC"),
        (0x40024FFC, "backup SRAM"),
        (0xE0000000, "ITM"),
        (0x40020000 - 0x400, "reserved"),
    ],
)
def test_what_is_absent_is_named(probe: Probe, address: int, name: str) -> None:
    with pytest.raises(SimulationError, match=f"{name}.* not modelled"):
        probe.read(address)


# Accesses of the core


@pytest.mark.parametrize("code", ["1168", "1160"], ids=["ldr", "str"])
def test_an_unaligned_access_to_a_device_ends_the_run(probe: Probe, code: str) -> None:
    """ldr or str r1, [r2]: the chip takes a UsageFault (Armv7-M ARM A3.2.1)."""
    probe.write(AHB1ENR, 1)
    probe.target.write(probe.target.ram.start, bytes.fromhex(code) + LOOP)
    for address, stop in ((GPIOA + 0x20, Stop.BUDGET), (GPIOA + 0x22, Stop.FAULT)):
        probe.target.set_register("r2", address)
        probe.target.set_register("pc", probe.target.ram.start)
        assert probe.target.chip.run(LOCK_S) is stop
    assert f"0x{GPIOA + 0x22:08x}, by the instruction at 0x20000000" in str(probe.target.chip.fault)


def test_one_byte_of_a_clear_register_clears_no_other(probe: Probe) -> None:
    iser, icer = 0xE000E100, 0xE000E180
    probe.write(iser, 0x0101000F)
    probe.target.write(icer, b"\x01")
    assert probe.read(iser) == 0x0101000E
    probe.target.write(icer + 2, b"\x01\x00")
    assert probe.read(iser) == 0x0100000E


@pytest.mark.parametrize(("bit", "name"), [(1, "SLEEPONEXIT"), (2, "SLEEPDEEP"), (4, "SEVONPEND")])
def test_kinds_of_sleep_that_are_refused(probe: Probe, bit: int, name: str) -> None:
    with pytest.raises(SimulationError, match=f"SCR.{name} set"):
        probe.write(0xE000ED10, 1 << bit)
