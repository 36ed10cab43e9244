"""Decode the instructions of a basic block for the scheduler."""

from __future__ import annotations

from hil.sim.cores.cortex_m7.layout import Ending
from hil.sim.cores.cortex_m7.op import FLAGS, Kind, Op
from hil.sim.cores.cortex_m7.thumb16 import decode16
from hil.sim.cores.cortex_m7.thumb32 import decode32

FP_REGISTERS = 0xFFFFFFFF << 16


def decode_block(code: bytes, address: int) -> list[Op]:
    """The instructions of ``code``, which starts at ``address``, in order."""
    ops: list[Op] = []
    at, conditional_left = 0, 0
    while at + 2 <= len(code):
        first = int.from_bytes(code[at : at + 2], "little")
        size = 4 if first >> 11 >= 0b11101 else 2
        place = address + at
        if size == 4:
            op = decode32(first, int.from_bytes(code[at + 2 : at + 4], "little"), place)
        else:
            op = decode16(first, place, conditional_left > 0)
        if conditional_left > 0:
            conditional_left -= 1
            op = _predicated(op)
        if op.kind is Kind.IT:
            conditional_left = 4 - (((first & 0xF) & -(first & 0xF)).bit_length() - 1)
        ops.append(op.at(place, size))
        at += size
    return ops


def _predicated(op: Op) -> Op:
    """R12: it keeps its slot; it needs the flags, and a branch becomes conditional."""
    ending = Ending.CONDITIONAL if op.ending is Ending.DIRECT else op.ending
    return op._replace(reads=op.reads | FLAGS, ending=ending)
