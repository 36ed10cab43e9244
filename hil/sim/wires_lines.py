"""Sockets that carry lines: the virtual meter's SCPI and the twin's control commands."""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

RECEIVE_BYTES = 65536
LONGEST_LINE = 65536


class Wait(Exception):
    """The answer to a line cannot be given yet; the line is handed in again later."""


@dataclass(frozen=True)
class Reply:
    """An answer's bytes. ``hang_up`` closes the connection behind them."""

    data: bytes
    hang_up: bool = False


@dataclass
class _Client:
    sock: socket.socket
    inbox: bytearray = field(default_factory=bytearray)
    lines: deque[str] = field(default_factory=deque)
    outbox: bytearray = field(default_factory=bytearray)
    hang_up: bool = False


class LineServer:
    """Serves every connection of ``listener`` from a selector loop, answers in order.

    ``handle`` gets a line without its LF and returns the answer, or None when there is none. It
    may raise Wait; ``retry`` then hands the line in again.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        handle: Callable[[str], Reply | None],
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._handle = handle
        self._clients: list[_Client] = []
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def waiting(self) -> bool:
        """Whether a client waits for an answer that could not be given yet."""
        return any(client.lines for client in self._clients)

    def retry(self) -> None:
        """Hand waiting lines in again."""
        for client in list(self._clients):
            if client.lines:
                self._serve(client)

    def close(self) -> None:
        """Close all connections and the listener."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self, _mask: int) -> None:
        sock, _address = self._listener.accept()
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(sock)
        self._clients.append(client)
        self._selector.register(
            sock, selectors.EVENT_READ, lambda mask: self._on_ready(client, mask)
        )

    def _on_ready(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(client)
            if mask & selectors.EVENT_READ:
                self._receive(client)
        except OSError:  # the peer is gone; whoever it was sees the closed connection
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        data = client.sock.recv(RECEIVE_BYTES)
        if not data:
            self._drop(client)
            return
        client.inbox += data
        *lines, rest = bytes(client.inbox).split(b"\n")
        client.inbox = bytearray(rest)
        if len(rest) > LONGEST_LINE:
            self._drop(client)
            return
        client.lines.extend(line.decode("utf-8", "replace") for line in lines)
        self._serve(client)

    def _serve(self, client: _Client) -> None:
        try:
            while client.lines and not client.hang_up:
                reply = self._handle(client.lines[0])
                client.lines.popleft()
                if reply is not None:
                    client.outbox += reply.data
                    client.hang_up = reply.hang_up
        except Wait:
            pass  # the line stays first; retry() comes back to it
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: _Client) -> None:
        try:
            while client.outbox:
                sent = client.sock.send(client.outbox)
                del client.outbox[:sent]
        except BlockingIOError:
            pass  # the selector says when there is room again
        if client.hang_up and not client.outbox:
            self._drop(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        key = self._selector.get_key(client.sock)
        if key.events != events:
            self._selector.modify(client.sock, events, key.data)

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.sock)
            client.sock.close()
