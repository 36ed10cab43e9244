"""A board reached through a real labgrid coordinator and exporter on this computer.

The board is a twin with a firmware double, its serial port offered on TCP and its supply by a
small web server, as labgrid's exporters and power ports are.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from remote_port import RemotePort
from scripted_bench import Bench

from hil.core.errors import RigError
from hil.rig import bench as bench_module
from hil.rig import lock, recovery
from hil.rig.bench import open_rig
from hil.rig.check import check
from hil.rig.place import Place, PlaceSpec
from hil.rig.rigfile import load_rig


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(Path(sys.executable).parent / name)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # some twenty starts of labgrid's client
    pytest.mark.skipif(
        not all(map(program, ("labgrid-coordinator", "labgrid-exporter", "labgrid-client"))),
        reason="labgrid is not installed (pip install 'hil-clio[labgrid]')",
    ),
]
UP_S = 30.0
RESOURCES = """
desk:
  NetworkSerialPort: {{host: 127.0.0.1, port: {serial}, speed: 1000000, protocol: {protocol}}}
  NetworkService: {{address: 127.0.0.1, username: nobody, port: 3333}}
  NetworkPowerPort:
    model: simplerest
    host: 'http://127.0.0.1:{power}/{{index}}/{{value}}'
    index: 1
"""
RIG = """
name = "remote"
board = "gap8"
[console]
port = "{{place_serial}}"
baud = 1_000_000
answer_s = 1.0
hello_s = 3.0
[flasher]
kind = "virtual"
control = "{control}"
timeout_s = 5.0
[meter]
kind = "scpi_digitizer"
resource = "{resource}"
sample_rate_hz = 100_000
range_a = 0.1
timeout_s = 2.0
[power]
kind = "labgrid"
off_s = 0.1
[place]
name = "desk"
coordinator = "{coordinator}"
"""


@dataclass
class Lab:
    coordinator: str
    rig: Path

    def client(self, *words: str, user: str = "") -> str:
        """labgrid-client as a person uses it, perhaps another one."""
        env = {**os.environ, **({"LG_USERNAME": user} if user else {})}
        command = [str(program("labgrid-client")), "-x", self.coordinator, "-p", "desk", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=UP_S, env=env, check=True
        )
        return done.stdout

    @property
    def is_free(self) -> bool:
        return "acquired: None" in self.client("show")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + UP_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@pytest.fixture
def power(bench: Bench) -> Iterator[int]:
    """The TCP port of a web server that switches the twin's supply: GET /1/0, /1/1, and /1."""
    state = {"on": True}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.strip("/").split("/")
            if len(words) == 2:
                state["on"] = words[1] == "1"
                bench.probe.power(state["on"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1" if state["on"] else b"0")

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["raw", "rfc2217"])
def lab(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bench: Bench,
    power: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
    at = free_port()
    rig = tmp_path / "remote.toml"
    rig.write_text(
        RIG.format(control=bench.probe.path, resource=bench.resource, coordinator=f"127.0.0.1:{at}")
    )
    resources = tmp_path / "resources.yaml"
    with RemotePort(bench.port, request.param == "rfc2217") as remote:
        resources.write_text(
            RESOURCES.format(serial=remote.tcp_port, protocol=request.param, power=power)
        )
        lab = Lab(f"127.0.0.1:{at}", rig)
        # Both keep files in the folder that they are started in.
        coordinator = subprocess.Popen(
            [str(program("labgrid-coordinator")), "-l", lab.coordinator], cwd=tmp_path
        )
        exporter = None
        try:
            wait_for(lambda: answers(at), "no coordinator")
            exporter = subprocess.Popen(
                [str(program("labgrid-exporter")), "-c", lab.coordinator, "-n", "lab",
                 "--hostname", "127.0.0.1", str(resources)], cwd=tmp_path,
            )  # fmt: skip
            lab.client("create")
            lab.client("add-match", "lab/desk/*")
            wait_for(lambda: lab.client("resources").count("lab/desk/") == 3, "no resources")
            yield lab
        finally:
            for process in (exporter, coordinator):
                if process is not None:
                    process.terminate()
                    process.wait(10.0)


def test_a_board_through_a_place(lab: Lab, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = load_rig(str(lab.rig))
    events: list[str] = []
    with open_rig(rig, lambda what, _: events.append(what), allow_double=True) as opened:
        assert not lab.is_free
        identity = opened.ensure_firmware(bench.firmware())
        assert identity.build_id == "ab" * 32
        with opened.meter.acquisition(0.01) as acquisition:
            opened.console.run()
            assert len(acquisition.read()) > 1000
        recovery.power_cycle(opened, lambda what, _: events.append(what))
        assert "power-cycle" in events and opened.console.identify() == identity
    assert lab.is_free

    items = check(rig, allow_double=True)
    assert [i.name for i in items if i.ok] == [
        "rig file", "place", "flasher", "console", "power", "meter",
    ], items  # fmt: skip
    assert lab.is_free

    with pytest.raises(ZeroDivisionError), open_rig(rig, allow_double=True):
        raise ZeroDivisionError
    assert lab.is_free

    # Somebody else has it: named, not touched; the meter on this side is looked at all the same.
    lab.client("acquire", user="eve")
    with pytest.raises(RigError, match=r"place desk .* in use by eve on "), open_rig(rig):
        pass
    found = {i.name: i for i in check(rig, allow_double=True)}
    assert "in use by eve" in found["place"].detail and found["meter"].ok
    assert not found["console"].ok
    assert not lab.is_free
    lab.client("release", user="eve")

    # A failure behind the acquisition, before the rig is open.
    monkeypatch.setattr(bench_module, "await_path", lambda _: False)
    lab.rig.write_text(lab.rig.read_text().replace('"{place_serial}"', '"/dev/none"'))
    broken = load_rig(str(lab.rig))
    with pytest.raises(RigError, match="serial port"), open_rig(broken, allow_double=True):
        pass
    assert lab.is_free


def test_the_debugger_of_a_place(lab: Lab) -> None:
    place = Place(PlaceSpec("desk", lab.coordinator))
    with place.acquired():
        assert place.gdb_server() == "127.0.0.1:3333"
    attic = Place(PlaceSpec("attic", lab.coordinator))
    with pytest.raises(RigError, match=r"not be acquired: .*matches nothing"), attic.acquired():
        pass
