"""Cycles by function: symbols, sums, the table; without a chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.sim.hot_loops import annotated, innermost_loops
from hil.sim.profile import (
    NO_SYMBOL,
    CodeLine,
    CoreClassCycles,
    Functions,
    by_function,
    legend,
    table,
    total,
)

FUNCTIONS = Functions(
    [(0x100, 0x10, "first"), (0x120, 0x8, "second"), (0x140, 0, "label"), (0x180, 4, "last")]
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFE, NO_SYMBOL), (0x100, "first"), (0x10E, "first"), (0x110, NO_SYMBOL),
        (0x126, "second"), (0x140, "label"), (0x17E, "label"), (0x182, "last"), (0x184, NO_SYMBOL),
    ],
)  # fmt: skip
def test_the_function_of_an_address(address: int, name: str) -> None:
    assert FUNCTIONS.name(address) == name


def _cores(rows: dict[int, tuple[int, ...]], name: str = "cluster", cores: int = 8):
    counts = np.array(list(rows.values()), dtype=np.int64).reshape(-1, 7)
    lines = tuple(CodeLine(address, "nop") for address in rows)
    return CoreClassCycles(name, cores, np.array(list(rows), dtype=np.int64), counts, KINDS, lines)


KINDS = ("cycles", "instructions", "load_use", "bank", "fetch", "wait", "asleep")
ROWS = {
    0x100: (10, 4, 1, 2, 0, 0, 0),
    0x104: (5, 5, 0, 0, 0, 0, 0),
    0x120: (100, 10, 0, 0, 12, 8, 60),
    0x150: (1, 1, 0, 0, 0, 0, 0),
}


def test_counts_are_summed_by_function_and_sorted() -> None:
    rows = by_function(_cores(ROWS), FUNCTIONS)
    assert [row.name for row in rows] == ["second", "first", "label"]
    assert rows[1].counts == (15, 9, 1, 2, 0, 0, 0)
    assert [row.issue - row.counts[1] for row in rows] == [10, 3, 0]
    assert total(rows).counts == (116, 20, 1, 2, 12, 8, 60)


def test_the_table_keeps_its_width_and_its_total() -> None:
    long = Functions([(0x100, 0x100, "a_function_with_a_name_that_no_terminal_has_room_for")])
    for functions in (FUNCTIONS, long):
        lines = table(_cores(ROWS), functions, width=80)
        assert max(map(len, [*lines, *legend([_cores(ROWS)])])) <= 95
        assert max(map(len, lines)) <= 80
        assert lines[-1].split()[:2] == ["total", "116"]
    lines = table(_cores(ROWS), FUNCTIONS, top=1, width=80)
    assert [line.split()[0] for line in lines[2:]] == ["second", "(2", "total"]
    # 100 cycles: 10 instructions, 12 cache, 8 wait, 60 asleep
    assert lines[2].split()[1:] == ["100", "86.21", "0.10", "0.0", "0.0", "12.0", "8.0", "60.0"]
    assert lines[3].split()[2:4] == ["16", "13.79"]


def test_cores_that_never_ran() -> None:
    assert table(_cores({}), FUNCTIONS) == ["cluster: never started"]


def test_the_innermost_loop_with_the_most_cycles_comes_first() -> None:
    cores = _cores(
        {0x100: (10, 10, 0, 0, 0, 0, 0), 0x104: (300, 100, 200, 0, 0, 0, 0),
         0x108: (100, 100, 0, 0, 0, 0, 0), 0x10C: (30, 10, 0, 0, 0, 0, 0)}
    )  # fmt: skip
    outer = CodeLine(0x10C, "bne 0x100", (0x100, 0x10C))
    inner = CodeLine(0x108, "bne 0x104", (0x104, 0x108))
    lines = (CodeLine(0x100, "nop"), CodeLine(0x104, "lw"), inner, outer)
    loops = innermost_loops(replace(cores, lines=lines), FUNCTIONS)
    assert [(loop.first, loop.behind, loop.cycles) for loop in loops] == [(1, 3, 400)]
    call = CodeLine(0x124, "jal 0x100", (0x100, 0x124))
    calling = _cores({0x100: (9, 9, 0, 0, 0, 0, 0), 0x124: (9, 9, 0, 0, 0, 0, 0)})
    assert innermost_loops(replace(calling, lines=(lines[0], call)), FUNCTIONS) == []
    text = annotated(replace(cores, lines=lines), FUNCTIONS, 3)
    assert "400 cycles (90.9 %), 100 turns of 4.00" in text[1]
    assert text[3].split() == ["00000104", "300", "3.00", "lw", "use", "2.00"]


def test_a_label_ends_where_the_next_symbol_begins() -> None:
    assert FUNCTIONS.span("first") == (0x100, 0x110)
    assert FUNCTIONS.span("label") == (0x140, 0x180)
    assert FUNCTIONS.span("nowhere") is None
