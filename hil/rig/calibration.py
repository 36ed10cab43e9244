"""A meter's calibration: found out on this bench, kept by serial number, applied to waveforms.

One TOML file in the user's configuration folder ($XDG_CONFIG_HOME or ~/.config, hil-clio/
meter-calibrations.toml) with a table for each serial number:

    ["MY59001234"]
    model = "N6705C"            # second field of *IDN?; another model's record is refused
    date = 2026-11-25
    valid_days = 365
    gain = 1.0013               # true current = gain * (nominal / true shunt) * read + offset_a
    offset_a = -2.5e-6
    shunt_ohms = 0.4985         # the true one; 0: the meter has no shunt of yours
    cable_ohms = 0.012          # between the point where the supply is measured and the board

What was applied is part of the meter's identity in every waveform and trial: date, last day and
digest.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.calibration import CalibrationLabel
from hil.core.errors import InstrumentError, RigError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, Meter, acquire

MOST_DAYS = 36_500
FILE = "meter-calibrations.toml"
DIGEST_DIGITS = 12


@dataclass(frozen=True)
class Calibration:
    """One meter's record; RigError when a value cannot be. Units are in the names."""

    serial: str
    model: str
    date: datetime.date
    valid_days: int = 365
    gain: float = 1.0
    offset_a: float = 0.0
    shunt_ohms: float = 0.0
    cable_ohms: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "gain": 0.5 <= self.gain <= 2.0,
            "offset_a": math.isfinite(self.offset_a),
            "shunt_ohms": 0.0 <= self.shunt_ohms < math.inf,
            "cable_ohms": 0.0 <= self.cable_ohms < math.inf,
            "valid_days": 1 <= self.valid_days <= MOST_DAYS,
        }
        for name, good in checks.items():
            if not good:
                raise RigError(
                    f"calibration of {self.serial}: {name} = {getattr(self, name)} cannot be; "
                    f"correct it in {default_path()}"
                )

    @property
    def digest(self) -> str:
        """Of all that is in the record."""
        content = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:DIGEST_DIGITS]

    @property
    def expires(self) -> datetime.date:
        """The last day on which it counts."""
        return self.date + datetime.timedelta(days=self.valid_days)

    @property
    def label(self) -> str:
        """What is added to the identity of a meter that is corrected by it."""
        return str(CalibrationLabel(self.date, self.expires, self.digest))

    def apply(self, waveform: Waveform) -> Waveform:
        """The waveform with true currents and the board's own power.

        InstrumentError when the record has a shunt and the meter none.
        """
        factor = self.gain
        shunt_ohms = waveform.series_ohms
        if self.shunt_ohms:
            if not waveform.series_ohms:
                raise InstrumentError(
                    f"{waveform.meter}: its calibration tells of a shunt of {self.shunt_ohms:g} "
                    "ohms, the meter works without one; store it anew with shunt_ohms = 0"
                )
            factor *= waveform.series_ohms / self.shunt_ohms
            shunt_ohms = self.shunt_ohms
        current_a = waveform.current_a.astype(np.float64) * factor + self.offset_a
        # The lesser end: whatever was clipped at either still lies beyond it.
        range_a = waveform.range_a * factor - abs(self.offset_a)
        return replace(
            waveform,
            current_a=current_a.astype(np.float32),
            range_a=range_a,
            series_ohms=shunt_ohms + self.cable_ohms,
            meter=f"{waveform.meter}; {self.label}",
        )


class CalibratedMeter:
    """``meter`` with its readings corrected (hil.rig.meter.Meter)."""

    def __init__(self, meter: Meter, calibration: Calibration) -> None:
        self._meter = meter
        self._calibration = calibration

    @property
    def identity(self) -> str:
        return f"{self._meter.identity}; {self._calibration.label}"

    @property
    def origin(self) -> Origin:
        return self._meter.origin

    @property
    def sample_interval_s(self) -> float:
        return self._meter.sample_interval_s

    @property
    def range_a(self) -> float:
        return self._meter.range_a

    def identify(self) -> str:
        self._meter.identify()
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        self._meter.configure(sample_rate_hz, range_a)

    def arm(self, duration_s: float) -> None:
        self._meter.arm(duration_s)

    def read(self) -> Waveform:
        return self._calibration.apply(self._meter.read())

    def abort(self) -> None:
        self._meter.abort()

    def close(self) -> None:
        self._meter.close()

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)


def through_points(
    points: Sequence[tuple[float, float]], shunt_ohms: float = 0.0, nominal_ohms: float = 0.0
) -> tuple[float, float]:
    """Gain and offset in amperes of two currents, each as (read, true); RigError.

    What is read has passed the shunt, so that the line through the points holds the shunt's error
    too. ``apply`` takes that off by itself where the record has the true shunt: then the gain is
    what remains of the line, and the ``nominal_ohms`` that the readings were made with are needed.
    """
    if len(points) != 2 or not all(math.isfinite(value) for pair in points for value in pair):
        raise RigError(f"two points make a line, not {len(points)}: {points}")
    (read_1, true_1), (read_2, true_2) = points
    if read_1 == read_2:
        raise RigError(f"both points were read as {read_1:g} A; take two currents far apart")
    slope = (true_2 - true_1) / (read_2 - read_1)
    if (shunt_ohms > 0) != (nominal_ohms > 0):
        raise RigError(
            f"with points, a true shunt ({shunt_ohms:g} ohms) and the nominal one of the rig file "
            f"({nominal_ohms:g} ohms) are told together, or neither is"
        )
    shunts = shunt_ohms / nominal_ohms if nominal_ohms else 1.0
    return slope * shunts, true_1 - slope * read_1


# -- the file -------------------------------------------------------------------------------


def default_path() -> Path:
    """The user's file."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "hil-clio" / FILE


def load_all(path: Path | None = None) -> dict[str, Calibration]:
    """All records by serial number; none when there is no file. RigError when it is damaged."""
    path = path or default_path()
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RigError(f"{path}: cannot read the calibrations: {error}") from error
    return {serial: _record(serial, table, path) for serial, table in data.items()}


def _record(serial: str, table: Any, path: Path) -> Calibration:
    place = f'{path}: ["{serial}"]'
    if not isinstance(table, Mapping):
        raise RigError(f"{place} is a table, not {table!r}")
    kinds = {field.name: str(field.type) for field in fields(Calibration)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in kinds or key == "serial":
            known = ", ".join(name for name in kinds if name != "serial")
            raise RigError(f"{place}: unknown key {key!r}; known: {known}")
        values[key] = _typed(value, kinds[key], f"{place} {key}")
    missing = [name for name in ("model", "date") if name not in values]
    if missing:
        raise RigError(f"{place}: missing {', '.join(missing)}")
    return Calibration(serial=serial, **values)


def _typed(value: Any, kind: str, place: str) -> Any:
    wanted = {"float": float, "int": int, "str": str, "datetime.date": datetime.date}[kind]
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise RigError(f"{place}: {value!r} is not a {wanted.__name__}")
    return value


def find(identity: str, today: datetime.date, path: Path | None = None) -> Calibration:
    """The record of the meter that answered ``identity`` to *IDN?, if it counts ``today``.

    RigError: no record, another model's, expired, or dated in the future.
    """
    path = path or default_path()
    model, serial = ([part.strip() for part in identity.split(",")] + ["", "", ""])[1:3]
    record = load_all(path).get(serial)
    how = "calibrate it and store the result with `hil meter calibrate`"
    if record is None:
        raise RigError(
            f"{identity}: no calibration for serial number {serial!r} in {path}, and the rig file "
            f"requires one; {how}, or set [meter] calibration = \"none\""
        )  # fmt: skip
    if record.model != model:
        raise RigError(
            f"{identity}: the calibration of {serial!r} in {path} is for a {record.model}; {how}"
        )
    if today > record.expires:
        raise RigError(
            f"{identity}: its calibration of {record.date} expired on {record.expires}; {how}"
        )
    if today < record.date:
        raise RigError(
            f"{identity}: its calibration is dated {record.date}, today is {today}; correct the "
            "date here or there"
        )
    return record


def store(calibration: Calibration, path: Path | None = None) -> Path:
    """Put ``calibration`` in the file in place of this serial number's older one."""
    path = path or default_path()
    records = load_all(path) | {calibration.serial: calibration}
    text = "\n".join(_toml(record) for _, record in sorted(records.items()))
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise RigError(
            f"{path}: cannot store the calibration: {error}; make the folder writable, or choose "
            "another with $XDG_CONFIG_HOME"
        ) from error
    return path


def _toml(record: Calibration) -> str:
    lines = [f"[{json.dumps(record.serial)}]"]
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == "serial":
            continue
        text = json.dumps(value) if isinstance(value, str) else str(value)
        lines.append(f"{field.name} = {text}")
    return "\n".join(lines) + "\n"
