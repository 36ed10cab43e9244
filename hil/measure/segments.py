"""Cost of several consecutive layers together, with an interval that holds for the sum.

Samples of the same runs are summed run by run first: the sum of one pass is a sample of the
whole stretch, drift and all. Layers measured in other runs (one layer asked for again) are
independent of the rest; their sums join as root sum of squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from hil.core.cost import CostRow, CostTable, Interval, Samples, independent_sum
from hil.measure.intervals import median_interval


def summed(layers: Sequence[Samples]) -> Interval:
    """Interval of the sum over layers, grouped by the runs that their samples share."""
    groups: dict[tuple[str, ...], list[Samples]] = {}
    for samples in layers:
        groups.setdefault(tuple(sorted(samples.runs)), []).append(samples)
    return independent_sum(_group_sum(group) for group in groups.values())


def _group_sum(group: list[Samples]) -> Interval:
    by_run = [dict(zip(samples.runs, samples.values, strict=True)) for samples in group]
    return median_interval([fsum(values[run] for values in by_run) for run in by_run[0]])


def segment_rows(table: CostTable, first: int, end: int) -> tuple[CostRow, ...]:
    """Rows of layers ``first..end-1``; DataError names a layer that was never measured."""
    return tuple(table.row(index) for index in range(first, end))


def segment_cycles(table: CostTable, first: int, end: int) -> Interval:
    """Cycles of layers ``first..end-1`` together."""
    return summed([row.cycle_samples for row in segment_rows(table, first, end)])


def segment_latency_s(table: CostTable, first: int, end: int) -> Interval:
    """Seconds of layers ``first..end-1`` at the table's clock."""
    return segment_cycles(table, first, end).scaled(1.0 / table.clock_hz)


def segment_energy_uj(table: CostTable, first: int, end: int) -> Interval | None:
    """Microjoules of layers ``first..end-1``, base power included; None if one is unmeasured."""
    rows = segment_rows(table, first, end)
    samples = [row.energy_samples_uj for row in rows if row.energy_samples_uj is not None]
    return summed(samples) if len(samples) == len(rows) else None


def trusted_energy_uj(table: CostTable, first: int, end: int) -> Interval | None:
    """segment_energy_uj, as wide at least as the layers' uncertainty budgets, where all have one.

    Repeats show nothing of what a meter has wrong in all of them (its gain), which matters beside
    an energy that it has not measured (a radio's). Errors of one meter go to one side: they add up.
    """
    energy = segment_energy_uj(table, first, end)
    budgets = [row.energy_budget for row in segment_rows(table, first, end)]
    known = [budget for budget in budgets if budget is not None]
    if energy is None or len(known) < len(budgets):
        return energy
    return energy.at_least(fsum(budget.expanded_uj for budget in known))


def prefix_latency_s(table: CostTable, layers: int) -> Interval:
    """Device latency of a partition with ``layers`` layers on the board."""
    return segment_latency_s(table, 0, layers)


def prefix_energy_uj(table: CostTable, layers: int) -> Interval | None:
    """Device energy of a partition with ``layers`` layers on the board."""
    return segment_energy_uj(table, 0, layers)
