"""The virtual bench's debug probe, over the twin's control socket (see hil.sim.twin)."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.core.errors import FlashError
from hil.core.firmware import Firmware
from hil.rig.flashers import FlashReport, UnreachableError


@dataclass(frozen=True)
class TwinStatus:
    """The twin's own account. ``double`` marks a firmware double, which is for tests only.

    ``taken_fault`` is the last fault since power-on that the firmware's handler was entered for.
    """

    board: str
    chip: str
    timing_model: str
    double: bool
    supply_v: float
    meter: str
    powered: bool
    blank: bool
    elf_sha256: str | None
    state: str
    halted: str | None
    taken_fault: str | None
    time_s: float
    lost_bytes: int
    counters: dict[str, int]

    def __str__(self) -> str:
        if not self.powered:
            return f"virtual {self.chip}, switched off"
        if self.blank:
            return f"virtual {self.chip}, blank"
        return f"virtual {self.chip}, {self.halted or self.state}, {self.time_s:.3f} s of its time"


class VirtualFlasher:
    """Talks to the control socket at ``path``. Errors carry the probe's own words.

    ``timeout_s`` bounds connecting and every answer.
    """

    recovery = "power-cycle"
    loads_ram = False  # a virtual chip keeps its image

    def __init__(self, path: Path, timeout_s: float = 30.0) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._timeout_s = timeout_s
        self._received = b""
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise FlashError(
                f"virtual probe at {path}: cannot connect: {error}; is the twin running?"
            ) from error

    def expect(self, firmware: Firmware) -> None:
        """Nothing is ever loaded again."""

    def flash(self, firmware: Firmware) -> FlashReport:
        started_s = time.monotonic()
        answer = self.ask("flash", elf=str(firmware.elf.resolve()))
        if answer["elf_sha256"] != firmware.elf_sha256:
            raise FlashError(
                f"virtual probe at {self.path}: wrote {firmware.elf} with digest "
                f"{answer['elf_sha256'][:12]}, built was {firmware.elf_sha256[:12]}; the file has "
                "changed since the build, build again"
            )
        return FlashReport(
            answer["elf_sha256"],
            time.monotonic() - started_s,
            f"virtual probe wrote {firmware.elf}",
        )

    def reset(self) -> None:
        self.ask("reset")

    def recover(self) -> None:
        self.power(False)
        self.power(True)

    def power(self, on: bool) -> None:
        """Switch the board's supply."""
        self.ask("power", on=on)

    def blank(self) -> bool | None:
        return self.status().blank

    def state(self) -> str:
        return str(self.status())

    def halted(self) -> str | None:
        """Why the chip will never answer again, if that is so."""
        status = self.status()
        return status.halted if status.powered else "it is switched off"

    def taken_fault(self) -> str | None:
        """The last fault since power-on that the firmware's own handler was entered for."""
        return self.status().taken_fault

    def status(self) -> TwinStatus:
        """Everything the twin tells about itself."""
        answer = self.ask("status")
        try:
            return TwinStatus(**answer)
        except TypeError as error:
            raise FlashError(f"virtual probe at {self.path}: not this version: {error}") from error

    def disturb(
        self,
        wire: str,
        kind: str,
        after: int = 0,
        count: int = 1,
        time_s: float = 0.0,
        after_s: float = 0.0,
        waiting: bool = False,
    ) -> None:
        """Put a fault on a wire of the virtual bench; see hil.sim.faults."""
        self.ask(
            "disturb", wire=wire, kind=kind, after=after, count=count, time_s=time_s,
            after_s=after_s, waiting=waiting,
        )  # fmt: skip

    def close(self) -> None:
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command; the answer without its "ok"."""
        line = json.dumps({"command": command, **arguments}).encode() + b"\n"
        try:
            self._socket.sendall(line)
            answer = json.loads(self._read_line())
        except TimeoutError as error:
            raise FlashError(
                f"virtual probe at {self.path}: no answer to {command} within "
                f"{self._timeout_s:g} s; see twin.log beside it"
            ) from error
        except (OSError, ValueError) as error:
            raise FlashError(f"virtual probe at {self.path}: {command}: {error}") from error
        if not answer.pop("ok"):
            said = f"virtual probe at {self.path}: {command} failed: {answer['error']}"
            raise UnreachableError(said) if answer.get("unreachable") else FlashError(said)
        return answer

    def _read_line(self) -> bytes:
        while b"\n" not in self._received:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the twin has ended; see twin.log beside the socket")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line
