"""Which measurement next: the optimizer as a designer of experiments.

``suggest`` names the measurements that would most reduce the doubt about the decisions over
the bandwidths of interest; ``update`` takes in what was measured. No hardware in sight: the
loop runs the suggestions. It assumes that another repeat narrows an interval, which holds for
noise and not for a wrong instrument.

The doubt between the chosen partition and a rival comes from what they do not share: the
layers between their cuts and their tails in the cloud; for the best accuracy, from whether the
rival keeps the limits. Each contributes the square of its interval's half-width; its score is its
share, summed over all doubtful pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hil.clio.optimizer import ACCURACY_UNKNOWN, Decision, Goal, Sweep, sweep
from hil.clio.partitions import Key, Partition
from hil.clio.pricing import Measured, Priced, Target
from hil.clio.radio import Radio
from hil.core.cost import CostTable, Interval

# Never measured, or measured once: before anything that is merely noisy.
_FIRST = 1e6


class Wanted(StrEnum):
    """What to measure."""

    LAYER_CYCLES = "layer cycles"
    LAYER_ENERGY = "layer energy"
    TAIL_LATENCY = "tail latency"
    ACCURACY = "accuracy"


@dataclass(frozen=True)
class Suggestion:
    """A measurement to make. ``layer`` for device costs, ``key`` for tails and accuracies."""

    wanted: Wanted
    layer: int | None
    key: Key | None
    score: float
    reason: str


Want = tuple[Wanted, int | Key]


class PartitionDesigner:
    """Decides over a range of bandwidths and asks for what would make it sure."""

    def __init__(
        self,
        candidates: Sequence[Partition],
        measured: Measured,
        radio: Radio,
        goal: Goal,
        bandwidths_kbps: Iterable[float],
    ) -> None:
        self.candidates = tuple(candidates)
        self.measured = measured
        self.radio = radio
        self.goal = goal
        self.bandwidths_kbps = tuple(sorted(set(bandwidths_kbps)))
        self._sweep: Sweep | None = None

    @property
    def sweep(self) -> Sweep:
        """Decisions with what is known now."""
        if self._sweep is None:
            self._sweep = sweep(
                self.candidates, self.measured, self.radio, self.goal, self.bandwidths_kbps
            )
        return self._sweep

    @property
    def certain(self) -> bool:
        """Whether there is an answer at every bandwidth and no measurement could change it."""
        decisions = self.sweep.decisions
        decided = all(d.best is not None and not d.uncertain for d in decisions)
        return decided and not self.suggest(1)

    def update(
        self,
        table: CostTable | None = None,
        cloud_s: Mapping[Key, Interval] | None = None,
        accuracy: Mapping[Key, Interval] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """Take in new results; they replace older ones of the same layer or key."""
        old = self.measured
        self.measured = Measured(
            old.table if table is None else old.table.merged(table),
            {**old.cloud_s, **(cloud_s or {})},
            {**old.accuracy, **(accuracy or {})},
            {**old.refused, **(refused or {})},
        )
        self._sweep = None

    def suggest(self, count: int) -> tuple[Suggestion, ...]:
        """At most ``count`` measurements, the most useful first; none when all is certain."""
        scores: dict[Want, float] = {}
        reasons: dict[Want, str] = {}
        for decision in self.sweep.decisions:
            for want, score, reason in self._wants(decision):
                scores[want] = scores.get(want, 0.0) + score
                reasons.setdefault(want, reason)
        ranked = sorted(scores, key=lambda want: (-scores[want], str(want)))
        return tuple(_suggestion(want, scores[want], reasons[want]) for want in ranked[:count])

    def _wants(self, decision: Decision) -> Iterable[tuple[Want, float, str]]:
        place = f"at {decision.bandwidth_kbps:g} kbit/s"
        for rejected in decision.rejected:
            yield from self._unmeasured(rejected.option)
            if rejected.reason == ACCURACY_UNKNOWN and _could_win(rejected.option, decision):
                yield (Wanted.ACCURACY, rejected.option.partition.key), _FIRST, "never evaluated"
        if decision.best is None:
            return
        for rival in decision.rivals:
            names = f"{decision.best.partition.cut} or {rival.option.partition.cut}"
            parts = self._between(decision.best, rival.option, decision.goal)
            yield from _shares(parts, f"{place}: {names}")
        if decision.doubts:
            parts = self._whole(decision.best, decision.goal)
            yield from _shares(parts, f"{place}: {decision.doubts[0]}")

    def _unmeasured(self, option: Priced) -> Iterable[tuple[Want, float, str]]:
        if option.refused:
            return
        layers, key = option.partition.layers, option.partition.key
        for layer in self.measured.unmeasured(layers):
            yield (Wanted.LAYER_CYCLES, layer), _FIRST, "never measured"
        if self._needs_energy:
            measured = [row for row in self.measured.table.rows if row.index < layers]
            for row in measured:
                if row.energy_uj is None:
                    yield (Wanted.LAYER_ENERGY, row.index), _FIRST, "never measured"
        if self._needs_latency and option.cloud_s is None:
            yield (Wanted.TAIL_LATENCY, key), _FIRST, "never measured"

    @property
    def _needs_energy(self) -> bool:
        return self.goal.target is Target.ENERGY or self.goal.max_energy_uj is not None

    @property
    def _needs_latency(self) -> bool:
        return self.goal.target is Target.LATENCY or self.goal.max_latency_s is not None

    def _between(self, chosen: Priced, rival: Priced, goal: Goal) -> dict[Want, Interval]:
        """What the doubt between the chosen partition and a rival comes from."""
        if goal.target is not Target.ACCURACY:
            return self._apart(chosen, rival)
        known = [(o.partition.key, o.accuracy) for o in (chosen, rival) if o.accuracy is not None]
        return self._whole(rival, goal) | {(Wanted.ACCURACY, key): value for key, value in known}

    def _apart(self, a: Priced, b: Priced) -> dict[Want, Interval]:
        """What two partitions do not share, each with its interval in the target's unit."""
        first, end = sorted((a.partition.layers, b.partition.layers))
        if self.goal.target is Target.ENERGY:
            return self._energies(first, end)
        parts = self._cycles(first, end)
        if a.partition.cut != b.partition.cut or a.cloud_s != b.cloud_s:
            parts |= _tails(a, b)
        return parts

    def _whole(self, option: Priced, goal: Goal) -> dict[Want, Interval]:
        """Everything behind an option that comes close to a limit, relative to the limit."""
        layers, parts = option.partition.layers, dict[Want, Interval]()
        if _may_exceed(option.latency_s, goal.max_latency_s):
            parts |= _relative(self._cycles(0, layers) | _tails(option), goal.max_latency_s)
        if _may_exceed(option.energy_uj, goal.max_energy_uj):
            parts |= _relative(self._energies(0, layers), goal.max_energy_uj)
        if option.accuracy is not None and option.accuracy.lo < (goal.min_accuracy or 0.0):
            parts[Wanted.ACCURACY, option.partition.key] = option.accuracy
        return parts

    def _cycles(self, first: int, end: int) -> dict[Want, Interval]:
        table = self.measured.table
        return {
            (Wanted.LAYER_CYCLES, i): table.row(i).cycles.scaled(1 / table.clock_hz)
            for i in range(first, end)
        }

    def _energies(self, first: int, end: int) -> dict[Want, Interval]:
        energies = {i: self.measured.table.row(i).energy_uj for i in range(first, end)}
        return {(Wanted.LAYER_ENERGY, i): e for i, e in energies.items() if e is not None}


def _could_win(option: Priced, decision: Decision) -> bool:
    """Whether an option's cost alone leaves it a chance against the chosen one."""
    if decision.best is None or decision.goal.target is Target.ACCURACY:
        return True
    ours = option.value(decision.goal.target)
    best = decision.best.value(decision.goal.target)
    return ours is not None and best is not None and ours.lo < best.hi


def _tails(*options: Priced) -> dict[Want, Interval]:
    return {
        (Wanted.TAIL_LATENCY, option.partition.key): option.cloud_s
        for option in options
        if option.cloud_s is not None and option.partition.wire_bytes
    }


def _may_exceed(value: Interval | None, limit: float | None) -> bool:
    return limit is not None and value is not None and value.hi > limit


def _relative(parts: dict[Want, Interval], limit: float | None) -> dict[Want, Interval]:
    assert limit is not None
    return {want: interval.scaled(1 / limit) for want, interval in parts.items()}


def _shares(parts: dict[Want, Interval], reason: str) -> Iterable[tuple[Want, float, str]]:
    squares = {want: (part.hi - part.lo) ** 2 for want, part in parts.items()}
    total = sum(squares.values())
    for want, part in parts.items():
        if not part.known:
            yield want, _FIRST, "measured only once"
        elif squares[want] > 0:
            yield want, squares[want] / total, reason


def _suggestion(want: Want, score: float, reason: str) -> Suggestion:
    wanted, what = want
    if isinstance(what, int):
        return Suggestion(wanted, what, None, score, reason)
    return Suggestion(wanted, None, what, score, reason)
