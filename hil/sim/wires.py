"""The console's wire: a pseudo-terminal with the chip at one end, and noise on request."""

from __future__ import annotations

import os
import pty
import time
import tty
from dataclasses import dataclass, replace
from pathlib import Path

from hil.core.errors import SimulationError

READ_BYTES = 65536
# What a host's driver would buffer for a program that does not read. More is lost, as there.
BACKLOG_BYTES = 65536
SENT_BYTES = 1 << 20  # of what the chip has sent, kept for comparison with what arrived
WIRE_KINDS = ("flip", "drop", "duplicate", "insert", "delay")


@dataclass(frozen=True)
class Disturbance:
    """What happens to ``count`` bytes of a wire after ``after`` more have passed unharmed.

    ``kind``: "flip" inverts every bit of them, "drop" loses them, "duplicate" sends each of them
    twice, "insert" puts as many zero bytes in front of the next one, "delay" keeps the next one,
    what was sent along with it and all behind it back for ``time_s`` of this computer's time.
    """

    kind: str
    after: int
    count: int = 1
    time_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in WIRE_KINDS or self.after < 0 or self.count < 1 or self.time_s < 0:
            raise SimulationError(
                f"no disturbance {self.kind!r} after {self.after} of {self.count} bytes for "
                f"{self.time_s} s; there are {', '.join(WIRE_KINDS)}, after >= 0, count >= 1, "
                "time_s >= 0"
            )


class NoisyWire:
    """One direction of a wire; harmless until a disturbance is put on it."""

    def __init__(self) -> None:
        self.passed = 0  # bytes so far
        self._pending: list[Disturbance] = []
        self._held = bytearray()
        self._held_until_s = 0.0

    def disturb(self, disturbance: Disturbance) -> None:
        """Counted from the byte that passes next."""
        shifted = replace(disturbance, after=disturbance.after + self.passed)
        self._pending = sorted([*self._pending, shifted], key=lambda item: item.after)

    def clear(self) -> None:
        """No disturbance any more; what is held back is lost."""
        self._pending.clear()
        self._held.clear()
        self._held_until_s = 0.0

    @property
    def holding(self) -> bool:
        """Whether bytes wait for their delay to end."""
        return bool(self._held)

    def carry(self, data: bytes) -> bytes:
        """The bytes that come out at the far end now; call with none to get delayed ones."""
        if not self._pending and not self._held:
            self.passed += len(data)
            return data
        out = bytearray()
        for byte in data:
            out += self._carry_byte(byte)
            self.passed += 1
        self._pending = [item for item in self._pending if self._end(item) > self.passed]
        return self._delayed(bytes(out))

    def _delayed(self, data: bytes) -> bytes:
        """``data``, or nothing while a delay lasts, or all that it has held back."""
        if not self._held and time.monotonic() >= self._held_until_s:
            return data
        self._held += data
        if time.monotonic() < self._held_until_s:
            return b""
        released = bytes(self._held)
        self._held.clear()
        return released

    @staticmethod
    def _end(item: Disturbance) -> int:
        return item.after + (1 if item.kind in ("insert", "delay") else item.count)

    def _carry_byte(self, byte: int) -> bytes:
        for item in self._pending:
            if not item.after <= self.passed < self._end(item):
                continue
            if item.kind == "drop":
                return b""
            if item.kind == "insert":
                return bytes(item.count) + bytes([byte])
            if item.kind == "duplicate":
                return bytes([byte, byte])
            if item.kind == "flip":
                return bytes([byte ^ 0xFF])
            self._held_until_s = time.monotonic() + item.time_s
        return bytes([byte])


class PtyWire:
    """A serial port that pyserial opens by the path ``link``; the chip's end has these methods."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.to_host = NoisyWire()
        self.to_board = NoisyWire()
        self.lost_bytes = 0
        self.sent = bytearray()  # what has left the chip, before any noise
        self.plug()

    def plug(self) -> None:
        """Make the port; after ``close`` it is another one by the same name."""
        link = self.link
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
            data = os.read(self._master, READ_BYTES)
        except BlockingIOError:
            data = b""
        return self.to_board.carry(data)

    def write(self, data: bytes) -> None:
        """Send to the host; bytes beyond the backlog are lost and counted."""
        self.sent = (self.sent + data)[-SENT_BYTES:]
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
