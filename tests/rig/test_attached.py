"""What is missing is said before anything that takes long, all of it at once."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from test_check import GAP8, STM32, own_state, rig_of  # noqa: F401 - a fixture

from hil.cli import measure
from hil.cli_energyrunner import Test as EnergyRunnerTest
from hil.cli_energyrunner import energyrunner
from hil.core.errors import RigError
from hil.core.provenance import Origin
from hil.loop.subject import Subject
from hil.rig import attached, presence
from hil.rig.attached import meter_missing, missing_parts, refuse_missing
from hil.rig.bench import Places, check_real, open_meter
from hil.rig.lock import locked
from hil.rig.rigfile import load_rig
from hil.sim.instruments import make_instrument
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.server import InstrumentServer


@pytest.fixture(autouse=True)
def no_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "usb_devices", lambda: [])
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A rig's values: everything is missing, and nothing takes time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    supply = f'kind = "scpi_output"\nresource = "TCPIP0::127.0.0.1::{port}::SOCKET"'
    return STM32 | {"resource": f"TCPIP0::127.0.0.1::{port}::SOCKET", "power": supply}


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, lost: dict[str, str]) -> None:
    rigs = [
        rig_of(tmp_path, "nucleo", **lost),
        rig_of(tmp_path, "gapuino", **GAP8),
        load_rig("virtual-gap8"),
    ]
    with pytest.raises(RigError, match="nothing was started") as caught:
        refuse_missing(rigs)
    _, *lines, mend = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["  nucleo", "[console] port"], ["  nucleo", "[flasher]"],
        ["  nucleo", "[meter] resource"], ["  nucleo", "[power]"],
        ["  gapuino", "[console] port"], ["  gapuino", "[flasher]"],
        ["  gapuino", "[meter] resource"], ["  gapuino", "[power]"],
    ]  # fmt: skip
    assert "/dev/serial/by-id/nucleo does not exist" in lines[0]
    assert "no debug probe with serial 066AFF53" in lines[1]
    assert "gap8-openocd is not installed" in lines[5]
    assert "nobody answers at 127.0.0.1" in lines[2] and "0 PPK2 fit" in lines[6]
    assert "name one of the other rigs alone" in mend


def test_a_twin_brings_its_parts() -> None:
    rigs = [load_rig("virtual-gap8"), load_rig("virtual-stm32f746")]
    for rig in rigs:
        places = Places(rig.console.port, rig.flasher, rig.meter.resource)
        assert set(missing_parts(rig, places).values()) == {""}
    refuse_missing(rigs)


def test_what_a_place_reaches_is_not_asked_before_it_is_ours(
    tmp_path: Path, lost: dict[str, str]
) -> None:
    values = lost | {
        "port": "{place_serial}",
        "flasher": 'kind = "gdb"\nserver = "{place_gdb}"',
        "power": 'kind = "labgrid"\n[place]\nname = "desk"\ncoordinator = "127.0.0.1:1"',
    }
    with pytest.raises(RigError) as caught:
        refuse_missing([rig_of(tmp_path, "far", **values)])
    lines = str(caught.value).splitlines()[1:-1]
    assert len(lines) == 1 and "far: [meter] resource: nobody answers" in lines[0]


def test_parts_that_somebody_else_uses_are_told(tmp_path: Path, lost: dict[str, str]) -> None:
    rig = rig_of(tmp_path, "nucleo", **lost)
    parts = Places(rig.console.port, rig.flasher, rig.meter.resource).parts
    with locked([parts["meter"]], "other"), pytest.raises(RigError) as caught:
        refuse_missing([rig])
    assert "on rig other since" in str(caught.value).splitlines()[3]


@pytest.mark.parametrize("verb", ["measure", "energyrunner"])
def test_a_verb_looks_before_it_works(
    tmp_path: Path, lost: dict[str, str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Subject, "load", lambda *_: pytest.fail("it has begun to work"))
    rig = str(rig_of(tmp_path, "nucleo", **lost).path)
    with pytest.raises(RigError, match=r"(?s)\[console\] port.*\[flasher\].*\[meter\] resource"):
        if verb == "measure":
            measure(rig)
        else:
            energyrunner(rig, EnergyRunnerTest.ENERGY)
    assert not (tmp_path / "runs").exists()


def test_measure_names_the_folder_by_the_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option holds a path; it must not become a part of the folder's name."""
    folders: list[Path] = []
    shipped = load_rig("virtual-gap8").path.read_text(encoding="utf-8")
    (tmp_path / "nuc.toml").write_text(shipped.replace('"virtual-gap8"', '"desk 2/left"', 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Subject, "load", lambda *_: None)
    monkeypatch.setattr("hil.loop.campaign.run_campaign", lambda *all: folders.append(all[2]))
    monkeypatch.setattr("hil.cli._write_report", lambda *_: None)
    measure("./nuc.toml")
    assert folders == [Path("runs/0001-desk_2_left")] and folders[0].is_dir()


# -- meters ---------------------------------------------------------------------------------


def test_an_instrument_that_tells_its_name_is_there() -> None:
    instrument = make_instrument("rigol_ds1000z", 3.3)
    with InstrumentServer(instrument, PowerTrace(np.array([0.1]), 1e-3, 3.3)) as server:
        assert meter_missing("rigol_ds1000z", server.resource) == ""


def test_a_simulated_meter_is_refused_beside_a_real_board(tmp_path: Path) -> None:
    """Its energies would be called measured."""
    with InstrumentServer(
        make_instrument("rigol_ds1000z", 3.3), PowerTrace(np.array([0.1]), 1e-3, 3.3)
    ) as server:
        options = "[meter.options]\nshunt_ohms = 0.5\nsupply_v = 3.3"
        values = {"meter": "rigol_ds1000z", "resource": server.resource, "options": options}
        rig = rig_of(tmp_path, "nucleo", **STM32 | values)
        with ExitStack() as stack:
            places = Places(rig.console.port, rig.flasher, server.resource)
            meter = open_meter(rig, places, stack)
            assert meter.origin is Origin.MODELLED
            with pytest.raises(RigError, match=r"HILSIM.* is a simulated one, the board is not"):
                check_real(rig, meter)


@pytest.fixture(params=[b"", b"KEITHLEY"])
def gateway(request: pytest.FixtureRequest) -> Iterator[int]:
    """Takes a connection, tells a part of a line or nothing, and waits."""
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(request.param)
                left.wait(10.0)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        left.set()
        thread.join(10.0)


def test_a_socket_without_an_instrument_behind_it(
    gateway: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "REACH_S", 0.1)
    said = meter_missing("keysight_n6705c", f"TCPIP0::127.0.0.1::{gateway}::SOCKET")
    assert "takes a connection and does not answer *IDN? within 0.1 s" in said


def test_an_instrument_that_is_mute_behind_its_own_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port takes the connection (HiSLIP's is fixed, so it is served if it is free)."""
    try:
        listener = socket.create_server(("127.0.0.1", 4880))
    except OSError as error:
        pytest.skip(f"port 4880 is in use: {error}")
    monkeypatch.setattr(attached, "LONGEST_S", 0.5)
    values = STM32 | {"resource": "TCPIP0::127.0.0.1::hislip0::INSTR", "power": GAP8["power"]}
    rig = rig_of(tmp_path, "nucleo", **values)
    with listener:
        places = Places(rig.console.port, rig.flasher, rig.meter.resource)
        missing = missing_parts(rig, places)
    assert "nobody answers within 0.5 s" in missing["meter"]
    assert "[meter] resource" in missing["meter"]
    assert "uhubctl is not installed" in missing["power"]


def test_meters_on_usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "0 LPM01A fit; attached are: none" in meter_missing("lpm01a", "usb:2036")
    gone = meter_missing("ppk2", str(tmp_path / "tty"))
    assert "does not exist" in gone and "[meter] resource" in gone
    (tmp_path / "tty").touch()
    assert meter_missing("ppk2", str(tmp_path / "tty")) == ""
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", None)
    assert "pip install 'hil-clio[joulescope]'" in meter_missing("joulescope", "js220")
    library = _Library()
    monkeypatch.setattr(attached.joulescope, "open_library", lambda: library)
    assert "0 Joulescopes fit; attached are: u/js110/7" in meter_missing("joulescope", "js220")
    assert meter_missing("joulescope", "js110") == "" and library.ended == 2


class _Library:
    """Of pyjoulescope_driver.Driver what a look at the devices needs."""

    ended = 0

    def device_paths(self) -> list[str]:
        return ["u/js110/7"]

    def finalize(self) -> None:
        self.ended += 1
