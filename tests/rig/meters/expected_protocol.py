"""A scripted instrument: it takes exactly the lines it expects and answers with given bytes.

    with expected_protocol([(b"*CLS", None), (b"*IDN?", b"ACME,M,1,2")]) as resource:
        Driver(resource).identify()

A line that is not the expected one hangs up, and it, as well as pairs that were left over, fails
the test on leaving. Answers get a line feed unless they end in one.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Pair = tuple[bytes, bytes | None]
PATIENCE_S = 5.0


@contextmanager
def expected_protocol(pairs: Sequence[Pair]) -> Iterator[str]:
    """Serve one connection with ``pairs`` of (sent, reply); yields the VISA resource."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE_S)
    left = list(pairs)
    surprises: list[bytes] = []
    thread = threading.Thread(target=_serve, args=(listener, left, surprises), daemon=True)
    thread.start()
    try:
        yield f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET"
    finally:
        thread.join(PATIENCE_S)
        listener.close()
    assert not surprises, f"sent {surprises[0]!r}, expected {left[0][0] if left else 'nothing'!r}"
    assert not left, f"{len(left)} pairs left over, the first is {left[0]}"


def _serve(listener: socket.socket, left: list[Pair], surprises: list[bytes]) -> None:
    client, _ = listener.accept()
    client.settimeout(PATIENCE_S)
    with client, client.makefile("rb") as lines:
        for line in lines:
            if not left or left[0][0] != line.rstrip(b"\n"):
                surprises.append(line)
                return
            _, reply = left.pop(0)
            if reply is not None:
                client.sendall(reply if reply.endswith(b"\n") else reply + b"\n")
            if not left:
                return
