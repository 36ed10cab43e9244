"""Cycles of programs on a target beside those measured on the vendor's simulator.

Where the target is not the virtual chip, the same programs run on that too, and the table has a
column for it. ``pytest -s`` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from gap8_program import Gap8Programs
from targets import ChipTarget, Target

from hil.sim.chips import make_chip

WITHIN = 0.01
# name, cycles here, cycles on the vendor's simulator
Measured = list[tuple[str, float, float]]
Measure = Callable[[Gap8Programs], Measured]


@dataclass(frozen=True)
class Row:
    """A program's cycles; ``virtual`` is None where the virtual chip is the target."""

    name: str
    here: float
    virtual: float | None
    vendor: float


class CycleTable:
    """Rows that have been measured; ``programs`` are those of the target."""

    def __init__(
        self, programs: Gap8Programs, virtual: Gap8Programs | None, within: float | None
    ) -> None:
        """``virtual``: the same programs on the virtual chip, if the target is another one."""
        self.programs = programs
        self._virtual = virtual
        self._within = within
        self._rows: list[Row] = []

    @property
    def is_virtual(self) -> bool:
        """The target is the virtual chip."""
        return self._virtual is None

    def within(self, bound: float = WITHIN) -> float:
        """By which fraction rows may be off: ``bound``, or what ``--gdb-cycles-within`` says."""
        return bound if self._within is None else self._within

    def note(self, measure: Measure) -> list[Row]:
        """Puts rows into the table that their test explains."""
        beside: list[float | None] = []
        rows = measure(self.programs)
        beside = [None] * len(rows)
        if self._virtual is not None:
            beside = [row[1] for row in measure(self._virtual)]
        noted = [
            Row(name, here, virtual, vendor)
            for (name, here, vendor), virtual in zip(rows, beside, strict=True)
        ]
        self._rows += noted
        return noted

    def compare(self, measure: Measure, bound: float = WITHIN, cycles: float = 0) -> None:
        """Notes rows and holds them to the vendor's, within a fraction or some ``cycles``."""
        bound = self.within(bound)
        wrong = [
            row
            for row in self.note(measure)
            if row.here != pytest.approx(row.vendor, rel=bound, abs=cycles)
        ]
        assert not wrong, f"off by more than {100 * bound:g} %:\n{self._text(wrong)}"

    def text(self) -> str:
        """All rows, a line each."""
        return self._text(self._rows)

    def _text(self, rows: list[Row]) -> str:
        columns = ("here", "virtual chip", "vendor simulator", "difference")
        lines = [f"{'row':<32}" + "".join(f"{name:>18}" for name in columns)]
        for row in rows:
            virtual = row.here if row.virtual is None else row.virtual
            difference = f"{100 * (row.here / row.vendor - 1):+.2f} %"
            numbers = "".join(f"{n:>18.2f}" for n in (row.here, virtual, row.vendor))
            lines.append(f"{row.name:<32}{numbers}{difference:>18}")
        return "\n".join(lines)


def cycle_table(
    source: str, target: Target, config: pytest.Config, folders: pytest.TempPathFactory
) -> Iterator[CycleTable]:
    """The table of a module's programs, printed in the end; for a fixture."""
    virtual = None
    if not isinstance(target, ChipTarget):
        chip = ChipTarget(make_chip("gap8"), target.ram, "fc_instructions")
        virtual = Gap8Programs(source, chip, folders.mktemp("virtual"))
    programs = Gap8Programs(source, target, folders.mktemp("cycles"))
    table = CycleTable(programs, virtual, config.getoption("--gdb-cycles-within"))
    yield table
    print(f"\n{table.text()}")
