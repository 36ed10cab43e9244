"""Power meters among what is attached, as [meter] tables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hil.core.board import Board
from hil.rig.meters import METERS
from hil.rig.meters.scpi_meter import ScpiMeter
from hil.rig.meters.usb_serial import UsbModel
from hil.rig.scan.listing import Instrument, Listing, SerialPort
from hil.rig.scan.models import METERS as USB_METERS
from hil.rig.scan.tables import Entry, Table
from hil.rig.scpi import SIMULATED_SERIAL

# Samples a second to begin with: what each meter does well (docs/meters.md, docs/usb-meters.md).
RATES_HZ = {
    "ppk2": 100_000, "lpm01a": 5_000, "joulescope": 100_000, "keysight_n6705c": 97_000,
    "keysight_infiniivision": 200_000, "rigol_ds1000z": 200_000, "siglent_sds1000xe": 200_000,
    "keithley_dmm6500": 100_000, "scpi_digitizer": 100_000,
}  # fmt: skip
SCOPES = ("keysight_infiniivision", "rigol_ds1000z", "siglent_sds1000xe")
SUPPLY = "CHANGE: measure it at the board"
HEADROOM = 3.0  # range above the board's typical current


@dataclass(frozen=True)
class FoundMeter:
    """A meter and how a rig file names it. ``serial``: the third field of its identity."""

    kind: str
    resource: str
    what: str
    serial: str = ""

    def tables(self, board: Board) -> list[Table]:
        """[meter] and, where it has some, [meter.options], for ``board``."""
        entries = [
            Entry("kind", self.kind),
            Entry("resource", self.resource),
            Entry("sample_rate_hz", RATES_HZ[self.kind]),
            Entry("range_a", _range_a(self.kind, board)),
        ]
        if self.serial:
            entries.append(Entry("serial", self.serial))
        tables = [Table("meter", tuple(entries), (f"Meter: {self.what}",))]
        if options := _options(self.kind, board):
            tables.append(Table("meter.options", options))
        return tables


# Proposed when there is none, because a rig file has to name one.
NO_METER = FoundMeter(
    "ppk2", "usb:", "NOT FOUND: none is attached; this stands for yours (docs/meters.md)"
)


def found_meters(listing: Listing) -> tuple[list[FoundMeter], list[str]]:
    """The meters, and remarks on instruments that are none."""
    meters = [m for port in _one_a_device(listing.ports) if (m := _usb_meter(port))]
    meters += [_joulescope(path) for path in listing.joulescopes]
    others = []
    for instrument in listing.instruments:
        kind = _scpi_kind(instrument.identity)
        if kind is None:
            others.append(_remark(instrument))
        else:
            meters.append(_scpi_meter(kind, instrument))
    return meters, others


def _one_a_device(ports: tuple[SerialPort, ...]) -> list[SerialPort]:
    """The first port of each USB device, by its serial number or place."""
    return list({(p.vendor, p.product, p.serial or p.place): p for p in reversed(ports)}.values())


def _usb_meter(port: SerialPort) -> FoundMeter | None:
    for kind, model in USB_METERS.items():
        if _is(port, model):
            what = f"{model.name} {port.serial}"
            return FoundMeter(kind, f"usb:{port.serial}", what)
    return None


def _is(port: SerialPort, model: UsbModel) -> bool:
    return (port.vendor, port.product) == (model.vendor, model.product)


def _joulescope(path: str) -> FoundMeter:
    name = path.removeprefix("u/")
    return FoundMeter("joulescope", name, f"Joulescope {name}")


def _scpi_kind(identity: str) -> str | None:
    if identity.startswith("HIL,VPM"):
        return "scpi_digitizer"
    for kind, driver in METERS.items():
        pattern = driver.IDENTITY if _is_scpi(driver) else ""  # type: ignore[attr-defined]
        if pattern and re.match(pattern, identity, re.IGNORECASE):
            return kind
    return None


def _is_scpi(driver: object) -> bool:
    return isinstance(driver, type) and issubclass(driver, ScpiMeter)


def _scpi_meter(kind: str, instrument: Instrument) -> FoundMeter:
    fields = [field.strip() for field in instrument.identity.split(",")] + ["", "", ""]
    simulated = fields[2].startswith(SIMULATED_SERIAL) or kind == "scpi_digitizer"
    note = "; simulated: its readings are no measurements" if simulated else ""
    return FoundMeter(kind, instrument.resource, f"{instrument.identity}{note}", fields[2])


def _remark(instrument: Instrument) -> str:
    if instrument.problem:
        return f"{instrument.resource}: did not say what it is: {instrument.problem}"
    return f"{instrument.resource}: {instrument.identity}: no meter with a driver here"


def _range_a(kind: str, board: Board) -> float:
    """Some times the typical current, to one digit; an LPM01A ends at 50 mA."""
    wanted = HEADROOM * board.power.active_w / board.power.supply_v
    digit = 10.0 ** math.floor(math.log10(wanted))
    rounded = round(round(wanted / digit) * digit, 9)
    return min(rounded, 0.05) if kind == "lpm01a" else rounded


def _options(kind: str, board: Board) -> tuple[Entry, ...]:
    supply_v = float(board.power.supply_v)
    if kind == "ppk2":
        return (
            Entry("supply_v", supply_v, SUPPLY),
            Entry("mode", "ampere", '"source": the kit feeds the board with supply_v'),
            Entry("marker", 0, "the logic input, D0 to D7"),
        )
    if kind == "lpm01a":
        return (
            Entry("supply_v", max(1.8, min(3.3, supply_v)), "CHANGE: it is put out to the board"),
            Entry("marker", "none", 'no windows; "events" needs a circuit, docs/usb-meters.md'),
        )
    if kind == "joulescope":
        return (Entry("marker", 0, "the input gpi 0"), Entry("io_v", 3.3, "of the marker pin"))
    if kind == "keysight_n6705c":
        return (Entry("channel", 1, "CHANGE: the N6781A's slot"),)
    if kind == "keithley_dmm6500":
        return (Entry("supply_v", supply_v, SUPPLY),)
    if kind in SCOPES:
        return (
            Entry("shunt_ohms", 0.5, "CHANGE: your shunt"),
            Entry("supply_v", supply_v, "CHANGE: measure it before the shunt"),
        )
    return ()
