"""What the drivers of bought SCPI meters share: identity, limits, reconnection, the waveform."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import numpy as np

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, acquire
from hil.rig.scpi import ScpiLink, origin_of


class ScpiMeter(ABC):
    """Base of the drivers; a subclass says what it is and fills in the hooks.

    ``timeout_s`` is granted for an answer; waiting for an acquisition adds its duration times
    ``slowdown``. After a failure the connection is closed; the next ``configure`` or ``arm``
    opens it again and sets the instrument up anew.
    """

    IDENTITY = ""  # pattern of the *IDN? answers that are taken
    NAME = ""  # what those instruments are called

    def __init__(self, resource: str, timeout_s: float = 5.0, slowdown: float = 1.0) -> None:
        self.resource = resource
        self.identity = ""
        self.sample_interval_s = math.nan
        self.range_a = math.nan
        self._timeout_s = timeout_s
        self._slowdown = slowdown
        self._asked: tuple[float, float] | None = None  # sample rate, range
        self._duration_s = 0.0
        self._link = ScpiLink(resource, timeout_s)

    # -- hooks ------------------------------------------------------------------------------

    @abstractmethod
    def _check_limits(self, sample_rate_hz: float, range_a: float) -> None:
        """InstrumentError when the instrument cannot do this; nothing is sent."""

    @abstractmethod
    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        """Bring every setting that matters to a known value; set interval and range."""

    @abstractmethod
    def _start(self, duration_s: float) -> None:
        """Start an acquisition of ``duration_s``; return once samples are being taken."""

    @abstractmethod
    def _fetch(self) -> Waveform:
        """Wait for the acquisition and fetch it."""

    @abstractmethod
    def _give_up(self) -> None:
        """Stop the acquisition under way."""

    @property
    def origin(self) -> Origin:
        """By the serial number: simulated products tell theirs as such."""
        return origin_of(self.identity)

    # -- hil.rig.meter.Meter ----------------------------------------------------------------

    def identify(self) -> str:
        """Vendor, model, serial, version; InstrumentError for any other instrument."""
        self._link.connect()
        identity = self._link.query("*IDN?")
        if not re.match(self.IDENTITY, identity, re.IGNORECASE):
            raise self._link.failed(
                "*IDN?", f"this is {identity!r}, not {self.NAME}; correct [meter] kind or resource"
            )
        self.identity = self._link.identity = identity
        return identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        self._check_limits(sample_rate_hz, range_a)
        self.identify()
        self._link.send("*CLS")
        self._set_up(sample_rate_hz, range_a)
        self._check_errors("the set-up")
        self._asked = (sample_rate_hz, range_a)

    def arm(self, duration_s: float) -> None:
        if self._asked is None:
            raise InstrumentError(f"{self.resource}: armed before it was configured")
        if not self._link.is_open:
            self.configure(*self._asked)
        self._duration_s = duration_s
        self._start(duration_s)

    def read(self) -> Waveform:
        return self._fetch()

    def abort(self) -> None:
        if self._link.is_open:
            self._give_up()

    def close(self) -> None:
        self._link.close()

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)

    # -- for the subclass -------------------------------------------------------------------

    @property
    def _wait_s(self) -> float:
        """How long the acquisition under way may take to end."""
        return self._timeout_s + self._duration_s * self._slowdown

    def _check_errors(self, what: str) -> None:
        self._link.check_errors(what)

    def _limit(self, name: str, value: float, least: float, most: float, unit: str) -> None:
        """InstrumentError unless ``value`` is within what the instrument's data sheet allows."""
        if not least <= value <= most:
            raise InstrumentError(
                f"{self.resource}: {self.NAME}: {name} = {value:g} {unit} is out of its limits, "
                f"{least:g} to {most:g} {unit}; correct the [meter] table of the rig file"
            )

    def _waveform(
        self,
        current_a: np.ndarray,
        marker: np.ndarray,
        supply_v: float,
        t0_s: float = 0.0,
        overload: bool = False,
        lost_samples: int = 0,
        sample_interval_s: float = math.nan,
        series_ohms: float = 0.0,
        edge_uncertainty_s: float = 0.0,
        edge_gap_s: float = 0.0,
    ) -> Waveform:
        """What has been read, as a waveform; InstrumentError when the parts do not fit."""
        own = math.isnan(sample_interval_s)
        try:
            return Waveform(
                t0_s=t0_s,
                sample_interval_s=self.sample_interval_s if own else sample_interval_s,
                current_a=current_a.astype(np.float32),
                marker=marker.astype(np.bool_),
                supply_v=supply_v,
                range_a=self.range_a,
                overload=overload,
                lost_samples=lost_samples,
                meter=self.identity,
                origin=self.origin,
                series_ohms=series_ohms,
                edge_uncertainty_s=edge_uncertainty_s,
                edge_gap_s=edge_gap_s,
            )
        except DataError as error:
            raise self._link.failed("the acquisition", error) from error
