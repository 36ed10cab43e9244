"""What layers cost on a board: medians with intervals, their samples, and where they come from.

A ``CostTable`` is the only thing the optimizer, the comparison and the report know of a
measurement. It keeps the samples behind every median, so that sums over several layers can be
taken run by run (``hil.measure.segments``) and no interval has to be trusted blindly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

from hil.core.errors import DataError
from hil.core.overhead import Overhead
from hil.core.provenance import Provenance
from hil.core.uncertainty import UncertaintyBudget

if TYPE_CHECKING:
    import pandas as pd

# Version of CostTable.to_dict. 1: first; 2: with uncertainty budgets; 3: with the overhead
# and budgets of the active energy.
SCHEMA = 3
READABLE = (1, 2, SCHEMA)


@dataclass(frozen=True)
class Interval:
    """A median with its interval ``lo..hi``, from ``n`` samples.

    ``confidence`` is the coverage reached, not the one wished for: a single sample has an
    interval of no width and confidence 0, a constant (``n`` 0) has confidence 1.
    """

    median: float
    lo: float
    hi: float
    n: int
    confidence: float

    def __post_init__(self) -> None:
        if not -math.inf < self.lo <= self.median <= self.hi < math.inf:  # false for NaN
            raise DataError(f"not an interval: median {self.median} in {self.lo}..{self.hi}")
        if self.n < 0 or not 0.0 <= self.confidence <= 1.0:
            raise DataError(f"an interval cannot have n={self.n}, confidence={self.confidence}")

    @classmethod
    def exact(cls, value: float) -> Interval:
        """A number that is computed, not sampled."""
        return cls(value, value, value, 0, 1.0)

    @property
    def known(self) -> bool:
        """False for a single sample: its spread has never been seen."""
        return self.n != 1

    @property
    def below(self) -> float:
        """How far the interval reaches under the median."""
        return self.median - self.lo

    @property
    def above(self) -> float:
        """How far the interval reaches over the median."""
        return self.hi - self.median

    def at_least(self, half: float) -> Interval:
        """No narrower than ``half`` to either side; n and confidence stay those of the samples."""
        lo, hi = min(self.lo, self.median - half), max(self.hi, self.median + half)
        return Interval(self.median, lo, hi, self.n, self.confidence)

    def scaled(self, factor: float) -> Interval:
        """Every bound times ``factor`` >= 0, as for a change of unit."""
        if factor < 0:
            raise DataError(f"an interval is scaled by a factor >= 0, not {factor}")
        return Interval(
            self.median * factor, self.lo * factor, self.hi * factor, self.n, self.confidence
        )

    def shifted(self, by: float) -> Interval:
        """Every bound plus a constant."""
        return Interval(self.median + by, self.lo + by, self.hi + by, self.n, self.confidence)

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share a point."""
        return self.lo <= other.hi and other.lo <= self.hi

    def to_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Interval:
        return cls(**data)


def independent_sum(intervals: Iterable[Interval]) -> Interval:
    """Sum of quantities measured apart: medians add, half-widths add as root sum of squares.

    Right when the errors are independent, as for samples of different runs. Samples of the
    same runs share drift and are summed run by run instead. Adding the half-widths plainly
    would hold for any dependence, but for 50 layers it is seven times too wide.
    """
    parts = list(intervals)
    if not parts:
        return Interval.exact(0.0)
    median = math.fsum(p.median for p in parts)
    below = math.hypot(*(p.below for p in parts))
    above = math.hypot(*(p.above for p in parts))
    sampled = [p.n for p in parts if p.n > 0]
    return Interval(
        median,
        median - below,
        median + above,
        min(sampled, default=0),
        min(p.confidence for p in parts),
    )


def independent_difference(a: Interval, b: Interval) -> Interval:
    """``a - b`` of quantities measured apart."""
    mirrored = Interval(-b.median, -b.hi, -b.lo, b.n, b.confidence)
    return independent_sum((a, mirrored))


@dataclass(frozen=True)
class Samples:
    """Values by the run they were taken in. ``runs[i]`` names the run of ``values[i]``.

    Two layers' samples with the same run name come from the same pass over the network, so
    their sum is a sample of both layers together.
    """

    runs: tuple[str, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.runs) != len(self.values) or len(set(self.runs)) != len(self.runs):
            raise DataError(
                f"{len(self.values)} samples need as many different run names, got {self.runs}"
            )

    def to_dict(self) -> dict[str, Any]:
        return {"runs": list(self.runs), "values": list(self.values)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Samples:
        return cls(tuple(data["runs"]), tuple(data["values"]))


@dataclass(frozen=True)
class WindowInfo:
    """How an energy was measured: a marked window of ``iterations`` passes, seen ``n`` times.

    ``window_s`` (of the work) and ``meter_samples`` are medians over the windows.
    ``base_power_w`` is the median power between windows; it is part of the energy and not
    subtracted. ``overhead_uj`` of marker and counter was subtracted a pass; None: not measured.
    ``lost_samples`` of their acquisitions were lost and accepted.
    """

    iterations: int
    window_s: float
    meter_samples: float
    base_power_w: float
    n: int
    overhead_uj: float | None = None
    lost_samples: int = 0


# Fields of a row that are kept as objects of their own.
_OBJECTS = (
    "cycles", "cycle_samples", "energy_uj", "energy_samples_uj", "energy_budget", "active_budget"
)  # fmt: skip


@dataclass(frozen=True)
class CostRow:
    """One layer on one board. ``cycles`` are of the compute clock, for one pass.

    ``compute_cycles``, ``copy_cycles`` and ``other_cycles`` (loops, barriers, calls) are
    medians of the parts. ``energy_uj`` is None where no energy was measured. The budgets are of the
    energy and of the active energy, without base power.
    """

    index: int
    name: str
    op: str
    macs: int
    cycles: Interval
    compute_cycles: float
    copy_cycles: float
    other_cycles: float
    cycle_samples: Samples
    energy_uj: Interval | None = None
    energy_samples_uj: Samples | None = None
    window: WindowInfo | None = None
    energy_budget: UncertaintyBudget | None = None
    active_budget: UncertaintyBudget | None = None

    @property
    def base_energy_uj(self) -> float | None:
        """What the board would have drawn in the time of one pass without working."""
        window = self.window
        if window is None:
            return None
        return window.base_power_w * window.window_s / window.iterations * 1e6

    @property
    def active_energy_uj(self) -> float | None:
        """What the work adds to it."""
        base_uj = self.base_energy_uj
        if self.energy_uj is None or base_uj is None:
            return None
        return self.energy_uj.median - base_uj

    def to_dict(self) -> dict[str, Any]:
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in _OBJECTS:
            data[name] = None if data[name] is None else data[name].to_dict()
        data["window"] = None if self.window is None else vars(self.window).copy()
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CostRow:
        energy, samples, window = (
            data[name] for name in ("energy_uj", "energy_samples_uj", "window")
        )
        made: dict[str, Any] = {
            "cycles": Interval.from_dict(data["cycles"]),
            "cycle_samples": Samples.from_dict(data["cycle_samples"]),
            "energy_uj": None if energy is None else Interval.from_dict(energy),
            "energy_samples_uj": None if samples is None else Samples.from_dict(samples),
            "window": None if window is None else WindowInfo(**window),
            "energy_budget": _budget(data.get("energy_budget")),
            "active_budget": _budget(data.get("active_budget")),
        }
        return cls(**{**data, **made})


def _budget(data: dict[str, Any] | None) -> UncertaintyBudget | None:
    return None if data is None else UncertaintyBudget.from_dict(data)


@dataclass(frozen=True)
class CostTable:
    """Costs of consecutive layers from layer 0, and of the whole network measured by itself.

    ``network_cycles`` comes from runs without per-layer counter reads; it checks the rows'
    sum. Every number has the same ``provenance``. ``overhead`` of measuring is subtracted from all
    of them; None: nobody measured it, nothing is subtracted.
    """

    rows: tuple[CostRow, ...]
    network_cycles: Interval | None
    network_energy_uj: Interval | None
    provenance: Provenance
    network_budget: UncertaintyBudget | None = None
    overhead: Overhead | None = None
    network_active_budget: UncertaintyBudget | None = None

    def __post_init__(self) -> None:
        indices = [row.index for row in self.rows]
        if indices != sorted(set(indices)):
            raise DataError(f"rows of a cost table go up by layer, got layers {indices}")

    @property
    def clock_hz(self) -> int:
        """The clock that the cycles count."""
        return self.provenance.clock_hz

    def row(self, index: int) -> CostRow:
        """The row of layer ``index``; DataError tells which layers are here."""
        for row in self.rows:
            if row.index == index:
                return row
        known = ", ".join(str(row.index) for row in self.rows) or "none"
        raise DataError(f"no measured cost of layer {index}; measured: {known}")

    def merged(self, other: CostTable) -> CostTable:
        """Both tables' rows; ``other`` is the newer and wins. Provenance must be the same."""
        if self.provenance != other.provenance:
            refuse_merge(self.provenance, other.provenance)
        rows = {row.index: row for row in (*self.rows, *other.rows)}
        return CostTable(
            tuple(rows[i] for i in sorted(rows)),
            other.network_cycles or self.network_cycles,
            other.network_energy_uj or self.network_energy_uj,
            self.provenance,
            other.network_budget or self.network_budget,
            other.overhead or self.overhead,
            other.network_active_budget or self.network_active_budget,
        )

    def to_dict(self) -> dict[str, Any]:
        cycles, energy, budget = (self.network_cycles, self.network_energy_uj, self.network_budget)
        active = self.network_active_budget
        return {
            "schema": SCHEMA,
            "rows": [row.to_dict() for row in self.rows],
            "network_cycles": None if cycles is None else cycles.to_dict(),
            "network_energy_uj": None if energy is None else energy.to_dict(),
            "provenance": self.provenance.to_dict(),
            "network_budget": None if budget is None else budget.to_dict(),
            "overhead": None if self.overhead is None else self.overhead.to_dict(),
            "network_active_budget": None if active is None else active.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CostTable:
        """The table back; DataError for another version or missing fields."""
        if data.get("schema") not in READABLE:
            raise DataError(f"cost table of schema {data.get('schema')}, this reads {SCHEMA}")
        try:
            cycles, energy = data["network_cycles"], data["network_energy_uj"]
            overhead = data.get("overhead")
            return cls(
                tuple(CostRow.from_dict(row) for row in data["rows"]),
                None if cycles is None else Interval.from_dict(cycles),
                None if energy is None else Interval.from_dict(energy),
                Provenance.from_dict(data["provenance"]),
                _budget(data.get("network_budget")),
                None if overhead is None else Overhead.from_dict(overhead),
                _budget(data.get("network_active_budget")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"damaged cost table: {error!r}") from error

    def to_frame(self) -> pd.DataFrame:
        """One line a layer, numbers only; provenance and overhead go into ``frame.attrs``."""
        import pandas as pd  # half a second that only notebooks and reports should pay

        frame = pd.DataFrame([_flat(row, self.clock_hz) for row in self.rows])
        frame.attrs["provenance"] = self.provenance.to_dict()
        frame.attrs["overhead"] = None if self.overhead is None else self.overhead.to_dict()
        return frame.set_index("layer") if self.rows else frame


def refuse_merge(a: Provenance, b: Provenance) -> NoReturn:
    """DataError that names the fields in which the two provenances differ."""
    ours, theirs = a.to_dict(), b.to_dict()
    differing = [f"{k}: {ours[k]} and {theirs[k]}" for k in ours if ours[k] != theirs[k]]
    raise DataError(
        f"costs of different origin never share a table ({'; '.join(differing)}); "
        "keep two tables and compare them"
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _flat(row: CostRow, clock_hz: int) -> dict[str, Any]:
    energy, window = row.energy_uj, row.window
    budget, active = row.energy_budget, row.active_budget
    return {
        "layer": row.index,
        "name": row.name,
        "op": row.op,
        "macs": row.macs,
        "cycles": row.cycles.median,
        "cycles_lo": row.cycles.lo,
        "cycles_hi": row.cycles.hi,
        "cycles_n": row.cycles.n,
        "compute_cycles": row.compute_cycles,
        "copy_cycles": row.copy_cycles,
        "other_cycles": row.other_cycles,
        "macs_per_cycle": row.macs / row.cycles.median if row.cycles.median else math.nan,
        "time_us": row.cycles.median / clock_hz * 1e6,
        "energy_uj": energy.median if energy else math.nan,
        "energy_uj_lo": energy.lo if energy else math.nan,
        "energy_uj_hi": energy.hi if energy else math.nan,
        "energy_n": energy.n if energy else 0,
        "energy_standard_uj": budget.combined_uj if budget else math.nan,
        "energy_expanded_uj": budget.expanded_uj if budget else math.nan,
        "base_energy_uj": _or_nan(row.base_energy_uj),
        "active_energy_uj": _or_nan(row.active_energy_uj),
        "active_standard_uj": active.combined_uj if active else math.nan,
        "active_expanded_uj": active.expanded_uj if active else math.nan,
        "overhead_uj": _or_nan(window.overhead_uj if window else None),
        "lost_samples": window.lost_samples if window else 0,
        "iterations": window.iterations if window else 0,
        "window_s": window.window_s if window else math.nan,
        "base_power_w": window.base_power_w if window else math.nan,
    }
