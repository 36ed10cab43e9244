"""The STM32F746's fault handler and the record it leaves, on a bare instruction emulator.

The exception entry is laid out by hand here as the programming manual describes it (PM0253
2.3.7), apart from the virtual chip's own (tests/sim/test_stm32f7_board_fault.py).
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const as arm

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.network import Op
from hil.nn.random_layers import random_network

EXC_RETURN_MSP = 0xFFFFFFF9
RETURN = 0x0020_0000  # mapped, never run: where called functions come back to
FRAME = (0x10, 0x11, 0x12, 0x13, 0x1C, 0x08001235, 0x08004440, 0x21000000)  # r0-r3 r12 lr pc xpsr
SCB = {0xE000ED28: 0x00008200, 0xE000ED2C: 0x40000000, 0xE000ED38: 0x60000004, 0xE000EFA8: 8}
AIRCR = 0xE000ED0C


class Emulator:
    """The image in memory; functions are called by name."""

    def __init__(self, elf: Path):
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M7)
        for base, size in ((RETURN, 0x1000), (0x08000000, 1 << 20), (0x20000000, 0x50000)):
            self.uc.mem_map(base, size)
        self.written: list[tuple[int, int]] = []
        self.uc.mmio_map(0xE0000000, 0x100000, self._read, None, self._write, None)
        with elf.open("rb") as stream:
            image = ELFFile(stream)
            table = image.get_section_by_name(".symtab")
            self.symbols = {s.name: s["st_value"] for s in table.iter_symbols()}
            for segment in image.iter_segments("PT_LOAD"):
                if segment["p_filesz"]:
                    self.uc.mem_write(segment["p_paddr"], segment.data())

    def _read(self, _uc, offset: int, _size: int, _data) -> int:
        return SCB.get(0xE0000000 + offset, 0)

    def _write(self, uc, offset: int, _size: int, value: int, _data) -> None:
        self.written.append((0xE0000000 + offset, value))
        uc.emu_stop()  # only the reset request is ever written here

    def call(self, name: str, lr: int = RETURN | 1) -> int:
        self.uc.reg_write(arm.UC_ARM_REG_LR, lr)
        self.uc.emu_start(self.symbols[name] | 1, RETURN, count=1_000_000)
        return self.uc.reg_read(arm.UC_ARM_REG_R0)

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.uc.mem_read(address, 4 * count))


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    board = boards.load_board("stm32f746")
    network = random_network(Op.POINTWISE, 4, 4, 8, 8)
    return build(generate(network, board), board, tmp_path_factory.mktemp("fault")).elf


def after_fault(elf: Path, stack: int) -> Emulator:
    """The chip as the reset request leaves it, faulted with the frame at ``stack``."""
    emulator = Emulator(elf)
    emulator.uc.reg_write(arm.UC_ARM_REG_SP, 0x20001000)
    emulator.call("crc32_init")
    if 0x20000000 <= stack < 0x20050000:
        emulator.uc.mem_write(stack, struct.pack("<8I", *FRAME))
    emulator.uc.reg_write(arm.UC_ARM_REG_SP, stack)
    emulator.call("fault_handler", EXC_RETURN_MSP)
    return emulator


def test_fault_is_recorded_then_reported_once(elf: Path) -> None:
    emulator = after_fault(elf, 0x20000F00)
    assert emulator.written == [(AIRCR, 0x05FA0004)]
    emulator.uc.reg_write(arm.UC_ARM_REG_SP, 0x20001000)
    emulator.call("fault_init")  # the next life takes the record over
    record = emulator.words(emulator.call("board_last_fault"), 7)
    cause, pc, address, *words = record
    assert (cause, pc, address) == (SCB[0xE000ED28], FRAME[6], SCB[0xE000ED38])
    assert words == [SCB[0xE000ED2C], FRAME[5], FRAME[7], SCB[0xE000EFA8]]
    assert emulator.words(emulator.symbols["kept"], 1) == (0,)  # gone for the life after that


def test_stack_overflow_leaves_a_record_without_registers(elf: Path) -> None:
    emulator = after_fault(elf, 0x1FFFFFE0)
    assert emulator.written == [(AIRCR, 0x05FA0004)]
    cause, pc = emulator.words(emulator.symbols["kept"] + 4, 2)
    assert (cause, pc) == (SCB[0xE000ED28], 0)


def test_a_damaged_record_is_not_believed(elf: Path) -> None:
    emulator = after_fault(elf, 0x20000F00)
    kept = emulator.symbols["kept"]
    emulator.uc.mem_write(kept + 8, b"\xff")
    emulator.uc.reg_write(arm.UC_ARM_REG_SP, 0x20001000)
    emulator.call("fault_init")
    assert emulator.words(emulator.call("board_last_fault"), 7) == (0,) * 7
