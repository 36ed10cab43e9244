"""``hil sim run`` tells a firmware that waits for a console byte from one that nothing can wake."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gap8_program import PES_SLEEP, assemble
from test_gap8_chip import UART
from xpulp_assembler import translate

from hil.sim.chip import Chip, Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.runner import EXIT_DEADLOCK, Limits, RunReport, run_chip
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.stm32f7 import Stm32F746

ASLEEP = """
fc_main:
    li t0, 0x00204000
    sw zero, 0(t0)             # no event is in the mask
    p.elw t1, 0x38(t0)
"""
# Core 0 never comes to the barrier of all eight; it sleeps for event 1, which nobody raises.
BARRIER = """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    li t1, 2
    sw t1, 0(t0)
    p.elw t1, 0x38(t0)
pe_main:
    li t0, 0x00204000
    li t1, 2
    bnez a0, 1f
    sw t1, 0(t0)
    p.elw t1, 0x38(t0)
1:  li t0, 0x00204200
    p.elw t1, 0x1C(t0)
2:  j 2b
"""
# A byte to send is queued and the transmitter is off: the transfer never ends.
SENDS_WHILE_OFF = """
fc_main:
    li s0, 0x1A102780
    li t0, 16
    sw t0, 0(s0)
    li s0, 0x1A102200
    li t0, 0x1C010000
    sw t0, 0x10(s0)
    li t0, 1
    sw t0, 0x14(s0)
    li t0, 16
    sw t0, 0x18(s0)
1:  lw t0, 0x18(s0)
    andi t0, t0, 16
    bnez t0, 1b
    j exit_program
"""
RAM, USART3 = 0x20000000, 0x40004800
POLL, SLEEP = (0x6801, 0xE7FD), (0xBF30, 0xE7FD)  # ldr r1, [r0]; wfi; each with a jump back to it
RECEIVER, RECEIVER_INTERRUPT, TRANSMITTER = 1 << 2, 1 << 5, 1 << 3


def report(chip: Chip) -> RunReport:
    return run_chip(chip, chip.name, lambda _: None, Limits(0.01))


@pytest.fixture(scope="module")
def gap8() -> Gap8:
    return Gap8()


@pytest.mark.parametrize(
    ("source", "asleep", "status"),
    [
        (ASLEEP + PES_SLEEP, 1, EXIT_DEADLOCK),
        (BARRIER, 9, EXIT_DEADLOCK),
        (SENDS_WHILE_OFF + PES_SLEEP, 0, EXIT_DEADLOCK),
        (UART, 0, 0),
    ],
    ids=["asleep", "barrier", "sends while off", "waits for a byte"],
)
def test_gap8(gap8: Gap8, tmp_path: Path, source: str, asleep: int, status: int) -> None:
    gap8.load_elf(assemble(tmp_path, translate(source)))
    ended = report(gap8)
    assert (ended.stop, ended.status) == (Stop.WAITING, status)
    assert sum("asleep" in place for place in ended.positions) == asleep
    assert ("deadlock" in ended.lines()[0]) is (status == EXIT_DEADLOCK)
    assert ("waits for console input" in ended.lines()[0]) is (status == 0)


@pytest.mark.parametrize(
    ("code", "control", "status"),
    [
        (SLEEP, 0, EXIT_DEADLOCK),
        (SLEEP, RECEIVER, EXIT_DEADLOCK),  # no interrupt tells the core
        (SLEEP, RECEIVER | RECEIVER_INTERRUPT, 0),
        (POLL, TRANSMITTER, EXIT_DEADLOCK),
        (POLL, RECEIVER, 0),
    ],
)
def test_stm32f7(code: tuple[int, int], control: int, status: int) -> None:
    chip = Stm32F746()
    debug = chip.debugger
    for address, value in (
        (0x40023830, 1 << 3),  # RCC_AHB1ENR: GPIOD
        (0x40023840, 1 << 18),  # RCC_APB1ENR: USART3
        (0x40020C00, 2 << 16 | 2 << 18),  # PD8 and PD9: alternate function
        (0x40020C24, 0x77),  # 7, USART3
        (USART3 + 0x0C, 16),  # BRR: 1 Mbaud of 16 MHz
        (USART3, control | 1),
    ):
        debug.write_memory(address, struct.pack("<I", value))
    debug.write_memory(RAM, struct.pack("<2H", *code))
    for number, value in ((0, USART3 + 0x1C), (13, RAM + 0x1000), (PC_NUMBER, RAM)):
        debug.write_register(0, number, value)
    ended = report(chip)
    assert (ended.stop, ended.status) == (Stop.WAITING, status)
