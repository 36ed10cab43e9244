"""A simulated instrument on a TCP port, fed by a power trace. Time passes when a client waits."""

from __future__ import annotations

import selectors
import socket
import threading

import numpy as np

from hil.sim.chip import EnergyBins
from hil.sim.instruments.instrument import Instrument
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.wires_lines import LineServer, Reply

STEP_S = 0.05  # most that passes between two looks at the wires
IDLE_S = 0.05
# What the wire may do to the next answer that holds a block, or, "mute", to every answer.
WIRE_FAULTS = ("mute", "truncate", "disconnect")


class InstrumentServer:
    """``with InstrumentServer(instrument, trace) as server: connect(server.resource)``.

    The trace's time 0 is when the first client waits for something.
    """

    def __init__(self, instrument: Instrument, trace: PowerTrace, port: int = 0) -> None:
        self.instrument = instrument
        self.trace = trace
        self.wire_fault = ""
        self._bin = 0  # of the trace, that comes next
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
        """Let a step pass, to the end of the bin in which it ends."""
        bin_s = self.trace.bin_s
        step_s = min(until_s, self._bin * bin_s + STEP_S)
        last = max(self._bin + 1, int(np.ceil(step_s / bin_s - 1e-9)))
        borders_s = np.arange(self._bin, last + 1) * bin_s
        bins = EnergyBins(self._bin, bin_s, np.diff(self.trace.energy_j(borders_s)))
        edges = [e for e in self.trace.edges if borders_s[0] <= e.time_s < borders_s[-1]]
        self._bin = last
        self.instrument.feed(float(borders_s[-1]), bins, edges)

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
