"""Large results beside the journal, stored under the SHA-256 of their bytes.

The journal refers to them by digest, so a journal line stays short and a changed or missing
file is noticed. The same bytes are stored once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hil.core.errors import JournalError
from hil.core.trial import Attachment
from hil.run.lines import sync_folder

FOLDER = "attachments"


def attachment_path(run: Path, attachment: Attachment) -> Path:
    """Where the bytes lie; the suffix is the name's, for people who open the file by hand."""
    return run / FOLDER / (attachment.sha256 + Path(attachment.name).suffix)


def store(run: Path, name: str, data: bytes, media_type: str) -> Attachment:
    """Write ``data`` into the run folder and return the reference for the journal."""
    attachment = Attachment(name, hashlib.sha256(data).hexdigest(), media_type, len(data))
    path = attachment_path(run, attachment)
    # Written under another name first: a file under its digest is always whole.
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size == len(data):
            return attachment
        _write_synced(draft, data)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise JournalError(
            f"{path}: attachment {name!r} of {len(data)} bytes could not be written: "
            f"{error.strerror}; free space and start again to resume"
        ) from error
    return attachment


def load(run: Path, attachment: Attachment) -> bytes:
    """The bytes, checked against their digest."""
    path = attachment_path(run, attachment)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(
            f"{path}: attachment {attachment.name!r} cannot be read: {error.strerror}; copy the "
            "whole run folder, not the journal alone"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != attachment.sha256:
        raise JournalError(
            f"{path}: attachment {attachment.name!r} has changed: {len(data)} bytes with digest "
            f"{digest[:12]}, recorded were {attachment.size_bytes} with {attachment.sha256[:12]}"
        )
    return data


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
