"""A hung board, a lost port, a dead supply: each step on real wires, each step in the journal."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_bench import Bench

from hil.core.console import CRC, HEADER, IDENTITY, PROTOCOL_VERSION
from hil.core.console import SELF_TEST as WIRE_SELF_TEST
from hil.core.errors import (
    InstrumentError,
    PortLostError,
    RigError,
    TargetError,
    WrongOutputError,
)
from hil.core.provenance import Origin, Provenance
from hil.core.trial import TrialKind, Workload
from hil.loop.session import Session
from hil.loop.settings import Settings
from hil.rig import bench as bench_module
from hil.rig import lock, ports, recovery, returning
from hil.rig.bench import OpenRig, open_rig
from hil.rig.flashers import command_line
from hil.rig.flashers.command_line import Command, CommandLineFlasher
from hil.rig.flashers.tool import Tool
from hil.rig.rigfile import Rig, load_rig
from hil.run.journal import Journal

RIG = """
name = "quick"
board = "gap8"
[console]
port = "{port}"
baud = 1_000_000
answer_s = 0.5
hello_s = 0.5
usb_serial = "USB7"
[flasher]
kind = "virtual"
control = "{control}"
timeout_s = 5.0
[meter]
kind = "scpi_digitizer"
resource = "{resource}"
sample_rate_hz = 100_000
range_a = 0.1
timeout_s = 0.5
[power]
kind = "virtual"
off_s = 0.01
"""


class Cable:
    """A serial adapter in front of the twin's console that can be pulled and plugged again."""

    def __init__(self, console: str) -> None:
        self._console = os.open(console, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._console)
        self._pulled = threading.Event()
        self.plug()

    def plug(self) -> None:
        """The system gives the adapter whatever name is free."""
        self._pulled.clear()
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def pull(self) -> None:
        self._pulled.set()
        self._thread.join(5.0)
        os.close(self._slave)
        os.close(self._master)

    def close(self) -> None:
        self.pull()
        os.close(self._console)

    def _carry(self) -> None:
        ways = {self._console: self._master, self._master: self._console}
        while not self._pulled.is_set():
            for end in select.select(list(ways), [], [], 0.01)[0]:
                os.write(ways[end], os.read(end, 4096))


@pytest.fixture
def cable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cable]:
    cable = Cable(bench.port)

    def comports() -> list[SimpleNamespace]:
        other = SimpleNamespace(
            device="/dev/ttyS0", serial_number=None, location=None, description="other"
        )
        mine = SimpleNamespace(
            device=cable.port, serial_number="USB7", location=None, description="mine"
        )
        return [other, mine]

    monkeypatch.setattr(ports.list_ports, "comports", comports)
    yield cable
    cable.close()


def rig_file(bench: Bench, port: str, folder: Path) -> Rig:
    path = folder / "quick.toml"
    places = {"port": port, "control": bench.probe.path, "resource": bench.resource}
    path.write_text(RIG.format(**places))
    return load_rig(str(path))


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")


@pytest.fixture
def rig(bench: Bench, cable: Cable, tmp_path: Path) -> Iterator[OpenRig]:
    """A rig whose board runs the double's normal firmware."""
    with open_rig(rig_file(bench, cable.port, tmp_path), allow_double=True) as opened:
        opened.ensure_firmware(bench.firmware())
        yield opened


PROVENANCE = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "chip", 100_000_000, "none", "ab" * 32, "toy",
    "00" * 32, "double", "meter", "quick", PROTOCOL_VERSION,
)  # fmt: skip
SELF_TEST = Workload(TrialKind.SELF_TEST, 3, 0, "")


def run_self_test(rig: OpenRig, folder: Path, network: object = None) -> list[str]:
    """The kinds of the run's events, after a session has run one workload."""
    with Journal.create(folder, "quick", {}) as journal:
        expected = SimpleNamespace(inputs=np.zeros((1, 1)))
        session = Session(
            rig, network, expected, PROVENANCE, journal, Settings(), lambda _: None,
            threading.Event(),
        )  # fmt: skip
        try:
            session.run([SELF_TEST])
        finally:
            run = journal.read()
            rig.run = run
    return [event.what for event in run.events]


FRAME_BYTES = 2 + HEADER.size + CRC.size


def deaf(bench: Bench, answers: int = 1_000_000, hellos: int = 0) -> None:
    """Nothing the board says arrives: so many answers to SELF_TEST and announcements."""
    lost = answers * (FRAME_BYTES + WIRE_SELF_TEST.size) + hellos * (FRAME_BYTES + IDENTITY.size)
    bench.probe.disturb("to_host", "drop", 0, lost)


class Supply:
    """The twin's supply, and what was asked of it. ``after`` is called when it has switched."""

    def __init__(self, bench: Bench, after: Callable[[bool], None] = lambda _: None) -> None:
        self.bench = bench
        self.after = after
        self.seen: list[bool] = []

    def switch(self, on: bool) -> None:
        self.seen.append(on)
        self.bench.probe.power(on)
        self.after(on)

    def close(self) -> None:
        """Nothing is held."""


class TestSession:
    def test_a_board_that_only_power_brings_back(self, rig, bench, tmp_path):
        supply = rig.power = Supply(bench)
        # Silent on SELF_TEST, when asked twice whether it lives (an answer as long as an
        # announcement), and after the reset and the probe's own power-cycle, where it does not
        # announce itself and is asked three times.
        deaf(bench, answers=1, hellos=2 + 4 + 4)
        events = run_self_test(rig, tmp_path / "run")
        assert [e for e in events if e != "resync"] == [
            "retry", "reset", "power-cycle", "not recovered", "retry", "power-cycle",
        ]  # fmt: skip
        assert supply.seen == [False, True]
        assert [t.ok for t in rig.run.trials] == [False, True]

    def test_a_board_that_nothing_brings_back(self, rig, bench, tmp_path):
        rig.power = Supply(bench)
        deaf(bench)
        with pytest.raises(TargetError, match="did not announce itself"):
            run_self_test(rig, tmp_path / "run")
        events = [event.what for event in rig.run.events]
        assert events.count("retry") == 2 and events.count("not recovered") == 2
        assert [t.verdict.who for t in rig.run.trials] == ["target"]

    def test_without_a_switch_a_reset_is_all(self, rig, bench, tmp_path):
        rig.power = None
        deaf(bench)
        with pytest.raises(TargetError):
            run_self_test(rig, tmp_path / "run")
        assert [event.what for event in rig.run.events].count("retry") == 1

    @pytest.mark.parametrize("disturbed", [True, False])
    def test_wrong_outputs_behind_a_disturbed_line(
        self, rig, bench, tmp_path, monkeypatch, disturbed
    ):
        """A restart whose announcement is damaged leaves a board without input: not the code's
        fault, and tried again. Without a disturbance it is, and is not."""
        rig.power, attempts = None, []

        def perform(session, _workload, _parts):
            attempts.append(None)
            if disturbed:
                bench.probe.disturb("to_host", "insert", 0, 3)
                session.rig.console.identify()
            if len(attempts) == 1:
                raise WrongOutputError("the output of layer 1 differs")

        monkeypatch.setattr(Session, "_perform", perform)
        if disturbed:
            assert "reset" in run_self_test(rig, tmp_path / "run")
            assert [t.verdict.who for t in rig.run.trials] == ["protocol", ""]
            assert "it may have lost that the board restarted" in rig.run.trials[0].verdict.reason
        else:
            with pytest.raises(WrongOutputError):
                run_self_test(rig, tmp_path / "run")
            assert [t.verdict.who for t in rig.run.trials] == ["output"]

    def test_a_port_that_comes_back_under_another_name(self, rig, cable, tmp_path):
        before = cable.port
        cable.pull()
        # Held by somebody, the old name cannot be given again.
        holder, spare = os.openpty()
        cable.plug()
        assert cable.port != before
        events = run_self_test(rig, tmp_path / "run")
        os.close(holder)
        os.close(spare)
        assert [e for e in events if e != "resync"] == [
            "retry", "reset", "port lost", "port found",
        ]  # fmt: skip
        assert rig.console.port == cable.port
        assert [t.ok for t in rig.run.trials] == [False, True]

    def test_a_port_that_only_power_brings_back(self, rig, bench, cable, tmp_path, monkeypatch):
        """A board on USB power whose adapter hangs: gone from the bus until its supply was off."""
        monkeypatch.setattr(
            recovery, "wait_for_port", lambda p, i, s: returning.wait_for_port(p, i, s, 0.2)
        )
        comports, attached = ports.list_ports.comports, []
        monkeypatch.setattr(ports.list_ports, "comports", lambda: comports() if attached else [])

        def after(on: bool) -> None:
            if on:
                cable.plug()
                attached.append(True)

        supply = rig.power = Supply(bench, after)
        resets = []
        monkeypatch.setattr(rig.flasher, "reset", lambda: resets.append(None))
        cable.pull()
        events = run_self_test(rig, tmp_path / "run")
        assert [e for e in events if e != "resync"] == [
            "retry", "reset", "port lost", "port lost", "port lost", "not recovered",
            "retry", "power-cycle", "port lost", "port found",
        ]  # fmt: skip
        assert len(resets) == 1 and supply.seen == [False, True]
        assert [t.ok for t in rig.run.trials] == [False, True]

    def test_the_meter_is_set_up_before_the_board_is_asked(self, rig, bench, tmp_path, monkeypatch):
        """A PPK2 in source mode powers the board."""
        attempts = []

        def perform(_session, _workload, _parts):
            attempts.append(None)
            if len(attempts) == 1:
                raise InstrumentError("the port has vanished")

        monkeypatch.setattr(Session, "_perform", perform)
        events = run_self_test(rig, tmp_path / "run")
        assert [e for e in events if e != "resync"] == ["retry", "meter set-up", "reset"]

    def test_a_port_that_stays_away(self, rig, cable, tmp_path, monkeypatch):
        monkeypatch.setattr(ports.list_ports, "comports", lambda: [])
        monkeypatch.setattr(
            recovery, "wait_for_port", lambda p, i, s: returning.wait_for_port(p, i, s, 0.2)
        )
        cable.pull()
        with pytest.raises(PortLostError, match="was lost"):
            run_self_test(rig, tmp_path / "run")
        details = [event.detail for event in rig.run.events if event.what == "not recovered"]
        assert len(details) == 2 and "USB7 did not come back" in details[0]
        cable.plug()


def test_two_adapters_with_one_serial_number(monkeypatch):
    twins = [
        SimpleNamespace(device=f"/dev/ttyUSB{i}", serial_number="X", location=None, description="")
        for i in (0, 1)
    ]
    monkeypatch.setattr(ports.list_ports, "comports", lambda: twins)
    with pytest.raises(RigError, match=r"/dev/ttyUSB0, /dev/ttyUSB1 all have USB serial X"):
        returning.wait_for_port("/dev/ttyUSB0", "", "X", 0.1)


# -- at the start of a night ------------------------------------------------------------------


def test_a_supply_that_was_left_off_is_switched_on(bench, tmp_path):
    """A night that is killed in a power-cycle leaves the board without its supply."""
    bench.probe.flash(bench.firmware())
    bench.probe.power(False)
    events: list[str] = []
    rig = rig_file(bench, bench.port, tmp_path)
    with open_rig(rig, lambda what, _: events.append(what), allow_double=True) as opened:
        assert opened.ensure_firmware(bench.firmware()).build_id == "ab" * 32
    assert events == ["power-on"], "nothing had to be flashed"


@pytest.mark.parametrize("hangs", [False, True])
def test_a_port_that_comes_with_the_supply(bench, cable, tmp_path, monkeypatch, hangs):
    """A board on a USB hub's power, locked by what it is once it is there; and one whose adapter
    hangs and is not there though the supply is on."""
    monkeypatch.setattr(bench_module, "await_path", lambda p: returning.await_path(p, 0.2))
    bench.probe.flash(bench.firmware())
    port = tmp_path / "by-id"

    def after(on: bool) -> None:
        if on and (not hangs or False in supply.seen):
            port.symlink_to(cable.port)

    supply = Supply(bench, after)
    monkeypatch.setattr(bench_module, "open_switch", lambda *_: supply)
    rig = rig_file(bench, str(port), tmp_path)
    with open_rig(rig, allow_double=True) as opened:
        assert opened.console.identify().build_id == "ab" * 32
        with (
            pytest.raises(RigError, match="serial port USB serial USB7 is in use"),
            lock.locked(["serial port USB serial USB7"], "other"),
        ):
            pass
    assert supply.seen == ([True, False, True] if hangs else [True])


class TestBringUp:
    def test_a_board_that_only_power_brings_up(self, rig, bench):
        """It has lost its supply: neither console nor probe reach it."""
        supply, events = Supply(bench), []
        rig.power = supply
        bench.probe.power(False)
        firmware = bench.firmware("cd")
        identity = recovery.bring_up(rig, firmware, lambda what, _: events.append(what))
        assert identity.build_id == "cd" * 32
        assert events == [
            "retry", "reset", "not recovered", "retry", "power-cycle",
        ]  # fmt: skip
        assert supply.seen == [False, True]

    def test_a_board_that_nothing_brings_up(self, rig, bench):
        rig.power, events = None, []
        bench.probe.power(False)
        with pytest.raises(TargetError, match="no power"):
            recovery.bring_up(rig, bench.firmware(), lambda what, _: events.append(what))
        assert events == ["retry", "reset", "not recovered"]


# -- boards that run from RAM -----------------------------------------------------------------


class Loader:
    """Commands of a tool that loads to RAM, by the twin's probe."""

    tool = Tool("true", "it is part of every system")
    probe, hints, unreachable = "loader", (), "none"
    loads_ram = True

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.loads = 0

    def write(self, *_: object) -> list[Command]:
        self.loads += 1
        self.bench.probe.flash(self.bench.firmware())
        return [Command([])]

    def check(self, *_: object) -> str:
        return "read back"


@pytest.fixture
def loader(rig: OpenRig, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """The rig's board loses its program with its supply; the program of now was loaded earlier."""
    monkeypatch.setattr(command_line, "read_image", lambda _: None)  # a double is no ELF
    loader = Loader(bench)
    rig.flasher = CommandLineFlasher(loader, 5.0, lambda *_: None)
    rig.power = Supply(bench, lambda on: None if on else bench.probe.ask("erase"))
    assert rig.ensure_firmware(bench.firmware()).build_id == "ab" * 32
    assert loader.loads == 0
    return loader


class TestFromRam:
    def test_a_reset_loads_what_was_found_running(self, rig, loader):
        assert recovery.reset(rig, lambda *_: None).build_id == "ab" * 32
        assert loader.loads == 1

    def test_after_a_power_cycle_it_is_loaded_again(self, rig, loader):
        assert recovery.power_cycle(rig, lambda *_: None).build_id == "ab" * 32
        assert loader.loads == 1 and rig.power.seen == [False, True]

    def test_the_probe_that_went_with_the_port_is_waited_for(self, rig, loader, cable):
        """GAPuino: one adapter is probe and console, on the board's own supply."""
        rig.power.after = lambda on: cable.plug() if on else cable.pull()
        events = []
        identity = recovery.power_cycle(rig, lambda what, _: events.append(what))
        assert identity.build_id == "ab" * 32 and loader.loads == 1
        assert events == ["power-cycle", "port lost", "port found"]
