"""``hil doctor``: each kind of trouble on a computer is found, explained and has a mend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boards import load_board
from hil.cli import app
from hil.loop import doctor
from hil.loop.doctor import Finding, State, User
from hil.rig.scan.listing import SerialPort
from hil.rig.usb import UsbDevice

ANNA = User("anna", False, frozenset({"anna"}), frozenset())
STLINK = UsbDevice(0x0483, 0x374B, "066A", "STLINK", "1-2", "/dev/bus/usb/001/007")


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 11, 0), State.OK), ((3, 14, 1), State.OK), ((3, 10, 12), State.FAILURE),
     ((2, 7, 18), State.FAILURE)],
)  # fmt: skip
def test_python(version: tuple[int, ...], state: State) -> None:
    assert doctor.python(version).state is state


def test_packages() -> None:
    versions = {"numpy": "2.1.0", "pyserial": "3.4", "rich": "13.0"}
    wanted = ["numpy>=2.0", "pyserial>=3.5", "pyvisa>=1.14", 'ruff>=1; extra == "dev"',
              "rich>=13", 'pywin32>=1; sys_platform == "win32"']  # fmt: skip
    findings = doctor.packages(wanted, versions.get)
    assert [(f.name, f.mend) for f in findings] == [
        ("pyserial", "pip install 'pyserial>=3.5'"), ("pyvisa", "pip install 'pyvisa>=1.14'"),
    ]  # fmt: skip
    assert all(f.state is State.FAILURE for f in findings)
    versions |= {"pyserial": "3.5", "pyvisa": "1.16.2"}
    assert only(doctor.packages(wanted, versions.get)).detail == "all 4 that are needed"
    assert only(doctor.packages(None, versions.get)).state is State.NOTE


def test_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    board = load_board("gap8")
    monkeypatch.setenv("PATH", "/nowhere")
    zig = only(doctor.compilers([board]))
    assert zig.state is State.OK and "riscv64-unknown-elf-gcc" in zig.mend

    def gone(name: str) -> str:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("codegen.toolchain.version", gone)
    none = only(doctor.compilers([board]))
    assert none.state is State.FAILURE and "pip install ziglang" in none.detail


def test_tools_are_notes() -> None:
    findings = doctor.tools(doctor.TOOLS, lambda name: name == "openocd")
    assert [f.name for f in findings if f.state is State.OK] == ["openocd"]
    assert all(f.state is State.NOTE and f.mend for f in findings if f.name != "openocd")


class TestRights:
    def port(self, folder: Path, mode: int) -> SerialPort:
        path = folder / "ttyACM0"
        path.touch()
        path.chmod(mode)
        return SerialPort(str(path), str(path), 0x0483, 0x374B, name="STLink")

    def test_a_port(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        port = self.port(tmp_path, 0o660)
        assert only(doctor.serial_rights([port], ANNA)).state is State.OK
        monkeypatch.setattr(doctor.os, "access", lambda *_: False)
        monkeypatch.setattr(doctor, "_group_of", lambda _: "dialout")
        refused = only(doctor.serial_rights([port], ANNA))
        assert refused.state is State.FAILURE
        assert refused.mend.startswith("sudo usermod -aG dialout anna")
        fresh = replace(ANNA, member_of=frozenset({"dialout"}))
        assert "log out and in again" in only(doctor.serial_rights([port], fresh)).mend
        assert "usermod" not in only(doctor.serial_rights([port], fresh)).mend

    def test_no_port_yet(self) -> None:
        assert only(doctor.serial_rights([], ANNA)).state is State.NOTE
        member = replace(ANNA, groups=frozenset({"dialout"}))
        assert only(doctor.serial_rights([], member)).state is State.OK

    def test_usb_devices(self) -> None:
        mouse = replace(STLINK, vendor=0x046D)
        assert doctor.usb_rights([mouse], lambda _: False) == []
        assert only(doctor.usb_rights([STLINK, mouse], lambda _: True)).state is State.OK
        refused = only(doctor.usb_rights([STLINK], lambda _: False))
        assert refused.state is State.FAILURE
        assert 'ATTR{idVendor}=="0483", ATTR{idProduct}=="374b"' in refused.mend

    def test_udev_rules(self, tmp_path: Path) -> None:
        assert doctor.udev_rules([tmp_path, tmp_path / "none"]).state is State.NOTE
        (tmp_path / "60-other.rules").write_text('ATTR{idVendor}=="1366"\n')
        assert doctor.udev_rules([tmp_path]).state is State.NOTE
        (tmp_path / "49-stlink.rules").write_text('ATTRS{idProduct}=="374B"\n')
        assert "49-stlink.rules" in doctor.udev_rules([tmp_path]).detail


def test_visa_that_cannot_reach_usb() -> None:
    findings = {
        f.name: f
        for f in doctor.visa(
            {
                "TCPIP SOCKET": "Available ",
                "TCPIP INSTR": "Available \n   Resource discovery:",
                "USB INSTR": "Available via PyUSB (1.3.1). Backend: N/A",
            }
        )
    }
    assert findings["TCPIP INSTR"] == Finding("VISA", "TCPIP INSTR", State.OK, "Available")
    assert findings["USB INSTR"].state is State.NOTE and "libusb" in findings["USB INSTR"].mend
    absent = doctor.visa({"USB INSTR": ["Please install PyUSB to use this resource type."]})
    assert "Please install PyUSB" in absent[-1].detail


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = doctor.folders(tmp_path / "locks", tmp_path / "a" / "b", tmp_path)
    assert {f.state for f in good if f.name != "disk"} == {State.OK}
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    bad = [f for f in doctor.folders(tmp_path, tmp_path, tmp_path) if f.name != "disk"]
    assert all(f.state is State.FAILURE and f.mend for f in bad)


def test_a_rig_file_that_does_not_load(tmp_path: Path) -> None:
    finding = only(doctor.bench(str(tmp_path / "none.toml")))
    assert finding.state is State.FAILURE and "does not exist" in finding.detail


FINDINGS = [
    Finding("Python", "version", State.OK, "3.11.7"),
    Finding("rights", "/dev/ttyACM0", State.FAILURE, "no rights [console]", "usermod " + "x" * 90),
]


@pytest.mark.parametrize(("findings", "status"), [(FINDINGS, 1), (FINDINGS[:1], 0)])
def test_the_verb(monkeypatch: pytest.MonkeyPatch, findings: list[Finding], status: int) -> None:
    monkeypatch.setattr(doctor, "examine", lambda rig: findings)
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == status
    assert max(map(len, shown.output.splitlines())) <= 80
    as_json = CliRunner().invoke(app, ["doctor", "--json"])
    assert as_json.exit_code == status
    entries = json.loads(as_json.output)
    assert [entry["state"] for entry in entries] == [f.state.name.lower() for f in findings]
    if status:
        assert "no rights [console]" in shown.output
        assert entries[1]["mend"].startswith("usermod")


def test_this_computer_is_examined_whole() -> None:
    """Whatever it has: every topic is there, and every failure has a mend or tells it."""
    findings = doctor.examine()
    topics = {"Python", "compiler", "tool", "rights", "VISA", "folder"}
    assert topics == {finding.topic for finding in findings}
    assert all(f.mend or f.detail for f in findings if f.state is not State.OK)
