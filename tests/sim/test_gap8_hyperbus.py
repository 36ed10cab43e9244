"""HyperRAM and HyperFlash behind uDMA: bytes, cycles against the vendor simulator, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gap8_program import PES_SLEEP, assemble
from xpulp_assembler import translate

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS, BUFFER = 0x1C060000, 0x1C020000
RX, TX = 0x00, 0x10
FLASH = 0x01000000
CLOCK_ON = "li t0, 0x1A102780; li t1, 8; sw t1, 0(t0); li s2, 0x1A102180"


def _transfer(side: int, external: int, l2: int, size: int) -> str:
    """Starts a transfer (s2: HyperBus) and polls CFG; cycles from the start on in a0."""
    return f"""
    li t1, {external}
    li t2, {l2}
    li t3, {size}
    li t4, 0x10
    sw t1, 0x20(s2)
    sw t2, {side}(s2)
    sw t3, {side + 4}(s2)
    csrr a1, 0x780
    sw t4, {side + 8}(s2)
8:  lw t5, {side + 8}(s2)
    andi t5, t5, 0x30
    bnez t5, 8b
    csrr a0, 0x780
    sub a0, a0, a1
    sw a0, 0(s0)
    addi s0, s0, 4
"""


def _chip(folder: Path, body: str) -> Gap8:
    source = f"""
fc_main:
    li t0, 1
    csrw 0x7A0, t0
    csrw 0x7A1, t0
    li s0, {RESULTS}
    {CLOCK_ON.replace(";", chr(10))}
    {body}
    li a0, 0
    j exit_program
{PES_SLEEP}"""
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(source)))
    return chip


def test_bytes_go_to_the_ram_and_come_back_and_flash_is_read(tmp_path: Path) -> None:
    body = (
        _transfer(TX, 0x7FE000, BUFFER, 8192)
        + _transfer(RX, 0x7FE000, BUFFER + 8192, 8192)
        + _transfer(RX, FLASH + 0xFFE, BUFFER + 16384, 64)
    )
    chip = _chip(tmp_path, body)
    data, image = np.random.default_rng(1).bytes(8192), bytes(range(64))
    chip.poke_bytes(BUFFER, data)
    chip.program_flash(0xFFE, image)
    assert chip.run(0.01) is Stop.EXITED, chip.fault
    assert chip.peek_words(BUFFER + 8192, 2048).tobytes() == data
    assert chip.peek_words(BUFFER + 16384, 16).tobytes() == image
    assert chip.counters()["hyperbus_bytes"] == 2 * 8192 + 64
    assert chip.counters()["hyperbus_bursts_over_512_bytes"] == 2


# bytes, FC cycles on the vendor simulator (gap8_registers facts; its program is not recorded)
READS = {1024: 1127, 4096: 4200, 16384: 16485, 65536: 65642}
SHORT_READS = {64: 176, 256: 369}


def test_read_cycles_and_bandwidth(tmp_path: Path) -> None:
    """Long reads within 1 %; short ones within one turn of the polling loop, 14 cycles."""
    sizes = READS | SHORT_READS
    chip = _chip(tmp_path, "".join(_transfer(RX, 0, BUFFER, size) for size in sizes))
    assert chip.run(0.01) is Stop.EXITED, chip.fault
    ours = dict(zip(sizes, chip.peek_words(RESULTS, len(sizes)).tolist(), strict=True))
    for size, vendor in sizes.items():
        print(f"hyperram_read_{size:<6}{ours[size]:>8}{vendor:>8}")
    assert all(ours[size] == pytest.approx(READS[size], rel=0.01) for size in READS)
    assert all(abs(ours[size] - SHORT_READS[size]) <= 14 for size in SHORT_READS)
    assert 65536 / ours[65536] == pytest.approx(0.998, abs=0.001)  # bytes a cycle


REFUSED = {
    "outside the RAM": (_transfer(RX, 0x7FFFFC, BUFFER, 64), "HyperRAM"),
    "outside the flash": (_transfer(RX, FLASH + 0x4000000, BUFFER, 64), "HyperFlash"),
    "outside L2": (_transfer(RX, 0, 0x1B000000, 64), "not inside L2"),
    "odd address": (_transfer(RX, 1, BUFFER, 64), "even"),
    "flash command": (_transfer(TX, FLASH, BUFFER, 4), "not modelled"),
    "register space": ("li t0, 12; sw t0, 0x34(s2);" + _transfer(RX, 0, BUFFER, 4), "CRT"),
    "unknown register": ("sw t0, 0x24(s2)", "+0x24"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_place_and_address(name: str, tmp_path: Path) -> None:
    body, text = REFUSED[name]
    chip = _chip(tmp_path, body.replace(";", "\n"))
    assert chip.run(0.01) is Stop.FAULT
    assert chip.fault is not None and text in chip.fault.reason and chip.fault.core == 8
    assert 0x1A102180 <= chip.fault.address < 0x1A1021C8 and chip.fault.pc > 0x1C010000


def test_flash_outside_its_size_is_refused() -> None:
    with pytest.raises(SimulationError, match="HyperFlash"):
        Gap8().program_flash((64 << 20) - 1, b"ab")
