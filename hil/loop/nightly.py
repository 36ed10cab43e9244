"""One night: measure every bench, judge its costs against the history, accept what is no worse.

Baselines: what a rig measures for the first time is accepted as it is. Later a board's night is
accepted as a whole, unless one of its costs has regressed: then nothing of it is, and the same
regression is told every night until it is mended or ``accept`` takes it for the new level.
A board that failed is judged and accepted by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hil.core.errors import DataError, HilError
from hil.core.series import Accepted, NightCost, Series, Verdict
from hil.loop.campaign import open_campaign, refuse_same_board
from hil.loop.night_costs import night_costs
from hil.loop.report import report_data
from hil.loop.session import Report
from hil.loop.settings import Settings
from hil.loop.subject import Subject
from hil.measure.regression import Judgement, Policy, judge, refuse_nonpositive
from hil.rig.rigfile import Bench, Rig
from hil.run.history import BY_NIGHTLY, History, Quarantine
from hil.run.journal import folder_word, utc_now
from hil.run.reader import JOURNAL, Run
from reports.render import render

OK, REGRESSION, FAILED = 0, 2, 3


@dataclass(frozen=True)
class BoardNight:
    """What became of one rig. ``failure`` is its error's text; ``quarantine`` a person's."""

    bench: str
    rig: str
    board: str
    costs: tuple[NightCost, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    accepted: bool = False
    failure: str = ""
    quarantine: Quarantine | None = None

    @property
    def regressed(self) -> tuple[Judgement, ...]:
        return tuple(j for j in self.judgements if j.verdict is Verdict.REGRESSED)


@dataclass(frozen=True)
class Night:
    """The outcome of a night; ``folder`` holds a run folder for every bench."""

    folder: Path
    started: str
    boards: tuple[BoardNight, ...]

    @property
    def status(self) -> int:
        """Exit status: 2 a regression that was not accepted, 3 a board that failed, else 0."""
        if any(board.regressed and not board.accepted for board in self.boards):
            return REGRESSION
        return FAILED if any(board.failure for board in self.boards) else OK

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the status is not 0, one line a board."""
        worse = [
            f"{board.rig}: {len(board.regressed)} regressed, first {board.regressed[0].series.part}"
            for board in self.boards
            if board.regressed and not board.accepted
        ]
        return (*worse, *(f"{b.rig}: failed: {b.failure}" for b in self.boards if b.failure))


@dataclass(frozen=True)
class MeasuredBench:
    """A bench's run folder and the errors of its rigs by name."""

    folder: Path
    failures: Mapping[str, HilError]


Measure = Callable[[Sequence[Bench], Subject, Path, Settings, Report], dict[str, MeasuredBench]]


def run_night(
    benches: Sequence[Bench],
    subject: Subject,
    history: History,
    folder: Path,
    settings: Settings,
    policy: Policy | None = None,
    accept: bool = False,
    report: Report = print,
    measure: Measure | None = None,
) -> Night:
    """Measure, judge, accept; ``folder`` gets a run folder with its report for every bench.

    ``measure`` is measure_benches, or a stand-in that lays run folders.
    """
    _refuse_doubles(benches)
    started, kept_out = utc_now(), _kept_out(history)
    active = [_without(bench, kept_out) for bench in benches]
    active = [bench for bench in active if bench.rigs]
    measured = (measure or measure_benches)(active, subject, folder, settings, report)
    found = [
        _board_night(bench, rig, measured.get(bench.name), kept_out.get(rig.name), subject, history)
        for bench in benches
        for rig in bench.rigs
    ]
    boards = _accept(_judged(found, history, policy), history, started, folder, accept)
    for bench in measured.values():
        _write_report(bench.folder, report)
    return Night(folder, started, boards)


def measure_benches(
    benches: Sequence[Bench],
    subject: Subject,
    folder: Path,
    settings: Settings,
    report: Report,
    toolchain: str = "auto",
) -> dict[str, MeasuredBench]:
    """Campaigns of all benches: built for one after the other, then measured side by side.

    The cloud's tails are timed while nothing else runs on this computer.
    """
    done: dict[str, MeasuredBench] = {}
    with ExitStack() as stack:
        campaigns = {}
        for bench in benches:
            run = folder / folder_word(bench.name)
            try:
                campaigns[bench.name] = stack.enter_context(
                    open_campaign(bench.rigs, subject, run, settings, False, toolchain, report)
                )
            except HilError as error:
                report(f"{bench.name}: {error}")
                done[bench.name] = MeasuredBench(run, {rig.name: error for rig in bench.rigs})
        with ThreadPoolExecutor(max_workers=max(1, len(campaigns))) as pool:
            tasks = {name: pool.submit(one.measure) for name, one in campaigns.items()}
            for bench in benches:
                if bench.name in tasks:
                    done[bench.name] = _ended(
                        bench, folder / folder_word(bench.name), tasks[bench.name]
                    )
    return done


def _ended(bench: Bench, run: Path, task: Future[dict[str, HilError]]) -> MeasuredBench:
    """A bench whose journal could not be written has failed as a whole; the others have not."""
    try:
        return MeasuredBench(run, task.result())
    except HilError as error:
        return MeasuredBench(run, {rig.name: error for rig in bench.rigs})


def _refuse_doubles(benches: Sequence[Bench]) -> None:
    """Rigs are told apart by name, benches by their folder, and costs within a run by board."""
    rigs = [rig.name for bench in benches for rig in bench.rigs]
    if twice := sorted({name for name in rigs if rigs.count(name) > 1}):
        raise DataError(f"rig {twice[0]} belongs to two of the benches; name each rig once")
    folders = [folder_word(bench.name) for bench in benches]
    if twice := sorted({name for name in folders if folders.count(name) > 1}):
        raise DataError(f"two benches would write to the same folder, {twice[0]}; rename one")
    for bench in benches:
        refuse_same_board(bench.rigs)


def _kept_out(history: History) -> dict[str, Quarantine]:
    return {name: entry for name, entry in history.quarantined().items() if entry.by_person}


def _without(bench: Bench, kept_out: Mapping[str, Quarantine]) -> Bench:
    return replace(bench, rigs=tuple(rig for rig in bench.rigs if rig.name not in kept_out))


def _board_night(
    bench: Bench,
    rig: Rig,
    measured: MeasuredBench | None,
    quarantine: Quarantine | None,
    subject: Subject,
    history: History,
) -> BoardNight:
    night = BoardNight(bench.name, rig.name, rig.board, quarantine=quarantine)
    if quarantine is not None or measured is None:
        return night
    if rig.name in measured.failures:
        error = measured.failures[rig.name]
        return replace(night, failure=f"{type(error).__name__}: {error}")
    try:
        costs = night_costs(Run.load(measured.folder), subject.network).get(rig.name, ())
        if not costs:
            raise DataError(f"{measured.folder}: the run has no cost of rig {rig.name}")
        for cost in costs:
            refuse_nonpositive(cost.series, cost.value)
            history.refuse_other_origin(cost)
    except HilError as error:
        return replace(night, failure=f"{type(error).__name__}: {error}")
    return replace(night, costs=costs)


def _judged(
    boards: Sequence[BoardNight], history: History, policy: Policy | None
) -> list[BoardNight]:
    """All boards in one judgement: the false-alarm rate is the night's."""
    tonight = {cost.series: cost.value for board in boards for cost in board.costs}
    past: dict[Series, tuple[Accepted, ...]] = {}
    for board in boards:
        for cost in board.costs[:1]:
            one = cost.series
            past |= history.accepted(one.board, one.rig, one.network_digest, one.toolchain)
    judgements = judge(tonight, past, policy)
    return [
        replace(board, judgements=tuple(j for j in judgements if j.series.rig == board.rig))
        for board in boards
    ]


def _accept(
    boards: Sequence[BoardNight], history: History, time: str, folder: Path, accept: bool
) -> tuple[BoardNight, ...]:
    done = []
    for board in boards:
        if board.failure:
            history.quarantine(board.rig, time, board.failure)
        elif board.costs:
            history.lift(board.rig, BY_NIGHTLY)
            if accept or not board.regressed:
                verdicts = {j.series: j.verdict for j in board.judgements}
                costs = [(cost, verdicts[cost.series]) for cost in board.costs]
                history.accept(time, f"{folder.name}/{board.bench}", costs)
                board = replace(board, accepted=True)
        done.append(board)
    return tuple(done)


def _write_report(folder: Path, report: Report) -> None:
    """The bench's HTML report, if anything was measured."""
    if not (folder / JOURNAL).is_file():
        return
    try:
        report(f"report: {render(report_data(folder), folder / 'report.html')}")
    except HilError as error:
        report(f"no report of {folder}: {error}")
