"""Locks follow the adapter, not the name that the system gives it, and so does a console."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from hil.core.errors import RigError
from hil.rig import lock
from hil.rig.bench import Places
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.identity import console_part, meter_part, port_identity, probe_part
from hil.rig.returning import wait_for_port

Attach = Callable[[Sequence[SimpleNamespace]], None]


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Attach:
    """Say which ports the system lists."""

    def attached(ports: Sequence[SimpleNamespace]) -> None:
        monkeypatch.setattr(list_ports, "comports", lambda: list(ports))

    attached([])
    return attached


def port(device: object, serial: str | None = None, location: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        device=str(device), serial_number=serial, location=location, description="a port"
    )


def parts_of(device: object) -> tuple[str, ...]:
    places = Places(str(device), FlasherSpec("gdb", server="127.0.0.1:1"), "TCPIP0::1::SOCKET")
    return (places.parts["console"],)


class TestOneBoardOfTwoNames:
    """An ST-LINK with number A comes back as ttyACM1; another board gets the name ttyACM0."""

    def test_it_stays_locked_under_its_new_name(self, tmp_path: Path, attach: Attach) -> None:
        old, new = tmp_path / "ttyACM0", tmp_path / "ttyACM1"
        attach([port(old, "A", "1-2:1.2")])
        with lock.locked(parts_of(old), "night"):
            attach([port(new, "A", "1-2:1.2"), port(old, "B", "1-3:1.2")])
            with (
                pytest.raises(RigError, match=r"in use by .* on rig night"),
                lock.locked(parts_of(new), "day"),
            ):
                pass
            with lock.locked(parts_of(old), "day"):  # the other board is free
                pass

    def test_a_link_and_the_device_are_one(self, tmp_path: Path, attach: Attach) -> None:
        device, link = tmp_path / "ttyACM0", tmp_path / "by-id"
        device.touch()
        link.symlink_to(device)
        attach([port(device, "A", "1-2:1.2")])
        assert parts_of(device) == parts_of(link)
        moved = tmp_path / "ttyACM1"
        moved.touch()
        link.unlink()
        link.symlink_to(moved)
        before = parts_of(link)  # not listed yet
        attach([port(moved, "A", "1-2:1.2")])
        assert parts_of(link) != before
        assert parts_of(link) == ("serial port USB serial A interface 1.2",)

    def test_the_port_is_found_again_and_another_board_is_not_taken(
        self, tmp_path: Path, attach: Attach
    ) -> None:
        old, new = tmp_path / "ttyACM0", tmp_path / "ttyACM1"
        old.touch()
        attach([port(old, "A", "1-2:1.2")])
        identity = port_identity(str(old))
        attach([port(old, "B", "1-3:1.2")])
        with pytest.raises(RigError, match="is another device now: USB serial B"):
            wait_for_port(str(old), identity, within_s=0.05)
        attach([port(old, "B", "1-3:1.2"), port(new, "A", "1-2:1.2")])
        assert wait_for_port(str(old), identity, within_s=0.05) == str(new)


class TestNames:
    def test_channels_of_one_adapter_are_two_ports(self, attach: Attach) -> None:
        attach([port("/dev/x0", "A", "1-2:1.0"), port("/dev/x1", "A", "1-2:1.1")])
        assert console_part("/dev/x0") != console_part("/dev/x1")

    def test_without_a_number_the_socket_counts(self, attach: Attach) -> None:
        attach([port("/dev/x0", None, "1-2")])
        before = console_part("/dev/x0")
        attach([port("/dev/x0", None, "1-3"), port("/dev/x7", None, "1-2")])
        assert console_part("/dev/x7") == before != console_part("/dev/x0")

    def test_a_number_that_two_adapters_have_is_none(self, attach: Attach) -> None:
        attach([port("/dev/x0", "0001", "1-2"), port("/dev/x1", "0001", "1-3")])
        assert console_part("/dev/x0") != console_part("/dev/x1")

    def test_other_computers_ports_and_plain_ones(self, attach: Attach) -> None:
        assert console_part("rfc2217://host:4000") == "serial port rfc2217://host:4000"
        attach([port("/dev/ttyS0")])
        assert console_part("/dev/ttyS0") == "serial port /dev/ttyS0"

    def test_a_probe_in_either_spelling(self) -> None:
        assert probe_part("066AFF53") == probe_part("066aff53")

    def test_a_meter_by_number_and_by_port(self, attach: Attach) -> None:
        attach([port("/dev/x0", "F5BC3E7B", "1-2:1.1"), port("/dev/x1", "F5BC3E7B", "1-2:1.3")])
        names = {meter_part(name) for name in ("usb:f5bc", "/dev/x0", "/dev/x1")}
        assert names == {"meter USB serial F5BC3E7B"}
        assert (
            meter_part("TCPIP0::10.0.0.1::5025::SOCKET") == "meter TCPIP0::10.0.0.1::5025::SOCKET"
        )
        assert meter_part("usb:") == "meter usb:"


@pytest.fixture
def pty_link(tmp_path: Path, attach: Attach) -> Iterator[Callable[[], Path]]:
    """Plug in a pseudo-terminal behind a link, anew at each call."""
    ends: list[int] = []

    def plug() -> Path:
        link = tmp_path / "console"
        link.unlink(missing_ok=True)
        master, slave = os.openpty()
        ends.extend((master, slave))
        link.symlink_to(os.ttyname(slave))
        return link

    yield plug
    for end in ends:
        os.close(end)


def test_a_pseudo_terminal_is_its_link(pty_link: Callable[[], Path]) -> None:
    """Its number is given to another one as soon as it is free."""
    link = pty_link()
    before, device = port_identity(str(link)), os.path.realpath(link)
    pty_link()
    assert os.path.realpath(link) != device
    assert port_identity(str(link)) == before == str(link.parent.resolve() / link.name)
    assert wait_for_port(str(link), before, within_s=0.05) == str(link)
