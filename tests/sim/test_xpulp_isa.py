"""Instruction results: Xpulp against vectors of the vendor simulator.

The vectors run on the virtual GAP8 or behind ``--gdb-target`` (docs/instruction-tests.md).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from targets import Target, words, write_words
from xpulp_names import meaning

from hil.sim.chip import Stop
from hil.sim.cores.xpulp.decode import decode
from hil.sim.cores.xpulp.encodings import ENCODINGS
from hil.sim.cores.xpulp.ops import ILLEGAL
from hil.sim.socs.gap8 import Gap8

CODE = 0x1C010000
RESULT_BYTES = 0x4000  # at the end of RAM
HERE = 0x6F  # j .
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


def _results(target: Target, vectors: list[tuple[int, int, int, int]]) -> list[int]:
    """rd after each (word, rd_in, rs1, rs2)."""
    code, results = target.ram.start, target.ram.end - RESULT_BYTES
    program = []
    for i, (word, rd_in, rs1, rs2) in enumerate(vectors):
        program += [*_li(T2, rd_in), *_li(T0, rs1), *_li(T1, rs2), word]
        program += [*_li(A0, results + 4 * i), _sw(T2, A0, 0)]
    target.reset()
    write_words(target, code, *program, HERE)
    target.run(code, code + 4 * len(program))
    return list(words(target, results, len(vectors)))


def check_vectors(target: Target, rows: list[list[str]]) -> None:
    numbers = [tuple(int(row[i], 16) for i in (1, 2, 3, 4)) for row in rows]
    for row, got in zip(rows, _results(target, numbers), strict=True):
        assert got == int(row[5], 16), f"{row[0]}: rd_in {row[2]} rs1 {row[3]} rs2 {row[4]}"


def test_vendor_simulator_vectors(gap8_target: Target) -> None:
    rows = json.loads(VECTORS.read_text())["vectors"]
    assert len(rows) > 600
    check_vectors(gap8_target, rows)


def test_all_vectors_of_the_facts_folder(gap8_target: Target) -> None:
    path = SHARED / "xpulp_vectors.json"
    if not path.exists():
        pytest.skip("../shared/facts is not here")
    vectors = json.loads(path.read_text())["vectors"]
    check_vectors(
        gap8_target,
        [[v[k] for k in ("insn", "word", "rd_in", "rs1", "rs2", "rd_out")] for v in vectors],
    )


def test_every_published_encoding_means_what_its_name_says() -> None:
    path = SHARED / "xpulp_encodings.json"
    if not path.exists():
        pytest.skip("../shared/facts is not here")
    rows = json.loads(path.read_text())["instructions"]
    assert len(rows) == 357
    wrong = {}
    for row in rows:
        match, mask = int(row["match"], 16), int(row["mask"], 16)
        expected = meaning(row["mnemonic"], row["operands"])
        # all operand bits clear, and all set: the operation must be the same
        for word in (match, match | (~mask & 0xFFFFFFFF)):
            record = decode(word)
            got = {"op": record & 511, "mode": record >> 30 & 3, "options": (record >> 32) & ~31}
            differs = {k: (got[k], v) for k, v in expected.items() if got[k] != v}
            if differs:
                wrong[f"{row['mnemonic']} {row['operands']}, 0x{word:08x}"] = differs
    assert not wrong


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


def test_complex_operations(gap8_target: Target) -> None:
    fields = (T2 << 7) | (T0 << 15)
    vectors = []
    for name, word, rd_in, rs1, rs2, _ in GAP8_ONLY:
        second = 0 if name == "pv.cplxconj.h" else T1 << 20
        vectors.append((word | fields | second, rd_in, rs1, rs2))
    for row, got in zip(GAP8_ONLY, _results(gap8_target, vectors), strict=True):
        assert got == row[5], f"{row[0]}: 0x{got:08x}"


def test_viterbi_select_uses_the_decisions_of_max(gap8_target: Target) -> None:
    fields = (T2 << 7) | (T0 << 15) | (T1 << 20)
    best, chosen = _results(
        gap8_target,
        [
            (0x64001057 | fields, 0, 0x00100001, 0x00050009),  # high: 16 > 5, low: 1 <= 9
            (0x64000057 | fields, 0, 0x00030004, 0x00070008),
        ],
    )
    assert best == 0x00100009
    assert chosen == (3 << 1) << 16 | (8 << 1 | 1)


def test_illegal_words_are_refused() -> None:
    for word in (0x00000000, 0xFFFFFFFF, 0x0000307F, 0x00002003 | 0x4000 | 0x2000 | 0x57):
        if decode(word) & 511 == ILLEGAL:
            chip = Gap8()
            chip.load_words(CODE, [word])
            assert chip.run(1e-3) is Stop.FAULT
            assert chip.fault is not None and chip.fault.pc == CODE and chip.fault.core == 8
    assert decode(0) & 511 == ILLEGAL
