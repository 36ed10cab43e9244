"""What of a rig is not attached: all parts asked at once, each within seconds, none opened.

``hil rig check`` begins with this, and so does everything that takes long before it comes to the
boards: building and timing the cloud's part are no use without a bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hil.core.errors import InstrumentError, RigError
from hil.core.secrets import masked
from hil.rig.bench import Places
from hil.rig.lock import locked
from hil.rig.meters import METERS, joulescope
from hil.rig.meters.stream_meter import StreamMeter
from hil.rig.meters.usb_serial import find_port
from hil.rig.parallel import run_all
from hil.rig.ports import missing_port
from hil.rig.presence import (
    REACH_S,
    console_missing,
    flasher_missing,
    instrument_missing,
    switch_missing,
)
from hil.rig.rigfile import Rig

NAME_SERVICE_S = 1.5  # a host's name is looked up before it is called
LONGEST_S = REACH_S + NAME_SERVICE_S  # that the look at the parts of all rigs may take
SPARE_S = 1.0  # the parts' own deadlines come first
ENTRIES = {
    "console": "[console] port", "flasher": "[flasher]", "meter": "[meter] resource",
    "power": "[power]",
}  # fmt: skip
REMOTE = ("console", "flasher")  # reached through a labgrid place, where there is one


def refuse_missing(rigs: Sequence[Rig]) -> None:
    """RigError that lists everything that ``rigs`` lack, or that somebody else uses.

    A twin's parts come with it, and what a labgrid place reaches is known only once the place is
    acquired: neither is asked for here.
    """
    tasks = {rig.name: lambda rig=rig: _lacking(rig) for rig in rigs if rig.virtual is None}
    lacking = run_all(tasks, LONGEST_S + SPARE_S, lambda _: ["its parts could not be looked at"])
    lines = [f"\n  {name}: {text}" for name, texts in lacking.items() for text in texts]
    if lines:
        others = len(rigs) > sum(map(bool, lacking.values()))
        rest = ", or name one of the other rigs alone" if others else ""
        raise RigError(
            f"the bench is not complete; nothing was started:{''.join(lines)}\n"
            f"mend this{rest}; hil rig check tells more"
        )


def _lacking(rig: Rig) -> list[str]:
    places = Places(rig.console.port, rig.flasher, rig.meter.resource)
    missing = missing_parts(rig, places)
    if rig.place is None:
        asked = missing
        for part, name in places.parts.items():
            missing[part] = missing[part] or _in_use(name, rig)
    else:
        asked = {part: text for part, text in missing.items() if part not in REMOTE}
    return [masked(f"{ENTRIES[part]}: {text}") for part, text in asked.items() if text]


def missing_parts(rig: Rig, places: Places) -> dict[str, str]:
    """What is wrong with each part, by the keys of ENTRIES, "" where it may be there.

    A twin's parts are there when it has started.
    """
    if rig.virtual is not None:
        return dict.fromkeys(ENTRIES, "")
    tasks: dict[str, Callable[[], str]] = {
        "console": lambda: console_missing(places.port),
        "flasher": lambda: _asked_alone(
            "flasher", rig, places, lambda: flasher_missing(places.flasher, rig.board)
        ),
        "meter": lambda: _asked_alone(
            "meter", rig, places, lambda: meter_missing(rig.meter.kind, places.resource)
        ),
    }
    if rig.power is not None:
        switch = rig.power
        tasks["power"] = lambda: switch_missing(switch)
    return run_all(
        tasks,
        LONGEST_S,
        lambda name: (
            f"nobody answers within {LONGEST_S:g} s at the place that {ENTRIES[name]} names"
        ),
    )


def _asked_alone(part: str, rig: Rig, places: Places, ask: Callable[[], str]) -> str:
    """Asked as the part's only user: a question from aside may disturb somebody's measurement,
    and a GDB server may halt the board for it."""
    try:
        with locked([places.parts[part]], rig.name):
            return ask()
    except RigError as error:
        return str(error)


def meter_missing(kind: str, resource: str) -> str:
    """Of a meter of any kind; of a Joulescope its maker's library."""
    driver = METERS[kind]
    try:
        if driver is joulescope.Joulescope:
            joulescope.look_for(resource)
        elif isinstance(driver, type) and issubclass(driver, StreamMeter):
            return missing_port(find_port(resource, driver.model).path, "[meter] resource")
        else:
            return instrument_missing(resource)
    except InstrumentError as error:
        return str(error)
    return ""


def _in_use(part: str, rig: Rig) -> str:
    try:
        with locked([part], rig.name):
            return ""
    except RigError as error:
        return str(error)
