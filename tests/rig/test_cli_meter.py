"""``hil meter``: calibrations go into the user's file, mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hil.cli_meter import meter_app
from hil.core.errors import HilError
from hil.rig.calibration import load_all


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def run(*words: str) -> str:
    result = CliRunner().invoke(meter_app, words)
    if isinstance(result.exception, HilError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_store_and_list() -> None:
    assert "none; " in run("calibrations")
    said = run(
        "calibrate", "SN1", "--model", "N6705C", "--gain", "1.01", "--offset-a", "-2e-6",
        "--date", "2026-11-25", "--valid-days", "30",
    )  # fmt: skip
    assert "calibrated 2026-11-25 until 2026-12-25 sha256:" in said and "expires 2026-12-25" in said
    record = load_all()["SN1"]
    assert (record.gain, record.offset_a, record.shunt_ohms) == (1.01, -2e-6, 0.0)
    assert "SN1 (N6705C)" in run("calibrations") and record.digest in run("calibrations")


def test_two_points_become_gain_and_offset() -> None:
    run("calibrate", "SN1", "--model", "M", "--point", "0.010:0.011", "--point", "0.090:0.095")
    record = load_all()["SN1"]
    assert record.gain == pytest.approx(0.084 / 0.080)
    assert record.offset_a == pytest.approx(0.011 - 0.084 / 0.080 * 0.010)


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null")
    with pytest.raises(HilError, match="cannot store the calibration"):
        run("calibrate", "S", "--model", "M")


def test_the_rigs_meter_is_read_as_it_is() -> None:
    """The virtual board idles at 9 to 11 mA of 3.3 V; the calibration that it requires is none."""
    said = run("read", "virtual-stm32f746", "--duration-s", "0.002")
    assert 0.005 < float(said.split(" A,")[0]) < 0.02
    assert "HIL,VPM1" in said and said.rstrip().endswith(": modelled")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("calibrate", "S", "--model", "M", "--date", "today"), "--date today: not a date"),
        (("calibrate", "S", "--model", "M", "--gain", "7"), "gain = 7.0 cannot be"),
        (("simulate", "vpm2"), "no simulated 'vpm2'"),
        (("simulate", "rigol_ds1000z", "--port", "99999"), "port 99999"),
        (("simulate", "rigol_ds1000z", "--current-a", "nan"), "--current-a nan is a number"),
        (("simulate", "rigol_ds1000z", "--supply-v", "0"), "--supply-v 0 is above 0"),
        (("calibrate", "S", "--model", "M", "--valid-days", "99999999"), "valid_days = 99999999"),
        (("calibrate", "S", "--model", "M", "--point", "1"), "--point 1: not two currents"),
        (
            ("calibrate", "S", "--model", "M", "--gain", "1.1", "--point", "0.1:0.1"),
            "leave --gain and --offset-a out",
        ),
    ],
)
def test_mistakes(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(HilError, match=says):
        run(*words)
    assert load_all() == {}
