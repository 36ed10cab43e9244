"""Trials of one firmware on one rig -> its cost table.

Only good trials of the table's own provenance count, only timed samples, and only passes over
the same partition. Everything here can be computed again from a journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from hil.core.cost import CostRow, CostTable, Interval, Samples, WindowInfo
from hil.core.errors import DataError
from hil.core.network import Network
from hil.core.provenance import Provenance
from hil.core.trial import WHOLE_NETWORK, LayerCycles, Trial, TrialKind, WindowSample
from hil.core.uncertainty import UncertaintyBudget
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.intervals import median_interval

Pass = tuple[str, tuple[LayerCycles, ...]]
Window = tuple[str, WindowSample]


def cost_table(
    network: Network,
    provenance: Provenance,
    trials: Iterable[Trial],
    accuracy: MeterAccuracy | None = None,
) -> CostTable:
    """The table of ``network``'s first layers, as many as were measured.

    With the meter's ``accuracy`` every energy has an uncertainty budget.

    Raises DataError when no per-layer trial of this provenance is there.
    """
    ours = [t for t in trials if t.ok and t.provenance == provenance]
    passes = _passes(ours)
    if not passes:
        raise DataError(
            f"no good per-layer trial of {provenance.network} (build {provenance.build_id[:12]}) "
            f"on rig {provenance.rig}; run its 'layers' workload first"
        )
    layers = max(len(cycles) for _, cycles in passes)
    windows = _windows(ours, layers)
    rows = tuple(
        _row(network, index, passes, windows.get(index, ()), accuracy) for index in range(layers)
    )
    whole = windows.get(WHOLE_NETWORK, ())
    return CostTable(
        rows,
        _network_cycles(ours, layers),
        _energy(whole),
        provenance,
        _budget(whole, accuracy),
    )


def _passes(trials: Iterable[Trial]) -> list[Pass]:
    return [
        (f"{trial.key[:12]}/{repeat}", run.layers)
        for trial in trials
        if trial.kind is TrialKind.LAYERS
        for repeat, run in enumerate(trial.timed_runs())
    ]


def _windows(trials: Iterable[Trial], layers: int) -> dict[int, list[Window]]:
    """Windows by layer; those around a partition only if it has all ``layers``."""
    by_layer: dict[int, list[Window]] = {}
    for trial in trials:
        for window in trial.timed_windows():
            if window.layer == WHOLE_NETWORK and trial.workload.layers != layers:
                continue
            run = f"{trial.key[:12]}/{window.repeat}"
            by_layer.setdefault(window.layer, []).append((run, window))
    return by_layer


def _row(
    network: Network,
    index: int,
    passes: Sequence[Pass],
    windows: Sequence[Window],
    accuracy: MeterAccuracy | None,
) -> CostRow:
    runs = tuple(run for run, cycles in passes if index < len(cycles))
    seen = [cycles[index] for _, cycles in passes if index < len(cycles)]
    totals = tuple(x.total for x in seen)
    layer = network.layers[index]
    return CostRow(
        index=index,
        name=layer.name,
        op=layer.op.value,
        macs=network.macs(index),
        cycles=median_interval(totals),
        compute_cycles=median(x.compute for x in seen),
        copy_cycles=median(x.copy for x in seen),
        other_cycles=median(x.other for x in seen),
        cycle_samples=Samples(runs, totals),
        energy_uj=_energy(windows),
        energy_samples_uj=_energy_samples(windows),
        window=_window_info(windows),
        energy_budget=_budget(windows, accuracy),
    )


def _budget(windows: Sequence[Window], accuracy: MeterAccuracy | None) -> UncertaintyBudget | None:
    samples = [window for _, window in windows]
    return None if accuracy is None else budget_of_pass(samples, accuracy)


def _energy_samples(windows: Sequence[Window]) -> Samples | None:
    if not windows:
        return None
    per_pass = tuple(window.energy_uj / window.iterations for _, window in windows)
    return Samples(tuple(run for run, _ in windows), per_pass)


def _energy(windows: Sequence[Window]) -> Interval | None:
    samples = _energy_samples(windows)
    return None if samples is None else median_interval(samples.values)


def _window_info(windows: Sequence[Window]) -> WindowInfo | None:
    if not windows:
        return None
    seen = [window for _, window in windows]
    return WindowInfo(
        iterations=round(median(w.iterations for w in seen)),
        window_s=median(w.duration_s for w in seen),
        meter_samples=median(w.meter_samples for w in seen),
        base_power_w=median(w.base_power_w for w in seen),
        n=len(seen),
    )


def partition_cycles(trials: Iterable[Trial], layers: int) -> list[float]:
    """Cycles of every timed pass over the first ``layers`` layers without counter reads between."""
    return [
        run.cycles / run.iterations
        for trial in trials
        if trial.kind is TrialKind.NETWORK and trial.workload.layers == layers
        for run in trial.timed_runs()
    ]


def _network_cycles(trials: Iterable[Trial], layers: int) -> Interval | None:
    samples = partition_cycles(trials, layers)
    return median_interval(samples) if samples else None
