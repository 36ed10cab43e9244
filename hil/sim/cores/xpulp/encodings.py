"""The encodings GAP8's cores decode: mask, match, operation, operand format.

RV32IMC: RISC-V unprivileged specification. Xpulp: public binutils opcode table of the Xpulpv2 and
Xgap8 subsets (not CORE-V's cv.* nor Xgap9, which moved several of them). Rows are generated
from the regular structure of the opcode space and sorted by opcode and by how specific they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.sim.cores.xpulp import ops

# Operand formats, grouped by value so that the decoder finds the group by comparison.
F_NONE = 0
F_R, F_R1, F_R_ACC, F_I, F_SHIFT, F_CLIP, F_FIELD, F_MULN, F_ADDN, F_ADDN_REG = range(1, 11)
F_LOAD, F_LOAD_POST, F_LOAD_RR, F_LOAD_RR_POST = 20, 21, 22, 23
F_STORE, F_STORE_POST, F_STORE_RR, F_STORE_RR_POST = 24, 25, 26, 27
F_B, F_B_IMM5, F_J, F_U, F_CSR, F_CSR_IMM, F_JALR = 30, 31, 32, 33, 34, 35, 36
F_LP_IMM, F_LP_COUNT, F_LP_SETUP, F_LP_SETUPI = 40, 41, 42, 43
F_PV, F_PV_ONE, F_PV_LANE, F_PV_RAW, F_PV_REG = 50, 51, 52, 53, 54

# Extra bits of packed rows: how imm6 is extended, and whether the old rd is an operand.
PV_SIGNED, PV_UNSIGNED, PV_ACC = 1, 2, 4

# Options of ops.MULN in imm: bits 4:0 shift, then these.
MULN_SIGNED, MULN_HIGH, MULN_ACC, MULN_ROUND = 32, 64, 128, 256
# Options of ops.ADDN in imm: bits 4:0 shift (immediate forms), then these.
ADDN_SUB, ADDN_LOGICAL, ADDN_ROUND, ADDN_REG = 32, 64, 128, 256


@dataclass(frozen=True)
class Encoding:
    """One row: a word belongs to it when ``word & mask == match``."""

    mnemonic: str
    mask: int
    match: int
    op: int
    format: int
    extra: int = 0


_FUNCT3 = 0x0000707F
_FUNCT7 = 0xFE00707F
_UNARY = 0xFFF0707F
_IMM6 = 0xFC00707F
_TOP2 = 0xC000707F


def _base() -> list[Encoding]:
    """RV32I, M, CSR and privileged instructions."""
    rows = [
        Encoding("lui", 0x7F, 0x37, ops.LUI, F_U),
        Encoding("auipc", 0x7F, 0x17, ops.AUIPC, F_U),
        Encoding("jal", 0x7F, 0x6F, ops.JAL, F_J),
        Encoding("jalr", _FUNCT3, 0x67, ops.JALR, F_JALR),
        Encoding("fence", _FUNCT3, 0x0F, ops.FENCE, F_NONE),
        Encoding("fence.i", _FUNCT3, 0x100F, ops.FENCE, F_NONE),
        Encoding("ecall", 0xFFFFFFFF, 0x00000073, ops.ECALL, F_NONE),
        Encoding("ebreak", 0xFFFFFFFF, 0x00100073, ops.EBREAK, F_NONE),
        Encoding("mret", 0xFFFFFFFF, 0x30200073, ops.MRET, F_NONE),
        Encoding("wfi", 0xFFFFFFFF, 0x10500073, ops.WFI, F_NONE),
        Encoding("slli", _FUNCT7, 0x1013, ops.SLL, F_SHIFT),
        Encoding("srli", _FUNCT7, 0x5013, ops.SRL, F_SHIFT),
        Encoding("srai", _FUNCT7, 0x40005013, ops.SRA, F_SHIFT),
    ]
    branches = (ops.BEQ, ops.BNE, None, None, ops.BLT, ops.BGE, ops.BLTU, ops.BGEU)
    names = ("beq", "bne", "", "", "blt", "bge", "bltu", "bgeu")
    rows += [
        Encoding(names[i], _FUNCT3, 0x63 | i << 12, op, F_B)
        for i, op in enumerate(branches)
        if op is not None
    ]
    immediates = [(0, "addi", ops.ADD), (2, "slti", ops.SLT), (3, "sltiu", ops.SLTU)]
    immediates += [(4, "xori", ops.XOR), (6, "ori", ops.OR), (7, "andi", ops.AND)]
    rows += [Encoding(name, _FUNCT3, 0x13 | i << 12, op, F_I) for i, name, op in immediates]
    registers = ("add", "sll", "slt", "sltu", "xor", "srl", "or", "and")
    rows += [
        Encoding(name, _FUNCT7, 0x33 | i << 12, getattr(ops, name.upper()), F_R)
        for i, name in enumerate(registers)
    ]
    rows += [Encoding("sub", _FUNCT7, 0x40000033, ops.SUB, F_R)]
    rows += [Encoding("sra", _FUNCT7, 0x40005033, ops.SRA, F_R)]
    multiplies = ("mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu")
    rows += [
        Encoding(name, _FUNCT7, 0x02000033 | i << 12, getattr(ops, name.upper()), F_R)
        for i, name in enumerate(multiplies)
    ]
    for i, name in ((1, "csrrw"), (2, "csrrs"), (3, "csrrc")):
        op = getattr(ops, name.upper())
        rows.append(Encoding(name, _FUNCT3, 0x73 | i << 12, op, F_CSR))
        rows.append(Encoding(name + "i", _FUNCT3, 0x73 | (i + 4) << 12, op, F_CSR_IMM))
    return rows


def _memory() -> list[Encoding]:
    """Loads and stores: plain, post-increment and register-indexed; p.elw."""
    rows = [Encoding("p.elw", _FUNCT3, 0x6003, ops.ELW, F_LOAD)]
    loads = ((0, "lb", 0x00), (4, "lbu", 0x20), (1, "lh", 0x08), (5, "lhu", 0x28), (2, "lw", 0x10))
    for funct3, name, funct7 in loads:
        op, top = getattr(ops, name.upper()), funct7 << 25
        rows += [
            Encoding(name, _FUNCT3, 0x03 | funct3 << 12, op, F_LOAD),
            Encoding(f"p.{name} post", _FUNCT3, 0x0B | funct3 << 12, op, F_LOAD_POST),
            Encoding(f"p.{name} rr", _FUNCT7, 0x7003 | top, op, F_LOAD_RR),
            Encoding(f"p.{name} rr post", _FUNCT7, 0x700B | top, op, F_LOAD_RR_POST),
        ]
    for funct3, name in ((0, "sb"), (1, "sh"), (2, "sw")):
        op = getattr(ops, name.upper())
        rows += [
            Encoding(name, _FUNCT3, 0x23 | funct3 << 12, op, F_STORE),
            Encoding(f"p.{name} post", _FUNCT3, 0x2B | funct3 << 12, op, F_STORE_POST),
            Encoding(f"p.{name} rr", _FUNCT7, 0x23 | (funct3 + 4) << 12, op, F_STORE_RR),
            Encoding(f"p.{name} rr post", _FUNCT7, 0x2B | (funct3 + 4) << 12, op, F_STORE_RR_POST),
        ]
    return rows


def _loops_and_branches() -> list[Encoding]:
    return [
        Encoding("lp.starti", 0x000FF07F, 0x007B, ops.LP_START, F_LP_IMM),
        Encoding("lp.endi", 0x000FF07F, 0x107B, ops.LP_END, F_LP_IMM),
        Encoding("lp.count", _UNARY, 0x207B, ops.LP_COUNT, F_LP_COUNT),
        Encoding("lp.counti", 0x000FF07F, 0x307B, ops.LP_COUNTI, F_LP_IMM),
        Encoding("lp.setup", _FUNCT3, 0x407B, ops.LP_SETUP, F_LP_SETUP),
        Encoding("lp.setupi", _FUNCT3, 0x507B, ops.LP_SETUPI, F_LP_SETUPI),
        Encoding("p.beqimm", _FUNCT3, 0x2063, ops.BEQ, F_B_IMM5),
        Encoding("p.bneimm", _FUNCT3, 0x3063, ops.BNE, F_B_IMM5),
    ]


def _scalar() -> list[Encoding]:
    """General ALU, bit manipulation and MAC extensions."""
    rows = [Encoding("p.abs", _UNARY, 0x04000033, ops.ABS, F_R1)]
    two = ("slet", "sletu", "min", "minu", "max", "maxu")
    rows += [
        Encoding("p." + name, _FUNCT7, 0x04000033 | (i + 2) << 12, getattr(ops, name.upper()), F_R)
        for i, name in enumerate(two)
    ]
    rows += [Encoding("p.ror", _FUNCT7, 0x08005033, ops.ROR, F_R)]
    one = ("ff1", "fl1", "clb", "cnt", "exths", "exthz", "extbs", "extbz")
    rows += [
        Encoding("p." + name, _UNARY, 0x10000033 | i << 12, getattr(ops, name.upper()), F_R1)
        for i, name in enumerate(one)
    ]
    rows += [
        Encoding("p.clip", _FUNCT7, 0x14001033, ops.CLIP, F_CLIP),
        Encoding("p.clipu", _FUNCT7, 0x14002033, ops.CLIPU, F_CLIP),
        Encoding("p.clipr", _FUNCT7, 0x14005033, ops.CLIP, F_R),
        Encoding("p.clipur", _FUNCT7, 0x14006033, ops.CLIPU, F_R),
        Encoding("p.mac", _FUNCT7, 0x42000033, ops.MAC, F_R_ACC),
        Encoding("p.msu", _FUNCT7, 0x42001033, ops.MSU, F_R_ACC),
    ]
    fields = ("extract", "extractu", "insert", "bclr", "bset")
    for i, name in enumerate(fields):
        op = getattr(ops, name.upper())
        form = F_R_ACC if op == ops.INSERT else F_R
        rows.append(Encoding("p." + name, _TOP2, 0xC0000033 | i << 12, op, F_FIELD))
        rows.append(Encoding(f"p.{name}r", _FUNCT7, 0x80000033 | i << 12, op, form))
    return rows


def _shifted() -> list[Encoding]:
    """Half-word multiplies (opcode 0x5b, funct3 0, 1, 4, 5) and shifted adds (2, 3, 6, 7)."""
    signed, high, acc, rounded = MULN_SIGNED, MULN_HIGH, MULN_ACC, MULN_ROUND
    rows = []
    for top, suffix, flags in ((2, "s", signed), (3, "hhs", signed | high), (0, "u", 0),
                               (1, "hhu", high)):  # fmt: skip
        for funct3, name, more in ((0, "mul", 0), (1, "mac", acc), (4, "mulr", rounded),
                                   (5, "macr", acc | rounded)):  # fmt: skip
            match = 0x5B | funct3 << 12 | top << 30
            rows.append(
                Encoding(f"p.{name}{suffix}n", _TOP2, match, ops.MULN, F_MULN, flags | more)
            )
    sub, logical, round_up, register = ADDN_SUB, ADDN_LOGICAL, ADDN_ROUND, ADDN_REG
    for funct3, name, flags in ((2, "add", 0), (3, "sub", sub), (6, "addr", round_up),
                                (7, "subr", sub | round_up)):  # fmt: skip
        low = 0x5B | funct3 << 12
        rows += [
            Encoding(f"p.{name}n", _TOP2, low, ops.ADDN, F_ADDN, flags),
            Encoding(f"p.{name}un", _TOP2, low | 2 << 30, ops.ADDN, F_ADDN, flags | logical),
            Encoding(f"p.{name}nr", _FUNCT7, low | 1 << 30, ops.ADDN, F_ADDN_REG,
                     flags | register),
            Encoding(f"p.{name}unr", _FUNCT7, low | 3 << 30, ops.ADDN, F_ADDN_REG,
                     flags | logical | register),
        ]  # fmt: skip
    return rows


# funct6 of the pv.* operations that exist in all six forms, with the extension of their imm6.
_PACKED_SIX = (
    (0, "add", PV_SIGNED), (2, "sub", PV_SIGNED), (4, "avg", PV_SIGNED), (6, "avgu", PV_UNSIGNED),
    (8, "min", PV_SIGNED), (10, "minu", PV_UNSIGNED), (12, "max", PV_SIGNED),
    (14, "maxu", PV_UNSIGNED), (16, "srl", PV_SIGNED), (18, "sra", PV_SIGNED),
    (20, "sll", PV_SIGNED), (22, "or", PV_SIGNED), (24, "xor", PV_SIGNED), (26, "and", PV_SIGNED),
    (1, "cmpeq", PV_SIGNED), (3, "cmpne", PV_SIGNED), (5, "cmpgt", PV_SIGNED),
    (7, "cmpge", PV_SIGNED), (9, "cmplt", PV_SIGNED), (11, "cmple", PV_SIGNED),
    (13, "cmpgtu", PV_UNSIGNED), (15, "cmpgeu", PV_UNSIGNED), (17, "cmpltu", PV_UNSIGNED),
    (19, "cmpleu", PV_UNSIGNED), (32, "dotup", PV_UNSIGNED), (34, "dotusp", PV_SIGNED),
    (38, "dotsp", PV_SIGNED), (40, "sdotup", PV_UNSIGNED | PV_ACC),
    (42, "sdotusp", PV_SIGNED | PV_ACC), (46, "sdotsp", PV_SIGNED | PV_ACC),
)  # fmt: skip


def _packed_six() -> list[Encoding]:
    rows = []
    for funct6, name, extra in _PACKED_SIX:
        op, match = getattr(ops, "V_" + name.upper()), 0x57 | funct6 << 26
        for lane, suffix in ((0, "h"), (1, "b")):
            at = match | lane << 12
            rows += [
                Encoding(f"pv.{name}.{suffix}", _FUNCT7, at, op + lane, F_PV, extra),
                Encoding(f"pv.{name}.sc.{suffix}", _FUNCT7, at | 0x4000, op + lane, F_PV, extra),
                Encoding(f"pv.{name}.sci.{suffix}", _IMM6, at | 0x6000, op + lane, F_PV, extra),
            ]
    return rows


def _packed_other() -> list[Encoding]:
    rows = []
    for funct6, name, form, extra in ((30, "extract", F_PV_LANE, 0), (36, "extractu", F_PV_LANE, 0),
                                      (44, "insert", F_PV_LANE, PV_ACC)):  # fmt: skip
        for lane, suffix in ((0, "h"), (1, "b")):
            match = 0x6057 | lane << 12 | funct6 << 26
            op = getattr(ops, "V_" + name.upper()) + lane
            rows.append(Encoding(f"pv.{name}.{suffix}", _IMM6, match, op, form, extra))
    for lane, suffix in ((0, "h"), (1, "b")):
        at = 0x57 | lane << 12
        rows += [
            Encoding(f"pv.abs.{suffix}", _UNARY, at | 28 << 26, ops.V_ABS + lane, F_PV_ONE),
            Encoding(f"pv.shuffle.{suffix}", _FUNCT7, at | 48 << 26, ops.V_SHUFFLE + lane, F_PV),
            Encoding(f"pv.shuffle2.{suffix}", _FUNCT7, at | 50 << 26, ops.V_SHUFFLE2 + lane, F_PV,
                     PV_ACC),
        ]  # fmt: skip
        for funct6, name in ((0, "add"), (2, "sub")):
            for bit, div in ((0, "div2"), (1, "div4")):
                op = getattr(ops, f"V_{name.upper()}_{div.upper()}") + lane
                match = at | 0x2000 | funct6 << 26 | bit << 25
                mnemonic = f"pv.{name}.{suffix}.{div}"
                rows.append(Encoding(mnemonic, _FUNCT7, match, op, F_PV_REG))
    for i, funct6 in enumerate((48, 58, 60, 62)):
        op = ops.V_SHUFFLEI0 + i
        name = f"pv.shufflei{i}.sci.b"
        rows.append(Encoding(name, _IMM6, 0x7057 | funct6 << 26, op, F_PV_RAW))
    return [
        *rows,
        Encoding("pv.shuffle.sci.h", _IMM6, 0xC0006057, ops.V_SHUFFLE_SCI, F_PV_RAW),
        Encoding("pv.pack.h", _FUNCT7, 0xD0000057, ops.V_PACK, F_PV),
        Encoding("pv.packhi.b", _FUNCT7, 0xD8001057, ops.V_PACKHI, F_PV, PV_ACC),
        Encoding("pv.packlo.b", _FUNCT7, 0xE0001057, ops.V_PACKLO, F_PV, PV_ACC),
    ]


def _gap8_only() -> list[Encoding]:
    """Complex multiplies, rotations and Viterbi steps (Xgap8)."""
    return [
        Encoding("pv.pack.h.h", _FUNCT7, 0xD0006057, ops.V_PACK_HH, F_PV_REG),
        Encoding("pv.pack.l.h", _FUNCT7, 0xD0004057, ops.V_PACK, F_PV_REG),
        Encoding("pv.cplxmul.s", _FUNCT7, 0x54000057, ops.V_CPLXMUL, F_PV_REG),
        Encoding("pv.cplxmul.sc.s", _FUNCT7, 0x54004057, ops.V_CPLXMUL, F_PV),
        Encoding("pv.cplxmul.sci.s", _IMM6, 0x54006057, ops.V_CPLXMUL, F_PV, PV_SIGNED),
        Encoding("pv.cplxmul.s.div2", _FUNCT7, 0x54002057, ops.V_CPLXMUL_DIV2, F_PV_REG),
        Encoding("pv.cplxmul.s.div4", _FUNCT7, 0x56002057, ops.V_CPLXMUL_DIV4, F_PV_REG),
        Encoding("pv.subrotmj.h", _FUNCT7, 0x6C000057, ops.V_SUBROTMJ, F_PV_REG),
        Encoding("pv.subrotmj.h.div2", _FUNCT7, 0x6C002057, ops.V_SUBROTMJ_DIV2, F_PV_REG),
        Encoding("pv.subrotmj.h.div4", _FUNCT7, 0x6E002057, ops.V_SUBROTMJ_DIV4, F_PV_REG),
        Encoding("pv.vitop.max", _FUNCT7, 0x64001057, ops.VITOP_MAX, F_PV_REG),
        Encoding("pv.vitop.sel", _FUNCT7, 0x64000057, ops.VITOP_SEL, F_PV_REG),
        Encoding("pv.cplxconj.h", _UNARY, 0x5C000057, ops.V_CPLXCONJ, F_PV_ONE),
    ]


def _specific_first(row: Encoding) -> tuple[int, int, int]:
    return (row.match & 0x7F, -row.mask.bit_count(), row.match)


ENCODINGS: tuple[Encoding, ...] = tuple(
    sorted(
        _base() + _memory() + _loops_and_branches() + _scalar() + _shifted() + _packed_six()
        + _packed_other() + _gap8_only(),
        key=_specific_first,
    )
)  # fmt: skip
