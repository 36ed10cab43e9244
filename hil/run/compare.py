"""Two runs side by side: which layers became faster or slower, beyond what noise explains.

Firmware, toolchain, weights, chip and rig may differ: finding out what a change did is the
purpose, and the differences are listed. Origin of the numbers, board, clock, timing model,
meter, protocol and network's name must be the same: across those, a difference means nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from hil.core.cost import CostRow, CostTable, Interval
from hil.core.errors import DataError
from hil.core.provenance import Provenance

MUST_AGREE = (
    "cycles_origin",
    "energy_origin",
    "board",
    "clock_hz",
    "network",
    "timing_model",
    "meter",
    "protocol",
)


class Change(StrEnum):
    """Verdict on one number. Intervals that overlap are noise."""

    FASTER = "faster"
    SLOWER = "slower"
    LESS = "less energy"
    MORE = "more energy"
    WITHIN_NOISE = "within noise"
    UNKNOWN = "unknown: measured once"
    NEW = "new"
    GONE = "gone"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Delta:
    """One number before and after; ``percent`` of before, None where either is missing."""

    before: Interval | None
    after: Interval | None
    percent: float | None
    change: Change


@dataclass(frozen=True)
class LayerDelta:
    """A layer by its name, in the newer run's order; layers that are gone come last."""

    name: str
    op: str
    cycles: Delta
    energy_uj: Delta


@dataclass(frozen=True)
class Comparison:
    """All layers, the whole network, and in what else the two runs differ."""

    layers: tuple[LayerDelta, ...]
    network_cycles: Delta
    network_energy_uj: Delta
    differing: tuple[tuple[str, str, str], ...]

    def worse(self) -> tuple[LayerDelta, ...]:
        """Layers that became slower or need more energy."""
        bad = (Change.SLOWER, Change.MORE)
        return tuple(x for x in self.layers if x.cycles.change in bad or x.energy_uj.change in bad)


def compare(before: CostTable, after: CostTable, min_percent: float = 0.0) -> Comparison:
    """Compare two tables. Changes under ``min_percent`` count as noise whatever their interval.

    Raises DataError naming the fields when the two are not comparable.
    """
    _refuse_incomparable(before.provenance, after.provenance)
    old, new = _named(before.rows), _named(after.rows)
    names = [*new, *(name for name in old if name not in new)]
    return Comparison(
        tuple(_layer(name, old.get(name), new.get(name), min_percent) for name in names),
        _cycles(before.network_cycles, after.network_cycles, min_percent),
        _energy(before.network_energy_uj, after.network_energy_uj, min_percent),
        _differing(before.provenance, after.provenance),
    )


def _refuse_incomparable(before: Provenance, after: Provenance) -> None:
    wrong = [
        f"{name} {getattr(before, name)} and {getattr(after, name)}"
        for name in MUST_AGREE
        if getattr(before, name) != getattr(after, name)
    ]
    if wrong:
        raise DataError(
            f"these runs cannot be compared: {'; '.join(wrong)}; choose a baseline from the same "
            "kind of bench"
        )


def _differing(before: Provenance, after: Provenance) -> tuple[tuple[str, str, str], ...]:
    old, new = before.to_dict(), after.to_dict()
    return tuple((k, str(old[k]), str(new[k])) for k in old if old[k] != new[k])


def _named(rows: tuple[CostRow, ...]) -> dict[str, CostRow]:
    """Rows by name: positions shift when a layer is added. A repeated name gets its count."""
    seen: Counter[str] = Counter()
    named: dict[str, CostRow] = {}
    for row in rows:
        seen[row.name] += 1
        named[row.name if seen[row.name] == 1 else f"{row.name} ({seen[row.name]})"] = row
    return named


def _layer(name: str, old: CostRow | None, new: CostRow | None, min_percent: float) -> LayerDelta:
    row = new or old
    assert row is not None
    if old is None or new is None:
        return LayerDelta(
            name,
            row.op,
            _one_sided(row.cycles, row is new),
            _one_sided(row.energy_uj, row is new),
        )
    return LayerDelta(
        name,
        row.op,
        _cycles(old.cycles, new.cycles, min_percent),
        _energy(old.energy_uj, new.energy_uj, min_percent),
    )


def _one_sided(value: Interval | None, is_new: bool) -> Delta:
    if is_new:
        return Delta(None, value, None, Change.NEW)
    return Delta(value, None, None, Change.GONE)


def _cycles(before: Interval | None, after: Interval | None, min_percent: float) -> Delta:
    return _delta(before, after, min_percent, Change.FASTER, Change.SLOWER)


def _energy(before: Interval | None, after: Interval | None, min_percent: float) -> Delta:
    return _delta(before, after, min_percent, Change.LESS, Change.MORE)


def _delta(
    before: Interval | None,
    after: Interval | None,
    min_percent: float,
    lower: Change,
    higher: Change,
) -> Delta:
    if before is None or after is None:
        return Delta(before, after, None, Change.NOT_MEASURED)
    difference = after.median - before.median
    percent = 100.0 * difference / before.median if before.median else None
    if not before.known or not after.known:
        change = Change.UNKNOWN
    elif before.overlaps(after) or (percent is not None and abs(percent) < min_percent):
        change = Change.WITHIN_NOISE
    else:
        change = lower if difference < 0 else higher
    return Delta(before, after, percent, change)
