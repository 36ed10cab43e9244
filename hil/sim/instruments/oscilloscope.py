"""What the simulated oscilloscopes share: a single acquisition and two analog channels.

Channel 1 sees the voltage over a shunt in the board's supply, channel 2 the marker pin. Only
forced triggers are modelled: the acquisition waits until it is forced, and its record then
begins the pre-trigger time earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.sim.instruments.instrument import MARKER_V, Instrument
from hil.sim.instruments.scpi import ScpiError
from hil.sim.meter_frontend import Recording

SHUNT_OHMS = 0.5
NOISE_DIVISIONS = 0.02  # one sigma


@dataclass
class Channel:
    """Vertical settings. ``offset_v`` has the product's own meaning and sign."""

    scale_v: float = 1.0
    offset_v: float = 0.0
    shown: bool = True


@dataclass(frozen=True)
class Record:
    """What is in the memory: volts of every channel from ``start_s`` (0 is the trigger).

    ``missing`` are the places at which the fault ``lose`` took a sample.
    """

    volts: dict[int, np.ndarray]
    interval_s: float
    start_s: float
    missing: np.ndarray

    @property
    def points(self) -> int:
        """Samples of a channel, missing ones included."""
        return len(self.volts[1])


class Oscilloscope(Instrument):
    """Base of the simulated oscilloscopes. ``shunt_ohms`` is the true resistance."""

    GAIN_ERROR = 0.02
    OFFSET = 0.01
    CHANNELS = 4

    def __init__(self, supply_v: float, seed: int = 0, shunt_ohms: float = SHUNT_OHMS) -> None:
        super().__init__(supply_v, seed)
        self.shunt_ohms = shunt_ohms
        self.channels: dict[int, Channel] = {}
        self.record_held: Record | None = None
        self._before_s = 0.0
        self._held = False

    def reset_channels(self) -> None:
        """Everything as after *RST: channel 1 shown, nothing in memory."""
        self.cancel()
        self.record_held = None
        numbers = range(1, self.CHANNELS + 1)
        self.channels = {number: Channel(shown=number == 1) for number in numbers}

    # -- acquisition ------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        return self._held

    @property
    def acquiring(self) -> bool:
        """Between the start of a single acquisition and its end."""
        return self.recording is not None

    @property
    def ready(self) -> bool:
        """Waiting for a trigger, with the pre-trigger part of the memory full."""
        if not self._held or self.recording is None:
            return False
        return self.time_s >= self.recording.t0_s + self._before_s

    def single(self, interval_s: float, points: int, before_s: float) -> None:
        """Start a single acquisition with ``before_s`` seconds before its trigger."""
        if self.acquiring:
            self.cancel()
        self.record_held = None
        self._before_s, self._held = before_s, True
        self.record(interval_s, points)
        assert self.recording is not None
        self.recording.t0_s = self.time_s

    def force(self) -> None:
        """Force the trigger; ignored, as by the product, when not ready."""
        if not self.ready or self.recording is None:
            return
        if self.faults.no_trigger:
            self.faults.no_trigger = False
            return
        self._held = False
        self.recording.t0_s = self.time_s - self._before_s

    def cancel(self) -> None:
        """Stop; what was under way is lost."""
        self._held = False
        self.stop()

    def poll_ready(self) -> bool:
        """``ready`` for a status question; time passes while the memory fills."""
        if self._held and not self.ready:
            self.poll()
        return self.ready

    def current_a(self, recording: Recording) -> np.ndarray:
        """The current at which the board, behind the shunt, draws its power."""
        drawn_va = 4 * self.shunt_ohms * recording.power_w()
        root_v = np.sqrt(np.maximum(self.supply_v**2 - drawn_va, 0.0))
        current_a = (self.supply_v - root_v) / (2 * self.shunt_ohms)
        return self.spoiled(current_a)

    def finished(self, recording: Recording) -> None:
        volts = self.current_a(recording) * self.shunt_ohms * self.gain
        self.record_held = Record(
            {1: volts, 2: recording.marker() * MARKER_V},
            recording.interval_s,
            -self._before_s,
            self.lost(recording.points),
        )

    def halted(self, reason: str) -> None:
        self._held = False
        self.record_held = None

    def analog(self, number: int) -> np.ndarray:
        """What channel ``number``'s converter sees in divisions from 0 V, with its noise."""
        if self.record_held is None:
            raise ScpiError(-230, "Data corrupt or stale")
        channel = self.channels[number]
        clean = self.record_held.volts.get(number)
        if clean is None:
            clean = np.zeros_like(self.record_held.volts[1])
        noise = NOISE_DIVISIONS * np.random.default_rng(number).standard_normal(len(clean))
        return clean / channel.scale_v + noise + 8 * self.offset


def one_two_five(value: float, least: float, most: float) -> float:
    """The step of the 1-2-5 row at or above ``value``; ScpiError -222 out of range."""
    if not least * 0.999 <= value <= most * 1.001:
        raise ScpiError(-222, "Data out of range")
    decade = 10.0 ** np.floor(np.log10(value))
    step = next(s for s in (1, 2, 5, 10) if value <= s * decade * 1.001)
    return float(f"{step * decade:.3g}")
