"""What every SCPI meter's driver must do, over real sockets through pyvisa-py."""

from __future__ import annotations

import os

import numpy as np
import pytest
from meter_bench import KINDS, PROFILE, PROFILE_S, TIMEOUT_S, Bench

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.windows import find_windows
from hil.sim.instruments import INSTRUMENTS, make_instrument
from hil.sim.instruments.server import InstrumentServer

CLOCK_HZ = 1e8
WINDOWS = [(duration_s, power_w) for duration_s, power_w, marked in PROFILE if marked]


def acquired(bench: Bench) -> Waveform:
    meter = bench.configured()
    meter.arm(PROFILE_S)
    return meter.read()


def test_identity_interval_and_range(bench: Bench) -> None:
    meter = bench.configured()
    assert meter.identity.count(",") == 3
    assert 0 < meter.sample_interval_s <= 1.1 / bench.kind.sample_rate_hz
    assert meter.range_a >= bench.kind.range_a


def test_an_acquisition_is_as_long_as_asked(bench: Bench) -> None:
    waveform = acquired(bench)
    assert waveform.duration_s == pytest.approx(PROFILE_S, abs=2 * waveform.sample_interval_s)
    assert waveform.lost_samples == 0 and not waveform.overload


def test_a_known_steady_current(bench: Bench) -> None:
    load_a = os.environ.get("HIL_METER_LOAD_A")
    if bench.server is None and load_a is None:
        pytest.skip("HIL_METER_LOAD_A does not tell the current that flows")
    true_a = float(load_a) if bench.server is None and load_a else 0.01
    waveform = acquired(bench)
    quiet = waveform.current_a if bench.server is None else waveform.current_a[:300]
    limit_a = bench.kind.gain * true_a + bench.kind.offset_a
    assert np.mean(quiet) == pytest.approx(true_a, abs=1.05 * limit_a)


def test_a_profile_comes_back_with_its_windows_and_energies(bench: Bench) -> None:
    assert bench.simulated
    waveform = acquired(bench)
    assert waveform.origin is Origin.MODELLED  # simulators say so themselves
    planned = [
        PlannedWindow(layer, 1, round(duration_s * CLOCK_HZ))
        for layer, (duration_s, _) in enumerate(WINDOWS)
    ]
    samples = measure_windows(waveform, planned, CLOCK_HZ, repeat=0)
    for sample, (duration_s, power_w) in zip(samples, WINDOWS, strict=True):
        assert sample.duration_s == pytest.approx(duration_s, abs=1e-3 * duration_s)
        true_uj = power_w * duration_s * 1e6
        # The maker's accuracy; behind a shunt, power falls less than current rises.
        limit_uj = bench.kind.gain * true_uj + bench.kind.offset_a * 3.3 * duration_s * 1e6
        assert sample.energy_uj == pytest.approx(
            true_uj, abs=1.05 * limit_uj + sample.edge_uncertainty_uj
        )
        assert sample.base_power_w == pytest.approx(0.033, abs=0.02 * 0.033 + 0.006)


def test_marker_edges_are_where_they_were(bench: Bench) -> None:
    assert bench.simulated
    waveform = acquired(bench)
    windows = find_windows(waveform, len(WINDOWS))
    for window, (duration_s, _) in zip(windows, WINDOWS, strict=True):
        assert window.samples * waveform.sample_interval_s == pytest.approx(
            duration_s, abs=1.01 * waveform.sample_interval_s
        )
    gap_s = (windows[1].start - windows[0].stop) * waveform.sample_interval_s
    assert gap_s == pytest.approx(PROFILE[2][0], abs=1.01 * waveform.sample_interval_s)


def test_overload_is_told_and_its_windows_refused(bench: Bench) -> None:
    assert bench.simulated
    meter = bench.meter()
    meter.configure(bench.kind.sample_rate_hz, bench.kind.small_range_a)
    meter.arm(PROFILE_S)
    waveform = meter.read()
    assert waveform.overload
    with pytest.raises(InstrumentError, match="clipped"):
        find_windows(waveform, len(WINDOWS))


def test_one_sample_beyond_the_range_is_told(bench: Bench) -> None:
    bench.simulated.instrument.faults.overload = True
    waveform = acquired(bench)
    assert waveform.overload
    assert waveform.current_a.max() == pytest.approx(waveform.range_a, rel=0.05)


def test_lost_samples_are_told(bench: Bench) -> None:
    bench.simulated.instrument.faults.lose = 1234
    try:
        waveform = acquired(bench)
    except InstrumentError as error:
        assert "lost samples" in str(error)
        return
    assert 0 < waveform.lost_samples <= 1234
    with pytest.raises(InstrumentError, match="samples were lost"):
        find_windows(waveform, len(WINDOWS))


def test_every_other_driver_refuses_the_instrument(bench: Bench) -> None:
    for kind in [kind.name for kind in KINDS] + ["keithley_dmm6500"]:
        if kind != bench.kind.name:
            says = r"\*IDN\?: this is '.*', not a .*correct \[meter\]"
            with pytest.raises(InstrumentError, match=says):
                bench.meter(kind).identify()


def test_errors_in_the_instruments_queue_are_told(bench: Bench) -> None:
    server = bench.simulated
    meter = bench.configured()
    server.instrument.complain(-310, "System error")
    with pytest.raises(InstrumentError, match=r"the instrument objects: .*(-310|CMR 11)"):
        meter.arm(PROFILE_S)


def test_an_instrument_refuses_what_it_does_not_know(bench: Bench) -> None:
    assert bench.simulated
    meter = bench.configured()
    meter._link.send("NONSENSE:COMMAND 1")
    with pytest.raises(InstrumentError, match=r"objects: .*(-113|CMR 1, unrecognized)"):
        meter.arm(PROFILE_S)


def test_a_mute_instrument_times_out(bench: Bench) -> None:
    server = bench.simulated
    meter = bench.configured()
    meter.arm(PROFILE_S)
    server.wire_fault = "mute"
    bench.hurry(meter, 0.2)
    with pytest.raises(InstrumentError, match=r"timed out"):
        meter.read()


def test_a_trigger_that_never_comes(bench: Bench) -> None:
    server = bench.simulated
    meter = bench.configured()
    server.instrument.faults.no_trigger = True
    meter._timeout_s = 0.2  # for the trigger; answers may take longer
    with pytest.raises(InstrumentError, match=r"timed out|not measuring"):
        meter.arm(PROFILE_S)


@pytest.mark.parametrize("fault", ["truncate", "disconnect"])
def test_a_block_that_breaks_off_and_a_new_start(bench: Bench, fault: str) -> None:
    server = bench.simulated
    meter = bench.configured()
    meter.arm(0.005)
    server.wire_fault = fault
    bench.hurry(meter, 1.5)  # status questions before the block still have to be answered
    with pytest.raises(InstrumentError, match=r"truncated waveform: .* broke off"):
        meter.read()
    with pytest.raises(InstrumentError, match="connection was closed"):
        meter.read()
    meter._timeout_s = meter._link.timeout_s = TIMEOUT_S
    meter.arm(0.005)  # connects again
    assert len(meter.read()) > 50


def test_an_aborted_acquisition_leaves_the_meter_ready(bench: Bench) -> None:
    meter = bench.configured()
    meter.arm(5 * PROFILE_S)
    meter.abort()
    meter.arm(0.005)
    assert meter.read().duration_s < 0.01


@pytest.mark.parametrize(
    ("rate_hz", "range_a", "says"),
    [(1e10, 0.05, "sample_rate_hz = 1e[+]10"), (1e4, 1e4, "range_a.* = 10000")],
)
def test_limits_are_checked_before_anything_is_sent(
    bench: Bench, rate_hz: float, range_a: float, says: str
) -> None:
    meter = bench.meter()
    with pytest.raises(InstrumentError, match=f"{says}.*out of its limits"):
        meter.configure(rate_hz, range_a)


def test_a_record_that_does_not_fit_the_memory_is_refused(bench: Bench) -> None:
    meter = bench.configured()
    with pytest.raises(InstrumentError, match=r"lower \[meter\] sample_rate_hz to \d+"):
        meter.arm(400.0)


def test_armed_before_it_was_configured(bench: Bench) -> None:
    with pytest.raises(InstrumentError, match="armed before it was configured"):
        bench.meter().arm(0.1)


def test_nobody_there() -> None:
    with InstrumentServer(make_instrument("rigol_ds1000z", 3.3), None) as server:  # type: ignore[arg-type]
        resource = server.resource
    bench = Bench(KINDS[0], resource, None)
    with pytest.raises(InstrumentError, match="::SOCKET"):
        bench.meter().identify()


def test_the_suite_covers_every_simulated_meter_that_samples_a_marker() -> None:
    assert {kind.name for kind in KINDS} | {"keithley_dmm6500"} == set(INSTRUMENTS)
