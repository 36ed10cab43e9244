"""What a part of a bench is, whatever the system calls it today: the names that locks are put on.

A USB serial port that goes away and comes back gets whatever name is free, and the name it had may
go to another board. Its adapter's serial number and the number of the port within it stay; for an
adapter without a number of its own the socket that it is plugged into does. A port that belongs to
no USB device is known by its device, a pseudo-terminal by the link that names it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from hil.rig.ports import is_url

PTYS = Path("/dev/pts")  # numbers are given again as soon as they are free
USB_PREFIX = "usb:"  # of a meter's resource: the beginning of its serial number


def console_part(port: str) -> str:
    """The lock's name for a serial port, by path or URL."""
    return f"serial port {port if is_url(port) else port_identity(port)}"


def probe_part(name: str) -> str:
    """The lock's name for a debug probe by serial number, place, server, or a twin's socket. Tools
    differ in the case in which they print a serial number."""
    return f"probe {name if name.startswith('/') else name.casefold()}"


def meter_part(resource: str) -> str:
    """The lock's name for a meter: a VISA resource, a USB serial number or a serial port's path."""
    ports = list_ports.comports()
    if resource.startswith(USB_PREFIX) and resource != USB_PREFIX:
        wanted = resource.removeprefix(USB_PREFIX).casefold()
        fitting = [p for p in ports if (p.serial_number or "").casefold().startswith(wanted)]
    else:
        fitting = [p for p in ports if _real(p.device) == _real(resource)]
    # All ports of a meter are one meter.
    names = {_device(port, ports) for port in fitting}
    if len(names) == 1:
        return f"meter {names.pop()}"
    return f"meter {_path(resource) if resource.startswith('/') else resource}"


def port_identity(path: str) -> str:
    """What the serial port at ``path`` is; the same under any of its names, also later."""
    ports = list_ports.comports()
    port = next((port for port in ports if _real(port.device) == _real(path)), None)
    return _path(path) if port is None else _identity(port, ports)


def ports_like(identity: str) -> list[str]:
    """Devices that are ``identity`` now: one, or none while it is unplugged."""
    ports = list_ports.comports()
    return [port.device for port in ports if _identity(port, ports) == identity]


def _identity(port: ListPortInfo, ports: Sequence[ListPortInfo]) -> str:
    name = _device(port, ports)
    interface = (port.location or "").partition(":")[2]
    return f"{name} interface {interface}" if interface and name != port.device else name


def _device(port: ListPortInfo, ports: Sequence[ListPortInfo]) -> str:
    """The USB device behind a port; the port's own name when there is none."""
    if port.serial_number and not _is_shared(port, ports):
        return f"USB serial {port.serial_number}"
    place = (port.location or "").partition(":")[0]
    return f"USB socket {place}" if place else port.device


def _is_shared(port: ListPortInfo, ports: Sequence[ListPortInfo]) -> bool:
    """Whether two devices have this serial number: some makers give all of theirs the same."""
    places = {
        (other.location or "").partition(":")[0]
        for other in ports
        if other.serial_number == port.serial_number
    }
    return len(places) > 1


def _path(path: str) -> str:
    real = _real(path)
    if Path(real).parent != PTYS:
        return real
    return str(Path(path).parent.resolve() / Path(path).name)


def _real(path: str) -> str:
    return os.path.realpath(path)
