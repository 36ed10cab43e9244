"""Power switches: the last step of bringing a hung board back. Kinds of ``[power]``:

kind = "virtual"                     # the twin's supply; needs [virtual]

kind = "scpi_output"                 # a bench supply's output, OUTPut[:STATe] of SCPI-99
resource = "USB0::0x1AB1::...::INSTR"
channel = 2                          # 0: the instrument has one output

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

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import pyvisa

from hil.core.errors import HilError, RigError
from hil.rig.relay import MOST_CHANNELS, WIRINGS, SerialRelay

POWER_KINDS = ("virtual", "scpi_output", "uhubctl", "relay", "labgrid")


@dataclass(frozen=True)
class PowerSpec:
    """``[power]`` of a rig file. ``off_s``: how long the supply stays off, for caps to drain."""

    kind: str
    resource: str = ""
    channel: int = 0
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
        "scpi_output": (bool(spec.resource), "needs resource, the supply's VISA address"),
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
    if spec.off_s < 0 or spec.timeout_s <= 0 or spec.channel < 0:
        raise RigError(
            f"{place} off_s {spec.off_s} and channel {spec.channel} are 0 or more, timeout_s "
            f"{spec.timeout_s} is above 0"
        )


def cycle(switch: PowerSwitch, off_s: float) -> None:
    """Off, a pause, on. When switching off fails the supply is switched on again."""
    try:
        switch.switch(False)
    except HilError:
        switch.switch(True)
        raise
    time.sleep(off_s)
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
    """The output of an SCPI bench supply: ``INST:NSEL n``, ``OUTP ON|OFF``, ``OUTP?``."""

    def __init__(self, spec: PowerSpec) -> None:
        self._spec = spec
        try:
            self._manager = pyvisa.ResourceManager("@py")
            self._supply = self._manager.open_resource(
                spec.resource,
                timeout=spec.timeout_s * 1000,
                open_timeout=round(spec.timeout_s * 1000),
                read_termination="\n",
                write_termination="\n",
            )
        except (pyvisa.Error, OSError, ValueError) as error:
            raise RigError(
                f"[power] {spec.resource}: the supply cannot be opened: {error}; check address, "
                "cable and power"
            ) from error

    def switch(self, on: bool) -> None:
        try:
            if self._spec.channel:
                self._supply.write(f"INST:NSEL {self._spec.channel}")  # type: ignore[attr-defined]
            self._supply.write(f"OUTP {'ON' if on else 'OFF'}")  # type: ignore[attr-defined]
            state = self._supply.query("OUTP?").strip()  # type: ignore[attr-defined]
        except (pyvisa.Error, OSError, UnicodeDecodeError) as error:
            raise RigError(
                f"[power] {self._spec.resource}: OUTP {'ON' if on else 'OFF'} failed: {error}"
            ) from error
        if state not in (("1", "ON") if on else ("0", "OFF")):
            raise RigError(
                f"[power] {self._spec.resource}: the output is {state!r} after OUTP "
                f"{'ON' if on else 'OFF'}; is the supply locked, or in protection?"
            )

    def close(self) -> None:
        with suppress(pyvisa.Error, OSError):  # the bench is being left, nothing depends on it
            self._supply.close()
            self._manager.close()


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
