"""What is missing is found without drivers, by an imitated /sys and by connecting."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from hil.rig import presence
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.presence import console_missing, flasher_missing, instrument_missing
from hil.rig.usb import usb_devices

STLINK = "066AFF535752717867132034"


def attach(folder: Path, place: str, vendor: str, id_product: str, **texts: str) -> None:
    """A device as Linux shows it in /sys/bus/usb/devices."""
    entry = folder / place
    entry.mkdir(parents=True)
    for name, text in {
        "idVendor": vendor, "idProduct": id_product, "busnum": "1", "devnum": "7", **texts,
    }.items():  # fmt: skip
        (entry / name).write_text(f"{text}\n")
    (folder / f"{place}:1.0").mkdir()  # an interface, which is no device


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sys"
    attach(folder, "usb1", "1d6b", "0002", product="xHCI Host Controller")
    monkeypatch.setattr(presence, "usb_devices", lambda: usb_devices(folder))
    return folder


@pytest.fixture
def openocd(tmp_path: Path) -> str:
    """A program; presence must not run it."""
    path = tmp_path / "openocd"
    path.write_text("#!/bin/sh\nexit 99\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_usb_devices_as_listed(sysfs: Path) -> None:
    attach(sysfs, "1-1.4", "0483", "374b", serial=STLINK, manufacturer="STM", product="STLINK")
    host, stlink = sorted(usb_devices(sysfs) or [], key=lambda d: d.vendor, reverse=True)
    assert host.serial == "" and host.place == "usb1"
    assert (stlink.vendor, stlink.product, stlink.serial) == (0x0483, 0x374B, STLINK)
    assert stlink.place == "1-1.4" and stlink.node == "/dev/bus/usb/001/007"
    assert str(stlink) == f"STM STLINK (0483:374b, serial {STLINK})"


def test_a_probe_by_its_serial_number(sysfs: Path, openocd: str) -> None:
    spec = FlasherSpec("openocd", serial=STLINK, program=openocd)
    attach(sysfs, "1-2", "0483", "374b", serial="0667", product="STLINK-V2-1")
    said = flasher_missing(spec, "stm32f746")
    assert f"no debug probe with serial {STLINK}" in said
    assert "STLINK-V2-1 (0483:374b, serial 0667)" in said and "xHCI" not in said
    attach(sysfs, "1-3", "0483", "374b", serial=STLINK.lower())
    assert flasher_missing(spec, "stm32f746") == ""


def test_an_old_stlink_whose_number_is_no_text_may_be_the_one(sysfs: Path, openocd: str) -> None:
    attach(sysfs, "1-2", "0483", "3748", serial="S\x12?\x05")
    spec = FlasherSpec("openocd", serial=STLINK, program=openocd)
    assert flasher_missing(spec, "stm32f746") == ""


def test_a_probe_by_its_place(sysfs: Path, openocd: str) -> None:
    spec = FlasherSpec(
        "openocd", location="1:2.3", interface="a.cfg", target="b.tcl", program=openocd
    )
    assert "no USB device at 1:2.3" in flasher_missing(spec, "gap8")
    attach(sysfs, "1-2.3", "0403", "6010")
    assert flasher_missing(spec, "gap8") == ""


def test_tool_and_probe_are_both_told(sysfs: Path, tmp_path: Path) -> None:
    spec = FlasherSpec("st-flash", serial=STLINK, program=str(tmp_path / "nowhere"))
    said = flasher_missing(spec, "stm32f746")
    assert "is not installed" in said and "no debug probe" in said


def test_instruments_on_usb(sysfs: Path) -> None:
    resource = "USB0::0x1AB1::0x04CE::DS1ZA1::INSTR"
    assert "no instrument 1ab1:04ce with serial DS1ZA1" in instrument_missing(resource)
    attach(sysfs, "1-5", "1ab1", "04ce", serial="DS1ZA1")
    assert instrument_missing(resource) == ""
    assert "USB ids are numbers" in instrument_missing("USB0::rigol::x::1::INSTR")


def test_places_on_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert console_missing(f"rfc2217://me:word@127.0.0.1:{port}") == ""
    assert f"nobody answers at 127.0.0.1:{port}" in console_missing(f"socket://127.0.0.1:{port}")
    gone = flasher_missing(FlasherSpec("gdb", server=f"127.0.0.1:{port}"), "gap8")
    assert "is the server running" in gone
    assert "check address" in instrument_missing(f"TCPIP0::127.0.0.1::{port}::SOCKET")


def test_other_meters_are_left_to_their_drivers() -> None:
    for resource in ("usb:", "js220/001234", "/dev/ttyACM9", "GPIB0::7::INSTR"):
        assert instrument_missing(resource) == ""


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in console_missing(str(tmp_path / "tty"))
