"""A meter's USB serial port: found by its serial number, opened, read and written.

Every failure is an InstrumentError; a port that vanishes is told apart from one that is silent.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from hil.core.errors import InstrumentError, InstrumentLostError, RigError
from hil.core.provenance import Origin
from hil.rig.ports import open_port

USB_PREFIX = "usb:"
POLL_S = 0.05  # a read comes back after this long without a byte
QUIET_S = 0.1  # a device that was stopped is silent after this long


@dataclass(frozen=True)
class UsbModel:
    """A kind of USB device. ``interface``: how the location of its data port ends, if it has
    several ports (Linux: ``1-2:1.1``)."""

    name: str
    vendor: int
    product: int
    interface: str = ""


@dataclass(frozen=True)
class UsbPort:
    """A port to open. ``serial`` is the USB serial number, "" where the system knows none."""

    path: str
    serial: str
    is_usb: bool

    @property
    def origin(self) -> Origin:
        """A port that belongs to no USB device can only be a simulator's pseudo-terminal."""
        return Origin.MEASURED if self.is_usb else Origin.MODELLED


def find_port(resource: str, model: UsbModel) -> UsbPort:
    """The port of ``usb:SERIAL``, of ``usb:`` (the only one attached), or of a path.

    InstrumentLostError when it is not there, InstrumentError when it is ambiguous or another kind
    of device.
    """
    ports = list(list_ports.comports())
    if not resource.startswith(USB_PREFIX):
        return _known_path(resource, model, ports)
    wanted = resource.removeprefix(USB_PREFIX)
    ours = _data_ports([p for p in ports if (p.vid, p.pid) == (model.vendor, model.product)], model)
    fitting = [p for p in ours if (p.serial_number or "").upper().startswith(wanted.upper())]
    attached = ", ".join(f"{p.serial_number or 'without serial'} ({p.device})" for p in ours)
    if len(fitting) != 1:
        kind = InstrumentError if fitting else InstrumentLostError
        raise kind(
            f"{resource}: {len(fitting)} {model.name} fit; attached are: {attached or 'none'}; "
            "plug it in, or correct [meter] resource"
        )
    return UsbPort(fitting[0].device, fitting[0].serial_number or "", True)


def _data_ports(ports: list[ListPortInfo], model: UsbModel) -> list[ListPortInfo]:
    """One port a device: the one whose location ends as the model says, else its first."""
    by_serial: dict[str, list[ListPortInfo]] = {}
    for port in sorted(ports, key=lambda p: p.device):
        by_serial.setdefault(port.serial_number or port.device, []).append(port)
    return [
        next((p for p in group if (p.location or "").endswith(model.interface)), group[0])
        for group in by_serial.values()
    ]


def _known_path(path: str, model: UsbModel, ports: list[ListPortInfo]) -> UsbPort:
    real = os.path.realpath(path)
    port = next((p for p in ports if os.path.realpath(p.device) == real), None)
    if port is None or port.vid is None:
        return UsbPort(path, "", False)
    if (port.vid, port.pid) != (model.vendor, model.product):
        raise InstrumentError(
            f"{path} is a {port.product or port.description} (USB {port.vid:04x}:{port.pid:04x}), "
            f"not a {model.name} ({model.vendor:04x}:{model.product:04x}); correct [meter] resource"
        )
    return UsbPort(path, port.serial_number or "", True)


class SerialLink:
    """An open port whose every failure is an InstrumentError that begins with ``who``;
    InstrumentLostError when it cannot be opened."""

    def __init__(self, port: UsbPort, baud: int, who: str) -> None:
        self.who = who
        try:
            self._port = open_port(port.path, baud, "[meter] resource")
        except RigError as error:
            raise InstrumentLostError(f"{who}: {error}") from error
        self._port.timeout = POLL_S

    def write(self, data: bytes, what: str) -> None:
        """Send ``data``; ``what`` names it in an error."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._gone(what, error) from error

    def read(self) -> bytes:
        """What has arrived, after POLL_S at the latest; b"" when nothing has."""
        try:
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        # TypeError: pyserial's answer to a port that is closed during the read.
        except (serial.SerialException, OSError, TypeError) as error:
            raise self._gone("reading", error) from error

    def drain(self, limit_s: float) -> None:
        """Throw away what still comes, until it is quiet; InstrumentError if it never is."""
        quiet_since = started = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_S:
            if self.read():
                quiet_since = time.monotonic()
            if time.monotonic() - started > limit_s:
                raise InstrumentError(
                    f"{self.who}: still sends {limit_s:.1f} s after it was told to stop; "
                    "unplug it and plug it in again"
                )

    def close(self) -> None:
        self._port.close()

    def _gone(self, what: str, error: Exception) -> InstrumentError:
        return InstrumentError(
            f"{self.who}: {what}: the port has vanished ({error}); check the cable and the hub"
        )
