"""Decode the 32-bit Thumb-2 instructions with the DSP extension. Reference: Armv7-M ARM, A5.3."""

from __future__ import annotations

from hil.sim.cores.cortex_m7.layout import Ending
from hil.sim.cores.cortex_m7.op import (
    FLAGS,
    LR,
    PC,
    SP,
    Access,
    Kind,
    Op,
    bits,
    load,
    load_many,
    signed,
    store,
    store_many,
)
from hil.sim.cores.cortex_m7.vfp import decode_vfp

# Opcode of the data-processing groups with an immediate or a shifted register (A5.3.1, A5.3.11).
_EARLY = {0b1000, 0b1101, 0b1110}  # add, sub, rsb
_CARRY = {0b1010, 0b1011}


def decode32(first: int, second: int, address: int) -> Op:
    """The operation of the two halfwords."""
    group, op2 = first >> 11 & 3, first >> 4 & 0x7F
    if op2 >> 6 and group != 2:
        return decode_vfp(first, second)
    if group == 1:
        return _group_01(first, second, op2)
    if group == 2:
        return _group_10(first, second, address)
    return _group_11(first, second, op2)


def _group_01(first: int, second: int, op2: int) -> Op:
    if op2 >> 5 == 1:
        return _shifted_register(first, second)
    base, write_back = first & 0xF, bool(first >> 5 & 1)
    if not op2 >> 2 & 1:
        if first >> 4 & 1:
            return load_many(base, second, write_back)
        return store_many(base, second, write_back)
    if op2 & 0b1110011 == 0b0000000 or op2 & 0b1110011 == 0b0000001 or op2 >> 3 == 1:
        exclusive = _exclusive_or_table(first, second, op2)
        if exclusive is not None:
            return exclusive
    return _double(first, second, write_back)


def _exclusive_or_table(first: int, second: int, op2: int) -> Op | None:
    """LDREX, STREX and their kin, TBB, TBH; None for LDRD and STRD."""
    base = first & 0xF
    if op2 & 0b1111111 == 0b0001101 and second >> 5 & 7 == 0:  # tbb, tbh
        index = second & 0xF
        return Op(Kind.TABLE, addressed=bits(base, index), ending=Ending.INDIRECT)
    if op2 in (0b0000100, 0b0000101, 0b0001100, 0b0001101):
        if first >> 4 & 1:
            return Op(Kind.SYSTEM, addressed=bits(base), writes=bits(second >> 12))
        status = second >> 8 & 0xF if op2 == 0b0000100 else second & 0xF
        return Op(Kind.SYSTEM, addressed=bits(base), stored=bits(second >> 12), writes=bits(status))
    return None


def _double(first: int, second: int, write_back: bool) -> Op:
    base = first & 0xF
    registers = bits(second >> 12) | bits(second >> 8 & 0xF)
    if first >> 4 & 1:
        return load_many(base, registers, write_back)
    return store_many(base, registers, write_back)


def _data_processing(opcode: int, n: int, d: int, sets_flags: bool) -> tuple[Kind, int, int]:
    """(kind, registers read beside the second operand, registers written)."""
    flags = FLAGS if sets_flags else 0
    if sets_flags and d == PC and opcode in (0b0000, 0b0100, 0b1000, 0b1101):
        kind = Kind.EARLY if opcode in _EARLY else Kind.ALU
        return kind, bits(n), FLAGS  # tst, teq, cmn, cmp
    if opcode in (0b0010, 0b0011) and n == PC:  # mov, mvn
        return Kind.EARLY, 0, bits(d) | flags
    carry = FLAGS if opcode in _CARRY else 0
    kind = Kind.EARLY if opcode in _EARLY else Kind.ALU
    return kind, bits(n) | carry, bits(d) | flags


def _shifted_register(first: int, second: int) -> Op:
    opcode, n, d, m = first >> 5 & 0xF, first & 0xF, second >> 8 & 0xF, bits(second & 0xF)
    amount = (second >> 12 & 7) << 2 | second >> 6 & 3
    rotate = second >> 4 & 3
    if opcode == 0b0110:  # pkhbt, pkhtb
        return Op(Kind.DSP, reads=bits(n), shifted=m, writes=bits(d), early_shifter=True)
    kind, reads, writes = _data_processing(opcode, n, d, bool(first >> 4 & 1))
    shifts = amount != 0 or rotate != 0
    if opcode == 0b0010 and n == PC:  # mov and the shifts by immediate: no second operand
        carry = FLAGS if rotate == 3 and amount == 0 else 0  # rrx
        return Op(kind, reads=m | carry, writes=writes)
    if not shifts:
        return Op(kind, reads=reads | m, writes=writes)
    # What takes the early stage's shifter computes in the late ALU.
    return Op(Kind.ALU, reads=reads, shifted=m, writes=writes, early_shifter=True)


def _group_10(first: int, second: int, address: int) -> Op:
    if second >> 15:
        return _branch_or_control(first, second, address)
    d, n = second >> 8 & 0xF, first & 0xF
    if not first >> 9 & 1:  # modified immediate
        opcode = first >> 5 & 0xF
        kind, reads, writes = _data_processing(opcode, n, d, bool(first >> 4 & 1))
        if first >> 10 & 1 or second >> 14 & 1:  # i:imm3<2>: eight bits rotated (A5.3.2)
            return Op(Kind.ALU, reads=reads, writes=writes, early_shifter=True)
        return Op(kind, reads=reads, writes=writes)
    opcode = first >> 4 & 0x1F
    if opcode in (0b00000, 0b01010):  # addw, subw, adr
        return Op(Kind.EARLY, reads=bits(n), writes=bits(d))
    if opcode == 0b00100:  # movw
        return Op(Kind.EARLY, writes=bits(d))
    if opcode == 0b01100:  # movt keeps the low half
        return Op(Kind.EARLY, reads=bits(d), writes=bits(d))
    if opcode in (0b10000, 0b10010, 0b11000, 0b11010):  # ssat, ssat16, usat, usat16
        return Op(Kind.SATURATE, shifted=bits(n), writes=bits(d), early_shifter=True)
    if opcode in (0b10100, 0b11100):  # sbfx, ubfx
        return Op(Kind.DSP, shifted=bits(n), writes=bits(d), early_shifter=True)
    inserted = 0 if n == PC else bits(n)  # bfc, bfi
    return Op(Kind.DSP, reads=bits(d), shifted=inserted, writes=bits(d), early_shifter=True)


def _branch_or_control(first: int, second: int, address: int) -> Op:
    if second >> 12 & 1:  # b.w, bl
        sign, j1, j2 = first >> 10 & 1, second >> 13 & 1, second >> 11 & 1
        offset = sign << 24 | (1 - (j1 ^ sign)) << 23 | (1 - (j2 ^ sign)) << 22
        offset |= (first & 0x3FF) << 12 | (second & 0x7FF) << 1
        target = address + 4 + signed(offset, 25)
        link = bits(LR) if second >> 14 & 1 else 0
        return Op(Kind.BRANCH, writes=link, ending=Ending.DIRECT, target=target)
    if first >> 7 & 7 != 7:
        offset = (first >> 10 & 1) << 20 | (second >> 11 & 1) << 19 | (second >> 13 & 1) << 18
        offset |= (first & 0x3F) << 12 | (second & 0x7FF) << 1
        target = address + 4 + signed(offset, 21)
        return Op(Kind.BRANCH, reads=FLAGS, ending=Ending.CONDITIONAL, target=target)
    control = first >> 4 & 0x7F
    if control == 0b0111011:
        return Op(Kind.BARRIER)
    if control == 0b0111010:
        return Op(Kind.HINT)
    if control in (0b0111110, 0b0111111):
        return Op(Kind.SYSTEM, writes=bits(second >> 8 & 0xF))
    return Op(Kind.SYSTEM, reads=bits(first & 0xF))  # msr


def _group_11(first: int, second: int, op2: int) -> Op:
    if op2 >> 4 == 0b010:
        return _register_processing(first, second)
    if op2 >> 3 == 0b0110:
        return _multiply(first, second)
    if op2 >> 3 == 0b0111:
        return _long_multiply(first, second)
    return _load_store(first, second)


def _load_store(first: int, second: int) -> Op:
    base, register, size = first & 0xF, second >> 12, first >> 5 & 3
    loads = bool(first >> 4 & 1)
    narrow = size != 2
    if loads and register == PC and narrow:
        return Op(Kind.HINT)  # pld, pli
    build = load if loads else store
    if base == PC:
        offset = second & 0xFFF
        return build(register, Access(PC, offset if first >> 7 & 1 else -offset), narrow)
    if first >> 7 & 1:
        return build(register, Access(base, second & 0xFFF), narrow)
    if not second >> 11 & 1:
        access = Access(base, index=second & 0xF, shift=second >> 4 & 3)
        return build(register, access, narrow)
    indexed, up, write_back = second >> 10 & 1, second >> 9 & 1, bool(second >> 8 & 1)
    offset = (second & 0xFF) if up else -(second & 0xFF)
    return build(register, Access(base, offset if indexed else 0), narrow, write_back)


def _register_processing(first: int, second: int) -> Op:
    op1, op2 = first >> 4 & 0xF, second >> 4 & 0xF
    n, d, m = first & 0xF, second >> 8 & 0xF, second & 0xF
    if op2 == 0 and op1 < 8:  # shifts by register
        flags = FLAGS if op1 & 1 else 0
        return Op(Kind.EARLY, reads=bits(n, m), writes=bits(d) | flags)
    if op1 < 8 and op2 >= 8:  # extend, with or without add
        added = 0 if n == PC else bits(n)
        return Op(Kind.DSP, reads=added, shifted=bits(m), writes=bits(d), early_shifter=True)
    if op2 < 8:  # parallel add and subtract; op2 & 3 == 1 saturates
        kind = Kind.SATURATE if op2 & 3 == 1 else Kind.DSP
        select = 0
        return Op(kind, reads=bits(n, m) | select, writes=bits(d))
    if op1 == 0b1000:  # qadd, qdadd, qsub, qdsub
        return Op(Kind.SATURATE, reads=bits(n, m), writes=bits(d))
    if op1 == 0b1001:  # rev, rev16, rbit, revsh
        return Op(Kind.DSP, shifted=bits(m), writes=bits(d), early_shifter=True)
    if op1 == 0b1010:  # sel reads the GE flags
        return Op(Kind.DSP, reads=bits(n, m) | FLAGS, writes=bits(d))
    return Op(Kind.DSP, reads=bits(m), writes=bits(d))  # clz


def _multiply(first: int, second: int) -> Op:
    n, a, d, m = first & 0xF, second >> 12, second >> 8 & 0xF, second & 0xF
    added = 0 if a == PC else bits(a)
    if first >> 4 & 7 == 7:  # usad8, usada8
        return Op(Kind.SATURATE, reads=bits(n, m) | added, writes=bits(d))
    return Op(Kind.MAC, multiplied=bits(n, m), accumulated=added, writes=bits(d))


def _long_multiply(first: int, second: int) -> Op:
    opcode, n, m = first >> 4 & 7, first & 0xF, second & 0xF
    low, high = second >> 12, second >> 8 & 0xF
    if opcode in (1, 3):
        return Op(Kind.DIVIDE, reads=bits(n, m), writes=bits(high))
    accumulates = opcode >= 4
    added = bits(low, high) if accumulates else 0
    return Op(Kind.MAC, multiplied=bits(n, m), accumulated=added, writes=bits(low, high))


__all__ = ["SP", "decode32"]
