"""What the simulated instruments share: bench time, the recording under way, faults.

An instrument is fed energy and marker edges by whoever owns it, the twin of a board
(``hil.sim.twin``) or a scripted profile (``hil.sim.instruments.source``), and answers lines. It
never waits for real time: an answer that needs time to pass raises Wait, and ``needed_until_s``
tells until when.

Each speaks its product's own commands and would pass for it, so its serial number says that it
is none: ``HILSIM`` and its seed. What is read from it is modelled, never measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.meter_frontend import Recording
from hil.sim.wires_lines import Wait

SERIAL = "HILSIM"
MARKER_V = 3.3  # the pin's high level
# Time that passes between two status questions of a client that polls.
POLL_STEP_S = 0.01


@dataclass
class Faults:
    """Trouble to order. Each instrument shows it in the way the product would.

    ``lose``: samples missing from the next recording. ``no_trigger``: the next trigger never
    comes. ``overload``: the next recording's current goes beyond every range for one sample.
    """

    lose: int = 0
    no_trigger: bool = False
    overload: bool = False


class Instrument(ABC):
    """Base of the simulated instruments; subclasses answer lines and shape samples.

    ``gain`` and ``offset`` are this specimen's errors, within ``GAIN_ERROR`` and ``OFFSET`` (a
    part of the range): what the product's data sheet would call its accuracy.
    """

    GAIN_ERROR = 1e-3
    OFFSET = 1e-4

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        self.supply_v = supply_v
        self.serial = f"{SERIAL}{seed:04d}"
        self.faults = Faults()
        self.rng = np.random.default_rng([seed, 0x494E5354])
        self.gain = 1.0 + self.rng.uniform(-self.GAIN_ERROR, self.GAIN_ERROR)
        self.offset = self.rng.uniform(-self.OFFSET, self.OFFSET)
        self.time_s = 0.0
        self._level = False
        self._recording: Recording | None = None
        self._wait_until_s: float | None = None
        self._polled_s = -1.0

    @property
    def lose_next(self) -> int:
        """Fault ``lose``, by the name under which the twin knows it."""
        return self.faults.lose

    @lose_next.setter
    def lose_next(self, count: int) -> None:
        self.faults.lose = count

    @property
    def overload_next(self) -> int:
        """Fault ``overload``: 1 when ordered, whatever the number of samples."""
        return int(self.faults.overload)

    @overload_next.setter
    def overload_next(self, count: int) -> None:
        self.faults.overload = count > 0

    # -- for the subclass -------------------------------------------------------------------

    @property
    @abstractmethod
    def idn(self) -> str:
        """The answer to *IDN?."""

    @abstractmethod
    def answer(self, line: str) -> bytes | None:
        """Carry out one line; may raise Wait."""

    @abstractmethod
    def finished(self, recording: Recording) -> None:
        """Take the samples of a complete recording."""

    @abstractmethod
    def halted(self, reason: str) -> None:
        """No sample will come any more."""

    @abstractmethod
    def complain(self, code: int, text: str) -> None:
        """Report an error of the instrument's own, as after a self-test."""

    # -- the owner's side -------------------------------------------------------------------

    @property
    def needed_until_s(self) -> float | None:
        """Bench time until which a waiting client needs energy."""
        return self._wait_until_s

    def feed(self, time_s: float, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        """What happened up to bench time ``time_s`` since the last call."""
        self.time_s = time_s
        if edges:
            self._level = edges[-1].level
        if self._recording is not None:
            self._recording.feed(bins, edges)
            if self._recording.complete and not self.held:
                recording, self._recording = self._recording, None
                self.finished(recording)

    def halt(self, reason: str) -> None:
        """The chip is dead: end what is under way."""
        self._recording, self._wait_until_s = None, None
        self.halted(reason)

    def execute(self, line: str) -> bytes | None:
        """Carry out one line; the answer with its LF, or None. Wait: not yet."""
        try:
            answer = self.answer(line.strip())
        except Wait:
            assert self._wait_until_s is not None
            raise
        self._wait_until_s = None
        return answer

    # -- time -------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether the recording waits for a trigger and must not end by itself."""
        return False

    @property
    def recording(self) -> Recording | None:
        """The recording under way."""
        return self._recording

    def record(self, interval_s: float, points: int) -> None:
        """Start recording at the next tick of a free-running sample clock."""
        t0_s = self.time_s + self.rng.uniform(0.0, interval_s)
        self._recording = Recording(t0_s, interval_s, points, self._level)
        self._polled_s = -1.0

    def stop(self) -> None:
        """Give up the recording under way."""
        self._recording = None

    def until_recorded(self) -> None:
        """Return once nothing is being recorded; Wait until then."""
        if self._recording is not None:
            self._wait_for(self._recording.end_s)

    def poll(self, busy: bool = False) -> None:
        """Called by status questions: a client that asks again has let time pass.

        ``busy``: something is under way although nothing is being recorded.
        """
        idle = self._recording is None and not busy
        if idle or self._polled_s != self.time_s:
            self._polled_s = self.time_s
            return
        self._wait_for(self.time_s + POLL_STEP_S)

    def _wait_for(self, time_s: float) -> None:
        self._wait_until_s = time_s
        raise Wait

    # -- samples ----------------------------------------------------------------------------

    def current_a(self, recording: Recording) -> np.ndarray:
        """True current of each sample."""
        return self.spoiled(recording.power_w() / self.supply_v)

    def spoiled(self, current_a: np.ndarray) -> np.ndarray:
        """``current_a`` with the fault ``overload`` in its middle."""
        if self.faults.overload:
            self.faults.overload = False
            current_a[len(current_a) // 2] = 1e3
        return current_a

    def lost(self, count: int) -> np.ndarray:
        """Indices of the samples that fault ``lose`` takes from ``count`` samples."""
        lose, self.faults.lose = min(self.faults.lose, count), 0
        first = (count - lose) // 2
        return np.arange(first, first + lose)
