"""Places by what labgrid-client 26.0.1 said (recorded from a coordinator on localhost)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.core import secrets
from hil.core.errors import RigError
from hil.core.secrets import masked
from hil.rig import place as place_module
from hil.rig.flashers.tool import Tool
from hil.rig.place import Place, PlaceSpec
from hil.rig.rigfile import load_rig

SHOW = (Path(__file__).parent / "recorded" / "show.txt").read_text()
TAKEN = (
    "labgrid-client: Error: Place desk is already acquired by lab-pc/eve. To work simultaneously, "
    "eve can execute 'labgrid-client -p desk allow vm/bob' on lab-pc.\n"
)
OURS = "labgrid-client: Error: You have already acquired place desk.\n"


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(secrets, "_known", set())
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


class Client:
    """A stand-in for labgrid-client: answers by its command, and notes the commands."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        path = folder / "labgrid-client"
        path.write_text(
            "#!/bin/sh\n"
            f"cd {folder}\n"
            "shift 4\n"  # -x COORDINATOR -p PLACE
            'echo "$*" >> calls\n'
            'name=$(echo "$*" | tr " " -)\n'
            'cat "$name.txt" 2>/dev/null\n'
            'exit $(cat "$name.status" 2>/dev/null || echo 0)\n'
        )
        path.chmod(0o755)
        monkeypatch.setattr(place_module, "CLIENT", Tool(str(path), "install it"))

    def answers(self, command: str, text: str, status: int = 0) -> None:
        name = command.replace(" ", "-")
        (self._folder / f"{name}.txt").write_text(text)
        (self._folder / f"{name}.status").write_text(f"{status}\n")

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text().splitlines()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client(tmp_path, monkeypatch)
    client.answers("show", SHOW)
    return client


@pytest.fixture
def desk(coordinator: str, client: Client) -> Place:
    return Place(PlaceSpec("desk", coordinator))


def test_resources(desk: Place) -> None:
    assert desk.serial_url() == "socket://127.0.0.1:7001"
    assert desk.gdb_server() == "127.0.0.1:3333"
    assert [r.kind for r in desk.resources()] == [
        "NetworkPowerPort", "NetworkSerialPort", "NetworkService",
    ]  # fmt: skip
    assert "hunter2" not in masked("the exporter's password hunter2")


def test_the_default_protocol_is_rfc2217(desk: Place, client: Client) -> None:
    client.answers("show", SHOW.replace("              'protocol': 'raw',\n", ""))
    assert desk.serial_url() == "rfc2217://127.0.0.1:7001"


def test_one_of_several_by_its_name(desk: Place, client: Client) -> None:
    second = SHOW[SHOW.index("Acquired resource 'NetworkSerialPort'") :]
    second = second[: second.index("Acquired resource 'NetworkService'")]
    other = second.replace("'NetworkSerialPort' (", "'console' (").replace("7001", "7009")
    client.answers("show", SHOW + other)
    assert desk.serial_url() == "socket://127.0.0.1:7009"
    client.answers("show", SHOW + other.replace("'console'", "'spare'"))
    with pytest.raises(RigError, match=r"2 resources of kind NetworkSerialPort.*named 'console'"):
        desk.serial_url()


def test_a_resource_is_missing_or_not_understood(desk: Place, client: Client) -> None:
    client.answers("show", SHOW.replace("NetworkService", "NetworkOther"))
    with pytest.raises(RigError, match=r"0 resources of kind NetworkService.*NetworkOther"):
        desk.gdb_server()
    client.answers("show", SHOW.replace("'speed': 1000000}}", "'speed': <Object>}}"))
    with pytest.raises(RigError, match="not understood"):
        desk.serial_url()


def test_released_also_after_a_failure(desk: Place, client: Client) -> None:
    with desk.acquired():
        pass
    assert client.calls == ["acquire", "release"]
    with pytest.raises(ZeroDivisionError), desk.acquired():
        raise ZeroDivisionError
    assert client.calls == ["acquire", "release"] * 2


def test_a_failed_release_does_not_hide_the_failure(desk: Place, client: Client) -> None:
    client.answers("release", "Server error: gone\n", 1)
    with pytest.raises(ZeroDivisionError) as caught, desk.acquired():
        raise ZeroDivisionError
    assert "release ended with status 1: Server error: gone" in caught.value.__notes__[0]
    with pytest.raises(RigError, match="release ended with status 1"), desk.acquired():
        pass


def test_somebody_else_has_it(desk: Place, client: Client) -> None:
    client.answers("acquire", TAKEN, 1)
    with pytest.raises(RigError, match="in use by eve on lab-pc"), desk.acquired():
        pass
    assert client.calls == ["acquire"]  # and it is not released, since it is not ours


def test_a_place_acquired_by_hand_stays_acquired(desk: Place, client: Client) -> None:
    client.answers("acquire", OURS, 1)
    with desk.acquired():
        pass
    assert client.calls == ["acquire"]


def test_other_refusals_are_quoted(desk: Place, client: Client) -> None:
    client.answers("acquire", "labgrid-client: Error: place pattern desk matches nothing\n", 1)
    with (
        pytest.raises(RigError, match=r"could not be acquired: .*matches nothing"),
        desk.acquired(),
    ):
        pass


def test_power(desk: Place, client: Client) -> None:
    client.answers("power get", "power for place desk is on\n")
    desk.switch(True)
    assert client.calls == ["power on", "power get"]
    with pytest.raises(RigError, match="its power is not off after being switched"):
        desk.switch(False)


def test_no_coordinator_and_no_labgrid(coordinator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(RigError, match=r"nobody answers at 127.0.0.1:1 .*correct \[place\]"),
        Place(PlaceSpec("desk", "127.0.0.1:1")).acquired(),
    ):
        pass
    monkeypatch.setattr(place_module, "CLIENT", Tool("no-such-client", "pip install x"))
    with (
        pytest.raises(RigError, match=r"place desk .*is not installed .*pip install x"),
        Place(PlaceSpec("desk", coordinator)).acquired(),
    ):
        pass


RIG = """
name = "remote"
board = "stm32f746"
[console]
port = "{place_serial}"
baud = 1_000_000
[flasher]
kind = "gdb"
server = "{place_gdb}"
[meter]
kind = "scpi_digitizer"
resource = "TCPIP0::127.0.0.1::5025::SOCKET"
sample_rate_hz = 100_000
range_a = 0.1
[power]
kind = "labgrid"
[place]
name = "desk"
"""


def test_rig_file(tmp_path: Path) -> None:
    path = tmp_path / "remote.toml"
    path.write_text(RIG)
    rig = load_rig(str(path))
    assert rig.place == PlaceSpec("desk") and rig.power is not None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('[place]\nname = "desk"', "", r"needs a \[place\]"),
        ('server = "{place_gdb}"', 'server = "lab"', "'lab' is not host:port"),
        ('[power]\nkind = "labgrid"\n[place]\nname = "desk"', "", r"are a labgrid place's"),
        ('name = "desk"', 'name = "-x"', r"\[place\] name: '-x' holds"),
        ('name = "desk"', 'name = ""', r"\[place\] name is empty"),
        ('name = "desk"', 'name = "desk"\ntimeout_s = 0', "not a number above 0"),
        ('name = "desk"', 'name = "desk"\n[virtual]', "kinds for a rig|runs on this computer"),
        ("{place_serial}", "{place_port}", r"\{place_serial\} and \{place_gdb\} with a"),
        ("{place_serial}", "{meter_port}", "are a twin's"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in RIG
    path = tmp_path / "remote.toml"
    path.write_text(RIG.replace(old, new))
    with pytest.raises(RigError, match=says):
        load_rig(str(path))
