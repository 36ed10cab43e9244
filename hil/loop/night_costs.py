"""A run as the costs that are followed from night to night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hil.core.cost import CostTable, Interval
from hil.core.network import Network
from hil.core.series import NightCost, Quantity, Series
from hil.loop.report import cost_tables
from hil.measure.intervals import median_interval
from hil.measure.segments import prefix_energy_uj
from hil.measure.table import partition_cycles
from hil.run.reader import Run


def night_costs(run: Run, network: Network) -> dict[str, tuple[NightCost, ...]]:
    """Costs of every layer and partition, by rig. Partitions were timed as a whole."""
    return {
        table.provenance.rig: (*_layers(table), *_partitions(run, network, table))
        for table in cost_tables(run, network)
    }


def _layers(table: CostTable) -> Iterator[NightCost]:
    seen: Counter[str] = Counter()
    for row in table.rows:
        seen[row.name] += 1
        part = f"layer {row.name}" + (f" ({seen[row.name]})" if seen[row.name] > 1 else "")
        yield _cost(table, part, Quantity.CYCLES, row.cycles, row.cycle_samples.values)
        if row.energy_uj is not None and row.energy_samples_uj is not None:
            samples = row.energy_samples_uj.values
            yield _cost(table, part, Quantity.ENERGY, row.energy_uj, samples)


def _partitions(run: Run, network: Network, table: CostTable) -> Iterator[NightCost]:
    trials = [t for t in run.ok_trials() if t.provenance == table.provenance]
    for cut in network.cuts:
        samples = tuple(partition_cycles(trials, cut.layers, table.overhead))
        if not samples:
            continue
        part = f"partition {cut.name}"
        yield _cost(table, part, Quantity.CYCLES, median_interval(samples), samples)
        energy = prefix_energy_uj(table, cut.layers)
        if energy is not None:
            yield _cost(table, part, Quantity.ENERGY, energy, ())


def _cost(
    table: CostTable, part: str, quantity: Quantity, value: Interval, samples: tuple[float, ...]
) -> NightCost:
    origin = table.provenance
    return NightCost(Series.of(origin, part, quantity), value, origin, samples)
