"""The stub behind a TCP port, in somebody's selector loop; and a loop of its own for one chip.

One client at a time: a second connection is closed at once. A packet that has begun must end
within PACKET_S, or it is asked for again.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path

from hil.core.errors import SimulationError
from hil.sim.chips import make_chip
from hil.sim.gdb.stub import Stub
from hil.sim.powered_chip import PoweredChip

RECEIVE_BYTES = 65536
PACKET_S = 5.0
SLICE_S = 0.002  # chip time between two looks at the wire
WAIT_S = 0.2  # of this computer, while the chip stands still


class GdbServer:
    """Serves ``stub`` to the clients of ``listener``. Call ``poll`` between the chip's slices."""

    def __init__(
        self, selector: selectors.BaseSelector, listener: socket.socket, stub: Stub
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._stub = stub
        self._client: socket.socket | None = None
        self._outbox = bytearray()
        self._packet_since_s: float | None = None
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._listener.getsockname()[1])

    @property
    def connected(self) -> bool:
        """A client is there."""
        return self._client is not None

    def poll(self) -> None:
        """Tell the client that the chip has stopped; ask again for a packet that stays away."""
        if self._client is None:
            return
        out = self._stub.poll()
        if not self._stub.inside_packet:
            self._packet_since_s = None
        elif self._packet_since_s is None:
            self._packet_since_s = time.monotonic()
        elif time.monotonic() - self._packet_since_s > PACKET_S:
            out += self._stub.drop_packet()
        self._send(out)

    def close(self) -> None:
        """Close the connection and the port."""
        self._drop()
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self, _mask: int) -> None:
        client, _address = self._listener.accept()
        # The one before may have hung up a moment ago.
        self._on_ready(selectors.EVENT_READ)
        if self._client is not None:
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # So that a client whose computer has gone does not hold the chip for ever.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._client = client
        self._outbox.clear()
        self._packet_since_s = None
        self._stub.attach()
        self._selector.register(client, selectors.EVENT_READ, self._on_ready)

    def _on_ready(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._receive()
            self._flush()
        except OSError:  # the client is gone; it was the one to be told
            self._drop()

    def _receive(self) -> None:
        """Everything that has come, up to the client's end."""
        try:
            while self._client is not None:
                data = self._client.recv(RECEIVE_BYTES)
                if not data:
                    self._drop()
                    return
                self._outbox += self._stub.feed(data)
        except BlockingIOError:
            pass  # the selector says when there is more

    def _send(self, data: bytes) -> None:
        self._outbox += data
        try:
            self._flush()
        except OSError:
            self._drop()

    def _flush(self) -> None:
        if self._client is None:
            return
        try:
            while self._outbox:
                sent = self._client.send(self._outbox)
                del self._outbox[:sent]
        except BlockingIOError:
            pass  # the selector says when there is room again
        if self._stub.hang_up and not self._outbox:
            self._drop()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        if self._selector.get_key(self._client).events != events:
            self._selector.modify(self._client, events, self._on_ready)

    def _drop(self) -> None:
        if self._client is None:
            return
        self._selector.unregister(self._client)
        self._client.close()
        self._client = None
        self._stub.detach()


def serve_elf(
    path: Path,
    board: str,
    port: int,
    wait_s: float,
    write: Callable[[bytes], object],
    ready: Callable[[int], object],
    data_cache: str = "",
) -> None:
    """Serve a new chip with the ELF at ``path`` until its first client has gone.

    The chip stands at its first instruction until the client continues it. ``port`` 0 takes a
    free one; ``ready`` gets it. ``write`` gets the console's bytes; nothing is ever sent to the
    firmware. ``data_cache``: see ``make_chip``. SimulationError: unknown board, unusable ELF, busy
    port, no client within ``wait_s``.
    """
    chip = PoweredChip(make_chip(board, data_cache))
    chip.flash(path)
    chip.held = True
    selector = selectors.DefaultSelector()
    server = GdbServer(selector, listen(port), Stub(chip))
    try:
        ready(server.port)
        deadline_s = time.monotonic() + wait_s
        while not server.connected:
            if time.monotonic() > deadline_s:
                raise SimulationError(
                    f"no debugger has connected to 127.0.0.1:{server.port} within {wait_s:g} s"
                )
            _serve_once(selector, WAIT_S)
        while server.connected:
            _serve_once(selector, 0 if chip.running else WAIT_S)
            if chip.running:
                chip.run(SLICE_S)
                write(chip.uart_drain())
                chip.drain()  # nobody looks at the power here
            server.poll()
    finally:
        server.close()
        selector.close()


def listen(port: int) -> socket.socket:
    """A listening socket on this computer only; SimulationError when the port is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise SimulationError(f"127.0.0.1:{port}: cannot listen here: {error}") from error


def _serve_once(selector: selectors.BaseSelector, timeout_s: float) -> None:
    for key, mask in selector.select(timeout_s):
        key.data(mask)
