"""A serial port offered on TCP, as ser2net and labgrid's exporters do."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import serial
from serial.rfc2217 import PortManager


class _Wire:
    """What pyserial's PortManager writes its negotiation to."""

    def __init__(self, connection: socket.socket) -> None:
        self.write = connection.sendall


class _Pty(serial.Serial):
    """A pseudo-terminal: it has no control lines, whose settings a client of RFC 2217 asks for."""

    rts = dtr = cts = dsr = ri = cd = False  # type: ignore[assignment]


class RemotePort:
    """``port`` (a pty) on a TCP port of 127.0.0.1 for one client after another.

    ``rfc2217``: pyserial's own server side speaks RFC 2217; otherwise bytes alone.
    """

    def __init__(self, port: str, rfc2217: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.tcp_port = int(self._listener.getsockname()[1])
        self.url = f"{'rfc2217' if rfc2217 else 'socket'}://127.0.0.1:{self.tcp_port}"
        self._port = port
        self._rfc2217 = rfc2217
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> RemotePort:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.close()
        self._thread.join(5.0)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            # OSError: a client that has left before it was greeted.
            with connection, _Pty(self._port, 1_000_000, timeout=0) as port, suppress(OSError):
                self._copy(connection, port)

    def _copy(self, connection: socket.socket, port: serial.Serial) -> None:
        manager = PortManager(port, _Wire(connection)) if self._rfc2217 else None
        connection.setblocking(True)
        connection.settimeout(0.005)
        while not self._stop.is_set():
            try:
                data = connection.recv(4096)
                if not data:
                    return
                port.write(b"".join(manager.filter(data)) if manager else data)
            except TimeoutError:
                pass
            if data := port.read(port.in_waiting or 1):
                connection.sendall(b"".join(manager.escape(data)) if manager else data)
            else:
                time.sleep(0.001)
