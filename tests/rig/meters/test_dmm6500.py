"""The DMM6500: digitized current over a real socket, and why it cannot be a rig's meter.

With HIL_METER_KIND=keithley_dmm6500 on a real one, by the variables of meter_bench.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from meter_bench import SUPPLY_V, trace

from hil.core.errors import InstrumentError
from hil.rig.meters.keithley_dmm6500 import KeithleyDmm6500
from hil.sim.instruments import make_instrument
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


def test_it_refuses_to_be_a_rigs_meter(meter: KeithleyDmm6500) -> None:
    for use in (lambda: meter.configure(1e5, 0.1), lambda: meter.arm(0.1), meter.read):
        with pytest.raises(InstrumentError, match=r"samples no marker beside the current"):
            use()


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
