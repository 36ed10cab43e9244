"""Several processes share a campaign: every number once, and no failure goes unnoticed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from hil.core.errors import BuildError, RigError
from hil.loop.faults import trial
from hil.loop.faults.trial import STARVED_REPEATS, Outcome, Result, run_trial
from hil.loop.faults.workers import blocks, results_of


def result(number: int, violations: tuple[str, ...] = ()) -> Result:
    outcome = Outcome.VIOLATION if violations else Outcome.UNHARMED
    return Result(number, "none", "", outcome, (), violations, 0.0)


def test_blocks_are_consecutive_and_share_all() -> None:
    numbers = list(range(100, 110))
    assert blocks(numbers, 3) == [numbers[0:3], numbers[3:7], numbers[7:10]]
    assert blocks(numbers, 1) == [numbers]
    assert blocks(numbers[:2], 5) == [numbers[:1], numbers[1:2]]
    assert blocks([], 4) == []


def test_every_number_once_from_processes_of_their_own() -> None:
    def work(numbers: Sequence[int]) -> Iterator[Result]:
        for number in numbers:
            yield Result(number, str(os.getpid()), "", Outcome.UNHARMED, (), (), 0.0)

    found = list(results_of(work, range(10), 3))
    assert sorted(r.number for r in found) == list(range(10))
    pids = {r.name for r in found}
    assert len(pids) == 3 and str(os.getpid()) not in pids


def test_an_error_of_the_bench_is_told() -> None:
    def work(numbers: Sequence[int]) -> Iterator[Result]:
        yield result(numbers[0])
        raise BuildError("no compiler")

    results = results_of(work, [7], 1)
    assert next(results).number == 7
    with pytest.raises(RigError, match="no compiler"):
        next(results)


def test_a_process_that_is_killed_is_missed() -> None:
    def work(numbers: Sequence[int]) -> Iterator[Result]:
        yield result(numbers[0])
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RigError, match="code -9 before its last trial"):
        list(results_of(work, [1, 2], 1))


def test_who_stops_listening_ends_the_processes_and_they_clean_up(tmp_path: Path) -> None:
    def work(numbers: Sequence[int]) -> Iterator[Result]:
        try:
            for number in numbers:
                yield result(number)
                time.sleep(60.0)
        finally:
            (tmp_path / str(numbers[0])).touch()

    results = results_of(work, range(4), 2)
    assert {next(results).number for _ in range(2)} == {0, 2}  # both are in their long wait now
    results.close()
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2"}


class Busy:
    """A bench whose twin is kept waiting for so many seconds in each trial."""

    def __init__(self, kept_s: Sequence[float]) -> None:
        self.rig = SimpleNamespace(console=SimpleNamespace(answer_s=2.0))
        self._total_s, self._kept_s, self._starts = 0.0, list(kept_s), True

    def kept_waiting_s(self) -> float:
        if not self._starts:
            self._total_s += self._kept_s.pop(0)
        self._starts = not self._starts
        return self._total_s


@pytest.mark.parametrize(
    ("kept_s", "wrong", "repeats"),
    [
        ([0.1], [True], 0),  # a violation on an idle computer is one
        ([1.5, 0.1], [True, False], 1),
        ([1.5, 1.5, 0.1], [True, True, True], 2),
        ([9.0] * (STARVED_REPEATS + 1), [True] * (STARVED_REPEATS + 1), STARVED_REPEATS),
        ([9.0], [False], 0),  # nothing wrong, however busy
    ],
)
def test_a_violation_of_a_starved_twin_is_tried_again(
    kept_s: list[float], wrong: list[bool], repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter(wrong)

    def once(*_: object) -> tuple[Result, bool]:
        late = next(outcomes)
        return result(3, ("late",) if late else ()), late

    monkeypatch.setattr(trial, "_run_once", once)
    found = run_trial(Busy(kept_s), None, 1, 3, Path())  # type: ignore[arg-type]
    assert found.repeats == repeats and bool(found.violations) is wrong[-1]
    assert all("kept the twin waiting" in text for text in found.violations)


def test_a_wrong_cost_counts_however_busy_the_computer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_run_once", lambda *_: (result(3, ("wrong",)), False))
    found = run_trial(Busy([9.0]), None, 1, 3, Path())  # type: ignore[arg-type]
    assert found.repeats == 0 and found.violations
