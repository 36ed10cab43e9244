"""One measurement of the warm bench in a process of its own, so that it can be killed or starved.

The child runs what ``hil measure`` runs once firmware is built: hil.loop.campaign.Campaign on a
journal. It is forked, since starting Python anew would take longer than the trial.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.errors import HilError, UnexpectedError
from hil.core.trial import Verdict
from hil.loop.campaign import Campaign
from hil.loop.faults.bench import WarmBench
from hil.loop.faults.kinds import Plan
from hil.rig import scpi
from hil.run.journal import Journal
from hil.run.reader import JOURNAL, has_started

POLL_S = 0.001
MAX_ANSWER = 1_000_000


@dataclass(frozen=True)
class Ending:
    """How the child ended.

    ``failures``: (who, text) of every error that reached the top. ``crash``: the traceback of an
    error that the bench does not raise on purpose. ``killed``: by the plan. ``hung``: it was still
    running at the deadline.
    """

    failures: tuple[tuple[str, str], ...] = ()
    crash: str = ""
    killed: bool = False
    hung: bool = False
    wall_s: float = 0.0


def preload() -> None:
    """Import what a measurement imports late, so that a child finds it imported."""
    scpi.preload()
    _ = np.ma  # loaded when first used


def measure(
    bench: WarmBench,
    folder: Path,
    deadline_s: float,
    plan: Plan | None = None,
    resume: bool = False,
) -> Ending:
    """Measure into ``folder`` and wait for the end, ``deadline_s`` at most."""
    started_s = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(bench, folder, plan, resume, writer)  # does not return
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        try:
            status = _wait(child, folder, deadline_s, plan)
        except BaseException:  # Ctrl-C: the child does not outlive the campaign
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        text = answers.read(MAX_ANSWER)
    wall_s = time.monotonic() - started_s
    if status is None:
        return Ending(hung=True, wall_s=wall_s)
    if os.WIFSIGNALED(status):
        planned = plan is not None and plan.kill_bytes is not None
        name = signal.Signals(os.WTERMSIG(status)).name
        return Ending(crash="" if planned else f"ended by {name}", killed=planned, wall_s=wall_s)
    answer = json.loads(text)
    failures = tuple((who, words) for who, words in answer["failures"])
    return Ending(failures, answer["crash"], wall_s=wall_s)


def _wait(child: int, folder: Path, deadline_s: float, plan: Plan | None) -> int | None:
    """The child's status; None when it had to be killed at the deadline."""
    end_s = time.monotonic() + deadline_s
    kill_bytes = None if plan is None or plan.torn else plan.kill_bytes
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if kill_bytes is not None and _size(folder / JOURNAL) >= kill_bytes:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        if time.monotonic() > end_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(POLL_S if kill_bytes is not None else 10 * POLL_S)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _child(bench: WarmBench, folder: Path, plan: Plan | None, resume: bool, writer: int) -> None:
    """The child's whole life; leaves by os._exit, so that nothing of the parent is torn down."""
    answer: dict[str, Any] = {"failures": [], "crash": ""}
    try:
        if plan is not None:
            _starve(plan)
        answer["failures"] = [_told(error) for error in _measure(bench, folder, resume)]
    except UnexpectedError:
        answer["crash"] = traceback.format_exc()
    except HilError as error:
        answer["failures"] = [_told(error)]
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must learn of it
        answer["crash"] = traceback.format_exc()
    finally:
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)


def _told(error: HilError) -> tuple[str, str]:
    return Verdict.void(error).who, str(error)


def _measure(bench: WarmBench, folder: Path, resume: bool) -> list[HilError]:
    opened = (
        Journal.resume(folder)
        if resume and has_started(folder)
        else Journal.create(folder, bench.rig.name, {})
    )
    prepared = {bench.rig.name: bench.prepared}
    with opened as journal:
        campaign = Campaign(
            (bench.rig,), prepared, bench.subject, journal, bench.settings, _silent, {}
        )
        errors = list(campaign.measure().values())
    for error in errors:
        if isinstance(error, UnexpectedError):
            raise error
    return errors


def _silent(_text: str) -> None:
    """Progress lines are not kept; the journal tells more."""


def _starve(plan: Plan) -> None:
    """The plan's limits on this process. The kernel enforces them at the file system's edge."""
    size = plan.kill_bytes if plan.torn else plan.disk_bytes
    if size is None:
        return
    if plan.torn:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would turn it into an OSError
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
