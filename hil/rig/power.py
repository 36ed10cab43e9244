"""Power switches: the last step of bringing a hung board back. Kinds of ``[power]``:

kind = "virtual"                     # the twin's supply; needs [virtual]

kind = "scpi_output"                 # a bench supply's output, OUTPut[:STATe] of SCPI-99
resource = "USB0::0x1AB1::...::INSTR"
channel = 2                          # 0: the instrument has one output
channel_list = false                 # true: it names the output in each command, OUTP ON,(@2)

kind = "labgrid"                     # the power port of the rig's [place]

kind = "uhubctl"                     # a USB hub with per-port switching, by the tool uhubctl
location = "1-1.4"
port = 2

kind = "relay"                       # a serial relay module (hil.rig.relay)
resource = "/dev/serial/by-path/..." # its port
channel = 1                          # of its relays
wiring = "normally_closed"           # or "normally_open": the contact that carries the supply
"""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import pyvisa

from hil.core.errors import InstrumentError, RigError
from hil.rig.relay import MOST_CHANNELS, WIRINGS, SerialRelay
from hil.rig.scpi import ScpiLink

POWER_KINDS = ("virtual", "scpi_output", "uhubctl", "relay", "labgrid")
LONGEST_OFF_S = 600.0


@dataclass(frozen=True)
class PowerSpec:
    """``[power]`` of a rig file. ``off_s``: how long the supply stays off, for caps to drain."""

    kind: str
    resource: str = ""
    channel: int = 0
    channel_list: bool = False
    location: str = ""
    port: int = 0
    wiring: str = ""
    off_s: float = 2.0
    timeout_s: float = 10.0


class PowerSwitch(Protocol):
    """A hand on a board's supply. RigError, or a virtual probe's FlashError, when it fails."""

    def switch(self, on: bool) -> None:
        """Switch the supply, and make sure that it did."""

    def close(self) -> None:
        """Let the switch go; the supply stays as it is."""


def open_power(
    spec: PowerSpec,
    virtual: Callable[[bool], None] | None,
    place: PowerSwitch | None = None,
) -> PowerSwitch:
    """The switch of ``spec``; ``virtual`` switches the twin's supply, None without a twin, and
    ``place`` that of the rig's labgrid place."""
    if spec.kind == "virtual":
        if virtual is None:
            raise RigError("[power] kind 'virtual' switches a twin's supply, and there is no twin")
        return VirtualPower(virtual)
    if spec.kind == "labgrid":
        if place is None:
            raise RigError("[power] kind 'labgrid' switches a place's power, and there is no place")
        return place
    if spec.kind == "scpi_output":
        return ScpiOutput(spec)
    if spec.kind == "relay":
        return SerialRelay(spec.resource, spec.channel, spec.wiring, spec.timeout_s)
    return Uhubctl(spec)


def check_power(spec: PowerSpec, has_twin: bool, has_place: bool, place: str) -> None:
    """RigError when values that the kind needs are missing or make no sense."""
    if spec.kind not in POWER_KINDS:
        raise RigError(f"{place} kind: no {spec.kind!r}; known: {', '.join(POWER_KINDS)}")
    needs = {
        "virtual": (has_twin, "needs a twin: a flasher of kind 'virtual'"),
        "labgrid": (has_place, "needs a [place]"),
        "scpi_output": (
            bool(spec.resource) and (spec.channel > 0 or not spec.channel_list),
            "needs resource, the supply's VISA address, and with channel_list a channel",
        ),
        "uhubctl": (bool(spec.location) and spec.port > 0, "needs location and port of the hub"),
        "relay": (
            bool(spec.resource) and 0 < spec.channel <= MOST_CHANNELS and spec.wiring in WIRINGS,
            f"needs resource, its serial port, channel 1 to {MOST_CHANNELS}, and wiring, "
            f"{' or '.join(WIRINGS)}",
        ),
    }
    ok, reason = needs[spec.kind]
    if not ok:
        raise RigError(f"{place} kind {spec.kind!r} {reason}")
    if not 0 <= spec.off_s <= LONGEST_OFF_S:
        raise RigError(f"{place} off_s: {spec.off_s} is not 0 to {LONGEST_OFF_S:g} seconds")
    if not 0 < spec.timeout_s < math.inf:
        raise RigError(f"{place} timeout_s: {spec.timeout_s} is not a number above 0")
    if spec.channel < 0:
        raise RigError(f"{place} channel: {spec.channel} is not 0 or more")


def cycle(switch: PowerSwitch, off_s: float) -> None:
    """Off, a pause, on. Whatever fails on the way, the supply is switched on again."""
    try:
        switch.switch(False)
        time.sleep(off_s)
    finally:
        switch.switch(True)


class VirtualPower:
    """The virtual bench's supply."""

    def __init__(self, power: Callable[[bool], None]) -> None:
        self._power = power

    def switch(self, on: bool) -> None:
        self._power(on)

    def close(self) -> None:
        """Nothing is held."""


class ScpiOutput:
    """The output of an SCPI bench supply: ``INST:NSEL n``, ``OUTP ON|OFF``, ``OUTP?``.

    Mainframes of several outputs want a channel list instead: ``OUTP ON,(@n)``, ``OUTP? (@n)``
    (Keysight N6705C Operating and Service Guide, "Command Separators": ``OUTPut:STATe ON,(@1)``).
    Connected for one command at a time: a supply may hang up on a connection that is idle for
    hours, or take a single one.
    """

    def __init__(self, spec: PowerSpec) -> None:
        self._spec = spec
        try:
            self._link = ScpiLink(spec.resource, spec.timeout_s)
        except InstrumentError as error:
            raise RigError(f"[power] {error}") from error

    def switch(self, on: bool) -> None:
        command = f"OUTP {'ON' if on else 'OFF'}"
        try:
            state = self._switched(command)
        except (InstrumentError, pyvisa.Error, OSError) as error:
            raise RigError(f"[power] {command} failed: {error}") from error
        if state not in (("1", "ON") if on else ("0", "OFF")):
            raise RigError(
                f"[power] {self._spec.resource}: the output is {state!r} after {command}; is the "
                "supply locked, or in protection?"
            )

    def close(self) -> None:
        self._link.close()

    def _switched(self, command: str) -> str:
        """The output's state after ``command``."""
        channel = self._spec.channel
        with closing(self._link) as link:
            link.connect()
            if self._spec.channel_list:
                link.send(f"{command},(@{channel})")
                return link.query(f"OUTP? (@{channel})")
            if channel:
                link.send(f"INST:NSEL {channel}")
            link.send(command)
            return link.query("OUTP?")


def uhubctl_path(tool: str = "uhubctl") -> str:
    """Where the tool is; RigError when it is not installed."""
    path = shutil.which(tool)
    if path is None:
        raise RigError(f"[power] {tool} is not installed; install it or choose another kind")
    return path


class Uhubctl:
    """A port of a USB hub, by ``uhubctl -l LOCATION -p PORT -a on|off`` (mvp/uhubctl)."""

    def __init__(self, spec: PowerSpec, tool: str = "uhubctl") -> None:
        self._spec = spec
        self._path = uhubctl_path(tool)

    def switch(self, on: bool) -> None:
        spec, action = self._spec, "on" if on else "off"
        command = [self._path, "-l", spec.location, "-p", str(spec.port), "-a", action]
        place = f"[power] hub {spec.location}, port {spec.port}"
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=spec.timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RigError(f"{place}: {' '.join(command)}: {error}") from error
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise RigError(
                f"{place}: uhubctl -a {action} ended with code {done.returncode}: "
                f"{words[-1] if words else 'it said nothing'}; see `uhubctl` for the hubs it can "
                "switch, and its notes on permissions"
            )

    def close(self) -> None:
        """Nothing is held."""
