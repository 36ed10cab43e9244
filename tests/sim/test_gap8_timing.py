"""Cycles against the table measured on the vendor simulator of GAP8 (cluster core 0, warm cache).

Each row runs its body 100 and 200 times in a hardware loop on PE 0 and compares the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import assemble
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000

# name, set-up, body, cycles an iteration (measured)
ROWS = [
    ("nop3", "", "nop; nop; nop", 3),
    ("add_dep3", "", "add t0,t0,t1; add t0,t0,t1; add t0,t0,t1", 3),
    ("lw_indep", "", "lw t0,0(a0); add t2,t1,t1; add t3,t1,t1", 3),
    ("lw_use", "", "lw t0,0(a0); add t2,t0,t1; nop", 4),
    ("lw_nop_use", "", "lw t0,0(a0); nop; add t2,t0,t1", 3),
    ("plw_use", "", "p.lw t0,4(a1!); add t2,t0,t1; nop", 4),
    ("plw_addr_use", "", "p.lw t0,4(a1!); add t2,a1,t1; nop", 3),
    ("plw_plw", "", "p.lw t0,4(a1!); p.lw t1,4(a1!); nop", 3),
    ("lw_lw_addr", "sw a1,0(a1)", "lw t0,0(a1); lw t1,0(t0); nop", 4),
    ("rr_lw", "li t6,4", "p.lw t0,t6(a0); nop; nop", 3),
    ("lb_use", "", "p.lb t0,1(a1!); add t2,t0,t1; nop", 4),
    ("dot1_dep", "", "p.lw t0,4(a1!); p.lw t1,4(a2!); pv.sdotsp.b t2,t0,t1", 4),
    ("dot1_sched", "", "p.lw t1,4(a2!); pv.sdotsp.b t2,t3,t4; p.lw t0,4(a1!)", 3),
    ("dot2_dep", "", "p.lw t0,4(a1!); p.lw t1,4(a2!); pv.sdotsp.b t2,t0,t1; "
     "pv.sdotsp.b t3,t0,t1", 5),
    ("pulpnn_4x2", "", "p.lw s2,4(a1!); p.lw s3,4(a2!); p.lw s4,4(a3!); p.lw s5,4(a4!); "
     "p.lw s6,4(a5!); p.lw s7,4(a7!); pv.sdotusp.b t0,s6,s2; pv.sdotusp.b t1,s6,s3; "
     "pv.sdotusp.b t2,s6,s4; pv.sdotusp.b t3,s6,s5; pv.sdotusp.b t4,s7,s2; "
     "pv.sdotusp.b t5,s7,s3; pv.sdotusp.b t6,s7,s4; pv.sdotusp.b s8,s7,s5", 14),
    ("sdotsp_chain", "", "pv.sdotsp.b t2,t0,t1; pv.sdotsp.b t2,t0,t1; pv.sdotsp.b t2,t0,t1", 3),
    ("dotsp_use", "", "pv.dotsp.b t2,t0,t1; add t3,t2,t1; nop", 3),
    ("mac_chain", "", "p.mac t2,t0,t1; p.mac t2,t0,t1; p.mac t2,t0,t1", 3),
    ("mul_indep", "", "mul t2,t0,t1; nop; nop", 3),
    ("mul_use", "", "mul t2,t0,t1; add t3,t2,t2; nop", 4),
    ("mul_nop_use", "", "mul t2,t0,t1; nop; add t3,t2,t2", 3),
    ("mulh", "", "mulh t2,t0,t1; nop; nop", 7),
    ("mulhu", "", "mulhu t2,t0,t1; nop; nop", 7),
    ("muls_use", "", "p.muls t2,t0,t1; add t3,t2,t2; nop", 3),
    ("mulsrn_use", "", "p.mulsrn t2,t0,t1,4; add t3,t2,t2; nop", 3),
    ("addn_use", "", "p.addn t2,t0,t1,4; add t3,t2,t2; nop", 3),
    ("div_by_1", "li t1,1", "div t2,t0,t1; nop; nop", 36),
    ("div_by_3", "li t1,3", "div t2,t0,t1; nop; nop", 35),
    ("div_by_7", "li t1,7", "div t2,t0,t1; nop; nop", 34),
    ("div_by_100", "li t1,100", "div t2,t0,t1; nop; nop", 30),
    ("div_by_1000000", "li t1,1000000", "div t2,t0,t1; nop; nop", 17),
    ("div_by_0", "li t1,0", "div t2,t0,t1; nop; nop", 36),
    ("div_by_m1", "li t1,-1", "div t2,t0,t1; nop; nop", 35),
    ("div_by_m7", "li t1,-7", "div t2,t0,t1; nop; nop", 33),
    ("div_by_min", "li t1,0x80000000", "div t2,t0,t1; nop; nop", 4),
    ("divu_by_7", "li t1,7", "divu t2,t0,t1; nop; nop", 34),
    ("rem_by_7", "li t1,7", "rem t2,t0,t1; nop; nop", 34),
    ("divu_use", "li t1,7", "divu t2,t0,t1; add t3,t2,t2; nop", 34),
    ("clip", "", "p.clip t2,t0,8; p.clipu t3,t0,9; nop", 3),
    ("maxmin", "", "p.max t2,t0,t1; p.min t3,t0,t1; nop", 3),
    ("extract_insert", "", "p.extract t2,t0,7,8; p.insert t3,t0,7,8; p.bset t4,t0,3,2", 3),
    ("pvops", "", "pv.add.b t2,t0,t1; pv.max.b t3,t2,t1; pv.sra.h t4,t3,t1", 3),
    ("pvpack", "", "pv.packlo.b t2,t0,t1; pv.packhi.b t2,t0,t1; pv.shuffle2.b t3,t0,t1", 3),
    ("sw", "", "sw t0,0(a0); nop; nop", 3),
    ("sw_sw", "", "sw t0,0(a0); sw t0,4(a0); nop", 3),
    ("psw", "", "p.sw t0,4(a1!); nop; nop", 3),
    ("sw_lw_same", "", "sw t0,0(a0); lw t1,0(a0); nop", 3),
    ("lw_sw_use", "", "lw t1,0(a0); sw t1,4(a0); nop", 4),
    ("lw_misal", "", "lw t1,1(a0); nop; nop", 5),
    ("lw_misal_use", "", "lw t1,1(a0); add t2,t1,t1; nop", 6),
    ("sw_misal", "", "sw t1,1(a0); nop; nop", 5),
    ("lh_cross", "", "lh t1,3(a0); nop; nop", 5),
    ("lh_in", "", "lh t1,1(a0); nop; nop", 3),
    ("csrr_pccr", "", "csrr t0,0x780; nop; nop", 3),
    ("csrr_mhartid", "", "csrr t0,0xf14; nop; nop", 3),
    ("csrw_mscratch", "", "csrw mscratch,t0; nop; nop", 3),
    ("jal", "", "j 1f; nop; 1: nop; nop", 4),
    ("jalr_call", "", "jal t3,f_ret; nop; nop", 6),
    ("branch_taken", "", "beq x0,x0,1f; nop; 1: nop; nop", 5),
    ("branch_ntaken", "", "bne x0,x0,1f; nop; 1: nop; nop", 4),
    ("branch_ld_dep", "li t1,0x123; sw x0,0(a0)", "lw t0,0(a0); beq t0,t1,1f; nop; 1: nop", 5),
    ("bnez_backloop", "", "li t5,10; 1: addi t5,t5,-1; bnez t5,1b; nop", 40),
    ("bneimm_ntaken", "", "p.bneimm x0,0,8; nop; nop; nop", 4),
    ("hwloop_nested1", "", "lp.setupi x0,1,8; nop; nop; nop; nop", 5),
    ("hwloop_nested2", "", "lp.setupi x0,2,12; nop; nop; nop; nop", 8),
    ("hwloop_nested10", "", "lp.setupi x0,10,12; nop; nop; nop; nop", 32),
    ("hwloop_long_setup10", "", "lp.starti x0,12; lp.endi x0,16; lp.counti x0,10; nop; nop; "
     "nop; nop", 34),
    ("lw_L2", "", "lw t0,0(a6); nop; nop", 11),
    ("lw_L2_use", "", "lw t0,0(a6); add t1,t0,t0; nop", 12),
    ("sw_L2", "", "sw t0,0(a6); nop; nop", 11),
    ("lw_periph_timer", "li s9,0x00204200", "lw t0,0(s9); nop; nop", 3),
    ("lw_L1alias", "li s9,0x100", "lw t0,0(s9); nop; nop", 3),
]  # fmt: skip


def _block(index: int, setup: str, body: str) -> str:
    size = 4 * len([part for part in body.split(";") if part.strip()])
    text = "".join(part + "\n" for part in setup.split(";"))
    measured = body.replace(";", "\n")
    # two passes: the first one warms the instruction cache
    return f"""
    li gp, 2
7:
    li a0, 0x10000400
    li a1, 0x10000800
    li a2, 0x10001804
    li a3, 0x10002808
    li a4, 0x1000380C
    li a5, 0x10004810
    li a7, 0x10005814
    li a6, 0x1C060000
    li t0, 0x12345678
    li t1, 0x01020304
    mv t3, t0
    mv t4, t0
    {text}
    li s10, 10
    lp.setup x1,s10,{size}
    {measured}
    nop
    li s10, 100
    csrr s11, 0x780
    lp.setup x1,s10,{size}
    {measured}
    csrr s8, 0x780
    sub s11, s8, s11
    li a1, 0x10000800
    li a2, 0x10001804
    li s10, 200
    csrr s0, 0x780
    lp.setup x1,s10,{size}
    {measured}
    csrr s8, 0x780
    sub s0, s8, s0
    sub s0, s0, s11
    li s1, {RESULTS + 4 * index}
    sw s0, 0(s1)
    addi gp, gp, -1
    bnez gp, 7b
"""


PROGRAM = """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    sw zero, 0(t0)
    .4byte 0x0382E303
f_ret:
    jr t3
pe_main:
    beqz a0, 1f
    li t0, 0x00204000
    sw zero, 0(t0)
    .4byte 0x0382E303
1:  li t0, 1
    csrw 0x7A0, t0
    csrw 0x7A1, t0
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    blocks = "".join(_block(i, row[1], row[2]) for i, row in enumerate(ROWS))
    source = translate(PROGRAM + blocks + "\n    li a0, 0\n    j exit_program\n")
    chip = Gap8()
    chip.load_elf(assemble(tmp_path_factory.mktemp("timing"), source))
    assert chip.run(0.1) is Stop.EXITED, chip.fault
    return chip.peek_words(RESULTS, len(ROWS)).tolist()


@pytest.mark.parametrize("index", range(len(ROWS)), ids=[row[0] for row in ROWS])
def test_cycles_per_iteration(measured: list[int], index: int) -> None:
    assert measured[index] / 100 == pytest.approx(ROWS[index][3], abs=0.05)


def parallel(folder: Path, body: str, setup: str, iterations: int) -> list[int]:
    """Cycles each of the eight cores takes for a loop they start together."""
    size = 4 * len([part for part in body.split(";") if part.strip()])
    source = f"""
fc_main:
    jal start_cluster
    li t0, 0x00204000
    sw zero, 0(t0)
    .4byte 0x0382E303
pe_main:
    mv s11, a0
    bnez a0, 1f
    jal init_barrier
1:  jal listen_barrier
    li t0, 1
    csrw 0x7A0, t0
    csrw 0x7A1, t0
    li s9, 2
7:
    {setup.replace(";", chr(10))}
    jal barrier
    li s10, {iterations}
    csrr s8, 0x780
    lp.setup x1,s10,{size}
    {body.replace(";", chr(10))}
    csrr s7, 0x780
    addi s9, s9, -1
    bnez s9, 7b
    sub s7, s7, s8
    li t0, {RESULTS}
    slli t1, s11, 2
    add t0, t0, t1
    sw s7, 0(t0)
    jal barrier
    bnez s11, 8f
    li a0, 0
    j exit_program
8:  j 8b
"""
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(source)))
    assert chip.run(0.1) is Stop.EXITED, chip.fault
    return chip.peek_words(RESULTS, 8).tolist()


# body, set-up (core number in s11), iterations, cycles measured on the vendor simulator, tolerance
PARALLEL = {
    "same_word": ("lw t0,0(a0)", "li a0,0x10000100", 1000, 8000, 16),
    "same_bank": ("lw t0,0(a0)", "li a0,0x10000100; slli t0,s11,6; add a0,a0,t0", 1000, 8000, 16),
    "different_banks": ("lw t0,0(a0); nop", "li a0,0x10000100; slli t0,s11,2; add a0,a0,t0",
                        1000, 2002, 4),
    "store_same_bank": ("sw t0,0(a0)", "li a0,0x10000100; slli t1,s11,6; add a0,a0,t1", 1000,
                        8000, 16),
    "stream_same_start": ("p.lw t0,4(a0!); nop", "li a0,0x10000100", 1000, 2005, 12),
    "l2": ("lw t0,0(a6); nop", "li a6,0x1C060000", 200, 2470, 60),
}  # fmt: skip


@pytest.mark.parametrize("name", PARALLEL)
def test_eight_cores(name: str, tmp_path: Path) -> None:
    body, setup, iterations, cycles, tolerance = PARALLEL[name]
    for taken in parallel(tmp_path, body, setup, iterations):
        assert taken == pytest.approx(cycles, abs=tolerance)
