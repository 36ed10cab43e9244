"""The GAP8's cluster: events, barriers, dispatch, mutex, test-and-set, MCHAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gap8_program import FC_SLEEPS, assemble, run_to_exit
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000


def test_mutex_and_software_event(tmp_path: Path) -> None:
    """Eight cores add their number ten times under the mutex; PE 0 tells the FC."""
    chip = run_to_exit(
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
    times = run_to_exit(tmp_path, source).peek_words(RESULTS, 16).astype(np.int64).reshape(8, 2)
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
    words = run_to_exit(tmp_path, source).peek_words(RESULTS, 8)
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
    chip = run_to_exit(tmp_path, source)
    assert chip.exit_code == pytest.approx(cycles, abs=7)


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
    assert run_to_exit(tmp_path, source).exit_code == 5


@pytest.mark.parametrize(("store", "address"), [("sw", 0x10100042), ("sh", 0x1010FFFF)])
def test_a_misaligned_store_to_test_and_set_is_a_fault(
    tmp_path: Path, store: str, address: int
) -> None:
    body = f"pe_main:\n li t0, {address}\n {store} t0, 0(t0)\n j pe_main\n"
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(FC_SLEEPS + body)))
    assert chip.run(0.05) is Stop.FAULT
    assert chip.fault is not None and chip.fault.address == address
    assert "misaligned" in chip.fault.reason
