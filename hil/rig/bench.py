"""A rig opened: twin started, parts locked, console, flasher and meter connected.

with open_rig(load_rig("virtual-gap8")) as rig:
    identity = rig.ensure_firmware(firmware)
    rig.console.run(...)
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hil.core.errors import InstrumentError, PortLostError, RigError, TargetError
from hil.core.firmware import Firmware
from hil.core.provenance import Origin
from hil.rig import calibration
from hil.rig import firmware as firmware_of
from hil.rig.console import Console, OnEvent, Timeouts, Watch, ignore_event
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.flashers import Flasher
from hil.rig.flashers.gdb import GdbFlasher
from hil.rig.flashers.opening import open_flasher
from hil.rig.flashers.virtual import TwinStatus, VirtualFlasher
from hil.rig.identity import console_part, meter_part, probe_part
from hil.rig.lock import locked
from hil.rig.messages import Identity
from hil.rig.meter import Meter
from hil.rig.meters import open_meter as open_driver
from hil.rig.place import Place
from hil.rig.power import PowerSwitch, cycle
from hil.rig.power import open_power as open_switch
from hil.rig.returning import await_path
from hil.rig.rigfile import MeterSpec, Rig
from hil.rig.twin_process import OWN_METER, TwinCommand, TwinProcess, twin_command, with_option


@dataclass(frozen=True)
class Origins:
    """Where this rig's numbers come from, for their provenance."""

    cycles: Origin
    energy: Origin
    timing_model: str


@dataclass(frozen=True)
class Places:
    """A rig's ports and addresses, placeholders replaced; its own twin, and its labgrid place."""

    port: str
    flasher: FlasherSpec
    resource: str
    twin: TwinProcess | None = None
    place: Place | None = None

    @property
    def probe(self) -> str:
        """What nobody else may use while this rig is open."""
        spec = self.flasher
        name = spec.server or spec.serial or spec.location
        return os.path.realpath(spec.control) if spec.control else name

    @property
    def control(self) -> Path | None:
        """The socket of the twin, if there is one."""
        if self.twin is not None:
            return self.twin.control
        return Path(self.flasher.control) if self.flasher.control else None

    @property
    def parts(self) -> dict[str, str]:
        """What is locked, by what it is to the rig."""
        return {
            "console": console_part(self.port),
            "flasher": probe_part(self.probe),
            "meter": meter_part(self.resource),
        }


@dataclass
class OpenRig:
    """A rig in use. Close it by leaving the ``with`` block of ``open_rig``.

    ``status`` is the twin's account of itself; None on real hardware.
    """

    rig: Rig
    console: Console
    flasher: Flasher
    meter: Meter
    status: TwinStatus | None
    power: PowerSwitch | None = None

    def ensure_firmware(self, firmware: Firmware) -> Identity:
        """Flash unless this very build runs; see hil.rig.firmware."""
        if firmware.board != self.rig.board:
            raise RigError(
                f"rig {self.rig.name} is for board {self.rig.board}, the firmware for "
                f"{firmware.board}; choose another rig or build for this board"
            )
        return firmware_of.ensure_firmware(self.console, self.flasher, firmware)

    def reset_board(self) -> Identity:
        """Reset; recover if the board stays silent. TargetError if it still does.

        PortLostError when the console's port is gone after the reset.
        """
        with suppress(PortLostError):  # the probe may have a way of its own
            self.console.discard_input()
        self.flasher.reset()
        try:
            return self.console.wait_hello()
        except TargetError as error:
            self.console.on_event(self.flasher.recovery, f"{error}; {self.flasher.state()}")
        with suppress(PortLostError):
            self.console.discard_input()
        self.flasher.recover()
        return self.console.wait_hello()

    def origins(self) -> Origins:
        """A chip measures; a virtual one's cycles are simulated and its energies modelled."""
        return _origins(self.status)

    def diagnose(self) -> str:
        """The board as its probe sees it: the first thing to ask when the console is silent."""
        return self.flasher.state()


@dataclass(frozen=True)
class Target:
    """A rig's board with its probe, whatever its firmware speaks: the port is not opened.

    ``probe`` is the twin's own and ``status`` its account of itself; None on real hardware.
    """

    rig: Rig
    places: Places
    flasher: Flasher
    meter: Meter
    probe: VirtualFlasher | None
    status: TwinStatus | None
    power: PowerSwitch | None

    def halted(self) -> str | None:
        """Why the board will never answer, if its probe knows."""
        return (self.probe or self.flasher).halted()

    def origins(self) -> Origins:
        """As OpenRig.origins."""
        return _origins(self.status)


def _origins(status: TwinStatus | None) -> Origins:
    if status is None:
        return Origins(Origin.MEASURED, Origin.MEASURED, "the chip's own counter")
    return Origins(Origin.SIMULATED, Origin.MODELLED, status.timing_model)


@contextmanager
def open_rig(
    rig: Rig,
    on_event: OnEvent = ignore_event,
    command: TwinCommand = twin_command,
    allow_double: bool = False,
) -> Iterator[OpenRig]:
    """Open every part of ``rig``; close them all on leaving.

    RigError: twin, port or lock; FlashError: probe; InstrumentError: meter. ``command`` starts
    the twin and ``allow_double`` accepts a firmware double in it; both are for tests.
    """
    with ExitStack() as stack:
        target = _open_target(rig, stack, on_event, command, allow_double)
        places, probe = target.places, target.probe
        console = stack.enter_context(open_console(rig, places, target.halted, on_event))
        if probe is not None:
            console.last_fault = probe.taken_fault
        yield OpenRig(rig, console, target.flasher, target.meter, target.status, target.power)


@contextmanager
def open_target(
    rig: Rig,
    on_event: OnEvent = ignore_event,
    command: TwinCommand = twin_command,
    allow_double: bool = False,
) -> Iterator[Target]:
    """As ``open_rig``, for a firmware that speaks another protocol on the console's port."""
    with ExitStack() as stack:
        yield _open_target(rig, stack, on_event, command, allow_double)


def _open_target(
    rig: Rig, stack: ExitStack, on_event: OnEvent, command: TwinCommand, allow_double: bool
) -> Target:
    places = start(rig, stack, command)
    held = lock(rig, places, stack)
    power = switch_on(rig, places, held, stack, on_event)
    # The meter before everything that asks the board: some meters power it.
    meter = open_meter(rig, places, stack)
    flasher, probe = open_probe(rig, places, stack, on_event)
    status = None if probe is None else probe.status()
    check_twin(rig, flasher, status, allow_double)
    if status is None:
        check_real(rig, meter)
    return Target(rig, places, flasher, meter, probe, status, power)


# -- parts ----------------------------------------------------------------------------------


def start(rig: Rig, stack: ExitStack, command: TwinCommand) -> Places:
    """Start the twin or acquire the place, if there is one, and fill in ports and addresses."""
    values: dict[str, object] = {}
    twin = place = None
    if rig.place is not None:
        place = Place(rig.place)
        stack.enter_context(place.acquired())
        if "{place_serial}" in rig.console.port:
            values["place_serial"] = place.serial_url()
        if "{place_gdb}" in rig.flasher.server:
            values["place_gdb"] = place.gdb_server()
    if rig.virtual is not None:
        # A meter at a place of its own is not the twin's to host.
        hosted = "{meter_port}" in rig.meter.resource
        meter = rig.meter.kind if hosted else OWN_METER
        if rig.virtual.data_cache:
            command = with_option(command, "--data-cache", rig.virtual.data_cache)
        if rig.virtual.core_v is not None:
            command = with_option(command, "--core-v", f"{rig.virtual.core_v:g}")
        twin = TwinProcess(rig.board, rig.virtual.seed, rig.virtual.start_s, command, meter)
        stack.callback(twin.close)
        values = {
            "dir": twin.directory, "meter_port": twin.meter_port, "gdb_port": twin.gdb_port
        }  # fmt: skip
    spec = rig.flasher
    return Places(
        rig.console.port.format(**values),
        replace(spec, control=spec.control.format(**values), server=spec.server.format(**values)),
        rig.meter.resource.format(**values),
        twin,
        place,
    )


def lock(
    rig: Rig, places: Places, stack: ExitStack, held: frozenset[str] = frozenset()
) -> frozenset[str]:
    """A twin of our own is nobody else's; every other part is locked, but for those ``held``.

    Returns the names of the locks.
    """
    parts = frozenset(places.parts.values())
    if rig.virtual is None:
        stack.enter_context(locked(tuple(parts - held), rig.name))
    return parts


def switch_on(
    rig: Rig, places: Places, held: frozenset[str], stack: ExitStack, on_event: OnEvent
) -> PowerSwitch | None:
    """The switch of ``[power]``, if there is one, and the supply on, whatever it was.

    A night that was killed while the supply was off has left it so, and some supplies and relays
    are off when they have lost their own. A board on USB power brings its parts along: they are
    locked by what they are once they are there. Then the board has the time for an answer to
    start in.
    """
    power = open_power(rig, places, stack)
    if rig.power is None or power is None:
        return None
    on_event("power-on", f"{rig.name}: {rig.power.kind}, on at every start")
    power.switch(True)
    if not await_path(places.port):
        on_event("power-cycle", f"{rig.name}: {places.port} is away, with the supply on")
        cycle(power, rig.power.off_s)
        await_path(places.port)  # should it stay away, whoever opens it tells
    lock(rig, places, stack, held)
    return power


def open_probe(
    rig: Rig, places: Places, stack: ExitStack, on_event: OnEvent
) -> tuple[Flasher, VirtualFlasher | None]:
    """The flasher, and the twin's own probe if there is a twin: it sees halts and has power."""
    flasher = open_flasher(places.flasher, rig.board, on_event)
    stack.callback(flasher.close)
    if isinstance(flasher, VirtualFlasher):
        return flasher, flasher
    if places.twin is None:
        return flasher, None
    probe = VirtualFlasher(places.twin.control, rig.flasher.timeout_s)
    stack.callback(probe.close)
    return flasher, probe


def open_power(rig: Rig, places: Places, stack: ExitStack) -> PowerSwitch | None:
    """The switch of ``[power]``, if the rig has one. RigError when it is not there."""
    if rig.power is None:
        return None
    virtual = None
    if rig.power.kind == "virtual" and places.control is not None:
        twin = VirtualFlasher(places.control, rig.flasher.timeout_s)
        stack.callback(twin.close)
        virtual = twin.power
    power = open_switch(rig.power, virtual, places.place)
    stack.callback(power.close)
    return power


def check_twin(rig: Rig, flasher: Flasher, status: TwinStatus | None, allow_double: bool) -> None:
    """RigError when the board is not what the rig file says: a chip, or which virtual chip."""
    if status is None:
        if isinstance(flasher, GdbFlasher) and "virtual" in flasher.server_name():
            raise RigError(
                f"rig {rig.name}: {rig.flasher.server} is a virtual chip, and without a [virtual] "
                "table its numbers would be called measured; add the table"
            )
        return
    if status.double and not allow_double:
        raise RigError(
            f"rig {rig.name}: the twin hosts a firmware double ({status.timing_model}); its "
            "numbers are no costs. Start the twin with python -m hil.sim.twin"
        )
    if status.board != rig.board:
        raise RigError(
            f"rig {rig.name} is for board {rig.board}, the twin at {rig.flasher.control} is a "
            f"{status.board}; correct [flasher] control"
        )


def check_real(rig: Rig, meter: Meter) -> None:
    """A simulated meter beside a real board would pass a model's energies off as measured."""
    if meter.origin is not Origin.MEASURED:
        raise RigError(
            f"rig {rig.name}: the meter {rig.meter.resource} ({meter.identity}) is a simulated "
            "one, the board is not; name a real meter"
        )


def open_meter(rig: Rig, places: Places, stack: ExitStack) -> Meter:
    """The meter, identified and set up. InstrumentError, RigError without its calibration."""
    spec = rig.meter
    meter = open_driver(spec.kind, places.resource, spec.timeout_s, rig.slowdown, spec.options)
    stack.callback(meter.close)
    meter.identify()
    _check_serial(spec, places.resource, meter.identity)
    if spec.calibration == "required":
        meter = _calibrated(meter)
    meter.configure(spec.sample_rate_hz, spec.range_a)
    return meter


def _calibrated(meter: Meter) -> Meter:
    today = datetime.datetime.now(datetime.UTC).date()
    return calibration.CalibratedMeter(meter, calibration.find(meter.identity, today))


def _check_serial(spec: MeterSpec, resource: str, identity: str) -> None:
    found = [field.strip() for field in identity.split(",")]
    if spec.serial and spec.serial not in found[2:3]:
        raise InstrumentError(
            f"{resource} is {identity!r}, the rig file wants serial {spec.serial!r}; correct "
            "[meter] resource or serial"
        )


def open_console(rig: Rig, places: Places, watch: Watch, on_event: OnEvent) -> Console:
    """The serial port; RigError. Nobody has been asked yet."""
    spec = rig.console
    timeouts = Timeouts(spec.answer_s, spec.hello_s, rig.slowdown)
    return Console(places.port, spec.baud, timeouts, on_event, watch)
