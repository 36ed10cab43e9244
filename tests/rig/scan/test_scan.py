"""Scans: rig files from listings, checked by the project's own loader, and the virtual instruments.

``recorded/`` are listings in the form of ``look``. Their texts are composed in the formats of
stlink-tools 1.7.0, pyOCD 0.46.0 and uhubctl 2.5: nobody had the boards at hand.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from boards import BOARDS, load_board
from hil.cli import app
from hil.core.errors import RigError
from hil.rig import lock
from hil.rig.meter_options import KeysightN6705COptions, OscilloscopeOptions, Ppk2Options
from hil.rig.power import PowerSpec
from hil.rig.rigfile import METER_KINDS, Bench, load_bench, load_rig
from hil.rig.scan import look
from hil.rig.scan.found_meters import RATES_HZ, FoundMeter
from hil.rig.scan.listing import Instrument, Listing, SerialPort
from hil.rig.scan.propose import Proposal, propose, write
from hil.sim.instruments import make_instrument
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.server import InstrumentServer

RECORDED = Path(__file__).parent / "recorded"
NUCLEO = "066AFF535752717867132034"


def recorded(name: str) -> Listing:
    return Listing.from_dict(json.loads((RECORDED / f"{name}.json").read_text()))


def loaded(proposal: Proposal, folder: Path) -> Bench:
    """Written, then read by the loader that everything else uses."""
    return load_bench(str(write(proposal, folder)[-1]))


def test_nucleo_with_a_power_analyser(tmp_path: Path) -> None:
    proposal = propose(recorded("nucleo_n6705c"))
    (rig,) = loaded(proposal, tmp_path).rigs
    assert (rig.name, rig.board) == ("nucleo", "stm32f746")
    assert rig.console.port.endswith(f"STLink_{NUCLEO}-if02")
    assert rig.console.usb_serial == NUCLEO and rig.console.baud == 1_000_000
    assert (rig.flasher.kind, rig.flasher.serial) == ("openocd", NUCLEO)
    assert rig.meter.kind == "keysight_n6705c" and rig.meter.serial == "MY59001234"
    assert rig.meter.resource == "USB0::0x2A8D::0x0F02::MY59001234::INSTR"
    assert rig.meter.options == KeysightN6705COptions(channel=1)
    assert rig.meter.range_a == 0.3  # three times the 102 mA of board.toml
    assert rig.power is None and proposal.remarks == ()
    text = proposal.files["nucleo"]
    assert "its chip is STM32F74x_F75x" in text and "ASSUMED" not in text


def test_gapuino_in_a_switchable_hub(tmp_path: Path) -> None:
    proposal = propose(recorded("gapuino_ppk2_hub"))
    (rig,) = loaded(proposal, tmp_path).rigs
    assert (rig.name, rig.board) == ("gapuino", "gap8")
    assert rig.console.port.endswith("1.4:1.1-port0")  # channel B, not the JTAG channel
    assert (rig.flasher.kind, rig.flasher.location) == ("openocd", "1:1.4")
    assert (rig.meter.kind, rig.meter.resource) == ("ppk2", "usb:F5BC3E7B8D21")
    assert isinstance(rig.meter.options, Ppk2Options)
    assert rig.meter.options.mode == "ampere"  # a proposal must not put a voltage on a board
    assert rig.power == PowerSpec("uhubctl", location="1-1", port=4)
    assert "ASSUMED" in proposal.files["gapuino"]


def test_a_hub_that_cannot_switch_is_no_power_switch() -> None:
    listing = recorded("gapuino_ppk2_hub")
    dumb = dataclasses.replace(listing, uhubctl=listing.uhubctl.replace("ppps", "ganged"))
    assert "[power]" not in propose(dumb).files["gapuino"]


def test_a_crowded_table(tmp_path: Path) -> None:
    proposal = propose(recorded("crowded"))
    bench = loaded(proposal, tmp_path)
    assert [rig.name for rig in bench.rigs] == ["nucleo-1", "nucleo-2", "ai-deck"]
    first, second, deck = bench.rigs
    assert first.flasher.serial == "0670FF2" and second.flasher.serial == "0670FF3"
    assert deck.flasher.serial == "OL5A3C1E" and deck.console.port == "/dev/serial/by-id/cp2102"
    meters = [rig.meter.kind for rig in bench.rigs]
    assert sorted(meters) == ["joulescope", "lpm01a", "rigol_ds1000z"]
    assert first.meter.resource == "usb:FFFFFFFEFFFF" and first.meter.range_a == 0.05
    assert second.meter.resource == "js220/001234"
    assert isinstance(deck.meter.options, OscilloscopeOptions)
    for text in list(proposal.files.values())[:-1]:
        assert "ASSUMED: this meter feeds this board" in text and "MODEL DMM6500" in text
    assert "NOT INSTALLED" in proposal.files["nucleo-1"]
    said = "\n".join(proposal.remarks)
    for part in ("STM32F401xD_xE, no board", "HMC8015", "no rights", "uhubctl: had not ended"):
        assert part in said


def test_nothing_but_a_board(tmp_path: Path) -> None:
    """The file loads and its gaps are marked; `hil rig check` says that the meter is missing."""
    port = SerialPort("/dev/ttyACM0", "/dev/ttyACM0", 0x0483, 0x374B, "AB", "STLink", "1-2:1.2")
    proposal = propose(Listing(ports=(port,)))
    (rig,) = loaded(proposal, tmp_path).rigs
    assert rig.meter.resource == "usb:" and rig.flasher.serial == "AB"
    text = proposal.files["nucleo"]
    assert "Meter: NOT FOUND" in text and "ASSUMED: no tool told which chip it has" in text


@pytest.mark.parametrize("target", ["cortex_m", "stm32f746zg"])
def test_a_chip_that_pyocd_does_not_know_is_assumed(target: str) -> None:
    listing = dataclasses.replace(
        recorded("nucleo_n6705c"),
        st_info="",
        pyocd=json.dumps({"boards": [{"unique_id": NUCLEO, "target": target}]}),
    )
    assert ("ASSUMED" in propose(listing).files["nucleo"]) == (target == "cortex_m")


@pytest.mark.parametrize("kind", ["st_info", "pyocd"])
def test_a_nucleo_f767(kind: str, tmp_path: Path) -> None:
    """RM0410 43.6.1: 0x451; of pyOCD's targets one has to be named (docs/flashing.md)."""
    listing = recorded("nucleo_n6705c")
    said = {
        "st_info": {"st_info": listing.st_info.replace("0x449", "0x451")},
        "pyocd": {
            "st_info": "", "flashers": ("pyocd",),
            "pyocd": json.dumps({"boards": [{"unique_id": NUCLEO, "target": "stm32f767zitx"}]}),
        },
    }  # fmt: skip
    proposal = propose(dataclasses.replace(listing, **said[kind]))
    (rig,) = loaded(proposal, tmp_path).rigs
    assert rig.board == "stm32f767"
    assert rig.flasher.target == ("stm32f767zi" if kind == "pyocd" else "")


def test_no_board_is_told_with_what_there_is() -> None:
    listing = dataclasses.replace(recorded("gapuino_ppk2_hub"), ports=(), probes=())
    lonely = dataclasses.replace(listing, joulescopes=("u/js110/002500",))
    proposal = propose(lonely)
    assert proposal.files == {} and "js110/002500" in proposal.remarks[0]


def test_damaged_words_of_tools_do_no_harm() -> None:
    for text in ("{", '{"boards": 3}', '{"boards": [3]}', f"serial: {NUCLEO}\nchipid: ?"):
        listing = dataclasses.replace(recorded("nucleo_n6705c"), pyocd=text, st_info=text)
        assert "ASSUMED" in propose(listing).files["nucleo"]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    proposal = propose(recorded("nucleo_n6705c"))
    write(proposal, tmp_path)
    with pytest.raises(RigError, match=r"nucleo\.toml: already there"):
        write(proposal, tmp_path)


@pytest.mark.parametrize("board", BOARDS)
def test_every_kind_of_meter_can_be_proposed(tmp_path: Path, board: str) -> None:
    assert set(RATES_HZ) == set(METER_KINDS)
    for kind in RATES_HZ:
        tables = FoundMeter(kind, "usb:", "a meter").tables(load_board(board))
        path = tmp_path / f"{kind}.toml"
        path.write_text(
            f'name = "x"\nboard = "{board}"\n[console]\nport = "p"\nbaud = 1\n'
            '[flasher]\nkind = "gdb"\nserver = "h:1"\n' + "\n".join(t.toml() for t in tables)
        )
        assert load_rig(str(path)).meter.kind == kind


def test_listing_survives_json() -> None:
    listing = recorded("crowded")
    assert Listing.from_dict(json.loads(json.dumps(dataclasses.asdict(listing)))) == listing


# -- the edge -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")


@pytest.fixture(params=["keysight_n6705c", "rigol_ds1000z", "siglent_sds1000xe"])
def virtual(request: pytest.FixtureRequest) -> Iterator[tuple[str, InstrumentServer]]:
    trace = PowerTrace(np.array([0.1]), 1e-5, 3.3)
    with InstrumentServer(make_instrument(request.param, 3.3), trace) as server:
        yield request.param, server


def test_virtual_instruments_are_known_by_their_answer(
    virtual: tuple[str, InstrumentServer], tmp_path: Path
) -> None:
    kind, server = virtual
    (found,) = look.ask_all([server.resource])
    assert found == Instrument(server.resource, server.instrument.idn)
    listing = dataclasses.replace(recorded("nucleo_n6705c"), instruments=(found,))
    (rig,) = loaded(propose(listing), tmp_path / "rigs").rigs
    assert (rig.meter.kind, rig.meter.resource) == (kind, server.resource)
    assert "simulated" in propose(listing).files["nucleo"]


def test_silent_closed_and_busy_instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        resources = [
            f"TCPIP0::127.0.0.1::{silent.getsockname()[1]}::SOCKET",
            "TCPIP0::127.0.0.1::1::SOCKET",
            "TCPIP0::127.0.0.1::2::SOCKET",
        ]
        with lock.locked([f"meter {resources[2]}"], "night"):
            mute, closed, busy = look.ask_all(resources)
    assert not mute.identity and "timed out" in mute.problem
    assert "Connection refused" in closed.problem
    assert "in use by" in busy.problem and "rig night" in busy.problem


def test_a_look_at_this_computer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is attached here; a tool that hangs becomes a remark."""

    def hang(*_: object) -> str:
        raise TimeoutError("nothing within 0 s")

    monkeypatch.setattr(look, "_say", hang)
    listing = look.look(["TCPIP0::127.0.0.1::1::SOCKET"])
    assert {"pyocd: nothing within 0 s", "uhubctl: nothing within 0 s"} <= set(listing.problems)
    assert "TCPIP0::127.0.0.1::1::SOCKET" in [i.resource for i in listing.instruments]


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "look", lambda visa: recorded("nucleo_n6705c"))
    printed = CliRunner().invoke(app, ["rig", "scan"])
    assert printed.exit_code == 0 and "# ---- nucleo.toml" in printed.output
    path = tmp_path / "printed.toml"
    path.write_text(printed.output)
    assert load_rig(str(path)).name == "nucleo"
    written = CliRunner().invoke(app, ["rig", "scan", "--out", str(tmp_path / "rigs")])
    assert written.exit_code == 0 and (tmp_path / "rigs" / "nucleo.toml").exists()

    monkeypatch.setattr(look, "look", lambda visa: Listing())
    nothing = CliRunner().invoke(app, ["rig", "scan"])
    assert nothing.exit_code == 1 and "no board found" in str(nothing.exception)
