"""What every power meter offers, whatever it speaks underneath."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform

# An acquisition is longer than the work it watches: the host's estimate may be short, and
# request and answer take their time. Both are idle samples that cost nothing.
MARGIN = 1.1
SLACK_S = 0.02
# Supplies that a board on a bench may have.
SUPPLY_V = (0.3, 60.0)
# Converters reach somewhat beyond their range, none twice as far.
OVER_RANGE = 2.0


class Meter(Protocol):
    """A meter that samples current and marker together.

    All methods raise InstrumentError, which names the instrument and the command. ``identity``
    and ``origin`` are known after ``identify``, ``sample_interval_s`` and ``range_a`` after
    ``configure``: the values the instrument really uses, not those asked for.
    """

    @property
    def identity(self) -> str: ...

    @property
    def origin(self) -> Origin:
        """Measured, or modelled for a simulated instrument."""

    @property
    def sample_interval_s(self) -> float: ...

    @property
    def range_a(self) -> float: ...

    def identify(self) -> str:
        """Vendor, model, serial and version."""

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        """Set up for acquisitions up to ``range_a`` amperes."""

    def arm(self, duration_s: float) -> None:
        """Start sampling; when this returns, the samples are being taken."""

    def read(self) -> Waveform:
        """Wait until the acquisition has ended and fetch it."""

    def abort(self) -> None:
        """Give up an acquisition that nobody will read."""

    def close(self) -> None:
        """Give the instrument back."""

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        """``with meter.acquisition(busy_s) as acquisition: work(); acquisition.read()``."""


@dataclass
class Acquisition:
    """An acquisition under way."""

    meter: Meter
    is_read: bool = False

    def read(self) -> Waveform:
        """The samples, once. InstrumentError also when they cannot be what the meter says."""
        self.is_read = True
        waveform = self.meter.read()
        refuse_implausible(waveform)
        return waveform


def refuse_implausible(waveform: Waveform) -> None:
    """InstrumentError for numbers that are in other units, or in another byte order."""
    low_v, high_v = SUPPLY_V
    if not low_v <= waveform.supply_v <= high_v:
        raise InstrumentError(
            f"{waveform.meter}: a supply of {waveform.supply_v:g} V, boards have {low_v:g} to "
            f"{high_v:g} V; does the meter tell millivolts?"
        )
    most_a = float(np.max(np.abs(waveform.current_a), initial=0.0))
    if most_a > OVER_RANGE * waveform.range_a:
        raise InstrumentError(
            f"{waveform.meter}: a sample of {most_a:g} A in the range of {waveform.range_a:g} A; "
            "does the meter tell milliamperes, or has somebody changed its settings?"
        )


@contextmanager
def acquire(meter: Meter, busy_s: float) -> Iterator[Acquisition]:
    """Sample while the board works for about ``busy_s``; aborted unless read in the block."""
    meter.arm(busy_s * MARGIN + SLACK_S)
    acquisition = Acquisition(meter)
    try:
        yield acquisition
    except BaseException as error:
        if not acquisition.is_read:
            _abort_after(meter, error)
        raise
    if not acquisition.is_read:
        meter.abort()


def _abort_after(meter: Meter, error: BaseException) -> None:
    """Abort; a second failure is noted on the first one, which is the cause worth telling."""
    try:
        meter.abort()
    except InstrumentError as second:
        error.add_note(f"and the meter could not be stopped: {second}")
