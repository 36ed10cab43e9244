"""Rig files: one TOML describes one bench place, strictly checked.

    name = "virtual-gap8"
    board = "gap8"                       # a folder of boards/
    [console]                            # keys: see ConsoleSpec
    [flasher]                            # FlasherSpec
    [meter]                              # MeterSpec
    [meter.options]                      # hil.rig.meter_options, for kinds that have some
    [power]                              # hil.rig.power.PowerSpec; only if there is a switch
    [place]                              # hil.rig.place.PlaceSpec; a board of another computer
    [virtual]                            # VirtualSpec; starts a twin, absent on real benches

A bench of several boards is a file with ``name`` and ``rigs = [names of rig files]``. A name is
looked up as NAME.toml in boards/rigs, then in ./rigs; anything that ends in .toml is a path.
Ports and addresses may hold ``{dir}``, ``{meter_port}`` and ``{gdb_port}``, which the twin's
folder and the TCP ports of the virtual meter and of the chip's GDB stub replace, or
``{place_serial}`` and ``{place_gdb}`` of a labgrid place.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar, get_type_hints

import boards
from hil.core.errors import DataError, RigError
from hil.core.secrets import remember
from hil.measure.budget import MeterAccuracy
from hil.rig.flasher_spec import FlasherSpec, check_flasher
from hil.rig.meter_options import OPTIONS, MeterOptions
from hil.rig.place import PlaceSpec, check_place
from hil.rig.power import PowerSpec, check_power

SHIPPED = Path(boards.__file__).parent / "rigs"
LOCAL = Path("rigs")

METER_KINDS = (
    "scpi_digitizer", "ppk2", "lpm01a", "joulescope", "keysight_n6705c", "keithley_dmm6500",
    "keysight_infiniivision", "rigol_ds1000z", "siglent_sds1000xe",
)  # fmt: skip
# A meter that loses 1 % of its samples measures something else.
MOST_LOST_PER_MILLION = 10_000.0
CALIBRATIONS = ("none", "required")
TWIN_PLACES = ("dir", "meter_port", "gdb_port")
LABGRID_PLACES = ("place_serial", "place_gdb")

_Spec = TypeVar("_Spec")


@dataclass(frozen=True)
class ConsoleSpec:
    """The serial port and how long it may take to answer (seconds of this computer).

    ``usb_serial``: serial number of the USB adapter or board, by which the port is found again
    should it come back under another name.
    """

    port: str
    baud: int
    answer_s: float = 2.0
    hello_s: float = 5.0
    usb_serial: str = ""


@dataclass(frozen=True)
class MeterSpec:
    """``serial``, when given, must be the instrument's own (third field of its identity).

    ``calibration``: "none" takes its readings as they are, "required" corrects them by the
    stored calibration of this serial number (hil.rig.calibration). ``accuracy``, the table
    [meter.accuracy], are its limits from the data sheet or the calibration, for the budget of
    every energy (docs/energy.md); without it a report has no budgets and says so.
    ``lost_samples_per_million``: up to so many of an acquisition's samples may be lost; what they
    may have been widens the uncertainty. None unless told.
    """

    kind: str
    resource: str
    sample_rate_hz: float
    range_a: float
    timeout_s: float = 5.0
    serial: str = ""
    calibration: str = "none"
    lost_samples_per_million: float = 0.0
    options: MeterOptions | None = None
    accuracy: MeterAccuracy | None = None


@dataclass(frozen=True)
class VirtualSpec:
    """The twin to start. ``slowdown``: how many times slower than the chip's time it may run.

    ``data_cache``: how an STM32F7 times it, "average" or "lines"; ``core_v``: with which voltage a
    GAP8's core starts, 1.0 to 1.2 (docs/virtual-bench.md).
    """

    seed: int = 0
    slowdown: float = 1.0
    start_s: float = 60.0
    data_cache: str = ""
    core_v: float | None = None


@dataclass(frozen=True)
class Rig:
    """One board on one bench place. ``path`` is the file it was read from."""

    name: str
    board: str
    console: ConsoleSpec
    flasher: FlasherSpec
    meter: MeterSpec
    virtual: VirtualSpec | None
    path: Path
    power: PowerSpec | None = None
    place: PlaceSpec | None = None

    @property
    def slowdown(self) -> float:
        """How many times slower than the board's time things may happen."""
        return 1.0 if self.virtual is None else self.virtual.slowdown


@dataclass(frozen=True)
class Bench:
    """One or several rigs that are measured together."""

    name: str
    rigs: tuple[Rig, ...]
    path: Path


def load_bench(name: str) -> Bench:
    """The bench or the single rig called ``name`` (or in the file ``name``)."""
    path = find(name)
    data = _read(path)
    if "rigs" not in data:
        rig = _rig(data, path)
        return Bench(rig.name, (rig,), path)
    _check_keys(data, ("name", "rigs"), f"{path}")
    title = _name(data.get("name"), path)
    names = data["rigs"]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise RigError(f"{path}: rigs: {names!r} is not a list of rig names")
    if len(set(names)) != len(names):
        raise RigError(f"{path}: rigs: the same rig twice in {names}")
    rigs = tuple(_load_beside(n, path) for n in names)
    titles = [rig.name for rig in rigs]
    if twice := [rig for rig in rigs if titles.count(rig.name) > 1]:
        raise RigError(
            f"{path}: {' and '.join(str(rig.path) for rig in twice)} have the same name = "
            f"{twice[0].name!r}; rigs are told apart by it"
        )
    return Bench(title, rigs, path)


def load_rig(name: str) -> Rig:
    """The single rig called ``name``; RigError when that is a bench of several."""
    bench = load_bench(name)
    if len(bench.rigs) != 1:
        names = ", ".join(rig.name for rig in bench.rigs)
        raise RigError(f"{bench.path}: a bench of {len(bench.rigs)} rigs; name one of: {names}")
    return bench.rigs[0]


def known_names() -> list[str]:
    """Names of all rig and bench files in the search path."""
    return sorted({path.stem for folder in (LOCAL, SHIPPED) for path in folder.glob("*.toml")})


def find(name: str) -> Path:
    """The file of a rig name or path."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise RigError(f"rig file {path} does not exist")
        return path
    for folder in (SHIPPED, LOCAL):
        path = folder / f"{name}.toml"
        if path.is_file():
            return path
    raise RigError(
        f"no rig {name!r}{_nearest(name, known_names())} in {SHIPPED} or ./{LOCAL}; "
        f"there are: {', '.join(known_names())}. A path must end in .toml"
    )


def _load_beside(name: str, bench: Path) -> Rig:
    """A bench's rig: a file beside the bench file first, so that a folder can be moved."""
    beside = bench.parent / f"{name}.toml"
    try:
        rig = load_rig(str(beside) if beside.is_file() else name)
    except RigError as error:
        raise RigError(f"{bench}: {error}") from error
    return rig


# -- reading --------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RigError(f"{path}: cannot read the rig: {error}") from error
    remember(data)  # before anything can quote it
    return data


_TABLES: dict[str, type] = {
    "console": ConsoleSpec,
    "flasher": FlasherSpec,
    "meter": MeterSpec,
    "power": PowerSpec,
    "place": PlaceSpec,
    "virtual": VirtualSpec,
}


def _rig(data: dict[str, Any], path: Path) -> Rig:
    _check_keys(data, ("name", "board", *_TABLES), f"{path}")
    _check_present(data, ("name", "board", "console", "flasher", "meter"), f"{path}")
    board = _choice(data["board"], boards.BOARDS, f"{path}: board")
    specs: dict[str, Any] = {
        key: _spec(kind, data[key], path, key)
        for key, kind in _TABLES.items()
        if key in data and key != "meter"
    }
    rig = Rig(
        name=_name(data["name"], path),
        board=board,
        console=specs["console"],
        flasher=specs["flasher"],
        meter=_meter(data["meter"], path),
        virtual=specs.get("virtual"),
        path=path,
        power=specs.get("power"),
        place=specs.get("place"),
    )
    _check_values(rig)
    return rig


def _spec(kind: type[_Spec], table: Any, path: Path, name: str) -> _Spec:
    place = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise RigError(f"{place} is a table, not {table!r}")
    known: Sequence[Field[Any]] = fields(kind)  # type: ignore[arg-type]
    _check_keys(table, [f.name for f in known], place)
    _check_present(table, [f.name for f in known if f.default is MISSING], place)
    hints = get_type_hints(kind)
    values = {key: _typed(table[key], hints[key], f"{place} {key}") for key in table}
    try:
        return kind(**values)
    except (RigError, DataError) as error:  # a value that the spec itself refuses
        raise RigError(f"{place} {error}") from error


def _meter(table: Any, path: Path) -> MeterSpec:
    """[meter], its options read as its kind wants them."""
    if not isinstance(table, dict):
        raise RigError(f"{path}: [meter] is a table, not {table!r}")
    common = {key: value for key, value in table.items() if key not in ("options", "accuracy")}
    meter = replace(_spec(MeterSpec, common, path, "meter"), accuracy=_accuracy(table, path))
    _choice(meter.kind, METER_KINDS, f"{path}: [meter] kind")
    kind = OPTIONS.get(meter.kind)
    if kind is not None:
        return replace(meter, options=_spec(kind, table.get("options", {}), path, "meter.options"))
    if "options" in table:
        raise RigError(f"{path}: [meter.options]: a meter of kind {meter.kind!r} has none")
    return meter


def _accuracy(table: dict[str, Any], path: Path) -> MeterAccuracy | None:
    """[meter.accuracy]; whose limits they are must be told."""
    if "accuracy" not in table:
        return None
    accuracy = _spec(MeterAccuracy, table["accuracy"], path, "meter.accuracy")
    if not accuracy.source:
        raise RigError(
            f"{path}: [meter.accuracy] source is missing: name the data sheet or the calibration"
        )
    return accuracy


def _typed(value: Any, wanted: Any, place: str) -> Any:
    if wanted == float | None:
        wanted = float  # TOML has no null: a key that is there has a number
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise RigError(f"{place}: {value!r} is not {names[wanted]}")
    return value


def _name(value: Any, path: Path) -> str:
    name: str = _typed(value, str, f"{path}: name")
    if not name.strip():
        raise RigError(f"{path}: name = {name!r} is empty; journals and folders are named by it")
    return name


def _check_keys(table: dict[str, Any], known: Sequence[str], place: str) -> None:
    for key in table:
        if key not in known:
            raise RigError(
                f"{place}: unknown key {key!r}{_nearest(key, known)}; known: {', '.join(known)}"
            )


def _check_present(table: dict[str, Any], needed: Sequence[str], place: str) -> None:
    missing = [key for key in needed if key not in table]
    if missing:
        raise RigError(f"{place}: missing {', '.join(missing)}")


def _choice(value: Any, known: Sequence[str], place: str) -> str:
    text = _typed(value, str, place)
    if text not in known:
        raise RigError(f"{place}: no {text!r}{_nearest(text, known)}; known: {', '.join(known)}")
    return text


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_values(rig: Rig) -> None:
    check_flasher(rig.flasher, rig.board, f"{rig.path}: [flasher]")
    _choice(rig.meter.calibration, CALIBRATIONS, f"{rig.path}: [meter] calibration")
    lost = rig.meter.lost_samples_per_million
    if not 0 <= lost <= MOST_LOST_PER_MILLION:
        raise RigError(
            f"{rig.path}: [meter] lost_samples_per_million: {lost:g} is not between 0 and "
            f"{MOST_LOST_PER_MILLION:g}"
        )
    positive = {
        "[console] baud": rig.console.baud,
        "[console] answer_s": rig.console.answer_s,
        "[console] hello_s": rig.console.hello_s,
        "[flasher] timeout_s": rig.flasher.timeout_s,
        "[meter] sample_rate_hz": rig.meter.sample_rate_hz,
        "[meter] range_a": rig.meter.range_a,
        "[meter] timeout_s": rig.meter.timeout_s,
    }
    if rig.virtual is not None:
        positive["[virtual] slowdown"] = rig.virtual.slowdown
        positive["[virtual] start_s"] = rig.virtual.start_s
        if rig.flasher.kind not in ("virtual", "gdb"):
            raise RigError(
                f"{rig.path}: [flasher] kind: a twin has no USB port for {rig.flasher.kind}; "
                "kinds for a rig with [virtual] are virtual and gdb"
            )
        if rig.virtual.seed < 0:
            raise RigError(f"{rig.path}: [virtual] seed: {rig.virtual.seed} is negative")
    if rig.power is not None:
        check_power(
            rig.power, rig.virtual is not None or rig.flasher.kind == "virtual",
            rig.place is not None, f"{rig.path}: [power]",
        )  # fmt: skip
    for place, value in positive.items():
        if not 0 < value < float("inf"):
            raise RigError(f"{rig.path}: {place}: {value} is not a number above 0")
    _check_placeholders(rig)


def _check_placeholders(rig: Rig) -> None:
    """Only what is replaced may stand in braces, and only where it is."""
    used: set[str | None] = set()
    for text in (rig.console.port, rig.flasher.control, rig.flasher.server, rig.meter.resource):
        try:
            text.format(**dict.fromkeys(TWIN_PLACES + LABGRID_PLACES, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise RigError(
                f"{rig.path}: {text!r}: only {_braced(TWIN_PLACES)} are replaced, and "
                f"{_braced(LABGRID_PLACES)} with a [place] table"
            ) from error
        used |= {name for _, name, _, _ in Formatter().parse(text)}
    if rig.virtual is None and used & set(TWIN_PLACES):
        raise RigError(
            f"{rig.path}: {_braced(TWIN_PLACES)} are a twin's; add a [virtual] "
            "table to start one, or name the places"
        )
    if rig.place is None and used & set(LABGRID_PLACES):
        raise RigError(
            f"{rig.path}: {_braced(LABGRID_PLACES)} are a labgrid place's; add a [place] table"
        )
    if rig.place is not None:
        check_place(rig.place, f"{rig.path}: [place]")
        if rig.virtual is not None:
            raise RigError(f"{rig.path}: [place] and [virtual]: a twin runs on this computer")


def _braced(names: Sequence[str]) -> str:
    words = [f"{{{name}}}" for name in names]
    return f"{', '.join(words[:-1])} and {words[-1]}"
