"""A run as its folder tells it: read-only, and enough for every report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hil.core.errors import DataError, JournalError
from hil.core.trial import Attachment, Event, Trial
from hil.run import attachments
from hil.run.lines import Content, Line, read_lines

JOURNAL = "journal.jsonl"
# Version of the documents' bodies. 1: start, plan, trial, event, resume, stop.
SCHEMA = 1


class Status(StrEnum):
    """How a run ended. Without a stop document it crashed, or somebody still writes it."""

    SUCCESS = "success"
    FAIL = "fail"
    ABORT = "abort"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Planned:
    """A trial to be: its key and a name for people."""

    key: str
    label: str


@dataclass(frozen=True)
class Run:
    """A journal of trials. ``tail`` holds the bytes of a last line cut short by a kill."""

    folder: Path
    name: str
    started: str
    environment: dict[str, Any]
    planned: tuple[Planned, ...]
    trials: tuple[Trial, ...]
    events: tuple[Event, ...]
    status: Status
    reason: str
    stopped: str
    tail: bytes

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read the run folder. JournalError names the file, and the line that is damaged."""
        path = folder / JOURNAL
        if not path.is_file():
            raise JournalError(f"{folder}: not a run folder, it has no {JOURNAL}")
        return interpret(folder, read_lines(path))

    @property
    def finished_keys(self) -> frozenset[str]:
        """Keys of trials that ended well."""
        return frozenset(trial.key for trial in self.trials if trial.ok)

    @property
    def missing(self) -> tuple[Planned, ...]:
        """Planned trials without a good result: what a resumed run has to do."""
        done = self.finished_keys
        return tuple(plan for plan in self.planned if plan.key not in done)

    def ok_trials(self) -> tuple[Trial, ...]:
        """Good trials, the newest of each key, in the order of recording."""
        newest = {trial.key: trial for trial in self.trials if trial.ok}
        return tuple(trial for trial in self.trials if newest.get(trial.key) is trial)

    def void_trials(self) -> tuple[Trial, ...]:
        """Trials that failed, with reason and culprit in their verdict."""
        return tuple(trial for trial in self.trials if not trial.ok)

    def trial(self, key: str) -> Trial | None:
        """The newest good trial of that key, if there is one."""
        return next((t for t in reversed(self.trials) if t.key == key and t.ok), None)

    def attachment(self, attachment: Attachment) -> bytes:
        """An attachment's bytes, checked."""
        return attachments.load(self.folder, attachment)


def has_started(folder: Path) -> bool:
    """There is a run to go on with: the first line of its journal is whole, which a kill may have
    prevented. JournalError when it is damaged."""
    path = folder / JOURNAL
    return path.is_file() and bool(read_lines(path).lines)


def interpret(folder: Path, content: Content) -> Run:
    """The run that the documents of a journal describe."""
    path = folder / JOURNAL
    if not content.lines:
        raise JournalError(f"{path}: empty, the run never started; delete {folder} and start anew")
    start = content.lines[0]
    if start.kind != "start" or start.body.get("schema") != SCHEMA:
        raise JournalError(
            f"{path}, line 1: a start document of schema {SCHEMA} belongs here, this is "
            f"{start.kind!r} of schema {start.body.get('schema')}"
        )
    of_kind: dict[str, list[Line]] = {kind: [] for kind in _KINDS}
    for number, line in enumerate(content.lines, 1):
        if line.kind not in of_kind:
            raise JournalError(f"{path}, line {number}: unknown document {line.kind!r}")
        of_kind[line.kind].append(line)
    last = content.lines[-1]
    stopped = last.kind == "stop"
    return Run(
        folder=folder,
        name=str(start.body["name"]),
        started=start.time,
        environment=dict(start.body["environment"]),
        planned=_planned(of_kind["plan"]),
        trials=tuple(_trial(line, path) for line in of_kind["trial"]),
        events=tuple(_event(line) for line in of_kind["event"] + of_kind["resume"]),
        status=Status(last.body["status"]) if stopped else Status.UNFINISHED,
        reason=str(last.body["reason"]) if stopped else "",
        stopped=last.time if stopped else "",
        tail=content.tail,
    )


_KINDS = ("start", "plan", "trial", "event", "resume", "stop")


def _planned(lines: list[Line]) -> tuple[Planned, ...]:
    plans = (Planned(**item) for line in lines for item in line.body["trials"])
    return tuple({plan.key: plan for plan in plans}.values())


def _trial(line: Line, path: Path) -> Trial:
    try:
        return Trial.from_dict(line.body)
    except DataError as error:
        raise JournalError(f"{path}, line {line.seq + 1}: {error}") from error


def _event(line: Line) -> Event:
    if line.kind == "resume":
        return Event(line.time, "resume", f"{line.body['pid']} on {line.body['host']}")
    return Event(line.time, line.body["what"], line.body["detail"])


def list_runs(root: Path) -> tuple[Path, ...]:
    """Run folders under ``root``, oldest first by their number."""
    return tuple(sorted(path.parent for path in root.glob(f"*/{JOURNAL}")))
