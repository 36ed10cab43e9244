"""A cold cache is told, once; code that is there already is not."""

from __future__ import annotations

import numba

from hil.sim.compiling import TOLD, told_of_compiling


def test_told_once_and_only_while_something_is_compiled() -> None:
    inner = numba.njit(lambda number: number + 1)
    outer = numba.njit(lambda number: inner(number) + inner(2 * number))
    told: list[str] = []
    with told_of_compiling(told.append):
        assert not told
        assert outer(1) == 5
        assert told == [TOLD], "two functions are compiled"
    with told_of_compiling(told.append):
        assert outer(2) == 8
    assert told == [TOLD]
