"""The rules that hardware loops must keep on the virtual GAP8: those of the RI5CY user manual
(loop_check.py). How often loops turn is in test_gap8_hardware_loops.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import FC_SLEEPS, PES_SLEEP, assemble
from xpulp_assembler import translate

from hil.core.elf import load_segments
from hil.sim.chip import Fault, Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000
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
PRINTED = """
    li s3, 0x1A110000
    li t5, 65
    lp.setup x0, t3, 12
    nop
    nop
    sb t5, 0(s3)
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
    """A chip with all programs of this file, and their addresses."""
    named = {name: code for name, (code, _, _) in BROKEN.items()}
    named |= {"beyond": BEYOND, "printed": PRINTED}
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


def test_character_output_may_be_the_last_of_a_body(cases: tuple[Gap8, dict[str, int]]) -> None:
    chip, _ = _start(cases, "printed")
    assert chip.run(1e-3) is Stop.EXITED, chip.fault
    assert chip.printed == b"AAA"


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
