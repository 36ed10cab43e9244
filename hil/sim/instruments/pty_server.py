"""A simulated instrument behind a real pseudo-terminal, served by a thread.

The instrument's time is that of its samples: it makes them as fast as the host takes them and
stands still while nobody reads, so a slow computer loses none. Losses come by request only.
"""

from __future__ import annotations

import os
import selectors
import threading
from pathlib import Path
from typing import Protocol

from hil.sim.wires import PtyWire

IDLE_S = 0.02


class Instrument(Protocol):
    """Bytes in, bytes out."""

    def receive(self, data: bytes) -> None:
        """What the host has sent."""

    def produce(self) -> bytes:
        """What is to be sent next, a few kilobytes at most; b"" when there is nothing."""


class PtyServer:
    """Serves ``instrument`` at the path ``link`` until it is closed."""

    def __init__(self, instrument: Instrument, link: Path) -> None:
        self.instrument = instrument
        self._wire = PtyWire(link)
        self._quit_read, self._quit_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._quit_read, selectors.EVENT_READ)
        self._selector.register(self._wire, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="simulated meter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unplug it: the host's port vanishes."""
        if self._thread.is_alive():
            os.write(self._quit_write, b"q")
            self._thread.join(5.0)
        os.close(self._quit_write)

    def _serve(self) -> None:
        wait_s = 0.0
        try:
            while not self._asked_to_quit(wait_s):
                self.instrument.receive(self._wire.read())
                data = b"" if self._wire.full else self.instrument.produce()
                self._wire.write(data)
                wait_s = 0.0 if data else IDLE_S
        finally:
            self._selector.close()
            self._wire.close()
            os.close(self._quit_read)

    def _asked_to_quit(self, wait_s: float) -> bool:
        """Wait for the host to send something or to make room; whether to end."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._wire.full else 0)
        self._selector.modify(self._wire, events)
        ready = self._selector.select(wait_s)
        return any(key.fd == self._quit_read for key, _ in ready)
