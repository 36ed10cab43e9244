"""A hung board, a lost port, a dead supply: each step on real wires, each step in the journal."""

from __future__ import annotations

import os
import pty
import select
import stat
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import serial
from scripted_bench import Bench

from hil.core.console import CRC, HEADER, IDENTITY, PROTOCOL_VERSION
from hil.core.console import SELF_TEST as WIRE_SELF_TEST
from hil.core.errors import PortLostError, RigError, TargetError, WrongOutputError
from hil.core.provenance import Origin, Provenance
from hil.core.trial import TrialKind, Workload
from hil.loop.session import Session
from hil.loop.settings import Settings
from hil.rig import lock, ports, recovery, returning
from hil.rig.bench import OpenRig, open_rig
from hil.rig.power import PowerSpec, ScpiOutput, Uhubctl, cycle, open_power
from hil.rig.relay import WIRINGS
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


@pytest.fixture
def rig(
    bench: Bench, cable: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenRig]:
    """A rig whose board runs the double's normal firmware."""
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
    path = tmp_path / "quick.toml"
    places = {"port": cable.port, "control": bench.probe.path, "resource": bench.resource}
    path.write_text(RIG.format(**places))
    with open_rig(load_rig(str(path)), allow_double=True) as opened:
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
    """The twin's supply, and what was asked of it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.seen: list[bool] = []

    def switch(self, on: bool) -> None:
        self.seen.append(on)
        self.bench.probe.power(on)

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


# -- switches -------------------------------------------------------------------------------


class FakeSupply:
    """A supply on the far end of VISA: commands in, answers out."""

    def __init__(self, answers: list[str]) -> None:
        self.sent: list[str] = []
        self.answers = answers

    def write(self, text: str) -> None:
        self.sent.append(text)

    def query(self, text: str) -> str:
        self.sent.append(text)
        return self.answers.pop(0)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def supply(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ScpiOutput, FakeSupply]]:
    def make(*answers: str) -> tuple[ScpiOutput, FakeSupply]:
        fake = FakeSupply(list(answers))
        manager = SimpleNamespace(open_resource=lambda *_, **__: fake, close=lambda: None)
        monkeypatch.setattr("pyvisa.ResourceManager", lambda _: manager)
        return ScpiOutput(PowerSpec("scpi_output", "TCPIP::1::SOCKET", channel=2)), fake

    return make


def test_scpi_output_says_what_scpi_99_says(supply):
    switch, fake = supply("0\n", "1\n")
    cycle(switch, 0.0)
    assert fake.sent == [
        "INST:NSEL 2", "OUTP OFF", "OUTP?", "INST:NSEL 2", "OUTP ON", "OUTP?",
    ]  # fmt: skip


def test_a_supply_that_does_not_obey_is_left_switched_on(supply):
    switch, fake = supply("1", "1")
    with pytest.raises(RigError, match="the output is '1' after OUTP OFF"):
        cycle(switch, 0.0)
    assert fake.sent[-2:] == ["OUTP ON", "OUTP?"]


def uhubctl(folder: Path, script: str) -> str:
    path = folder / "uhubctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


SPEC = PowerSpec("uhubctl", location="1-1.4", port=2, timeout_s=5.0)


def test_uhubctl_is_called_for_the_port(tmp_path):
    tool = uhubctl(tmp_path, f'echo "$@" >> {tmp_path}/calls')
    cycle(Uhubctl(SPEC, tool), 0.0)
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-l 1-1.4 -p 2 -a off",
        "-l 1-1.4 -p 2 -a on",
    ]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'No compatible devices detected at location 1-1.4!' >&2; exit 1", "No compatible"),
        ("exit 3", "ended with code 3: it said nothing"),
        ("exec sleep 30", "timed out"),
    ],
)
def test_uhubctl_in_its_own_words(tmp_path, script, says):
    switch = Uhubctl(replace(SPEC, timeout_s=0.5), uhubctl(tmp_path, script))
    with pytest.raises(RigError, match=says):
        switch.switch(False)


def test_a_missing_tool_is_named():
    with pytest.raises(RigError, match="no-such-tool is not installed"):
        Uhubctl(SPEC, "no-such-tool")


@pytest.mark.parametrize(
    ("wiring", "off", "on"),
    [("normally_open", "a00200a2", "a00201a3"), ("normally_closed", "a00201a3", "a00200a2")],
)
def test_a_relay_takes_its_makers_bytes(wiring, off, on):
    """A0 02 01 A3 pulls the second relay, A0 02 00 A2 lets it go (NOYITO's page)."""
    module, port = pty.openpty()
    try:
        tty.setraw(module)
        switch = open_power(PowerSpec("relay", os.ttyname(port), channel=2, wiring=wiring), None)
        for state, expected in ((False, off), (True, on)):
            switch.switch(state)
            assert os.read(module, 64).hex() == expected
        switch.close()
    finally:
        os.close(module)
        os.close(port)


def test_a_relay_that_is_not_there_is_busy_or_goes_away(tmp_path):
    spec = PowerSpec("relay", str(tmp_path / "gone"), 1, wiring=WIRINGS[0], timeout_s=0.3)
    with pytest.raises(RigError, match=r"does not exist; .*\[power\] resource"):
        open_power(spec, None)
    module, port = pty.openpty()
    name = os.ttyname(port)
    switch = open_power(replace(spec, resource=name), None)
    with serial.Serial(name, exclusive=True), pytest.raises(RigError, match="is busy: open in"):
        switch.switch(True)
    switch.switch(True)
    os.close(module)
    os.close(port)
    with pytest.raises(RigError, match="does not exist"):
        switch.switch(True)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "crowbar"', "no 'crowbar'; known: virtual, scpi_output, uhubctl, relay"),
        ('kind = "relay"\nresource = "/dev/x"\nchannel = 1', "needs resource.* and wiring"),
        ('kind = "relay"\nresource = "/dev/x"\nwiring = "normally_open"', "channel 1 to 8"),
        ('kind = "scpi_output"', "needs resource"),
        ('kind = "uhubctl"\nlocation = "1-1"', "needs location and port"),
        ('kind = "virtual"\noff_s = -1.0', "0 or more"),
        ('kind = "virtual"\nvolts = 5', r"\[power\]: unknown key 'volts'"),
    ],
)
def test_mistakes_of_a_power_table(tmp_path, table, says):
    places = {"port": "p", "control": "c", "resource": "r"}
    text = RIG.format(**places).replace('kind = "virtual"\noff_s = 0.01', table)
    path = tmp_path / "quick.toml"
    path.write_text(text)
    with pytest.raises(RigError, match=says):
        load_rig(str(path))


def test_a_rig_without_power_table_has_no_switch(tmp_path):
    rig: Rig = load_rig("virtual-gap8")
    assert rig.power is None
