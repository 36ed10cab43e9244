"""The console's wire: a pseudo-terminal with the chip at one end, and noise on request."""

from __future__ import annotations

import os
import pty
import tty
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import SimulationError

READ_BYTES = 65536
# What a host's driver would buffer for a program that does not read. More is lost, as there.
BACKLOG_BYTES = 65536


@dataclass(frozen=True)
class Disturbance:
    """What happens to ``count`` bytes of a wire after ``after`` more have passed unharmed.

    ``kind``: "flip" inverts every bit of them, "drop" loses them, "insert" puts as many zero
    bytes in front of the next one.
    """

    kind: str
    after: int
    count: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("flip", "drop", "insert") or self.after < 0 or self.count < 1:
            raise SimulationError(
                f"no disturbance {self.kind!r} after {self.after} of {self.count} bytes; "
                "there are flip, drop and insert, after >= 0, count >= 1"
            )


class NoisyWire:
    """One direction of a wire; harmless until a disturbance is put on it."""

    def __init__(self) -> None:
        self._pending: list[Disturbance] = []
        self._passed = 0

    def disturb(self, disturbance: Disturbance) -> None:
        """Counted from the byte that passes next."""
        shifted = Disturbance(disturbance.kind, disturbance.after + self._passed, disturbance.count)
        self._pending = sorted([*self._pending, shifted], key=lambda item: item.after)

    def carry(self, data: bytes) -> bytes:
        """The bytes that come out at the far end."""
        if not self._pending:
            self._passed += len(data)
            return data
        out = bytearray()
        for byte in data:
            out += self._carry_byte(byte)
            self._passed += 1
        self._pending = [item for item in self._pending if self._end(item) > self._passed]
        return bytes(out)

    @staticmethod
    def _end(item: Disturbance) -> int:
        return item.after + (1 if item.kind == "insert" else item.count)

    def _carry_byte(self, byte: int) -> bytes:
        for item in self._pending:
            if not item.after <= self._passed < self._end(item):
                continue
            if item.kind == "drop":
                return b""
            if item.kind == "insert":
                return bytes(item.count) + bytes([byte])
            return bytes([byte ^ 0xFF])
        return bytes([byte])


class PtyWire:
    """A serial port that pyserial opens by the path ``link``; the chip's end has these methods."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.to_host = NoisyWire()
        self.to_board = NoisyWire()
        self.lost_bytes = 0
        self._backlog = bytearray()
        # The slave end stays open here: without it a host that closes the port would leave the
        # master in a hang-up state that wakes the loop for ever.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._slave))

    def fileno(self) -> int:
        return self._master

    @property
    def full(self) -> bool:
        """Whether bytes wait for the host to make room."""
        return bool(self._backlog)

    def read(self) -> bytes:
        """Bytes that the host has sent."""
        try:
            return self.to_board.carry(os.read(self._master, READ_BYTES))
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Send to the host; bytes beyond the backlog are lost and counted."""
        self._backlog += self.to_host.carry(data)
        self.flush()
        surplus = len(self._backlog) - BACKLOG_BYTES
        if surplus > 0:
            del self._backlog[-surplus:]
            self.lost_bytes += surplus

    def flush(self) -> None:
        """Pass on what the host has room for."""
        try:
            while self._backlog:
                written = os.write(self._master, self._backlog)
                del self._backlog[:written]
        except BlockingIOError:
            return

    def close(self) -> None:
        """Take the port away."""
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
