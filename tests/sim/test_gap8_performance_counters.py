"""The performance counters of the GAP8's cores, against programs counted by hand.

On any target, see docs/instruction-tests.md. One event a run: a chip may have one counter for all.
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from targets import Target

INSTRUCTIONS, LOAD_STALL, JUMP_STALL, JUMPS, COMPRESSED = 1, 2, 3, 7, 10


def _counted(name: str, body: str) -> str:
    """A program on the control core that counts the events of a0; all counters in ``results``."""
    reads = "".join(f"    csrr t0, {0x780 + n}\n    sw t0, {4 * n}(s0)\n" for n in range(16))
    clear = "    csrw 0x7A1, zero\n    csrw 0x79F, zero\n"
    start = f"{clear}    csrw 0x7A0, a0\n    csrwi 0x7A1, 1\n"
    end = f"    csrw 0x7A1, zero\n{reads}    j stop\n"
    return f"{name}:\n    la s0, results\n{start}{body}{end}"


HAZARDS = """
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
"""
SHORT = """
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
"""
# Instructions from 100 below the top: 200 and a few while the counter saturates (a0), what it
# counts when it wraps again (a1), 200 and a few wrapping (a2).
TOP = """
top:
    li t0, 2
    csrw 0x7A0, t0
    li s1, 3               # counting, saturating
    li s2, -100
    csrw 0x781, s2
    csrw 0x7A1, s1
    .rept 200
    nop
    .endr
    csrr a0, 0x781
    csrwi 0x7A1, 1         # wrapping from there on
    csrr a1, 0x781
    csrw 0x781, s2
    .rept 200
    nop
    .endr
    csrr a2, 0x781
    csrw 0x7A1, zero
    j stop
"""
SOURCE = _counted("hazards", HAZARDS) + _counted("short", SHORT) + TOP


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("counters"))


def counts(programs: Gap8Programs, name: str, *events: int) -> tuple[int, ...]:
    """How often each event came, without the start and the stop."""
    seen = []
    for event in events:
        programs.run(name, a0=1 << event)
        seen.append(programs.words(16)[event])
    return tuple(seen)


def test_jump_register_hazards(programs: Gap8Programs) -> None:
    """Counted where the register was written by the instruction before; a load is a load stall."""
    assert counts(programs, "hazards", JUMP_STALL, LOAD_STALL, JUMPS) == (3, 1, 10)


def test_compressed_instructions(programs: Gap8Programs) -> None:
    """Around the loop: the start, li, mv, lui, addi, c.j, nop."""
    assert counts(programs, "short", COMPRESSED, INSTRUCTIONS) == (501, 600 + 7)


def test_counters_saturate_or_wrap(programs: Gap8Programs) -> None:
    programs.run("top")
    saturated, after_it, wrapped = programs.results("a0", "a1", "a2")
    assert saturated == 0xFFFFFFFF
    assert after_it < 4, "the write to PCMR itself, perhaps one more"
    assert 100 <= wrapped <= 102
