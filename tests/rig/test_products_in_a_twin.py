"""A simulated product as the meter of a virtual rig: the whole bench, from rig file to energies."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from scripted_bench import Bench, scripted_command

from hil.core.errors import RigError
from hil.core.provenance import Origin
from hil.measure.clock import clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows, window_energies
from hil.measure.windows import find_windows
from hil.rig import calibration
from hil.rig.bench import open_rig
from hil.rig.check import check
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.rigfile import Rig, load_rig
from hil.sim.scripted_chip import IDLE_W, TOY_NETWORK

RIG = """
name = "product"
board = "gap8"
[console]
port = "{dir}/console"
baud = 1_000_000
answer_s = 20.0
hello_s = 20.0
[flasher]
kind = "virtual"
control = "{dir}/control.sock"
[meter]
kind = "KIND"
resource = "TCPIP0::127.0.0.1::{meter_port}::SOCKET"
sample_rate_hz = 40_000
range_a = 0.15
timeout_s = 20.0
calibration = "CALIBRATION"
OPTIONS
[virtual]
seed = 5
slowdown = 50.0
"""
MEASURED_SUPPLY = "[meter.options]\nsupply_v = 3.3"
SHUNT = "[meter.options]\nshunt_ohms = 0.5\nsupply_v = 3.3"


def rig_file(folder: Path, kind: str, options: str, calibrated: str = "none") -> Rig:
    path = folder / "product.toml"
    text = RIG.replace("KIND", kind).replace("OPTIONS", options)
    path.write_text(text.replace("CALIBRATION", calibrated))
    return load_rig(str(path))


@pytest.mark.parametrize(
    ("kind", "options", "accuracy"),
    [("keysight_n6705c", "", 0.01), ("rigol_ds1000z", SHUNT, 0.1)],
)
def test_layers_come_back_with_their_power(
    tmp_path: Path, bench: Bench, kind: str, options: str, accuracy: float
) -> None:
    counts = (20, 30, 200)
    rig = rig_file(tmp_path, kind, options)
    with open_rig(rig, command=scripted_command, allow_double=True) as opened:
        opened.ensure_firmware(bench.firmware())
        with opened.meter.acquisition(0.12) as acquisition:
            cycles = opened.console.repeat_layers(0, 2000, counts)
            waveform = acquisition.read()
    assert ",HILSIM0005," in waveform.meter and waveform.origin is Origin.MODELLED
    energies = window_energies(waveform, find_windows(waveform, 3))
    for layer, energy, window in zip(TOY_NETWORK, energies, cycles, strict=True):
        seconds = window / 100e6
        assert energy.duration_s == pytest.approx(seconds, abs=1.1 * waveform.sample_interval_s)
        limit_uj = accuracy * layer.power_w * seconds * 1e6 + energy.edge_uncertainty_uj
        assert energy.energy_uj == pytest.approx(layer.power_w * seconds * 1e6, abs=limit_uj)


def test_a_required_calibration_is_applied_and_named(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    rig = rig_file(tmp_path, "keysight_n6705c", "", "required")
    with (
        pytest.raises(RigError, match="no calibration for serial number 'HILSIM0005'"),
        open_rig(rig, command=scripted_command, allow_double=True),
    ):
        pass
    record = calibration.Calibration(
        "HILSIM0005", "N6705C", datetime.date(2026, 1, 1), 36_500, gain=1.5
    )
    calibration.store(record)
    with open_rig(rig, command=scripted_command, allow_double=True) as opened:
        opened.ensure_firmware(bench.firmware())
        assert opened.meter.identity.endswith(record.label)
        opened.meter.arm(0.01)
        waveform = opened.meter.read()
    assert waveform.meter.endswith(record.label)
    assert np.mean(waveform.current_a) == pytest.approx(1.5 * IDLE_W / 3.3, rel=0.05)


def test_a_dmm_among_the_parts_of_a_rig(tmp_path: Path) -> None:
    rig = rig_file(tmp_path, "keithley_dmm6500", MEASURED_SUPPLY)
    items = {item.name: item for item in check(rig, scripted_command, allow_double=True)}
    assert items["meter"].ok and "DMM6500,HILSIM0005" in items["meter"].detail


def test_a_dmm_against_the_chips_own_joules(tmp_path: Path, bench: Bench) -> None:
    """Windows, clock ratio and limits by edges that it sees late, with a hole at each."""
    rig = rig_file(tmp_path, "keithley_dmm6500", MEASURED_SUPPLY)
    with open_rig(rig, command=scripted_command, allow_double=True) as opened:
        opened.ensure_firmware(bench.firmware())
        with opened.meter.acquisition(0.3) as acquisition:
            cycles = opened.console.repeat_layers(0, 2000, (40, 60, 400))
            waveform = acquisition.read()
        assert isinstance(opened.flasher, VirtualFlasher)
        marked = opened.flasher.ask("marked")["windows"]
    assert waveform.edge_gap_s > 0 and waveform.lost_samples == 0
    plans = [PlannedWindow(layer, 1, count) for layer, count in enumerate(cycles)]
    ratio = clock_ratio(waveform, cycles, 100e6)
    samples = measure_windows(waveform, plans, 100e6, 0, ratio=ratio)
    for sample, true in zip(samples, marked, strict=True):
        true_uj = true["energy_j"] * 1e6
        meter_uj = 1e-3 * true_uj + 1e-4 * rig.meter.range_a * 3.3 * sample.duration_s * 1e6
        assert sample.energy_uj == pytest.approx(
            true_uj, abs=1.05 * meter_uj + sample.edge_uncertainty_uj + sample.edge_limit_uj
        )
        assert sample.edge_limit_uj < 0.03 * true_uj
