"""What the drivers of all SCPI instruments must do beyond the suite of all meters: error queues,
faults of the instrument and of the wire. What USB meters do then is in tests/rig/usb_meters."""

from __future__ import annotations

import pytest
from meter_bench import KINDS, PROFILE_S, TIMEOUT_S, Bench

from hil.core.errors import InstrumentError
from hil.measure.windows import find_windows
from hil.sim.instruments import make_instrument
from hil.sim.instruments.server import InstrumentServer


def test_one_sample_beyond_the_range_is_told(bench: Bench) -> None:
    bench.simulated.instrument.faults.overload = True
    waveform = bench.read_armed(bench.configured(), PROFILE_S)
    assert waveform.overload
    assert waveform.current_a.max() == pytest.approx(waveform.range_a, rel=0.05)


def test_lost_samples_are_told(bench: Bench) -> None:
    bench.simulated.instrument.faults.lose = 1234
    try:
        waveform = bench.read_armed(bench.configured(), PROFILE_S)
    except InstrumentError as error:
        assert "lost samples" in str(error)
        return
    assert 0 < waveform.lost_samples <= 1234
    with pytest.raises(InstrumentError, match="samples were lost"):
        find_windows(waveform, len(bench.windows))


def test_every_other_driver_refuses_the_instrument(bench: Bench) -> None:
    for kind in [kind.name for kind in KINDS if kind.scpi]:
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
    if bench.kind.name == "keithley_dmm6500":  # its triggers are the marker's edges
        with pytest.raises(InstrumentError, match="0 marked windows"):
            find_windows(bench.read_armed(meter, PROFILE_S), len(bench.windows))
        return
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


def test_a_record_that_does_not_fit_the_memory_is_refused(bench: Bench) -> None:
    meter = bench.configured()
    with pytest.raises(InstrumentError, match=r"lower \[meter\] sample_rate_hz to \d+"):
        meter.arm(400.0)


def test_nobody_there() -> None:
    with InstrumentServer(make_instrument("rigol_ds1000z", 3.3), None) as server:  # type: ignore[arg-type]
        resource = server.resource
    bench = Bench(KINDS[0], resource)
    with pytest.raises(InstrumentError, match="::SOCKET"):
        bench.meter().identify()
