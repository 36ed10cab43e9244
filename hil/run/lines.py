"""An append-only file of checked JSON lines, and what a crash may do to it.

A line is ``{"seq": n, "kind": ..., "time": ..., "body": ..., "sha": ...}``. ``seq`` counts from
0 without holes, ``sha`` is the SHA-256 over the other four. Every line is flushed to the disk
before the call returns, so a crash can hurt only the line being written: an unfinished last
line is cut off and kept aside, while damage anywhere else is refused, because it means that
somebody or something changed measurements.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.core.errors import JournalError


@dataclass(frozen=True)
class Line:
    """One document of the journal. ``time`` is ISO 8601 in UTC."""

    seq: int
    kind: str
    time: str
    body: dict[str, Any]

    def sha(self) -> str:
        content = [self.seq, self.kind, self.time, self.body]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def encode(self) -> bytes:
        """The line as stored, with its newline. JournalError for what JSON cannot hold."""
        try:
            data = {**vars(self), "sha": self.sha()}
            return json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise JournalError(
                f"journal line {self.seq} ({self.kind}) cannot be written as JSON: {error}"
            ) from error


@dataclass(frozen=True)
class Content:
    """A journal file as read: its lines, and the bytes of an unfinished last line."""

    lines: tuple[Line, ...]
    valid_bytes: int
    tail: bytes
    newline_missing: bool


def read_lines(path: Path) -> Content:
    """All lines of ``path``. JournalError names file and line of any damage but the tail's."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(f"{path}: cannot read the journal: {error.strerror}") from error
    *whole, last = data.split(b"\n")
    lines = [_parse(raw, i, path) for i, raw in enumerate(whole)]
    if not last:
        return Content(tuple(lines), len(data), b"", False)
    try:
        # Killed between the line's last byte and its newline: nothing is lost.
        lines.append(_parse(last, len(whole), path))
    except JournalError:
        # Not an error: this is what a kill or a power cut leaves. The caller reports the tail.
        return Content(tuple(lines), len(data) - len(last), last, False)
    return Content(tuple(lines), len(data), b"", True)


def _parse(raw: bytes, index: int, path: Path) -> Line:
    place = f"{path}, line {index + 1}"
    try:
        data = json.loads(raw)
        sha = data.pop("sha")
        line = Line(**data)
        right = line.sha()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalError(
            f"{place}: damaged, not a journal document: {raw[:40]!r}...; restore the file from "
            "a copy or start a new run"
        ) from error
    if sha != right:
        raise JournalError(
            f"{place}: its content does not match its checksum {str(sha)[:12]} (computed "
            f"{right[:12]}); restore the file from a copy or start a new run"
        )
    if line.seq != index:
        raise JournalError(
            f"{place}: document number {line.seq} where {index} belongs; lines are missing or "
            "out of order, restore the file from a copy or start a new run"
        )
    return line


class LineFile:
    """The writing end. ``write`` is os.write, or a stand-in that fails in a test."""

    def __init__(self, path: Path, write: Callable[[int, bytes], int] = os.write) -> None:
        self.path = path
        self._write = write
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = os.fstat(self._fd).st_size
            sync_folder(path.parent)
        except OSError as error:
            raise JournalError(f"{path}: cannot open the journal: {error.strerror}") from error

    def append(self, data: bytes) -> None:
        """Add bytes and wait for the disk. On failure the file is cut back to what it was."""
        try:
            rest = data
            while rest:
                rest = rest[self._write(self._fd, rest) :]
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(self._failure(data, error)) from error
        self._size += len(data)

    def _failure(self, data: bytes, error: OSError) -> str:
        try:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            state = "lines already written are safe"
        except OSError as second:
            state = f"half a line stays behind ({second.strerror}), the next start cuts it off"
        return (
            f"{self.path}: {len(data)} bytes could not be written at offset {self._size}: "
            f"{error.strerror}; {state}. Free space and start again to resume"
        )

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes (recovery of an unfinished line)."""
        try:
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(
                f"{self.path}: cannot cut off the unfinished last line: {error.strerror}"
            ) from error
        self._size = size

    def close(self) -> None:
        os.close(self._fd)


def sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut, not only its bytes."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
