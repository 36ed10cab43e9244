"""What every meter's driver must do: over real sockets, pseudo-terminals, its maker's library."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from meter_bench import KINDS, PROFILE, PROFILE_S, Bench, hardware

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.windows import find_windows
from hil.rig.meter_options import Ppk2Options
from hil.rig.meters import METERS
from hil.sim.instruments import INSTRUMENTS

CLOCK_HZ = 1e8


def acquired(bench: Bench) -> Waveform:
    return bench.read_armed(bench.configured(), PROFILE_S)


def test_identity_interval_and_range(bench: Bench) -> None:
    meter = bench.configured()
    assert meter.identity.count(",") == 3
    assert 0 < meter.sample_interval_s <= 1.1 / bench.kind.sample_rate_hz
    assert meter.range_a >= bench.kind.range_a


def test_an_acquisition_is_as_long_as_asked(bench: Bench) -> None:
    waveform = acquired(bench)
    asked_s = PROFILE_S + bench.kind.lead_s
    assert waveform.duration_s == pytest.approx(asked_s, abs=2 * waveform.sample_interval_s)
    assert waveform.lost_samples == 0 and not waveform.overload


def test_a_known_steady_current(bench: Bench) -> None:
    load_a = os.environ.get("HIL_METER_LOAD_A")
    if bench.real and load_a is None:
        pytest.skip("HIL_METER_LOAD_A does not tell the current that flows")
    limit_part, limit_a = bench.kind.gain, bench.kind.offset_a
    if math.isnan(limit_part + limit_a):
        pytest.skip("HIL_METER_GAIN and HIL_METER_OFFSET_A do not tell how accurate it is")
    true_a = float(load_a) if bench.real and load_a else 0.01 * bench.kind.scale
    waveform = acquired(bench)
    quiet = waveform.current_a
    if not bench.real:
        quiet = quiet[: round(0.006 / waveform.sample_interval_s)]
    assert np.mean(quiet) == pytest.approx(true_a, abs=1.05 * (limit_part * true_a + limit_a))


def test_a_profile_comes_back_with_its_windows_and_energies(bench: Bench) -> None:
    bench.needs_profile()
    waveform = acquired(bench)
    assert waveform.origin is Origin.MODELLED  # simulators say so themselves
    planned = [
        PlannedWindow(layer, 1, round(duration_s * CLOCK_HZ))
        for layer, (duration_s, _) in enumerate(bench.windows)
    ]
    samples = measure_windows(waveform, planned, CLOCK_HZ, repeat=0)
    for sample, (duration_s, power_w) in zip(samples, bench.windows, strict=True):
        coarse_s = max(1e-3 * duration_s, 1.01 * waveform.sample_interval_s)
        assert sample.duration_s == pytest.approx(duration_s, abs=coarse_s)
        true_uj = power_w * duration_s * 1e6
        # The accuracy; behind a shunt, power falls less than current rises.
        limit_uj = bench.kind.gain * true_uj + bench.kind.offset_a * 3.3 * duration_s * 1e6
        assert sample.energy_uj == pytest.approx(
            true_uj, abs=1.05 * limit_uj + sample.edge_uncertainty_uj + sample.edge_limit_uj
        )
        idle_w = 0.033 * bench.kind.scale
        assert sample.base_power_w == pytest.approx(idle_w, abs=0.02 * idle_w + 0.006)


def test_marker_edges_are_where_they_were(bench: Bench) -> None:
    bench.needs_profile()
    waveform = acquired(bench)
    windows = find_windows(waveform, len(bench.windows))
    for window, (duration_s, _) in zip(windows, bench.windows, strict=True):
        assert window.samples * waveform.sample_interval_s == pytest.approx(
            duration_s, abs=1.01 * waveform.sample_interval_s
        )
    gap_s = (windows[1].start - windows[0].stop) * waveform.sample_interval_s
    assert gap_s == pytest.approx(PROFILE[2][0], abs=1.01 * waveform.sample_interval_s)


def test_overload_is_told_and_its_windows_refused(bench: Bench) -> None:
    bench.needs_profile()
    if math.isnan(bench.kind.small_range_a):
        pytest.skip("it chooses its range by itself; its own tests overload it")
    meter = bench.meter()
    meter.configure(bench.kind.sample_rate_hz, bench.kind.small_range_a)
    waveform = bench.read_armed(meter, PROFILE_S)
    assert waveform.overload
    with pytest.raises(InstrumentError, match="clipped"):
        find_windows(waveform, len(bench.windows))


def test_an_aborted_acquisition_leaves_the_meter_ready(bench: Bench) -> None:
    meter = bench.configured()
    meter.arm(5 * PROFILE_S)
    meter.abort()
    assert bench.read_armed(meter, 0.005).duration_s < 0.01 + bench.kind.lead_s


def test_one_meter_closed_and_opened_again(bench: Bench) -> None:
    first = bench.configured()
    bench.read_armed(first, 0.005)
    first.close()
    first.close()  # again is no error
    meter = bench.configured()
    assert meter.identify() == first.identity
    assert bench.read_armed(meter, 0.005).duration_s < 0.01 + bench.kind.lead_s


@pytest.mark.parametrize(("entry", "told"), [("sample_rate_hz", "1e[+]10"), ("range_a", "10000")])
def test_limits_are_checked_before_anything_is_sent(bench: Bench, entry: str, told: str) -> None:
    meter = bench.meter()
    asked = {"sample_rate_hz": bench.kind.sample_rate_hz, "range_a": 0.05} | {
        entry: float(told.replace("[+]", "+"))
    }
    says = rf"({entry}.* = {told}.*out of its limits|{told}\b.*asked for; correct.*{entry})"
    with pytest.raises(InstrumentError, match=says):
        meter.configure(**asked)


def test_armed_before_it_was_configured(bench: Bench) -> None:
    with pytest.raises(InstrumentError, match="armed before it was configured"):
        bench.meter().arm(0.1)


def test_the_suite_covers_every_meter_that_samples_a_marker() -> None:
    virtual = {"scpi_digitizer"}  # the bench's own, tests/rig/test_scpi_digitizer.py
    assert {kind.name for kind in KINDS} | virtual == set(METERS)
    assert {kind.name for kind in KINDS if kind.scpi} == set(INSTRUMENTS)


class TestHardware:
    """What the environment asks for is what is tested, never another kind of meter."""

    @pytest.fixture(autouse=True)
    def ppk2(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("HIL_METER_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HIL_METER_KIND", "ppk2")
        monkeypatch.setenv("HIL_METER_RESOURCE", "usb:F5BC3E7B")
        monkeypatch.setenv("HIL_METER_OPTIONS", "supply_v=3.0;marker=2")

    def test_a_kit_is_tested_as_a_kit(self) -> None:
        bench = hardware()
        assert bench is not None and bench.real and bench.resource == "usb:F5BC3E7B"
        assert (bench.kind.name, bench.kind.sample_rate_hz, bench.kind.scpi) == (
            "ppk2", 100_000, False,
        )  # fmt: skip
        assert bench.kind.options == Ppk2Options(3.0, marker=2)
        assert math.isnan(bench.kind.gain)  # the simulator's is not the kit's

    def test_its_accuracy_and_range_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIL_METER_GAIN", "0.1")
        monkeypatch.setenv("HIL_METER_OFFSET_A", "2e-6")
        monkeypatch.setenv("HIL_METER_RANGE_A", "0.5")
        bench = hardware()
        assert bench is not None
        assert (bench.kind.gain, bench.kind.offset_a, bench.kind.range_a) == (0.1, 2e-6, 0.5)

    def test_a_joulescope_by_its_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIL_METER_KIND", "joulescope")
        monkeypatch.setenv("HIL_METER_RESOURCE", "js110/004321")
        monkeypatch.delenv("HIL_METER_OPTIONS")
        bench = hardware()
        assert bench is not None and bench.kind.small_range_a == 0.008

    @pytest.mark.parametrize("kind", ["", "ngu401"])
    def test_another_kind_is_refused(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        monkeypatch.setenv("HIL_METER_KIND", kind)
        with pytest.raises(pytest.UsageError, match="the suite knows the kinds joulescope"):
            hardware()
