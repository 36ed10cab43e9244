"""The best partition for a goal, and how sure the measurements make it.

All partitions are priced and compared: a network has some tens of cuts with some tens of
channel counts each, so no search is needed and none can miss. A decision is *uncertain* when
another partition could be better within the intervals, or when the chosen one could break a
limit within them. A partition whose cost or accuracy is unknown is never chosen.

The best accuracy within a latency or energy limit is the paper's own question (section 3.3); the
least latency or energy with an accuracy limit is the same question asked from the other side.

Failure is data: ``Decision.outcome`` says why nothing was found and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from hil.clio.partitions import Partition
from hil.clio.pricing import (
    Measured,
    Priced,
    Target,
    accuracy_loss,
    energy_difference,
    latency_difference,
    price,
)
from hil.clio.radio import Radio
from hil.core.cost import Interval
from hil.core.errors import DataError

# Switching bandwidths are located to this relative width.
SWITCH_PRECISION = 1e-3
# Reason of a rejection that the designer looks for.
ACCURACY_UNKNOWN = "accuracy unknown"


@dataclass(frozen=True)
class Goal:
    """The target and the limits that a partition has to keep. None: no such limit.

    DataError for accuracy without a cost limit: the answer would not depend on any cost.
    """

    target: Target
    max_latency_s: float | None = None
    max_energy_uj: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        unlimited = self.max_latency_s is None and self.max_energy_uj is None
        if self.target is Target.ACCURACY and unlimited:
            raise DataError(
                "the best accuracy is sought within a limit: give a largest latency or energy"
            )

    def __str__(self) -> str:
        if self.target is not Target.ACCURACY:
            return f"least {self.target}"
        latency, energy = self.max_latency_s, self.max_energy_uj
        limits = [] if latency is None else [f"{latency * 1e3:g} ms"]
        limits += [] if energy is None else [f"{energy:g} uJ"]
        return f"best accuracy within {' and '.join(limits)}"


class Outcome(Enum):
    """Why a decision is what it is; the text says what to do."""

    FOUND = "a partition was found"
    NOTHING_FITS = "no partition fits the board: choose a smaller network or a larger board"
    NOTHING_KNOWN = "no partition that fits has all its costs measured: measure what is missing"
    ACCURACY_UNKNOWN = (
        "no partition within the cost limits has a known accuracy: evaluate the accuracy of the "
        "cuts, or drop the accuracy limit"
    )
    TOO_TIGHT = "no partition keeps all limits: relax one, or choose a faster radio or board"


@dataclass(frozen=True)
class Rival:
    """A partition that could beat the chosen one. ``difference``: rival minus chosen, in the
    target's unit (s or uJ; for accuracy the fraction lost); its lower end is below zero.
    """

    option: Priced
    difference: Interval


@dataclass(frozen=True)
class Rejected:
    """A partition that was not considered, and why."""

    option: Priced
    reason: str


@dataclass(frozen=True)
class Decision:
    """The answer at one bandwidth. ``doubts`` are limits the chosen one may break."""

    bandwidth_kbps: float
    goal: Goal
    outcome: Outcome
    best: Priced | None
    rivals: tuple[Rival, ...]
    doubts: tuple[str, ...]
    rejected: tuple[Rejected, ...]

    @property
    def uncertain(self) -> bool:
        """Whether more measurements could change the answer."""
        return bool(self.rivals or self.doubts)

    def require(self) -> Priced:
        """The best partition, or DataError with the outcome's advice."""
        if self.best is None:
            reasons = Counter(r.reason for r in self.rejected).most_common(2)
            seen = "; ".join(f"{count} x {reason}" for reason, count in reasons)
            raise DataError(
                f"at {self.bandwidth_kbps:g} kbit/s for the {self.goal}: "
                f"{self.outcome.value} ({seen})"
            )
        return self.best


Difference = Callable[[Priced, Priced], Interval]


def best(options: Sequence[Priced], goal: Goal, difference: Difference) -> Decision:
    """Choose among options priced at one bandwidth.

    ``difference(a, b)`` is the target's value of a minus b with its interval, for accuracy what
    a loses against b. Among equals the more accurate wins (of equally accurate ones the cheaper
    in what is limited), then the one that sends less.
    """
    if not options:
        raise DataError("no partitions to choose from")
    reasons = {id(option): _rejection(option, goal) for option in options}
    allowed = [option for option in options if not reasons[id(option)]]
    rejected = tuple(Rejected(o, reasons[id(o)]) for o in options if reasons[id(o)])
    bandwidth = options[0].bandwidth_kbps
    if not allowed:
        outcome = _why_nothing(options, goal)
        return Decision(bandwidth, goal, outcome, None, (), (), rejected)
    chosen = min(allowed, key=lambda option: _rank(option, goal))
    possible = [o for o in options if o is not chosen and _possible(o, goal)]
    rivals = _rivals(chosen, possible, difference)
    return Decision(bandwidth, goal, Outcome.FOUND, chosen, rivals, _doubts(chosen, goal), rejected)


def _rank(option: Priced, goal: Goal) -> tuple[float, float, int]:
    accuracy = option.accuracy.median if option.accuracy else 0.0
    if goal.target is Target.ACCURACY:
        limited = Target.ENERGY if goal.max_latency_s is None else Target.LATENCY
        cost = option.value(limited)
        assert cost is not None
        return -accuracy, cost.median, option.partition.wire_bytes
    value = option.value(goal.target)
    assert value is not None
    return value.median, -accuracy, option.partition.wire_bytes


def _rejection(option: Priced, goal: Goal) -> str:
    """Why an option cannot be chosen; empty if it can."""
    if option.refused:
        return f"does not fit the board: {option.refused}"
    if _costs_unknown(option, goal):
        return f"not measured: {', '.join(option.unknown)}"
    if over := _over_cost(option, goal):
        return over
    if option.accuracy is None:
        needed = goal.target is Target.ACCURACY or goal.min_accuracy is not None
        return ACCURACY_UNKNOWN if needed else ""
    if goal.min_accuracy is not None and option.accuracy.median < goal.min_accuracy:
        return "not accurate enough"
    return ""


def _over_cost(option: Priced, goal: Goal) -> str:
    """Which cost limit an option breaks; empty if it keeps them."""
    if not _keeps(option.latency_s, goal.max_latency_s):
        return "too slow"
    return "" if _keeps(option.energy_uj, goal.max_energy_uj) else "too much energy"


def _costs_unknown(option: Priced, goal: Goal) -> bool:
    needs_latency = goal.target is Target.LATENCY or goal.max_latency_s is not None
    needs_energy = goal.target is Target.ENERGY or goal.max_energy_uj is not None
    return (needs_latency and option.latency_s is None) or (
        needs_energy and option.energy_uj is None
    )


def _keeps(value: Interval | None, limit: float | None) -> bool:
    return limit is None or (value is not None and value.median <= limit)


def _possible(option: Priced, goal: Goal) -> bool:
    """Whether the option keeps all limits somewhere within its intervals."""
    if option.refused or _costs_unknown(option, goal):
        return False
    if goal.max_latency_s is not None and option.latency_s.lo > goal.max_latency_s:  # type: ignore[union-attr]
        return False
    if goal.max_energy_uj is not None and option.energy_uj.lo > goal.max_energy_uj:  # type: ignore[union-attr]
        return False
    if option.accuracy is None:
        return goal.min_accuracy is None and goal.target is not Target.ACCURACY
    return goal.min_accuracy is None or option.accuracy.hi >= goal.min_accuracy


def _rivals(
    chosen: Priced, possible: Iterable[Priced], difference: Difference
) -> tuple[Rival, ...]:
    rivals = [Rival(option, difference(option, chosen)) for option in possible]
    close = [r for r in rivals if r.difference.lo < 0 or not r.difference.known]
    return tuple(sorted(close, key=lambda rival: rival.difference.median))


def _doubts(chosen: Priced, goal: Goal) -> tuple[str, ...]:
    doubts = []
    latency, energy, accuracy = chosen.latency_s, chosen.energy_uj, chosen.accuracy
    if goal.max_latency_s is not None and latency and latency.hi > goal.max_latency_s:
        doubts.append(f"latency may reach {latency.hi:.6g} s, limit {goal.max_latency_s:.6g} s")
    if goal.max_energy_uj is not None and energy and energy.hi > goal.max_energy_uj:
        doubts.append(f"energy may reach {energy.hi:.6g} uJ, limit {goal.max_energy_uj:.6g} uJ")
    if goal.min_accuracy is not None and accuracy and accuracy.lo < goal.min_accuracy:
        doubts.append(f"accuracy may be {accuracy.lo:.4f}, limit {goal.min_accuracy:.4f}")
    return tuple(doubts)


def _why_nothing(options: Sequence[Priced], goal: Goal) -> Outcome:
    fitting = [option for option in options if not option.refused]
    if not fitting:
        return Outcome.NOTHING_FITS
    known = [option for option in fitting if not _costs_unknown(option, goal)]
    if not known:
        return Outcome.NOTHING_KNOWN
    within = [option for option in known if not _over_cost(option, goal)]
    if within and all(option.accuracy is None for option in within):
        return Outcome.ACCURACY_UNKNOWN
    return Outcome.TOO_TIGHT


def decide(
    candidates: Sequence[Partition], measured: Measured, radio: Radio, goal: Goal
) -> Decision:
    """Price all candidates at the radio's bandwidth and choose."""
    options = [price(candidate, measured, radio) for candidate in candidates]

    def difference(a: Priced, b: Priced) -> Interval:
        if goal.target is Target.ACCURACY:
            return accuracy_loss(a, b)
        if goal.target is Target.LATENCY:
            return latency_difference(a, b, measured, radio)
        return energy_difference(a, b, measured)

    return best(options, goal, difference)


@dataclass(frozen=True)
class Switch:
    """Where the best partition changes: ``below`` up to this bandwidth, ``above`` from it."""

    bandwidth_kbps: float
    below: Partition | None
    above: Partition | None


@dataclass(frozen=True)
class Sweep:
    """Decisions at rising bandwidths, and the switches between them."""

    radio: Radio
    decisions: tuple[Decision, ...]
    switches: tuple[Switch, ...]


def sweep(
    candidates: Sequence[Partition],
    measured: Measured,
    radio: Radio,
    goal: Goal,
    bandwidths_kbps: Iterable[float],
) -> Sweep:
    """Decide at every bandwidth, and find the switching points by bisection.

    Between two neighbouring bandwidths with the same best partition none is looked for.
    """
    rising = sorted(set(bandwidths_kbps))
    if not rising:
        raise DataError("a sweep needs at least one bandwidth")

    def winner(bandwidth_kbps: float) -> Partition | None:
        return _winner(candidates, measured, radio.at(bandwidth_kbps), goal)

    decisions = tuple(decide(candidates, measured, radio.at(b), goal) for b in rising)
    switches: list[Switch] = []
    for a, b in pairwise(decisions):
        ends = (a.bandwidth_kbps, _chosen(a)), (b.bandwidth_kbps, _chosen(b))
        switches.extend(_switches(*ends, winner))
    return Sweep(radio, decisions, tuple(switches))


def _chosen(decision: Decision) -> Partition | None:
    return decision.best.partition if decision.best else None


def _winner(
    candidates: Sequence[Partition], measured: Measured, radio: Radio, goal: Goal
) -> Partition | None:
    """Only the choice of ``decide``, without rivals and reasons."""
    options = (price(candidate, measured, radio) for candidate in candidates)
    allowed = [option for option in options if not _rejection(option, goal)]
    return min(allowed, key=lambda o: _rank(o, goal)).partition if allowed else None


End = tuple[float, Partition | None]


def _switches(low: End, high: End, winner: Callable[[float], Partition | None]) -> list[Switch]:
    if low[1] == high[1]:
        return []
    if high[0] / low[0] <= 1.0 + SWITCH_PRECISION:
        return [Switch(high[0], low[1], high[1])]
    bandwidth = (low[0] * high[0]) ** 0.5
    middle = bandwidth, winner(bandwidth)
    return _switches(low, middle, winner) + _switches(middle, high, winner)
