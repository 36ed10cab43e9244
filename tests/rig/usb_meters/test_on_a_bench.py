"""USB meters by a rig file: opened, identified, and refused by their serial number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_bench import scripted_command

from hil.rig.check import check
from hil.rig.rigfile import load_rig
from hil.sim.instruments.lpm01a import Lpm01aSimulator
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.ppk2 import Ppk2Simulator
from hil.sim.instruments.pty_server import Instrument, PtyServer

RIG = """
name = "desk"
board = "gap8"
[console]
port = "{{dir}}/console"
baud = 1_000_000
answer_s = 0.5
hello_s = 2.0
[flasher]
kind = "virtual"
control = "{{dir}}/control.sock"
timeout_s = 5.0
[meter]
kind = "{kind}"
resource = "{port}"
sample_rate_hz = 5000
range_a = 0.05
timeout_s = 5.0
{serial}
[meter.options]
supply_v = 3.0
[virtual]
seed = 7
"""


@pytest.fixture(params=["ppk2", "lpm01a"])
def kind(request: pytest.FixtureRequest, trace: PowerTrace, port: Path) -> Iterator[str]:
    """A kind of meter, with a simulated one at ``port``."""
    instrument: Instrument = (
        Ppk2Simulator(trace) if request.param == "ppk2" else Lpm01aSimulator(trace)
    )
    server = PtyServer(instrument, port)
    yield request.param
    server.close()


def checked(folder: Path, **values: object) -> tuple[bool, str]:
    path = folder / "desk.toml"
    path.write_text(RIG.format(**values))
    items = check(load_rig(str(path)), scripted_command, allow_double=True)
    meter = items[-1]
    assert meter.name == "meter"
    return meter.ok, meter.detail


def test_a_meter_is_identified(kind: str, port: Path, tmp_path: Path) -> None:
    ok, detail = checked(tmp_path, kind=kind, port=port, serial="")
    expected = {
        "ppk2": "Nordic,PPK2,unknown,HW 9173: a sample every 10 us up to 1 A",
        "lpm01a": "ST,LPM01A,203637364D465012,1.0.6: a sample every 200 us up to 0.05 A",
    }
    assert (ok, detail) == (True, expected[kind])


def test_another_serial_number_is_refused(kind: str, port: Path, tmp_path: Path) -> None:
    ok, detail = checked(tmp_path, kind=kind, port=port, serial='serial = "F5BC3E7B"')
    assert not ok and "the rig file wants serial 'F5BC3E7B'" in detail


def test_a_meter_that_is_not_there(tmp_path: Path) -> None:
    ok, detail = checked(tmp_path, kind="ppk2", port="usb:F5BC3E7B", serial="")
    assert not ok and detail.startswith("usb:F5BC3E7B: 0 PPK2 fit")
