"""The server around the stub: its waits, its port, one client at a time."""

from __future__ import annotations

import selectors
import socket
from pathlib import Path

import pytest

from hil.core.errors import SimulationError
from hil.sim.gdb import server
from hil.sim.gdb.server import GdbServer, listen, serve_elf
from hil.sim.profile import Functions
from hil.sim.socs.stm32f7 import Stm32F746

from .conftest import Client


def test_nobody_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stm32F746, "load_elf", lambda self, path: None)
    monkeypatch.setattr(Functions, "from_elf", lambda path: Functions(()))
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(SimulationError, match=r"no debugger has connected .* within 0\.1 s"):
        serve_elf(path, "stm32f746", 0, 0.1, lambda _: None, lambda _: None)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SimulationError, match=f"127.0.0.1:{port}: cannot listen"):
            listen(port)
    with pytest.raises(SimulationError, match="cannot listen"):
        listen(99999)


class Looped:
    """A server whose loop the test turns itself."""

    def __init__(self, client: Client) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = GdbServer(self.selector, listen(0), client.stub)

    def turn(self) -> None:
        for _ in range(3):
            for key, mask in self.selector.select(0.05):
                key.data(mask)
            self.server.poll()

    def connect(self) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.server.port), 5.0)
        self.turn()
        return peer


def test_one_client_at_a_time_and_the_next_when_it_has_gone(arm: Client) -> None:
    loop = Looped(arm)
    first = loop.connect()
    assert arm.chip.held
    second = loop.connect()
    assert second.recv(10) == b""  # closed at once
    first.sendall(b"$c#63")
    first.close()
    third = loop.connect()  # before the loop has seen the first one's end
    assert loop.server.connected and arm.chip.held
    third.sendall(b"$?#3f")
    loop.turn()
    assert third.recv(100) == b"+$T05thread:1;#d7"
    third.close()
    loop.turn()
    assert not loop.server.connected and arm.chip.running
    second.close()
    loop.server.close()


def test_half_a_packet_is_asked_for_again(arm: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Looped(arm)
    peer = loop.connect()
    peer.sendall(b"$m2000")
    loop.turn()
    monkeypatch.setattr(server, "PACKET_S", -1.0)
    loop.turn()
    assert peer.recv(10) == b"-"
    peer.close()
    loop.server.close()
