"""Instruction word -> one 64-bit decoded record, through a table of encodings.

Decoded record (an int64), from bit 0:

======  =====  ====================================================================
bits    name   meaning
======  =====  ====================================================================
8:0     op     number from ``ops``
13:9    rd     destination register (0: none)
18:14   rs1    first source (0 when unused)
23:19   rs2    second source (0 when unused)
28:24   rs3    third source: old rd of accumulating operations, index of p.s* rs3(rs1)
29      long   1 for a 4-byte instruction, 0 for a compressed one
31:30   mode   second operand: 0 register, 1 imm, 2 half broadcast, 3 byte broadcast;
               loads and stores: 0 rs1+imm, 1 rs1+register,
               2 rs1 then += imm, 3 rs1 then += register
63:32   imm    signed immediate, options or branch offset
======  =====  ====================================================================
"""

from __future__ import annotations

import functools

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compressed import expand
from hil.sim.cores.xpulp.encodings import (
    ENCODINGS,
    F_ADDN,
    F_B,
    F_B_IMM5,
    F_CLIP,
    F_CSR,
    F_CSR_IMM,
    F_FIELD,
    F_I,
    F_J,
    F_LOAD,
    F_LOAD_POST,
    F_LOAD_RR,
    F_LOAD_RR_POST,
    F_LP_COUNT,
    F_LP_IMM,
    F_LP_SETUP,
    F_MULN,
    F_NONE,
    F_PV,
    F_PV_LANE,
    F_PV_ONE,
    F_PV_RAW,
    F_PV_REG,
    F_R,
    F_R1,
    F_R_ACC,
    F_SHIFT,
    F_STORE,
    F_STORE_POST,
    F_STORE_RR,
    F_U,
    MULN_ACC,
    PV_ACC,
    PV_SIGNED,
    PV_UNSIGNED,
    Encoding,
)  # fmt: skip

OP_BITS = 9
MODE_REG, MODE_IMM, MODE_HALF, MODE_BYTE = 0, 1, 2, 3
ADDRESS_IMM, ADDRESS_REG, ADDRESS_POST_IMM, ADDRESS_POST_REG = 0, 1, 2, 3
LONG_BIT = 29

_ROWS: dict[int, list[Encoding]] = {}
for _row in ENCODINGS:
    _ROWS.setdefault(_row.match & 0x7F, []).append(_row)


def _pack(op: int, rd: int, rs1: int, rs2: int, rs3: int, mode: int, imm: int) -> int:
    """A decoded record without the length bit."""
    low = op | (rd << 9) | (rs1 << 14) | (rs2 << 19) | (rs3 << 24) | (mode << 30)
    return low | (imm << 32)


def _signed(value: int, bits: int) -> int:
    """Two's complement value of the low ``bits`` bits."""
    sign = 1 << (bits - 1)
    return ((value & ((sign << 1) - 1)) ^ sign) - sign


def _broadcast_imm6(word: int, extra: int) -> int:
    """The second operand of a pv.*.sci form: imm6 in all lanes, extended to suit the operation."""
    imm = ((word >> 25) & 1) | (((word >> 20) & 31) << 1)
    if not extra & PV_UNSIGNED and extra & PV_SIGNED:
        imm = _signed(imm, 6)
    if (word >> 12) & 1:
        return _signed((imm & 0xFF) * 0x01010101, 32)
    return _signed((imm & 0xFFFF) * 0x00010001, 32)


def _decode_packed(word: int, op: int, form: int, extra: int, rd: int, rs1: int, rs2: int) -> int:
    """pv.* forms: funct3 chooses lanes, broadcast or immediate."""
    rs3 = rd if extra & PV_ACC else 0
    if form == F_PV_ONE:
        return _pack(op, rd, rs1, 0, rs3, MODE_REG, 0)
    if form == F_PV_REG:
        return _pack(op, rd, rs1, rs2, rs3, MODE_REG, 0)
    if form == F_PV_LANE:
        lane = (word >> 25) & 1
        if (word >> 12) & 1:
            lane |= ((word >> 20) & 1) << 1
        return _pack(op, rd, rs1, 0, rs3, MODE_IMM, lane)
    if form == F_PV_RAW:
        imm = ((word >> 25) & 1) | (((word >> 20) & 31) << 1)
        return _pack(op, rd, rs1, 0, rs3, MODE_IMM, imm)
    funct3 = (word >> 12) & 7
    if funct3 >= 6:
        return _pack(op, rd, rs1, 0, rs3, MODE_IMM, _broadcast_imm6(word, extra))
    mode = MODE_REG
    if funct3 == 4:
        mode = MODE_HALF
    elif funct3 == 5:
        mode = MODE_BYTE
    return _pack(op, rd, rs1, rs2, rs3, mode, 0)


def _decode_memory(
    word: int, op: int, form: int, rd: int, rs1: int, rs2: int, imm_i: int, imm_s: int
) -> int:
    """Loads and stores in their four address modes."""
    if form == F_LOAD:
        return _pack(op, rd, rs1, 0, 0, ADDRESS_IMM, imm_i)
    if form == F_LOAD_POST:
        return _pack(op, rd, rs1, 0, 0, ADDRESS_POST_IMM, imm_i)
    if form == F_LOAD_RR:
        return _pack(op, rd, rs1, 0, rs2, ADDRESS_REG, 0)
    if form == F_LOAD_RR_POST:
        return _pack(op, rd, rs1, 0, rs2, ADDRESS_POST_REG, 0)
    if form == F_STORE:
        return _pack(op, 0, rs1, rs2, 0, ADDRESS_IMM, imm_s)
    if form == F_STORE_POST:
        return _pack(op, 0, rs1, rs2, 0, ADDRESS_POST_IMM, imm_s)
    if form == F_STORE_RR:
        return _pack(op, 0, rs1, rs2, rd, ADDRESS_REG, 0)
    return _pack(op, 0, rs1, rs2, rd, ADDRESS_POST_REG, 0)


def _decode_loop(word: int, op: int, form: int, rs1: int) -> int:
    """Hardware loops: rd holds the loop number, imm a count or an offset in bytes."""
    loop = (word >> 7) & 1
    uimm12 = (word >> 20) & 0xFFF
    if form == F_LP_IMM:
        return _pack(op, loop, 0, 0, 0, MODE_IMM, uimm12)
    if form == F_LP_COUNT:
        return _pack(op, loop, rs1, 0, 0, MODE_REG, 0)
    if form == F_LP_SETUP:
        return _pack(op, loop, rs1, 0, 0, MODE_REG, uimm12 << 1)
    # lp.setupi: 12-bit count, 5-bit offset in halfwords
    return _pack(op, loop, 0, 0, 0, MODE_IMM, uimm12 | (((word >> 15) & 31) << 13))


def _decode_control(word: int, op: int, form: int, rd: int, rs1: int, rs2: int, imm_i: int) -> int:
    """Branches, jumps, upper immediates and CSR accesses."""
    if form <= F_B_IMM5:  # both branch formats
        offset = (((word >> 31) & 1) << 12) | (((word >> 7) & 1) << 11)
        offset |= (((word >> 25) & 0x3F) << 5) | (((word >> 8) & 15) << 1)
        offset = _signed(offset, 13)
        if form == F_B:
            return _pack(op, 0, rs1, rs2, 0, MODE_REG, offset)
        return _pack(op, 0, rs1, 0, 0, MODE_IMM, (_signed(rs2, 5) << 16) | (offset & 0xFFFF))
    if form == F_J:
        offset = (((word >> 31) & 1) << 20) | (((word >> 12) & 0xFF) << 12)
        offset |= (((word >> 20) & 1) << 11) | (((word >> 21) & 0x3FF) << 1)
        return _pack(op, rd, 0, 0, 0, MODE_IMM, _signed(offset, 21))
    if form == F_U:
        return _pack(op, rd, 0, 0, 0, MODE_IMM, _signed(word & 0xFFFFF000, 32))
    if form == F_CSR:
        return _pack(op, rd, rs1, 0, 0, MODE_REG, (word >> 20) & 0xFFF)
    if form == F_CSR_IMM:
        # the 5-bit operand travels above the CSR number
        return _pack(op, rd, 0, 0, 0, MODE_IMM, ((word >> 20) & 0xFFF) | (rs1 << 12))
    return _pack(op, rd, rs1, 0, 0, MODE_IMM, imm_i)


def _decode_scalar(
    word: int, op: int, form: int, extra: int, rd: int, rs1: int, rs2: int, imm_i: int
) -> int:
    """Register results of one or two operands, with immediates folded into the common form."""
    is3 = (word >> 25) & 31
    if form == F_R:
        return _pack(op, rd, rs1, rs2, 0, MODE_REG, extra)
    if form == F_R1:
        return _pack(op, rd, rs1, 0, 0, MODE_REG, extra)
    if form == F_R_ACC:
        return _pack(op, rd, rs1, rs2, rd, MODE_REG, extra)
    if form == F_I:
        return _pack(op, rd, rs1, 0, 0, MODE_IMM, imm_i)
    if form == F_SHIFT:
        return _pack(op, rd, rs1, 0, 0, MODE_IMM, rs2)
    if form == F_CLIP:
        # Is2 = 0 means the bound 0, as the register form with rs2 = 0
        bound = (1 << (rs2 - 1)) - 1 if rs2 > 0 else 0
        return _pack(op, rd, rs1, 0, 0, MODE_IMM, bound)
    if form == F_FIELD:
        rs3 = rd if op == ops.INSERT else 0
        return _pack(op, rd, rs1, 0, rs3, MODE_IMM, (is3 << 5) | rs2)
    if form == F_MULN:
        rs3 = rd if extra & MULN_ACC else 0
        return _pack(op, rd, rs1, rs2, rs3, MODE_REG, extra | is3)
    if form == F_ADDN:
        return _pack(op, rd, rs1, rs2, 0, MODE_REG, extra | is3)
    return _pack(op, rd, rs1, rs2, rd, MODE_REG, extra)  # F_ADDN_REG


def find_encoding(word: int) -> Encoding | None:
    """The table row a word belongs to."""
    for row in _ROWS.get(word & 0x7F, ()):
        if word & row.mask == row.match:
            return row
    return None


def decode_long(word: int) -> int:
    """The decoded record of a 32-bit instruction word; op is ILLEGAL when no encoding matches."""
    row = find_encoding(word)
    if row is None:
        return ops.ILLEGAL | (1 << LONG_BIT)
    op, form, extra = row.op, row.format, row.extra
    rd, rs1, rs2 = (word >> 7) & 31, (word >> 15) & 31, (word >> 20) & 31
    imm_i = _signed(word >> 20, 12)
    imm_s = _signed((((word >> 25) & 0x7F) << 5) | rd, 12)
    if form == F_NONE:
        record = _pack(op, 0, 0, 0, 0, 0, 0)
    elif form >= F_PV:
        record = _decode_packed(word, op, form, extra, rd, rs1, rs2)
    elif form >= F_LP_IMM:
        record = _decode_loop(word, op, form, rs1)
    elif form >= F_B:
        record = _decode_control(word, op, form, rd, rs1, rs2, imm_i)
    elif form >= F_LOAD:
        record = _decode_memory(word, op, form, rd, rs1, rs2, imm_i, imm_s)
    else:
        record = _decode_scalar(word, op, form, extra, rd, rs1, rs2, imm_i)
    return record | 1 << LONG_BIT


@functools.lru_cache(maxsize=65536)
def decode(word: int) -> int:
    """The decoded record of the instruction in ``word`` (its low half when compressed)."""
    if word & 3 == 3:
        return decode_long(word)
    return decode_long(expand(word & 0xFFFF)) & ~(1 << LONG_BIT)
