"""The DMM6500: digitized current over a real socket, and what only this meter has as a rig's.

With HIL_METER_KIND=keithley_dmm6500 on a real one, by the variables of meter_bench.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from meter_bench import SUPPLY_V, trace

from hil.core.errors import InstrumentError
from hil.core.trial import WindowSample
from hil.measure.clock import clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig.meter_options import KeithleyDmm6500Options
from hil.rig.meters.keithley_dmm6500 import KeithleyDmm6500
from hil.sim.instruments import make_instrument
from hil.sim.instruments.reading_buffer import ReadingBuffer
from hil.sim.instruments.server import InstrumentServer

REAL = os.environ.get("HIL_METER_KIND") == "keithley_dmm6500"
needs_simulator = pytest.mark.skipif(REAL, reason="needs a known profile or a fault to order")


@pytest.fixture
def server() -> Iterator[InstrumentServer]:
    with InstrumentServer(make_instrument("keithley_dmm6500", SUPPLY_V, 3), trace()) as server:
        yield server


@pytest.fixture
def meter(server: InstrumentServer) -> Iterator[KeithleyDmm6500]:
    resource = os.environ["HIL_METER_RESOURCE"] if REAL else server.resource
    meter = KeithleyDmm6500(resource, timeout_s=10.0)
    yield meter
    meter.close()


def test_a_steady_current(meter: KeithleyDmm6500) -> None:
    # Accuracy of the simulated one: 0.1 % of reading, 0.01 % of range.
    told = {"LOAD_A": "0.01", "RANGE_A": "0.01", "GAIN": "1e-3", "OFFSET_A": "1e-6"}
    if REAL:
        told = {key: os.environ.get(f"HIL_METER_{key}", "") for key in told}
    if not all(told.values()):
        pytest.skip(f"HIL_METER_{' HIL_METER_'.join(told)} do not all tell what is to be read")
    true_a, range_a, gain, offset_a = map(float, told.values())
    found = meter.digitize(0.009, 100_000, range_a)
    assert len(found.current_a) == 900 and found.sample_interval_s == pytest.approx(1e-5)
    assert found.mean_a() == pytest.approx(true_a, abs=gain * true_a + 1.1 * offset_a)


def test_closed_and_opened_again(meter: KeithleyDmm6500) -> None:
    identity = meter.identify()
    meter.close()
    meter.close()  # again is no error
    assert meter.identify() == identity
    assert len(meter.digitize(0.001, 100_000, 0.1).current_a) == 100


@needs_simulator
def test_from_the_markers_rising_edge(meter: KeithleyDmm6500) -> None:
    found = meter.digitize(0.005, 50_000, 0.1, start="rising")
    true_a = 0.2 / SUPPLY_V
    assert found.mean_a() == pytest.approx(true_a, rel=1.2e-3)
    assert float(np.min(found.current_a)) > 0.9 * true_a


@needs_simulator
def test_a_trigger_that_never_comes(server: InstrumentServer, meter: KeithleyDmm6500) -> None:
    server.instrument.faults.no_trigger = True
    meter._timeout_s = 0.2
    with pytest.raises(InstrumentError, match="INIT: timed out"):
        meter.digitize(1e-3, 50_000, 0.1, start="falling")


@needs_simulator
def test_overload_has_no_mean(meter: KeithleyDmm6500) -> None:
    found = meter.digitize(0.005, 50_000, 0.001)
    assert found.overload and found.current_a.max() == pytest.approx(0.001)
    with pytest.raises(InstrumentError, match="overload True"):
        found.mean_a()


@needs_simulator
def test_lost_samples_are_found_in_the_readings_times(
    server: InstrumentServer, meter: KeithleyDmm6500
) -> None:
    server.instrument.faults.lose = 17
    found = meter.digitize(0.005, 50_000, 0.1)
    assert found.lost_samples == 17 and len(found.current_a) == 250 - 17
    with pytest.raises(InstrumentError, match="17 samples lost"):
        found.mean_a()


@pytest.mark.parametrize(
    ("duration_s", "rate_hz", "range_a", "says"),
    [
        (1e-3, 2e6, 0.1, "sample_rate_hz = 2e[+]06 Hz is out of its limits, 1000 to 1e[+]06"),
        (1e-3, 1e5, 5.0, "range_a = 5 A is out"),
        (8.0, 1e6, 0.1, "readings = 8e[+]06"),
        (1e-6, 1e5, 0.1, "readings = 1 "),
    ],
)
def test_limits(
    meter: KeithleyDmm6500, duration_s: float, rate_hz: float, range_a: float, says: str
) -> None:
    with pytest.raises(InstrumentError, match=says):
        meter.digitize(duration_s, rate_hz, range_a)


@needs_simulator
def test_errors_in_its_queue(server: InstrumentServer, meter: KeithleyDmm6500) -> None:
    server.instrument.execute('TRAC:MAKE "other",6790000')
    with pytest.raises(InstrumentError, match=r"objects: .*-225"):
        meter.digitize(0.5, 1_000_000, 0.1)


# -- as a rig's meter: what the driver suite does not ask of every meter -------------------

OPTIONS = KeithleyDmm6500Options(SUPPLY_V)
QUIET_S, WINDOW_S = 0.004, 0.008


@contextmanager
def bench(*profile: tuple[float, float, bool], **how: object) -> Iterator[KeithleyDmm6500]:
    """A driver, configured, and a simulated DMM of which ``how`` are attributes."""
    instrument = make_instrument("keithley_dmm6500", SUPPLY_V, 3)
    for name, value in how.items():
        assert hasattr(instrument, name)
        setattr(instrument, name, value)
    with InstrumentServer(instrument, trace(profile or TWO_WINDOWS)) as server:
        meter = KeithleyDmm6500(server.resource, 10.0, 50.0, OPTIONS)
        meter.configure(100_000, 0.1)
        yield meter
        meter.close()


LOW, HIGH = (QUIET_S, 0.033, False), (WINDOW_S, 0.2, True)
TWO_WINDOWS = (LOW, HIGH, LOW, HIGH, LOW)
PLANS = [PlannedWindow(layer, 1, round(WINDOW_S * 1e8)) for layer in range(2)]


def measured(meter: KeithleyDmm6500) -> tuple[WindowSample, ...]:
    """The whole way to energies, with the counts of a firmware that ran two windows."""
    meter.arm(sum(seconds for seconds, *_ in TWO_WINDOWS))
    waveform = meter.read()
    ratio = clock_ratio(waveform, [plan.cycles for plan in PLANS], 1e8)
    return measure_windows(waveform, PLANS, 1e8, 0, ratio=ratio)


@needs_simulator
@pytest.mark.parametrize(
    ("switch_s", "rise_s", "fall_s"),
    [(0.0, 0.0, 0.0), (40e-6, 8e-6, 8e-6), (250e-6, 50e-6, 0.0), (0.0, 0.0, 50e-6)],
)
def test_energies_whatever_a_switch_and_an_edge_take(
    switch_s: float, rise_s: float, fall_s: float
) -> None:
    times_s = {"switch_s": switch_s, "rise_s": rise_s, "fall_s": fall_s}
    with bench(**times_s, gain=1.0, offset=0.0) as meter:
        for sample in measured(meter):
            true_uj = 0.2 * WINDOW_S * 1e6
            limit_uj = sample.edge_limit_uj + sample.edge_uncertainty_uj
            assert sample.energy_uj == pytest.approx(true_uj, abs=limit_uj + 1e-4 * true_uj)
            assert sample.base_power_w == pytest.approx(0.033, abs=1e-4)
            assert abs(sample.clock_ratio - 1) <= 2 * (switch_s + 60e-6) / WINDOW_S


@needs_simulator
def test_times_relative_to_something_else_than_a_buffers_first_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both since the run began: the buffers' times would be shifted by that twice."""
    own = ReadingBuffer.column

    def column(buffer: ReadingBuffer, element: str) -> np.ndarray:
        return own(buffer, element) + (buffer.times_s[0] if element == "REL" else 0.0)

    monkeypatch.setattr(ReadingBuffer, "column", column)
    with bench(gain=1.0, offset=0.0) as meter:
        for sample in measured(meter):
            limit_uj = sample.edge_limit_uj + sample.edge_uncertainty_uj
            assert sample.energy_uj == pytest.approx(0.2 * WINDOW_S * 1e6, abs=limit_uj + 0.2)


@needs_simulator
@pytest.mark.parametrize(
    ("profile", "how", "says"),
    [
        # The second edge comes while the buffers change, 20 us after the first, and is not seen.
        ((LOW, (20e-6, 0.2, True), *TWO_WINDOWS), {}, r"ends with the marker high|marked windows"),
        # A pulse in the second window, long enough to be seen: one window more.
        (
            (*TWO_WINDOWS[:3], (0.003, 0.2, True), (2e-4, 0.2, False), (0.0048, 0.2, True), LOW),
            {},
            "3 marked windows",
        ),
        # Four edges, but not those of the windows: one is missed, one too many.
        ((LOW, (0.001, 0.2, True), LOW, (2 * WINDOW_S, 0.2, True), LOW), {}, "window .* lasts|off"),
        ((), {"switch_s": 2e-3}, "samples were lost"),
        ((), {"switch_s": 0.9e-3}, r"each edge of the marker to \+-\d+ us, window 0 lasts"),
    ],
)
def test_edges_that_went_wrong_give_no_energy(
    profile: tuple[tuple[float, float, bool], ...], how: dict[str, object], says: str
) -> None:
    with bench(*profile, **how) as meter, pytest.raises(InstrumentError, match=says):
        measured(meter)


@needs_simulator
def test_a_marker_that_is_high_when_armed() -> None:
    """Its fall is taken for a rise, quiet for work."""
    with bench((0.1, 0.033, True), *TWO_WINDOWS) as meter:
        meter.arm(0.005)
        meter.read()  # the line has risen meanwhile
        meter.arm(0.12)
        waveform = meter.read()
    with pytest.raises(InstrumentError, match="ends with the marker high"):
        measure_windows(waveform, PLANS, 1e8, 0)


@needs_simulator
def test_a_model_that_was_stopped_from_elsewhere() -> None:
    with bench(aborts_on_command=True) as meter:
        meter.arm(0.05)
        says = "lost samples: its trigger model is ABORTED after 0 readings of 7000"
        with pytest.raises(InstrumentError, match=says):
            meter.read()


@needs_simulator
def test_a_board_that_dies_ends_the_record(server: InstrumentServer) -> None:
    meter = KeithleyDmm6500(server.resource, 10.0, 50.0, OPTIONS)
    meter.configure(100_000, 0.1)
    meter.arm(0.05)
    server.instrument.halt("the chip is dead")
    with pytest.raises(InstrumentError, match="its trigger model is ABORTED after 0 readings"):
        meter.read()


@needs_simulator
def test_the_supply_must_be_told(meter: KeithleyDmm6500) -> None:
    with pytest.raises(InstrumentError, match=r"measures no voltage; set supply_v"):
        meter.configure(1e5, 0.1)


@needs_simulator
def test_digitizing_takes_the_rigs_settings_away() -> None:
    with bench() as meter:
        meter.digitize(0.001, 100_000, 0.1)
        with pytest.raises(InstrumentError, match="armed before it was configured"):
            meter.arm(0.01)
