"""What an instruction reads and writes in memory, and how its address comes from the registers.

Accesses are those that unicorn makes, in its order: a multiple load is one of each word from the
lowest address up, a double-precision register one of eight bytes. A store-exclusive is one store
whether it succeeds or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hil.sim.cores.cortex_m7.op import PC, SP, Kind, Op


@dataclass(frozen=True, slots=True)
class Transfer:
    """``count`` accesses of ``size`` bytes each, one behind the other; the first is at ``offset``,
    plus register ``base``, plus register ``index`` shifted left (either may be None). An address
    that is no multiple of ``alignment`` bytes is a UsageFault (Armv7-M ARM A3.2.1)."""

    base: int | None
    offset: int = 0
    index: int | None = None
    shift: int = 0
    count: int = 1
    size: int = 4
    stores: bool = False
    alignment: int = 1


def transfer(code: bytes, op: Op) -> Transfer | None:
    """The accesses of ``op``, whose encoding is ``code``; None if it has none."""
    first, second = int.from_bytes(code[:2], "little"), int.from_bytes(code[2:4], "little")
    found = _wide(op, first, second) if op.size == 4 else _narrow(op, first)
    if found is None or found.base != PC:
        return found
    pc = op.address + 4
    aligned = pc if op.kind is Kind.TABLE else pc & ~3
    return replace(found, base=None, offset=aligned + found.offset)


def _many(base: int, count: int, up: bool, stores: bool, size: int = 4) -> Transfer:
    """``count`` registers from the base upwards, or up to below it."""
    offset = 0 if up else -size * count
    return Transfer(base, offset, count=count, size=size, stores=stores, alignment=4)


def _single(op: Op, size: int, stores: bool) -> Transfer | None:
    access = op.access
    if access is None:
        return None
    return Transfer(access.base, access.offset, access.index, access.shift, 1, size, stores)


# 16-bit instructions (A5.2)

# (bytes, stores) by the opcode of the forms with a register offset
_BY_REGISTER = (
    (4, True), (2, True), (1, True), (1, False), (4, False), (2, False), (1, False), (2, False),
)  # fmt: skip
_PUSH, _POP = 0b1011010, 0b1011110


def _narrow(op: Op, code: int) -> Transfer | None:
    group = code >> 12
    if group == 0b0101:
        return _single(op, *_BY_REGISTER[code >> 9 & 7])
    if code >> 11 == 0b01001:
        return _single(op, 4, stores=False)
    if group in (0b0110, 0b0111, 0b1000, 0b1001):
        return _single(op, {0b0111: 1, 0b1000: 2}.get(group, 4), not code >> 11 & 1)
    if code >> 9 in (_PUSH, _POP):
        return _many(SP, (code & 0x1FF).bit_count(), code >> 9 == _POP, code >> 9 == _PUSH)
    if group == 0b1100:
        return _many(code >> 8 & 7, (code & 0xFF).bit_count(), True, not code >> 11 & 1)
    return None


# 32-bit instructions (A5.3)


def _wide(op: Op, first: int, second: int) -> Transfer | None:
    group = first >> 9
    if group == 0b1111100:
        return _single(op, 1 << (first >> 5 & 3), not first >> 4 & 1)
    if group == 0b1110100:
        return _double_or_many(op, first, second)
    is_vfp = second >> 9 & 7 == 0b101  # coprocessors 10 and 11
    if group == 0b1110110 and is_vfp and first >> 5 & 0xF != 0b0010:
        return _floats(first, second)
    return None


def _double_or_many(op: Op, first: int, second: int) -> Transfer:
    base, stores = first & 0xF, not first >> 4 & 1
    if not first >> 6 & 1:
        return _many(base, second.bit_count(), first >> 7 & 3 == 1, stores)
    if op.kind is Kind.TABLE:
        halves = second >> 4 & 1
        return Transfer(base, index=second & 0xF, shift=halves, size=1 + halves)
    if op.kind is Kind.SYSTEM:  # exclusives: of words with an offset, bytes and halves without
        if first >> 7 & 1:
            size = 1 << (second >> 4 & 3)
            return Transfer(base, size=size, stores=stores, alignment=size)
        return Transfer(base, 4 * (second & 0xFF), stores=stores, alignment=4)
    offset = 4 * (second & 0xFF) if first >> 7 & 1 else -4 * (second & 0xFF)
    offset = offset if first >> 8 & 1 else 0
    return Transfer(base, offset, count=2, stores=stores, alignment=4)


def _floats(first: int, second: int) -> Transfer:
    """VLDR, VSTR, VLDM, VSTM."""
    base, words, size = first & 0xF, second & 0xFF, 8 if second >> 8 & 1 else 4
    stores, update, up = not first >> 4 & 1, bool(first >> 5 & 1), bool(first >> 7 & 1)
    if first >> 8 & 1 and not update:
        offset = 4 * words if up else -4 * words
        return Transfer(base, offset, size=size, stores=stores, alignment=4)
    return _many(base, 4 * words // size, up, stores, size)
