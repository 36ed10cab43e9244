"""What an Xpulp mnemonic says of its operation, read from the name alone.

The mnemonics are regular. ``meaning`` takes them apart and names the decoded fields that follow:
the operation, its operand mode, and the options of half-word multiplies and shifted adds.
"""

from __future__ import annotations

import re

from hil.sim.cores.xpulp import decode, encodings, ops

_RENAMED = {"pv.pack.h": "V_PACK", "pv.pack.l.h": "V_PACK", "pv.pack.h.h": "V_PACK_HH",
            "pv.packhi.b": "V_PACKHI", "pv.packlo.b": "V_PACKLO", "pv.vitop.max": "VITOP_MAX",
            "pv.vitop.sel": "VITOP_SEL", "pv.cplxconj.h": "V_CPLXCONJ",
            "pv.shuffle.sci.h": "V_SHUFFLE_SCI"}  # fmt: skip
_LOOPS = {"lp.starti": ops.LP_START, "lp.endi": ops.LP_END, "lp.count": ops.LP_COUNT,
          "lp.counti": ops.LP_COUNTI, "lp.setup": ops.LP_SETUP,
          "lp.setupi": ops.LP_SETUPI}  # fmt: skip
_ONE_WIDTH = ("cplxmul", "subrotmj")  # no byte form: the operation's number is the name's own
_LANE_CHOSEN = ("extract", "extractu", "insert", "shufflei")
_MULN = re.compile(r"p\.(mul|mac)(hh)?([su])(r?)(n?)")
_ADDN = re.compile(r"p\.(add|sub)(u?)(r?)n([ir]?)")
_MEMORY = re.compile(r"p\.(l[bhw]u?|s[bhw])")


def _shifted(mnemonic: str) -> dict[str, int] | None:
    """Half-word multiplies and shifted adds: their options."""
    if found := _MULN.fullmatch(mnemonic):
        name, high, sign, rounded, _ = found.groups()
        options = encodings.MULN_HIGH if high else 0
        options |= encodings.MULN_SIGNED if sign == "s" else 0
        options |= encodings.MULN_ACC if name == "mac" else 0
        options |= encodings.MULN_ROUND if rounded else 0
        return {"op": ops.MULN, "options": options}
    if found := _ADDN.fullmatch(mnemonic):
        name, logical, rounded, register = found.groups()
        options = encodings.ADDN_SUB if name == "sub" else 0
        options |= encodings.ADDN_LOGICAL if logical else 0
        options |= encodings.ADDN_ROUND if rounded else 0
        options |= encodings.ADDN_REG if register == "r" else 0
        return {"op": ops.ADDN, "options": options}
    return None


def _access(name: str, operands: str) -> dict[str, int]:
    """Loads and stores: where the address comes from, and whether it moves on."""
    offset, moves = re.search(r"(\w+)\(rs1(!?)\)", operands).groups()  # type: ignore[union-attr]
    mode = {
        (True, False): decode.ADDRESS_IMM,
        (False, False): decode.ADDRESS_REG,
        (True, True): decode.ADDRESS_POST_IMM,
        (False, True): decode.ADDRESS_POST_REG,
    }[offset == "imm", bool(moves)]
    return {"op": getattr(ops, name.upper()), "mode": mode}


def _packed(mnemonic: str) -> dict[str, int]:
    """pv.NAME[.sc|.sci].LANES[.divN]"""
    if mnemonic in _RENAMED:
        return {"op": getattr(ops, _RENAMED[mnemonic])}
    _, name, *rest = mnemonic.split(".")
    divided = f"_{rest.pop().upper()}" if rest[-1].startswith("div") else ""
    lanes, broadcast = rest[-1], rest[0] if len(rest) == 2 else ""
    op = getattr(ops, f"V_{name.upper()}{divided}")
    if lanes == "b" and not name.startswith(("shufflei", *_ONE_WIDTH)):
        op += 1
    if broadcast == "sci" or name.startswith(_LANE_CHOSEN):
        mode = decode.MODE_IMM
    elif broadcast == "sc":
        mode = decode.MODE_BYTE if lanes == "b" else decode.MODE_HALF
    else:
        mode = decode.MODE_REG
    return {"op": op, "mode": mode}


def meaning(mnemonic: str, operands: str) -> dict[str, int]:
    """The decoded fields (op, and mode and options where the name tells) of a mnemonic."""
    if mnemonic in _LOOPS:
        return {"op": _LOOPS[mnemonic]}
    if mnemonic.startswith("pv."):
        return _packed(mnemonic)
    if found := _MEMORY.fullmatch(mnemonic):
        return _access(found[1], operands)
    if shifted := _shifted(mnemonic):
        return shifted
    name = mnemonic.removeprefix("p.")
    if name in ("beqimm", "bneimm"):
        return {"op": ops.BEQ if name == "beqimm" else ops.BNE, "mode": decode.MODE_IMM}
    by_field = re.fullmatch(r"(clipu?|extractu?|insert|bset|bclr)(i?)(r?)", name)
    if by_field:
        mode = decode.MODE_REG if by_field[3] else decode.MODE_IMM
        return {"op": getattr(ops, by_field[1].upper()), "mode": mode}
    return {"op": getattr(ops, name.upper())}
