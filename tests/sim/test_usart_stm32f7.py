"""USART3 of an STM32F7 by scripts on the chip (m7_scripts.py): frames, flags, interrupts.

They run on the virtual STM32F746 or behind ``--gdb-target``. In half-duplex mode the receiver hears
the transmitter inside the chip (RM0385 31.5.13), so no wire is needed; what is sent leaves the TX
pin too, which on a Nucleo is the ST-LINK's serial port. Expected values are the reference manual's
(RM0385 31.5 and 31.8), times are by DWT.
"""

from __future__ import annotations

import pytest
from m7_registers import DWT_CYCCNT, ICER, ISER
from m7_scripts import Scripts, Step, await_bits, mark, read, store, wait_until
from stm32_devices import (
    AHB1_AT_RESET,
    APB_CLOCKS,
    COUNT_CYCLES,
    GPIODEN,
    RCC_AHB1ENR,
    RCC_APB1ENR,
    RCC_DCKCFGR2,
    registers,
    to_216_mhz,
)
from targets import Target

GPIOD, PIN = 0x40020C00, 8
MODER, PUPDR, AFRH = GPIOD + 0x00, GPIOD + 0x0C, GPIOD + 0x24
USART3, INTERRUPT = 0x40004800, 39
CR1, CR2, CR3, BRR = USART3, USART3 + 0x04, USART3 + 0x08, USART3 + 0x0C
ISR, ICR, RDR, TDR = USART3 + 0x1C, USART3 + 0x20, USART3 + 0x24, USART3 + 0x28
ON = 1 << 0 | 1 << 2 | 1 << 3  # UE, RE, TE
OVER8, STOP_2, HDSEL, OVRDIS = 1 << 15, 1 << 13, 1 << 3, 1 << 12
ORE, IDLE, RXNE, TC, TXE, TEACK, REACK = (1 << n for n in (3, 4, 5, 6, 7, 21, 22))
ISER1, ICER1 = ISER + 4, ICER + 4
EXCEPTION = 16 + INTERRUPT
BAUD_115200 = 139  # BRR at 16 MHz
POLL = 40  # cycles, generously, from a flag until a script has seen it


@pytest.fixture(scope="module")
def scripts(stm32_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    return Scripts(stm32_target, tmp_path_factory.mktemp("usart"))


def flag(bit: int) -> Step:
    """Wait for it."""
    return await_bits(ISR, bit, bit)


def set_up(brr: int = BAUD_115200, cr1: int = 0, cr2: int = 0, cr3: int = 0) -> list[Step]:
    """Half duplex on PD8; behind a first byte, which an idle frame precedes, and its echo."""
    return [
        *COUNT_CYCLES,
        store(RCC_AHB1ENR, AHB1_AT_RESET | GPIODEN),
        store(RCC_APB1ENR, APB_CLOCKS),
        store(AFRH, 7), store(PUPDR, 1 << 2 * PIN), store(MODER, 2 << 2 * PIN),
        store(BRR, brr), store(CR2, cr2), store(CR3, HDSEL | cr3), store(CR1, ON | cr1),
        flag(TEACK | REACK),
        store(TDR, 0x55), flag(RXNE), read(RDR), flag(TC), flag(IDLE), store(ICR, IDLE | TC),
    ]  # fmt: skip


def test_what_is_sent_is_received(scripts: Scripts) -> None:
    sent = [0x00, 0xFF, 0xA5, 0x5A]
    steps = [step for byte in sent for step in (store(TDR, byte), flag(RXNE), read(RDR))]
    *received, status = scripts.run([*set_up(), *steps, flag(TC), read(ISR)])
    assert received == [0x55, *sent]
    assert status & (TXE | TC | RXNE | ORE) == TXE | TC


@pytest.mark.parametrize(
    ("brr", "cr1", "cr2", "cycles"),
    [
        (BAUD_115200, 0, 0, 10 * 139),
        (BAUD_115200, 0, STOP_2, 11 * 139),
        (0x113, OVER8, 0, 10 * 0x116 / 2),  # bit 3 is left out, the lowest bit with it
        (16 * 40, 0, 0, 10 * 16 * 40),
    ],
)
def test_a_frame_takes_its_bits(
    scripts: Scripts, brr: int, cr1: int, cr2: int, cycles: float
) -> None:
    """From the second byte's way into the shift register to the end of its stop bits."""
    trail = scripts.run(
        [*set_up(brr, cr1, cr2), store(TDR, 1), flag(TXE), store(TDR, 2), flag(TXE),
         read(DWT_CYCCNT), flag(TC), read(DWT_CYCCNT)]
    )  # fmt: skip
    assert trail[2] - trail[1] == pytest.approx(cycles, abs=POLL)


@pytest.mark.parametrize(
    ("source", "cycles_a_clock"), [(0, 4), (1, 1), (2, 13.5)], ids=["PCLK1", "SYSCLK", "HSI"]
)
def test_a_frame_at_216_mhz(scripts: Scripts, source: int, cycles_a_clock: float) -> None:
    """Of HSI's 16 MHz the core has 13.5 cycles: the PLL has locked where it should."""
    brr = 140
    trail = scripts.run(
        [*to_216_mhz(), store(RCC_DCKCFGR2, source << 4), *set_up(brr), store(TDR, 1), flag(TXE),
         store(TDR, 2), flag(TXE), read(DWT_CYCCNT), flag(TC), read(DWT_CYCCNT)]
    )  # fmt: skip
    cycles = 10 * brr * cycles_a_clock
    assert trail[2] - trail[1] == pytest.approx(cycles, abs=2 * POLL)


def test_the_second_byte_that_nobody_takes_is_lost(scripts: Scripts) -> None:
    trail = scripts.run(
        [*set_up(), store(TDR, 1), flag(TXE), store(TDR, 2), flag(TC),
         *registers(ISR, RDR, ISR), store(ICR, ORE), read(ISR)]
    )  # fmt: skip
    _, both, kept, late, cleared = trail
    assert kept == 1
    states = [status & (RXNE | ORE) for status in (both, late, cleared)]
    assert states == [RXNE | ORE, ORE, 0]


def test_without_overrun_the_second_byte_is_kept(scripts: Scripts) -> None:
    _, status, kept = scripts.run(
        [*set_up(cr3=OVRDIS), store(TDR, 1), flag(TXE), store(TDR, 2), flag(TC),
         *registers(ISR, RDR)]
    )  # fmt: skip
    assert kept == 2 and status & (RXNE | ORE) == RXNE


@pytest.mark.parametrize(
    ("enable", "raised", "frames"),
    [(TXE, TXE, 0), (TC, TC, 1), (RXNE, RXNE, 1), (IDLE, IDLE, 2)],
    ids=["TXE", "TC", "RXNE", "IDLE"],
)
def test_interrupts(scripts: Scripts, enable: int, raised: int, frames: int) -> None:
    """Each enable bit has its flag's place. The handler turns it off."""
    trail = scripts.run(
        [*set_up(), store(ISER1, 1 << INTERRUPT - 32), read(DWT_CYCCNT), store(TDR, 0xC3),
         store(CR1, ON | enable), wait_until(scripts.trail(6)), mark(100)],
        {EXCEPTION: [*registers(ISR, DWT_CYCCNT), store(CR1, ON)]},
    )  # fmt: skip
    _, start, entered, status, cycles, left, last = trail
    assert (entered, left, last) == (EXCEPTION, -EXCEPTION, 100)
    assert status & raised
    assert cycles - start == pytest.approx(frames * 10 * BAUD_115200, abs=2 * BAUD_115200)


def test_an_overrun_interrupts_until_it_is_cleared(scripts: Scripts) -> None:
    """By RXNE's enable, though RXNE is clear."""
    trail = scripts.run(
        [*set_up(), store(TDR, 1), flag(TXE), store(TDR, 2), flag(TC), read(RDR),
         store(ISER1, 1 << INTERRUPT - 32), store(CR1, ON | RXNE), mark(100),
         store(ICER1, 1 << INTERRUPT - 32)],
        {EXCEPTION: [read(ISR), store(ICR, ORE)]},
    )  # fmt: skip
    _, kept, entered, status, left, last = trail
    assert (kept, entered, left, last) == (1, EXCEPTION, -EXCEPTION, 100)
    assert status & (RXNE | ORE) == ORE
