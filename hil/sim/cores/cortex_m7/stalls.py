"""Why the instructions of a block take their cycles: the scheduler, watched from the side.

The cycles are the scheduler's own (``Pipeline.issue`` is called, not repeated); only their
reasons are worked out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hil.sim.cores.cortex_m7 import costs
from hil.sim.cores.cortex_m7.op import Kind, Op
from hil.sim.cores.cortex_m7.schedule import Pipeline, can_pair, holding_cycles

# Rules in the order in which can_pair asks; the first that holds is named.
MULTIPLE = "takes the whole issue stage (R10, R13, R22)"


@dataclass(frozen=True)
class OpCost:
    """Cycles of one instruction in its block. ``cycles``: all of them, 0 for the younger of a pair.

    ``operands``: waits for operands or for room in the store buffer; ``alone``: 1 if it began a
    cycle of its own because pairing was refused, for the reason in ``note``; ``long``: cycles
    behind the first that it holds the issue stage.
    """

    cycles: int
    operands: int
    alone: int
    long: int
    note: str = ""


class _Watched(Pipeline):
    """A pipeline that says what an instruction waited for."""

    def explain(self, op: Op) -> OpCost:
        before, older, free = self.cycle, self._partner(op), self._free
        operands = max(self._operands_ready(op), self._store_ready(op))
        at = self.issue(op)
        long = max(0, holding_cycles(op) - 1)
        if at == before:
            return OpCost(0, 0, 0, 0)
        # cycles that an older instruction holds are its own
        waited = at - max(before + 1, free)
        refused = older is not None and waited == 0
        note = ""
        if refused and older is not None:
            note = _refusal(older, op, operands > before)
        return OpCost(1 + waited + long, waited, int(refused), long, note)


def _refusal(older: Op, younger: Op, too_early: bool) -> str:
    """Why ``younger`` did not issue with ``older``."""
    if not can_pair(older, younger):
        return f"not with the one before: {_rule(older, younger)}"
    return "needs a result of the one before" if too_early else "not with the one before"


def _rule(older: Op, younger: Op) -> str:
    kinds = {older.kind, younger.kind}
    if holding_cycles(older) or holding_cycles(younger):
        return MULTIPLE
    if younger.kind in costs.SIMD:
        return "an extend, parallel or saturating operation must be the older (R6)"
    if older.early_shifter and younger.early_shifter:
        return "one inline shift or shifted constant a cycle (R7)"
    if Kind.MAC in kinds and older.kind is younger.kind:
        return "one multiplication a cycle (R3)"
    if Kind.MAC in kinds and kinds & costs.STORES:
        return "no store beside a multiplication (R5)"
    if older.kind in costs.STORES and younger.kind in costs.STORES:
        return "one store a cycle (R9)"
    if older.kind in costs.LOADS and younger.kind in costs.LOADS:
        return "loads not known to use different banks (R8)"
    if kinds & costs.FP_ARITHMETIC:
        return "one floating-point operation a cycle (R13)"
    return "one branch a cycle"


@lru_cache(maxsize=1 << 14)
def explain(ops: tuple[Op, ...]) -> tuple[tuple[OpCost, ...], tuple[OpCost, ...]]:
    """Costs of the instructions of a block: met anew, and when the block follows itself."""
    pipeline = _Watched()
    first = tuple(pipeline.explain(op) for op in ops)
    return first, tuple(pipeline.explain(op) for op in ops)
