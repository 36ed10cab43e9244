"""What makes an energy uncertain, term by term: the result of hil.measure.budget, kept with a cost.

Words after the Guide to the expression of uncertainty in measurement (JCGM 100): standard
uncertainties of independent terms add as squares; the expanded one is COVERAGE times that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

COVERAGE = 2.0  # of the expanded uncertainty: about 95 %


@dataclass(frozen=True)
class Term:
    """One cause. ``standard_uj``: its standard uncertainty in the energy, in microjoules."""

    name: str
    standard_uj: float
    distribution: str
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
    def expanded_pct(self) -> float:
        """The expanded uncertainty in percent of the energy; NaN for no energy."""
        return 100.0 * self.expanded_uj / abs(self.energy_uj) if self.energy_uj else math.nan

    @property
    def largest(self) -> Term:
        """The term to mend first."""
        return max(self.terms, key=lambda term: term.standard_uj)

    def shares(self) -> Iterator[tuple[Term, float]]:
        """Every term with its share of the variance in percent, largest first."""
        variance = self.combined_uj**2
        for term in sorted(self.terms, key=lambda term: -term.standard_uj):
            yield term, 100.0 * term.standard_uj**2 / variance if variance else 0.0

    def __str__(self) -> str:
        return (
            f"{self.energy_uj:.6g} uJ +- {self.expanded_uj:.3g} uJ ({self.expanded_pct:.2f} %, "
            f"k = {COVERAGE:g}), mostly {self.largest.name}"
        )

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"energy_uj": self.energy_uj, "terms": [asdict(term) for term in self.terms]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UncertaintyBudget:
        return cls(data["energy_uj"], tuple(Term(**term) for term in data["terms"]))
