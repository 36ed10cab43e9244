"""A simulated Joulescope behind the calls of pyjoulescope_driver.Driver.

Topics, value checks and messages as the library documents them: messages come in a thread of
their own and in real time, every stream in pieces of its own size, sample ids count at 2 MHz,
digital inputs are packed eight to a byte. Nothing of the driver's code is used.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hil.sim.instruments.power_trace import PowerTrace

ID_RATE_HZ = 2_000_000
# Currents up to a tenth above a fixed range are still converted.
RANGES_A = {
    "10 A": 10.0, "2 A": 2.0, "180 mA": 0.18, "18 mA": 0.018, "1.8 mA": 1.8e-3, "180 µA": 180e-6,
    "18 µA": 18e-6,
}  # fmt: skip
TOPICS: dict[str, dict[str, tuple[object, ...]]] = {
    "js220": {
        "h/fs": (2_000_000, 1_000_000, 500_000, 200_000, 100_000),
        "s/i/range/mode": ("auto", "manual", "off"),
        "s/v/range/mode": ("auto", "manual", "off"),
        "c/gpio/vref": ("external", "3v3"),
    },
    "js110": {
        "h/fs": (2_000_000, 1_000_000),
        "s/i/range/select": ("auto", *RANGES_A),
        "s/v/range/select": ("15 V", "5 V"),
        "s/i/range/mode": ("off", "mean", "interp", "nan"),
        "s/extio/voltage": (0, 1800, 2100, 2500, 2700, 3000, 3300, 3600, 5000),
    },
}
INPUTS = {"js220": 4, "js110": 2}
# Sample ids in one message; unlike numbers, so that streams are never at the same place.
PIECES = {"s/i": 20_000, "s/v": 14_000, "gpi": 24_000}


class SimulatedLibrary:
    """One attached instrument at ``path``.

    Each stream sends one message and then time stands still until ``start_board``, when the trace
    begins: before it the board idles. So a slow computer sees the same samples as a fast one.
    """

    def __init__(self, trace: PowerTrace, path: str = "u/js220/001234") -> None:
        self.trace = trace
        self.path = path
        self.published: list[tuple[str, object]] = []  # all settings, for tests
        self.is_open = False
        self.finalized = False
        self.mute = False
        self.source_ohms = 0.0  # by which the voltage sags under the current
        self.gone = False  # unplugged: every call fails
        self._model = path.split("/")[1]
        self._jump: tuple[str, int, int] | None = None
        self._nan: tuple[int, int] | None = None
        self._subscribers: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._positions: dict[str, int] = {}  # next sample id of each running stream
        self._most_a = 1.1 * RANGES_A["10 A"]
        self._origin = 0  # sample id at which the trace begins
        self._started = math.inf  # its monotonic time
        self._greeted: set[str] = set()  # streams that have sent a message
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="joulescope", daemon=True)
        self._thread.start()

    def start_board(self) -> None:
        """The trace begins behind all that has been sent."""
        with self._lock:
            self._origin = max(self._positions.values())
            self._started = time.monotonic()
        self._wake.set()

    def lose(self, signal: str, at: int, ids: int) -> None:
        """Let no message of ``signal`` carry ``ids`` ids from ``at`` on, counted in the trace."""
        self._jump = (signal, at, ids)

    def spoil(self, at: int, samples: int) -> None:
        """Currents that are not a number, from sample ``at`` of the trace on."""
        self._nan = (at, samples)

    # -- the library's calls ----------------------------------------------------------------

    def device_paths(self) -> list[str]:
        return [] if self.gone else [self.path]

    def open(self, device_prefix: str, mode: str) -> None:
        self._check(device_prefix)
        self.is_open = True

    def close(self, device_prefix: str) -> None:
        self._check(device_prefix)
        self.is_open = False

    def query(self, topic: str) -> int:
        self._check(topic)
        return 1 << 24 | 3 << 16 | 2

    def publish(self, topic: str, value: object) -> None:
        name = self._check(topic)
        if name.endswith("/ctrl"):
            self._control(name.removesuffix("/ctrl"), bool(value))
            return
        if value not in TOPICS[self._model].get(name, ()):
            raise RuntimeError(f"jsdrv_publish({topic}) failed 5: {value!r}")
        self.published.append((name, value))
        if name == "s/i/range/select":
            self._most_a = 1.1 * RANGES_A.get(str(value), 10.0)

    def subscribe(self, topic: str, flags: str, fn: Callable[[str, dict[str, Any]], None]) -> None:
        self._check(topic)
        with self._lock:
            self._subscribers[topic] = fn

    def unsubscribe(self, topic: str, fn: Callable[[str, dict[str, Any]], None]) -> None:
        self._check(topic)
        with self._lock:
            self._subscribers.pop(topic)

    def finalize(self) -> None:
        self.finalized = True
        self._wake.set()
        self._thread.join(5.0)

    # -- inside -----------------------------------------------------------------------------

    def _check(self, topic: str) -> str:
        if self.gone:
            raise TimeoutError(f"{topic} timed out")
        if not topic.startswith(self.path):
            raise RuntimeError(f"{topic} failed 16 NOT_FOUND")
        return topic.removeprefix(self.path).strip("/")

    def _control(self, signal: str, on: bool) -> None:
        known = {"s/i", "s/v", *(f"s/gpi/{n}" for n in range(INPUTS[self._model]))}
        if signal not in known:
            raise RuntimeError(f"{signal}/ctrl failed 3 NOT_SUPPORTED")
        with self._lock:
            if on:
                if not self._positions:
                    self._started, self._origin = math.inf, 0
                    self._greeted.clear()
                # Streams that start together do not begin with the same id.
                self._positions[signal] = 2 * len(self._positions) * 40
            else:
                self._positions.pop(signal, None)
        self._wake.set()

    def _run(self) -> None:
        while not self.finalized:
            with self._lock:
                due = [] if self.mute or self.gone else self._due()
                for signal in due:
                    self._send(signal)
            if not due:
                self._wake.wait(0.005)
                self._wake.clear()

    def _due(self) -> list[str]:
        """Running streams whose next message has been sampled by now."""
        now = self._origin + (time.monotonic() - self._started) * ID_RATE_HZ
        return [
            signal
            for signal, position in self._positions.items()
            if signal not in self._greeted or position + _piece(signal) <= now
        ]

    def _send(self, signal: str) -> None:
        every = 1 if signal.startswith("s/gpi") or self._model == "js110" else 2
        start = self._positions[signal]
        count = _piece(signal) // every
        end = start + count * every
        if self._jump is not None and self._jump[0] == signal and self._started < math.inf:
            at = self._origin + self._jump[1]
            if start <= at < end:
                count, end = (at - start) // every, at + self._jump[2]
        self._positions[signal] = end
        self._greeted.add(signal)
        subscriber = self._subscribers.get(f"{self.path}/{signal}/!data")
        if subscriber is not None and count:
            message = {
                "sample_id": start,
                "utc": 0,
                "sample_rate": ID_RATE_HZ,
                "decimate_factor": every,
                "data": self._data(signal, start, every, count),
            }
            subscriber(f"{self.path}/{signal}/!data", message)

    def _data(self, signal: str, start: int, every: int, count: int) -> np.ndarray:
        interval_s, start_s = every / ID_RATE_HZ, (start - self._origin) / ID_RATE_HZ
        if self._started == math.inf:  # all of this comes before the trace
            start_s = -1.0 - count * interval_s
        if signal == "s/v":
            sag_v = self.source_ohms * self.trace.current_a(start_s, interval_s, count)
            return (self.trace.supply_v - sag_v).astype(np.float32)
        if signal == "s/i":
            current = self.trace.current_a(start_s, interval_s, count)
            current = np.minimum(current, self._most_a).astype(np.float32)
            if self._nan is not None:
                places = (start - self._origin) // every + np.arange(count)
                current[(places >= self._nan[0]) & (places < sum(self._nan))] = np.nan
            return current
        return np.packbits(self.trace.marker(start_s, interval_s, count), bitorder="little")


def _piece(signal: str) -> int:
    return PIECES["gpi" if signal.startswith("s/gpi") else signal]
