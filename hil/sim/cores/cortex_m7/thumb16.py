"""Decode the 16-bit Thumb instructions. Reference: Armv7-M ARM, A5.2."""

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

# Opcode field of the data-processing group (A5.2.2).
_SHIFTS = {0b0010, 0b0011, 0b0100, 0b0111}  # lsl, lsr, asr, ror by register
_CARRY = {0b0101, 0b0110}  # adc, sbc
_COMPARE = {0b1000, 0b1010, 0b1011}  # tst, cmp, cmn


def decode16(code: int, address: int, in_it: bool) -> Op:
    """The operation of halfword ``code``; in an IT block ALU operations leave the flags alone."""
    top = code >> 10
    if top < 0b010000:
        return _immediate(code, 0 if in_it else FLAGS)
    if top == 0b010000:
        return _data_processing(code, 0 if in_it else FLAGS)
    if top == 0b010001:
        return _special(code, address)
    if top < 0b010100:
        return load(code >> 8 & 7, Access(PC, 4 * (code & 0xFF)), narrow=False)
    if top < 0b101000:
        return _load_store(code)
    if top < 0b101100:
        base = SP if code >> 11 & 1 else PC
        return Op(Kind.EARLY, reads=bits(base), writes=bits(code >> 8 & 7))
    if top < 0b110000:
        return _miscellaneous(code, address)
    if top < 0b110100:
        return _multiple(code)
    return _branch(code, address)


def _immediate(code: int, flags: int) -> Op:
    group = code >> 11
    if group < 3:  # lsl, lsr, asr by immediate
        return Op(Kind.EARLY, reads=bits(code >> 3 & 7), writes=bits(code & 7) | flags)
    if group == 3:
        operands = bits(code >> 3 & 7)
        if not code >> 10 & 1:
            operands |= bits(code >> 6 & 7)
        return Op(Kind.EARLY, reads=operands, writes=bits(code & 7) | flags)
    register = bits(code >> 8 & 7)
    if group == 4:  # mov
        return Op(Kind.EARLY, writes=register | flags)
    if group == 5:  # cmp
        return Op(Kind.EARLY, reads=register, writes=FLAGS)
    return Op(Kind.EARLY, reads=register, writes=register | flags)


def _data_processing(code: int, flags: int) -> Op:
    opcode, m, dn = code >> 6 & 0xF, bits(code >> 3 & 7), bits(code & 7)
    if opcode in _COMPARE:
        return Op(Kind.ALU, reads=m | dn, writes=FLAGS)
    if opcode == 0b1101:
        return Op(Kind.MAC, multiplied=m | dn, writes=dn | flags)
    if opcode in (0b1001, 0b1111):  # rsb from 0, mvn
        return Op(Kind.EARLY, reads=m, writes=dn | flags)
    if opcode in _CARRY:
        return Op(Kind.ALU, reads=m | dn | FLAGS, writes=dn | flags)
    kind = Kind.EARLY if opcode in _SHIFTS else Kind.ALU
    return Op(kind, reads=m | dn, writes=dn | flags)


def _special(code: int, address: int) -> Op:
    opcode, m, dn = code >> 8 & 3, code >> 3 & 0xF, (code >> 4 & 8) | (code & 7)
    if opcode == 3:
        link = bits(LR) if code >> 7 & 1 else 0
        return Op(Kind.BRANCH, reads=bits(m), writes=link, ending=Ending.INDIRECT)
    if opcode == 1:
        return Op(Kind.EARLY, reads=bits(m, dn), writes=FLAGS)
    reads = bits(m) if opcode == 2 else bits(m, dn)
    ending = Ending.INDIRECT if dn == PC else None
    return Op(Kind.EARLY, reads=reads, writes=bits(dn), ending=ending)


def _load_store(code: int) -> Op:
    group = code >> 12
    if group == 0b0101:
        opcode = code >> 9 & 7
        access = Access(code >> 3 & 7, index=code >> 6 & 7)
        build, narrow = (load, opcode not in (4,)) if opcode >= 3 else (store, opcode != 0)
        return build(code & 7, access, narrow)
    build = load if code >> 11 & 1 else store
    if group == 0b1001:
        return build(code >> 8 & 7, Access(SP, 4 * (code & 0xFF)), narrow=False)
    scale = {0b0110: 4, 0b0111: 1, 0b1000: 2}[group]
    access = Access(code >> 3 & 7, scale * (code >> 6 & 31))
    return build(code & 7, access, narrow=scale != 4)


def _miscellaneous(code: int, address: int) -> Op:
    group = code >> 8 & 0xF
    if group == 0b0000:
        return Op(Kind.EARLY, reads=bits(SP), writes=bits(SP))
    if group & 0b0101 == 0b0001:  # cbz, cbnz
        offset = (code >> 9 & 1) << 6 | (code >> 3 & 31) << 1
        target = address + 4 + offset
        return Op(Kind.BRANCH, reads=bits(code & 7), ending=Ending.CONDITIONAL, target=target)
    if group in (0b0010, 0b1010):  # sxth, sxtb, uxth, uxtb; rev, rev16, revsh
        return Op(Kind.DSP, shifted=bits(code >> 3 & 7), writes=bits(code & 7), early_shifter=True)
    if group in (0b0100, 0b0101):
        return store_many(SP, code & 0xFF | (code >> 8 & 1) << LR, base_write=True)
    if group in (0b1100, 0b1101):
        return load_many(SP, code & 0xFF | (code >> 8 & 1) << PC, base_write=True)
    if group == 0b1111:
        return Op(Kind.IT, reads=FLAGS) if code & 0xF else Op(Kind.HINT)
    return Op(Kind.SYSTEM)  # cps, bkpt, setend


def _multiple(code: int) -> Op:
    base, registers = code >> 8 & 7, code & 0xFF
    if code >> 11 & 1:
        return load_many(base, registers, base_write=not registers >> base & 1)
    return store_many(base, registers, base_write=True)


def _branch(code: int, address: int) -> Op:
    condition = code >> 8 & 0xF
    if code >> 12 == 0b1110:
        target = address + 4 + signed((code & 0x7FF) << 1, 12)
        return Op(Kind.BRANCH, ending=Ending.DIRECT, target=target)
    if condition >= 0xE:  # udf, svc
        return Op(Kind.SYSTEM)
    target = address + 4 + signed((code & 0xFF) << 1, 9)
    return Op(Kind.BRANCH, reads=FLAGS, ending=Ending.CONDITIONAL, target=target)
