"""Trials of one firmware on one rig -> its cost table.

Only good trials of the table's own provenance count, only timed samples, and only passes over
the same partition. Everything here can be computed again from a journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from hil.core.cost import CostRow, CostTable, Interval, Samples, WindowInfo
from hil.core.errors import DataError
from hil.core.network import Network
from hil.core.overhead import Overhead
from hil.core.provenance import Provenance
from hil.core.trial import WHOLE_NETWORK, LayerCycles, Trial, TrialKind, WindowSample
from hil.core.uncertainty import UncertaintyBudget
from hil.measure.active import active_budget_of_pass
from hil.measure.budget import MeterAccuracy, budget_of_pass
from hil.measure.intervals import median_interval
from hil.measure.overhead import MarkerOverhead, in_window, overhead_of, without

Pass = tuple[str, tuple[LayerCycles, ...]]


@dataclass(frozen=True)
class Window:
    """A window's own work, and what was subtracted from it (None: nobody measured it)."""

    run: str
    work: WindowSample
    overhead: MarkerOverhead | None


def cost_table(
    network: Network,
    provenance: Provenance,
    trials: Iterable[Trial],
    accuracy: MeterAccuracy | None = None,
) -> CostTable:
    """The table of ``network``'s first layers, as many as were measured.

    With the meter's ``accuracy`` every energy has an uncertainty budget. What marker and counter
    add is subtracted from cycles and energies where the journal tells it.

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
    overhead = overhead_of(ours, provenance)
    windows = _windows(ours, layers, overhead)
    layer_cycles = 0.0 if overhead is None else overhead.layer_cycles
    rows = tuple(
        _row(network, index, passes, layer_cycles, windows.get(index, ()), accuracy)
        for index in range(layers)
    )
    whole = windows.get(WHOLE_NETWORK, ())
    return CostTable(
        rows,
        _network_cycles(ours, layers, overhead),
        _energy(whole),
        provenance,
        _budget(whole, accuracy),
        overhead,
        _active_budget(whole, accuracy),
    )


def _passes(trials: Iterable[Trial]) -> list[Pass]:
    return [
        (f"{trial.key[:12]}/{repeat}", run.layers)
        for trial in trials
        if trial.kind is TrialKind.LAYERS
        for repeat, run in enumerate(trial.timed_runs())
    ]


def _windows(
    trials: Iterable[Trial], layers: int, overhead: Overhead | None
) -> dict[int, list[Window]]:
    """Windows by layer; those around a partition only if it has all ``layers``."""
    by_layer: dict[int, list[Window]] = {}
    for trial in trials:
        for window in trial.timed_windows():
            if window.layer == WHOLE_NETWORK and trial.workload.layers != layers:
                continue
            run = f"{trial.key[:12]}/{window.repeat}"
            by_layer.setdefault(window.layer, []).append(
                _work(run, window, overhead, trial.provenance.clock_hz)
            )
    return by_layer


def _work(run: str, window: WindowSample, overhead: Overhead | None, clock_hz: int) -> Window:
    if overhead is None:
        return Window(run, window, None)
    subtracted = in_window(overhead, window, clock_hz)
    return Window(run, without(window, overhead, clock_hz), subtracted)


def _row(
    network: Network,
    index: int,
    passes: Sequence[Pass],
    layer_cycles: float,
    windows: Sequence[Window],
    accuracy: MeterAccuracy | None,
) -> CostRow:
    runs = tuple(run for run, cycles in passes if index < len(cycles))
    seen = [cycles[index] for _, cycles in passes if index < len(cycles)]
    totals = tuple(x.total - layer_cycles for x in seen)
    layer = network.layers[index]
    return CostRow(
        index=index,
        name=layer.name,
        op=layer.op.value,
        macs=network.macs(index),
        cycles=median_interval(totals),
        compute_cycles=median(x.compute for x in seen),
        copy_cycles=median(x.copy for x in seen),
        other_cycles=median(x.other for x in seen) - layer_cycles,
        cycle_samples=Samples(runs, totals),
        energy_uj=_energy(windows),
        energy_samples_uj=_energy_samples(windows),
        window=_window_info(windows),
        energy_budget=_budget(windows, accuracy),
        active_budget=_active_budget(windows, accuracy),
    )


def _budget(windows: Sequence[Window], accuracy: MeterAccuracy | None) -> UncertaintyBudget | None:
    if accuracy is None:
        return None
    return budget_of_pass([window.work for window in windows], accuracy, _overhead(windows))


def _active_budget(
    windows: Sequence[Window], accuracy: MeterAccuracy | None
) -> UncertaintyBudget | None:
    if accuracy is None:
        return None
    return active_budget_of_pass([w.work for w in windows], accuracy, _overhead(windows))


def _overhead(windows: Sequence[Window]) -> MarkerOverhead | None:
    """The mean share of a pass; its error is the same in all windows and does not average out."""
    shares = [w.overhead.scaled(1 / w.work.iterations) for w in windows if w.overhead is not None]
    if not shares:
        return None
    return MarkerOverhead(
        fmean(share.duration_s for share in shares),
        fmean(share.energy_uj for share in shares),
        fmean(share.uncertainty_uj for share in shares),
    )


def _energy_samples(windows: Sequence[Window]) -> Samples | None:
    if not windows:
        return None
    energies_uj = tuple(window.work.energy_uj / window.work.iterations for window in windows)
    return Samples(tuple(window.run for window in windows), energies_uj)


def _energy(windows: Sequence[Window]) -> Interval | None:
    samples = _energy_samples(windows)
    return None if samples is None else median_interval(samples.values)


def _window_info(windows: Sequence[Window]) -> WindowInfo | None:
    if not windows:
        return None
    seen, overhead = [window.work for window in windows], _overhead(windows)
    return WindowInfo(
        iterations=round(median(w.iterations for w in seen)),
        window_s=median(w.duration_s for w in seen),
        meter_samples=median(w.meter_samples for w in seen),
        base_power_w=median(w.base_power_w for w in seen),
        n=len(seen),
        overhead_uj=None if overhead is None else overhead.energy_uj,
        lost_samples=sum(w.lost_samples for w in seen),
    )


def partition_cycles(
    trials: Iterable[Trial], layers: int, overhead: Overhead | None
) -> list[float]:
    """Cycles of every timed pass over the first ``layers`` layers without counter reads between.

    Those of the passes' own look at the counter are subtracted where ``overhead`` tells them.
    """
    pass_cycles = 0.0 if overhead is None else overhead.pass_cycles
    return [
        run.cycles / run.iterations - pass_cycles
        for trial in trials
        if trial.kind is TrialKind.NETWORK and trial.workload.layers == layers
        for run in trial.timed_runs()
    ]


def _network_cycles(
    trials: Iterable[Trial], layers: int, overhead: Overhead | None
) -> Interval | None:
    samples = partition_cycles(trials, layers, overhead)
    return median_interval(samples) if samples else None
