"""A current digitiser with a marker input, by SCPI over a VISA socket (pyvisa).

Command set: docs/virtual-meter.md (the shipped VPM1 speaks it). Blocks are IEEE 488.2 definite
blocks; errors are read from SYST:ERR? after every set-up, as SCPI-99 volume 1, 19.7 wants.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import numpy as np

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, acquire
from hil.rig.scpi import ScpiLink, origin_of

# Ranges are decades apart at most; beyond this the answer is in other units.
MOST_ABOVE_ASKED = 100.0
SMALLEST_RANGE_A = 0.001
MEASURING = 16  # STAT:OPER:COND? bit 4


class ScpiDigitizer:
    """The instrument at VISA ``resource``, for example ``TCPIP0::192.168.1.9::5025::SOCKET``.

    ``timeout_s`` is granted for an answer; waiting for an acquisition adds its duration times
    ``slowdown``. After an error the connection is closed, so that a late answer cannot be taken
    for that of the next question; the next ``configure`` or ``arm`` connects again.
    """

    def __init__(self, resource: str, timeout_s: float = 5.0, slowdown: float = 1.0) -> None:
        self.resource = resource
        self.identity = ""
        self.sample_interval_s = math.nan
        self.range_a = math.nan
        self._timeout_s = timeout_s
        self._slowdown = slowdown
        self._asked: tuple[float, float] | None = None  # sample rate, range
        self._duration_s = 0.0
        self._points = 0
        self._supply_v = math.nan
        self._link = ScpiLink(resource, timeout_s)

    # -- hil.rig.meter.Meter ----------------------------------------------------------------

    def identify(self) -> str:
        self.identity = self._link.identity = self._link.query("*IDN?")
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        self._link.connect()
        self._link.send("*CLS")
        self._link.send("ABOR")
        self._link.send("FORM:BORD SWAP")
        self._link.send(f"CURR:RANG {range_a:.9g}")
        self._link.send(f"SWE:TINT {1.0 / sample_rate_hz:.9g}")
        self._link.check_errors("the set-up")
        self.identify()
        self.range_a = self._link.number("CURR:RANG?")
        self.sample_interval_s = self._link.number("SWE:TINT?")
        self._supply_v = self._link.number("MEAS:VOLT?")
        self._refuse_other_settings(sample_rate_hz, range_a)
        self._asked = (sample_rate_hz, range_a)

    def _refuse_other_settings(self, sample_rate_hz: float, range_a: float) -> None:
        """InstrumentError when it tells settings that no such instrument makes of those asked."""
        if self.range_a > MOST_ABOVE_ASKED * max(range_a, SMALLEST_RANGE_A):
            raise self._link.failed(
                "CURR:RANG?", f"{self.range_a:g} A, {range_a:g} A were asked for; other units?"
            )
        if self.sample_interval_s * sample_rate_hz > MOST_ABOVE_ASKED:
            raise self._link.failed(
                "SWE:TINT?",
                f"{self.sample_interval_s:g} s, {1 / sample_rate_hz:g} s were asked for; other "
                "units?",
            )

    def arm(self, duration_s: float) -> None:
        if self._asked is None:
            raise InstrumentError(f"{self.resource}: armed before it was configured")
        if not self._link.is_open:
            self.configure(*self._asked)
        self._points = math.ceil(duration_s / self.sample_interval_s)
        self._duration_s = self._points * self.sample_interval_s
        self._link.send(f"SWE:POIN {self._points}")
        self._link.check_errors(f"an acquisition of {self._points} samples")
        self._supply_v = self._link.number("MEAS:VOLT?")
        self._link.send("INIT")
        # Asking is what makes sure that sampling has begun before the board is told to work.
        if not int(self._link.number("STAT:OPER:COND?")) & MEASURING:
            self._link.check_errors("INIT")
            raise self._link.failed("INIT", "it is not measuring")

    def read(self) -> Waveform:
        wait_s = self._timeout_s + self._duration_s * self._slowdown
        current = self._link.block("FETC:ARR:CURR?", np.dtype("<f4"), wait_s)
        marker = self._link.block("FETC:ARR:MARK?", np.dtype(np.uint8), self._timeout_s)
        points, overloaded, lost, t0_s = self._statistics()
        self._link.check_errors("the acquisition")
        if not len(current) == len(marker) == points:
            raise self._link.failed(
                "FETC:ARR", f"{len(current)} currents and {len(marker)} markers of {points} points"
            )
        if points + lost != self._points:
            raise self._link.failed(
                "FETC:ARR",
                f"truncated waveform: {points} samples and {lost} reported as lost, "
                f"{self._points} were asked for",
            )
        try:
            return Waveform(
                t0_s=t0_s,
                sample_interval_s=self.sample_interval_s,
                current_a=current.astype(np.float32),
                marker=marker.astype(np.bool_),
                supply_v=self._supply_v,
                range_a=self.range_a,
                overload=overloaded > 0,
                lost_samples=lost,
                meter=self.identity,
                origin=self.origin,
            )
        except DataError as error:
            raise self._link.failed("FETC:ARR", error) from error

    def abort(self) -> None:
        if self._link.is_open:
            self._link.send("ABOR")

    def close(self) -> None:
        self._link.close()

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)

    # -- beyond the protocol ----------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        """Measured, unless the instrument says itself that it is a virtual one."""
        return origin_of(self.identity)

    @property
    def supply_v(self) -> float:
        """The target's supply as read last, in volts."""
        return self._supply_v

    def _statistics(self) -> tuple[int, int, int, float]:
        answer = self._link.query("FETC:STAT?")
        try:
            points, overloaded, lost, t0 = answer.split(",")
            return int(points), int(overloaded), int(lost), float(t0)
        except ValueError as error:
            raise self._link.failed(
                "FETC:STAT?", f"answered {answer!r}, not four numbers"
            ) from error
