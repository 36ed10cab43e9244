"""One user at a time for each part of a bench, on this computer."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hil.core.errors import RigError
from hil.core.secrets import masked

# Shared by all users of the computer, since the boards are.
FOLDER = Path(tempfile.gettempdir()) / "hil-locks"


@contextmanager
def locked(parts: Sequence[str], rig: str) -> Iterator[None]:
    """Hold all ``parts`` (names of hil.rig.identity) while in the block.

    RigError at once, naming the holder, when one of them is in use.
    """
    try:
        if not FOLDER.exists():
            FOLDER.mkdir(exist_ok=True)
            FOLDER.chmod(0o1777)  # as /tmp: everybody may lock, nobody removes others' notes
    except OSError as error:
        raise RigError(f"{FOLDER}: no folder for locks: {error}") from error
    with ExitStack() as stack:
        for part in sorted(set(parts)):
            stack.enter_context(_locked_part(part, rig))
        yield


@contextmanager
def _locked_part(part: str, rig: str) -> Iterator[None]:
    stem = FOLDER / hashlib.sha256(part.encode()).hexdigest()[:24]
    # A note for each user: one left by a killed process of another user cannot be overwritten.
    note = stem.with_suffix(f".{os.getuid()}.json")
    lock = FileLock(stem.with_suffix(".lock"), timeout=0, mode=0o666)
    try:
        lock.acquire()
    except Timeout as error:
        raise RigError(f"{part} is in use by {_holder(stem)}; wait for it or stop it") from error
    except OSError as error:
        raise RigError(f"{part}: cannot lock {lock.lock_file}: {error}") from error
    try:
        note.write_text(json.dumps(_me(rig)), encoding="utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def user_name() -> str:
    """Of whoever runs this; a container may have a number without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"user {os.getuid()}"


def _me(rig: str) -> dict[str, str | int]:
    return {
        "user": user_name(),
        "pid": os.getpid(),
        "command": masked(" ".join(sys.argv))[:80],  # everybody may read it
        "rig": rig,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(stem: Path) -> str:
    """Who wrote the newest note on this part."""
    notes = sorted(stem.parent.glob(f"{stem.name}.*.json"), key=lambda note: note.stat().st_mtime)
    if not notes:
        return "somebody who left no note"
    try:
        who = json.loads(notes[-1].read_text(encoding="utf-8"))
        return (
            f"{who['user']}, process {who['pid']} ({who['command']}) on rig {who['rig']} "
            f"since {who['since']}"
        )
    except (OSError, ValueError, KeyError) as error:
        return f"somebody whose note {notes[-1]} cannot be read ({error})"
