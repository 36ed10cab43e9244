"""The virtual GAP8 as a chip: cluster, events, DMA, UART, clocks, marker, energy, faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gap8_program import assemble
from xpulp_assembler import translate

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000

FC_SLEEPS = """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
PES_SLEEP = """
pe_main:
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""


def _run(folder: Path, source: str, duration_s: float = 0.05) -> Gap8:
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(source)))
    assert chip.run(duration_s) is Stop.EXITED, chip.fault
    return chip


def test_exit_code_is_the_low_31_bits_of_corestatus(tmp_path: Path) -> None:
    chip = _run(tmp_path, "fc_main:\n li a0, 197\n j exit_program\n" + PES_SLEEP)
    assert chip.exit_code == 197
    assert chip.run(1.0) is Stop.EXITED


def test_mutex_and_software_event(tmp_path: Path) -> None:
    """Eight cores add their number ten times under the mutex; PE 0 tells the FC."""
    chip = _run(
        tmp_path,
        """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    li t1, 8
    sw t1, 0(t0)
    p.elw t1, 0x38(t0)
    li t0, 0x10000100
    lw a0, 0(t0)
    j exit_program
pe_main:
    mv s0, a0
    bnez a0, 1f
    jal init_barrier
    li t0, 0x10000100
    sw zero, 0(t0)
    li t0, 0x00204000
    sw zero, 0xC0(t0)
1:  li t0, 0x00204000
    li t1, 0x30000
    sw t1, 0(t0)
    jal barrier
    li s1, 10
5:  li t0, 0x00204000
    p.elw t1, 0xC0(t0)
    li t2, 0x10000100
    lw t3, 0(t2)
    add t3, t3, s0
    sw t3, 0(t2)
    sw zero, 0xC0(t0)
    addi s1, s1, -1
    bnez s1, 5b
    jal barrier
    bnez s0, 6f
    li t0, 0x1B200E0C
    li t1, 1
    sw t1, 0(t0)
6:  li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
""",
    )
    assert chip.exit_code == 10 * sum(range(8))


def test_barrier_resumes_waiters_after_7_and_the_last_after_11_cycles(tmp_path: Path) -> None:
    """Each core reads the cluster's cycle counter right before and after the barrier's p.elw."""
    source = (
        FC_SLEEPS
        + f"""
pe_main:
    mv s11, a0
    bnez a0, 1f
    jal init_barrier
    li t0, 0x10200400
    li t1, 1
    sw t1, 0(t0)
1:  jal listen_barrier
    li s9, 3
    li s8, 0x10200408
7:  jal barrier
    bnez s11, 2f
    li t2, 50             # PE 0 comes last
3:  addi t2, t2, -1
    bnez t2, 3b
2:  li t0, 0x00204200
    nop
    lw s2, 0(s8)
    p.elw t1, 0x1C(t0)
    lw s3, 0(s8)
    addi s9, s9, -1
    bnez s9, 7b
    slli t1, s11, 3
    li t0, {RESULTS}
    add t0, t0, t1
    sw s2, 0(t0)
    sw s3, 4(t0)
    jal barrier
    bnez s11, 8f
    li a0, 0
    j exit_program
8:  j 8b
"""
    )
    times = _run(tmp_path, source).peek_words(RESULTS, 16).astype(np.int64).reshape(8, 2)
    last = times[0, 0] + 1  # the p.elw issues one cycle after the load before it
    assert times[0, 1] - last == 11
    assert set((times[1:, 1] - last).tolist()) == {7}


def test_dispatch_runs_a_function_on_the_team(tmp_path: Path) -> None:
    source = (
        FC_SLEEPS
        + f"""
pe_main:
    mv s11, a0
    li t0, 0x00204000
    li t1, 0x50000
    sw t1, 0(t0)
    beqz a0, master
worker:
    li t0, 0x00204080
    p.elw s1, 0(t0)
    p.elw a1, 0(t0)
    jalr s1
    jal barrier
    j worker
job:
    slli t0, s11, 2
    add t0, t0, a1
    addi t1, s11, 100
    sw t1, 0(t0)
    ret
master:
    li t0, 0x00204200
    li t1, 0xFF
    sw t1, 0(t0)
    sw t1, 0x0C(t0)
    li t0, 0x00204080
    sw t1, 4(t0)
    li s2, 12             # more rounds than the FIFO has entries (the master never pops)
2:  la t1, job
    li t0, 0x00204080
    sw t1, 0(t0)
    li a1, {RESULTS}
    sw a1, 0(t0)
    jal job
    jal barrier
    addi s2, s2, -1
    bnez s2, 2b
    li a0, 0
    j exit_program
"""
    )
    words = _run(tmp_path, source).peek_words(RESULTS, 8)
    assert words.tolist() == [100 + i for i in range(8)]


def _dma_source(command: int, l1: int, l2: int, two_d: int | None) -> str:
    last = "" if two_d is None else f"    li t1, {two_d}\n    sw t1, 0(s0)\n"
    return (
        FC_SLEEPS
        + f"""
pe_main:
    bnez a0, 9f
    li t0, 0x00204000
    li t1, 0x100
    sw t1, 0(t0)
    li s0, 0x00204400
    lw s1, 0(s0)
    li t1, {command}
    sw t1, 0(s0)
    li t1, {l1}
    sw t1, 0(s0)
    li t1, {l2}
    sw t1, 0(s0)
{last}
    li t0, 0x00204000
    li t2, 1
    sll t2, t2, s1
1:  lw t1, 4(s0)
    and t1, t1, t2
    beqz t1, 2f
    p.elw t1, 0x3C(t0)
    j 1b
2:  sw t2, 4(s0)
    lw a0, 4(s0)
    j exit_program
9:  li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
    )


TO_L1, INCREMENT, TWO_D, EVENT = 1 << 16, 1 << 17, 1 << 18, 1 << 19


def test_dma_of_odd_addresses_and_length(tmp_path: Path) -> None:
    source = _dma_source(13 | TO_L1 | INCREMENT | EVENT, 0x10000201, 0x1C060003, None)
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    data = np.arange(64, dtype=np.uint8)
    chip.poke_bytes(0x1C060000, data.tobytes())
    assert chip.run(0.05) is Stop.EXITED, chip.fault
    assert chip.exit_code == 0, "freed: nothing busy, nothing allocated"
    got = chip.peek_words(0x10000200, 5).tobytes()
    assert got[1:14] == data[3:16].tobytes()
    assert got[0:1] == b"\xef" and got[14:16] == b"\xad\xde", "neighbours keep the poison"


def test_dma_two_dimensional_gathers_lines(tmp_path: Path) -> None:
    lines, line, stride = 16, 64, 128
    command = lines * line | TO_L1 | INCREMENT | TWO_D | EVENT
    source = _dma_source(command, 0x10000400, 0x1C060000, line | stride << 16)
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    data = np.random.default_rng(1).integers(0, 256, lines * stride, dtype=np.uint8)
    chip.poke_bytes(0x1C060000, data.tobytes())
    assert chip.run(0.05) is Stop.EXITED, chip.fault
    got = np.frombuffer(chip.peek_words(0x10000400, lines * line // 4).tobytes(), dtype=np.uint8)
    assert (got.reshape(lines, line) == data.reshape(lines, stride)[:, :line]).all()


@pytest.mark.parametrize(
    ("command", "l1", "l2"),
    [
        (0x4000 | TO_L1 | INCREMENT, 0x1000F000, 0x1C060000),
        (64 | TO_L1 | INCREMENT, 0x10000000, 0x1C07FFE0),
        (64 | TO_L1, 0x10000000, 0x1C060000),
    ],
)
def test_impossible_dma_is_a_fault(tmp_path: Path, command: int, l1: int, l2: int) -> None:
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(_dma_source(command, l1, l2, None))))
    assert chip.run(0.05) is Stop.FAULT
    assert chip.fault is not None and chip.fault.core == 0 and "MCHAN" in str(chip.fault)


# measured on the vendor simulator: bytes, direction to L1, cycles of program + poll (6-cycle grid)
DMA_CYCLES = [(64, True, 24), (256, True, 48), (1024, True, 144), (4096, True, 528),
              (16384, True, 2064), (1024, False, 144), (4096, False, 540),
              (16384, False, 2124)]  # fmt: skip


@pytest.mark.parametrize(("count", "to_l1", "cycles"), DMA_CYCLES)
def test_dma_cycles(tmp_path: Path, count: int, to_l1: bool, cycles: int) -> None:
    command = count | INCREMENT | (TO_L1 if to_l1 else 0)
    source = (
        FC_SLEEPS
        + f"""
pe_main:
    bnez a0, 9f
    li t0, 1
    csrw 0x7A0, t0
    csrw 0x7A1, t0
    li s0, 0x00204400
    li t2, {command}
    li t3, 0x10000000
    li t4, 0x1C060000
    li s3, 2
    li s4, 1
0:  csrr s8, 0x780
    lw s1, 0(s0)
    sw t2, 0(s0)
    sw t3, 0(s0)
    sw t4, 0(s0)
    sll s2, s4, s1
1:  lw t1, 4(s0)
    and t1, t1, s2
    bnez t1, 1b
    csrr a0, 0x780
    sub a0, a0, s8
    sw s2, 4(s0)
    addi s3, s3, -1
    bnez s3, 0b
    j exit_program
9:  li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
    )
    chip = _run(tmp_path, source)
    assert chip.exit_code == pytest.approx(cycles, abs=7)


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
    edges = _run(tmp_path, source).marker_drain()
    assert [e.level for e in edges] == [True, False]
    # 500 iterations of 4 cycles (the last branch not taken) at 50 MHz, and the accesses
    assert edges[1].time_s - edges[0].time_s == pytest.approx(2000 * 20e-9, rel=0.02)


def test_fll_reaches_its_target_and_moves_the_clock(tmp_path: Path) -> None:
    source = (
        """
fc_main:
    li t0, 0x1A100000
    li t1, 0xC80023C3      # closed loop, DIV 2, MULT 9155
    sw t1, 4(t0)
1:  lw t1, 0(t0)
    li t2, 9155
    bne t1, t2, 1b
    li t4, 30000
2:  addi t4, t4, -1
    bnez t4, 2b
    li a0, 0
    j exit_program
"""
        + PES_SLEEP
    )
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    settled_s = 0.0
    while chip.run(30e-6) is Stop.BUDGET:
        if not settled_s and chip.counters()["fc_instructions"] > 200:
            settled_s = chip.time_s
    assert chip.exit_code == 0, chip.fault
    assert chip.time_s - settled_s == pytest.approx(120000 / 149_995_520, abs=40e-6)


def test_timer_interrupt_enters_the_vector(tmp_path: Path) -> None:
    source = (
        """
fc_main:
    la t0, vectors
    csrw mtvec, t0
    li t0, 0x1B200400
    li t1, 1000
    sw t1, 0x10(t0)
    li t1, 0x15            # enable, event, clear on match
    sw t1, 0(t0)
    li t0, 0x00204000
    li t1, 0x400
    sw t1, 0x0C(t0)
    csrw mstatus, 8
    li s0, 0
1:  wfi
    li t1, 3
    bne s0, t1, 1b
    csrr a0, mcause
    andi a0, a0, 31
    j exit_program
    .balign 256
vectors:
    .rept 10
    j bad
    .endr
    j tick
bad:
    li a0, 99
    j exit_program
tick:
    addi s0, s0, 1
    mret
"""
        + PES_SLEEP
    )
    chip = _run(tmp_path, source.replace("csrw mstatus, 8", "csrwi mstatus, 8"))
    assert chip.exit_code == 10
    assert chip.time_s == pytest.approx(3 * 1000 / 50e6, rel=0.05)


def test_test_and_set_returns_the_old_value(tmp_path: Path) -> None:
    source = (
        FC_SLEEPS
        + """
pe_main:
    bnez a0, 9f
    li t0, 0x10000040
    li t1, 5
    sw t1, 0(t0)
    li t2, 0x10100040
    lw a0, 0(t2)
    lw a1, 0(t0)
    addi a1, a1, 1         # -1 + 1
    add a0, a0, a1
    j exit_program
9:  j 9b
"""
    )
    assert _run(tmp_path, source).exit_code == 5


FAULTS = {
    "illegal": (".4byte 0", "illegal instruction", None),
    "unmapped": ("li t0, 0x30000000\n lw t1, 0(t0)", "unmapped", 0x30000000),
    "byte access": ("li t0, 0x1A101000\n lbu t1, 0(t0)", "narrow", 0x1A101000),
    "cluster off": ("li t0, 0x10000000\n lw t1, 0(t0)", "off", 0x10000000),
    "gated uart": ("li t0, 0x1A102200\n lw t1, 8(t0)", "clock", 0x1A102208),
    "jump away": ("li t0, 0x1A000080\n jr t0", "fetch", 0x1A000080),
    "elw": ("li t0, 0x1C060000\n p.elw t1, 0(t0)", "p.elw", 0x1C060000),
    "csr": ("csrr t0, 0x123", "control register", 0x123),
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
    chip = _run(tmp_path, source)
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
    source = """
fc_main:
    jal start_cluster
    li t1, 0xC80023C3
    li t2, 9155
    li t0, 0x1A100000
    sw t1, 4(t0)
1:  lw t3, 0(t0)
    bne t3, t2, 1b
    sw t1, 0x14(t0)
2:  lw t3, 0x10(t0)
    bne t3, t2, 2b
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
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
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    assert chip.run(0.05) is Stop.WAITING
    power_w = chip.energy_drain().energy_j / 10e-6
    assert power_w[-100:].mean() == pytest.approx(0.050, rel=0.15)
    chip.idle_until(chip.time_s + 0.001)
    assert chip.energy_drain().energy_j[-50:].mean() / 10e-6 < 0.020
