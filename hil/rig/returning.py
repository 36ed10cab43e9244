"""A serial port that went away: waiting until the same one is back, under whatever name."""

from __future__ import annotations

import time
from pathlib import Path

from serial.tools import list_ports

from hil.core.errors import RigError
from hil.rig.identity import port_identity, ports_like
from hil.rig.ports import is_url, known_ports

# USB devices are enumerated again within a few seconds of being plugged in or powered.
RETURN_S = 15.0
POLL_S = 0.1


def await_path(path: str, within_s: float = RETURN_S) -> bool:
    """Wait for the serial port at ``path``; False when it stays away. A remote one is not asked."""
    deadline = time.monotonic() + within_s
    while not (there := is_url(path) or Path(path).exists()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return there


def wait_for_port(
    path: str, identity: str, usb_serial: str = "", within_s: float = RETURN_S
) -> str:
    """Where a port that went away is now: by its adapter's USB serial number, else by what it was
    when it was opened, ``identity`` (hil.rig.identity).

    RigError when it has not come back in time, when its name has gone to another device, or when
    several ports have that serial number.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = _with_serial(usb_serial) if usb_serial else _the_same(path, identity)
        if len(found) == 1:
            return found[0]
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    if found:
        raise RigError(
            f"the ports {', '.join(sorted(found))} all have USB serial {usb_serial}; use an "
            "adapter with one port, or one with its own number"
        )
    taken = ""
    if not is_url(path) and Path(path).exists():
        taken = f"; {path} is another device now: {port_identity(path)}"
    name = f"with USB serial {usb_serial}" if usb_serial else f"({identity})"
    raise RigError(
        f"serial port {path} {name} did not come back within {within_s:g} s{taken}; "
        f"{known_ports('[console] port or usb_serial')}"
    )


def _with_serial(usb_serial: str) -> list[str]:
    return [port.device for port in list_ports.comports() if port.serial_number == usb_serial]


def _the_same(path: str, identity: str) -> list[str]:
    if is_url(path):
        return [path]
    if Path(path).exists() and port_identity(path) == identity:
        return [path]
    return ports_like(identity)[:1]
