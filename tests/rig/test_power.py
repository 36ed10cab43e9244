"""Power switches: what each says to its hardware, and what a rig file may say of it."""

from __future__ import annotations

import os
import pty
import re
import socket
import stat
import threading
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import serial

from hil.core.errors import RigError
from hil.rig import power
from hil.rig.power import PowerSpec, ScpiOutput, Uhubctl, cycle, open_power
from hil.rig.relay import WIRINGS
from hil.rig.rigfile import load_rig


class TcpSupply:
    """A supply of two outputs on a socket: commands in ``sent``, hangs up once it has answered.

    ``by_list``: it takes its outputs in a channel list, and knows no INST:NSEL. ``stuck``: its
    outputs stay as they are.
    """

    LISTED = re.compile(r"OUTP(?P<ask>\?)?(?: (?P<word>ON|OFF),)? ?\(@(?P<channel>[12])\)")
    SELECTED = re.compile(r"OUTP(?P<ask>\?)?(?: (?P<word>ON|OFF))?")

    def __init__(self) -> None:
        self.by_list = self.stuck = False
        self.sent: list[str] = []
        self.on = {1: True, 2: True}
        self._selected = 1
        self._server = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP0::127.0.0.1::{self._server.getsockname()[1]}::SOCKET"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:  # closed
                return
            with peer, peer.makefile("rw") as lines:
                for line in lines:
                    self.sent.append(line.strip())
                    if (answer := self._take(line.strip())) is not None:
                        lines.write(f"{answer}\n")
                        lines.flush()
                        break

    def _take(self, command: str) -> int | None:
        if command.startswith("INST:NSEL ") and not self.by_list:
            self._selected = int(command.split()[1])
            return None
        match = (self.LISTED if self.by_list else self.SELECTED).fullmatch(command)
        if match is None:
            return None  # its error queue is nobody's concern here
        channel = int(match["channel"]) if self.by_list else self._selected
        if match["ask"]:
            return int(self.on[channel])
        if not self.stuck:
            self.on[channel] = match["word"] == "ON"
        return None


@pytest.fixture
def supply() -> Iterator[TcpSupply]:
    supply = TcpSupply()
    yield supply
    supply.close()


def switch_of(supply: TcpSupply, **values: object) -> ScpiOutput:
    spec = PowerSpec("scpi_output", supply.resource, channel=2, timeout_s=2.0)
    return ScpiOutput(replace(spec, **values))  # type: ignore[arg-type]


def test_scpi_output_says_what_scpi_99_says_and_survives_a_hang_up(supply):
    switch = switch_of(supply)
    cycle(switch, 0.0)
    assert supply.sent == [
        "INST:NSEL 2", "OUTP OFF", "OUTP?", "INST:NSEL 2", "OUTP ON", "OUTP?",
    ]  # fmt: skip
    switch.switch(False)
    assert supply.on == {1: True, 2: False}
    switch.close()


def test_a_mainframe_wants_its_outputs_in_a_list(supply):
    supply.by_list = True
    switch = switch_of(supply, channel_list=True)
    switch.switch(False)
    assert supply.on == {1: True, 2: False}
    switch.switch(True)
    assert supply.on == {1: True, 2: True}
    assert supply.sent == ["OUTP OFF,(@2)", "OUTP? (@2)", "OUTP ON,(@2)", "OUTP? (@2)"]


def test_a_supply_that_does_not_obey_is_left_switched_on(supply):
    supply.stuck = True
    with pytest.raises(RigError, match="the output is '1' after OUTP OFF"):
        cycle(switch_of(supply), 0.0)
    assert supply.sent[-2:] == ["OUTP ON", "OUTP?"]


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ("TCPIP0::no-such-host.invalid::5025::SOCKET", r"no-such-host.*cannot be opened"),
        ("TCPIP0::127.0.0.1::9::SOCKET", "cannot be opened|OUTP OFF failed"),
        ("nonsense", "nonsense: cannot be opened"),
    ],
)
def test_a_supply_that_is_not_there(resource, says):
    """pyvisa-py connects lazily to some, and raises a plain Exception for a bad host name."""
    with pytest.raises(RigError, match=says):
        ScpiOutput(PowerSpec("scpi_output", resource, timeout_s=1.0)).switch(False)


def test_a_supply_is_never_left_off(monkeypatch):
    seen: list[bool] = []

    class Switch:
        def switch(self, on: bool) -> None:
            seen.append(on)

        def close(self) -> None:
            """Nothing is held."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(power.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cycle(Switch(), 1.0)
    assert seen == [False, True]


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


RIG = """
name = "quick"
board = "gap8"
[console]
port = "p"
baud = 1_000_000
[flasher]
kind = "virtual"
control = "c"
[meter]
kind = "scpi_digitizer"
resource = "r"
sample_rate_hz = 100_000
range_a = 0.1
"""


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "crowbar"', "no 'crowbar'; known: virtual, scpi_output, uhubctl, relay"),
        ('kind = "relay"\nresource = "/dev/x"\nchannel = 1', "needs resource.* and wiring"),
        ('kind = "relay"\nresource = "/dev/x"\nwiring = "normally_open"', "channel 1 to 8"),
        ('kind = "scpi_output"', "needs resource"),
        ('kind = "uhubctl"\nlocation = "1-1"', "needs location and port"),
        ('kind = "scpi_output"\nresource = "r"\nchannel_list = true', "channel_list a channel"),
        ('kind = "scpi_output"\nresource = "r"\nchannel_list = 2', "2 is not true or false"),
        ('kind = "virtual"\nchannel = -1', "-1 is not 0 or more"),
        ('kind = "virtual"\noff_s = -1.0', "-1.0 is not 0 to 600 seconds"),
        ('kind = "virtual"\noff_s = inf', "inf is not 0 to 600 seconds"),
        ('kind = "virtual"\noff_s = nan', "nan is not 0 to 600 seconds"),
        ('kind = "virtual"\ntimeout_s = inf', r"\[power\] timeout_s: inf is not a number above"),
        ('kind = "virtual"\nvolts = 5', r"\[power\]: unknown key 'volts'"),
    ],
)
def test_mistakes_of_a_power_table(tmp_path, table, says):
    path = tmp_path / "quick.toml"
    path.write_text(f"{RIG}[power]\n{table}\n")
    with pytest.raises(RigError, match=says):
        load_rig(str(path))


def test_a_rig_without_power_table_has_no_switch(tmp_path):
    assert load_rig("virtual-gap8").power is None
