"""Exceptions of the virtual STM32F746: faults, frames, escalation, lock-up, interrupts.

Expected values are those of the Armv7-M architecture (PM0253 sections 2.3, 2.4 and 4.4), written
out by hand. The firmware is tests/sim/firmware/stm32f7_exceptions.c.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_stm32f7 import FIRMWARE, FLAGS, ask, fails, peek, poke, words

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.cores.cortex_m7.nvic import Masks, Nvic
from hil.sim.socs.stm32f7 import Stm32F746, Stm32F767

NOWHERE = 0x20050000  # one behind SRAM2
HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT = 3, 4, 5, 6
FORCED, DEBUGEVT = 1 << 30, 1 << 31
MSP_FRAME, PSP_FRAME, MSP_FP_FRAME = 0xFFFFFFF9, 0xFFFFFFFD, 0xFFFFFFE9
RAM, CPACR = 0x20000000, 0xE000ED88
SHCSR, VTOR, UART = 0xE000ED24, 0xE000ED08, 0x40004800
HSI_HZ = 16e6


class Told(NamedTuple):
    """What the firmware's handler found."""

    ipsr: int
    cfsr: int
    hfsr: int
    bfar: int
    abfsr: int
    pc: int
    xpsr: int
    link: int
    frame: int


TOLD_BYTES = 4 * len(Told._fields)


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stm32f7") / "exceptions.elf"
    source = str(FIRMWARE / "stm32f7_exceptions.c")
    script = ["-T", str(FIRMWARE / "stm32f7.ld"), source, "-o", str(out)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, *script], check=True)
    return out


@pytest.fixture
def chip(elf: Path) -> Stm32F746:
    chip = Stm32F746()
    chip.load_elf(elf)
    assert chip.run(1.0) is Stop.WAITING
    assert chip.uart_drain() == b"R"
    return chip


def faulted(chip: Stm32F746, request: bytes) -> tuple[Told, bytes]:
    """What the handler told, and what the program sent after it had gone on."""
    answer = ask(chip, request)
    return Told._make(words(answer[:TOLD_BYTES])), answer[TOLD_BYTES:]


def halfword(chip: Stm32F746, address: int) -> int:
    word = words(ask(chip, peek(address & ~3)))[0]
    return word >> 8 * (address & 2) & 0xFFFF


# Faults and their status


def test_load_from_nowhere_is_a_precise_bus_fault(chip: Stm32F746) -> None:
    told, after = faulted(chip, peek(NOWHERE))
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, 1 << 9 | 1 << 15, FORCED)
    assert told.bfar == NOWHERE and told.link == MSP_FRAME and told.xpsr >> 24 & 1
    assert halfword(chip, told.pc) >> 11 in (0b01101, 0b11111)  # ldr
    assert len(after) == 4, "the program went on behind the load"
    assert chip.taken_fault is not None and chip.taken_fault.address == NOWHERE
    assert chip.counters()["faults_taken"] == 1 and any("PRECISERR" in w for w in chip.warnings)


def test_store_to_nowhere_is_reported_late(chip: Stm32F746) -> None:
    told, after = faulted(chip, poke(NOWHERE, 7))
    assert (told.cfsr, told.hfsr) == (1 << 10, FORCED)
    assert told.abfsr == 1 << 3 | 3 << 8  # AXIM, decode error
    assert after == b"Q"
    assert faulted(chip, poke(NOWHERE, 7))[0].cfsr == 1 << 10, "the place still takes nothing"
    assert faulted(chip, peek(NOWHERE))[0].cfsr == 1 << 9 | 1 << 15


@pytest.mark.parametrize(
    ("request_bytes", "cfsr", "after"),
    [
        (b"u", 1 << 16, b"U"),
        (b"b" + struct.pack("<I", 0x08000100), 1 << 17, b"B"),  # even: INVSTATE
        (b"b" + struct.pack("<I", NOWHERE | 1), 1 << 8, b"B"),  # IBUSERR
        (b"b" + struct.pack("<I", 0x40004801), 1 << 0, b"B"),  # IACCVIOL: devices never execute
        (b"b" + struct.pack("<I", 0xE0100001), 1 << 0, b"B"),
        (b"n", 1 << 19, b"N"),  # NOCP
    ],
)
def test_causes(chip: Stm32F746, request_bytes: bytes, cfsr: int, after: bytes) -> None:
    told, sent = faulted(chip, request_bytes)
    assert (told.ipsr, told.cfsr, told.hfsr, sent) == (HARD_FAULT, cfsr, FORCED, after)
    if request_bytes[:1] == b"b":
        assert told.pc == struct.unpack("<I", request_bytes[1:])[0] & ~1
    if request_bytes == b"n":
        assert halfword(chip, told.pc) == 0xEE00, "the FP instruction, not its block"


def test_breakpoint_without_a_debugger(chip: Stm32F746) -> None:
    told, after = faulted(chip, b"k")
    assert (told.ipsr, told.cfsr, told.hfsr, after) == (HARD_FAULT, 0, DEBUGEVT, b"K")


@pytest.mark.parametrize(
    ("enable", "request_bytes", "exception"),
    [
        (1 << 17, peek(NOWHERE), BUS_FAULT),
        (1 << 17, poke(NOWHERE), BUS_FAULT),
        (1 << 18, b"u", USAGE_FAULT),
        (1 << 16, b"b" + struct.pack("<I", 0x40004801), MEM_MANAGE),
        (1 << 17, b"u", HARD_FAULT),  # enabled is another one
    ],
)
def test_enabled_faults_have_their_own_handler(
    chip: Stm32F746, enable: int, request_bytes: bytes, exception: int
) -> None:
    ask(chip, poke(SHCSR, enable))
    told, _ = faulted(chip, request_bytes)
    assert told.ipsr == exception
    assert told.hfsr == (FORCED if exception == HARD_FAULT else 0)


@pytest.mark.parametrize(
    "code", [(0xEE31, 0x0B02), (0xEEB0, 0x0B41), (0xEEB7, 0x0AE0), (0xFE01, 0x0B02)]
)  # vadd.f64, vmov.f64, vcvt.f64.f32, vsel.f64
def test_double_precision(code: tuple[int, int]) -> None:
    """The F746's FPU has none: UsageFault. The F767's has it, the model has not: no fault."""
    for kind, is_fault in ((Stm32F746, True), (Stm32F767, False)):
        chip = kind()
        chip.debugger.write_memory(RAM, struct.pack("<3H", *code, 0xE7FE))
        chip.debugger.write_memory(CPACR, struct.pack("<I", 0xF << 20))
        chip.debugger.write_register(0, PC_NUMBER, RAM)
        assert chip.run(1e-3) is Stop.FAULT and chip.fault is not None
        assert (chip.taken_fault is not None) is is_fault
        told = str(chip.taken_fault or chip.fault)
        assert ("UNDEFINSTR" in told) is is_fault and ".f64" in told
        assert ("fpv5-sp-d16" in told) is not is_fault
        assert (chip.taken_fault or chip.fault).pc == RAM


def test_a_store_to_nowhere_in_an_it_block_leaves_no_state_behind_it() -> None:
    """movs r0, #0; itt eq; streq r1, [r2]; addeq r3, #1; b to the next: there it is reported."""
    chip = Stm32F746()
    chip.debugger.write_memory(
        RAM, struct.pack("<6H", 0x2000, 0xBF04, 0x6011, 0x3301, 0xE7FF, 0xE7FE)
    )
    for number, value in ((2, NOWHERE), (3, 0), (13, RAM + 0x1000), (PC_NUMBER, RAM)):
        chip.debugger.write_register(0, number, value)
    chip.run(1e-4)
    scene = chip.fault_scenes()[0]
    stacked = dict(scene.frame)
    assert (stacked["pc"], stacked["r3"]) == (RAM + 10, 1)
    assert stacked["xpsr"] == 1 << 30 | 1 << 24, "Z and T, no IT state"


# Frame and return


def test_registers_flags_and_it_state_come_back(chip: Stm32F746) -> None:
    _, after = faulted(chip, b"s" + struct.pack("<I", NOWHERE))
    assert words(after) == (1 + 2 + 4 + 8,)


@pytest.mark.parametrize("misalign", [0, 4])
def test_process_stack_and_alignment(chip: Stm32F746, misalign: int) -> None:
    told, after = faulted(chip, bytes([ord("o"), misalign]))
    assert told.link == PSP_FRAME and told.frame % 8 == 0
    assert told.xpsr >> 9 & 1 == (misalign != 0)
    assert words(after) == (0,), "the stack pointer came back"


def test_fp_registers_are_stacked(chip: Stm32F746) -> None:
    told, after = faulted(chip, b"f")
    assert told.link == MSP_FP_FRAME
    assert words(after) == (0x40000000,)  # 1.0 + 1.0
    assert words(ask(chip, peek(told.frame + 32))) == (0x3F800000,), "s0 in the frame"


# Lock-up


def test_fault_in_the_hard_fault_handler_locks_up(chip: Stm32F746) -> None:
    told = fails(chip, b"a")
    assert "lock-up" in told and "HardFault handler" in told
    assert "read of 4 bytes" in told and "undefined instruction (0xde00" in told
    assert chip.run(1.0) is Stop.FAULT
    chip.reset()
    assert chip.run(1.0) is Stop.WAITING and chip.fault is None


def test_fault_with_faultmask_locks_up(chip: Stm32F746) -> None:
    assert "FAULTMASK" in fails(chip, b"m")


def test_vector_without_memory_locks_up(chip: Stm32F746) -> None:
    ask(chip, poke(VTOR, 0x20060000))
    told = fails(chip, b"u")
    assert "0x2006000c" in told and "vector of HardFault" in told and "undefined" in told


def test_no_room_for_the_frame(chip: Stm32F746) -> None:
    """The handler is entered, and its own push to the same stack is a late bus fault."""
    chip.uart_feed(b"z")
    chip.run(1e-3)
    assert chip.taken_fault is not None
    assert any("undefined instruction" in text for text in chip.warnings)


def test_exc_return_in_thread_mode_is_an_address(chip: Stm32F746) -> None:
    chip.uart_feed(b"x")
    chip.run(1e-3)
    assert any("IACCVIOL" in text and "0xfffffff8" in text for text in chip.warnings)


@pytest.mark.parametrize(
    ("request_bytes", "says"),
    [
        (peek(0x60000000), "external memory"),
        (peek(0x50060800), "AHB2"),
        (poke(0xE000ED14, 0x10), "CCR.DIV_0_TRP"),
    ],
)
def test_what_the_model_lacks_is_no_bus_fault(
    chip: Stm32F746, request_bytes: bytes, says: str
) -> None:
    assert says in fails(chip, request_bytes)
    assert chip.counters()["faults_taken"] == 0


# Interrupts


def controller() -> Nvic:
    return Nvic(lambda: None, lambda: 0, lambda: False)


def test_the_lowest_number_of_the_most_urgent_priority_comes_first() -> None:
    nvic = controller()
    nvic.write(0x100, 0b111)  # ISER0: interrupts 0 to 2
    nvic.write(0x400, 0x204040)
    nvic.write(0x200, 0b111)  # ISPR0
    order = []
    while (exception := nvic.next(Masks())) is not None:
        order.append(exception)
        nvic.enter(exception)
        nvic.leave(exception)
    assert order == [18, 16, 17]


@pytest.mark.parametrize(
    ("masks", "runs"),
    [
        (Masks(), True),
        (Masks(primask=True), False),
        (Masks(faultmask=True), False),
        (Masks(basepri=0x40), False),
        (Masks(basepri=0x50), True),
    ],
)
def test_masks_hold_interrupts_back(masks: Masks, runs: bool) -> None:
    nvic = controller()
    nvic.write(0x100, 1)
    nvic.write(0x400, 0x40)
    nvic.write(0x200, 1)
    assert (nvic.next(masks) == 16) is runs
    nvic.pend(2)
    assert nvic.next(masks) == 2, "NMI passes all of them"


def test_sub_priorities_do_not_interrupt_each_other() -> None:
    nvic = controller()
    nvic.write(0x100, 0b11)
    nvic.write(0x400, 0x4060)  # interrupt 1 is more urgent than 0
    nvic.write(0x200, 0b10)
    nvic.enter(16)
    assert nvic.next(Masks()) == 17
    nvic.priority_group = 5  # bits 5..0 are sub-priority: 0x40 and 0x60 are one group
    assert nvic.next(Masks()) is None


def test_svc_and_pendsv_run_in_order(chip: Stm32F746) -> None:
    """1 SVC(2 3) PendSV(4) 5, masked 6, PendSV(4) at the unmasking, 7."""
    assert words(ask(chip, b"v")) == (12345647,)


@pytest.mark.parametrize("sleeps", [0, 1])
def test_systick_interrupts(chip: Stm32F746, sleeps: int) -> None:
    start_s = chip.time_s
    request = b"t" + struct.pack("<IB", 16_000, sleeps)
    assert ask(chip, request) == struct.pack("<I", 10)
    wires_s = (len(request) + 4) * 10e-6
    assert chip.time_s - start_s == pytest.approx(10 * 1e-3 + wires_s, abs=50e-6)


def test_received_bytes_interrupt_the_systick_handler(chip: Stm32F746) -> None:
    chip.uart_feed(b"i\x04")
    assert chip.run(0.5e-3) is Stop.BUDGET  # it waits inside SysTick
    assert chip.uart_drain() == b"!"
    *received, nested = ask(chip, b"abcd")
    assert bytes(received) == b"abcd" and 1 <= nested <= 4
    assert chip.counters()["uart_overruns"] == 0


def test_slicing_a_run_with_interrupts_changes_nothing(elf: Path) -> None:
    results = []
    for slice_s in (1.0, 0.13e-3):
        chip = Stm32F746()
        chip.load_elf(elf)
        chip.run(1.0)
        chip.uart_feed(b"t" + struct.pack("<IB", 5_000, 0))
        while chip.run(slice_s) is Stop.BUDGET:
            pass
        results.append((chip.uart_drain(), chip.time_s, chip.counters()))
    assert results[0] == results[1]


@pytest.mark.parametrize("sleeps", [0, 1])
@pytest.mark.parametrize("slice_s", [1.0, 7e-6])
def test_bytes_are_sent_by_interrupt(chip: Stm32F746, sleeps: int, slice_s: float) -> None:
    """TXE asks for each of five bytes, and once more; TC when the last stop bit has gone."""
    start_s = chip.time_s
    chip.uart_feed(b"w" + bytes([5, sleeps]))
    while chip.run(slice_s) is Stop.BUDGET:
        pass
    assert chip.uart_drain() == b"edcba" + bytes([5 + 1 + 1])
    wires_s = (3 + 5 + 1) * 10e-6  # and beside them some handlers of 8 us, at 16 MHz
    assert wires_s <= chip.time_s - start_s <= wires_s + 40e-6
    assert chip.warnings == {}


def test_an_idle_line_ends_a_reception(chip: Stm32F746) -> None:
    assert ask(chip, b"jxyz") == b"\x03"
    assert chip.counters()["uart_overruns"] == 0


def test_an_overrun_interrupts_until_it_is_cleared(chip: Stm32F746) -> None:
    """Two bytes while nobody reads; the firmware takes one later, and ORE goes on asking."""
    assert ask(chip, b"t" + struct.pack("<IB", 4_000, 0) + b"??")[-1:] == b"?"
    chip.debugger.write_memory(UART, struct.pack("<I", 0x2D))
    assert chip.interrupt_lines() == 1 << 16 + 39
    chip.debugger.write_memory(UART + 0x20, struct.pack("<I", 1 << 3))
    assert chip.interrupt_lines() == 0


@pytest.mark.parametrize(
    ("code", "offset", "faults"),
    [
        ((0xE892, 0x0009), 2, True),  # ldm r2, {r0, r3}
        ((0xE882, 0x0009), 1, True),  # stm
        ((0xE9D2, 0x0300), 2, True),  # ldrd r0, r3, [r2]
        ((0xE9C2, 0x0300), 2, True),  # strd
        ((0xE852, 0x0F00), 1, True),  # ldrex r0, [r2]
        ((0xED92, 0x0A00), 2, True),  # vldr s0, [r2]
        ((0xE892, 0x0009), 4, False),
        ((0xF8D2, 0x0000), 1, False),  # ldr.w r0, [r2]
        ((0xF8B2, 0x0000), 1, False),  # ldrh.w
    ],
)
def test_what_wants_an_aligned_address(
    elf: Path, code: tuple[int, int], offset: int, faults: bool
) -> None:
    """A3.2.1: UsageFault UNALIGNED. Where the data cache is followed, addresses are known."""
    routine, data = RAM + 0x8000, RAM + 0x9000 + offset
    machine_code = (0xF249, 0x0200 | offset, 0xF2C2, 0x0200, *code, 0x4770)  # r2: data; bx lr
    chip = Stm32F746(data_cache="lines")
    chip.load_elf(elf)
    chip.run(1.0)
    chip.uart_drain()
    ask(chip, poke(CPACR, 0xF << 20))
    chip.debugger.write_memory(routine, struct.pack("<7H", *machine_code))
    request = b"b" + struct.pack("<I", routine | 1)
    if not faults:
        assert ask(chip, request) == b"B"
        return
    told, after = faulted(chip, request)
    assert (told.ipsr, told.cfsr, told.pc) == (HARD_FAULT, 1 << 24, routine + 8)
    assert after == b"B" and chip.taken_fault is not None
    assert chip.taken_fault.address == data
