"""A small assembler for the Xpulp mnemonics the tests use: a line -> its 32-bit word.

Written from the operand notation of the RI5CY manual, not from the simulator's table.
"""

from __future__ import annotations

import re

_ABI = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
)  # fmt: skip
REGISTERS = {name: number for number, name in enumerate(_ABI)} | {f"x{i}": i for i in range(32)}

_LOADS = {"p.lb": (0, 0x00), "p.lbu": (4, 0x20), "p.lh": (1, 0x08), "p.lhu": (5, 0x28),
          "p.lw": (2, 0x10)}  # fmt: skip
_STORES = {"p.sb": 0, "p.sh": 1, "p.sw": 2}
_THREE = {
    "p.mac": 0x42000033, "p.msu": 0x42001033, "p.min": 0x04004033, "p.max": 0x04006033,
    "p.muls": 0x8000005B, "pv.sdotsp.b": 0xB8001057, "pv.sdotusp.b": 0xA8001057,
    "pv.dotsp.b": 0x98001057, "pv.add.b": 0x00001057, "pv.max.b": 0x30001057,
    "pv.sra.h": 0x48000057, "pv.packlo.b": 0xE0001057, "pv.packhi.b": 0xD8001057,
    "pv.shuffle2.b": 0xC8001057,
}  # fmt: skip
_TWO_FIELDS = {"p.extract": 0xC0000033, "p.insert": 0xC0002033, "p.bset": 0xC0004033}
_LANES = {"pv.extract.b": 0x78007057}
_CLIPS = {"p.clip": 0x14001033, "p.clipu": 0x14002033}
_SHIFTED = {"p.mulsrn": 0x8000405B, "p.addn": 0x0000205B}
_MEMORY = re.compile(r"(-?\w+)\((\w+)(!?)\)")


def _load(name: str, operands: list[str]) -> int:
    funct3, funct7 = _LOADS[name]
    rd = REGISTERS[operands[0]]
    offset, base, post = _MEMORY.fullmatch(operands[1]).groups()
    opcode = 0x0B if post else 0x03
    word = (REGISTERS[base] << 15) | (rd << 7) | opcode
    if offset in REGISTERS:
        return word | (funct7 << 25) | (REGISTERS[offset] << 20) | 0x7000
    return word | ((int(offset) & 0xFFF) << 20) | (funct3 << 12)


def _store(name: str, operands: list[str]) -> int:
    rs2 = REGISTERS[operands[0]]
    offset, base, post = _MEMORY.fullmatch(operands[1]).groups()
    opcode = 0x2B if post else 0x23
    word = (rs2 << 20) | (REGISTERS[base] << 15) | opcode
    if offset in REGISTERS:
        return word | ((_STORES[name] + 4) << 12) | (REGISTERS[offset] << 7)
    imm = int(offset) & 0xFFF
    return word | (_STORES[name] << 12) | ((imm >> 5) << 25) | ((imm & 31) << 7)


def encode(line: str) -> int:
    """The word of one Xpulp instruction. Hardware loops take byte offsets instead of labels."""
    name, _, rest = line.strip().partition(" ")
    operands = [part.strip() for part in rest.split(",")]
    if name in _LOADS:
        return _load(name, operands)
    if name in _STORES:
        return _store(name, operands)
    if name == "p.elw":
        offset, base, _ = _MEMORY.fullmatch(operands[1]).groups()
        rd = REGISTERS[operands[0]]
        return 0x6003 | (int(offset, 0) << 20) | (REGISTERS[base] << 15) | (rd << 7)
    if name == "lp.setup":
        loop, count, offset = int(operands[0][1:]), REGISTERS[operands[1]], int(operands[2])
        return 0x407B | ((offset >> 1) << 20) | (count << 15) | (loop << 7)
    if name == "lp.setupi":
        loop, count, offset = int(operands[0][1:]), int(operands[1]), int(operands[2])
        return 0x507B | (count << 20) | ((offset >> 1) << 15) | (loop << 7)
    if name in ("lp.starti", "lp.endi", "lp.counti"):
        funct3 = {"lp.starti": 0, "lp.endi": 1, "lp.counti": 3}[name]
        value = int(operands[1]) >> (0 if funct3 == 3 else 1)
        return 0x7B | (value << 20) | (funct3 << 12) | (int(operands[0][1:]) << 7)
    if name in ("p.beqimm", "p.bneimm"):
        offset = int(operands[2])
        word = 0x63 | ((2 if name == "p.beqimm" else 3) << 12) | (REGISTERS[operands[0]] << 15)
        word |= ((int(operands[1]) & 31) << 20) | (((offset >> 12) & 1) << 31)
        word |= (((offset >> 5) & 0x3F) << 25) | (((offset >> 1) & 15) << 8)
        return word | (((offset >> 11) & 1) << 7)
    rd, rs1 = REGISTERS[operands[0]], REGISTERS[operands[1]]
    word = (rd << 7) | (rs1 << 15)
    if name in _THREE:
        return word | _THREE[name] | (REGISTERS[operands[2]] << 20)
    if name in _TWO_FIELDS:
        return word | _TWO_FIELDS[name] | (int(operands[2]) << 25) | (int(operands[3]) << 20)
    if name in _CLIPS:
        return word | _CLIPS[name] | (int(operands[2]) << 20)
    if name in _LANES:
        lane = int(operands[2])
        return word | _LANES[name] | ((lane & 1) << 25) | ((lane >> 1) << 20)
    if name in _SHIFTED:
        return word | _SHIFTED[name] | (REGISTERS[operands[2]] << 20) | (int(operands[3]) << 25)
    raise ValueError(f"not an Xpulp line this assembler knows: {line}")


def translate(source: str) -> str:
    """Replaces Xpulp lines of an assembly source by ``.4byte`` directives; comments go."""
    lines = []
    for line in source.splitlines():
        for part in line.partition("#")[0].split(";"):
            xpulp = re.fullmatch(r"\s*((?:\w+:)?)\s*((?:p|pv|lp)\..*?)\s*", part)
            if xpulp:
                label, code = xpulp.groups()
                part = f"{label}    .4byte 0x{encode(code):08x}  # {code}"
            lines.append(part.rstrip())
    return "\n".join(lines)
