"""The loops that take the most cycles: each instruction with the reason of every stall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.sim.profile import (
    CYCLES,
    FIRST_REASON,
    INSTRUCTIONS,
    REASONS,
    CodeLine,
    CoreClassCycles,
    Functions,
)

TEXT_WIDTH = 34
SHOWN_FROM = 0.005  # cycles a run: less is not worth a word


@dataclass(frozen=True)
class Loop:
    """A loop that holds no other; rows of its class from ``first`` to ``behind`` (exclusive)."""

    first: int
    behind: int
    cycles: float


def innermost_loops(cores: CoreClassCycles, functions: Functions) -> list[Loop]:
    """Loops that ran, the most cycles first.

    A loop is what lies between a backward branch and its target, or what a hardware loop
    instruction sets, within one function (else it is a call); of nested ones the inner.
    """
    spans = {line.loop for line in cores.lines if line.loop is not None}
    spans = {span for span in spans if functions.name(span[0]) == functions.name(span[1])}
    inner = [
        span
        for span in spans
        if not any(span[0] <= low and high <= span[1] for low, high in spans - {span})
    ]
    loops = []
    for low, high in inner:
        first, behind = np.searchsorted(cores.addresses, (low, high + 1))
        turns = cores.counts[first:behind, INSTRUCTIONS]
        if behind > first and turns.max() > 1:
            cycles = float(cores.counts[first:behind, CYCLES].sum())
            loops.append(Loop(int(first), int(behind), cycles))
    return sorted(loops, key=lambda loop: (-loop.cycles, loop.first))


def annotated(cores: CoreClassCycles, functions: Functions, top: int) -> list[str]:
    """The ``top`` loops as lines: cycles of each instruction, in all and a run, and its stalls."""
    lines: list[str] = []
    all_cycles = max(float(cores.counts[:, CYCLES].sum()), 1.0)
    for loop in innermost_loops(cores, functions)[:top]:
        counts = cores.counts[loop.first : loop.behind]
        turns = max(float(counts[:, INSTRUCTIONS].max()), 1.0)
        place = functions.name(int(cores.addresses[loop.first]))
        lines += [
            "",
            f"{cores.name}, loop in {place}: {loop.cycles:,.0f} cycles "
            f"({100 * loop.cycles / all_cycles:.1f} %), {turns:,.0f} turns of "
            f"{loop.cycles / turns:.2f}",
            f"{'address':<9}{'cycles':>13}{'a run':>8}  {'instruction':<{TEXT_WIDTH}} "
            "cycles lost a run",
        ]
        rows = zip(cores.lines[loop.first : loop.behind], counts, strict=True)
        lines += [_annotate(line, row, cores.kinds) for line, row in rows]
    return lines


def _annotate(line: CodeLine, counts: np.ndarray, kinds: tuple[str, ...]) -> str:
    runs = max(float(counts[INSTRUCTIONS]), 1.0)
    lost = [
        f"{REASONS[kind][0]} {cycles / runs:.2f}"
        for kind, cycles in zip(kinds[FIRST_REASON:], counts[FIRST_REASON:], strict=True)
        if cycles / runs >= SHOWN_FROM
    ]
    stalls = ", ".join(lost)
    if line.note:
        stalls = f"{stalls}  ; {line.note}" if stalls else f"; {line.note}"
    return (
        f"{line.address:08x} {counts[CYCLES]:>13,.0f}{counts[CYCLES] / runs:>8.2f}  "
        f"{line.text:<{TEXT_WIDTH}} {stalls}"
    ).rstrip()
