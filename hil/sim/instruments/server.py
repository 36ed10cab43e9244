"""A simulated instrument on a TCP port, fed by a profile. Its time passes when a client waits."""

from __future__ import annotations

import selectors
import socket
import threading

from hil.sim.instruments.instrument import Instrument
from hil.sim.instruments.source import Profile
from hil.sim.wires_lines import LineServer, Reply

STEP_S = 0.05  # most that passes between two looks at the wires
IDLE_S = 0.05
# What the wire may do to the next answer that holds a block, or, "mute", to every answer.
WIRE_FAULTS = ("mute", "truncate", "disconnect")


class InstrumentServer:
    """``with InstrumentServer(instrument, profile) as server: connect(server.resource)``."""

    def __init__(self, instrument: Instrument, profile: Profile, port: int = 0) -> None:
        self.instrument = instrument
        self.profile = profile
        self.wire_fault = ""
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)

    @property
    def resource(self) -> str:
        """The VISA resource to connect to."""
        return f"TCPIP0::127.0.0.1::{self.port}::SOCKET"

    def __enter__(self) -> InstrumentServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def run(self) -> None:
        """Serve until the ``with`` block ends."""
        selector = selectors.DefaultSelector()
        server = LineServer(selector, self._listener, self._answer)
        try:
            while not self._stop.is_set():
                until_s = self.instrument.needed_until_s if server.waiting else None
                for key, mask in selector.select(IDLE_S if until_s is None else 0):
                    key.data(mask)
                if until_s is not None and server.waiting:
                    self._advance(until_s)
                    server.retry()
        finally:
            server.close()
            selector.close()

    def _advance(self, until_s: float) -> None:
        step_s = min(until_s, self.profile.time_s + STEP_S)
        bins, edges = self.profile.advance(step_s)
        self.instrument.feed(self.profile.time_s, bins, edges)

    def _answer(self, line: str) -> Reply | None:
        if self.wire_fault == "mute":
            return None
        answer = self.instrument.execute(line)
        if answer is None:
            return None
        if self.wire_fault and b"#" in answer[:16]:
            hang_up, self.wire_fault = self.wire_fault == "disconnect", ""
            return Reply(answer[: len(answer) // 2], hang_up)
        return Reply(answer)
