"""A relay in the board's supply line, switched over a serial port.

Modules of the LCUS kind (a CH340 and one to eight relays) take four bytes at 9600 baud: 0xA0, the
channel, 1 to pull the relay or 0 to let it go, and the sum of the three. Makers print no more; the
modules do not answer, so whether the board lost its supply shows only in the board.
"""

from __future__ import annotations

import time

import serial

from hil.core.errors import RigError
from hil.rig.ports import missing_port, open_port

BAUD, START, MOST_CHANNELS = 9600, 0xA0, 8
NORMALLY_OPEN, NORMALLY_CLOSED = "normally_open", "normally_closed"
WIRINGS = (NORMALLY_OPEN, NORMALLY_CLOSED)
ENTRY = "[power] resource"  # of the rig file
AGAIN_S = 0.1


class SerialRelay:
    """See :class:`hil.rig.power.PowerSwitch`. ``wiring``: the contact that carries the supply;
    with a normally closed one the board keeps its supply when the computer is off."""

    def __init__(self, port: str, channel: int, wiring: str, timeout_s: float) -> None:
        if missing := missing_port(port, ENTRY):
            raise RigError(missing)
        self._name, self._channel, self._wiring = port, channel, wiring
        self._timeout_s = timeout_s

    def switch(self, on: bool) -> None:
        pulled = on == (self._wiring == NORMALLY_OPEN)
        with self._port() as port:
            try:
                port.write(command(self._channel, pulled))
                port.flush()
            except (serial.SerialException, OSError) as error:
                raise RigError(
                    f"[power] {self._name}: the relay did not take its command: {error}; is it "
                    "still plugged in?"
                ) from error

    def close(self) -> None:
        """Nothing is held."""

    def _port(self) -> serial.Serial:
        """Opened for one command: other boards' rigs have other relays of the same module."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return open_port(self._name, BAUD, ENTRY)
            except RigError:
                if time.monotonic() > deadline or missing_port(self._name):
                    raise
                time.sleep(AGAIN_S)


def command(channel: int, pulled: bool) -> bytes:
    """The four bytes for relay ``channel`` (1 to 8)."""
    body = (START, channel, int(pulled))
    return bytes((*body, sum(body) & 0xFF))
