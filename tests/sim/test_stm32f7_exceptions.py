"""Exceptions of the virtual STM32F746 as only a simulator shows them: what it reports of faults and
lock-ups, what it refuses, its wires, runs in slices.

What a program sees of exceptions is in test_exceptions_cortex_m7.py. The firmware is
tests/sim/firmware/stm32f7_exceptions.c.
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
from hil.sim.socs.stm32f7 import Stm32F746, Stm32F767

NOWHERE = 0x20050000  # one behind SRAM2
HARD_FAULT, FORCED, DEBUGEVT = 3, 1 << 30, 1 << 31
RAM, CPACR, VTOR = 0x20000000, 0xE000ED88, 0xE000ED08


class Told(NamedTuple):
    """What the firmware's handler found."""

    ipsr: int
    cfsr: int
    hfsr: int
    bfar: int
    abfsr: int


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


# Faults and their status


def test_a_load_from_nowhere_is_told_to_the_bench(chip: Stm32F746) -> None:
    told, after = faulted(chip, peek(NOWHERE))
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, 1 << 9 | 1 << 15, FORCED)
    assert told.bfar == NOWHERE
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


def test_breakpoint_without_a_debugger(chip: Stm32F746) -> None:
    told, after = faulted(chip, b"k")
    assert (told.ipsr, told.cfsr, told.hfsr, after) == (HARD_FAULT, 0, DEBUGEVT, b"K")


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
