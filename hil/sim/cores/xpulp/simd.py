"""Results of the packed operations (pv.*): two halves or four bytes in a word.

Words are int64 in 0..2**32-1 as in ``scalar``. An odd operation number works on bytes.
"""

from __future__ import annotations

import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inlined, inner

WORD = 0xFFFFFFFF


@inlined
def _byte(value, lane):
    """Byte ``lane`` as a signed number."""
    return (value << (56 - 8 * lane)) >> 56


@inlined
def _half(value, lane):
    return (value << (48 - 16 * lane)) >> 48


@inlined
def _byte_u(value, lane):
    return (value >> (8 * lane)) & 0xFF


@inlined
def _half_u(value, lane):
    return (value >> (16 * lane)) & 0xFFFF


@inlined
def _dot_b(a, b):
    """Sum of the products of signed bytes."""
    low = _byte(a, 0) * _byte(b, 0) + _byte(a, 1) * _byte(b, 1)
    return low + _byte(a, 2) * _byte(b, 2) + _byte(a, 3) * _byte(b, 3)


@inlined
def _dot_ub(a, b):
    """a unsigned, b signed."""
    low = _byte_u(a, 0) * _byte(b, 0) + _byte_u(a, 1) * _byte(b, 1)
    return low + _byte_u(a, 2) * _byte(b, 2) + _byte_u(a, 3) * _byte(b, 3)


@inlined
def _dot_uub(a, b):
    """Both unsigned."""
    low = _byte_u(a, 0) * _byte_u(b, 0) + _byte_u(a, 1) * _byte_u(b, 1)
    return low + _byte_u(a, 2) * _byte_u(b, 2) + _byte_u(a, 3) * _byte_u(b, 3)


@inner
def _dot(op, a, b):
    """Sum of lane products; dotusp takes a unsigned and b signed."""
    if op == ops.V_DOTSP + 1:
        return _dot_b(a, b)
    if op == ops.V_DOTUSP + 1:
        return _dot_ub(a, b)
    if op == ops.V_DOTUP + 1:
        return _dot_uub(a, b)
    if op == ops.V_DOTSP:
        return _half(a, 0) * _half(b, 0) + _half(a, 1) * _half(b, 1)
    if op == ops.V_DOTUSP:
        return _half_u(a, 0) * _half(b, 0) + _half_u(a, 1) * _half(b, 1)
    return _half_u(a, 0) * _half_u(b, 0) + _half_u(a, 1) * _half_u(b, 1)


@inner
def _compare(kind, x, y):
    """One comparison of two lanes, already read signed or unsigned."""
    if kind == ops.V_CMPEQ:
        return x == y
    if kind == ops.V_CMPNE:
        return x != y
    if kind == ops.V_CMPGT or kind == ops.V_CMPGTU:
        return x > y
    if kind == ops.V_CMPGE or kind == ops.V_CMPGEU:
        return x >= y
    if kind == ops.V_CMPLT or kind == ops.V_CMPLTU:
        return x < y
    return x <= y


@inner
def _is_unsigned(kind):
    """Whether the lanes of this operation are read unsigned."""
    if kind >= ops.V_CMPGTU and kind <= ops.V_CMPLEU:
        return True
    return kind == ops.V_AVGU or kind == ops.V_MINU or kind == ops.V_MAXU or kind == ops.V_SRL


@inner
def _shift(kind, x, y, bits):
    """Lane shifts; the amount counts modulo the lane width."""
    amount = y & (bits - 1)
    if kind == ops.V_SLL:
        return x << amount
    return x >> amount


@inner
def _averaging(kind, x, y, bits):
    """Sums and differences that wrap at the lane width before they are halved or quartered."""
    by = 1
    if kind == ops.V_ADD_DIV4 or kind == ops.V_SUB_DIV4:
        by = 2
    total = x + y
    if kind == ops.V_SUB_DIV2 or kind == ops.V_SUB_DIV4:
        total = x - y
    if kind == ops.V_AVGU:
        return (total & ((1 << bits) - 1)) >> by
    return ((total << (64 - bits)) >> (64 - bits)) >> by


@inner
def _lane(kind, x, y, bits):
    """One lane of a lane-wise operation; the caller masks the result."""
    if kind == ops.V_ADD:
        return x + y
    if kind == ops.V_SUB:
        return x - y
    if kind == ops.V_MIN or kind == ops.V_MINU:
        return x if x < y else y
    if kind == ops.V_MAX or kind == ops.V_MAXU:
        return x if x > y else y
    if kind == ops.V_SRL or kind == ops.V_SRA or kind == ops.V_SLL:
        return _shift(kind, x, y, bits)
    if kind == ops.V_ABS:
        return abs(x)
    if kind >= ops.V_CMPEQ and kind <= ops.V_CMPLEU:
        return np.int64(-1) if _compare(kind, x, y) else np.int64(0)
    return _averaging(kind, x, y, bits)


@inner
def _lanes(op, a, b):
    """A lane-wise operation over the whole word."""
    kind = op & ~1
    unsigned = _is_unsigned(kind)
    result = np.int64(0)
    if op & 1:
        for i in range(4):
            x = _byte_u(a, i) if unsigned else _byte(a, i)
            y = _byte_u(b, i) if unsigned else _byte(b, i)
            result |= (_lane(kind, x, y, 8) & 0xFF) << (8 * i)
        return result
    for i in range(2):
        x = _half_u(a, i) if unsigned else _half(a, i)
        y = _half_u(b, i) if unsigned else _half(b, i)
        result |= (_lane(kind, x, y, 16) & 0xFFFF) << (16 * i)
    return result


@inner
def _shuffle(op, a, b, d):
    """pv.shuffle (lanes of a) and pv.shuffle2 (lanes of a or of the old rd), chosen by b."""
    result = np.int64(0)
    if op & 1:
        for i in range(4):
            select = b >> (8 * i)
            source = a
            if op == ops.V_SHUFFLE2 + 1 and not select & 4:
                source = d
            result |= _byte_u(source, select & 3) << (8 * i)
        return result
    for i in range(2):
        select = b >> (16 * i)
        source = a
        if op == ops.V_SHUFFLE2 and not select & 2:
            source = d
        result |= _half_u(source, select & 1) << (16 * i)
    return result


@inner
def _shuffle_imm(op, a, imm):
    """pv.shuffleiN.sci.b: byte 3 is byte N of a, imm6 selects the others; pv.shuffle.sci.h."""
    if op == ops.V_SHUFFLE_SCI:
        return _half_u(a, imm & 1) | (_half_u(a, (imm >> 1) & 1) << 16)
    low = _byte_u(a, imm & 3) | (_byte_u(a, (imm >> 2) & 3) << 8)
    low |= _byte_u(a, (imm >> 4) & 3) << 16
    return low | (_byte_u(a, op - ops.V_SHUFFLEI0) << 24)


@inner
def _one_lane(op, a, lane, d):
    """pv.extract, pv.extractu, pv.insert."""
    if op == ops.V_EXTRACT:
        return _half(a, lane & 1) & WORD
    if op == ops.V_EXTRACT + 1:
        return _byte(a, lane & 3) & WORD
    if op == ops.V_EXTRACTU:
        return _half_u(a, lane & 1)
    if op == ops.V_EXTRACTU + 1:
        return _byte_u(a, lane & 3)
    if op == ops.V_INSERT:
        at = 16 * (lane & 1)
        return (d & ~(0xFFFF << at)) | ((a & 0xFFFF) << at)
    at = 8 * (lane & 3)
    return (d & ~(0xFF << at)) | ((a & 0xFF) << at)


@inner
def _complex(op, a, b):
    """Q15 complex operations; the real part is the low half."""
    a_re, a_im, b_re, b_im = _half(a, 0), _half(a, 1), _half(b, 0), _half(b, 1)
    if op == ops.V_CPLXCONJ:
        re, im = a_re, -a_im
    elif op >= ops.V_SUBROTMJ:
        by = op - ops.V_SUBROTMJ
        # (a - b) * -j; each difference wraps to a half before the division
        re = (((a_im - b_im) << 48) >> 48) >> by
        im = (((b_re - a_re) << 48) >> 48) >> by
    else:
        shift = 15 + op - ops.V_CPLXMUL
        re = (a_re * b_re - a_im * b_im) >> shift
        im = (a_im * b_re + a_re * b_im) >> shift
    return (re & 0xFFFF) | ((im & 0xFFFF) << 16)


@inner
def _pack(op, a, b, d):
    if op == ops.V_PACK:
        return ((a & 0xFFFF) << 16) | (b & 0xFFFF)
    if op == ops.V_PACK_HH:
        return (a & 0xFFFF0000) | (b >> 16)
    two = ((a & 0xFF) << 8) | (b & 0xFF)
    if op == ops.V_PACKHI:
        return (two << 16) | (d & 0xFFFF)
    return (d & 0xFFFF0000) | two


@inlined
def simd(op, a, b, d):
    """rd of a packed operation; ``b`` is already broadcast, ``d`` is the old rd."""
    if op == ops.V_SDOTSP + 1:
        return (d + _dot_b(a, b)) & WORD
    if op == ops.V_SDOTUSP + 1:
        return (d + _dot_ub(a, b)) & WORD
    if op >= ops.V_SDOTSP and op <= ops.V_SDOTUSP + 1:
        return (d + _dot(op - (ops.V_SDOTSP - ops.V_DOTSP), a, b)) & WORD
    if op >= ops.V_DOTSP and op <= ops.V_DOTUSP + 1:
        return _dot(op, a, b) & WORD
    if op == ops.V_AND or op == ops.V_AND + 1:
        return a & b
    if op == ops.V_OR or op == ops.V_OR + 1:
        return a | b
    if op == ops.V_XOR or op == ops.V_XOR + 1:
        return a ^ b
    if op >= ops.V_SHUFFLE and op <= ops.V_SHUFFLE2 + 1:
        return _shuffle(op, a, b, d)
    if op >= ops.V_EXTRACT and op <= ops.V_INSERT + 1:
        return _one_lane(op, a, b, d)
    if op == ops.V_SHUFFLE_SCI or (op >= ops.V_SHUFFLEI0 and op <= ops.V_SHUFFLEI3):
        return _shuffle_imm(op, a, b)
    if op >= ops.V_PACK and op <= ops.V_PACKLO:
        return _pack(op, a, b, d)
    if op >= ops.V_CPLXMUL:
        return _complex(op, a, b)
    return _lanes(op, a, b)
