"""Random RV32IMC programs that end: jumps and branches go forward, the whole is a loop."""

from __future__ import annotations

import random

DATA_BYTES = 2048
# The data pointers lie in the middle, 64 bytes apart, so that offsets go either way.
MIDDLE, LOWEST, BEYOND = 1024, -1000, 880
COUNTER = 4  # tp counts the passes; ra takes links of compressed calls
WRITABLE = [5, 6, 7, *range(10, 32)]
BASES = (2, 8, 9)  # data pointers, never written


def random_long(rng: random.Random) -> int:
    rd, rs1, rs2 = (rng.choice(WRITABLE) for _ in range(3))
    kind = rng.randrange(8)
    if kind <= 1:
        funct7 = rng.choice((0, 1, 1, 0x20))
        funct3 = rng.choice((0, 5)) if funct7 == 0x20 else rng.randrange(8)
        return (funct7 << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x33
    if kind <= 3:
        funct3 = rng.choice((0, 2, 3, 4, 6, 7))
        return (rng.getrandbits(12) << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | 0x13
    if kind == 4:
        top = rng.choice((0x1013, 0x5013, 0x40005013))
        return top | (rng.randrange(32) << 20) | (rs1 << 15) | (rd << 7)
    base, offset = rng.choice(BASES), rng.randrange(LOWEST, BEYOND) & 0xFFF
    if kind == 5:
        funct3 = rng.choice((0, 1, 2, 4, 5))
        return (offset << 20) | (base << 15) | (funct3 << 12) | (rd << 7) | 0x03
    if kind == 6:
        word = ((offset >> 5) << 25) | (rs2 << 20) | (base << 15) | ((offset & 31) << 7)
        return word | (rng.choice((0, 1, 2)) << 12) | 0x23
    if rng.random() < 0.3:
        return (rng.getrandbits(20) << 12) | (rd << 7) | rng.choice((0x37, 0x17))
    funct3 = rng.choice((0, 1, 4, 5, 6, 7))
    return (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (8 << 7) | 0x63  # forward, 8 bytes


def random_short(rng: random.Random) -> int:
    """A legal compressed instruction without control flow."""
    low = rng.randrange(2, 8)  # x10..x15 of the eight short registers
    imm5 = rng.randrange(1, 32)
    rd = rng.choice(WRITABLE)
    kind = rng.randrange(9)
    if kind == 0:  # c.addi, c.li
        return rng.choice((0, 2)) << 13 | rng.randrange(2) << 12 | rd << 7 | imm5 << 2 | 1
    if kind == 1:  # c.lui
        return 3 << 13 | rng.randrange(2) << 12 | rd << 7 | imm5 << 2 | 1
    if kind == 2:  # c.srli, c.srai
        return 4 << 13 | rng.randrange(2) << 10 | low << 7 | imm5 << 2 | 1
    if kind == 3:  # c.andi
        return 4 << 13 | rng.randrange(2) << 12 | 2 << 10 | low << 7 | imm5 << 2 | 1
    if kind == 4:  # c.sub, c.xor, c.or, c.and
        source = rng.randrange(8)
        return 4 << 13 | 3 << 10 | low << 7 | rng.randrange(4) << 5 | source << 2 | 1
    if kind == 5:  # c.slli
        return rd << 7 | imm5 << 2 | 2
    if kind == 6:  # c.mv, c.add
        return 4 << 13 | rng.randrange(2) << 12 | rd << 7 | rng.choice(WRITABLE) << 2 | 2
    if kind == 7:  # c.lw, c.sw through x8 or x9
        which = rng.choice((2, 6))
        return (
            which << 13
            | rng.getrandbits(3) << 10
            | rng.randrange(2) << 7
            | (rng.getrandbits(2) << 5)
            | low << 2
        )
    if rng.random() < 0.5:  # c.lwsp, c.swsp
        return 2 << 13 | rng.randrange(2) << 12 | rd << 7 | imm5 << 2 | 2
    return 6 << 13 | rng.getrandbits(6) << 7 | rng.choice(WRITABLE) << 2 | 2


def _short_jump(rng: random.Random) -> int:
    """c.j, c.jal, c.beqz or c.bnez over the second half of its pair."""
    kind = rng.choice((1, 5, 6, 7))
    register = rng.randrange(8) << 7 if kind >= 6 else 0
    return kind << 13 | register | 2 << 3 | 1


def _pair(rng: random.Random) -> list[int]:
    """Two compressed instructions; a jump to the next word lands behind both."""
    if rng.random() < 0.1:  # c.addi16sp there and back
        return [3 << 13 | 2 << 7 | 1 << 6 | 1, 3 << 13 | 1 << 12 | 2 << 7 | 0x1F << 2 | 1]
    if rng.random() < 0.1:  # c.addi4spn, c.nop
        return [rng.randrange(1, 256) << 5 | rng.randrange(2, 8) << 2, 1]
    first = _short_jump(rng) if rng.random() < 0.15 else random_short(rng)
    return [first, random_short(rng)]


def _indirect_jump(rng: random.Random) -> bytes:
    """auipc and a jump through its register: jalr over one word, or c.jr, c.jalr to the next."""
    rd = rng.choice(WRITABLE)
    auipc = (rd << 7 | 0x17).to_bytes(4, "little")
    if rng.random() < 0.5:
        link = rng.choice(WRITABLE)
        return auipc + (12 << 20 | rd << 15 | link << 7 | 0x67).to_bytes(4, "little")
    add_8 = rd << 7 | 8 << 2 | 1
    jump = 4 << 13 | rng.randrange(2) << 12 | rd << 7 | 2
    return auipc + add_8.to_bytes(2, "little") + jump.to_bytes(2, "little")


def li(rd: int, value: int) -> list[int]:
    """lui and addi."""
    low = ((value & 0xFFF) ^ 0x800) - 0x800
    high = ((value - low) >> 12) & 0xFFFFF
    return [(high << 12) | (rd << 7) | 0x37, ((low & 0xFFF) << 20) | (rd << 15) | (rd << 7) | 0x13]


def _jump(rd: int, offset: int) -> int:
    """jal; its immediate is scattered."""
    bits = (offset >> 20 & 1) << 31 | (offset >> 1 & 0x3FF) << 21 | (offset >> 11 & 1) << 20
    return bits | (offset >> 12 & 0xFF) << 12 | rd << 7 | 0x6F


def random_program(rng: random.Random, units: int, passes: int, data: int) -> bytes:
    """``units`` words or pairs, run ``passes`` times; it ends behind its last byte. It works on
    DATA_BYTES at ``data``.

    A jump skips the word after it, so an indirect jump (two words) never follows one.
    """
    words = [w for r in WRITABLE for w in li(r, rng.getrandbits(32))]
    words += [w for i, r in enumerate(BASES) for w in li(r, data + MIDDLE + 64 * i)]
    words += [*li(COUNTER, passes), *li(1, rng.getrandbits(32))]
    head = b"".join(word.to_bytes(4, "little") for word in words)
    body = bytearray()
    may_skip = False
    for _ in range(units):
        chance = rng.random()
        if chance < 0.05 and not may_skip:
            body += _indirect_jump(rng)
            may_skip = True
        elif chance < 0.5:
            for half in _pair(rng):
                body += half.to_bytes(2, "little")
            may_skip = False
        else:
            word = _jump(rng.choice(WRITABLE), 8) if chance < 0.55 else random_long(rng)
            body += word.to_bytes(4, "little")
            may_skip = word & 0x7F in (0x63, 0x6F)
    body += (0x13).to_bytes(4, "little") * 2
    body += (0xFFF << 20 | COUNTER << 15 | COUNTER << 7 | 0x13).to_bytes(4, "little")
    body += (COUNTER << 15 | 8 << 7 | 0x63).to_bytes(4, "little")  # beq tp, x0, +8
    body += _jump(0, -len(body)).to_bytes(4, "little")
    return head + bytes(body)
