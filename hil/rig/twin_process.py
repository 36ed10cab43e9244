"""The twin as a child process: started with a deadline, its words kept, ended with its rig."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hil.core.errors import FlashError, RigError
from hil.rig.flashers.virtual import TwinStatus, VirtualFlasher

# The folder above the package: the child must find it even when it is not installed.
ROOT = Path(__file__).parents[2]
POLL_S = 0.02
END_S = 5.0
LOG_TAIL_LINES = 12
OWN_METER = "scpi_digitizer"  # the meter of a twin of which nothing else is asked

# Of a board, a folder, a seed and a kind of meter.
TwinCommand = Callable[[str, Path, int, str], Sequence[str]]


def twin_command(board: str, directory: Path, seed: int, meter: str) -> list[str]:
    """The command that starts the shipped twin."""
    return [
        sys.executable, "-m", "hil.sim.twin", "--board", board, "--dir", str(directory),
        "--seed", str(seed), "--meter", meter, "--parent", str(os.getpid()),
    ]  # fmt: skip


def with_option(command: TwinCommand, *option: str) -> TwinCommand:
    """The same with an option behind."""
    return lambda *place: [*command(*place), *option]


class TwinProcess:
    """A running twin. ``directory`` holds its console, sockets and twin.log.

    RigError, with the end of twin.log, when it does not come up within ``start_s``.
    """

    def __init__(
        self,
        board: str,
        seed: int,
        start_s: float,
        command: TwinCommand = twin_command,
        meter: str = OWN_METER,
    ) -> None:
        # Short on purpose: the path of a Unix socket ends at 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="hil-twin-"))
        self.log = self.directory / "twin.log"
        self._keep = False
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command(board, self.directory, seed, meter),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is for the host, which then ends the twin in good order.
                start_new_session=True,
            )
        try:
            self.status = self._wait_until_up(board, start_s)
        except BaseException:
            self._keep = True
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def meter_port(self) -> int:
        """TCP port of the virtual meter on 127.0.0.1."""
        return int((self.directory / "meter.port").read_text(encoding="ascii"))

    @property
    def gdb_port(self) -> int | None:
        """TCP port of the chip's GDB stub on 127.0.0.1; None when it has none."""
        path = self.directory / "gdb.port"
        return int(path.read_text(encoding="ascii")) if path.exists() else None

    @property
    def control(self) -> Path:
        """The virtual probe's socket."""
        return self.directory / "control.sock"

    def close(self) -> None:
        """End the process and remove its folder; after a failure the folder stays."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        elif self._process.returncode != 0:
            self._keep = True
        if not self._keep:
            shutil.rmtree(self.directory)

    def last_words(self) -> str:
        """The end of twin.log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "(it said nothing)"

    def _wait_until_up(self, board: str, start_s: float) -> TwinStatus:
        deadline = time.monotonic() + start_s
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise RigError(
                    f"the twin of {board} ended with code {code} before it was up; {self.log} "
                    f"ends:\n{self.last_words()}"
                )
            if self.control.exists():
                return self._ask_status(deadline)
            time.sleep(POLL_S)
        raise RigError(
            f"the twin of {board} was not up after {start_s:g} s; raise [virtual] start_s, or see "
            f"{self.log}, which ends:\n{self.last_words()}"
        )

    def _ask_status(self, deadline: float) -> TwinStatus:
        left_s = max(0.1, deadline - time.monotonic())
        try:
            probe = VirtualFlasher(self.control, left_s)
        except FlashError as error:
            raise RigError(f"{error}; {self.log} ends:\n{self.last_words()}") from error
        try:
            return probe.status()
        finally:
            probe.close()
