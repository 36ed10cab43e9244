"""Serial ports: opening one for this process alone, and saying why it cannot be opened.

A port is a device (/dev/ttyACM0), or one of another computer by a URL of pyserial:
``rfc2217://HOST:PORT`` (ser2net and labgrid speak it) or ``socket://HOST:PORT`` (bytes alone).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.parse import urlsplit

import serial
from serial import rfc2217
from serial.tools import list_ports

from hil.core.errors import RigError

# A frame takes 20 ms at 1 Mbaud; a driver that has not taken it after this long hangs.
WRITE_TIMEOUT_S = 10.0
RFC2217, SOCKET = "rfc2217://", "socket://"


class RemotePort(rfc2217.Serial):
    """A port by RFC 2217. pyserial settles baud rate and all else with the server anew whenever
    the timeout is set, which a console does at each read."""

    @property
    def timeout(self) -> float | None:
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        self._timeout = value


def open_port(path: str, baud: int, entry: str = "[console] port") -> serial.Serial:
    """Open ``path`` exclusively, 8N1, no flow control.

    RigError: no such port (lists those that exist), no permission, or busy (names the holder).
    ``entry`` is what the rig file calls the port.
    """
    try:
        if path.startswith(RFC2217):
            return RemotePort(path, baud)
        if path.startswith(SOCKET):
            return serial.serial_for_url(path, baud, write_timeout=WRITE_TIMEOUT_S)
        return serial.Serial(path, baud, exclusive=True, write_timeout=WRITE_TIMEOUT_S)
    except (serial.SerialException, OSError, ValueError) as error:
        raise RigError(_diagnosis(path, baud, entry, error)) from error


def is_url(path: str) -> bool:
    """Whether a port is another computer's."""
    return path.startswith((RFC2217, SOCKET))


def url_host(path: str) -> tuple[str, str]:
    """Host and port of a remote port, "" where the URL has none."""
    place = urlsplit(path).netloc.rpartition("@")[2]
    host, _, port = place.rpartition(":")
    return host, port


def missing_port(path: str, entry: str = "[console] port") -> str:
    """That the device is not there, with those that are; "" when it is."""
    if Path(path).exists():
        return ""
    return f"serial port {path} does not exist; {known_ports(entry)}"


def _diagnosis(path: str, baud: int, entry: str, error: Exception) -> str:
    # pyserial puts the number into its own error when open() fails, and only into the text
    # when the lock fails, so the port itself is asked.
    number = getattr(error, "errno", None)
    if is_url(path):
        return f"remote serial port {path} cannot be opened: {error}; is its server running?"
    if missing := missing_port(path, entry):
        return missing
    if number == errno.EACCES:
        return f"no permission to open serial port {path}; join the group that owns it (dialout)"
    if number == errno.EBUSY or "exclusively lock" in str(error):
        return f"serial port {path} is busy: {holder(path)}; close that program and try again"
    return f"serial port {path} at {baud} baud cannot be opened: {error}"


def known_ports(entry: str) -> str:
    """The ports that are attached, and which entry of the rig file to correct."""
    ports = [f"{port.device} ({port.description})" for port in list_ports.comports()]
    if not ports:
        return f"no serial port is attached; plug it in or correct {entry}"
    return "attached are " + ", ".join(sorted(ports)) + f"; correct {entry}"


def holder(path: str) -> str:
    """The processes that have ``path`` open, as far as this user may see them (Linux)."""
    target = os.path.realpath(path)
    found = []
    for folder in sorted(Path("/proc").glob("[0-9]*")):
        if folder.name != str(os.getpid()) and _has_open(folder, target):
            found.append(f"{_command(folder)} (process {folder.name})")
    if _has_open(Path("/proc/self"), target):
        found.append("this very process")
    return "open in " + ", ".join(found) if found else "by a process this user may not look at"


def _has_open(process: Path, target: str) -> bool:
    try:
        return any(os.path.realpath(fd) == target for fd in (process / "fd").iterdir())
    except OSError:  # gone since, or another user's: then it cannot be told
        return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b" ".join(words).decode(errors="replace").strip()[:60] or "a kernel thread"
    except OSError:
        return "a process that has just ended"
