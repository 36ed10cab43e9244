"""Where the uncertainty of a window's energy comes from, term by term.

After the Guide to the expression of uncertainty in measurement (JCGM 100): each term is a
standard uncertainty; a limit +-a of which nothing else is known counts as uniform, a / sqrt(3);
independent terms add as squares. A report shows the terms, so that a reader sees what to mend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from hil.core.errors import DataError
from hil.measure.clock import ClockRatio
from hil.measure.energy import WindowEnergy
from hil.measure.overhead import MarkerOverhead

UNIFORM = math.sqrt(3)
COVERAGE = 2.0  # of the expanded uncertainty: about 95 %


@dataclass(frozen=True)
class MeterAccuracy:
    """Limits from a data sheet or a calibration; relative ones as a part of the reading.

    ``gain``, ``shunt`` (0 where the meter's gain covers it), ``supply`` (the voltage that the
    current is multiplied with) and ``time_base`` are relative, ``offset_a`` is in amperes.
    """

    gain: float = 0.0
    offset_a: float = 0.0
    shunt: float = 0.0
    supply: float = 0.0
    time_base: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gain", "offset_a", "shunt", "supply", "time_base"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise DataError(f"accuracy of a meter: {name} is {value}, not a limit of 0 or more")


@dataclass(frozen=True)
class Term:
    """One cause. ``standard_uj``: its standard uncertainty in the window's energy."""

    name: str
    standard_uj: float
    note: str


@dataclass(frozen=True)
class UncertaintyBudget:
    """An energy and all that makes it uncertain, both in microjoules."""

    energy_uj: float
    terms: tuple[Term, ...]

    @property
    def combined_uj(self) -> float:
        """Standard uncertainty of all terms together."""
        return math.hypot(*(term.standard_uj for term in self.terms))

    @property
    def expanded_uj(self) -> float:
        """The half-width that holds the true energy with about 95 %."""
        return COVERAGE * self.combined_uj

    @property
    def largest(self) -> Term:
        """The term to mend first."""
        return max(self.terms, key=lambda term: term.standard_uj)

    def rows(self) -> Iterator[tuple[str, float, float, str]]:
        """For a table, largest first: name, microjoules, share of the variance in %, note."""
        variance = self.combined_uj**2
        for term in sorted(self.terms, key=lambda term: -term.standard_uj):
            share = 100.0 * term.standard_uj**2 / variance if variance else 0.0
            yield term.name, term.standard_uj, share, term.note

    def __str__(self) -> str:
        percent = 100.0 * self.expanded_uj / abs(self.energy_uj) if self.energy_uj else math.nan
        return (
            f"{self.energy_uj:.6g} uJ +- {self.expanded_uj:.3g} uJ ({percent:.2f} %, k = "
            f"{COVERAGE:g}), mostly {self.largest.name}"
        )


def energy_budget(
    repeats: Sequence[WindowEnergy],
    accuracy: MeterAccuracy,
    supply_v: float,
    clock: ClockRatio | None = None,
    overhead: MarkerOverhead | None = None,
    lost_s: float = 0.0,
) -> UncertaintyBudget:
    """The budget of the mean energy of the same window in ``repeats`` (at least 2).

    ``clock``: the ratio by which the windows were placed. ``overhead``: what was subtracted from
    each. ``lost_s``: the time of lost samples that were accepted. DataError with fewer repeats:
    one window says nothing about its noise.
    """
    if len(repeats) < 2:
        raise DataError(
            f"an uncertainty budget needs at least 2 repeats of a window, got {len(repeats)}"
        )
    energies = [window.energy_uj for window in repeats]
    energy_uj, n = fmean(energies), len(energies)
    duration_s = fmean(window.duration_s for window in repeats)
    power_uw = fmean(window.power_w for window in repeats) * 1e6
    edges_uj = math.sqrt(fmean(window.edge_uncertainty_uj**2 for window in repeats) / n)
    size_uj = abs(energy_uj)
    terms = [
        Term("noise", stdev(energies) / math.sqrt(n), f"spread of {n} repeats, of their mean"),
        Term("gain", size_uj * accuracy.gain / UNIFORM, "calibration or data sheet"),
        Term(
            "offset",
            accuracy.offset_a * supply_v * duration_s * 1e6 / UNIFORM,
            f"{accuracy.offset_a:.3g} A for {duration_s:.3g} s",
        ),
        Term("shunt", size_uj * accuracy.shunt / UNIFORM, "tolerance of the resistor"),
        Term("supply", size_uj * accuracy.supply / UNIFORM, f"of {supply_v:g} V"),
        Term("time base", size_uj * accuracy.time_base / UNIFORM, "the meter's sample clock"),
        Term("edges", edges_uj / UNIFORM, "place of the marker's edges within a sample"),
    ]
    if clock is not None:
        note = f"ratio {clock.ratio:.6f} from {clock.windows} windows"
        terms.append(Term("clock ratio", size_uj * clock.uncertainty / clock.ratio, note))
    if overhead is not None:
        note = f"{overhead.energy_uj:.3g} uJ were subtracted"
        terms.append(Term("marker overhead", overhead.uncertainty_uj, note))
    if lost_s:
        terms.append(Term("lost samples", power_uw * lost_s / UNIFORM, f"{lost_s:.3g} s accepted"))
    return UncertaintyBudget(energy_uj, tuple(terms))
