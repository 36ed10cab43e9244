"""Boards among what is attached: their consoles, flashers and supplies."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from boards import load_board
from hil.rig.scan.listing import Listing, Probe, SerialPort
from hil.rig.scan.models import GAPUINO, OLIMEX, STLINKS, UARTS
from hil.rig.scan.tables import Entry, Table

# By DBGMCU_IDCODE: STM32F74x and F75x (RM0385 40.6.1), F76x and F77x (RM0410 43.6.1).
CHIP_IDS = {0x449: "stm32f746", 0x451: "stm32f767"}
# What pyOCD has to be told, where the ST-LINK alone does not tell it.
PYOCD_TARGETS = {"stm32f767": "stm32f767zi"}
NO_PORT = "NOT FOUND: name the console's port"


@dataclass(frozen=True)
class FoundBoard:
    """A board with its tables of a rig file; ``what`` says by which signs it was found."""

    name: str
    board: str
    what: str
    console: Table
    flasher: Table
    power: Table | None


def found_boards(listing: Listing) -> tuple[list[FoundBoard], list[str]]:
    """The boards, and remarks on what looks like one and is none of this repository."""
    boards, others = [], []
    for probe, port in _stlinks(listing):
        chip = _Chip.of(probe.serial, listing)
        if chip.name and not chip.board:
            others.append(f"{_probe_name(probe)}: its chip is {chip.name}, no board of hil-clio")
            continue
        boards.append(_nucleo(probe, port, chip, listing))
    boards += [_gapuino(port, listing) for port in listing.ports if _is_gapuino_console(port)]
    boards += [_olimex(p, listing) for p in listing.probes if (p.vendor, p.product) in OLIMEX]
    return _named(boards), others


def _named(boards: Sequence[FoundBoard]) -> list[FoundBoard]:
    """Several of a name are numbered."""
    names = [board.name for board in boards]
    return [
        FoundBoard(f"{b.name}-{names[:at].count(b.name) + 1}", *_rest(b))
        if names.count(b.name) > 1
        else b
        for at, b in enumerate(boards)
    ]


def _rest(board: FoundBoard) -> tuple[str, str, Table, Table, Table | None]:
    return board.board, board.what, board.console, board.flasher, board.power


# -- STM32 ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chip:
    """What the tools know about the chip behind an ST-LINK: ``name`` is empty where they know
    nothing, ``board`` where it is none of this repository's."""

    name: str = ""
    board: str = ""

    @classmethod
    def of(cls, serial: str, listing: Listing) -> _Chip:
        for block in re.split(r"\n(?=\s*version:)", listing.st_info):
            said: dict[str, str] = dict(re.findall(r"^\s*([\w-]+):\s*(\S+)", block, re.MULTILINE))
            digits = re.fullmatch(r"0x[0-9a-fA-F]+", said.get("chipid", ""))
            chip_id = int(digits[0], 16) if digits else 0  # 0: the chip did not answer
            if chip_id and said.get("serial", "").upper() == serial.upper():
                return cls(said.get("dev-type", hex(chip_id)), CHIP_IDS.get(chip_id, ""))
        for board in _pyocd_boards(listing.pyocd):
            target = str(board.get("target") or "")
            if str(board.get("unique_id", "")).upper() == serial.upper() and target:
                if target == "cortex_m":  # what pyOCD calls a chip that it does not know
                    return cls()
                ours = [name for name in CHIP_IDS.values() if name in target.lower()]
                return cls(str(board.get("board_name") or target), "".join(ours))
        return cls()


def _pyocd_boards(text: str) -> list[dict[str, object]]:
    try:
        boards = json.loads(text[text.index("{") :])["boards"]
        return [board for board in boards if isinstance(board, dict)]
    except (ValueError, KeyError, TypeError):  # not there, or a version that says it otherwise
        return []


def _stlinks(listing: Listing) -> list[tuple[Probe, SerialPort | None]]:
    """ST-LINKs, each with its serial port; one is known by port alone where USB is not listed."""
    ports = [port for port in listing.ports if (port.vendor, port.product) in STLINKS]
    probes = [p for p in listing.probes if (p.vendor, p.product) in STLINKS]
    known = {probe.serial for probe in probes}
    for port in ports:
        if port.serial not in known:
            probes.append(Probe(port.vendor, port.product, port.serial, port.name, port.place))
            known.add(port.serial)
    by_serial = {port.serial: port for port in reversed(ports)}
    return [(probe, by_serial.get(probe.serial)) for probe in probes]


def _probe_name(probe: Probe) -> str:
    return f"{STLINKS[probe.vendor, probe.product]} {probe.serial}"


def _nucleo(probe: Probe, port: SerialPort | None, chip: _Chip, listing: Listing) -> FoundBoard:
    kind = listing.flashers[0] if listing.flashers else "openocd"
    board = chip.board or "stm32f746"
    sure = f"its chip is {chip.name}" if chip.board else "ASSUMED: no tool told which chip it has"
    missing = () if listing.flashers else (
        "NOT INSTALLED: none of openocd, st-flash, pyocd; apt-get install openocd",
    )  # fmt: skip
    told = [Entry("kind", kind), Entry("serial", probe.serial)]
    if kind == "pyocd" and board in PYOCD_TARGETS:
        told.append(Entry("target", PYOCD_TARGETS[board]))
    flasher = Table("flasher", tuple(told), missing)
    return FoundBoard(
        "nucleo", board, f"{_probe_name(probe)}; {sure}", _console(board, port), flasher,
        _power(probe.place, listing),
    )  # fmt: skip


# -- GAP8 -----------------------------------------------------------------------------------


def _is_gapuino_console(port: SerialPort) -> bool:
    return (port.vendor, port.product) == GAPUINO and port.interface == "1"


def _gapuino(port: SerialPort, listing: Listing) -> FoundBoard:
    chosen = (
        Entry("serial", port.serial) if port.serial
        else _place(port.place)
    )  # fmt: skip
    return FoundBoard(
        "gapuino", "gap8", f"FT2232 at USB {port.place}; ASSUMED: other boards have one too",
        _console("gap8", port), _gap8_flasher(chosen, "interface/ftdi/gapuino_ftdi.cfg"),
        _power(port.place, listing),
    )  # fmt: skip


def _olimex(probe: Probe, listing: Listing) -> FoundBoard:
    """An AI-deck: its JTAG is an adapter, its UART another one that cannot be told for sure."""
    uarts = [port for port in listing.ports if (port.vendor, port.product) in UARTS]
    name = OLIMEX[probe.vendor, probe.product]
    chosen = Entry("serial", probe.serial) if probe.serial else _place(probe.place)
    remark = "ASSUMED: the only UART adapter attached" if len(uarts) == 1 else NO_PORT
    config = f"interface/ftdi/olimex-{name.lower()}.cfg"
    return FoundBoard(
        "ai-deck", "gap8", f"Olimex {name} {probe.serial}; ASSUMED: an AI-deck is behind it",
        _console("gap8", uarts[0] if len(uarts) == 1 else None, remark),
        _gap8_flasher(chosen, config), None,
    )  # fmt: skip


def _place(place: str) -> Entry:
    return Entry("location", place.replace("-", ":", 1), "bus:port; it has no serial number")


def _gap8_flasher(chosen: Entry, interface: str) -> Table:
    return Table(
        "flasher",
        (
            Entry("kind", "openocd", "GreenWaves' fork, docs/flashing.md"),
            chosen,
            Entry("interface", interface),
            Entry("target", "target/gap8revb.tcl", "target/gap8.tcl for the first chip"),
        ),
    )


# -- both -----------------------------------------------------------------------------------


def _console(board: str, port: SerialPort | None, remark: str = "") -> Table:
    baud = Entry("baud", load_board(board).baud)
    if port is None:
        return Table("console", (Entry("port", "/dev/ttyUSB0", remark or NO_PORT), baud))
    entries = [Entry("port", port.path, remark), baud]
    if port.serial:
        entries.append(Entry("usb_serial", port.serial))
    return Table("console", tuple(entries))


def _power(place: str, listing: Listing) -> Table | None:
    """The hub's port that the board is in, if uhubctl can switch it."""
    # 1-1.4 is port 4 of hub 1-1; 1-2 is port 2 of bus 1's root hub, which uhubctl calls 1.
    hub, dot, port = place.rpartition(".")
    if not dot:
        hub, _, port = place.rpartition("-")
    pattern = rf"^Current status for hub {re.escape(hub)} \[.*\bppps\b"
    if not hub or not re.search(pattern, listing.uhubctl, re.MULTILINE):
        return None
    return Table(
        "power",
        (Entry("kind", "uhubctl"), Entry("location", hub), Entry("port", int(port))),
        ("The hub's port that the board is in; it must be the board's only supply.",),
    )
