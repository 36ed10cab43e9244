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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("calibrate", "S", "--model", "M", "--date", "today"), "--date today: not a date"),
        (("calibrate", "S", "--model", "M", "--gain", "7"), "gain = 7.0 cannot be"),
        (("simulate", "vpm2"), "no simulated 'vpm2'"),
    ],
)
def test_mistakes(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(HilError, match=says):
        run(*words)
    assert load_all() == {}
