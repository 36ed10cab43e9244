"""The sender's end: slices out, logits in, and how long that took."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import numpy as np

from hil.cloud.stream import Deadline, receive, send
from hil.cloud.wire import (
    REPLY_HEADER_BYTES,
    Slice,
    decode_reply,
    encode_slice,
    reply_payload_bytes,
)
from hil.core.closing import Closing
from hil.core.errors import ProtocolError, RigError


@dataclass(frozen=True, eq=False)
class Answer:
    """Logits (classes,) and the seconds from sending the slice to having them."""

    logits: np.ndarray
    round_trip_s: float
    sent_bytes: int


class TailClient(Closing):
    """A connection to a tail server; ``deadline_s`` bounds connecting and every request."""

    def __init__(self, address: tuple[str, int], deadline_s: float = 5.0) -> None:
        self._name = f"cloud server {address[0]}:{address[1]}"
        self._deadline_s = deadline_s
        try:
            self._socket = socket.create_connection(address, timeout=deadline_s)
        except OSError as error:
            raise RigError(
                f"{self._name}: cannot connect: {error}; is the server running?"
            ) from error
        # A slice is one small frame: waiting to fill a packet would be measured as latency.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def infer(self, part: Slice) -> Answer:
        """Send a slice and wait for its logits.

        RigError when the server is silent or gone, ProtocolError when it refuses or garbles.
        After either the connection is in an unknown state and should be closed.
        """
        frame = encode_slice(part)
        deadline = Deadline(self._deadline_s)
        start_s = time.perf_counter()
        try:
            send(self._socket, frame, deadline)
            reply = self._receive_reply(deadline)
        except TimeoutError as error:
            raise RigError(
                f"{self._name}: no answer within {self._deadline_s:g} s to a slice of "
                f"{len(frame)} bytes after layer {part.layers}"
            ) from error
        except OSError as error:
            raise RigError(f"{self._name}: connection lost: {error}") from error
        round_trip_s = time.perf_counter() - start_s
        return Answer(decode_reply(reply), round_trip_s, len(frame))

    def _receive_reply(self, deadline: Deadline) -> bytes:
        header = receive(self._socket, REPLY_HEADER_BYTES, deadline)
        if not header:
            raise ProtocolError(f"{self._name}: closed the connection without an answer")
        size = reply_payload_bytes(header)
        return header + (receive(self._socket, size, deadline) if size else b"")

    def close(self) -> None:
        self._socket.close()
