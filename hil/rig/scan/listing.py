"""What was found attached: plain data, as the system, the tools and the instruments told it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SerialPort:
    """A serial port of a USB device.

    ``device`` is the name of the moment, ``path`` one that stays (below /dev/serial) where there
    is one. ``location`` as pyserial gives it: bus-port.port:configuration.interface.
    """

    device: str
    path: str
    vendor: int
    product: int
    serial: str = ""
    name: str = ""
    location: str = ""

    @property
    def place(self) -> str:
        """Where its device is on the USB: bus-port.port."""
        return self.location.partition(":")[0]

    @property
    def interface(self) -> str:
        """Which of its device's ports it is; "0" where the system does not tell."""
        return self.location.rpartition(".")[2] if ":" in self.location else "0"


@dataclass(frozen=True)
class Probe:
    """A debug probe or JTAG adapter on USB; it need not have a serial port."""

    vendor: int
    product: int
    serial: str
    name: str = ""
    place: str = ""


@dataclass(frozen=True)
class Instrument:
    """A VISA resource and its answer to *IDN?, or why there was none."""

    resource: str
    identity: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Listing:
    """Everything that a scan has found.

    ``st_info``, ``pyocd`` and ``uhubctl`` are what these tools said, "" when they are not there.
    ``joulescopes``: device paths of the maker's library. ``flashers``: the tools for an STM32
    that are installed, the one to prefer first. ``problems``: what could not be looked at.
    """

    ports: tuple[SerialPort, ...] = ()
    probes: tuple[Probe, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    joulescopes: tuple[str, ...] = ()
    st_info: str = ""
    pyocd: str = ""
    uhubctl: str = ""
    flashers: tuple[str, ...] = field(default=("openocd",))
    problems: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Listing:
        """The inverse of ``dataclasses.asdict``, after JSON."""
        kinds = {"ports": SerialPort, "probes": Probe, "instruments": Instrument}
        values: dict[str, Any] = {}
        for key, value in data.items():
            if key in kinds:
                value = [kinds[key](**entry) for entry in value]
            values[key] = tuple(value) if isinstance(value, list) else value
        return cls(**values)
