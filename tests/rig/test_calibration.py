"""Calibration of a meter: what it does to a waveform, how it is kept, when it is refused."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_waveform import waveform

from hil.core.calibration import CalibrationLabel
from hil.core.errors import InstrumentError, RigError
from hil.rig import calibration
from hil.rig.calibration import (
    CalibratedMeter,
    Calibration,
    find,
    load_all,
    store,
    through_points,
)

DAY = datetime.date(2026, 11, 25)
IDENTITY = "ACME,M1,SN7,1.0"
RECORD = Calibration("SN7", "M1", DAY, gain=1.02, offset_a=-1e-4, shunt_ohms=0.4, cable_ohms=0.1)


class TestApplied:
    def test_by_hand(self) -> None:
        read = replace(waveform(3), current_a=np.array([0, 0.05, 0.1], np.float32), series_ohms=0.5)
        true = RECORD.apply(read)
        # 0.5 / 0.4 ohms and the gain, then the offset
        assert true.current_a == pytest.approx([-1e-4, 0.06365, 0.1274], rel=1e-5)
        assert true.series_ohms == pytest.approx(0.5)  # true shunt and cable
        assert true.power_w[2] == pytest.approx(0.1274 * (3.3 - 0.1274 * 0.5), rel=1e-5)
        assert true.meter == (
            f"ACME,M,1,2; calibrated 2026-11-25 until 2027-11-25 sha256:{RECORD.digest}"
        )

    def test_clipped_samples_stay_beyond_the_range(self) -> None:
        ends = np.array([-0.1, 0.1], np.float32)
        read = replace(waveform(2), current_a=ends, series_ohms=0.5)
        for offset_a in (-1e-3, 1e-3):
            true = replace(RECORD, offset_a=offset_a).apply(read)
            assert (np.abs(true.current_a) >= true.range_a * 0.99999).all()

    def test_a_shunt_that_the_meter_has_not(self) -> None:
        with pytest.raises(InstrumentError, match=r"shunt of 0\.4 ohms, the meter works without"):
            RECORD.apply(waveform())

    def test_nothing_known_changes_nothing_but_the_identity(self) -> None:
        read = waveform()
        true = Calibration("SN7", "M1", DAY).apply(read)
        assert np.array_equal(true.current_a, read.current_a) and true.range_a == read.range_a
        assert "calibrated" in true.meter

    def test_the_digest_is_of_every_value(self) -> None:
        others = {
            replace(RECORD, **change).digest
            for change in (
                {"gain": 1.021}, {"offset_a": 0.0}, {"shunt_ohms": 0.41}, {"cable_ohms": 0.0},
                {"date": DAY + datetime.timedelta(1)}, {"valid_days": 10}, {"serial": "SN8"},
            )
        }  # fmt: skip
        assert len(others | {RECORD.digest}) == 8


class TestLabel:
    def test_it_comes_back_from_an_identity(self) -> None:
        found = CalibrationLabel.in_identity(f"{IDENTITY}; {RECORD.label}")
        assert found == CalibrationLabel(DAY, RECORD.expires, RECORD.digest)

    def test_older_runs_and_meters_without_one(self) -> None:
        found = CalibrationLabel.in_identity(
            f"{IDENTITY}; calibrated 2026-11-25 sha256:0123456789ab"
        )
        assert found == CalibrationLabel(DAY, None, "0123456789ab")
        assert CalibrationLabel.in_identity(IDENTITY) is None


class TestKept:
    def test_stored_beside_others_and_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "calibrations.toml"
        other = Calibration('S "8"', "M2", DAY)
        store(replace(RECORD, gain=1.5), path)
        store(other, path)
        store(RECORD, path)
        assert load_all(path) == {"SN7": RECORD, 'S "8"': other}
        assert find(IDENTITY, DAY, path) == RECORD

    def test_the_users_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert store(RECORD) == tmp_path / "hil-clio" / calibration.FILE
        assert find(IDENTITY, DAY) == RECORD

    @pytest.mark.parametrize(
        ("identity", "days", "says"),
        [
            ("ACME,M1,SN9,1", 0, "no calibration for serial number 'SN9' in .*requires one"),
            ("ACME,M1", 0, "no calibration for serial number ''"),
            ("ACME,M2,SN7,1", 0, "is for a M1"),
            (IDENTITY, 366, "of 2026-11-25 expired on 2027-11-25; calibrate it"),
            (IDENTITY, -1, "dated 2026-11-25, today is 2026-11-24"),
        ],
    )
    def test_what_does_not_count(self, tmp_path: Path, identity: str, days: int, says: str) -> None:
        path = store(RECORD, tmp_path / "c.toml")
        with pytest.raises(RigError, match=says):
            find(identity, DAY + datetime.timedelta(days), path)

    def test_the_last_day_counts(self, tmp_path: Path) -> None:
        path = store(RECORD, tmp_path / "c.toml")
        assert find(IDENTITY, RECORD.expires, path) == RECORD

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[SN7", "cannot read the calibrations"),
            ("SN7 = 3", r'\["SN7"\] is a table, not 3'),
            ("[SN7]\nmodel='M'", r'\["SN7"\]: missing date'),
            ("[SN7]\nmodel='M'\ndate=2026-11-25\ngane=1", "unknown key 'gane'; known: model"),
            ("[SN7]\nmodel='M'\ndate='today'", "date: 'today' is not a date"),
            ("[SN7]\nmodel='M'\ndate=2026-11-25\ngain=9", "gain = 9.0 cannot be"),
            ("[SN7]\nmodel='M'\ndate=2026-11-25\ngain=nan", "gain = nan cannot be"),
            ("[SN7]\nmodel='M'\ndate=2026-11-25\nshunt_ohms=-1", "shunt_ohms = -1.0 cannot be"),
            ("[SN7]\nmodel='M'\ndate=2026-11-25\nvalid_days=0", "valid_days = 0 cannot be"),
        ],
    )
    def test_a_damaged_file(self, tmp_path: Path, text: str, says: str) -> None:
        path = tmp_path / "c.toml"
        path.write_text(text)
        with pytest.raises(RigError, match=says):
            load_all(path)


class FakeMeter:
    """Counts what it is asked and reads a fixed waveform."""

    identity, sample_interval_s, range_a = IDENTITY, 1e-5, 0.1

    def __init__(self) -> None:
        self.calls: list[str] = []

    def identify(self) -> str:
        self.calls.append("identify")
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        self.calls.append(f"configure {sample_rate_hz:g} {range_a:g}")

    def arm(self, duration_s: float) -> None:
        self.calls.append("arm")

    def read(self):  # type: ignore[no-untyped-def]
        self.calls.append("read")
        return replace(waveform(), series_ohms=0.5)

    def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")


def test_a_calibrated_meter_is_a_meter() -> None:
    inner = FakeMeter()
    meter = CalibratedMeter(inner, RECORD)  # type: ignore[arg-type]
    assert meter.identify() == meter.identity == f"{IDENTITY}; {RECORD.label}"
    meter.configure(1e5, 0.1)
    with meter.acquisition(0.1) as acquisition:
        assert acquisition.read().meter.endswith(RECORD.label)
    with meter.acquisition(0.1):
        pass
    meter.close()
    assert inner.calls == [
        "identify", "configure 100000 0.1", "arm", "read", "arm", "abort", "close",
    ]  # fmt: skip


@pytest.mark.parametrize("stored_ohms", [0.0, 0.475])
def test_two_points_give_back_the_true_current_with_or_without_the_true_shunt(
    stored_ohms: float,
) -> None:
    """A meter with a nominal shunt of 0.5 ohms that has 0.475, and with 1 mA of offset."""

    def read(true_a: float) -> float:
        return (true_a * 0.475 + 0.5e-3) / 0.5

    points = [(read(true_a), true_a) for true_a in (0.01, 0.09)]
    nominal_ohms = 0.5 if stored_ohms else 0.0
    gain, offset_a = through_points(points, stored_ohms, nominal_ohms)
    record = Calibration("S", "M", DAY, gain=gain, offset_a=offset_a, shunt_ohms=stored_ohms)
    told = replace(waveform(), current_a=np.full(9, read(0.05), np.float32), series_ohms=0.5,
                   marker=np.zeros(9, np.bool_))  # fmt: skip
    assert record.apply(told).current_a == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(
    ("points", "shunts", "says"),
    [
        ([(0.01, 0.01)], (0.0, 0.0), "two points make a line"),
        ([(0.01, 0.01), (0.01, 0.02)], (0.0, 0.0), "take two currents far apart"),
        ([(0.01, 0.01), (0.09, math.nan)], (0.0, 0.0), "two points make a line"),
        ([(0.01, 0.01), (0.09, 0.09)], (0.5, 0.0), "told together"),
        ([(0.01, 0.01), (0.09, 0.09)], (0.0, 0.5), "told together"),
    ],
)
def test_points_that_are_no_line(points: list, shunts: tuple[float, float], says: str) -> None:
    with pytest.raises(RigError, match=says):
        through_points(points, *shunts)
