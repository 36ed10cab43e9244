"""Cost of a basic block."""

from __future__ import annotations

from dataclasses import dataclass

from hil.sim.cores.cortex_m7.native import Ending


@dataclass(frozen=True)
class BlockCost:
    """What the native hook adds for one execution of a block."""

    cycles: float
    repeat_cycles: float
    instructions: int
    loads: int
    energy_j: float
    ending: Ending
    backward: bool
    uses_fp: bool


def analyse(code: bytes, address: int) -> BlockCost:
    """Count instructions; every one costs 0.8 cycles."""
    count, at, last = 0, 0, 0
    while at < len(code):
        last = int.from_bytes(code[at : at + 2], "little")
        at += 4 if last >> 11 >= 0b11101 else 2
        count += 1
    return BlockCost(0.8 * count, 0.8 * count, count, 0, 0.0, Ending.FALL, False, False)


def remaining_at(cost: BlockCost, address: int) -> float:
    """Cycles of the block behind the issue of the instruction at ``address``."""
    return 0.0
