"""Decode the single-precision FPv5 instructions. Reference: Armv7-M ARM, A6.4 to A6.7.

Double-precision forms and other coprocessors are undefined on the F746 and never execute; they
decode as SYSTEM.
"""

from __future__ import annotations

from hil.sim.cores.cortex_m7.op import FLAGS, PC, Access, Kind, Op, bits

S0 = 16
CP10, CP11 = 10, 11


def decode_vfp(first: int, second: int) -> Op:
    """The operation of a coprocessor encoding."""
    coprocessor = second >> 8 & 0xF
    if coprocessor not in (CP10, CP11):
        return Op(Kind.SYSTEM)
    if first >> 8 & 0xF == 0b1110 or first >> 8 == 0xFE:
        if second >> 4 & 1 and first >> 8 != 0xFE:
            return _register_transfer(first, second)
        return _arithmetic(first, second)
    if first >> 5 & 0x7F == 0b1100010:  # 1110 1100 010x: two core registers
        return _double_transfer(first, second)
    return _load_store(first, second)


def _d(first: int, second: int) -> int:
    return 1 << (S0 + ((second >> 12) << 1 | first >> 6 & 1))


def _n(first: int, second: int) -> int:
    return 1 << (S0 + ((first & 0xF) << 1 | second >> 7 & 1))


def _m(second: int) -> int:
    return 1 << (S0 + ((second & 0xF) << 1 | second >> 5 & 1))


def _arithmetic(first: int, second: int) -> Op:
    if second >> 8 & 1:
        return Op(Kind.SYSTEM)
    d, n, m = _d(first, second), _n(first, second), _m(second)
    if first >> 8 == 0xFE:  # vsel, vmaxnm, vminnm; vcvt and vrint with a rounding mode
        if first >> 7 & 1 and first >> 4 & 3 == 3:
            return Op(Kind.FP_ADD, multiplied=m, writes=d)
        select = 0 if first >> 7 & 1 else FLAGS
        return Op(Kind.FP_ADD, multiplied=n | m, reads=select, writes=d)
    opcode = (first >> 7 & 1) << 2 | first >> 4 & 3
    if opcode in (0, 1, 5, 6):  # vmla, vmls, vnmla, vnmls, vfma, vfms, vfnma, vfnms
        return Op(Kind.FP_FMA, multiplied=n | m, accumulated=d, writes=d)
    if opcode in (2, 3):  # vmul, vnmul, vadd, vsub
        return Op(Kind.FP_ADD, multiplied=n | m, writes=d)
    if opcode == 4:
        return Op(Kind.FP_DIVIDE, multiplied=n | m, writes=d)
    return _extended(first, second, d, m)


def _extended(first: int, second: int, d: int, m: int) -> Op:
    opcode = first & 0xF
    if not second >> 6 & 1:  # vmov immediate
        return Op(Kind.FP_ADD, writes=d)
    if opcode in (4, 5):  # vcmp
        other = m if opcode == 4 else 0
        return Op(Kind.FP_ADD, multiplied=d | other, writes=0)
    if opcode == 1 and second >> 7 & 1:
        return Op(Kind.FP_DIVIDE, multiplied=m, writes=d)  # vsqrt
    if opcode >= 10 and opcode not in (12, 13):  # fixed point converts in place
        return Op(Kind.FP_ADD, multiplied=d, writes=d)
    return Op(Kind.FP_ADD, multiplied=m, writes=d)


def _register_transfer(first: int, second: int) -> Op:
    core, loads = second >> 12, bool(first >> 4 & 1)
    if first >> 5 & 7 == 7:  # vmrs, vmsr
        if not loads:
            return Op(Kind.FP_MOVE, stored=bits(core))
        return Op(Kind.FP_MOVE, writes=FLAGS if core == PC else bits(core))
    if second >> 8 & 1:  # vmov.32 of half a double: both singles may be touched
        whole = 3 << (S0 + (((first & 0xF) | (second >> 7 & 1) << 4) << 1 & 31))
        if loads:
            return Op(Kind.FP_MOVE, stored=whole, writes=bits(core))
        return Op(Kind.FP_MOVE, stored=bits(core) | whole, writes=whole)
    single = _n(first, second)
    if loads:
        return Op(Kind.FP_MOVE, stored=single, writes=bits(core))
    return Op(Kind.FP_MOVE, stored=bits(core), writes=single)


def _double_transfer(first: int, second: int) -> Op:
    cores = bits(second >> 12) | bits(first & 0xF)
    m = _m(second)
    singles = m | m << 1 if not second >> 8 & 1 else 3 << (S0 + ((second & 0xF) << 1))
    if first >> 4 & 1:
        return Op(Kind.FP_MOVE, stored=singles, writes=cores)
    return Op(Kind.FP_MOVE, stored=cores, writes=singles)


def _load_store(first: int, second: int) -> Op:
    base, count = first & 0xF, second & 0xFF
    loads, write_back = bool(first >> 4 & 1), bool(first >> 5 & 1)
    start = (second >> 12) << 1 | (first >> 6 & 1 if not second >> 8 & 1 else 0)
    if first >> 8 & 1 and not write_back:  # vldr, vstr
        offset = 4 * count if first >> 7 & 1 else -4 * count
        count = 2 if second >> 8 & 1 else 1
        access = Access(base, offset)
    else:
        access = None
    singles = (((1 << count) - 1) << start & 0xFFFFFFFF) << S0
    updated = bits(base) if write_back else 0
    if count == 1 and access is not None:
        kind = Kind.LOAD if loads else Kind.STORE
    else:
        kind = Kind.LOAD_MANY if loads else Kind.STORE_MANY
    return Op(
        kind,
        addressed=bits(base),
        stored=0 if loads else singles,
        writes=singles if loads else 0,
        base_writes=updated,
        registers=max(1, count),
        access=access if kind in (Kind.LOAD, Kind.STORE) else None,
    )
