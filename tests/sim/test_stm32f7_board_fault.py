"""The board's own firmware faults on the virtual chip, resets itself and reports over the console.

Nothing here knows how the model takes an exception: it looks at the wires only, as a host does.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core import console
from hil.core.console import Message, RunFlag
from hil.core.errors import TargetError
from hil.core.network import Op
from hil.nn.random_layers import random_network
from hil.rig.bench import open_rig
from hil.rig.rigfile import load_rig
from hil.sim.socs.stm32f7 import Stm32F746

sys.path.append(str(Path(__file__).parents[1] / "codegen"))
from device import Device, encode

LOAD = struct.pack("<3H", 0xF8D2, 0x1004, 0xDE00)  # ldr.w r1, [r2, #4]
BUS_ERROR_AT = 0x20050004
PRECISE = 1 << 9 | 1 << 15
FORCED = 1 << 30
FUNCTION = "board_marker"  # called once in a run that asks for the marker
SFTRST = 1 << 28


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    board = boards.load_board("stm32f746")
    network = random_network(Op.POINTWISE, 4, 4, 8, 8)
    return build(generate(network, board), board, tmp_path_factory.mktemp("fault")).elf


def patched(elf: Path, code: bytes, out: Path) -> tuple[Path, int]:
    """The image with ``code`` at the start of FUNCTION, and that function's address."""
    raw = bytearray(elf.read_bytes())
    with elf.open("rb") as stream:
        image = ELFFile(stream)
        symbols = image.get_section_by_name(".symtab")
        assert symbols is not None
        (symbol,) = symbols.get_symbol_by_name(FUNCTION)
        at = symbol["st_value"] & ~1
        for segment in image.iter_segments("PT_LOAD"):
            inside = at - segment["p_vaddr"]
            if 0 <= inside < segment["p_filesz"]:
                assert len(code) <= symbol["st_size"]
                where = segment["p_offset"] + inside
                raw[where : where + len(code)] = code
    out.write_bytes(raw)
    return out, at


def movw_movt_r2(value: int) -> bytes:
    """movw r2, #low; movt r2, #high (encodings T3 and T1)."""
    halves = []
    for opcode, half in ((0xF240, value & 0xFFFF), (0xF2C0, value >> 16)):
        first = opcode | (half >> 11 & 1) << 10 | half >> 12
        halves += [first, (half >> 8 & 7) << 12 | 2 << 8 | half & 0xFF]
    return struct.pack("<4H", *halves)


def boot(elf: Path) -> Device:
    chip = Stm32F746()
    chip.load_elf(elf)
    device = Device(chip)
    device.run_until_waiting()
    assert device.take().message == Message.HELLO
    return device


def crash(device: Device) -> tuple[int, ...]:
    """Run with the marker; the record that the board tells after it has come back."""
    device.chip.uart_drain()
    device.send_raw(encode(Message.RUN, console.RUN.pack(0, 1, RunFlag.MARKER)))
    hello = device.take()
    assert (hello.message, device.received) == (Message.HELLO, b""), "no answer, a new HELLO"
    assert console.IDENTITY.unpack(hello.payload)[4] & SFTRST
    return console.FAULT.unpack(device.ask(Message.READ_FAULT))


def test_bus_fault_is_reported_after_the_reset(elf: Path, tmp_path: Path) -> None:
    image, at = patched(elf, movw_movt_r2(BUS_ERROR_AT - 4) + LOAD, tmp_path / "bad.elf")
    device = boot(image)
    assert console.FAULT.unpack(device.ask(Message.READ_FAULT))[0] == 0
    present, cause, pc, address, hard, _link, status, _interface = crash(device)
    assert (present, cause, address) == (1, PRECISE, BUS_ERROR_AT)
    assert pc == at + 8  # behind movw and movt
    assert hard == FORCED and status >> 24 & 1
    assert device.chip.counters()["resets"] == 1
    assert device.ask(Message.IDENTIFY), "the board works on"


def test_undefined_instruction_is_reported(elf: Path, tmp_path: Path) -> None:
    image, at = patched(elf, struct.pack("<H", 0xDE00), tmp_path / "bad.elf")
    _, cause, pc, address, hard, *_ = crash(boot(image))
    assert (cause, pc, address, hard) == (1 << 16, at, 0, FORCED)


def test_stack_overflow_is_reported_without_registers(elf: Path, tmp_path: Path) -> None:
    """push {r0, lr}; bl to itself: below DTCM nothing answers, the frame has no room either."""
    code = struct.pack("<3H", 0xB501, 0xF7FF, 0xFFFD)
    image, _ = patched(elf, code, tmp_path / "bad.elf")
    _, cause, pc, *_ = crash(boot(image))
    assert cause & (1 << 10) and cause & (1 << 12), "IMPRECISERR, STKERR"
    assert pc == 0


def test_a_measurement_on_the_virtual_bench_is_told_where(tmp_path: Path) -> None:
    board = boards.load_board("stm32f746")
    built = build(generate(random_network(Op.POINTWISE, 4, 4, 8, 8), board), board, tmp_path)
    image, at = patched(built.elf, struct.pack("<H", 0xDE07), tmp_path / "bad.elf")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    with open_rig(load_rig("virtual-stm32f746")) as rig:
        rig.ensure_firmware(replace(built, elf=image, elf_sha256=digest))
        with pytest.raises(TargetError) as raised:
            rig.console.run(flags=RunFlag.MARKER)
    assert f"at 0x{at:08x} {FUNCTION}: udf #7; CFSR 0x00010000: UNDEFINSTR" in str(raised.value)


def test_power_on_forgets_the_record(elf: Path, tmp_path: Path) -> None:
    image, _ = patched(elf, struct.pack("<H", 0xDE00), tmp_path / "bad.elf")
    device = boot(image)
    crash(device)
    device.chip.reset()
    device.run_until_waiting()
    device.take()
    assert console.FAULT.unpack(device.ask(Message.READ_FAULT))[0] == 0
