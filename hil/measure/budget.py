"""Where the uncertainty of a window's energy comes from, term by term.

After the Guide to the expression of uncertainty in measurement (JCGM 100): each term is a
standard uncertainty; a limit +-a of which nothing else is known counts as uniform, a / sqrt(3).
A report shows the terms, so that a reader sees what to mend.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from hil.core.errors import DataError
from hil.core.trial import WindowSample
from hil.core.uncertainty import COVERAGE, Term, UncertaintyBudget
from hil.measure.clock import ClockRatio
from hil.measure.energy import WindowEnergy, per_pass
from hil.measure.overhead import MarkerOverhead

UNIFORM = math.sqrt(3)
# Student's t for 95 %, two-sided, by degrees of freedom (JCGM 100, table G.2).
STUDENT_95 = {
    1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 10: 2.23,
    12: 2.18, 15: 2.13, 20: 2.09, 30: 2.04, 50: 2.01, 100: 1.984,
}  # fmt: skip
LIMITS = ("gain", "offset_a", "resolution_a", "shunt", "supply", "time_base")


@dataclass(frozen=True)
class MeterAccuracy:
    """Limits from a data sheet or a calibration; relative ones as a part of the reading.

    ``gain``, ``shunt`` (0 where the meter's gain covers it), ``supply`` (the voltage that the
    current is multiplied with) and ``time_base`` are relative; ``offset_a`` and
    ``resolution_a`` (one step of the converter in the range used) are in amperes. ``source``
    names the data sheet or calibration. DataError for a limit below 0.
    """

    gain: float = 0.0
    offset_a: float = 0.0
    resolution_a: float = 0.0
    shunt: float = 0.0
    supply: float = 0.0
    time_base: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise DataError(f"accuracy of a meter: {name} is {value}, not a limit of 0 or more")


def few_repeats_factor(n: int) -> float:
    """By how much the spread of ``n`` >= 2 repeats is widened, so that COVERAGE still holds.

    A standard deviation of few values is itself uncertain: Student's quantile of 95 % takes the
    place of COVERAGE (JCGM 100, G.3), 1.285 times it for 6 repeats, and never less than it.
    Between two rows of the table the wider one counts.
    """
    rows = list(STUDENT_95)
    return max(1.0, STUDENT_95[rows[bisect_right(rows, n - 1) - 1]] / COVERAGE)


def uniform(name: str, limit_uj: float, note: str) -> Term:
    """A limit of which nothing more is known."""
    return Term(name, limit_uj / UNIFORM, "uniform", note)


def noise_of_mean(values: Sequence[float]) -> float:
    """Standard uncertainty of the mean of at least 2 repeats, by their spread."""
    return few_repeats_factor(len(values)) * stdev(values) / math.sqrt(len(values))


def relative_terms(size_uj: float, accuracy: MeterAccuracy, supply_v: float) -> list[Term]:
    """What scales a reading of ``size_uj``."""
    size_uj = abs(size_uj)
    return [
        uniform("gain", size_uj * accuracy.gain, f"{accuracy.gain:.3%} of the reading"),
        uniform("shunt", size_uj * accuracy.shunt, f"{accuracy.shunt:.3%}, its tolerance"),
        uniform("supply", size_uj * accuracy.supply, f"{accuracy.supply:.3%} of {supply_v:.4g} V"),
        uniform("time base", size_uj * accuracy.time_base, "the meter's sample clock"),
    ]


def edges_terms(repeats: Sequence[WindowEnergy]) -> list[Term]:
    """None averages out. Where edges fall within a sample may be the same in all repeats (a meter
    that starts along with the board); where it is not, the spread has it too. What else is not
    known of them, and what a meter puts in the place of samples, may err to the same side."""
    edges_uj = math.sqrt(fmean(window.edge_uncertainty_uj**2 for window in repeats))
    terms = [uniform("edges", edges_uj, "place of the marker's edges within a sample")]
    if limit_uj := fmean(window.edge_limit_uj for window in repeats):
        terms.append(uniform("edge limits", limit_uj, "not seen, bouncing, drifting or late there"))
    if estimated_uj := fmean(window.estimate_limit_uj for window in repeats):
        note = "the meter's, in the place of samples"
        terms.append(uniform("estimates", estimated_uj, note))
    return terms


def extra_terms(
    size_uj: float, clock: ClockRatio | None, overhead: MarkerOverhead | None, lost_uj: float
) -> list[Term]:
    """What only some windows have."""
    terms = []
    if clock is not None:
        note = f"meter to board {clock.ratio:.6f}, from {clock.windows} windows"
        relative = clock.uncertainty / clock.ratio
        terms.append(Term("clock ratio", abs(size_uj) * relative, "normal", note))
    if overhead is not None:
        note = f"{overhead.energy_uj:.3g} uJ of marker and counter subtracted"
        terms.append(Term("marker overhead", overhead.uncertainty_uj, "normal", note))
    if lost_uj:
        terms.append(uniform("lost samples", lost_uj, "accepted; what they may have been"))
    return terms


def energy_budget(
    repeats: Sequence[WindowEnergy],
    accuracy: MeterAccuracy,
    supply_v: float,
    clock: ClockRatio | None = None,
    overhead: MarkerOverhead | None = None,
    lost_uj: float = 0.0,
) -> UncertaintyBudget:
    """The budget of the mean energy of the same window in ``repeats`` (at least 2).

    ``clock``: the ratio by which the windows were placed. ``overhead``: what was subtracted from
    each. ``lost_uj``: what accepted lost samples may change. DataError with fewer repeats: one
    window says nothing about its noise.
    """
    if len(repeats) < 2:
        raise DataError(
            f"an uncertainty budget needs at least 2 repeats of a window, got {len(repeats)}"
        )
    energies = [window.energy_uj for window in repeats]
    energy_uj = fmean(energies)
    uj_per_a = supply_v * fmean(window.duration_s for window in repeats) * 1e6
    step_a = accuracy.resolution_a
    note = f"spread of {len(repeats)} repeats, of their mean"
    terms = [
        Term("noise", noise_of_mean(energies), "Student's t", note),
        *relative_terms(energy_uj, accuracy, supply_v),
        uniform("offset", accuracy.offset_a * uj_per_a, f"{accuracy.offset_a:.3g} A"),
        uniform("resolution", step_a / 2 * uj_per_a, f"half of a step of {step_a:.3g} A"),
        *edges_terms(repeats),
        *extra_terms(energy_uj, clock, overhead, lost_uj),
    ]
    return UncertaintyBudget(energy_uj, tuple(terms))


def budget_of_pass(
    windows: Sequence[WindowSample],
    accuracy: MeterAccuracy,
    overhead: MarkerOverhead | None = None,
) -> UncertaintyBudget | None:
    """The budget of one pass from windows of several passes; None below 2 windows.

    ``overhead``: what was subtracted from each, as the share of one pass. Windows of older runs
    have no supply voltage recorded: DataError, they cannot be budgeted.
    """
    if len(windows) < 2:
        return None
    if any(window.supply_v <= 0 for window in windows):
        raise DataError(
            "windows without a supply voltage are of an older run and have no uncertainty budget; "
            "measure again"
        )
    return energy_budget(
        [per_pass(window) for window in windows],
        accuracy,
        fmean(w.supply_v for w in windows),
        clock_of(windows),
        overhead,
        lost_of_pass(windows),
    )


def lost_of_pass(windows: Sequence[WindowSample]) -> float:
    """Limit by accepted losses: all estimates may err to one side, nothing averages out."""
    return fmean(window.lost_limit_uj / window.iterations for window in windows)


def clock_of(windows: Sequence[WindowSample]) -> ClockRatio | None:
    """The mean of the acquisitions' ratios; None where no window was placed by one."""
    placed = [w for w in windows if w.clock_windows]
    if not placed:
        return None
    uncertainty = math.sqrt(fmean(w.clock_uncertainty**2 for w in placed) / len(placed))
    ratio = fmean(w.clock_ratio for w in placed)
    return ClockRatio(ratio, uncertainty, sum(w.clock_windows for w in placed))
