"""What the scheduler needs to know of an instruction, and how decoders say it.

Registers are bits of one integer: r0..r15 at 0..15, s0..s31 at 16..47, the flags at 48. Reads are
kept apart by the pipeline stage that needs them, because a result is not ready for all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import NamedTuple

from hil.sim.cores.cortex_m7.layout import Ending

SP, LR, PC = 13, 14, 15
FLAGS = 1 << 48


@unique
class Kind(Enum):
    """Instruction classes that cost alike."""

    __hash__ = object.__hash__  # Enum hashes its name in Python, and costs are looked up a lot

    EARLY = "add, subtract, move, shift: may execute in the early ALU"
    ALU = "other one-cycle integer operations: late ALU"
    DSP = "extract, insert, extend, reverse, parallel add, select"
    SATURATE = "ssat, usat, qadd, usad8"
    MAC = "multiply with or without accumulate"
    DIVIDE = "sdiv, udiv"
    LOAD = "load of one word"
    LOAD_NARROW = "load of a byte or half"
    STORE = "store of one word"
    STORE_NARROW = "store of a byte or half"
    LOAD_MANY = "ldm, ldrd, pop"
    STORE_MANY = "stm, strd, push"
    BRANCH = "b, bl, bx, cbz"
    TABLE = "tbb, tbh"
    IT = "if-then"
    HINT = "nop and its kin"
    BARRIER = "dmb, dsb, isb"
    SYSTEM = "mrs, msr, cps, exclusives and what else is rare"
    FP_ADD = "vadd, vsub, vcmp, vabs, vmul, vcvt"
    FP_FMA = "vmla, vfma and negated forms"
    FP_DIVIDE = "vdiv, vsqrt"
    FP_MOVE = "vmov between register files, vmrs, vmsr"


@dataclass(frozen=True, slots=True)
class Access:
    """Address of a load or store: ``base + offset`` or ``base + (index << shift)``."""

    base: int
    offset: int = 0
    index: int | None = None
    shift: int = 0


class Op(NamedTuple):
    """One decoded instruction. All register fields are bit sets.

    A tuple and not a dataclass: a network has tens of thousands, each placed by one copy.
    """

    kind: Kind
    reads: int = 0  # ALU operands
    shifted: int = 0  # inline-shifted or extracted operands
    multiplied: int = 0
    accumulated: int = 0
    addressed: int = 0
    stored: int = 0
    writes: int = 0
    base_writes: int = 0  # updated address registers
    early_shifter: bool = False  # an inline shift, a shifted constant, or an extraction (R7)
    registers: int = 1  # of a LOAD_MANY or STORE_MANY
    ending: Ending | None = None
    target: int | None = None
    access: Access | None = None
    address: int = 0
    size: int = 2

    @property
    def all_reads(self) -> int:
        """Every register the instruction reads, whatever the stage."""
        return (
            self.reads
            | self.shifted
            | self.multiplied
            | self.accumulated
            | self.addressed
            | self.stored
        )

    def at(self, address: int, size: int) -> Op:
        """The same at its place."""
        return self._replace(address=address, size=size)


def bits(*registers: int) -> int:
    """The set of these registers."""
    found = 0
    for register in registers:
        found |= 1 << register
    return found


def signed(value: int, width: int) -> int:
    """Two's complement of a field."""
    return value - (1 << width) if value >> (width - 1) & 1 else value


def load(destination: int, access: Access, narrow: bool, base_write: bool = False) -> Op:
    """A load of one register; loading PC is an indirect branch."""
    addressed = bits(access.base) | (0 if access.index is None else bits(access.index))
    return Op(
        Kind.LOAD_NARROW if narrow else Kind.LOAD,
        addressed=addressed,
        writes=bits(destination),
        base_writes=bits(access.base) if base_write else 0,
        access=access,
        ending=Ending.INDIRECT if destination == PC else None,
    )


def store(source: int, access: Access, narrow: bool, base_write: bool = False) -> Op:
    """A store of one register."""
    addressed = bits(access.base) | (0 if access.index is None else bits(access.index))
    return Op(
        Kind.STORE_NARROW if narrow else Kind.STORE,
        addressed=addressed,
        stored=bits(source),
        base_writes=bits(access.base) if base_write else 0,
        access=access,
    )


def load_many(base: int, registers: int, base_write: bool) -> Op:
    """LDM or POP of the register set ``registers``."""
    return Op(
        Kind.LOAD_MANY,
        addressed=bits(base),
        writes=registers,
        base_writes=bits(base) if base_write else 0,
        registers=registers.bit_count(),
        ending=Ending.INDIRECT if registers >> PC & 1 else None,
    )


def store_many(base: int, registers: int, base_write: bool) -> Op:
    """STM or PUSH of the register set ``registers``."""
    return Op(
        Kind.STORE_MANY,
        addressed=bits(base),
        stored=registers,
        base_writes=bits(base) if base_write else 0,
        registers=registers.bit_count(),
    )
