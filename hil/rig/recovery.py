"""Bringing a board back that hangs: find its port again, reset it, switch its supply.

Every step is told to ``note`` before it is taken, so that a journal holds it even if it never
ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from hil.core.errors import (
    HilError,
    InstrumentLostError,
    PortLostError,
    ProtocolError,
    RigError,
    TargetError,
)
from hil.core.firmware import Firmware
from hil.rig.bench import OpenRig
from hil.rig.console import OnEvent
from hil.rig.messages import Identity
from hil.rig.power import cycle
from hil.rig.returning import POLL_S, RETURN_S, wait_for_port

Step = Callable[[OpenRig, OnEvent], Identity]
# What a step can mend: a damaged frame, a hung board, a serial port that went away.
PASSING = (ProtocolError, TargetError, PortLostError)


def steps(rig: OpenRig) -> tuple[Step, ...]:
    """What can be tried on this rig, mildest first."""
    return (reset,) if rig.power is None else (reset, power_cycle)


def bring_up(rig: OpenRig, firmware: Firmware, note: OnEvent) -> Identity:
    """``firmware`` on the board (OpenRig.ensure_firmware), tried again after each step.

    Raises what the last try did. That of a step is only noted: a board without a good firmware
    cannot announce itself after it, and may well be flashed then.
    """
    try:
        return rig.ensure_firmware(firmware)
    except PASSING as failure:
        error = failure
    for step in steps(rig):
        note("retry", f"{rig.rig.name}: its firmware, after: {error}")
        try:
            step(rig, note)
        except HilError as failure:
            note("not recovered", f"{rig.rig.name}: {failure}")
        try:
            return rig.ensure_firmware(firmware)
        except PASSING as failure:
            error = failure
    raise error


def reset(rig: OpenRig, note: OnEvent) -> Identity:
    """Reset by the debug probe. TargetError when the board stays silent."""
    note("reset", f"{rig.rig.name}: by its probe ({rig.rig.flasher.kind})")
    try:
        _find_port(rig, note)  # often it is another port of the probe itself
    except RigError as error:
        note("port lost", f"{error}; reset without it")
    return _listening(rig, note, rig.reset_board)


def power_cycle(rig: OpenRig, note: OnEvent) -> Identity:
    """Supply off and on. RigError when the rig's switch fails, TargetError for silence."""
    power, spec = rig.power, rig.rig.power
    if power is None or spec is None:
        raise RigError(f"rig {rig.rig.name} has no [power] switch")
    note("power-cycle", f"{rig.rig.name}: {spec.kind}, off for {spec.off_s:g} s")
    with suppress(PortLostError):  # the supply may be what brings it back
        rig.console.discard_input()
    cycle(power, spec.off_s)
    if not rig.flasher.loads_ram:
        return _listening(rig, note, rig.console.wait_hello)
    # The program went with the supply, and perhaps the probe with the port.
    _find_port(rig, note)
    return _listening(rig, note, rig.reset_board)


def set_up_meter(rig: OpenRig, note: OnEvent) -> None:
    """Connect and configure the meter again: somebody may have touched it. InstrumentError.

    One that is away is waited for, as a serial port is.
    """
    spec = rig.rig.meter
    note("meter set-up", f"{rig.rig.name}: {spec.kind} once more")
    deadline, told = time.monotonic() + RETURN_S, False
    while True:
        try:
            rig.meter.configure(spec.sample_rate_hz, spec.range_a)
            return
        except InstrumentLostError as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                note("meter lost", f"{error}; waiting for it")
                told = True
        time.sleep(POLL_S)


def _listening(rig: OpenRig, note: OnEvent, bring_back: Callable[[], Identity]) -> Identity:
    """Carry out a step in whose course the port may go away.

    A board on USB power takes its port along, and may have announced itself before the port was
    back: then it is asked.
    """
    try:
        return bring_back()
    except PortLostError as error:
        note("port lost", str(error))
    _reopen(rig, note)
    return rig.console.identify()


def _find_port(rig: OpenRig, note: OnEvent) -> None:
    """Go on with the console's port, wherever it is now. RigError when it stays away."""
    try:
        rig.console.discard_input()
    except PortLostError as error:
        note("port lost", str(error))
        _reopen(rig, note)


def _reopen(rig: OpenRig, note: OnEvent) -> None:
    console = rig.console
    port = wait_for_port(console.port, console.identity, rig.rig.console.usb_serial)
    note("port found", f"{console.port} is now {port}")
    console.reopen(port)
