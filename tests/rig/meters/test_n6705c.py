"""What only the N6705C can get wrong: logs left on, an output that is off, a missing module."""

from __future__ import annotations

import pytest
from meter_bench import SUPPLY_V, TIMEOUT_S, trace

from hil.core.errors import InstrumentError
from hil.rig.meter_options import KeysightN6705COptions
from hil.rig.meters.keysight_n6705c import KeysightN6705C
from hil.sim.instruments.keysight_n6705c import KeysightN6705C as Simulated
from hil.sim.instruments.server import InstrumentServer


def driver(server: InstrumentServer, channel: int = 1) -> KeysightN6705C:
    options = KeysightN6705COptions(channel=channel)
    return KeysightN6705C(server.resource, TIMEOUT_S, 1.0, options)


def test_logs_of_other_programs_are_switched_off() -> None:
    instrument = Simulated(SUPPLY_V)
    instrument.leave_log_on(2)
    with InstrumentServer(instrument, trace()) as server:
        meter = driver(server)
        meter.configure(97_000, 0.05)
        assert meter.sample_interval_s == pytest.approx(10.24e-6)  # 20.48 with the log on
        assert meter.range_a == pytest.approx(0.1)
        meter.close()


def test_an_output_that_is_off() -> None:
    instrument = Simulated(SUPPLY_V)
    instrument.execute("OUTP OFF,(@1)")
    with InstrumentServer(instrument, trace()) as server:
        with pytest.raises(InstrumentError, match="channel 1's output is off; set the board's"):
            driver(server).configure(20_000, 0.05)
        assert instrument.execute("OUTP? (@1)") == b"0\n"  # and stays so


@pytest.mark.parametrize(
    ("channel", "says"), [(2, "channel 2 is a N6731B"), (4, "no channel 4, only 1 to 2")]
)
def test_a_channel_without_the_module(channel: int, says: str) -> None:
    with (
        InstrumentServer(Simulated(SUPPLY_V), trace()) as server,
        pytest.raises(InstrumentError, match=says),
    ):
        driver(server, channel).identify()
