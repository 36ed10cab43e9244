"""Bringing a board back that hangs: find its port again, reset it, switch its supply.

Every step is told to ``note`` before it is taken, so that a journal holds it even if it never
ends.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.core.errors import PortLostError, RigError
from hil.rig.bench import OpenRig
from hil.rig.console import OnEvent
from hil.rig.messages import Identity
from hil.rig.power import cycle
from hil.rig.returning import wait_for_port

Step = Callable[[OpenRig, OnEvent], Identity]


def steps(rig: OpenRig) -> tuple[Step, ...]:
    """What can be tried on this rig, mildest first."""
    return (reset,) if rig.power is None else (reset, power_cycle)


def reset(rig: OpenRig, note: OnEvent) -> Identity:
    """Reset by the debug probe. TargetError when the board stays silent."""
    note("reset", f"{rig.rig.name}: by its probe ({rig.rig.flasher.kind})")
    return _listening(rig, note, rig.reset_board)


def power_cycle(rig: OpenRig, note: OnEvent) -> Identity:
    """Supply off and on. RigError when the rig's switch fails, TargetError for silence."""
    power, spec = rig.power, rig.rig.power
    if power is None or spec is None:
        raise RigError(f"rig {rig.rig.name} has no [power] switch")
    note("power-cycle", f"{rig.rig.name}: {spec.kind}, off for {spec.off_s:g} s")

    def switch() -> Identity:
        rig.console.discard_input()
        cycle(power, spec.off_s)
        return rig.console.wait_hello()

    return _listening(rig, note, switch)


def set_up_meter(rig: OpenRig, note: OnEvent) -> None:
    """Connect and configure the meter again: somebody may have touched it. InstrumentError."""
    spec = rig.rig.meter
    note("meter set-up", f"{rig.rig.name}: {spec.kind} once more")
    rig.meter.configure(spec.sample_rate_hz, spec.range_a)


def _listening(rig: OpenRig, note: OnEvent, bring_back: Callable[[], Identity]) -> Identity:
    """Carry out a step; a port that is gone is found again first, or in its course.

    A board on USB power takes its port along, and may have announced itself before the port was
    back: then it is asked.
    """
    try:
        return bring_back()
    except PortLostError as error:
        note("port lost", str(error))
    console = rig.console
    port = wait_for_port(console.port, console.identity, rig.rig.console.usb_serial)
    note("port found", f"{rig.console.port} is now {port}")
    rig.console.reopen(port)
    return rig.console.identify()
