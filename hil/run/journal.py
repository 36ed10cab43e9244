"""The writing end of a run: an append-only journal with one writer, and resume.

Documents in order: one start, then plans, trials and events, at last a stop with its status.
A journal that does not end with a stop belongs to a run that crashed or still goes on; opening
it again adds a resume document and goes on with what is missing.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from hil.core.errors import HilError, JournalError
from hil.core.secrets import masked
from hil.core.trial import Attachment, Trial
from hil.run import attachments
from hil.run.lines import Content, Line, LineFile, read_lines
from hil.run.reader import JOURNAL, SCHEMA, Planned, Run, Status, interpret

LOCK = "journal.lock"
MOST_WORD = 60  # characters; a file's name may have 255 bytes
Write = Callable[[int, bytes], int]


def utc_now() -> str:
    """The time as journals write it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def folder_word(name: str) -> str:
    """``name`` (of a bench) as a part of a folder's name: no separators or blanks, not too long."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._-")[:MOST_WORD] or "unnamed"


def new_run_folder(root: Path, name: str) -> Path:
    """Make ``root/NNNN-name`` with the next free number; two processes never get the same.

    ``name`` is made fit for a file's name by ``folder_word``.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".numbers.lock", timeout=10):
            numbers = [int(p.name[:4]) for p in root.iterdir() if p.name[:4].isdigit()]
            folder = root / f"{max(numbers, default=0) + 1:04d}-{folder_word(name)}"
            folder.mkdir()
    except OSError as error:  # the lock's Timeout is one too
        raise JournalError(f"{root}: no run can be kept there: {error}; choose another") from error
    return folder


class Journal:
    """Writes one run. Use ``create`` or ``resume`` in a with statement.

    Leaving the with block writes the stop: success when every planned trial has a good result,
    abort after Ctrl-C, else fail with its reason.
    """

    def __init__(self, folder: Path, write: Write) -> None:
        self.folder = folder
        # Boards of one bench are measured side by side; their documents come one by one.
        self._one = threading.RLock()
        self._lock = FileLock(folder / LOCK)
        self._acquire()
        try:
            self._file = LineFile(folder / JOURNAL, write)
        except JournalError:
            self._lock.release()
            raise
        self._seq = 0
        self._planned: dict[str, Planned] = {}
        self._finished: dict[str, Trial] = {}
        self._stopped = False
        self.recovered: Path | None = None

    @classmethod
    def create(
        cls, folder: Path, name: str, environment: dict[str, Any], write: Write = os.write
    ) -> Journal:
        """Start a run in a folder without one. ``environment`` is kept for the report.

        What a kill left of a first line is kept aside.
        """
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls(folder, write)
        try:
            content = read_lines(folder / JOURNAL)
            if content.lines:
                raise JournalError(f"{folder}: a run is here already; resume it or choose another")
            journal._cut(content)
            body = {"schema": SCHEMA, "name": name, "environment": environment, **_process()}
            journal._append("start", body)
        except BaseException:
            journal._release()
            raise
        return journal

    @classmethod
    def resume(cls, folder: Path, write: Write = os.write) -> Journal:
        """Go on with a run: an unfinished last line is kept aside, then a resume is noted."""
        if not (folder / JOURNAL).is_file():
            raise JournalError(f"{folder}: no run to resume, it has no {JOURNAL}")
        journal = cls(folder, write)
        try:
            journal._take_up()
        except BaseException:
            journal._release()
            raise
        return journal

    def _take_up(self) -> None:
        content = read_lines(self.folder / JOURNAL)
        run = interpret(self.folder, content)
        self._seq = len(content.lines)
        self._planned = {plan.key: plan for plan in run.planned}
        self._finished = {trial.key: trial for trial in run.ok_trials()}
        self._cut(content)
        if content.newline_missing:
            self._file.append(b"\n")
        self._append("resume", _process())
        if self.recovered:
            detail = f"{len(content.tail)} bytes of an unfinished line are in {self.recovered.name}"
            self.event("recovered", detail)

    def _cut(self, content: Content) -> None:
        """Keep an unfinished last line aside."""
        if content.tail:
            self.recovered = self._keep_aside(content.tail)
            self._file.truncate(content.valid_bytes)

    def _keep_aside(self, tail: bytes) -> Path:
        path = self.folder / f"journal.cut-{self._seq:06d}"
        try:
            path.write_bytes(tail)
        except OSError as error:
            raise JournalError(
                f"{path}: the unfinished last line cannot be kept aside: {error.strerror}"
            ) from error
        return path

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise JournalError(
                f"{self.folder}: another process writes this run; wait for it, or start a new run"
            ) from error
        except OSError as error:
            raise JournalError(
                f"{self.folder / LOCK}: cannot be locked: {error.strerror}"
            ) from error

    @property
    def finished(self) -> dict[str, Trial]:
        """The newest good trial of every key recorded so far."""
        with self._one:
            return dict(self._finished)

    def plan(self, trials: Iterable[Planned]) -> tuple[Planned, ...]:
        """Add trials to do; returns those that are still missing, in the order given."""
        asked = tuple(trials)
        with self._one:
            return self._plan(asked)

    def _plan(self, asked: tuple[Planned, ...]) -> tuple[Planned, ...]:
        fresh = [plan for plan in asked if plan.key not in self._planned]
        if fresh:
            self._append("plan", {"trials": [asdict(plan) for plan in fresh]})
            self._planned.update((plan.key, plan) for plan in fresh)
        return tuple(plan for plan in asked if plan.key not in self._finished)

    def missing(self) -> tuple[Planned, ...]:
        """All planned trials without a good result."""
        return tuple(p for key, p in self._planned.items() if key not in self._finished)

    def record(self, trial: Trial) -> None:
        """Append a trial, good or void. It is on the disk when this returns."""
        with self._one:
            self._append("trial", trial.to_dict())
            if trial.ok:
                self._finished[trial.key] = trial

    def event(self, what: str, detail: str) -> None:
        """Append something that happened outside of a trial, such as a recovery step."""
        self._append("event", {"what": what, "detail": masked(detail)})

    def attach(self, name: str, data: bytes, media_type: str) -> Attachment:
        """Store bytes in the run folder; put the result into the trial that refers to it."""
        return attachments.store(self.folder, name, data, media_type)

    def stop(self, status: Status, reason: str = "") -> None:
        """Write the last document; nothing can be recorded after it."""
        counts = {"planned": len(self._planned), "finished": len(self._finished)}
        self._append("stop", {"status": status.value, "reason": reason, **counts})
        self._stopped = True

    def read(self) -> Run:
        """The run as it stands on the disk now."""
        return Run.load(self.folder)

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        with self._one:
            if self._stopped:
                raise JournalError(f"{self.folder}: the run has stopped, a {kind} comes too late")
            self._file.append(Line(self._seq, kind, utc_now(), body).encode())
            self._seq += 1

    def _release(self) -> None:
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if not self._stopped:
                self._stop_after(error)
        finally:
            self._release()

    def _stop_after(self, error: BaseException | None) -> None:
        if error is None:
            missing = self.missing()
            labels = ", ".join(plan.label for plan in missing[:3])
            self.stop(
                Status.FAIL if missing else Status.SUCCESS,
                f"{len(missing)} planned trials have no good result: {labels}" if missing else "",
            )
            return
        status = Status.FAIL if isinstance(error, Exception) else Status.ABORT
        text = str(error) if isinstance(error, HilError) else repr(error)
        try:
            self.stop(status, text)
        except JournalError as second:
            # The first error is the one to see; this one often has the same cause (full disk).
            error.add_note(f"and the stop could not be journalled: {second}")


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}
