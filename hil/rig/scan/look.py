"""The one edge of a scan: the system's lists, the tools' words, the instruments' names.

Everything is looked at at once and with a deadline. Nothing is sent to a serial port, since a
board may be behind it. ``st-info`` stops the chips behind the probes that it lists, so it is run
only while no ST-LINK is locked by a rig; instruments that a rig has locked are not asked.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyvisa
from pyvisa_py.highlevel import PyVisaLibrary
from serial.tools import list_ports

from hil.core.errors import FlashError, HilError, InstrumentError, RigError
from hil.rig.flashers.tool import Tool
from hil.rig.identity import meter_part, probe_part
from hil.rig.lock import locked
from hil.rig.meters.joulescope import open_library
from hil.rig.parallel import Task, run_all
from hil.rig.scan.listing import Instrument, Listing, Probe, SerialPort
from hil.rig.scan.models import PROBES, STLINKS
from hil.rig.scpi import ScpiLink
from hil.rig.usb import usb_devices

TOOL_S = 15.0  # pyOCD takes seconds to start
LIST_S = 10.0
ANSWER_S = 2.0
LATE_S = 3.0  # for an instrument's answer, with opening it
BY_ID, BY_PATH = Path("/dev/serial/by-id"), Path("/dev/serial/by-path")
ASKABLE = ("USB", "TCPIP", "GPIB")  # ASRL: a board may be behind a serial port
SCAN = "hil rig scan"  # who holds a lock meanwhile

T = TypeVar("T")


def look(visa: Sequence[str] = ()) -> Listing:
    """Everything attached, in at most about half a minute; ``visa``: resources to ask as well.

    Instruments on the network that do not announce themselves can only be found by name.
    """
    problems: list[str] = []
    ports, probes = serial_ports(), debug_probes()
    tasks = {
        "pyocd": Task(lambda: _say("pyocd", ["json", "--probes"]), "pyocd"),
        "uhubctl": Task(lambda: _say("uhubctl", []), "uhubctl"),
        "st-info": Task(lambda: _st_info(probes), "st-info"),
    }
    resources = Task(visa_resources, "VISA")
    joulescopes = Task(_joulescopes, "Joulescope")
    found = _of("VISA", resources, LIST_S, (), problems)
    asked = dict.fromkeys([*visa, *found])
    said = {name: _of(name, task, TOOL_S, "", problems) for name, task in tasks.items()}
    return Listing(
        ports=ports,
        probes=probes,
        instruments=tuple(ask_all(list(asked))),
        joulescopes=_of("Joulescope", joulescopes, LIST_S, (), problems),
        st_info=said["st-info"],
        pyocd=said["pyocd"],
        uhubctl=said["uhubctl"],
        flashers=tuple(name for name in ("openocd", "st-flash", "pyocd") if _installed(name)),
        problems=tuple(problems),
    )


def serial_ports() -> tuple[SerialPort, ...]:
    """Those of USB devices; a computer's own are never a board's console."""
    links = {}
    for folder in (BY_PATH, BY_ID):  # the number of a device is the better name
        for link in sorted(folder.glob("*")):
            links[str(link.resolve())] = str(link)
    return tuple(
        SerialPort(
            port.device,
            links.get(str(Path(port.device).resolve()), port.device),
            port.vid,
            port.pid,
            port.serial_number or "",
            port.product or port.description or "",
            port.location or "",
        )
        for port in sorted(list_ports.comports(), key=lambda port: port.device)
        if port.vid is not None
    )


def debug_probes() -> tuple[Probe, ...]:
    """Those whose USB ids are known, as far as the system keeps a list."""
    return tuple(
        Probe(device.vendor, device.product, device.serial, device.name, device.place)
        for device in usb_devices() or ()
        if (device.vendor, device.product) in PROBES
    )


def visa_resources() -> tuple[str, ...]:
    """Instruments that can be listed: on USB and GPIB, and those that answer a broadcast."""
    with warnings.catch_warnings():  # about optional packages, which `hil doctor` tells about
        warnings.simplefilter("ignore")
        found = pyvisa.ResourceManager("@py").list_resources("?*")
    return tuple(name for name in found if name.startswith(ASKABLE))


def visa_interfaces() -> dict[str, object]:
    """What pyvisa-py tells about each kind of interface: that it is available, or what it lacks."""
    return dict(PyVisaLibrary.get_debug_info())


def ask_all(resources: Sequence[str]) -> list[Instrument]:
    """*IDN? to each, at once."""
    tasks = {name: lambda name=name: _ask(name) for name in resources}
    late = f"no answer to *IDN? within {LATE_S:g} s"
    return list(run_all(tasks, LATE_S, lambda name: Instrument(name, problem=late)).values())


def _ask(resource: str) -> Instrument:
    try:
        with locked([meter_part(resource)], SCAN):
            link = ScpiLink(resource, ANSWER_S)
            try:
                return Instrument(resource, link.query("*IDN?"))
            finally:
                link.close()
    except (InstrumentError, RigError) as error:
        return Instrument(resource, problem=str(error))


def _of(name: str, task: Task[T], limit_s: float, nothing: T, problems: list[str]) -> T:
    """What a task has found; ``nothing`` and an entry in ``problems`` when it failed."""
    try:
        return task.result(limit_s)
    except (HilError, TimeoutError, pyvisa.Error, OSError, ValueError) as error:
        problems.append(f"{name}: {error}")
        return nothing


def _installed(program: str) -> bool:
    try:
        Tool(program, "").find()
    except FlashError:
        return False
    return True


def _say(program: str, arguments: Sequence[str]) -> str:
    """What a tool says, "" when it is not installed."""
    return Tool(program, "").run(arguments, TOOL_S).text if _installed(program) else ""


def _st_info(probes: Sequence[Probe]) -> str:
    stlinks = [p.serial for p in probes if (p.vendor, p.product) in STLINKS]
    if not stlinks or shutil.which("st-info") is None:
        return ""
    with locked([probe_part(serial) for serial in stlinks], SCAN):
        return _say("st-info", ["--probe"])


def _joulescopes() -> tuple[str, ...]:
    try:
        library = open_library()
    except InstrumentError:  # not installed: nobody who owns one has come this far
        return ()
    try:
        return tuple(library.device_paths())
    finally:
        library.finalize()


Look = Callable[[Sequence[str]], Listing]
