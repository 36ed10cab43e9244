"""Cost of a basic block on the dual-issue pipeline of the Cortex-M7.

A list scheduler walks the block in order. Each instruction issues in the first cycle in which its
operands are ready and the slot rules R1..R13 of :mod:`.costs`' source let it; two at most share a
cycle. The block's cost is the number of cycles in which it issues or holds the issue stage.
What it costs more or less behind the block that ran before it is its carry (:func:`carry`):
latencies that still run there, and pairs over the border. Latencies over more than one border are
dropped.

How far to trust it: against the published 99.1 ms of the CMSIS-NN CIFAR-10 network the same rules
with ideal memory give 91 to 95 ms, 4 to 8 % low. Unaligned accesses are charged where they happen
(:mod:`.native_data`). Not modelled: alignment of fetches, bank conflicts between loads with
different base registers (taken as not pairing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from hil.sim.cores.cortex_m7 import costs
from hil.sim.cores.cortex_m7.costs import LATENCY, Latency
from hil.sim.cores.cortex_m7.decode import FP_REGISTERS, decode_block
from hil.sim.cores.cortex_m7.hints import is_sev
from hil.sim.cores.cortex_m7.layout import Ending
from hil.sim.cores.cortex_m7.op import PC, SP, Kind, Op


@dataclass(frozen=True, eq=False)
class BlockCost:
    """What the native hook adds for one execution of a block.

    ``cycles``: with nothing under way before it. ``store_drain``: cycles of the write port (R24).
    """

    cycles: float
    store_drain: float
    instructions: int
    loads: int
    energy_j: float
    ending: Ending
    backward: bool
    uses_fp: bool
    ops: tuple[Op, ...]
    issued: tuple[int, ...]  # cycle of each instruction, from the block's start
    unmasks: bool = False  # writes PRIMASK, FAULTMASK or BASEPRI: a pending exception may run
    from_fixed: bool = False  # VCVT from fixed point: see CortexM7
    sends_event: bool = False  # SEV
    exclusive: bool = False  # has a load- or store-exclusive


class Pipeline:
    """The issue stage: feeds on instructions, keeps when each register is ready for which use."""

    def __init__(self) -> None:
        self.cycle = -1  # of the youngest instruction
        self._older: Op | None = None  # alone in the present cycle; None: no more fit
        self._free = 0  # first cycle after a holding instruction
        self._ready: dict[int, tuple[int, Latency]] = {}
        self._stores_done = 0.0

    def issue(self, op: Op) -> int:
        """The cycle in which ``op`` issues."""
        earliest = max(self.cycle, self._free, self._operands_ready(op), self._store_ready(op))
        older = self._partner(op) if earliest == self.cycle else None
        paired = older is not None and can_pair(older, op)
        if not paired:
            earliest = max(earliest, self.cycle + 1)
        at = earliest
        holds = holding_cycles(op)
        self._free = at + holds if holds > 1 else 0
        self._older = None if paired or holds else op
        self.cycle = at
        self._retire(op, at)
        return at

    @property
    def end(self) -> int:
        """The first cycle behind everything issued."""
        return max(self.cycle + 1, self._free)

    def _partner(self, op: Op) -> Op | None:
        """Who issued alone in the present cycle. R11: not a branch that has led to ``op``."""
        older = self._older
        if older is None or older.ending is None:
            return older
        return older if op.address == older.address + older.size else None

    def _operands_ready(self, op: Op) -> int:
        return max(
            self._when(op.reads, "alu"),
            self._when(op.multiplied, "multiply"),
            self._when(op.accumulated, "accumulate"),
            self._when(op.addressed, "address"),
            self._when(op.shifted, "shift"),
        )

    def _when(self, registers: int, use: str) -> int:
        latest = 0
        while registers:
            register = registers & -registers
            registers ^= register
            if register in self._ready:
                issued, latency = self._ready[register]
                latest = max(latest, issued + int(getattr(latency, use)))
        return latest

    def _store_ready(self, op: Op) -> int:
        """R24: wait while the store buffer is full."""
        if op.kind not in costs.STORES:
            return 0
        return max(0, math.ceil(self._stores_done - costs.STORE_BUFFER_CYCLES))

    def _retire(self, op: Op, at: int) -> None:
        latency = LATENCY.get(op.kind, costs.LATE)
        if latency is costs.EARLY and self._used_late(op, at):
            latency = costs.LATE  # R2: it had to run in the late ALU
        done = at + max(0, holding_cycles(op) - 1) if op.kind in costs.MANY else at
        self._mark(op.writes, done, latency)
        self._mark(op.base_writes, at, costs.BASE_UPDATE)
        if op.kind in costs.STORES:
            self._stores_done = max(self._stores_done, at) + store_drain(op)

    def _used_late(self, op: Op, at: int) -> bool:
        """An operand came out of the early ALU in this same cycle."""
        for register, (issued, latency) in self._ready.items():
            if register & op.reads and issued == at and latency is costs.EARLY:
                return True
        return False

    def _mark(self, registers: int, at: int, latency: Latency) -> None:
        while registers:
            register = registers & -registers
            registers ^= register
            self._ready[register] = (at, latency)


def holding_cycles(op: Op) -> int:
    """Cycles the instruction has the issue stage for itself; 0 if it may share one."""
    if op.kind in costs.MANY:
        return (op.registers + 1) // 2
    return costs.ALONE.get(op.kind, 0)


def can_pair(older: Op, younger: Op) -> bool:
    """Whether the slot rules let the two issue together; operands are another matter."""
    if holding_cycles(older) or holding_cycles(younger):
        return False  # R10, R13, R22
    kinds = {older.kind, younger.kind}
    if younger.kind in costs.SIMD:
        return False  # R6: always the older, so never two
    if older.early_shifter and younger.early_shifter:
        return False  # R7
    if Kind.MAC in kinds and (older.kind is younger.kind or kinds & costs.STORES):
        return False  # R3, R5
    if older.kind in costs.STORES and younger.kind in costs.STORES:
        return False  # R9
    if older.kind in costs.LOADS and younger.kind in costs.LOADS:
        return _different_banks(older, younger)  # R8
    if older.kind in costs.FP_ARITHMETIC and younger.kind in costs.FP_ARITHMETIC:
        return False  # R13
    return not (older.kind is Kind.BRANCH and younger.kind is Kind.BRANCH)


def _different_banks(first: Op, second: Op) -> bool:
    """R8: address bit 2 is known to differ."""
    one, other = first.access, second.access
    if one is None or other is None or one.base != other.base:
        return False
    if one.index is not None or other.index is not None or first.base_writes:
        return False
    return (one.offset >> 2 ^ other.offset >> 2) & 1 == 1


def store_drain(op: Op) -> float:
    """R24: cycles the write port needs for the store."""
    if op.kind is Kind.STORE_NARROW:
        return costs.NARROW_STORE_DRAIN
    return costs.WORD_STORE_DRAIN * (op.registers + 1) / 2 if op.kind in costs.MANY else 1.0


@lru_cache(maxsize=1 << 16)
def analyse(code: bytes, address: int) -> BlockCost:
    """The cost of the block of ``code`` at ``address``; kept, since every power-on asks again."""
    ops = decode_block(code, address)
    pipeline = Pipeline()
    issued = tuple(pipeline.issue(op) for op in ops)
    last = ops[-1]
    return BlockCost(
        cycles=float(pipeline.end),
        store_drain=sum(store_drain(op) for op in ops if op.kind in costs.STORES),
        instructions=len(ops),
        loads=sum(loads_outside_tcm(op) for op in ops),
        energy_j=sum(costs.INSTRUCTION_J[op.kind] * op.registers for op in ops),
        ending=last.ending or Ending.FALL,
        backward=last.target is not None and last.target <= last.address,
        uses_fp=any(uses_fp(op) for op in ops),
        ops=tuple(ops),
        issued=issued,
        unmasks=any(_writes_masks(code[op.address - address :]) for op in ops if op.kind in _RARE),
        from_fixed=any(_from_fixed(code[op.address - address :]) for op in ops if uses_fp(op)),
        exclusive=any(op.kind is Kind.SYSTEM and op.addressed for op in ops),
        sends_event=any(is_sev(code[op.address - address :]) for op in ops if op.kind in _RARE),
    )


@lru_cache(maxsize=1 << 17)
def carry(previous: BlockCost, block: BlockCost) -> float:
    """Cycles that ``block`` takes more (less: negative) when it follows ``previous``.

    Nothing is under way before ``previous``, and no branch between the two was mispredicted.
    """
    pipeline = Pipeline()
    for op in previous.ops:
        pipeline.issue(op)
    border = pipeline.end
    for op in block.ops:
        pipeline.issue(op)
    return float(pipeline.end - border) - block.cycles


def uses_fp(op: Op) -> bool:
    """The instruction touches an FP register."""
    return bool((op.all_reads | op.writes) & FP_REGISTERS)


_RARE = (Kind.SYSTEM, Kind.HINT)
_MASK_REGISTERS = range(16, 20)  # SYSm of PRIMASK, BASEPRI, BASEPRI_MAX, FAULTMASK


def _writes_masks(code: bytes) -> bool:
    """The first instruction is CPS or an MSR to a mask register."""
    first = int.from_bytes(code[:2], "little")
    if first >> 5 == 0xB660 >> 5:
        return True
    return first >> 4 == 0xF38 and code[2] in _MASK_REGISTERS


def _from_fixed(code: bytes) -> bool:
    """The first instruction is VCVT from a fixed-point number (A7.7.227)."""
    first, second = int.from_bytes(code[:2], "little"), int.from_bytes(code[2:4], "little")
    return first & 0xFFBE == 0xEEBA and second & 0x0E50 == 0x0A40


def loads_outside_tcm(op: Op) -> int:
    """Loads that may leave the TCM: all but those from the stack, which boards keep in DTCM."""
    if op.kind in costs.LOADS and op.access is not None and op.access.base not in (SP, PC):
        return 1
    if op.kind is Kind.LOAD_MANY and not op.addressed & 1 << SP:
        return op.registers
    return 0


def remaining_at(cost: BlockCost, address: int) -> float:
    """Cycles of the block behind the issue of its instruction at ``address``."""
    for op, at in zip(cost.ops, cost.issued, strict=True):
        if op.address == address:
            return cost.cycles - at
    return 0.0
