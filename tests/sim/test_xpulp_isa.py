"""Instruction results: Xpulp against vectors of the vendor simulator, RV32IMC against unicorn."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import unicorn
from unicorn import riscv_const

from hil.sim.chip import Stop
from hil.sim.cores.xpulp.decode import decode
from hil.sim.cores.xpulp.encodings import ENCODINGS
from hil.sim.cores.xpulp.ops import ILLEGAL
from hil.sim.socs.gap8 import Gap8

CODE, RESULTS, DATA = 0x1C010000, 0x1C060000, 0x1C070000
VECTORS = Path(__file__).parent / "data" / "xpulp_vectors.json"
SHARED = Path(__file__).parents[3] / "shared" / "facts"
T0, T1, T2, A0 = 5, 6, 7, 10


def _li(rd: int, value: int) -> list[int]:
    """lui + addi."""
    low = ((value & 0xFFF) ^ 0x800) - 0x800
    high = ((value - low) >> 12) & 0xFFFFF
    return [(high << 12) | (rd << 7) | 0x37, ((low & 0xFFF) << 20) | (rd << 15) | (rd << 7) | 0x13]


def _sw(rs2: int, rs1: int, offset: int) -> int:
    return (
        ((offset >> 5) << 25) | (rs2 << 20) | (rs1 << 15) | (2 << 12) | ((offset & 31) << 7) | 0x23
    )


def _exit() -> list[int]:
    return [*_li(T0, 0x1A1040A0), *_li(T1, 0x80000000), _sw(T1, T0, 0), 0x6F]


def _run(words: list[int]) -> Gap8:
    chip = Gap8()
    chip.load_words(CODE, words)
    assert chip.run(1.0) is Stop.EXITED, chip.fault
    return chip


def _results(vectors: list[tuple[int, int, int, int]]) -> list[int]:
    """rd after each (word, rd_in, rs1, rs2), executed on the fabric controller."""
    words = []
    for i, (word, rd_in, rs1, rs2) in enumerate(vectors):
        words += [*_li(T2, rd_in), *_li(T0, rs1), *_li(T1, rs2), word]
        words += [*_li(A0, RESULTS + 4 * i), _sw(T2, A0, 0)]
    return _run(words + _exit()).peek_words(RESULTS, len(vectors)).tolist()


def _check(rows: list[list[str]]) -> None:
    numbers = [tuple(int(row[i], 16) for i in (1, 2, 3, 4)) for row in rows]
    for row, got in zip(rows, _results(numbers), strict=True):
        assert got == int(row[5], 16), f"{row[0]}: rd_in {row[2]} rs1 {row[3]} rs2 {row[4]}"


def test_vendor_simulator_vectors() -> None:
    rows = json.loads(VECTORS.read_text())["vectors"]
    assert len(rows) > 600
    _check(rows)


def test_all_vectors_of_the_facts_folder() -> None:
    path = SHARED / "xpulp_vectors.json"
    if not path.exists():
        pytest.skip("../shared/facts is not here")
    vectors = json.loads(path.read_text())["vectors"]
    _check([[v[k] for k in ("insn", "word", "rd_in", "rs1", "rs2", "rd_out")] for v in vectors])


def test_every_published_encoding_is_decoded() -> None:
    path = SHARED / "xpulp_encodings.json"
    if not path.exists():
        pytest.skip("../shared/facts is not here")
    for row in json.loads(path.read_text())["instructions"]:
        assert decode(int(row["match"], 16)) & 511 != ILLEGAL, row["mnemonic"]


def test_no_word_matches_two_operations() -> None:
    """Overlapping encodings (aliases) would make the table's order matter."""
    for i, a in enumerate(ENCODINGS):
        for b in ENCODINGS[i + 1 :]:
            common = a.mask & b.mask
            same = a.match & common == b.match & common
            assert not same or a.mask != b.mask, f"{a.mnemonic} and {b.mnemonic}"


# From the documented formulas; the vendor simulator's vectors do not hold these.
GAP8_ONLY = [
    ("pv.pack.h.h", 0xD0006057, 0, 0x11112222, 0x33334444, 0x11113333),
    ("pv.pack.l.h", 0xD0004057, 0, 0x11112222, 0x33334444, 0x22224444),
    ("pv.cplxconj.h", 0x5C000057, 0, 0x00050007, 0, 0xFFFB0007),
    # (0.5 + 0.25j) * (0.5 + 0.5j) = 0.125 + 0.375j in Q15
    ("pv.cplxmul.s", 0x54000057, 0, 0x20004000, 0x40004000, 0x30001000),
    ("pv.cplxmul.s.div2", 0x54002057, 0, 0x20004000, 0x40004000, 0x18000800),
    ("pv.cplxmul.s.div4", 0x56002057, 0, 0x20004000, 0x40004000, 0x0C000400),
    # (a - b) * -j with a = 5 + 9j, b = 3 + 2j: 2 + 7j -> 7 - 2j
    ("pv.subrotmj.h", 0x6C000057, 0, 0x00090005, 0x00020003, 0xFFFE0007),
    ("pv.subrotmj.h.div2", 0x6C002057, 0, 0x00090005, 0x00020003, 0xFFFF0003),
]


def test_complex_operations() -> None:
    fields = (T2 << 7) | (T0 << 15)
    vectors = []
    for name, word, rd_in, rs1, rs2, _ in GAP8_ONLY:
        second = 0 if name == "pv.cplxconj.h" else T1 << 20
        vectors.append((word | fields | second, rd_in, rs1, rs2))
    for row, got in zip(GAP8_ONLY, _results(vectors), strict=True):
        assert got == row[5], f"{row[0]}: 0x{got:08x}"


def test_viterbi_select_uses_the_decisions_of_max() -> None:
    fields = (T2 << 7) | (T0 << 15) | (T1 << 20)
    best, chosen = _results(
        [
            (0x64001057 | fields, 0, 0x00100001, 0x00050009),  # high: 16 > 5, low: 1 <= 9
            (0x64000057 | fields, 0, 0x00030004, 0x00070008),
        ]
    )
    assert best == 0x00100009
    assert chosen == (3 << 1) << 16 | (8 << 1 | 1)


# --- random RV32IMC programs against unicorn -----------------------------------------------------

WRITABLE = [5, 6, 7, *range(10, 32)]
BASES = (2, 8, 9)  # data pointers, never written


def _random_long(rng: random.Random) -> int:
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
    base, offset = rng.choice(BASES), rng.randrange(1000)
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


def _random_short(rng: random.Random) -> int:
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


def _random_program(rng: random.Random, count: int) -> tuple[bytes, int]:
    """Code bytes (without the end) and how many bytes they are; branches never split a word."""
    code = bytearray()
    for number, register in enumerate((*BASES, *WRITABLE)):
        start = DATA + 64 * number if register in BASES else rng.getrandbits(32)
        for word in _li(register, start):
            code += word.to_bytes(4, "little")
    for _ in range(count):
        if rng.random() < 0.5:
            # short ones in pairs, so that an 8-byte forward branch lands between instructions
            for _ in range(2):
                code += _random_short(rng).to_bytes(2, "little")
        else:
            code += _random_long(rng).to_bytes(4, "little")
    code += (0x13).to_bytes(4, "little") * 2
    return bytes(code), len(code)


def _unicorn_state(code: bytes, data: bytes) -> tuple[list[int], bytes]:
    machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    machine.mem_map(0x1C000000, 0x80000)
    machine.mem_write(CODE, code)
    machine.mem_write(DATA, data)
    machine.emu_start(CODE, CODE + len(code))
    registers = [machine.reg_read(riscv_const.UC_RISCV_REG_X0 + i) for i in range(32)]
    return registers, bytes(machine.mem_read(DATA, len(data)))


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_agree_with_unicorn(seed: int) -> None:
    rng = random.Random(seed)
    code, size = _random_program(rng, 3000)
    data = rng.randbytes(2048)
    expected, expected_data = _unicorn_state(code, data)

    store = [_sw(r, 3, 4 * r) for r in range(4, 32)] + [_sw(2, 3, 8)]
    words = np.frombuffer(code, dtype=np.uint32).tolist() + _li(3, RESULTS) + store + _exit()
    chip = Gap8()
    chip.load_words(DATA, np.frombuffer(data, dtype=np.uint32))
    chip.load_words(CODE, words)
    assert chip.run(1.0) is Stop.EXITED, chip.fault
    got = chip.peek_words(RESULTS, 32).tolist()
    known = [2, *BASES, *WRITABLE]
    assert {r: hex(got[r]) for r in known} == {r: hex(expected[r]) for r in known}
    assert chip.peek_words(DATA, 512).tobytes() == expected_data
    assert size > 12000


def test_illegal_words_are_refused() -> None:
    for word in (0x00000000, 0xFFFFFFFF, 0x0000307F, 0x00002003 | 0x4000 | 0x2000 | 0x57):
        if decode(word) & 511 == ILLEGAL:
            chip = Gap8()
            chip.load_words(CODE, [word])
            assert chip.run(1e-3) is Stop.FAULT
            assert chip.fault is not None and chip.fault.pc == CODE and chip.fault.core == 8
    assert decode(0) & 511 == ILLEGAL
