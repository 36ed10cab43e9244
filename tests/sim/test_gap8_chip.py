"""The virtual GAP8 as a chip: UART, flash, marker, energy, faults, reset."""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import FC_AT_150_MHZ, FC_SLEEPS, PES_SLEEP, assemble, run_to_exit
from gap8_registers import UDMA_CLOCKS, pass_time, read, spinning, write
from xpulp_assembler import translate

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

HYPERBUS = 0x1A102180


def test_exit_code_is_the_low_31_bits_of_corestatus(tmp_path: Path) -> None:
    chip = run_to_exit(tmp_path, "fc_main:\n li a0, 197\n j exit_program\n" + PES_SLEEP)
    assert chip.exit_code == 197
    assert chip.run(1.0) is Stop.EXITED


UART = (
    """
fc_main:
    li s0, 0x1A102780
    li t0, 16
    sw t0, 0(s0)
    li s0, 0x1A102200
    li t0, (49 << 16) | 0x306      # 50 MHz / 50 = 1 Mbaud
    sw t0, 0x24(s0)
    la s1, slots
    li s2, 0
    jal queue
    xori s2, s2, 4
    jal queue
    xori s2, s2, 4
again:
1:  lw t0, 8(s0)
    andi t0, t0, 32
    bnez t0, 1b
    add t1, s1, s2
    lw t2, 0(t1)
    la t3, out
    addi t2, t2, 1
    sw t2, 0(t3)
    jal queue
    xori s2, s2, 4
    sw t3, 0x10(s0)
    li t0, 1
    sw t0, 0x14(s0)
    li t0, 16
    sw t0, 0x18(s0)
    j again
queue:
    add t1, s1, s2
    sw t1, 0(s0)
    li t0, 1
    sw t0, 4(s0)
    li t0, 16
    sw t0, 8(s0)
    ret
    .bss
    .balign 4
slots: .space 8
out: .space 4
    .text
"""
    + PES_SLEEP
)


def _uart_chip(folder: Path) -> Gap8:
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(UART)))
    return chip


def test_uart_waits_echoes_and_keeps_byte_times(tmp_path: Path) -> None:
    chip = _uart_chip(tmp_path)
    assert chip.run(1.0) is Stop.WAITING
    before_s = chip.time_s
    assert before_s < 1e-4 and chip.run(1.0) is Stop.WAITING and chip.time_s == before_s
    data = bytes(range(100))
    chip.uart_feed(data)
    assert chip.run(1.0) is Stop.WAITING
    assert chip.uart_drain() == bytes(b + 1 for b in data)
    # 100 bytes in, the last one out again: 101 byte times of 10 us and a few instructions
    assert chip.time_s - before_s == pytest.approx(101 * 10e-6, rel=0.01)
    assert chip.counters()["uart_bytes_lost"] == 0


def test_uart_bytes_leave_in_time(tmp_path: Path) -> None:
    chip = _uart_chip(tmp_path)
    chip.run(1.0)
    chip.uart_feed(b"ab")
    assert chip.run(10.5e-6) is Stop.BUDGET and chip.uart_drain() == b""
    assert chip.run(13e-6) is Stop.BUDGET and chip.uart_drain() == b"b"


def test_idle_until_moves_time_and_energy(tmp_path: Path) -> None:
    chip = _uart_chip(tmp_path)
    assert chip.run(1.0) is Stop.WAITING
    chip.energy_drain()
    start_s = chip.time_s
    chip.idle_until(start_s + 0.01)
    assert chip.time_s == pytest.approx(start_s + 0.01)
    bins = chip.energy_drain()
    assert len(bins.energy_j) == pytest.approx(1000, abs=1)
    power_w = bins.energy_j.mean() / bins.bin_s
    assert 0.002 < power_w < 0.02
    assert chip.run(1.0) is Stop.WAITING
    chip.uart_feed(b"x")
    chip.run(1.0)
    assert chip.uart_drain() == b"y"


def test_unread_bytes_are_lost(tmp_path: Path) -> None:
    """No transfer queued, no FIFO: bytes before the receiver is armed vanish."""
    chip = _uart_chip(tmp_path)
    chip.uart_feed(b"early")
    chip.run(1.0)
    assert chip.counters()["uart_bytes_lost"] == 5


def test_marker_edges(tmp_path: Path) -> None:
    source = (
        """
fc_main:
    li t0, 0x1A101000
    li t1, 0x20000
    sw t1, 8(t0)           # driven, but the pad still shows its other function
    sw t1, 0(t0)
    li t2, 0x1A104144
    li t3, 0x40000000
    sw t3, 0(t2)           # edge up
    li t4, 500
1:  addi t4, t4, -1
    bnez t4, 1b
    sw zero, 8(t0)         # edge down
    li a0, 0
    j exit_program
"""
        + PES_SLEEP
    )
    edges = run_to_exit(tmp_path, source).marker_drain()
    assert [e.level for e in edges] == [True, False]
    # 500 iterations of 4 cycles (the last branch not taken) at 50 MHz, and the accesses
    assert edges[1].time_s - edges[0].time_s == pytest.approx(2000 * 20e-9, rel=0.02)


def test_flash_is_read_and_what_moves_is_counted() -> None:
    chip = spinning(Gap8())
    image = bytes(range(64))
    chip.program_flash(0xFFE, image)
    write(chip, UDMA_CLOCKS, 1 << 3)
    for side, external, l2, size in (
        (0x10, 0x7FE000, 0x1C020000, 8192),
        (0x00, 0x01000FFE, 0x1C030000, 64),
    ):
        write(chip, HYPERBUS + 0x20, external)
        write(chip, HYPERBUS + side, l2)
        write(chip, HYPERBUS + side + 4, size)
        write(chip, HYPERBUS + side + 8, 0x10)
        pass_time(chip, 1e-3)
        assert read(chip, HYPERBUS + side + 8) & 0x30 == 0
    assert chip.peek_words(0x1C030000, 16).tobytes() == image
    assert chip.counters()["hyperbus_bytes"] == 8192 + 64
    assert chip.counters()["hyperbus_bursts_over_512_bytes"] == 1
    with pytest.raises(SimulationError, match="HyperFlash"):
        chip.program_flash((64 << 20) - 1, b"ab")


FAULTS = {
    "illegal": (".4byte 0", "illegal instruction", None),
    "unmapped": ("li t0, 0x30000000\n lw t1, 0(t0)", "unmapped", 0x30000000),
    "unmapped byte": ("li t0, 0x30000000\n lb t1, 1(t0)", "unmapped", 0x30000001),
    "unmapped half": ("li t0, 0x30000000\n sh t1, 1(t0)", "unmapped", 0x30000001),
    "byte access": ("li t0, 0x1A101000\n lbu t1, 0(t0)", "narrow", 0x1A101000),
    "cluster off": ("li t0, 0x10000000\n lw t1, 0(t0)", "off", 0x10000000),
    "gated uart": ("li t0, 0x1A102200\n lw t1, 8(t0)", "clock", 0x1A102208),
    "jump away": ("li t0, 0x1A000080\n jr t0", "fetch", 0x1A000080),
    "elw": ("li t0, 0x1C060000\n p.elw t1, 0(t0)", "p.elw", 0x1C060000),
    "csr": ("csrr t0, 0x123", "control register", 0x123),
    "misa": ("csrr t0, misa", "control register", 0x301),  # no public source gives GAP8's value
    "ebreak": ("ebreak", "ebreak", None),
    "status": ("li t0, 0x00204000\n lw t1, 0x18(t0)", "event unit", 0x00204018),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_place_and_address(name: str, tmp_path: Path) -> None:
    body, text, address = FAULTS[name]
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(f"fc_main:\n {body}\n{PES_SLEEP}")))
    assert chip.run(1e-3) is Stop.FAULT
    assert chip.fault is not None and text in chip.fault.reason and chip.fault.core == 8
    assert 0x1C010000 <= chip.fault.pc < 0x1C020000 or name == "jump away"
    if address is not None:
        assert chip.fault.address == address
    assert chip.run(1e-3) is Stop.FAULT, "a faulted chip stays faulted"
    chip.reset()
    assert chip.fault is None


def test_cluster_core_fault_names_the_core(tmp_path: Path) -> None:
    source = (
        FC_SLEEPS
        + """
pe_main:
    li t0, 3
    beq a0, t0, 1f
2:  j 2b
1:  li t0, 0x20000000
    sw t0, 0(t0)
"""
    )
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    assert chip.run(0.05) is Stop.FAULT
    assert chip.fault is not None and chip.fault.core == 3 and chip.fault.address == 0x20000000


def test_reset_restores_the_image_and_poisons_the_rest(tmp_path: Path) -> None:
    source = (
        """
fc_main:
    la t0, value
    lw a0, 0(t0)
    sw zero, 0(t0)
    j exit_program
    .data
value: .4byte 77
    .text
"""
        + PES_SLEEP
    )
    chip = run_to_exit(tmp_path, source)
    assert chip.exit_code == 77
    chip.reset()
    assert chip.time_s == 0 and chip.exit_code is None
    assert chip.run(1e-3) is Stop.EXITED and chip.exit_code == 77
    assert chip.peek_words(0x1C000000, 1)[0] == 0xDEADBEEF


def test_segment_outside_memory_is_refused(tmp_path: Path) -> None:
    elf = assemble(tmp_path, "fc_main:\n nop\n" + translate(PES_SLEEP))
    raw = bytearray(elf.read_bytes())
    header = int.from_bytes(raw[28:32], "little")
    while int.from_bytes(raw[header : header + 4], "little") != 1:
        header += 32
    raw[header + 8 : header + 16] = (0x20000000).to_bytes(4, "little") * 2
    moved = tmp_path / "moved.elf"
    moved.write_bytes(raw)
    with pytest.raises(SimulationError, match="0x20000000"):
        Gap8().load_elf(moved)


def test_eight_busy_cores_draw_the_published_power(tmp_path: Path) -> None:
    """About 50 mW at 150 MHz (the paper's GAP8), far less when the cores sleep."""
    source = (
        FC_AT_150_MHZ
        + """
pe_main:
    mv s11, a0
    li s9, 400
9:
    slli t0, s11, 2
    li a1, 0x10000000
    add a1, a1, t0
    mv a2, a1
    li s10, 1000
    lp.setup x0,s10,16
    p.lw s2,4(a1!)
    p.lw s3,4(a2!)
    pv.sdotusp.b t0,s4,s5
    pv.sdotusp.b t1,s2,s3
    addi s9, s9, -1
    bnez s9, 9b
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
    )
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    assert chip.run(0.05) is Stop.WAITING
    power_w = chip.energy_drain().energy_j / 10e-6
    assert power_w[-100:].mean() == pytest.approx(0.050, rel=0.15)
    chip.idle_until(chip.time_s + 0.001)
    assert chip.energy_drain().energy_j[-50:].mean() / 10e-6 < 0.020
