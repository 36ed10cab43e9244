"""Exact reads from a socket, with one deadline for all of them together."""

from __future__ import annotations

import socket
import time

from hil.core.errors import ProtocolError


class Deadline:
    """A point in time. A fresh timeout a read would let a slow peer hold the line for ever."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds left; TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"deadline of {self.seconds:g} s has passed")
        return left


def receive(sock: socket.socket, count: int, deadline: Deadline) -> bytes:
    """``count`` bytes, or fewer if the peer closes before the first one (then none).

    Raises TimeoutError after the deadline and ProtocolError when the peer closes half-way.
    """
    data = bytearray()
    while len(data) < count:
        sock.settimeout(deadline.left_s())
        chunk = sock.recv(count - len(data))
        if not chunk:
            if not data:
                return b""
            raise ProtocolError(f"the peer closed after {len(data)} of {count} bytes")
        data += chunk
    return bytes(data)


def send(sock: socket.socket, data: bytes, deadline: Deadline) -> None:
    """All of ``data``. Raises TimeoutError after the deadline."""
    sock.settimeout(deadline.left_s())
    sock.sendall(data)
