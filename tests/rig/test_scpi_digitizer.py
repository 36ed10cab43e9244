"""The digitiser's driver over a real socket with pyvisa-py: waveforms, and all that can fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from scripted_bench import Bench

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.trial import WindowSample
from hil.measure.clock import clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.losses import accepted_losses
from hil.rig.console import Console
from hil.rig.frames import encode
from hil.rig.meters.scpi_digitizer import ScpiDigitizer
from hil.sim.scripted_chip import IDLE_W, TOY_NETWORK


@pytest.fixture
def meter(bench: Bench) -> Iterator[ScpiDigitizer]:
    meter = bench.meter()
    meter.configure(200_000, 0.1)
    yield meter
    meter.close()


def test_identity_and_what_is_really_set(bench: Bench, meter: ScpiDigitizer) -> None:
    assert meter.identity == "HIL,VPM1,V000007,1"
    meter.configure(300_000, 0.05)
    assert meter.sample_interval_s == pytest.approx(4e-6)  # 3.33 us rounded up to whole ones
    assert meter.range_a == 0.1
    assert meter.supply_v == pytest.approx(3.3, rel=3e-4)
    assert meter.origin is Origin.MODELLED


def test_windows_come_back_with_their_power(meter: ScpiDigitizer, console: Console) -> None:
    counts = (20, 30, 200)
    with meter.acquisition(0.12) as acquisition:
        cycles = console.repeat_layers(0, 2000, counts)
        waveform = acquisition.read()
    assert waveform.lost_samples == 0 and not waveform.overload
    assert waveform.sample_interval_s == pytest.approx(5e-6)
    assert waveform.meter == "HIL,VPM1,V000007,1" and waveform.origin is Origin.MODELLED

    edges = np.flatnonzero(np.diff(waveform.marker.astype(int)))
    starts, ends = edges[::2] + 1, edges[1::2] + 1
    assert len(starts) == len(ends) == 3
    for layer, count, start, end, window in zip(
        TOY_NETWORK, counts, starts, ends, cycles, strict=True
    ):
        assert window == count * layer.cycles
        seconds = (end - start) * waveform.sample_interval_s
        assert seconds == pytest.approx(window / 100e6, abs=1.01 * waveform.sample_interval_s)
        inside = waveform.power_w[start + 1 : end - 1]
        # Gain error 0.1 % and offset 0.01 % of 0.1 A are the meter's specification.
        limit = 1.3e-3 * layer.power_w + 1e-4 * 0.1 * 3.3
        assert np.mean(inside) == pytest.approx(layer.power_w, abs=limit)
    quiet = waveform.power_w[starts[1] - 300 : starts[1] - 5]
    assert np.mean(quiet) == pytest.approx(IDLE_W, abs=2e-4)


def test_idle_time_passes_only_for_somebody_who_waits(
    bench: Bench, meter: ScpiDigitizer, console: Console
) -> None:
    before = bench.probe.status().time_s
    meter.arm(0.5)
    time.sleep(0.1)
    assert bench.probe.status().time_s == before
    waveform = meter.read()
    assert waveform.duration_s == pytest.approx(0.5)
    assert bench.probe.status().time_s == pytest.approx(before + 0.5, abs=1e-4)
    assert not waveform.marker.any()


def test_overload_is_told(meter: ScpiDigitizer, console: Console) -> None:
    meter.configure(200_000, 0.01)  # the double idles at 10 mA and works at 100 mA
    with meter.acquisition(0.01) as acquisition:
        console.run()
        waveform = acquisition.read()
    assert waveform.overload
    assert waveform.current_a.max() == pytest.approx(0.01, rel=1e-3)


def test_lost_samples_are_told(bench: Bench, meter: ScpiDigitizer, console: Console) -> None:
    bench.probe.disturb("meter", "lose", count=64)
    meter.arm(0.01)
    waveform = meter.read()
    assert waveform.lost_samples == 64
    assert len(waveform) == 2000 - 64


def test_a_rig_may_accept_lost_samples(
    bench: Bench, meter: ScpiDigitizer, console: Console
) -> None:
    """64 of 30,400 samples, lost in the middle of the acquisition."""
    counts = (20, 30, 200)
    bench.probe.disturb("meter", "lose", count=64)
    with meter.acquisition(0.12) as acquisition:
        cycles = console.repeat_layers(0, 2000, counts)
        waveform = acquisition.read()
    plans = [PlannedWindow(n, counts[n], cycles[n]) for n in range(3)]

    def windows(per_million: float) -> tuple[WindowSample, ...]:
        most = accepted_losses(waveform, per_million)
        ratio = clock_ratio(waveform, cycles, 100e6, max_lost=most)
        return measure_windows(waveform, plans, 100e6, 0, ratio=ratio, max_lost=most)

    with pytest.raises(InstrumentError, match=r"64 samples were lost .* 0 are accepted"):
        windows(0)
    for window, layer in zip(windows(5000), TOY_NETWORK, strict=True):
        true_uj = layer.power_w * window.cycles / 100e6 * 1e6
        error_uj = abs(window.energy_uj - true_uj)
        assert error_uj < window.lost_limit_uj + window.edge_uncertainty_uj + 1.5e-3 * true_uj


def test_the_supply_may_be_off(bench: Bench, meter: ScpiDigitizer) -> None:
    bench.probe.power(False)
    meter.arm(0.01)
    assert abs(np.mean(meter.read().current_a)) < 2e-5


class TestFailures:
    def test_a_truncated_block(self, bench: Bench, meter: ScpiDigitizer, console: Console) -> None:
        meter.arm(0.1)
        bench.probe.disturb("meter", "truncate")
        with pytest.raises(InstrumentError, match=r"FETC:ARR:CURR\?: truncated waveform: .* 80000"):
            meter.read()
        meter.arm(0.01)  # connects again
        assert len(meter.read()) == 2000

    def test_a_meter_that_hangs_up(
        self, bench: Bench, meter: ScpiDigitizer, console: Console
    ) -> None:
        meter.arm(0.01)
        bench.probe.disturb("meter", "disconnect")
        with pytest.raises(InstrumentError, match=r"::SOCKET \(HIL.*truncated"):
            meter.read()

    def test_a_meter_that_times_out(self, bench: Bench, meter: ScpiDigitizer) -> None:
        meter.arm(0.01)
        bench.probe.disturb("meter", "mute")
        started = time.monotonic()
        with pytest.raises(InstrumentError, match=r"FETC:ARR:CURR\?: timed out: .* 0\.7 s"):
            meter.read()
        assert time.monotonic() - started < 3.0

    def test_a_chip_that_halts_ends_the_acquisition_with_its_reason(
        self, bench: Bench, meter: ScpiDigitizer
    ) -> None:
        with bench.console() as console:
            bench.probe.flash(bench.firmware(behaviour="crash_on_run"))
            console.wait_hello()
            meter.arm(0.1)
            console._send(encode(5, 1, bytes(5)))  # RUN
            while not bench.probe.status().halted:
                time.sleep(0.01)
            with pytest.raises(InstrumentError, match="the double crashes on RUN"):
                meter.read()

    def test_the_instruments_objection_is_quoted(self, meter: ScpiDigitizer) -> None:
        with pytest.raises(InstrumentError, match=r"-222,.*most is 1.0 A"):
            meter.configure(100_000, 5.0)
        meter.configure(100_000, 1.0)

    def test_too_long_an_acquisition(self, meter: ScpiDigitizer) -> None:
        with pytest.raises(InstrumentError, match=r"20000000 samples.*-222"):
            meter.arm(100.0)

    def test_armed_before_it_was_configured(self, bench: Bench) -> None:
        meter = bench.meter()
        with pytest.raises(InstrumentError, match="before it was configured"):
            meter.arm(0.1)
        meter.close()

    def test_nobody_listens_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(InstrumentError, match=rf"{port}::SOCKET"):
            ScpiDigitizer(f"TCPIP0::127.0.0.1::{port}::SOCKET", timeout_s=0.5).identify()

    def test_no_such_resource(self) -> None:
        with pytest.raises(InstrumentError, match="nonsense: cannot be opened"):
            ScpiDigitizer("nonsense")


def instrument(answers: dict[str, bytes]) -> tuple[str, threading.Thread]:
    """A meter that answers by rote, once; for answers the virtual meter never gives."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with server, connection, connection.makefile("rb") as lines, suppress(ConnectionError):
            for line in lines:
                connection.sendall(answers.get(line.decode().strip(), b""))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"TCPIP0::127.0.0.1::{server.getsockname()[1]}::SOCKET", thread


GOOD = {
    "SYST:ERR?": b'0,"No error"\n',
    "*IDN?": b"ACME,DMM,17,2\n",
    "CURR:RANG?": b"1.0\n",
    "SWE:TINT?": b"0.001\n",
    "MEAS:VOLT?": b"3.0\n",
    "STAT:OPER:COND?": b"16\n",
    "FETC:ARR:CURR?": b"#212\x0a\x0a\x0a\x3f##\x00\x40\x00\x00\x80\x3f\n",
    "FETC:ARR:MARK?": b"#13\x00\x01\x0a\n",
    "FETC:STAT?": b"3,0,0,0.25\n",
}


def read_from(answers: dict[str, bytes]) -> object:
    resource, thread = instrument(answers)
    meter = ScpiDigitizer(resource, timeout_s=0.3)
    try:
        meter.configure(1000, 1.0)
        meter.arm(0.003)
        return meter.read()
    finally:
        meter.close()
        thread.join(2.0)


def test_data_bytes_may_look_like_ends_and_headers() -> None:
    waveform = read_from(GOOD)
    expected = np.frombuffer(b"\x0a\x0a\x0a\x3f##\x00\x40\x00\x00\x80\x3f", "<f4")
    assert np.array_equal(waveform.current_a, expected)  # type: ignore[attr-defined]
    assert waveform.origin is Origin.MEASURED  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "answer", "says"),
    [
        ("FETC:ARR:CURR?", b"1.0,2.0\n", "begins with # and a digit"),
        ("FETC:ARR:CURR?", b"#15abcde\n", "5 bytes for 4-byte"),
        ("FETC:ARR:CURR?", b"#212" + bytes(8) + b"\x00\x00\xc0\x7f\n", "sample 2 of 3 is nan"),
        ("FETC:ARR:CURR?", b"#18abcdabcd\n", "2 currents and 3 markers"),
        ("FETC:STAT?", b"3,0\n", "not four numbers"),
        ("FETC:STAT?", b"3,0,1,0\n", "truncated waveform: 3 samples and 1 reported as lost"),
        ("SWE:TINT?", b"soon\n", r"SWE:TINT\?: answered 'soon'"),
        ("STAT:OPER:COND?", b"0\n", "INIT: it is not measuring"),
        ("SYST:ERR?", b'-113,"Undefined header"\n', "Undefined header"),
        ("*IDN?", b"", r"\*IDN\?: timed out"),
    ],
)
def test_answers_that_cannot_be_used(command: str, answer: bytes, says: str) -> None:
    with pytest.raises(InstrumentError, match=says):
        read_from({**GOOD, command: answer})


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("milli_volt", "does the meter tell millivolts"),
        ("milli_ampere", "does the meter tell milliamperes"),
        ("preset", "somebody changed its settings"),  # the byte order is another one then
    ],
)
def test_numbers_in_other_units_are_no_waveform(
    bench: Bench, meter: ScpiDigitizer, kind: str, says: str
) -> None:
    bench.probe.disturb("meter", kind)
    with (
        pytest.raises(InstrumentError, match=says),
        meter.acquisition(0.006) as acquisition,
    ):
        acquisition.read()


@pytest.mark.parametrize(
    ("kind", "says"), [("milli_ampere", "CURR:RANG"), ("milli_second", "SWE:TINT")]
)
def test_settings_in_other_units_are_refused(
    bench: Bench, meter: ScpiDigitizer, kind: str, says: str
) -> None:
    bench.probe.disturb("meter", kind)
    with pytest.raises(InstrumentError, match=rf"{says}.*other units"):
        meter.configure(200_000, 0.1)
