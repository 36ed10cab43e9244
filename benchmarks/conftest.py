"""The bench as pytest sees it: one campaign a session, one benchmark a layer, partition and slice.

pytest-benchmark times with a clock of our own: it moves only by the time that the board has
counted, so min, median, `--benchmark-compare` and `--benchmark-compare-fail` are all about the
device and never about this computer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hil.clio.slicing.artifact import SlicePoint
from hil.cloud.server import TailServer
from hil.coding.bits import GRID_BITS
from hil.core.cost import CostTable
from hil.core.errors import HilError, JournalError
from hil.core.network import Network
from hil.core.trial import Trial, TrialKind
from hil.loop.campaign import run_campaign
from hil.loop.report import cost_tables, report_data
from hil.loop.serving import tail_service
from hil.loop.settings import Settings
from hil.loop.subject import Subject
from hil.measure.table import partition_cycles
from hil.rig.attached import refuse_missing
from hil.rig.rigfile import Rig, load_bench
from hil.run.journal import folder_word, new_run_folder
from hil.run.reader import JOURNAL, Run, list_runs
from reports.render import render

RUNS = Path("runs")
# It times this computer, not a board: only run when it is named.
collect_ignore = ["test_simulator_speed.py"]


class DeviceClock:
    """Seconds as counted by a board; pytest-benchmark reads it before and after each round."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, duration_s: float) -> None:
        """One measured round has taken this long on the board."""
        self.now_s += duration_s


DEVICE_CLOCK = DeviceClock()


def device_time(group: str) -> pytest.MarkDecorator:
    """Mark of a benchmark whose rounds are the board's time."""
    return pytest.mark.benchmark(group=group, timer=DEVICE_CLOCK, warmup=False, disable_gc=False)


@dataclass
class Bench:
    """A measured bench. ``failures`` holds the error of a board that could not be measured."""

    folder: Path
    network: Network
    run: Run | None
    tables: dict[str, CostTable] = field(default_factory=dict)
    failure: HilError | None = None

    def table(self, board: str) -> CostTable:
        """The board's costs; the test fails with the campaign's own error if there are none."""
        if board not in self.tables:
            pytest.fail(f"{board} was not measured: {self.failure}", pytrace=False)
        return self.tables[board]

    def skip_unless_fits(self, board: str, layers: int) -> None:
        """Skip what the board's image does not hold, with the planner's reason."""
        if self.run is None:
            pytest.fail(f"no run: {self.failure}", pytrace=False)
        if board not in self.run.environment["boards"]:
            pytest.fail(f"no image for {board}: {self.failure}", pytrace=False)
        facts = self.run.environment["boards"][board]
        if layers > facts["layers"]:
            refused = facts["refused"]
            cut = next(c.name for c in self.network.cuts if c.layers >= layers)
            pytest.skip(f"not in the image of {board}: {refused.get(cut, 'does not fit')}")


_SUBJECT = pytest.StashKey[Subject]()
_RIGS = pytest.StashKey[tuple[Rig, ...]]()
_RUN_NAME = pytest.StashKey[str]()
_BENCH = pytest.StashKey[Bench]()
_REPORT = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Read rig and model first: a wrong name ends the session with one line."""
    data = config.getoption("--data")
    try:
        bench = load_bench(config.getoption("--rig"))
        config.stash[_RIGS], config.stash[_RUN_NAME] = bench.rigs, bench.name
        config.stash[_SUBJECT] = Subject.load(
            config.getoption("--model"), None if data is None else Path(data)
        )
    except HilError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Boards of the rig, layers and cuts of the model."""
    network = metafunc.config.stash[_SUBJECT].network
    if "layer_index" in metafunc.fixturenames:
        names = [layer.name for layer in network.layers]
        metafunc.parametrize("layer_index", range(len(names)), ids=names)
    if "cut" in metafunc.fixturenames:
        cuts = [cut for cut in network.cuts if cut.layers > 0]
        metafunc.parametrize("cut", cuts, ids=[cut.name for cut in cuts])
    if "trained" in metafunc.fixturenames:
        points = _trained(metafunc.config.stash[_SUBJECT])
        metafunc.parametrize("trained", points, ids=[f"{p.cut}-{p.channels}" for p in points])
    if "board" in metafunc.fixturenames:
        metafunc.parametrize("board", [rig.board for rig in metafunc.config.stash[_RIGS]])


def _trained(subject: Subject) -> list[SlicePoint]:
    """The trained slices as the firmware sends them; none for a network without."""
    points = subject.artifact.table.points if subject.artifact else ()
    return [point for point in points if point.bits == GRID_BITS]


def _run_folder(config: pytest.Config) -> Path:
    name = config.stash[_RUN_NAME]
    chosen = config.getoption("--run-dir")
    if chosen is not None:
        return Path(chosen)
    if config.getoption("--resume"):
        word = folder_word(name)
        earlier = [run for run in list_runs(RUNS) if run.name.partition("-")[2] == word]
        if earlier:
            return earlier[-1]
    return new_run_folder(RUNS, name)


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """The campaign: everything is measured here, once; the tests look at what it found."""
    terminal = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def report(text: str) -> None:
        if terminal is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"  {text}")

    subject, folder = pytestconfig.stash[_SUBJECT], _run_folder(pytestconfig)
    settings = Settings(images=pytestconfig.getoption("--images"))
    resume = bool(pytestconfig.getoption("--resume")) and (folder / JOURNAL).exists()
    report("")
    found = Bench(folder, subject.network, None)
    pytestconfig.stash[_BENCH] = found
    try:
        refuse_missing(pytestconfig.stash[_RIGS])
        found.run = run_campaign(
            pytestconfig.stash[_RIGS], subject, folder, settings, resume, report=report
        )
    except JournalError as error:  # what lies in the folder is not of this session
        found.failure = error
    except HilError as error:
        found.failure = error
        if (folder / JOURNAL).exists():
            found.run = Run.load(folder)
    if found.run is not None:
        tables = cost_tables(found.run, subject.network)
        found.tables = {table.provenance.board: table for table in tables}
    yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No deadline on this computer's clock: the campaign runs inside the first test's set-up."""
    for item in items:
        item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    return pytestconfig.stash[_SUBJECT]


@pytest.fixture(scope="session")
def cloud(subject: Subject) -> Iterator[tuple[str, int]]:
    """Address of a server on this computer that answers every slice of the model."""
    with TailServer(tail_service(subject), deadline_s=60.0, idle_s=600.0) as server:
        yield server.address


def replay(benchmark: BenchmarkFixture, samples_s: list[float]) -> None:
    """Give pytest-benchmark the board's own times, one round a sample."""
    remaining = iter(samples_s)
    benchmark.pedantic(lambda: DEVICE_CLOCK.advance(next(remaining)), rounds=len(samples_s))
    if benchmark.enabled:
        # Without the marker's timer the rounds would be this computer's time.
        assert benchmark.stats["data"] == pytest.approx(samples_s, rel=1e-6)


def partition_trials(bench: Bench, board: str, layers: int) -> list[Trial]:
    """The good trials that timed a partition as a whole."""
    table = bench.table(board)
    assert bench.run is not None
    return [
        trial
        for trial in bench.run.ok_trials()
        if trial.kind is TrialKind.NETWORK
        and trial.provenance == table.provenance
        and trial.workload.layers == layers
    ]


def partition_samples_s(bench: Bench, board: str, layers: int) -> list[float]:
    """Seconds of every timed pass over a partition."""
    trials = partition_trials(bench, board, layers)
    table = bench.table(board)
    return [c / table.clock_hz for c in partition_cycles(trials, layers, table.overhead)]


def board_output(bench: Bench, board: str, layers: int) -> tuple[int, np.ndarray]:
    """An image's number, and the partition's output for it as the board itself gave it."""
    trial = partition_trials(bench, board, layers)[-1]
    assert bench.run is not None
    data = bench.run.attachment(trial.attachments[-1])
    tensor = bench.network.tensors[layers]
    return trial.workload.image, np.frombuffer(data, tensor.dtype).reshape(tensor.shape)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The report is written whatever failed, as long as something was measured."""
    bench = session.config.stash.get(_BENCH, None)
    if bench is None or not bench.tables:
        return
    try:
        path = render(report_data(bench.folder), bench.folder / "report.html")
        session.config.stash[_REPORT] = path
    except HilError as error:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"no report: {error}", red=True)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    bench, report = config.stash.get(_BENCH, None), config.stash.get(_REPORT, None)
    if bench is not None and bench.failure is not None:
        terminalreporter.write_line(f"the campaign failed: {bench.failure}", red=True)
    if bench is not None:
        terminalreporter.write_line(f"run folder: {bench.folder}")
    if report is not None:
        terminalreporter.write_line(f"HTML report: {report.resolve()}")
