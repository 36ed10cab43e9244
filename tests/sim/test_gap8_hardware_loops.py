"""Hardware loops of the GAP8: how often they turn, and the rules they must keep.

Turns follow from the counts; the rules are those of the RI5CY user manual (loop_check.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import FC_SLEEPS, PES_SLEEP, assemble, run_to_exit
from xpulp_assembler import translate

from hil.core.elf import load_segments
from hil.sim.chip import Fault, Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000
TURNS = 10
# Last instructions of a body, each served elsewhere in the model.
LAST = {
    "timer": "lw t1, 8(s1)",
    "timer, post-increment": "p.lw t1, 0(s1!)",
    "GPIO": "sw t1, 8(s2)",
    "character output": "sb t5, 0(s3)",
    "FC memory": "lw t1, 0(s4)",
    "misaligned": "lw t1, 1(s5)",
    "event unit": "sw zero, 0(s6)",
    "control register": "csrr t1, 0x780",
    "nop": "nop",
}
BASES = """
    li s1, 0x1B200408
    addi s1, s1, -8
    li s2, 0x1A101000
    li s3, 0x1A110000
    li s4, 0x1B000000
    li s5, 0x1C060000
    li s6, 0x00204000
    li t5, 65
"""


def _single(last: str) -> str:
    return f"""
    li t4, 0
    li t3, {TURNS}
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    {last}
    sw t4, 0(s0)
    addi s0, s0, 4
"""


def _nested(last: str) -> str:
    """3 times 4 turns, with the instruction last in both bodies."""
    return f"""
    li t4, 0
    li t6, 0
    li t2, 3
    li t3, 4
    lp.setup x1, t2, 32
    addi t6, t6, 1
    nop
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    {last}
    nop
    {last}
    sw t4, 0(s0)
    sw t6, 4(s0)
    addi s0, s0, 8
"""


def test_any_access_may_be_the_last_of_a_body(tmp_path: Path) -> None:
    bodies = "".join(_single(last) + _nested(last) for last in LAST.values())
    source = f"fc_main:\n li s0, {RESULTS}\n{BASES}{bodies}\n li a0, 0\n j exit_program\n"
    chip = run_to_exit(tmp_path, source + PES_SLEEP)
    turns = chip.peek_words(RESULTS, 3 * len(LAST)).reshape(-1, 3).tolist()
    assert dict(zip(LAST, turns, strict=True)) == {last: [TURNS, 12, 3] for last in LAST}
    assert chip.printed == b"A" * (TURNS + 12 + 3)


def test_waiting_for_a_barrier_may_be_the_last_of_a_body(tmp_path: Path) -> None:
    """Eight cores, 2 times (3 barriers and another one); PE 0 comes late to each."""
    source = (
        FC_SLEEPS
        + f"""
pe_main:
    mv s11, a0
    bnez a0, 1f
    jal init_barrier
1:  jal listen_barrier
    jal barrier
    li t0, 0x00204200
    li t4, 0
    li t6, 0
    li t2, 40
    bnez s11, 2f
    li t2, 4000000
2:
    lp.setupi x1, 2, 36
    addi t6, t6, 1
    nop
    lp.setupi x0, 3, 12
    addi t4, t4, 1
    divu t3, t2, t6
    p.elw t1, 0x1C(t0)
    nop
    divu t3, t6, t2
    p.elw t1, 0x1C(t0)
    li t0, {RESULTS}
    slli t1, s11, 3
    add t0, t0, t1
    sw t4, 0(t0)
    sw t6, 4(t0)
    jal barrier
    bnez s11, 8f
    li a0, 0
    j exit_program
8:  j 8b
"""
    )
    chip = run_to_exit(tmp_path, source)
    assert chip.peek_words(RESULTS, 16).reshape(8, 2).tolist() == [[6, 2]] * 8


def test_a_blocked_transfer_request_may_be_the_last_of_a_body(tmp_path: Path) -> None:
    """Twenty MCHAN requests, sixteen are granted at once; PE 1 frees them later. And test-and-set:
    twice two turns."""
    source = (
        FC_SLEEPS
        + f"""
pe_main:
    li t0, 1
    beq a0, t0, free
    bnez a0, 9f
    li t0, 32              # event 5: loads
    csrw 0x7A0, t0
    li s1, 0x00204400
    li t4, 0
    li t3, 20
    csrw 0x785, zero
    csrwi 0x7A1, 1
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    lw t1, 0(s1)
    csrr t5, 0x785
    li s2, 0x10100040
    li t6, 0
    lp.setupi x1, 2, 32
    nop
    lp.setupi x0, 2, 12
    addi t6, t6, 1
    nop
    lw t1, 0(s2)
    nop
    nop
    lw t1, 0(s2)
    li t0, {RESULTS}
    sw t4, 0(t0)
    sw t5, 4(t0)
    sw t6, 8(t0)
    li a0, 0
    j exit_program
free:
    li t0, 1000
1:  addi t0, t0, -1
    bnez t0, 1b
    li s1, 0x00204400
    li t1, 0xFFFF
    sw t1, 4(s1)
9:  j 9b
"""
    )
    chip = run_to_exit(tmp_path, source)
    assert chip.peek_words(RESULTS, 3).tolist() == [20, 20, 4]


def test_an_interrupted_wait_ends_its_body_once(tmp_path: Path) -> None:
    """The timer interrupts each p.elw; its handler raises the event that the p.elw waits for."""
    source = (
        f"""
fc_main:
    la t0, vectors
    csrw mtvec, t0
    li t0, 0x1B200400
    li t1, 1000
    sw t1, 0x10(t0)
    li t1, 0x15            # enable, event, clear on match
    sw t1, 0(t0)
    li t0, 0x00204000
    li t1, 0x400           # timer: interrupt
    sw t1, 0x0C(t0)
    li t1, 1               # software event 0: event
    sw t1, 0(t0)
    li s0, 0
    li s1, 0x1B200E00
    li t4, 0
    li t3, 5
    csrwi mstatus, 8
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    p.elw t1, 0x3C(t0)
    csrwi mstatus, 0
    li t0, {RESULTS}
    sw t4, 0(t0)
    sw s0, 4(t0)
    li a0, 0
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
    sw zero, 0(s1)
    mret
"""
        + PES_SLEEP
    )
    chip = run_to_exit(tmp_path, source)
    assert chip.exit_code == 0 and chip.peek_words(RESULTS, 2).tolist() == [5, 5]


# name: (code, what the fault says, instructions from the label to the one it names)
SHORT, ALIGNED, RVC = "two instructions", "word-aligned", "must not be compressed"
LAST_JUMPS, INSIDE = "must not be a jump or branch", "an instruction of its body"
OVERLAP, IN_L2 = "hardware loops overlap", "must lie in L2"
BROKEN = {
    "one_instruction": ("lp.setup x0, t3, 4; addi t4, t4, 1", SHORT, 0),
    "end_before_start": ("lp.starti x1, 16; lp.endi x1, 8; lp.counti x1, 2; nop; nop", SHORT, 3),
    "lp_count": ("lp.starti x0, 12; lp.endi x0, 8; .4byte 0x000E207B; nop; nop", SHORT, 3),
    "halfword_start": (".2byte 1; lp.setup x0, t3, 12; nop; nop; nop; .2byte 1", ALIGNED, 0.5),
    "halfword_end": ("lp.setup x0, t3, 10; nop; .2byte 1; .2byte 1; nop", ALIGNED, 0),
    "compressed_first": ("lp.setup x0, t3, 12; .2byte 1; .2byte 1; nop; nop", RVC, 0),
    "compressed_last": ("lp.setup x0, t3, 12; nop; nop; .2byte 1; .2byte 1", RVC, 0),
    "end_inside": (
        "lp.setup x0, t3, 12; nop; .2byte 1; addi t0, t1, 0; nop; .2byte 1",
        INSIDE,
        0,
    ),
    "branch_last": ("lp.setup x0, t3, 12; nop; nop; beqz zero, 2f; 2: nop", LAST_JUMPS, 0),
    "jump_last": ("lp.setupi x1, 2, 12; nop; nop; j 2f; 2: nop", LAST_JUMPS, 0),
    "return_last": ("lp.setup x0, t3, 12; nop; nop; jr ra", LAST_JUMPS, 0),
    "mret_last": ("lp.setup x0, t3, 12; nop; nop; mret", LAST_JUMPS, 0),
    "by_registers": (
        "la s4, 3f; csrw 0x7B4, s4; addi s4, s4, 8; csrw 0x7B5, s4; csrwi 0x7B6, 2; "
        "3: nop; nop; j 2f; 2: nop",
        LAST_JUMPS,
        5,
    ),
    "start_in_l1": (
        "la s5, 3f; csrw 0x7B4, s4; csrw 0x7B5, s5; csrwi 0x7B6, 2; 3: nop; nop",
        IN_L2,
        5,
    ),
    "same_end": (
        "lp.setup x1, t3, 20; nop; lp.setup x0, t3, 12; nop; nop; nop; nop",
        OVERLAP,
        2,
    ),
    "crossing": (
        "lp.setup x1, t3, 16; nop; lp.setup x0, t3, 16; nop; nop; nop; nop",
        OVERLAP,
        2,
    ),
    "one_inside_zero": (
        "lp.setup x0, t3, 28; nop; lp.setup x1, t3, 12; nop; nop; nop; nop; nop",
        OVERLAP,
        2,
    ),
    # armed before its addresses are written: refused at the first jump back, by the last one
    "count_first": (
        "lp.counti x0, 3; lp.starti x0, 8; lp.endi x0, 12; .2byte 1; .2byte 1; nop; nop",
        RVC,
        5,
    ),
}
WRITTEN = """
    li t4, 0
    lp.counti x0, 7        # the count first
    lp.starti x0, 8
    lp.endi x0, 12
    addi t4, t4, 1
    nop
    nop
    sw t4, 0(s0)
    li t4, 0
    la t0, 1f
    csrw 0x7B4, t0
    addi t0, t0, 8
    csrw 0x7B5, t0
    csrwi 0x7B6, 6
    j 1f
    .balign 4
1:  addi t4, t4, 1
    nop
    nop
    sw t4, 4(s0)
    csrr t0, 0x7B6
    sw t0, 8(s0)
    li t4, 0
    lp.setup x0, t3, 16    # left early, its count stays
    nop
    addi t4, t4, 1
    beq t4, t4, 2f
    nop
    nop
2:
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    nop
    sw t4, 12(s0)
    li t4, 0
    lp.setupi x0, 0, 12    # no count, no loop
    addi t4, t4, 1
    nop
    nop
    sw t4, 16(s0)
    li a0, 0
    j exit_program
"""
BEYOND = """
    li t4, 0
    lp.setup x0, t3, 8     # two instructions
    addi t4, t4, 1
    nop
    lp.setup x0, t3, 16    # compressed ones within
    addi t4, t4, 1
    .2byte 1
    .2byte 1
    nop
    nop
    lp.setup x1, t3, 24    # ends one instruction apart
    nop
    lp.setup x0, t3, 12
    addi t4, t4, 1
    nop
    nop
    nop
    sw t4, 0(s0)
    li a0, 0
    j exit_program
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gap8, dict[str, int]]:
    """A chip with all programs of this file's second half, and their addresses."""
    named = {name: code for name, (code, _, _) in BROKEN.items()}
    named |= {"written": WRITTEN, "beyond": BEYOND}
    source = f"""
fc_main:
    la t0, chosen
    lw t0, 0(t0)
    li s0, {RESULTS}
    li s4, 0x10000000
    li t3, 3
    jr t0
    .balign 4
chosen: .4byte 0
"""
    for name, code in named.items():
        source += f"    .balign 4\n    .globl {name}\n{name}:\n" + code.replace(";", "\n")
        source += "\n    ebreak\n"
    elf = assemble(tmp_path_factory.mktemp("loops"), translate(source + PES_SLEEP))
    chip = Gap8()
    chip.load_elf(elf)
    return chip, load_segments(elf).symbols


def _start(cases: tuple[Gap8, dict[str, int]], name: str) -> tuple[Gap8, int]:
    chip, symbols = cases
    chip.reset()
    chip.poke_bytes(symbols["chosen"], symbols[name].to_bytes(4, "little"))
    return chip, symbols[name]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_a_fault(cases: tuple[Gap8, dict[str, int]], name: str) -> None:
    chip, address = _start(cases, name)
    _, text, instructions = BROKEN[name]
    assert chip.run(1e-3) is Stop.FAULT
    fault = chip.fault
    assert isinstance(fault, Fault) and text in fault.reason, fault
    assert (fault.core, fault.pc) == (8, address + int(4 * instructions))


def test_loops_written_register_by_register(cases: tuple[Gap8, dict[str, int]]) -> None:
    chip, _ = _start(cases, "written")
    assert chip.run(1e-3) is Stop.EXITED, chip.fault
    assert chip.peek_words(RESULTS, 5).tolist() == [7, 6, 0, 4, 1]
    assert chip.counters()["hardware_loops_beyond_manual"] == 0


def test_what_only_the_vendors_simulator_allows_is_counted(
    cases: tuple[Gap8, dict[str, int]],
) -> None:
    chip, _ = _start(cases, "beyond")
    assert chip.run(1e-3) is Stop.EXITED, chip.fault
    assert chip.peek_words(RESULTS, 1).tolist() == [3 + 3 + 9]
    assert chip.counters()["hardware_loops_beyond_manual"] == 2
    assert chip.counters()["hardware_loops_with_close_ends"] == 3


def test_the_fault_names_the_cluster_core(tmp_path: Path) -> None:
    source = (
        FC_SLEEPS
        + """
pe_main:
    li t0, 5
    bne a0, t0, 9f
    lp.setupi x0, 10, 12
    nop
    nop
    j 9f
9:  j 9b
"""
    )
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    assert chip.run(0.05) is Stop.FAULT
    assert chip.fault is not None and chip.fault.core == 5 and LAST_JUMPS in chip.fault.reason
