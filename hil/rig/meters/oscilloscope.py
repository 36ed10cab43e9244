"""An oscilloscope as a power meter: shunt on channel 1, marker pin on channel 2.

The channels share a time base, so the marker needs no correction. What the makes have in common is
here: which volts a division and seconds a division to take, codes to amperes, clipped codes,
and the order of things in an acquisition:

    single acquisition -> wait until it is ready for a trigger -> force the trigger
    -> the board works -> wait until it has stopped -> transfer both channels

The trigger is forced by command, since the acquisition has to begin before the marker's first
edge. Zero current lies three divisions below the middle of the screen, so that seven of eight
divisions are left for the board's current.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.rig.meter_options import OscilloscopeOptions
from hil.rig.meters.scpi_meter import ScpiMeter

ZERO_DIVISIONS = -3.0  # where 0 A lies, from the middle of the screen
USED_DIVISIONS = 6.5  # above zero, of the seven that are there
MARKER_SCALE_V = 1.0  # a division: 3.3 V logic from -3 to 0.3 divisions
MARKER_OFFSET_DIVISIONS = -2.0
CURRENT, MARKER = 1, 2  # channels


@dataclass(frozen=True)
class Trace:
    """One channel as it was transferred: converter codes and what makes volts of them.

    volts = (codes + code_offset) * volt_step + volt_offset. ``lowest`` and ``highest`` are the
    codes of clipped samples, ``hole`` is the one that stands for no sample, if there is one.
    ``recorded``: how many samples the instrument says are in its memory.
    """

    codes: np.ndarray
    volt_step: float
    code_offset: float
    volt_offset: float
    lowest: int
    highest: int
    interval_s: float
    start_s: float
    recorded: int
    hole: int | None = None

    def first(self, points: int) -> Trace:
        """The same without what comes after ``points`` samples."""
        return replace(self, codes=self.codes[:points])

    @property
    def volts(self) -> np.ndarray:
        return self._volts(self.codes.astype(np.float64))

    def _volts(self, codes: np.ndarray) -> np.ndarray:
        return (codes + self.code_offset) * self.volt_step + self.volt_offset

    @property
    def is_hole(self) -> np.ndarray:
        """Where there is no sample."""
        if self.hole is None:
            return np.zeros(len(self.codes), np.bool_)
        return self.codes == self.hole

    @property
    def clipped(self) -> bool:
        """Whether a sample is at either end of the converter's range."""
        codes = self.codes[~self.is_hole]
        return bool(((codes <= self.lowest) | (codes >= self.highest)).any())

    @property
    def top_v(self) -> float:
        """The voltage that reads as the highest code."""
        return float(self._volts(np.array([self.highest], np.float64))[0])


@dataclass(frozen=True)
class Timing:
    """A time base: seconds a division, memory points, and the sample interval they give."""

    scale_s: float
    points: int
    interval_s: float


class ShuntScope(ScpiMeter, ABC):
    """Base of the oscilloscopes' drivers; for ``options`` see hil.rig.meter_options.

    ``sample_interval_s`` is the one asked for until an acquisition has shown the real one, which
    is never longer.
    """

    DIVISIONS_X = 10
    SCALES_V = (1e-3, 10.0)  # volts a division, 1-2-5
    SCALES_S = (1e-9, 50.0)  # seconds a division, 1-2-5
    DEPTHS: tuple[int, ...] = ()  # memory points with two channels, rising
    TOP_RATE_HZ = 1e9  # with two channels
    COUNT_ROUNDING = 0.0  # by how much its count of samples may be rounded

    def __init__(
        self,
        resource: str,
        timeout_s: float,
        slowdown: float,
        options: OscilloscopeOptions,
    ) -> None:
        super().__init__(resource, timeout_s, slowdown)
        self._shunt_ohms = options.shunt_ohms
        self._supply_v = options.supply_v
        self._marker_level_v = options.marker_level_v
        self._promised_s = math.nan
        self._points = 0  # to be transferred
        self._expected = 0  # to be recorded, the end of the screen included

    # -- hooks ------------------------------------------------------------------------------

    @abstractmethod
    def _set_channels(self, scale_v: float, offset_v: float) -> None:
        """Vertical settings; ``offset_v`` is the voltage in the middle of the screen."""

    @abstractmethod
    def _set_timing(self, timing: Timing) -> None:
        """Time base with the trigger at the record's first sample."""

    @abstractmethod
    def _single(self) -> None:
        """Start a single acquisition."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it waits for its trigger."""

    @abstractmethod
    def _force(self) -> None:
        """Force the trigger; return once the acquisition runs."""

    @abstractmethod
    def _has_stopped(self) -> bool:
        """Whether the acquisition has ended."""

    @abstractmethod
    def _trace(self, channel: int, points: int) -> Trace:
        """Transfer at least the first ``points`` samples, or as many as there are."""

    # -- hil.rig.meters.scpi_meter ----------------------------------------------------------

    def _check_limits(self, sample_rate_hz: float, range_a: float) -> None:
        slowest_hz = self.DEPTHS[0] / (self.DIVISIONS_X * self.SCALES_S[1])
        self._limit("sample_rate_hz", sample_rate_hz, slowest_hz, self.TOP_RATE_HZ, "Hz")
        most_a = self.SCALES_V[1] * USED_DIVISIONS / self._shunt_ohms
        self._limit(f"range_a with {self._shunt_ohms:g} ohms", range_a, 0.0, most_a, "A")
        drop_v = range_a * self._shunt_ohms
        if drop_v >= 0.1 * self._supply_v:
            raise InstrumentError(
                f"{self.resource}: {range_a:g} A over {self._shunt_ohms:g} ohms take "
                f"{drop_v:.3g} V of the board's {self._supply_v:g} V; use a smaller shunt"
            )

    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        wanted_v = range_a * self._shunt_ohms / USED_DIVISIONS
        scale_v = one_two_five(max(wanted_v, self.SCALES_V[0]))
        self._set_channels(scale_v, -ZERO_DIVISIONS * scale_v)
        self._promised_s = self.sample_interval_s = 1 / sample_rate_hz
        self.range_a = (4 - ZERO_DIVISIONS) * scale_v / self._shunt_ohms

    def _start(self, duration_s: float) -> None:
        timing = self._timing(duration_s)
        self._points = math.ceil(duration_s / timing.interval_s * (1 - 1e-9))
        self._expected = round(timing.scale_s * self.DIVISIONS_X / timing.interval_s)
        self._set_timing(timing)
        self._check_errors("the time base")
        self._single()
        self._link.wait_until(self._is_ready, self._timeout_s, "the pre-trigger part")
        self._force()
        self._check_errors("the trigger")

    def _timing(self, duration_s: float) -> Timing:
        """The shortest time base that holds ``duration_s``, and the smallest memory for it."""
        scale_s = one_two_five(max(duration_s / self.DIVISIONS_X, self.SCALES_S[0]))
        span_s = scale_s * self.DIVISIONS_X
        if scale_s > self.SCALES_S[1]:
            raise self._link.refused("the time base", f"{duration_s:.3g} s do not fit its screen")
        for points in self.DEPTHS:
            if span_s / points <= self._promised_s * 1.0001:
                interval_s = max(span_s / points, 1 / self.TOP_RATE_HZ)
                return Timing(scale_s, points, interval_s)
        raise self._link.refused(
            "the memory",
            f"{duration_s:.3g} s need a time base of {span_s:g} s, in which its "
            f"{self.DEPTHS[-1]} points are {span_s / self.DEPTHS[-1] * 1e6:.3g} us apart, "
            f"{self._promised_s * 1e6:.3g} us were asked for; lower [meter] sample_rate_hz to "
            f"{self.DEPTHS[-1] / span_s:.0f} or shorten the windows",
        )

    def _fetch(self) -> Waveform:
        self._link.wait_until(self._has_stopped, self._wait_s, "the acquisition")
        current = self._trace(CURRENT, self._points).first(self._points)
        marker = self._trace(MARKER, self._points).first(self._points)
        self._check_errors("the transfer")
        self._check_traces(current, marker)
        self.sample_interval_s = current.interval_s
        self.range_a = current.top_v / self._shunt_ohms
        missing = current.is_hole | marker.is_hole
        return self._waveform(
            current.volts[~missing] / self._shunt_ohms,
            marker.volts[~missing] > self._marker_level_v,
            self._supply_v,
            t0_s=current.start_s,
            overload=current.clipped,
            lost_samples=int(missing.sum()),
            series_ohms=self._shunt_ohms,
        )

    def _check_traces(self, current: Trace, marker: Trace) -> None:
        sizes = (len(current.codes), len(marker.codes))
        if current.interval_s != marker.interval_s or sizes[0] != sizes[1]:
            raise self._link.failed(
                "the transfer",
                f"channel 1 has {sizes[0]} samples of {current.interval_s:g} s, channel 2 "
                f"{sizes[1]} of {marker.interval_s:g} s",
            )
        if current.interval_s > self._promised_s * 1.001:
            raise self._link.failed(
                "the transfer",
                f"a sample every {current.interval_s * 1e6:g} us, {self._promised_s * 1e6:g} us "
                "were asked for; switch off its other channels",
            )
        least = self._expected * (1 - self.COUNT_ROUNDING)
        if current.recorded < least or sizes[0] < self._points:
            raise self._link.failed(
                "the transfer",
                f"lost samples: {current.recorded} of {self._expected} are in its memory, "
                f"{sizes[0]} of {self._points} were transferred",
            )


def one_two_five(value: float) -> float:
    """The step of the 1-2-5 row at or above ``value``."""
    decade = 10.0 ** math.floor(math.log10(value))
    step = next(s for s in (1, 2, 5, 10) if value <= s * decade * 1.0001)
    return float(f"{step * decade:.3g}")
