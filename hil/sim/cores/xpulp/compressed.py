"""RVC: a 16-bit instruction -> the 32-bit one it stands for (RISC-V unprivileged spec, chapter C).

Floating-point forms do not exist on GAP8 and expand to 0, which no encoding matches.
"""

from __future__ import annotations


def _bits(half: int, high: int, low: int) -> int:
    return (half >> low) & ((1 << (high - low + 1)) - 1)


def _i_type(imm: int, rs1: int, funct3: int, rd: int, opcode: int) -> int:
    return ((imm & 0xFFF) << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode


def _s_type(imm: int, rs2: int, rs1: int, funct3: int) -> int:
    return (
        (((imm >> 5) & 0x7F) << 25)
        | (rs2 << 20)
        | (rs1 << 15)
        | (funct3 << 12)
        | ((imm & 31) << 7)
        | 0x23
    )


def _r_type(funct7: int, rs2: int, rs1: int, funct3: int, rd: int) -> int:
    return (funct7 << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x33


def _imm6(half: int) -> int:
    """The 6-bit signed immediate of quadrant 1 as 12 bits."""
    imm = (_bits(half, 12, 12) << 5) | _bits(half, 6, 2)
    return (imm ^ 32) - 32


def _jump(half: int, rd: int) -> int:
    """c.j and c.jal: an 11-bit offset as a J-type word."""
    imm = (_bits(half, 12, 12) << 11) | (_bits(half, 11, 11) << 4) | (_bits(half, 10, 9) << 8)
    imm |= (_bits(half, 8, 8) << 10) | (_bits(half, 7, 7) << 6) | (_bits(half, 6, 6) << 7)
    imm |= (_bits(half, 5, 3) << 1) | (_bits(half, 2, 2) << 5)
    imm = (imm ^ 0x800) - 0x800
    word = (((imm >> 20) & 1) << 31) | (((imm >> 1) & 0x3FF) << 21)
    word |= (((imm >> 11) & 1) << 20) | (((imm >> 12) & 0xFF) << 12)
    return word | (rd << 7) | 0x6F


def _branch(half: int, funct3: int) -> int:
    """c.beqz and c.bnez as a B-type word against x0."""
    imm = (_bits(half, 12, 12) << 8) | (_bits(half, 11, 10) << 3) | (_bits(half, 6, 5) << 6)
    imm |= (_bits(half, 4, 3) << 1) | (_bits(half, 2, 2) << 5)
    imm = (imm ^ 0x100) - 0x100
    word = (((imm >> 12) & 1) << 31) | (((imm >> 5) & 0x3F) << 25)
    word |= (((imm >> 1) & 15) << 8) | (((imm >> 11) & 1) << 7)
    return word | ((8 + _bits(half, 9, 7)) << 15) | (funct3 << 12) | 0x63


def _quadrant0(half: int) -> int:
    funct3 = half >> 13
    rd, rs1 = 8 + _bits(half, 4, 2), 8 + _bits(half, 9, 7)
    if funct3 == 0:
        imm = (_bits(half, 12, 11) << 4) | (_bits(half, 10, 7) << 6)
        imm |= (_bits(half, 6, 6) << 2) | (_bits(half, 5, 5) << 3)
        return _i_type(imm, 2, 0, rd, 0x13) if imm != 0 else 0
    offset = (_bits(half, 12, 10) << 3) | (_bits(half, 6, 6) << 2) | (_bits(half, 5, 5) << 6)
    if funct3 == 2:
        return _i_type(offset, rs1, 2, rd, 0x03)
    if funct3 == 6:
        return _s_type(offset, rd, rs1, 2)
    return 0


def _quadrant1_arithmetic(half: int) -> int:
    """c.srli, c.srai, c.andi, c.sub, c.xor, c.or, c.and on the eight common registers."""
    rd = 8 + _bits(half, 9, 7)
    kind = _bits(half, 11, 10)
    if kind == 2:
        return _i_type(_imm6(half), rd, 7, rd, 0x13)
    if kind < 2:
        if half & 0x1000:
            return 0  # shift amounts over 31 are reserved on RV32
        return _i_type(_bits(half, 6, 2) | (0x400 if kind == 1 else 0), rd, 5, rd, 0x13)
    if half & 0x1000:
        return 0
    rs2 = 8 + _bits(half, 4, 2)
    which = _bits(half, 6, 5)
    if which == 0:
        return _r_type(0x20, rs2, rd, 0, rd)
    funct3 = 4 if which == 1 else 6 if which == 2 else 7
    return _r_type(0, rs2, rd, funct3, rd)


def _quadrant1(half: int) -> int:
    funct3 = half >> 13
    rd = _bits(half, 11, 7)
    if funct3 == 0:
        return _i_type(_imm6(half), rd, 0, rd, 0x13)
    if funct3 == 1:
        return _jump(half, 1)
    if funct3 == 2:
        return _i_type(_imm6(half), 0, 0, rd, 0x13)
    if funct3 == 3:
        if rd == 2:
            imm = (_bits(half, 12, 12) << 9) | (_bits(half, 6, 6) << 4) | (_bits(half, 5, 5) << 6)
            imm |= (_bits(half, 4, 3) << 7) | (_bits(half, 2, 2) << 5)
            imm = (imm ^ 0x200) - 0x200
            return _i_type(imm, 2, 0, 2, 0x13) if imm != 0 else 0
        imm = _imm6(half)
        return ((imm & 0xFFFFF) << 12) | (rd << 7) | 0x37 if imm != 0 else 0
    if funct3 == 4:
        return _quadrant1_arithmetic(half)
    if funct3 == 5:
        return _jump(half, 0)
    return _branch(half, funct3 - 6)


def _quadrant2(half: int) -> int:
    funct3 = half >> 13
    rd, rs2 = _bits(half, 11, 7), _bits(half, 6, 2)
    if funct3 == 0:
        return _i_type(rs2, rd, 1, rd, 0x13) if not half & 0x1000 else 0
    if funct3 == 2:
        offset = (_bits(half, 12, 12) << 5) | (_bits(half, 6, 4) << 2) | (_bits(half, 3, 2) << 6)
        return _i_type(offset, 2, 2, rd, 0x03) if rd != 0 else 0
    if funct3 == 6:
        offset = (_bits(half, 12, 9) << 2) | (_bits(half, 8, 7) << 6)
        return _s_type(offset, rs2, 2, 2)
    if funct3 != 4:
        return 0
    if rs2 != 0:
        return _r_type(0, rs2, rd if half & 0x1000 else 0, 0, rd)  # c.add, c.mv
    if rd != 0:
        return _i_type(0, rd, 0, 1 if half & 0x1000 else 0, 0x67)  # c.jalr, c.jr
    return 0x00100073 if half & 0x1000 else 0  # c.ebreak


def expand(half: int) -> int:
    """The 32-bit word a compressed instruction stands for, 0 when it is illegal on RV32IMC."""
    quadrant = half & 3
    if quadrant == 0:
        return _quadrant0(half)
    if quadrant == 1:
        return _quadrant1(half)
    return _quadrant2(half)
