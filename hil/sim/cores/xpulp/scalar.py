"""Results of the scalar operations: RV32IM and Xpulp general ALU, bit fields, MAC.

Values are int64 holding unsigned 32-bit words (0..2**32-1), so that every operation is plain
64-bit arithmetic; ``sx`` gives the signed reading of a word.
"""

from __future__ import annotations

import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inlined, inner
from hil.sim.cores.xpulp.encodings import (
    ADDN_LOGICAL,
    ADDN_REG,
    ADDN_ROUND,
    ADDN_SUB,
    MULN_ACC,
    MULN_HIGH,
    MULN_ROUND,
    MULN_SIGNED,
)  # fmt: skip

WORD = 0xFFFFFFFF
MSB = 0x80000000


@inlined
def sx(value):
    """The signed reading of a 32-bit word."""
    return (value << 32) >> 32


@inner
def _extend_half(value):
    return (value << 48) >> 48


@inner
def _extend_byte(value):
    return (value << 56) >> 56


@inner
def lowest_set(value):
    """Index of the lowest set bit, 32 when there is none (p.ff1)."""
    for i in range(32):
        if (value >> i) & 1:
            return i
    return 32


@inner
def highest_set(value):
    """Index of the highest set bit, 32 when there is none (p.fl1)."""
    for i in range(31, -1, -1):
        if (value >> i) & 1:
            return i
    return 32


@inner
def _redundant_signs(value):
    """Leading bits equal to the sign bit, minus one; 0 for the value 0 (p.clb)."""
    if value == 0:
        return 0
    if value & MSB:
        value = ~value & WORD
    return 30 - highest_set(value) if value != 0 else 31


@inner
def _ones(value):
    count = 0
    for i in range(32):
        count += (value >> i) & 1
    return count


@inner
def _field_mask(options):
    """The bits [start + width - 1 : start] of a word; options = (width - 1) << 5 | start."""
    width = ((options >> 5) & 31) + 1
    return (((1 << width) - 1) << (options & 31)) & WORD


@inner
def _extract(value, options, signed):
    width = ((options >> 5) & 31) + 1
    start = options & 31
    # A field that reaches beyond bit 31 continues with copies of the sign bit (signed) or zeros.
    if signed:
        shifted = sx(value) >> start
        return (shifted << (64 - width)) >> (64 - width)
    return (value >> start) & ((1 << width) - 1)


@inner
def _muln(a, b, d, options):
    """Half-word multiply (accumulate), optionally rounded, shifted right."""
    if options & MULN_HIGH:
        a, b = a >> 16, b >> 16
    if options & MULN_SIGNED:
        a, b = _extend_half(a), _extend_half(b)
    else:
        a, b = a & 0xFFFF, b & 0xFFFF
    shift = options & 31
    value = a * b
    if options & MULN_ACC:
        value += d
    if options & MULN_ROUND and shift > 0:
        value += 1 << (shift - 1)
    # the intermediate value is a 32-bit register: it wraps before the shift
    value &= WORD
    return sx(value) >> shift if options & MULN_SIGNED else value >> shift


@inner
def _addn(a, b, d, options):
    """(x + y [+ half]) >> shift; the register form takes x = rd, y = rs1, shift = rs2."""
    shift = options & 31
    if options & ADDN_REG:
        shift = b & 31
        a, b = d, a
    value = a - b if options & ADDN_SUB else a + b
    if options & ADDN_ROUND and shift > 0:
        value += 1 << (shift - 1)
    value &= WORD
    return value >> shift if options & ADDN_LOGICAL else sx(value) >> shift


@inner
def _divide(op, a, b):
    """RV32M division with its defined results for zero divisors and overflow."""
    if op == ops.DIVU:
        return a // b if b != 0 else WORD
    if op == ops.REMU:
        return a % b if b != 0 else a
    x, y = sx(a), sx(b)
    if y == 0:
        return WORD if op == ops.DIV else a
    quotient = abs(x) // abs(y)
    if (x < 0) != (y < 0):
        quotient = -quotient
    return quotient if op == ops.DIV else x - quotient * y


@inner
def _min_max(op, a, b):
    if op == ops.MIN:
        return a if sx(a) < sx(b) else b
    if op == ops.MINU:
        return a if a < b else b
    if op == ops.MAX:
        return a if sx(a) > sx(b) else b
    return a if a > b else b


@inner
def _clip(op, a, bound):
    """Saturate the signed a to [-(bound + 1), bound] (p.clip) or [0, bound] (p.clipu)."""
    value, high = sx(a), sx(bound)
    low = -(high + 1) if op == ops.CLIP else 0
    # lower bound first, as the vendor simulator does when bound is negative
    if value <= low:
        return low
    return high if value >= high else value


@inner
def slow_scalar(op, a, b, d, imm):
    """The operations that inner loops seldom use."""
    if op == ops.MULN:
        return _muln(a, b, d, imm) & WORD
    if op == ops.ADDN:
        return _addn(a, b, d, imm) & WORD
    if op == ops.ROR:
        shift = b & 31
        return ((a >> shift) | (a << (32 - shift))) & WORD
    if op == ops.FF1:
        return lowest_set(a)
    if op == ops.FL1:
        return highest_set(a)
    if op == ops.CLB:
        return _redundant_signs(a)
    if op == ops.CNT:
        return _ones(a)
    if op == ops.EXTRACT:
        return _extract(a, b, True) & WORD
    if op == ops.EXTRACTU:
        return _extract(a, b, False)
    if op == ops.INSERT:
        mask = _field_mask(b)
        return (d & ~mask) | ((a << (b & 31)) & mask)
    if op == ops.BSET:
        return a | _field_mask(b)
    if op == ops.BCLR:
        return a & ~_field_mask(b)
    if op == ops.MULH:
        return ((sx(a) * sx(b)) >> 32) & WORD
    if op == ops.MULHSU:
        return ((sx(a) * b) >> 32) & WORD
    if op == ops.MULHU:
        return np.int64((np.uint64(a) * np.uint64(b)) >> np.uint64(32))
    return _divide(op, a, b) & WORD


@inlined
def scalar(op, a, b, d, imm):
    """rd of a scalar operation. ``b`` is already the register or the immediate, as a word."""
    if op == ops.ADD:
        return (a + b) & WORD
    if op == ops.SUB:
        return (a - b) & WORD
    if op == ops.SLL:
        return (a << (b & 31)) & WORD
    if op == ops.SLT:
        return np.int64(sx(a) < sx(b))
    if op == ops.SLTU:
        return np.int64(a < b)
    if op == ops.XOR:
        return a ^ b
    if op == ops.SRL:
        return a >> (b & 31)
    if op == ops.SRA:
        return (sx(a) >> (b & 31)) & WORD
    if op == ops.OR:
        return a | b
    if op == ops.AND:
        return a & b
    if op == ops.LUI:
        return b
    if op == ops.MAC:
        return (d + a * b) & WORD
    if op == ops.MSU:
        return (d - a * b) & WORD
    if op == ops.MUL:
        return (a * b) & WORD
    if op == ops.ABS:
        return abs(sx(a)) & WORD
    if op == ops.SLET:
        return np.int64(sx(a) <= sx(b))
    if op == ops.SLETU:
        return np.int64(a <= b)
    if op >= ops.MIN and op <= ops.MAXU:
        return _min_max(op, a, b)
    if op == ops.EXTHS:
        return _extend_half(a) & WORD
    if op == ops.EXTHZ:
        return a & 0xFFFF
    if op == ops.EXTBS:
        return _extend_byte(a) & WORD
    if op == ops.EXTBZ:
        return a & 0xFF
    if op == ops.CLIP or op == ops.CLIPU:
        return _clip(op, a, b) & WORD
    return slow_scalar(op, a, b, d, imm)
