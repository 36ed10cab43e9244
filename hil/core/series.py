"""Costs that are followed from night to night: what names a series, and one night's value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hil.core.cost import Interval
from hil.core.provenance import Origin, Provenance


class Quantity(StrEnum):
    """What is followed; the value is the unit's name in files."""

    CYCLES = "cycles"
    ENERGY = "energy_uj"


@dataclass(frozen=True, order=True)
class Series:
    """One cost of one part of a network on one rig.

    ``part`` is "layer NAME" or "partition CUT". Firmware may change from night to night: finding
    out what that did is the purpose. ``conditions`` may not: clock and console protocol, and
    whatever counts (the chip's timing model, or the meter). Under other conditions the numbers
    are another series.
    """

    board: str
    rig: str
    network_digest: str
    toolchain: str
    part: str
    quantity: Quantity
    conditions: str

    @classmethod
    def of(cls, origin: Provenance, part: str, quantity: Quantity) -> Series:
        """The series that a cost of this provenance belongs to."""
        counter = origin.timing_model if quantity is Quantity.CYCLES else origin.meter
        return cls(
            origin.board,
            origin.rig,
            origin.network_digest,
            origin.toolchain,
            part,
            quantity,
            f"{origin.clock_hz} Hz, protocol {origin.protocol}, {counter}",
        )

    def __str__(self) -> str:
        return f"{self.board} {self.part} {self.quantity}"


@dataclass(frozen=True)
class NightCost:
    """One night's value of a series, the samples behind it and where they come from."""

    series: Series
    value: Interval
    provenance: Provenance
    samples: tuple[float, ...] = ()

    @property
    def origin(self) -> Origin:
        """Measured, simulated or modelled."""
        origin = self.provenance
        cycles = self.series.quantity is Quantity.CYCLES
        return origin.cycles_origin if cycles else origin.energy_origin


class Verdict(StrEnum):
    """How a night's value stands to the accepted ones."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    WITHIN_NOISE = "within noise"
    NEW = "new"
    GONE = "gone"


# The verdicts from which on, once accepted, a series is expected to stay where it went.
LEVEL_STARTS = frozenset({Verdict.IMPROVED, Verdict.REGRESSED, Verdict.NEW})


@dataclass(frozen=True)
class Accepted:
    """A value of an accepted night. ``night`` numbers go up with time."""

    night: int
    value: Interval
    verdict: Verdict
