"""Machine code as text: capstone for Arm and RISC-V, our decoder's names for Xpulp."""

from __future__ import annotations

from functools import cache, lru_cache

from capstone import (
    CS_ARCH_ARM,
    CS_ARCH_RISCV,
    CS_MODE_MCLASS,
    CS_MODE_RISCV32,
    CS_MODE_RISCVC,
    CS_MODE_THUMB,
    Cs,
)

from hil.sim.cores.xpulp import encodings as E
from hil.sim.cores.xpulp.decode import decode, find_encoding

REGISTERS_RISCV = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)), "t3", "t4", "t5", "t6",
)  # fmt: skip
# Control registers that RI5CY has at numbers of its own (GAP SDK archi/riscv/priv_1_9.h), and what
# capstone calls these numbers where it knows one.
CSRS_RI5CY = {
    0x014: "uhartid", 0xC10: "privlv", 0x7A0: "pcer", 0x7A1: "pcmr", 0x79F: "pccr31",
    **{0x780 + n: f"pccr{n}" for n in range(16)},
    **{0x7B0 + 4 * n + i: f"{name}{n}" for n in range(2)
       for i, name in enumerate(("lpstart", "lpend", "lpcount"))},
}  # fmt: skip
CSRS_CAPSTONE = {
    0x7A0: "tselect", 0x7A1: "tdata1", 0x7B0: "dcsr", 0x7B1: "dpc", 0x7B2: "dscratch",
    0xC10: "hpmcounter16",
}  # fmt: skip
ONE_SOURCE = (E.F_R1, E.F_PV_ONE)


@cache
def _riscv() -> Cs:
    return Cs(CS_ARCH_RISCV, CS_MODE_RISCV32 | CS_MODE_RISCVC)


@cache
def _thumb() -> Cs:
    return Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)


def _capstone(engine: Cs, code: bytes, address: int) -> str:
    for _, _, mnemonic, operands in engine.disasm_lite(code, address, 1):
        return f"{mnemonic} {operands}".strip()
    return f".byte {', '.join(f'0x{byte:02x}' for byte in code)}"


@lru_cache(maxsize=1 << 14)
def block_texts(code: bytes, places: tuple[tuple[int, int], ...]) -> dict[int, str]:
    """The Thumb instructions of a block by address; ``places`` are their (address, bytes).

    A block as a whole, since an IT instruction names the condition of what follows it.
    """
    start = places[0][0]
    decoded = {
        address: f"{mnemonic} {operands}".strip()
        for address, _, mnemonic, operands in _thumb().disasm_lite(code, start)
    }
    return {
        address: decoded.get(address)
        or _capstone(_thumb(), code[address - start :][:size], address)
        for address, size in places
    }


def _with_csr_name(text: str, number: int) -> str:
    """A control register under the core's own name, where capstone has none or another one."""
    if number not in CSRS_RI5CY:
        return text
    mnemonic, _, operands = text.partition(" ")
    parts = operands.split(", ")
    spelled = CSRS_CAPSTONE.get(number, str(number))
    if spelled in parts:
        parts[parts.index(spelled)] = CSRS_RI5CY[number]
    return f"{mnemonic} {', '.join(parts)}"


@lru_cache(maxsize=1 << 16)
def xpulp_text(word: int, address: int) -> str:
    """The instruction in ``word`` (its low half when compressed) at ``address``."""
    if word & 3 != 3:
        return _capstone(_riscv(), (word & 0xFFFF).to_bytes(2, "little"), address)
    row = find_encoding(word)
    if row is None or not row.mnemonic.startswith(("p.", "pv.", "lp.")):
        text = _capstone(_riscv(), word.to_bytes(4, "little"), address)
        return _with_csr_name(text, word >> 20) if word & 0x7F == 0x73 else text
    return f"{row.mnemonic.split()[0]} {', '.join(_operands(word, row.format, address))}"


def _operands(word: int, form: int, address: int) -> list[str]:
    """Operands of an Xpulp instruction in the order of the vendor's assembler."""
    record = decode(word)
    rd, rs1, rs2, rs3 = (REGISTERS_RISCV[record >> at & 31] for at in (9, 14, 19, 24))
    mode, imm = record >> 30 & 3, record >> 32
    if E.F_LOAD <= form <= E.F_STORE_RR_POST:
        step = str(imm) if mode in (0, 2) else rs3
        data = rd if form <= E.F_LOAD_RR_POST else rs2
        return [data, f"{step}({rs1}{'!' if mode >= 2 else ''})"]
    if form == E.F_B_IMM5:
        offset = (imm & 0xFFFF ^ 0x8000) - 0x8000
        return [rs1, str(imm >> 16), f"0x{address + offset:x}"]
    if E.F_LP_IMM <= form <= E.F_LP_SETUPI:
        return _loop_operands(word, form, address)
    sources = [rs1] if form in ONE_SOURCE else [rs1, str(imm) if mode == 1 else rs2]
    if form in (E.F_FIELD, E.F_MULN, E.F_ADDN):
        low, high = word >> 20 & 31, word >> 25 & 31
        sources = [rs1, str(high), str(low)] if form == E.F_FIELD else [rs1, rs2, str(high)]
    elif form == E.F_CLIP:
        sources = [rs1, str(word >> 20 & 31)]
    elif form == E.F_PV and word >> 13 & 3 == 3:  # .sci: the six bits, signed
        six = word >> 25 & 1 | (word >> 20 & 31) << 1
        sources = [rs1, str((six ^ 32) - 32)]
    return [rd, *sources]


def _loop_operands(word: int, form: int, address: int) -> list[str]:
    loop, immediate = f"x{word >> 7 & 1}", word >> 20 & 0xFFF
    counter = REGISTERS_RISCV[word >> 15 & 31]
    if form == E.F_LP_COUNT:
        return [loop, counter]
    if form == E.F_LP_SETUP:
        return [loop, counter, f"0x{address + 2 * immediate:x}"]
    if form == E.F_LP_SETUPI:
        return [loop, str(immediate), f"0x{address + 2 * (word >> 15 & 31):x}"]
    if word >> 12 & 7 == 3:  # lp.counti
        return [loop, str(immediate)]
    return [loop, f"0x{address + 2 * immediate:x}"]
