"""Is everything there that a user needs? Each finding says what is wrong and how to mend it.

A *failure* keeps something from working that is needed: Python, a package, a compiler, rights on
a device that is attached, a part of the named rig. A *note* is about something that only some
users need.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from boards import BOARDS, load_board
from codegen.toolchain import cache_root, find_compiler
from hil.core.board import Board
from hil.core.errors import BuildError, FlashError, HilError
from hil.core.secrets import masked
from hil.rig import lock
from hil.rig.check import check_all
from hil.rig.flashers.tool import Tool
from hil.rig.rigfile import load_bench
from hil.rig.scan.listing import SerialPort
from hil.rig.scan.look import serial_ports, visa_interfaces
from hil.rig.scan.models import METERS, PROBES
from hil.rig.usb import UsbDevice, usb_devices

PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 * 10**9  # a run keeps waveforms; the simulators' compiled code takes 0.1 GB
RULES = (Path("/etc/udev/rules.d"), Path("/lib/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
# What each tool is for, and how to get it.
TOOLS = {
    "openocd": ("flashes STM32 boards", "apt-get install openocd"),
    "st-flash": ("flashes STM32 boards", "apt-get install stlink-tools"),
    "pyocd": ("flashes STM32 boards", "pip install 'hil-clio[pyocd]'"),
    "gap8-openocd": ("flashes GAP8 boards", "build GreenWaves' gap8_openocd (docs/flashing.md)"),
    "uhubctl": ("switches USB ports off and on", "apt-get install uhubctl"),
    "gdb-multiarch": ("debugs boards and virtual chips", "apt-get install gdb-multiarch"),
    "labgrid-client": ("reaches boards of other computers", "pip install 'hil-clio[labgrid]'"),
}
# Interfaces of the VISA backend: whether meters need them, and what they stand on.
VISA = {
    "TCPIP SOCKET": "instruments by TCP",
    "TCPIP INSTR": "instruments by VXI-11 and HiSLIP",
    "USB INSTR": "instruments on USB; apt-get install libusb-1.0-0, pip install pyusb",
}


class State(Enum):
    """Of a finding."""

    OK = "ok"
    NOTE = "note"
    FAILURE = "FAILS"


@dataclass(frozen=True)
class Finding:
    """``mend``: what to do, "" where there is nothing to do or ``detail`` says it."""

    topic: str
    name: str
    state: State
    detail: str
    mend: str = ""


def examine(rig: str | None = None) -> list[Finding]:
    """Everything, and the bench ``rig`` (a name or a TOML file) if one is given."""
    return [
        python(sys.version_info[:3]),
        *packages(_requirements(), _version),
        *compilers([load_board(name) for name in BOARDS]),
        *tools(TOOLS, _is_installed),
        *serial_rights(serial_ports(), User.me()),
        *usb_rights(usb_devices() or (), lambda node: os.access(node, os.R_OK | os.W_OK)),
        udev_rules(RULES),
        *visa(visa_interfaces()),
        *folders(lock.FOLDER, cache_root(), Path.cwd()),
        *([] if rig is None else bench(rig)),
    ]


# -- this computer --------------------------------------------------------------------------


def python(version: Sequence[int]) -> Finding:
    """``version``: as in sys.version_info."""
    text, wanted = ".".join(map(str, version)), ".".join(map(str, PYTHON))
    if tuple(version[:2]) >= PYTHON:
        return Finding("Python", "version", State.OK, text)
    return Finding(
        "Python", "version", State.FAILURE, f"{text} is older than {wanted}",
        f"make the virtual environment with Python {wanted} or newer",
    )  # fmt: skip


def packages(
    requirements: Iterable[str] | None, installed: Callable[[str], str | None]
) -> list[Finding]:
    """``requirements`` as in pyproject.toml, None when hil-clio itself is not installed."""
    if requirements is None:
        return [
            Finding("Python", "hil-clio", State.NOTE, "runs from its folder, not installed",
                    "pip install -e . -c constraints.txt")
        ]  # fmt: skip
    failures, count = [], 0
    for text in requirements:
        wanted = _parsed(text)
        if wanted is None or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        count += 1
        found = installed(wanted.name)
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            detail = "is not installed" if found is None else f"is {found}"
            failures.append(
                Finding("Python", wanted.name, State.FAILURE, f"{detail}, needed is {text}",
                        f"pip install '{text}'")
            )  # fmt: skip
    if failures:
        return failures
    return [Finding("Python", "packages", State.OK, f"all {count} that are needed")]


def compilers(boards: Iterable[Board]) -> list[Finding]:
    """One a board: its vendor's GCC, or zig."""
    found = []
    for board in boards:
        gcc = board.toolchain.gcc_names[0]
        try:
            compiler = find_compiler(board)
        except BuildError as error:
            found.append(Finding("compiler", board.name, State.FAILURE, str(error)))
            continue
        mend = "" if compiler.family == "gcc" else f"for the vendor's compiler: install {gcc}"
        found.append(Finding("compiler", board.name, State.OK, compiler.identity, mend))
    return found


def tools(wanted: dict[str, tuple[str, str]], is_installed: Callable[[str], bool]) -> list[Finding]:
    """Which of them a rig needs, its file says: a missing one is a note here."""
    return [
        Finding("tool", name, State.OK, purpose) if is_installed(name)
        else Finding("tool", name, State.NOTE, f"not installed; {purpose}", install)
        for name, (purpose, install) in wanted.items()
    ]  # fmt: skip


# -- rights ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """``groups``: those of this process; ``member_of``: those that the system has him in."""

    name: str
    is_root: bool
    groups: frozenset[str]
    member_of: frozenset[str]

    @classmethod
    def me(cls) -> User:
        """The user who runs this program."""
        number = os.getuid()
        try:
            name = pwd.getpwuid(number).pw_name
        except KeyError:
            name = str(number)
        names = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
        return cls(
            name,
            number == 0,
            frozenset(names.get(gid, str(gid)) for gid in {*os.getgroups(), os.getgid()}),
            frozenset(entry.gr_name for entry in grp.getgrall() if name in entry.gr_mem),
        )


def serial_rights(ports: Sequence[SerialPort], user: User) -> list[Finding]:
    """Of each USB serial port; before one is attached, of the group that will own it."""
    if not ports:
        if user.is_root or "dialout" in user.groups:
            return [Finding("rights", "serial ports", State.OK, "none attached; rights are there")]
        detail = f"none attached; {user.name} is not in group dialout"
        return [Finding("rights", "serial ports", State.NOTE, detail, _join(user, "dialout"))]
    found = []
    for port in ports:
        if os.access(port.device, os.R_OK | os.W_OK):
            found.append(Finding("rights", port.device, State.OK, port.name))
            continue
        group = _group_of(Path(port.device))
        detail = f"{user.name} may not open it; group {group} may"
        found.append(Finding("rights", port.device, State.FAILURE, detail, _join(user, group)))
    return found


def _join(user: User, group: str) -> str:
    if group in user.member_of - user.groups:
        return f"{user.name} is in group {group} since a short time only: log out and in again"
    return f"sudo usermod -aG {group} {user.name}, then log out and in again"


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "dialout"


def usb_rights(devices: Sequence[UsbDevice], may_open: Callable[[str], bool]) -> list[Finding]:
    """Of probes and meters, whose tools and drivers open the device itself."""
    known = {*PROBES, *((model.vendor, model.product) for model in METERS.values())}
    found = []
    for device in devices:
        if (device.vendor, device.product) not in known:
            continue
        if may_open(device.node):
            found.append(Finding("rights", device.node, State.OK, str(device)))
            continue
        mend = (
            f'add SUBSYSTEM=="usb", ATTR{{idVendor}}=="{device.vendor:04x}", '
            f'ATTR{{idProduct}}=="{device.product:04x}", MODE="0660", GROUP="plugdev", '
            'TAG+="uaccess" to /etc/udev/rules.d/60-hil.rules, sudo udevadm control --reload, '
            "plug it in again"
        )
        detail = f"{device}: no rights to open it"
        found.append(Finding("rights", device.node, State.FAILURE, detail, mend))
    return found


def udev_rules(folders: Iterable[Path]) -> Finding:
    """Whether some rule is about ST-LINKs, the commonest probe: without one only root has them."""
    files = sorted(file for folder in folders for file in folder.glob("*.rules"))
    named = [file for file in files if _mentions(file, ("374b", "stlink"))]
    if named:
        return Finding("rights", "udev rules", State.OK, f"for ST-LINKs in {named[0]}")
    return Finding(
        "rights", "udev rules", State.NOTE, "none for ST-LINKs",
        "apt-get install openocd or stlink-tools brings them; plug the board in again",
    )  # fmt: skip


def _mentions(file: Path, words: Sequence[str]) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    return any(word in text for word in words)


# -- VISA, folders, the bench ---------------------------------------------------------------


def visa(info: dict[str, object]) -> list[Finding]:
    """``info``: what pyvisa-py tells about itself, by interface."""
    found = []
    for name, purpose in VISA.items():
        said = info.get(name, "unknown to this version")
        first = str(said[0] if isinstance(said, list) and said else said).partition("\n")[0].strip()
        # pyusb is there and libusb, through which it works, is not.
        ok = first.startswith("Available") and "Backend: N/A" not in first
        found.append(
            Finding("VISA", name, State.OK, first) if ok
            else Finding("VISA", name, State.NOTE, f"does not work: {first}", f"for {purpose}")
        )  # fmt: skip
    return found


def folders(locks: Path, cache: Path, work: Path) -> list[Finding]:
    """Those that are written to, and the room for a run."""
    found = []
    for name, folder, mend in (
        ("locks", locks, "chmod 1777, or remove it: it is made again"),
        ("cache", cache, "set HIL_CACHE to a folder of yours"),
        ("runs", work, "go to a folder of yours, or use --out"),
    ):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            found.append(
                Finding("folder", name, State.FAILURE, f"{there}: no right to write", mend)
            )
        else:
            found.append(Finding("folder", name, State.OK, str(folder)))
    free = shutil.disk_usage(work).free
    if free < LEAST_FREE_BYTES:
        detail = f"{free / 1e9:.1f} GB free in {work}; a night may need more"
        found.append(Finding("folder", "disk", State.NOTE, detail, "make room"))
    return found


def bench(name: str) -> list[Finding]:
    """Every part of every rig: board, probe, meter, switch, and who uses them."""
    try:
        rigs = load_bench(name).rigs
    except HilError as error:
        return [Finding("rig", name, State.FAILURE, str(error), "docs/rigs.md, hil rig scan")]
    return [
        Finding(f"rig {rig.name}", item.name, State.OK if item.ok else State.FAILURE, item.detail)
        for rig, items in zip(rigs, check_all(rigs), strict=True)
        for item in items
    ]


# -- the edge -------------------------------------------------------------------------------


def _requirements() -> list[str] | None:
    try:
        return metadata.requires("hil-clio") or []
    except metadata.PackageNotFoundError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _parsed(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:  # from a newer packaging standard; pip has checked it
        return None


def _is_installed(program: str) -> bool:
    try:
        Tool(program, "").find()
    except FlashError:
        return False
    return True


def shown(finding: Finding) -> str:
    """What is found and what to do, for a table."""
    text = f"{finding.detail}; {finding.mend}" if finding.mend else finding.detail
    return masked(text)
