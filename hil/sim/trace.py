"""Instruction traces: what ``hil sim run --trace`` prints.

A chip keeps the instructions that its ``TraceWindow`` lets through. Tracing looks and changes
nothing: a traced run takes the same cycles as a plain one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hil.sim.chip import TraceWindow

HEADING = f"{'cycle':>12} {'core':<4} {'pc':<8} {'code':<8}  instruction; registers written"
TEXT_WIDTH = 36


@dataclass(frozen=True)
class TracedInstruction:
    """One executed instruction. ``cycle`` is of its core's clock, at its issue.

    ``writes`` holds (register, value behind the instruction); ``note`` says what else happened.
    """

    cycle: int
    core: str
    pc: int
    code: bytes
    text: str
    writes: tuple[tuple[str, int], ...]
    note: str = ""

    def line(self) -> str:
        """The row as printed; the code's bytes in the order of the instruction manual."""
        halves = (self.code[at : at + 2][::-1].hex() for at in range(0, len(self.code), 2))
        code = "".join(halves if self.core == ARM_CORE else [self.code[::-1].hex()])
        results = " ".join(f"{name}={value:08x}" for name, value in self.writes)
        if self.note:
            results = f"{results} ({self.note})".strip()
        return (
            f"{self.cycle:>12,} {self.core:<4} {self.pc:08x} {code:<8}  "
            f"{self.text:<{TEXT_WIDTH}} {results}"
        ).rstrip()


ARM_CORE = "M7"  # its 32-bit instructions are two halfwords


@runtime_checkable
class TracedChip(Protocol):
    """A simulated chip that can trace."""

    def start_trace(self, window: TraceWindow) -> None:
        """Reset, and keep the instructions of ``window`` from there on."""

    def trace(self) -> list[TracedInstruction]:
        """What was kept, in order of time."""


def trace_lines(rows: Iterable[TracedInstruction]) -> list[str]:
    """The table, heading first."""
    return [HEADING, *(row.line() for row in rows)]
