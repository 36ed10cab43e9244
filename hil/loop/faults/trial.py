"""One trial: put a fault on a wire, measure, mend, resume, and look for what must not be."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from hil.core.errors import JournalError, RigError
from hil.loop.faults import check
from hil.loop.faults.bench import WarmBench
from hil.loop.faults.kinds import Extent, Plan, draw_plan
from hil.loop.faults.measuring import Ending, measure
from hil.rig.returning import RETURN_S
from hil.run.reader import JOURNAL, Run, Status, has_started

ATTEMPTS = 3  # the first one, after a reset, after a power-cycle
STARVED = 0.5  # of answer_s without a processor; then a violation proves nothing
STARVED_REPEATS = 3
BUSY = 20.0  # how many times slower than alone this computer may be


class Outcome(StrEnum):
    """What became of the measurement, before anything was resumed."""

    UNHARMED = "unharmed"  # no trial void: the fault hit nothing, or was seen through
    RECOVERED = "recovered"  # void trials, repeated with success in the same run
    FAILED = "failed"  # the run ended with a typed error; resumed with success
    KILLED = "killed"  # the process was; resumed with success
    VIOLATION = "violation"  # something happened that must not


@dataclass(frozen=True)
class Result:
    """A trial's record. ``violations`` is empty when all that must hold did."""

    number: int
    name: str
    plan: str
    outcome: Outcome
    culprits: tuple[str, ...]
    violations: tuple[str, ...]
    wall_s: float
    repeats: int = 0  # because this computer was too busy

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        return cls(
            **{
                **data,
                "outcome": Outcome(data["outcome"]),
                "culprits": tuple(data["culprits"]),
                "violations": tuple(data["violations"]),
            }
        )


@dataclass(frozen=True)
class Baseline:
    """The undisturbed run: its trials, what passed on the wires, how long it took."""

    reference: check.Reference
    extent: Extent
    wall_s: float


def baseline(bench: WarmBench, folder: Path) -> Baseline:
    """Measure without a fault. RigError when even that does not succeed."""
    bench.mend()
    before = bench.traffic()
    ending = measure(bench, folder, _deadline_s(bench, 10.0))
    run = _load(folder)
    if run is None or run.status is not Status.SUCCESS or ending.crash or ending.hung:
        reason = "no journal" if run is None else run.reason
        raise RigError(
            f"faults: the undisturbed run on {bench.rig.name} did not succeed: {reason} "
            f"{ending.crash}; see {folder}"
        )
    extent = bench.extent(before, (folder / JOURNAL).stat().st_size)
    return Baseline(check.Reference.of(run, bench.rig.board), extent, ending.wall_s)


def run_trial(bench: WarmBench, base: Baseline, seed: int, number: int, folder: Path) -> Result:
    """Trial ``number`` of campaign ``seed``. Its folder stays only when something was wrong.

    A twin that this computer keeps waiting for a good part of a deadline looks dead. Who is blamed
    then proves nothing, and the trial is done again, a few times at most. A wrong cost or a lost
    line counts however busy the computer is.
    """
    enough_s = STARVED * bench.rig.console.answer_s
    repeats = -1
    while repeats < STARVED_REPEATS:
        repeats += 1
        before_s = bench.kept_waiting_s()
        result, may_be_late = _run_once(bench, base, seed, number, folder)
        kept_s = bench.kept_waiting_s() - before_s
        if not may_be_late or kept_s < enough_s:
            break
    note = f"(this computer kept the twin waiting for {kept_s:.1f} s)"
    violations = tuple(f"{text} {note}" for text in result.violations)
    return replace(result, repeats=repeats, violations=violations)


def _run_once(
    bench: WarmBench, base: Baseline, seed: int, number: int, folder: Path
) -> tuple[Result, bool]:
    """One try, and whether late answers alone can be why it has violations."""
    shutil.rmtree(folder, ignore_errors=True)
    plan = draw_plan(seed, number, base.extent, bench.rig.console.answer_s)
    deadline_s = _deadline_s(bench, base.wall_s)
    _prepare(bench, plan)
    ending = measure(bench, folder, deadline_s, plan)
    run, before = _load(folder), _journal_bytes(folder)
    sent = _sent(bench)
    late = [*check.wrong_ending(ending, plan, run, deadline_s)]
    wrong: list[str] = []
    crashed = bool(ending.crash)
    outcome = _outcome(ending, run)
    if run is None or run.status is not Status.SUCCESS:
        bench.mend()
        again = measure(bench, folder, deadline_s, resume=True)
        sent += _sent(bench)
        late += [f"resumed: {text}" for text in _not_resumed(folder, again)]
        crashed = crashed or bool(again.crash)
        wrong += check.lost_lines(before, _journal_bytes(folder))
    final = _load(folder)
    if final is not None:
        wrong += check.wrong_costs(final, base.reference, sent)
        wrong += check.measured_twice(final.trials)
    violations = tuple(dict.fromkeys([*late, *wrong]))
    if not violations:
        shutil.rmtree(folder)
    result = Result(
        number,
        plan.name,
        str(plan),
        Outcome.VIOLATION if violations else outcome,
        tuple(_culprits(ending, run)),
        violations,
        ending.wall_s,
    )
    return result, bool(late) and not wrong and not crashed


def _prepare(bench: WarmBench, plan: Plan) -> None:
    """A sound board and the plan's faults on its wires."""
    status = bench.probe.status()
    if status.elf_sha256 != bench.elf_sha256 or not status.powered or status.halted:
        bench.mend()
    bench.probe.ask("calm")
    bench.await_port()  # the trial before may have ended while it was away
    if plan.erased:
        bench.probe.ask("erase")
    for order in plan.orders:
        bench.probe.disturb(**asdict(order))


def _sent(bench: WarmBench) -> bytes:
    return bytes.fromhex(bench.probe.ask("sent")["data"])


def _load(folder: Path) -> Run | None:
    """The run; None when it was cut off before its first line was whole."""
    return Run.load(folder) if has_started(folder) else None


def _journal_bytes(folder: Path) -> bytes:
    path = folder / JOURNAL
    return path.read_bytes() if path.is_file() else b""


def _not_resumed(folder: Path, again: Ending) -> list[str]:
    """Why the resumed run is not the whole one, without a fault on any wire."""
    if again.hung or again.crash:
        return [again.crash or "hung"]
    if again.failures:
        return [f"{who}: {text}" for who, text in again.failures]
    try:
        run = _load(folder)
    except JournalError as error:
        return [str(error)]
    if run is None or run.status is not Status.SUCCESS:
        return ["not finished: " + ("no journal" if run is None else run.reason)]
    return []


def _outcome(ending: Ending, run: Run | None) -> Outcome:
    if ending.killed:
        return Outcome.KILLED
    if ending.failures or run is None or run.status is not Status.SUCCESS:
        return Outcome.FAILED
    return Outcome.RECOVERED if run.void_trials() else Outcome.UNHARMED


def _culprits(ending: Ending, run: Run | None) -> list[str]:
    void = [] if run is None else [trial.verdict.who for trial in run.void_trials()]
    whos = [*void, *(who for who, _ in ending.failures)]
    return sorted({check.CULPRIT_OF.get(who, who) for who in whos})


def _deadline_s(bench: WarmBench, undisturbed_s: float) -> float:
    """The sum of all waits that one trial may run into, on a busy computer.

    A fault spoils one workload: each of its attempts may wait for an answer, for the question
    whether the board lives, and for the meter; each recovery for two announcements, with two
    questions each, and the port.
    Before that the flasher may hang.
    """
    console, meter = bench.rig.console, bench.rig.meter
    attempt_s = 2 * console.answer_s + 3 * meter.timeout_s
    recovery_s = 2 * (console.hello_s + 2 * console.answer_s) + RETURN_S
    return (
        BUSY * undisturbed_s + ATTEMPTS * (attempt_s + recovery_s) + 2 * bench.rig.flasher.timeout_s
    )
