"""Measure a network on every board of a bench, and let the optimizer ask for more.

suggest -> generate -> build -> flash -> measure -> update. What a report needs is written to
the run folder: the start document holds the network, accuracies, tails and firmware, the
trials hold the samples.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boards
from codegen.build import build
from codegen.generate import feasible_cuts, generate
from hil.core.board import Board
from hil.core.console import PROTOCOL_VERSION
from hil.core.errors import (
    HilError,
    JournalError,
    PlanError,
    RigError,
    TargetError,
    UnexpectedError,
)
from hil.core.firmware import Firmware
from hil.core.network import Network
from hil.core.provenance import Provenance
from hil.loop.decide import Decider, board_measurements_wanted, further_workloads
from hil.loop.expected import Expected
from hil.loop.recorded import RecordedSlicing
from hil.loop.session import Report, Session
from hil.loop.settings import Settings
from hil.loop.subject import Subject, measure_tails
from hil.loop.workloads import (
    empty_windows,
    energy_sweeps,
    layer_passes,
    network_windows,
    partition_passes,
    self_test,
)
from hil.nn.network_file import save_network
from hil.rig import recovery
from hil.rig.bench import OpenRig, open_rig
from hil.rig.rigfile import Rig
from hil.run.journal import Journal
from hil.run.reader import Run, has_started

# Beside the journal, so that a report needs only the run folder.
NETWORK_FILE = "network.npz"


@dataclass(frozen=True)
class Prepared:
    """A board with the firmware of the deepest partition that fits it."""

    board: Board
    firmware: Firmware
    refused: dict[str, str]  # cut name -> why it does not fit


def prepare(network: Network, board_name: str, folder: Path, toolchain: str = "auto") -> Prepared:
    """Plan, generate and build for one board; sources and ELF lie in ``folder``.

    The deepest cut that the planner allows is tried first. Should the linker still find no room,
    the next shallower one is, and the linker's reason is kept. PlanError when none is left.
    """
    board = boards.load_board(board_name)
    fits = feasible_cuts(network, board)
    refused = {fit.cut.name: fit.reason for fit in fits if not fit.fits}
    allowed = [fit.cut for fit in fits if fit.fits and fit.cut.layers > 0]
    for cut in sorted(allowed, key=lambda cut: cut.layers, reverse=True):
        try:
            firmware = build(generate(network, board, cut.layers), board, folder, toolchain)
        except PlanError as error:
            refused[cut.name] = str(error)
            continue
        return Prepared(board, firmware, refused)
    raise PlanError(
        f"{network.name} fits {board_name} at no cut: {next(iter(refused.values()), 'no cuts')}"
    )


def run_campaign(
    rigs: Sequence[Rig],
    subject: Subject,
    folder: Path,
    settings: Settings,
    resume: bool = False,
    toolchain: str = "auto",
    report: Report = print,
) -> Run:
    """Measure everything on every rig; returns the run as journalled.

    A board that fails does not stop the others; its error is raised when all are done. With
    ``resume`` only what ``folder`` has no good trial of is measured.
    """
    with open_campaign(rigs, subject, folder, settings, resume, toolchain, report) as campaign:
        failures = campaign.measure()
    for error in failures.values():
        raise error
    return Run.load(folder)


@dataclass
class Campaign:
    """Images built, tails timed, journal open: what is left is up to the boards.

    ``failures`` holds, by rig name, the errors of boards that could not be built for.
    """

    rigs: tuple[Rig, ...]
    prepared: dict[str, Prepared]
    subject: Subject
    journal: Journal
    settings: Settings
    report: Report
    failures: dict[str, HilError]

    def measure(self) -> dict[str, HilError]:
        """Measure all boards side by side, each has its own wires; errors by rig name."""
        stop, failures = threading.Event(), dict(self.failures)
        with ThreadPoolExecutor(max_workers=len(self.rigs)) as pool:
            measuring = {
                rig.name: pool.submit(
                    _measure_rig,
                    rig,
                    self.prepared[rig.name],
                    self.subject,
                    self.journal,
                    self.settings,
                    self.report,
                    stop,
                )
                for rig in self.rigs
                if rig.name in self.prepared
            }
            try:
                errors = {name: task.result() for name, task in measuring.items()}
            except BaseException:
                stop.set()  # the other boards end with the workload at hand
                raise
        failures.update((name, error) for name, error in errors.items() if error is not None)
        return failures


@contextmanager
def open_campaign(
    rigs: Sequence[Rig],
    subject: Subject,
    folder: Path,
    settings: Settings,
    resume: bool = False,
    toolchain: str = "auto",
    report: Report = print,
) -> Iterator[Campaign]:
    """Do what needs this computer for itself: build, time the tails, start the journal.

    Raises the error of the first board when no board can be built for.
    """
    refuse_same_board(rigs)
    exists = has_started(folder)
    if exists and not resume:
        raise JournalError(f"{folder}: a run is here already; resume it or choose another folder")
    # A resumed run keeps the image that its costs belong to; the new one must prove to be equal.
    images = folder / ("firmware-resumed" if exists else "firmware")
    prepared, failures = _prepare_rigs(rigs, subject.network, images, toolchain, report)
    if not prepared:
        raise next(iter(failures.values()))
    if exists:
        _refuse_other_subject(Run.load(folder), subject.network, prepared.values())
        opened = Journal.resume(folder)
    else:
        save_network(subject.network, folder / NETWORK_FILE)
        facts = _environment(rigs, subject, prepared, settings, report)
        opened = Journal.create(folder, "+".join(rig.name for rig in rigs), facts)
    with opened as journal:
        for name, error in failures.items():
            _quarantine(name, error, journal, report)
        yield Campaign(tuple(rigs), prepared, subject, journal, settings, report, failures)


def refuse_same_board(rigs: Sequence[Rig]) -> None:
    """RigError for two rigs with the same kind of board: a run tells costs apart by board."""
    boards = [rig.board for rig in rigs]
    if twice := [rig.name for rig in rigs if boards.count(rig.board) > 1]:
        raise RigError(
            f"rigs {' and '.join(twice)} have the same kind of board, and a run tells costs apart "
            "by board: measure each as a bench of its own"
        )


def _prepare_rigs(
    rigs: Sequence[Rig], network: Network, images: Path, toolchain: str, report: Report
) -> tuple[dict[str, Prepared], dict[str, HilError]]:
    prepared, failures = {}, {}
    for rig in rigs:
        try:
            prepared[rig.name] = _prepare_rig(rig, network, images, toolchain, report)
        except HilError as error:
            failures[rig.name] = error
    return prepared, failures


def _quarantine(rig: str, error: HilError, journal: Journal, report: Report) -> None:
    """Nothing more is asked of this rig in this run."""
    journal.event("quarantine", f"{rig}: {error}")
    report(f"{rig}: out for this run: {error}")


def _prepare_rig(
    rig: Rig, network: Network, images: Path, toolchain: str, report: Report
) -> Prepared:
    report(f"{rig.board}: generate and build")
    prepared = prepare(network, rig.board, images / rig.board, toolchain)
    use = ", ".join(
        f"{m.memory} {m.used_bytes}/{m.size_bytes}" for m in prepared.firmware.memory_use
    )
    report(f"{rig.board}: {prepared.firmware.layers} layers; bytes used: {use}")
    return prepared


def _environment(
    rigs: Sequence[Rig],
    subject: Subject,
    prepared: dict[str, Prepared],
    settings: Settings,
    report: Report,
) -> dict[str, Any]:
    """The start document: all that a report needs and no trial has."""
    tails = measure_tails(subject, settings.tail_repeats, report)
    return {
        "network": network_summary(subject.network),
        "accuracy": [
            {
                "cut": p.cut,
                "channels": p.channels,
                "correct": p.accuracy.correct,
                "images": p.accuracy.images,
            }
            for p in subject.accuracy.points
        ],
        "accuracy_data": {"name": subject.accuracy.data, "digest": subject.accuracy.data_digest},
        "training": subject.training,
        "slicing": None
        if subject.artifact is None
        else RecordedSlicing.of(subject.artifact).to_dict(),
        "tails": [
            {"cut": cut, "channels": channels, "cost": cost.to_dict()}
            for (cut, channels), cost in tails.items()
        ],
        "boards": {one.board.name: board_summary(one) for one in prepared.values()},
        "meters": {
            rig.name: None if rig.meter.accuracy is None else asdict(rig.meter.accuracy)
            for rig in rigs
        },
        "lost_samples_per_million": {rig.name: rig.meter.lost_samples_per_million for rig in rigs},
        "settings": asdict(settings),
    }


def _refuse_other_subject(run: Run, network: Network, prepared: Iterable[Prepared]) -> None:
    """A run is about one network and one image a board: its start document describes them."""
    recorded = run.environment["network"]["digest"]
    if recorded != network.digest:
        raise JournalError(
            f"{run.folder}: the run measures network {recorded[:12]}, not {network.digest[:12]} "
            f"({network.name}); resume with that model, or start a new run"
        )
    for one in prepared:
        name, build_id = one.board.name, one.firmware.build_id
        facts = run.environment["boards"].get(name)
        if facts is None or facts["build_id"] != build_id:
            had = "no image" if facts is None else f"build {facts['build_id'][:12]}"
            raise JournalError(
                f"{run.folder}: the run has {had} for {name}, sources and compiler now give "
                f"{build_id[:12]}; start a new run"
            )


def network_summary(network: Network) -> dict[str, Any]:
    """What a report needs of a network: shapes and names, no weights."""
    return {
        "name": network.name,
        "digest": network.digest,
        "layers": [
            {
                "name": layer.name,
                "op": layer.op.value,
                "macs": network.macs(i),
                "output": list(network.tensors[i + 1].shape),
                "weight_bytes": layer.weight_bytes,
            }
            for i, layer in enumerate(network.layers)
        ],
        "input": list(network.tensors[0].shape),
        "cuts": [{"name": cut.name, "layers": cut.layers} for cut in network.cuts],
    }


def board_summary(prepared: Prepared) -> dict[str, Any]:
    """What a report needs of a board and its image."""
    firmware, board = prepared.firmware, prepared.board
    return {
        "title": board.title,
        "chip": board.chip,
        "clock_hz": board.compute_clock_hz,
        "cores": board.cores,
        "layers": firmware.layers,
        "build_id": firmware.build_id,
        "elf_sha256": firmware.elf_sha256,
        "toolchain": firmware.toolchain,
        "memory": [asdict(use) for use in firmware.memory_use],
        "refused": prepared.refused,
        "power_source": board.power.source,
        "notes": list(board.notes),
    }


def _measure_rig(
    rig: Rig,
    prepared: Prepared,
    subject: Subject,
    journal: Journal,
    settings: Settings,
    report: Report,
    stop: threading.Event,
) -> HilError | None:
    """One rig from opening to closing; a failure is journalled and returned."""
    try:
        with open_rig(rig, journal.event) as opened:
            session = _session(opened, prepared, subject, journal, settings, report, stop)
            _measure(session, prepared, subject, settings, opened.meter.sample_interval_s)
    except HilError as error:
        _quarantine(rig.name, error, journal, report)
        return error
    except Exception as error:  # noqa: BLE001 - told, and no matter of the other boards
        failure = _unexpected(error)
        _quarantine(rig.name, failure, journal, report)
        return failure
    return None


def _unexpected(error: Exception) -> UnexpectedError:
    """Its kind, its words and the line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    failure = UnexpectedError(
        f"{type(error).__name__}: {error} (in {frame.name}, {Path(frame.filename).name} line "
        f"{frame.lineno}); not foreseen, please report it"
    )
    failure.__cause__ = error
    return failure


def _session(
    opened: OpenRig,
    prepared: Prepared,
    subject: Subject,
    journal: Journal,
    settings: Settings,
    report: Report,
    stop: threading.Event,
) -> Session:
    identity = recovery.bring_up(opened, prepared.firmware, journal.event)
    if identity.compute_clock_hz != prepared.board.compute_clock_hz:
        raise TargetError(
            f"{opened.rig.board}: runs at {identity.compute_clock_hz} Hz, board.toml says "
            f"{prepared.board.compute_clock_hz} Hz; is the external clock there?"
        )
    origins = opened.origins()
    provenance = Provenance(
        cycles_origin=origins.cycles,
        energy_origin=origins.energy,
        board=identity.board,
        chip_id=identity.chip_id,
        clock_hz=identity.compute_clock_hz,
        toolchain=prepared.firmware.toolchain,
        build_id=prepared.firmware.build_id,
        network=subject.network.name,
        network_digest=subject.network.digest,
        timing_model=origins.timing_model,
        meter=opened.meter.identity,
        rig=opened.rig.name,
        protocol=PROTOCOL_VERSION,
    )
    expected = Expected(subject.network, subject.images.x[: settings.images])
    return Session(opened, subject.network, expected, provenance, journal, settings, report, stop)


def _measure(
    session: Session,
    prepared: Prepared,
    subject: Subject,
    settings: Settings,
    sample_interval_s: float,
) -> None:
    layers, inputs = prepared.firmware.layers, session.expected.inputs
    session.run([self_test(layers, settings), empty_windows(layers, settings)])
    session.run(layer_passes(inputs, layers, settings))
    session.run(partition_passes(subject.network, inputs, layers, settings))
    session.run(energy_sweeps(session.table(), inputs, sample_interval_s, settings))
    session.run(network_windows(session.table(), inputs, sample_interval_s, settings))
    _refine(session, prepared, subject, settings)


def _refine(session: Session, prepared: Prepared, subject: Subject, settings: Settings) -> None:
    """While a decision could still change, repeat what the optimizer asks for.

    One pass gives all layers' cycles and one sweep all their energies, so the suggestions only
    decide which of the two to repeat. Doubts about accuracies or tails are not the board's.
    """
    for number in range(settings.refinements):
        run = session.journal.read()
        wanted = board_measurements_wanted(Decider.of(run, session.table(), subject.network))
        if not wanted:
            return
        session.journal.event("refine", f"{prepared.board.name}: {'; '.join(wanted.values())}")
        done = [trial.workload for trial in run.ok_trials() if trial.board == prepared.board.name]
        session.run(further_workloads(wanted, session.expected.inputs, done, settings, number))
