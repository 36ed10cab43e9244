"""Is tonight's cost another one than the nights before? Judged by simultaneous intervals.

Each series (a layer's cycles, say) is judged by the logarithm of its nights' medians, so that
differences are relative. Tonight is set against two references:

* the last accepted night, and
* the level: the median over the accepted nights since the series last changed for good (at most
  ``window_nights``). A slow drift passes the first and is caught by the second.

The interval of a change d is d ± t·s·sqrt(1 + c/k), with k nights in the reference, c = 1 for a
single night and π/2, the large-sample variance ratio of a median to a mean, for more.

*Noise between nights*, s. Tonight's own interval knows nothing of what differs between nights
(temperature, a meter's mood), so s comes from history: half the mean square of successive
differences within a level, which a slow drift hardly touches. One series has few nights, its
neighbours have the same kind of noise: the series' variance is pooled with the median variance
of all series of its board, rig and quantity as in the moderated t-test (Smyth 2004), the latter
weighing ``prior_nights``. Until there are ``settling_nights`` differences, the pooled variance is
not taken below the assumed ``noise_percent``. s is never below the series' own noise nor below
the standard error that tonight's interval implies. Degrees of freedom: ``prior_nights`` plus the
series' own differences.

*Many series.* A night judges hundreds. t is Student's quantile at ``false_alarm_rate`` / number
of intervals (Bonferroni, two-sided): a night on which nothing has changed raises any alarm with
at most that probability, however the series depend on each other. This assumes that noise is
near normal, alike within a factor of two over a board's layers and, for the first nights, not
above the assumed one.

*Size.* A change below ``min_percent`` is within noise however certain it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist, median

from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.series import LEVEL_STARTS, Accepted, Quantity, Series, Verdict

History = Mapping[Series, Sequence[Accepted]]
_NORMAL = NormalDist()
_Group = tuple[str, str, Quantity]


@dataclass(frozen=True)
class Policy:
    """When a night is called worse. ``noise_percent``: assumed one-sigma noise between nights.

    Assumed are bare-metal counters and bench meters, and only until the history knows better.
    """

    false_alarm_rate: float = 0.01
    min_percent: float = 1.0
    noise_percent: Mapping[Quantity, float] = field(
        default_factory=lambda: {Quantity.CYCLES: 0.2, Quantity.ENERGY: 1.0}
    )
    settling_nights: int = 7
    prior_nights: int = 20
    window_nights: int = 30

    def __post_init__(self) -> None:
        if not 0.0 < self.false_alarm_rate < 1.0:
            raise DataError(f"a false-alarm rate lies between 0 and 1, not {self.false_alarm_rate}")
        if not 0.0 <= self.min_percent < math.inf:
            raise DataError(f"the least relative change is 0 % or more, not {self.min_percent} %")


@dataclass(frozen=True)
class Change:
    """Tonight against one reference, in per cent of it, with its simultaneous interval."""

    reference: float
    nights: int
    percent: float
    lo_percent: float
    hi_percent: float

    def verdict(self, min_percent: float) -> Verdict:
        """What this comparison alone says."""
        if abs(self.percent) < min_percent or self.lo_percent <= 0 <= self.hi_percent:
            return Verdict.WITHIN_NOISE
        return Verdict.REGRESSED if self.percent > 0 else Verdict.IMPROVED


@dataclass(frozen=True)
class Judgement:
    """The verdict on a series. ``value`` is None when it is gone, the changes when it is new."""

    series: Series
    verdict: Verdict
    value: Interval | None
    against_last: Change | None = None
    against_level: Change | None = None

    @property
    def telling(self) -> Change | None:
        """The comparison that the verdict rests on; the last night's when both agree."""
        changes = [c for c in (self.against_last, self.against_level) if c is not None]
        same = [c for c in changes if c.verdict(0.0) is self.verdict]
        return next(iter(same or changes), None)


def judge(
    tonight: Mapping[Series, Interval], history: History, policy: Policy | None = None
) -> tuple[Judgement, ...]:
    """Judge all of tonight's values together; series that are gone come last.

    ``history`` holds the accepted nights of the rigs that were measured tonight, oldest first;
    a series is gone when its rig's last accepted night had it and tonight has not. Costs must be
    above 0 (DataError).
    """
    policy = policy or Policy()
    known = {series: history[series] for series in tonight if history.get(series)}
    levels = {series: level(nights, policy.window_nights) for series, nights in known.items()}
    for series, value in tonight.items():
        refuse_nonpositive(series, value)
    noise = _Noise(known, policy)
    count = sum(1 if len(nights) == 1 else 2 for nights in levels.values())
    rate = policy.false_alarm_rate / max(1, count)
    judged = []
    for series, value in tonight.items():
        if series not in known:
            judged.append(Judgement(series, Verdict.NEW, value))
            continue
        s, freedom = noise.of(series, value)
        margin = student_quantile(1 - rate / 2, freedom) * s
        nights = levels[series]
        last = _change(value, nights[-1:], margin)
        whole = last if len(nights) == 1 else _change(value, nights, margin)
        verdict = _worst(last.verdict(policy.min_percent), whole.verdict(policy.min_percent))
        judged.append(Judgement(series, verdict, value, last, whole))
    return (*judged, *_gone(tonight, history))


def level(nights: Sequence[Accepted], window: int) -> Sequence[Accepted]:
    """The newest nights since the series last changed for good, at most ``window``."""
    starts = [i for i, night in enumerate(nights) if night.verdict in LEVEL_STARTS]
    return nights[max(starts[-1] if starts else 0, len(nights) - window) :]


def _change(value: Interval, nights: Sequence[Accepted], margin: float) -> Change:
    k = len(nights)
    reference = median(night.value.median for night in nights)
    difference = _log(value) - math.log(reference)
    half = margin * math.sqrt(1 + (1.0 if k == 1 else math.pi / 2) / k)
    percents = (100 * math.expm1(d) for d in (difference, difference - half, difference + half))
    return Change(reference, k, *percents)


def _worst(last: Verdict, whole: Verdict) -> Verdict:
    for verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        if verdict in (last, whole):
            return verdict
    return Verdict.WITHIN_NOISE


def _gone(tonight: Mapping[Series, Interval], history: History) -> list[Judgement]:
    newest: dict[tuple[str, ...], int] = {}
    for series, nights in history.items():
        for night in nights[-1:]:
            newest[_rig(series)] = max(night.night, newest.get(_rig(series), night.night))
    return [
        Judgement(series, Verdict.GONE, None)
        for series, nights in history.items()
        if series not in tonight and nights and nights[-1].night == newest[_rig(series)]
    ]


def _rig(series: Series) -> tuple[str, ...]:
    return series.board, series.rig, series.network_digest, series.toolchain


def refuse_nonpositive(series: Series, value: Interval) -> None:
    """DataError for a cost that has no logarithm."""
    if value.median <= 0:
        raise DataError(f"{series}: a cost is above 0, not {value.median}; is the meter connected?")


def _log(value: Interval) -> float:
    return math.log(value.median)


class _Noise:
    """Night-to-night noise of each series, as a standard deviation of logarithms."""

    def __init__(self, known: History, policy: Policy) -> None:
        self._policy = policy
        self._own = {
            series: successive_variance(nights, policy.window_nights)
            for series, nights in known.items()
        }
        groups: dict[_Group, list[tuple[float, int]]] = {}
        for series, (variance, count) in self._own.items():
            # Variances of few nights are skewed: their median lies below their mean.
            scaled = variance / chi_square_median(count) if count else 0.0
            groups.setdefault(_group(series), []).append((scaled, count))
        self._pooled = {group: self._pool(group, found) for group, found in groups.items()}

    def _pool(self, group: _Group, found: Sequence[tuple[float, int]]) -> float:
        variance = median(scaled for scaled, _ in found)
        if max(count for _, count in found) >= self._policy.settling_nights:
            return variance
        return max(variance, (self._policy.noise_percent[group[-1]] / 100) ** 2)

    def of(self, series: Series, value: Interval) -> tuple[float, int]:
        """Standard deviation between nights, and the degrees of freedom it is known with."""
        own, count = self._own[series]
        pooled, prior = self._pooled[_group(series)], self._policy.prior_nights
        moderated = (prior * pooled + count * own) / (prior + count)
        return math.sqrt(max(moderated, own, _standard_error(value) ** 2)), prior + count


def _group(series: Series) -> _Group:
    return series.board, series.rig, series.quantity


def successive_variance(nights: Sequence[Accepted], window: int) -> tuple[float, int]:
    """Variance of the logarithms from successive differences, and how many there were.

    A step that was accepted as a change is no noise and is left out.
    """
    recent = nights[-window:]
    squares = [
        (_log(after.value) - _log(before.value)) ** 2
        for before, after in pairwise(recent)
        if after.verdict not in LEVEL_STARTS
    ]
    return (math.fsum(squares) / (2 * len(squares)) if squares else 0.0), len(squares)


def chi_square_median(freedom: int) -> float:
    """Median of a chi-square variate over its degrees of freedom (Wilson and Hilferty 1931)."""
    return (1 - 2 / (9 * freedom)) ** 3


def _standard_error(value: Interval) -> float:
    """Relative standard error of tonight's median, as its interval implies; 0 if unknown."""
    if value.n < 2 or not 0 < value.confidence < 1:
        return 0.0
    half = (value.hi - value.lo) / 2
    return half / value.median / _NORMAL.inv_cdf((1 + value.confidence) / 2)


@lru_cache(maxsize=1024)
def student_quantile(p: float, freedom: float) -> float:
    """Quantile of Student's t, by Hill's expansion about the normal one.

    Abramowitz and Stegun 26.7.5; up to p = 1 - 1e-6 within 0.02 % for 20 degrees of freedom and
    closer for more.
    """
    z = _NORMAL.inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
