"""A run folder -> report data: costs, decisions and what they rest on."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hil.clio.optimizer import Decision, Target
from hil.clio.partitions import Key, Partition
from hil.clio.pricing import COSTS, price
from hil.clio.radio import RADIOS, Radio
from hil.core.calibration import CalibrationLabel
from hil.core.cost import CostRow, CostTable, Interval
from hil.core.errors import DataError
from hil.core.firmware import MemoryUse
from hil.core.network import Network
from hil.core.provenance import Origin
from hil.core.trial import WHOLE_NETWORK, Trial, TrialKind
from hil.core.waveform import Waveform
from hil.loop.campaign import NETWORK_FILE
from hil.loop.decide import ACCURACY_DROP, BANDWIDTHS_KBPS, Decider
from hil.loop.recorded import (
    RecordedSlicing,
    accuracy_interval,
    recorded_accuracies,
    recorded_accuracy,
    recorded_slicing,
)
from hil.loop.workloads import label
from hil.measure.reconcile import Reconciliation, reconcile
from hil.measure.segments import prefix_energy_uj, segment_cycles, trusted_energy_uj
from hil.measure.table import cost_table
from hil.measure.windows import find_windows
from hil.nn.network_file import load_network
from hil.run.reader import Run
from reports import model as page

# Curves drawn for a radio and target: the two baselines and the splits that win somewhere.
MAX_CURVES = 8


def report_data(folder: Path) -> page.ReportData:
    """Everything a report of that run shows. DataError when no board has a cost yet."""
    run = Run.load(folder)
    network = load_network(folder / NETWORK_FILE)
    tables = cost_tables(run, network)
    if not tables:
        raise DataError(f"{folder}: no board has good per-layer trials yet; nothing to report")
    deciders = [Decider.of(run, table, network) for table in tables]
    accuracy = recorded_accuracies(run)
    boards = tuple(_board(run, network, table) for table in tables)
    return page.ReportData(
        title=f"{network.name} on {' and '.join(board.name for board in boards)}",
        run=_run_info(run, network),
        boards=boards,
        radios=tuple(_radio(radio) for radio in RADIOS.values()),
        decisions=tuple(row for decider in deciders for row in _decisions(decider, accuracy)),
        ranges=tuple(row for decider in deciders for row in _ranges(decider)),
        curves=tuple(row for decider in deciders for row in _curves(decider)),
        options=tuple(row for decider in deciders for row in _options(decider, accuracy)),
        slicing=_slicing(recorded_slicing(run)),
        sources=_sources(run),
        events=run.events,
    )


def cost_tables(run: Run, network: Network) -> tuple[CostTable, ...]:
    """One table for every board with good per-layer trials, in the order of their names."""
    trials = run.ok_trials()
    newest = {t.board: t.provenance for t in trials if t.kind is TrialKind.LAYERS}
    return tuple(
        cost_table(network, provenance, trials, recorded_accuracy(run, provenance.rig))
        for _, provenance in sorted(newest.items())
    )


def _board(run: Run, network: Network, table: CostTable) -> page.BoardReport:
    name = table.provenance.board
    facts = run.environment["boards"][name]
    trials = [t for t in run.ok_trials() if t.provenance == table.provenance]
    accuracy = recorded_accuracy(run, table.provenance.rig)
    return page.BoardReport(
        name=name,
        title=facts["title"],
        provenance=table.provenance,
        elf_sha256=facts["elf_sha256"],
        layers=tuple(_layer(network, table, row) for row in table.rows),
        network_cycles=table.network_cycles,
        network_energy_uj=_network_energy(table),
        network_budget=table.network_budget,
        network_active_budget=table.network_active_budget,
        meter_accuracy="" if accuracy is None else accuracy.source,
        overhead=table.overhead,
        losses=tuple(_losses(trials)),
        calibration=calibration_of(table.provenance.meter, trials),
        cycles_check=_cycles_check(table),
        energy_check=_energy_check(table),
        memory=tuple(MemoryUse(**use) for use in facts["memory"]),
        waveform=_waveform(run, network, trials),
        good_trials=len(trials),
        voided=tuple(
            page.VoidedTrial(label(t.workload), t.verdict.who, t.verdict.reason, t.finished)
            for t in run.void_trials()
            if t.board == name
        ),
        events=tuple(event for trial in trials for event in trial.events),
    )


def _network_energy(table: CostTable) -> Interval | None:
    """As wide as its uncertainty budget at least."""
    energy, budget = table.network_energy_uj, table.network_budget
    return energy if energy is None or budget is None else energy.at_least(budget.expanded_uj)


def _layer(network: Network, table: CostTable, row: CostRow) -> page.LayerRow:
    return page.LayerRow(
        index=row.index,
        name=row.name,
        op=row.op,
        block=_block(network, row.index),
        macs=row.macs,
        cycles=row.cycles,
        compute_cycles=row.compute_cycles,
        copy_cycles=row.copy_cycles,
        other_cycles=row.other_cycles,
        energy_uj=trusted_energy_uj(table, row.index, row.index + 1),
        base_energy_uj=row.base_energy_uj,
        energy_budget=row.energy_budget,
        active_budget=row.active_budget,
    )


def _block(network: Network, index: int) -> str:
    """The name of the first cut behind the layer: blocks end at cuts."""
    ends = sorted((cut.layers, cut.name) for cut in network.cuts)
    return next(name for layers, name in ends if layers > index)


def _losses(trials: Iterable[Trial]) -> Iterator[page.Loss]:
    for trial in trials:
        windows = [window for window in trial.timed_windows() if window.lost_samples]
        if windows:
            limit_uj = max(window.lost_limit_uj / window.iterations for window in windows)
            yield page.Loss(label(trial.workload), windows[0].lost_samples, limit_uj)


def calibration_of(meter: str, trials: Iterable[Trial]) -> page.MeterCalibration | None:
    """That in the meter's identity, judged by the days on which ``trials`` measured energies."""
    made = CalibrationLabel.in_identity(meter)
    if made is None:
        return None
    days = [
        datetime.datetime.fromisoformat(trial.finished).date()
        for trial in trials
        if trial.kind is TrialKind.ENERGY
    ]
    date, expires = made.date, made.expires
    return page.MeterCalibration(
        date=date.isoformat(),
        expires="" if expires is None else expires.isoformat(),
        digest=made.digest,
        age_days=(max(days, default=date) - date).days,
        expired=0 if expires is None else sum(day > expires for day in days),
        energies=len(days),
    )


def _cycles_check(table: CostTable) -> Reconciliation | None:
    if table.network_cycles is None:
        return None
    return reconcile(segment_cycles(table, 0, len(table.rows)), table.network_cycles)


def _energy_check(table: CostTable) -> Reconciliation | None:
    layers = prefix_energy_uj(table, len(table.rows))
    if layers is None or table.network_energy_uj is None:
        return None
    return reconcile(layers, table.network_energy_uj)


def _waveform(run: Run, network: Network, trials: list[Trial]) -> page.WaveformView | None:
    sweeps = [t for t in trials if t.kind is TrialKind.ENERGY and len(t.windows) > 1]
    if not sweeps:
        return None
    trial = sweeps[0]
    attachment = trial.attachments[0]
    waveform = Waveform.from_bytes(run.attachment(attachment))
    interval = waveform.sample_interval_s
    # What was lost was accepted when it was measured.
    found = find_windows(waveform, len(trial.windows), max_lost=waveform.lost_samples)
    windows = tuple(
        page.LayerWindow(
            layer=sample.layer,
            name="network" if sample.layer == WHOLE_NETWORK else network.layers[sample.layer].name,
            start_s=window.start * interval,
            end_s=window.stop * interval,
            iterations=sample.iterations,
            energy_uj=sample.energy_uj,
        )
        for window, sample in zip(found, trial.windows, strict=True)
    )
    return page.WaveformView(
        sample_rate_hz=1 / interval,
        start_s=0.0,
        supply_v=waveform.board_v,
        current_a=waveform.current_a,
        marker=waveform.marker,
        windows=windows,
        meter=waveform.meter,
        file=attachment.name,
        sha256=attachment.sha256,
    )


def _radio(radio: Radio) -> page.RadioInfo:
    return page.RadioInfo(radio.name, radio.bandwidth_kbps, radio.tx_power_w, radio.source)


def _split(partition: Partition) -> page.Split:
    return page.Split(
        partition.cut,
        partition.layers,
        partition.channels,
        partition.of_channels,
        partition.wire_bytes,
    )


Accuracies = Mapping[Key, Interval]


def _decisions(decider: Decider, accuracy: Accuracies) -> Iterator[page.DecisionRow]:
    # BLE first: the paper's own radio gives the headline.
    for radio in sorted(RADIOS.values(), key=lambda r: r.name != "BLE"):
        for target in COSTS:
            decision = decider.decide(radio, decider.goal(target))
            yield _decision(decider.board, radio, decision, accuracy)


def _decision(
    board: str, radio: Radio, decision: Decision, accuracy: Accuracies
) -> page.DecisionRow:
    best = decision.best
    limit = decision.goal.min_accuracy
    found = best is not None
    return page.DecisionRow(
        board=board,
        radio=radio.name,
        bandwidth_kbps=radio.bandwidth_kbps,
        target=page.Target(decision.goal.target.value),
        split=_split(best.partition) if best else None,
        latency_s=best.latency_s if best else None,
        energy_uj=best.energy_uj if best else None,
        accuracy=accuracy.get(best.partition.key) if best else None,
        rival=_split(decision.rivals[0].option.partition) if decision.rivals else None,
        doubts=decision.doubts,
        limits=""
        if limit is None
        else f"top-1 at least {limit:.1%} (at most {ACCURACY_DROP:.0%} below the best split)",
        why_none="" if found else decision.outcome.value,
    )


def _ranges(decider: Decider) -> Iterator[page.BestRange]:
    for radio in RADIOS.values():
        for target in COSTS:
            sweep = decider.sweep(radio, decider.goal(target))
            start = sweep.decisions[0].bandwidth_kbps
            best = sweep.decisions[0].best
            current = best.partition if best else None
            for switch in sweep.switches:
                yield _range(decider, radio, target, start, switch.bandwidth_kbps, current)
                start, current = switch.bandwidth_kbps, switch.above
            end = sweep.decisions[-1].bandwidth_kbps
            yield _range(decider, radio, target, start, end, current)


def _range(
    decider: Decider,
    radio: Radio,
    target: Target,
    start: float,
    end: float,
    partition: Partition | None,
) -> page.BestRange:
    return page.BestRange(
        decider.board,
        radio.name,
        page.Target(target.value),
        start,
        end,
        None if partition is None else _split(partition),
    )


def _curves(decider: Decider) -> Iterator[page.BandwidthCurve]:
    for radio in RADIOS.values():
        for target in COSTS:
            sweep = decider.sweep(radio, decider.goal(target))
            chosen = [d.best.partition for d in sweep.decisions if d.best]
            chosen += [switch.above for switch in sweep.switches if switch.above]
            ends = [decider.candidates[0], decider.candidates[-1]]
            for partition in list(dict.fromkeys([*ends, *chosen]))[:MAX_CURVES]:
                yield from _curve(decider, radio, target, partition)


def _curve(
    decider: Decider, radio: Radio, target: Target, partition: Partition
) -> Iterator[page.BandwidthCurve]:
    values = []
    for bandwidth in BANDWIDTHS_KBPS:
        priced = price(partition, decider.measured, radio.at(bandwidth))
        value = priced.latency_s if target is Target.LATENCY else priced.energy_uj
        if value is None or priced.refused:
            return
        values.append(value.median)
    yield page.BandwidthCurve(
        decider.board,
        radio.name,
        page.Target(target.value),
        _split(partition),
        BANDWIDTHS_KBPS,
        tuple(values),
    )


def _options(decider: Decider, accuracy: Accuracies) -> Iterator[page.PartitionRow]:
    priced = {radio.name: decider.price_all(radio) for radio in RADIOS.values()}
    rejected = {radio.name: _rejections(decider, radio) for radio in RADIOS.values()}
    first = next(iter(priced.values()))
    for number, option in enumerate(first):
        links = tuple(
            page.LinkCost(
                radio=name,
                latency_s=options[number].airtime_s,
                energy_uj=options[number].radio_uj,
                total_latency_s=options[number].latency_s,
                total_energy_uj=options[number].energy_uj,
                rejected=rejected[name].get(option.partition, ""),
            )
            for name, options in priced.items()
        )
        yield page.PartitionRow(
            board=decider.board,
            split=_split(option.partition),
            device_s=option.device_s,
            device_uj=option.device_uj,
            cloud_s=option.cloud_s,
            accuracy=accuracy.get(option.partition.key),
            links=links,
            refused=option.refused,
        )


def _rejections(decider: Decider, radio: Radio) -> dict[Partition, str]:
    """Why a partition was not considered; both targets have the same limits."""
    decision = decider.decide(radio, decider.goal(Target.LATENCY))
    return {one.option.partition: one.reason for one in decision.rejected}


def _sources(run: Run) -> tuple[page.NumberSource, ...]:
    tail = run.environment["tails"][0]["cost"]
    host = f"{tail['host']}, {tail['threads']} threads, torch {tail['torch_version']}"
    trained = recorded_slicing(run)
    learnt = (
        "the network was not trained for slices"
        if trained is None
        else f"every slice trained (recipe {trained.recipe['name']}); the raw image is answered by "
        "the float network, everything on the device by the integer one"
    )
    data = run.environment["accuracy_data"]
    power = "; ".join(
        f"{name}: {facts['power_source']}" for name, facts in run.environment["boards"].items()
    )
    return (
        page.NumberSource("cloud latency", Origin.MEASURED, f"tails timed on this host: {host}"),
        page.NumberSource("radio latency and energy", Origin.MODELLED, "bytes / bandwidth x power"),
        page.NumberSource(
            "accuracy",
            Origin.MEASURED,
            f"top-1 on data set {data['name']} ({data['digest'][:12]}), integer device part and "
            f"float tail; {learnt}",
        ),
        page.NumberSource("power of a virtual board", Origin.MODELLED, power),
    )


def _slicing(recorded: RecordedSlicing | None) -> page.SlicingReport | None:
    if recorded is None:
        return None
    return page.SlicingReport(
        slices=tuple(
            page.SliceRow(
                cut=point.cut,
                channels=point.channels,
                of_channels=point.of_channels,
                bits=point.bits,
                accuracy=accuracy_interval(point.accuracy),
                raw_bytes=point.raw_bytes,
                packed_bytes=point.packed_bytes,
                range_bytes=float(point.range_bytes),
            )
            for point in recorded.points
        ),
        epochs=tuple(_epoch(record) for record in recorded.log),
        facts={
            "model": recorded.name,
            "recipe": _told(recorded.recipe),
            "training": _told(recorded.training),
            "training images, SHA-256": recorded.train_digest,
            "test images": recorded.data,
            "test images, SHA-256": recorded.data_digest,
            "images a check while training": _checked_on(recorded.log),
        },
    )


def _told(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())


def _checked_on(log: Sequence[Mapping[str, object]]) -> str:
    counts = sorted({str(record["test_images"]) for record in log if "test_images" in record})
    return ", ".join(counts) or "not evaluated"


def _epoch(record: Mapping[str, Any]) -> page.EpochRow:
    """A line of the training log; its labels are ``cut/channels``, or ``all``."""
    tops = record.get("test_top1") or {}
    found = []
    for name, top1 in tops.items():
        cut, _, channels = name.partition("/")
        found.append(page.EpochTop1(cut, int(channels or 0), float(top1)))
    return page.EpochRow(int(record["epoch"]), float(record["train_loss"]), tuple(found))


def _run_info(run: Run, network: Network) -> page.RunInfo:
    environment = {
        "network digest": network.digest,
        "training": ", ".join(f"{k} {v}" for k, v in run.environment["training"].items()),
        "folder": run.folder.name,
    }
    return page.RunInfo(
        name=run.name,
        network=network.name,
        status=run.status.value,
        started=run.started,
        stopped=run.stopped,
        reason=run.reason,
        planned=len(run.planned),
        finished=len(run.finished_keys),
        environment=environment,
    )


def bandwidth_grid(low_kbps: float, high_kbps: float, count: int) -> tuple[float, ...]:
    """Bandwidths with equal ratios between neighbours."""
    return tuple(float(b) for b in np.geomspace(low_kbps, high_kbps, count))
