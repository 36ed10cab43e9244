"""Is a part of a bench attached at all? Asked before its driver is, because the answer is quick.

Each function says what is missing, or returns "" when the part may be there; only its driver
then knows more. But for what is said at ``_nameless``, none takes longer than REACH_S and the name
service.
"""

from __future__ import annotations

import re
import socket
import time

from hil.core.errors import FlashError, InstrumentError, RigError
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.flashers.opening import tools_of
from hil.rig.gdb_client import GdbClient
from hil.rig.ports import is_url, missing_port, url_host
from hil.rig.power import PowerSpec, uhubctl_path
from hil.rig.relay import ENTRY
from hil.rig.scpi import ScpiLink
from hil.rig.usb import UsbDevice, usb_devices

REACH_S = 2.0  # a packet that starts a connection is sent again after one second
INSTRUMENT_MEND = "check address, cable and power of the instrument"


def console_missing(port: str) -> str:
    """Of a serial port, or of the server of a remote one."""
    if is_url(port):
        return host_missing(*url_host(port), "correct [console] port, or start its server")
    return missing_port(port)


def flasher_missing(spec: FlasherSpec, board: str) -> str:
    """Of tool, probe or server."""
    if spec.kind == "gdb":
        return _gdb_missing(spec.server)
    if spec.kind == "virtual":
        return ""  # its socket answers at once
    return "; ".join(filter(None, (_tool_missing(spec, board), _probe_missing(spec))))


def instrument_missing(resource: str) -> str:
    """Of an instrument by VISA: on USB it is looked for, on the network it has to tell its name."""
    fields = resource.split("::")
    if re.fullmatch(r"TCPIP\d*", fields[0], re.IGNORECASE) and len(fields) > 2:
        host, last = fields[1].rpartition("@")[2], fields[-1].upper()
        if last == "SOCKET":
            return _instrument_mute(host, fields[2])
        port = "4880" if "hislip" in resource else "111"
        return host_missing(host, port, INSTRUMENT_MEND) or _nameless(resource)
    if re.fullmatch(r"USB\d*", fields[0], re.IGNORECASE) and len(fields) > 3:
        return _usb_missing(resource, fields)
    return ""


def switch_missing(spec: PowerSpec) -> str:
    """Of a power switch: its port, its instrument, or its tool."""
    if spec.kind == "relay":
        return missing_port(spec.resource, ENTRY)
    if spec.kind == "uhubctl":
        try:
            uhubctl_path()
        except RigError as error:
            return str(error)
    return instrument_missing(spec.resource) if spec.resource else ""


def host_missing(host: str, port: str, mend: str) -> str:
    """Connects and leaves again."""
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, ValueError, OverflowError) as error:
        return f"nobody answers at {host}:{port} ({error}); {mend}"
    return ""


def _gdb_missing(server: str) -> str:
    """Greets the server: it may take a connection and be dead."""
    try:
        GdbClient(server, REACH_S).close()
    except FlashError as error:
        return str(error)
    return ""


def _nameless(resource: str) -> str:
    """Of an instrument that is called through VISA's own protocols (VXI-11, HiSLIP).

    Their library waits longer than REACH_S in some places: the caller bounds the whole look.
    """
    try:
        link = ScpiLink(resource, REACH_S)
        try:
            link.query("*IDN?")
        finally:
            link.close()
    except InstrumentError as error:
        return f"{error}; {INSTRUMENT_MEND}"
    return ""


def _instrument_mute(host: str, port: str) -> str:
    """Connects and asks ``*IDN?``: behind a gateway, or after a crash, only the socket is there."""
    deadline_s = time.monotonic() + REACH_S
    try:
        wire = socket.create_connection((host, int(port)), REACH_S)
    except (OSError, ValueError, OverflowError) as error:
        return f"nobody answers at {host}:{port} ({error}); {INSTRUMENT_MEND}"
    try:
        with wire:
            wire.sendall(b"*IDN?\n")
            piece = b""  # the name itself is its driver's to judge
            while not piece.endswith(b"\n"):
                wire.settimeout(max(0.001, deadline_s - time.monotonic()))
                piece = wire.recv(4096)
                if not piece:
                    raise ConnectionError("it hung up")
    except OSError as error:
        return (
            f"{host}:{port} takes a connection and does not answer *IDN? within {REACH_S:g} s "
            f"({error}); is it an instrument's port, and does no other program use it? "
            f"{INSTRUMENT_MEND}"
        )
    return ""


def _tool_missing(spec: FlasherSpec, board: str) -> str:
    try:
        for tool in tools_of(spec, board):
            tool.find()
    except FlashError as error:
        return str(error)
    return ""


def _probe_missing(spec: FlasherSpec) -> str:
    devices = usb_devices()
    if devices is None:
        return ""
    if spec.serial:
        # Old ST-LINKs have bytes for a number that tools print in their own ways.
        odd = any(d.vendor == 0x0483 and not d.serial.isalnum() for d in devices if d.serial)
        wanted = spec.serial.upper()
        if odd or any(d.serial.upper() == wanted for d in devices):
            return ""
        return f"no debug probe with serial {spec.serial} is attached; {_attached(devices)}"
    if any(device.place == spec.location.replace(":", "-", 1) for device in devices):
        return ""
    return f"no USB device at {spec.location} (bus:port); {_attached(devices)}"


def _usb_missing(resource: str, fields: list[str]) -> str:
    devices = usb_devices()
    try:
        vendor, product = int(fields[1], 0), int(fields[2], 0)
    except ValueError:
        return f"{resource}: USB ids are numbers, USB0::0x1AB1::0x04CE::SERIAL::INSTR"
    if devices is None or any(
        (d.vendor, d.product, d.serial) == (vendor, product, fields[3]) for d in devices
    ):
        return ""
    return (
        f"no instrument {vendor:04x}:{product:04x} with serial {fields[3]} is attached; "
        f"{_attached(devices)}"
    )


def _attached(devices: list[UsbDevice]) -> str:
    others = ", ".join(str(d) for d in devices if d.vendor != 0x1D6B)  # but for Linux's root hubs
    return f"on USB there are: {others or 'no devices'}. Plug it in, or correct the rig file"
