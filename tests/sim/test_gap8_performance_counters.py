"""The performance counters of the GAP8's cores, against programs counted by hand."""

from __future__ import annotations

from pathlib import Path

from gap8_program import PES_SLEEP, assemble, run_to_exit
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000
CYCLES, INSTRUCTIONS, LOAD_STALL, JUMP_STALL, JUMPS, COMPRESSED = 0, 1, 2, 3, 7, 10
START = "li t0, -1\n csrw 0x7A0, t0\n csrw 0x79F, zero\n csrwi 0x7A1, 1\n"
STOP = "csrw 0x7A1, zero\n"


def _counts(folder: Path, body: str) -> dict[int, int]:
    """All sixteen counters around ``body`` on the FC, without the start and the stop."""
    reads = "".join(f" csrr t0, {0x780 + n}\n sw t0, {4 * n}(s0)\n" for n in range(16))
    source = f"fc_main:\n li s0, {RESULTS}\n{START}{body}\n{STOP}{reads}"
    chip = run_to_exit(folder, source + " li a0, 0\n j exit_program\n" + PES_SLEEP)
    return dict(enumerate(chip.peek_words(RESULTS, 16).tolist()))


def test_jump_register_hazards(tmp_path: Path) -> None:
    """Counted where the register was written by the instruction before; a load is a load stall."""
    counts = _counts(
        tmp_path,
        """
    la t1, 1f
    jr t1                  # written by the addi of la: a hazard
1:  la t1, 2f
    nop
    jr t1                  # one instruction between: none
2:  la t2, 3f
    p.max t1, t2, t2
    jr t1                  # a hazard
3:  la t2, 4f
    sw t2, 64(s0)
    lw t1, 64(s0)
    jr t1                  # waits for the load
4:  jal ra, 5f
    j 6f
5:  ret                    # written by a jump, which empties the pipeline: none
6:  csrr t1, 0x340
    la t1, 7f
    csrw 0x340, t1
    csrr t1, 0x340
    jr t1                  # a hazard
7:  addi zero, zero, 0
    la t1, 8f
    j 9f
9:  jr t1                  # a jump between: none
8:  nop
""",
    )
    assert counts[JUMP_STALL] == 3
    assert counts[LOAD_STALL] == 1
    assert counts[JUMPS] == 10


def test_compressed_instructions(tmp_path: Path) -> None:
    counts = _counts(
        tmp_path,
        """
    li t2, 100
    mv a0, s0
    lui t0, 0x1B200
    addi a1, t0, 0x400
1:  .2byte 1               # c.nop
    .2byte 0x13FD          # c.addi t2, -1
    .2byte 0x4150          # c.lw a2, 4(a0)
    .2byte 0xC150          # c.sw a2, 4(a0)
    .2byte 0x41D0          # c.lw a2, 4(a1): a timer's register, served elsewhere
    bnez t2, 1b
    .2byte 0xA019          # c.j 2f
    nop
2:  nop
""",
    )
    assert counts[COMPRESSED] == 501
    # around the loop: the start, li, mv, lui, addi, c.j, nop
    assert counts[INSTRUCTIONS] == 600 + 7


def test_counters_saturate_or_wrap(tmp_path: Path) -> None:
    """From 100 below the top, 200 instructions and a few."""
    body = """
fc_main:
    li s0, 0x1C070000
    li t0, 2
    csrw 0x7A0, t0         # instructions
    li s1, 3               # counting, saturating
    li s2, -100
    csrw 0x781, s2
    csrw 0x7A1, s1
    .rept 200
    nop
    .endr
    csrr t1, 0x781
    sw t1, 0(s0)
    csrwi 0x7A1, 1         # wrapping from there on
    csrr t1, 0x781
    sw t1, 4(s0)
    csrw 0x781, s2
    .rept 200
    nop
    .endr
    csrr t1, 0x781
    sw t1, 8(s0)
    csrw 0x7A1, zero
    li a0, 0
    j exit_program
"""
    saturated, after_it, wrapped = (
        run_to_exit(tmp_path, body + PES_SLEEP).peek_words(RESULTS, 3).tolist()
    )
    assert saturated == 0xFFFFFFFF
    assert after_it < 4, "the write to PCMR itself, perhaps one more"
    assert 100 <= wrapped <= 102


def test_misa_is_not_there(tmp_path: Path) -> None:
    """No public source gives GAP8's value."""
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate("fc_main:\n csrr t0, misa\n" + PES_SLEEP)))
    assert chip.run(1e-3) is Stop.FAULT
    assert chip.fault is not None and chip.fault.address == 0x301
    assert "control register" in chip.fault.reason
