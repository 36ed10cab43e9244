"""Random programs of Thumb-2, DSP and single-precision FP instructions for a Cortex-M7.

Encodings are written from the Armv7-M manual (A7.7), not from the simulator's decoder. A letter
of a pattern is a field, drawn once for all its bits: ``d`` and ``e`` destinations, ``n``, ``m``
and ``a`` sources, ``x`` free bits. Nothing UNPREDICTABLE is drawn, registers r8 (a place in the
buffer), r9 (a small index), SP and PC are never a destination.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Code = list[int]  # halfwords

BASE, INDEX = 8, 9
DESTINATIONS = (*range(8), 10, 11, 12, 14)
SOURCES = (*range(13), 14)
HIGH = (8, 9, 10, 11, 12, 14)
BUFFER_BYTES, RECORDS_AT, STATE_BYTES = 0x2000, 0x3000, 208


@dataclass(frozen=True)
class Layout:
    """Where the harness (tests/sim/firmware/thumb_harness.S) and what belongs to it lie.

    ``text`` and ``ram``, ``text_bytes`` and ``ram_bytes`` long, may be anywhere: the program is at
    0x1000 of the first, the bodies' buffer at 0x1000 and the records at 0x3000 of the second.
    """

    text: int
    text_bytes: int
    ram: int
    ram_bytes: int

    @property
    def program(self) -> int:
        """Where ``Program.image`` goes."""
        return self.text + 0x1000

    @property
    def save(self) -> int:
        """Where every body ends."""
        return self.text + 0x200

    @property
    def middle(self) -> int:
        """A place in the buffer, r8 of every state."""
        return self.ram + 0x1C00

    @property
    def stack(self) -> int:
        """The highest stack pointer of a state."""
        return self.ram + 0x2800

    @property
    def most_records(self) -> int:
        """How many states can be kept."""
        return (self.ram_bytes - RECORDS_AT) // STATE_BYTES


# One instruction each; no branch, so that all of them may stand in an IT block.
PATTERNS = """
data processing, shifted register
111010100xxxnnnn0xxxddddxxxxmmmm and bic orr orn (n is never 15)
11101010100xnnnn0xxxddddxxxxmmmm eor
11101011000xnnnn0xxxddddxxxxmmmm add
1110101101xxnnnn0xxxddddxxxxmmmm adc sbc
11101011101xnnnn0xxxddddxxxxmmmm sub
11101011110xnnnn0xxxddddxxxxmmmm rsb
11101010010x11110xxxddddxxxxmmmm mov and shifts
11101010011x11110xxxddddxxxxmmmm mvn
111010100001nnnn0xxx1111xxxxmmmm tst
111010101001nnnn0xxx1111xxxxmmmm teq
111010110001nnnn0xxx1111xxxxmmmm cmn
111010111011nnnn0xxx1111xxxxmmmm cmp
111010101100nnnn0xxxddddxxx0mmmm pkhbt pkhtb
data processing, immediate
11110x000xxxnnnn0xxxddddxxxxxxx1 and bic orr orn
11110x00100xnnnn0xxxddddxxxxxxx1 eor
11110x01000xnnnn0xxxddddxxxxxxx1 add
11110x0101xxnnnn0xxxddddxxxxxxx1 adc sbc
11110x01101xnnnn0xxxddddxxxxxxx1 sub
11110x01110xnnnn0xxxddddxxxxxxx1 rsb
11110x0001xx11110xxxddddxxxxxxx1 mov mvn
11110x000001nnnn0xxx1111xxxxxxx1 tst
11110x001001nnnn0xxx1111xxxxxxx1 teq
11110x010001nnnn0xxx1111xxxxxxx1 cmn
11110x011011nnnn0xxx1111xxxxxxx1 cmp
11110x100000nnnn0xxxddddxxxxxxxx addw
11110x101010nnnn0xxxddddxxxxxxxx subw
11110x10000011110xxxddddxxxxxxxx adr
11110x10101011110xxxddddxxxxxxxx adr, downwards
11110x100100xxxx0xxxddddxxxxxxxx movw
11110x101100xxxx0xxxddddxxxxxxxx movt
111100110000nnnn0xxxddddxx0xxxxx ssat lsl
111100110010nnnn0xx1ddddxx0xxxxx ssat asr
111100110010nnnn0000dddd0000xxxx ssat16
111100111000nnnn0xxxddddxx0xxxxx usat lsl
111100111010nnnn0xx1ddddxx0xxxxx usat asr
111100111010nnnn0000dddd0000xxxx usat16
data processing, register
111110100xxxnnnn1111dddd0000mmmm lsl lsr asr ror
111110100000nnnn1111dddd10xxmmmm sxtah
111110100001nnnn1111dddd10xxmmmm uxtah
111110100010nnnn1111dddd10xxmmmm sxtab16
111110100011nnnn1111dddd10xxmmmm uxtab16
111110100100nnnn1111dddd10xxmmmm sxtab
111110100101nnnn1111dddd10xxmmmm uxtab
11111010000x11111111dddd10xxmmmm sxth uxth
11111010001x11111111dddd10xxmmmm sxtb16 uxtb16
11111010010x11111111dddd10xxmmmm sxtb uxtb
111110101000nnnn1111dddd0x00mmmm sadd8 uadd8
111110101000nnnn1111dddd0x01mmmm qadd8 uqadd8
111110101000nnnn1111dddd0x10mmmm shadd8 uhadd8
111110101001nnnn1111dddd0x00mmmm sadd16 uadd16
111110101001nnnn1111dddd0x01mmmm qadd16 uqadd16
111110101001nnnn1111dddd0x10mmmm shadd16 uhadd16
111110101010nnnn1111dddd0x00mmmm sasx uasx
111110101010nnnn1111dddd0x01mmmm qasx uqasx
111110101010nnnn1111dddd0x10mmmm shasx uhasx
111110101100nnnn1111dddd0x00mmmm ssub8 usub8
111110101100nnnn1111dddd0x01mmmm qsub8 uqsub8
111110101100nnnn1111dddd0x10mmmm shsub8 uhsub8
111110101101nnnn1111dddd0x00mmmm ssub16 usub16
111110101101nnnn1111dddd0x01mmmm qsub16 uqsub16
111110101101nnnn1111dddd0x10mmmm shsub16 uhsub16
111110101110nnnn1111dddd0x00mmmm ssax usax
111110101110nnnn1111dddd0x01mmmm qsax uqsax
111110101110nnnn1111dddd0x10mmmm shsax uhsax
111110101000nnnn1111dddd10xxmmmm qadd qdadd qsub qdsub
111110101001mmmm1111dddd10xxmmmm rev rev16 rbit revsh
111110101010nnnn1111dddd1000mmmm sel
111110101011mmmm1111dddd1000mmmm clz
multiply and divide
111110110000nnnnaaaadddd000xmmmm mla mls
111110110000nnnn1111dddd0000mmmm mul
111110110001nnnnaaaadddd00xxmmmm smlaxy
111110110001nnnn1111dddd00xxmmmm smulxy
111110110010nnnnaaaadddd000xmmmm smlad
111110110010nnnn1111dddd000xmmmm smuad
111110110011nnnnaaaadddd000xmmmm smlaw
111110110011nnnn1111dddd000xmmmm smulw
111110110100nnnnaaaadddd000xmmmm smlsd
111110110100nnnn1111dddd000xmmmm smusd
111110110101nnnnaaaadddd000xmmmm smmla
111110110101nnnn1111dddd000xmmmm smmul
111110110110nnnnaaaadddd000xmmmm smmls
111110110111nnnnaaaadddd0000mmmm usada8
111110110111nnnn1111dddd0000mmmm usad8
111110111000nnnnddddeeee0000mmmm smull
111110111010nnnnddddeeee0000mmmm umull
111110111100nnnnddddeeee0000mmmm smlal
111110111100nnnnddddeeee10xxmmmm smlalxy
111110111100nnnnddddeeee110xmmmm smlald
111110111101nnnnddddeeee110xmmmm smlsld
111110111110nnnnddddeeee0000mmmm umlal
111110111110nnnnddddeeee0110mmmm umaal
111110111001nnnn1111dddd1111mmmm sdiv
111110111011nnnn1111dddd1111mmmm udiv
16 bits
00000xxxxxmmmddd lsl
00001xxxxxmmmddd lsr
00010xxxxxmmmddd asr
0001100mmmnnnddd add
0001101mmmnnnddd sub
000111xxxxnnnddd add sub, 3 bits
00100dddxxxxxxxx mov
00101nnnxxxxxxxx cmp
00110dddxxxxxxxx add
00111dddxxxxxxxx sub
010000xxxxmmmddd data processing
01000100dmmmmddd add, high registers
01000101hmmmmhhh cmp, high registers
01000110dmmmmddd mov
10100dddxxxxxxxx adr
10101dddxxxxxxxx add sp
10110010xxmmmddd sxth sxtb uxth uxtb
1011101000mmmddd rev
1011101001mmmddd rev16
1011101011mmmddd revsh
flags
111100111000nnnn10001x0000000000 msr apsr, with and without GE
111100111000nnnn1000010000000000 msr apsr, GE alone
loads and stores from the buffer's base
1111100010011000dddd0000xxxxxxxx ldrb
1111100010111000dddd0000xxxxxxxx ldrh
1111100011011000dddd0000xxxxxxxx ldr, any alignment
1111100110011000dddd0000xxxxxxxx ldrsb
1111100110111000dddd0000xxxxxxxx ldrsh
1111100010001000nnnn0000xxxxxxxx strb
1111100010101000nnnn0000xxxxxxxx strh
1111100011001000nnnn0000xxxxxxxx str
1111100000011000dddd000000xx1001 ldrb, index
1111100000111000dddd000000xx1001 ldrh, index
1111100001011000dddd000000xx1001 ldr, index
1111100100011000dddd000000xx1001 ldrsb, index
1111100100111000dddd000000xx1001 ldrsh, index
1111100000001000nnnn000000xx1001 strb, index
1111100000101000nnnn000000xx1001 strh, index
1111100001001000nnnn000000xx1001 str, index
1111100001011000dddd1100xxxxxxxx ldr, downwards
1111100001001000nnnn1100xxxxxxxx str, downwards
1111100001011000dddd1110xxxxxxxx ldrt
11101001x1011000ddddeeeexxxxxxxx ldrd
11101001x1001000nnnnmmmmxxxxxxxx strd
10011dddxxxxxxxx ldr sp
10010nnnxxxxxxxx str sp
"""

FP_PATTERNS = """
111011100x00xxxxxxxx1010xxx0xxxx vmla vmls
111011100x01xxxxxxxx1010xxx0xxxx vnmla vnmls
111011100x10xxxxxxxx1010xxx0xxxx vmul vnmul
111011100x11xxxxxxxx1010xxx0xxxx vadd vsub
111011101x00xxxxxxxx1010x0x0xxxx vdiv
111011101x01xxxxxxxx1010xxx0xxxx vfnma vfnms
111011101x10xxxxxxxx1010xxx0xxxx vfma vfms
111011101x11xxxxxxxx10100000xxxx vmov, immediate
111011101x110000xxxx1010x1x0xxxx vmov vabs
111011101x110001xxxx1010x1x0xxxx vneg vsqrt
111011101x110010xxxx1010x1x0xxxx vcvtb vcvtt from half
111011101x110011xxxx1010x1x0xxxx vcvtb vcvtt to half
111011101x110100xxxx1010x1x0xxxx vcmp
111011101x110101xxxx1010x1000000 vcmp with zero
111011101x110110xxxx1010x1x0xxxx vrintr vrintz
111011101x110111xxxx101001x0xxxx vrintx
111011101x111000xxxx1010x1x0xxxx vcvt from integer
111011101x11110xxxxx1010x1x0xxxx vcvt to integer
111011101x11111xxxxx1010x1x00xxx vcvt to fixed point
111011100000xxxxnnnn1010x0010000 vmov to single
111011100001xxxxdddd1010x0010000 vmov from single
11101110111100011111101000010000 vmrs flags
111011011x011000xxxx1010000xxxxx vldr
111011011x001000xxxx1010000xxxxx vstr
"""
# VSEL and its kin are undefined in an IT block.
FP_UNCONDITIONAL = """
111111100xxxxxxxxxxx1010x0x0xxxx vsel
111111101x00xxxxxxxx1010xxx0xxxx vmaxnm vminnm
111111101x1110xxxxxx101001x0xxxx vrinta vrintn vrintp vrintm
111111101x1111xxxxxx1010x1x0xxxx vcvta vcvtn vcvtp vcvtm
"""


class Pattern(NamedTuple):
    """An encoding and what it is called."""

    bits: str
    name: str


def _patterns(text: str) -> list[Pattern]:
    rows = (line.partition(" ") for line in text.strip().splitlines())
    return [Pattern(bits, name) for bits, _, name in rows if len(bits) in (16, 32)]


PLAIN, FP, FP_ALWAYS = _patterns(PATTERNS), _patterns(FP_PATTERNS), _patterns(FP_UNCONDITIONAL)


def encode(draw: random.Random, bits: str, **fixed: int) -> Code:
    """Halfwords of a pattern: fields from ``fixed``, the others drawn."""
    values = dict(fixed)
    for letter in "demnah":
        width = bits.count(letter)
        if width and letter not in values:
            values[letter] = _register(draw, letter, width, values)
    word = 0
    used = {letter: bits.count(letter) for letter in values}
    for bit in bits:
        if bit == "x":
            value = draw.getrandbits(1)
        elif bit in values:
            used[bit] -= 1
            value = values[bit] >> used[bit] & 1
        else:
            value = int(bit)
        word = word << 1 | value
    return [word] if len(bits) == 16 else [word >> 16, word & 0xFFFF]


def _register(draw: random.Random, letter: str, width: int, taken: dict[str, int]) -> int:
    pool = DESTINATIONS if letter in "de" else HIGH if letter == "h" else SOURCES
    fits = [number for number in pool if number < 1 << width]
    if letter == "e":
        fits.remove(taken["d"])
    return draw.choice(fits)


def single(draw: random.Random, floats: bool) -> Code:
    """One instruction that may stand in an IT block."""
    choice = draw.random()
    if choice < 0.03:
        return _bit_field(draw)
    return encode(draw, draw.choice(FP if floats and choice < 0.4 else PLAIN).bits)


def _bit_field(draw: random.Random) -> Code:
    low = draw.randrange(32)
    width = draw.randint(1, 32 - low)
    source = draw.choice(SOURCES)
    kind = draw.choice(("sbfx", "ubfx", "bfi", "bfc"))
    field = width - 1 if kind.endswith("x") else low + width - 1
    first = {"sbfx": 0xF340, "ubfx": 0xF3C0, "bfi": 0xF360, "bfc": 0xF360}[kind]
    first |= 15 if kind == "bfc" else source
    place = (low >> 2) << 12 | (low & 3) << 6
    return [first, place | draw.choice(DESTINATIONS) << 8 | field]


# Several instructions that belong together


def _base(draw: random.Random, low: bool = False) -> tuple[int, Code]:
    """A register that points into the buffer from here on."""
    register = draw.randrange(8) if low else draw.choice(DESTINATIONS)
    return register, encode(draw, "01000110dmmmmddd", d=register, m=BASE)


def _update(draw: random.Random) -> Code:
    """LDR, STR and their narrow forms with an updated base."""
    base, code = _base(draw)
    size, loads = draw.randrange(3), draw.getrandbits(1)
    signed = loads and size < 2 and draw.getrandbits(1)
    other = draw.choice([r for r in DESTINATIONS if r != base])
    first = 0xF800 | signed << 8 | size << 5 | loads << 4 | base
    mode = draw.choice((0b1001, 0b1011, 0b1101, 0b1111))
    return [*code, first, other << 12 | mode << 8 | draw.getrandbits(8)]


def _double_update(draw: random.Random) -> Code:
    base, code = _base(draw)
    first, second = draw.sample([r for r in DESTINATIONS if r != base], 2)
    mode = draw.choice((0x0060, 0x00E0, 0x0160, 0x01E0))  # P U 1 W
    loads = draw.getrandbits(1) << 4
    word = 0xE800 | mode | loads | base
    return [*code, word, first << 12 | second << 8 | draw.getrandbits(7)]


def _many(draw: random.Random) -> Code:
    """LDM and STM, up and down."""
    base, code = _base(draw)
    loads, updates = draw.getrandbits(1), draw.getrandbits(1)
    pool = [r for r in DESTINATIONS if r != base]
    listed = draw.sample(pool, draw.randint(2, len(pool)))
    first = draw.choice((0xE880, 0xE900)) | updates << 5 | loads << 4 | base
    return [*code, first, sum(1 << register for register in listed)]


def _many_low(draw: random.Random) -> Code:
    base, code = _base(draw, low=True)
    loads = draw.getrandbits(1)
    listed = draw.randint(1, 255)
    if not loads:
        listed = listed & ~(1 << base) or 1 << (base + 1) % 8
    return [*code, 0xC000 | loads << 11 | base << 8 | listed]


def _low_base(draw: random.Random) -> Code:
    """The 16-bit loads and stores."""
    base, code = _base(draw, low=True)
    other = draw.choice([r for r in range(8) if r != base])
    immediate = draw.choice((0x6000, 0x6800, 0x7000, 0x7800, 0x8000, 0x8800))
    if draw.getrandbits(1):
        return [*code, immediate | draw.getrandbits(5) << 6 | base << 3 | other]
    index = draw.choice([r for r in range(8) if r != base])
    code += [0x2000 | index << 8 | draw.getrandbits(7)]  # movs index, #
    return [*code, 0x5000 | draw.getrandbits(3) << 9 | index << 6 | base << 3 | other]


def _stack(draw: random.Random, floats: bool) -> Code:
    """PUSH and POP of as many registers."""
    count = draw.randint(1, 8)
    pushed, popped = (sum(1 << r for r in draw.sample(range(8), count)) for _ in range(2))
    return [0xB400 | pushed, *single(draw, floats), 0xBC00 | popped]


def _float_many(draw: random.Random) -> Code:
    """VLDM and VSTM with an updated base."""
    base, code = _base(draw)
    first, loads = draw.randrange(24), draw.getrandbits(1)
    word = draw.choice((0xECA0, 0xED20)) | loads << 4 | base | (first & 1) << 6
    return [*code, word, (first >> 1) << 12 | 0xA00 | draw.randint(1, 8)]


def _from_fixed(draw: random.Random) -> Code:
    """VCVT from fixed point in the default rounding mode, the only one that the chip takes."""
    register = draw.choice(DESTINATIONS)
    code = [0xF04F, register << 8, 0xEEE1, 0x0A10 | register << 12]  # mov #0; vmsr fpscr
    return code + encode(draw, "111011101x11101xxxxx1010x1x00xxx")


def _exclusive(draw: random.Random) -> Code:
    """LDREX and a STREX that succeeds."""
    loaded, stored, status = draw.sample(DESTINATIONS, 3)
    offset = draw.getrandbits(6)
    return [0xE858, loaded << 12 | 0xF00 | offset, 0xE848, stored << 12 | status << 8 | offset]


def _flags(draw: random.Random) -> Code:
    """MRS of the flags NZCVQ; the bits below are not alike in A and M profile."""
    register = draw.choice(DESTINATIONS)
    return [0xF3EF, 0x8000 | register << 8, 0xEA4F, 0x60D0 | register << 8 | register]  # lsr #27


def _conditional(draw: random.Random, floats: bool) -> Code:
    """IT with its one to four instructions."""
    mask = draw.randint(1, 15)
    covered = 4 - ((mask & -mask).bit_length() - 1)
    code = [0xBF00 | draw.randrange(14) << 4 | mask]
    for _ in range(covered):
        code += single(draw, floats)
    return code


def _skip(draw: random.Random, floats: bool) -> Code:
    """A forward branch over a few instructions: B, B.W, CBZ, CBNZ."""
    over: Code = []
    for _ in range(draw.randint(1, 3)):
        over += single(draw, floats)
    away = len(over)  # in halfwords behind the branch
    kind = draw.randrange(3)
    if kind == 0 and away >= 1:
        return [0xD000 | draw.randrange(14) << 8 | (away - 1) & 0xFF, *over]
    if kind == 1:
        return [0xB100 | draw.getrandbits(1) << 11 | (away - 1) << 3 | draw.randrange(8), *over]
    return [0xF000 | draw.randrange(14) << 6, 0x8000 | away, *over]


def _table(draw: random.Random, floats: bool) -> Code:
    """TBB or TBH over four places, by two bits of a register."""
    index = draw.choice(DESTINATIONS)
    code = [0xF000 | draw.choice(SOURCES), index << 8 | 3]  # and index, source, #3
    halves = draw.getrandbits(1)
    code += [0xE8DF, 0xF000 | halves << 4 | index]
    arms = [single(draw, floats) for _ in range(4)]
    entries, at = [], 4 if halves else 2
    for arm in arms:
        entries.append(at)
        at += len(arm)
    table = entries if halves else [entries[1] << 8 | entries[0], entries[3] << 8 | entries[2]]
    return [*code, *table, *(half for arm in arms for half in arm)]


def _loop(draw: random.Random, floats: bool) -> Code:
    """SUBS and BNE backwards, a few turns; nothing inside writes the counter."""
    counter = draw.randrange(8)
    code = [0x2000 | counter << 8 | draw.randint(1, 5)]
    inside: Code = []
    while len(inside) < 4:
        piece = encode(draw, "111110110010nnnnaaaadddd000xmmmm", d=draw.choice((10, 11, 12)))
        inside += piece if not floats else encode(draw, "111011100x11xxxxxxxx1010xxx0xxxx")
    inside += [0x3801 | counter << 8]
    return [*code, *inside, 0xD100 | -(len(inside) + 2) & 0xFF]


def _unconditional(draw: random.Random) -> Code:
    return encode(draw, draw.choice(FP_ALWAYS).bits)


Group = Callable[[random.Random, bool], Code]


def _no_floats(make: Callable[[random.Random], Code]) -> Group:
    return lambda draw, _floats: make(draw)


GROUPS: tuple[Group, ...] = (
    *map(_no_floats, (_update, _double_update, _many, _many_low, _low_base, _exclusive, _flags)),
    *(_stack, _conditional, _conditional, _skip, _skip, _table, _loop),
)


def body(draw: random.Random, pieces: int, floats: bool) -> Code:
    """A random sequence that falls out of its end with SP where it was."""
    code: Code = []
    for _ in range(pieces):
        choice = draw.random()
        if floats and choice < 0.05:
            code += draw.choice((_float_many, _from_fixed, _unconditional))(draw)
        elif choice < 0.3:
            code += draw.choice(GROUPS)(draw, floats)
        else:
            code += single(draw, floats)
    return code


# Programs

_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
                0xFFFFFFFF, 0x00800080, 0x7FFF8000, 0x80007FFF, 0x80808080, 0x7F7F7F7F)  # fmt: skip
_FLOATS = (0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000,
           0x7F800001, 0xFFC12345, 0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x4F000000,
           0x5F000000, 0x3F000000, 0x477FE000)  # fmt: skip
_FPSCR = (0, 0, 0, 1 << 24, 1 << 25, 1 << 22, 2 << 22, 3 << 22, 1 << 26)  # FZ, DN, RMode, AHP


def state(draw: random.Random, layout: Layout) -> bytes:
    """Registers, flags and FP registers to start from."""

    def number(special: tuple[int, ...]) -> int:
        return draw.choice(special) if draw.random() < 0.3 else draw.getrandbits(32)

    registers = [number(_INTERESTING) for _ in range(15)]
    registers[BASE], registers[INDEX] = layout.middle, draw.randrange(64)
    registers[13] = layout.stack - 4 * draw.randrange(16)
    flags = draw.getrandbits(5) << 27 | draw.getrandbits(4) << 16
    singles = [
        number(_FLOATS) if draw.random() < 0.5 else 0x3F000000 + draw.getrandbits(26)
        for _ in range(32)
    ]
    words = [*registers, flags, draw.choice(_FPSCR), *singles, 0, 0, 0]
    return struct.pack(f"<{len(words)}I", *words)


@dataclass(frozen=True)
class Program:
    """Bodies, each to be run on every state; ``image`` is what the harness reads."""

    bodies: tuple[bytes, ...]
    states: tuple[bytes, ...]
    image: bytes


def program(
    layout: Layout, seed: int, bodies: int, pieces: int, states: int, floats: bool
) -> Program:
    """A program of random bodies; ValueError where the harness has no room for it."""
    draw = random.Random(seed)
    if bodies * states > layout.most_records:
        raise ValueError(
            f"{bodies} bodies on {states} states: at most {layout.most_records} records"
        )
    codes, starts = [], []
    memory = draw.randbytes(BUFFER_BYTES)
    drawn = [state(draw, layout) for _ in range(states)]
    table_at = layout.program + 20
    states_at = table_at + 4 * bodies
    memory_at = states_at + STATE_BYTES * states
    at = memory_at + BUFFER_BYTES
    for _ in range(bodies):
        code = struct.pack(f"<{len(c := body(draw, pieces, floats))}H", *c)
        jump = (b"" if (at + len(code)) % 4 == 0 else b"\x00\xbf") + struct.pack(
            "<HHI", 0xF8DF, 0xF000, layout.save | 1
        )  # nop to align; ldr pc, [pc]
        codes.append(code + jump)
        starts.append(at)
        at += len(codes[-1])
    header = struct.pack("<5I", bodies, states, table_at, states_at, memory_at)
    table = struct.pack(f"<{bodies}I", *(start | 1 for start in starts))
    image = header + table + b"".join(drawn) + memory + b"".join(codes)
    if layout.program + len(image) > layout.text + layout.text_bytes:
        raise ValueError(f"a program of {len(image)} bytes does not fit {layout}")
    return Program(tuple(codes), tuple(drawn), image)
