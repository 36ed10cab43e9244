"""A flashing tool as a child process: found or named to install, with a deadline, and quoted.

Only the tool's own output is ever quoted, never the environment it runs in.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import FlashError

LAST_LINES = 6
VERSION_S = 60.0  # pyOCD needs some seconds on an idle computer
KILL_S = 5.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Output:
    """What a tool said (stdout and stderr together) and its exit status."""

    text: str
    status: int

    @property
    def last_words(self) -> str:
        """Its last lines, in one."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return " | ".join(lines[-LAST_LINES:]) or "(it said nothing)"


@dataclass(frozen=True)
class Tool:
    """``program`` in PATH or as a path; ``install`` says how to get it."""

    program: str
    install: str

    def find(self) -> str:
        """Its path; FlashError with the way to install it."""
        # A tool installed by pip lies beside Python, whether or not its environment is active.
        beside = Path(sys.executable).parent / self.program
        found = shutil.which(self.program) or shutil.which(beside)
        if found is None:
            raise FlashError(f"{self.program} is not installed (or not in PATH): {self.install}")
        return found

    def version(self) -> str:
        """The first word of ``--version`` that looks like one."""
        text = self.run(["--version"], VERSION_S).text
        number = re.search(r"\d+\.\d+[^\s]*", text)
        return f"{Path(self.program).name} {number[0] if number else '(version unknown)'}"

    def run(self, arguments: Sequence[str], timeout_s: float, folder: Path | None = None) -> Output:
        """Run it to its end. FlashError after ``timeout_s``, with what it had said by then."""
        process = subprocess.Popen(
            [self.find(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # A group of its own: it ends with all its children.
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            said = _end(process)
            raise FlashError(
                f"{self.program} had not ended after {timeout_s:g} s and was stopped; is the "
                f"board connected and powered? Its last words: {_output(said, -1).last_words}"
            ) from error
        except BaseException:
            _end(process)
            raise
        return _output(said, process.returncode)


def _output(said: bytes, status: int) -> Output:
    return Output(_COLOUR.sub("", said.decode("utf-8", "replace")), status)


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Stop the group that this process started; what it had said."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            return process.communicate(timeout=KILL_S)[0]
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    return b""
