"""Realistic report data without a bench: MobileNetV2-0.35 (CIFAR) on two boards.

The layers are the real ones; costs come from plausible rates with seeded noise. Nothing here is
a measurement, it only has the shape and the size of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.cost import Interval, independent_sum
from hil.core.firmware import MemoryUse
from hil.core.provenance import Origin, Provenance
from hil.core.trial import Event
from hil.core.uncertainty import Term, UncertaintyBudget
from hil.measure.intervals import median_interval
from hil.measure.reconcile import reconcile
from reports.model import (
    BandwidthCurve,
    BestRange,
    BoardReport,
    DecisionRow,
    EpochRow,
    EpochTop1,
    LayerRow,
    LayerWindow,
    LinkCost,
    NumberSource,
    PartitionRow,
    RadioInfo,
    ReportData,
    RunInfo,
    SliceRow,
    SlicingReport,
    Split,
    Target,
    VoidedTrial,
    WaveformView,
)

STAGES = (
    (1, 8, 1, 1),
    (6, 8, 2, 1),
    (6, 16, 3, 2),
    (6, 24, 4, 2),
    (6, 32, 3, 1),
    (6, 56, 3, 2),
    (6, 112, 1, 1),
)
RADIOS = (
    RadioInfo("BLE", 250.0, 0.015, "Clio, section 5.5"),
    RadioInfo("LoRa", 50.0, 0.060, "Clio, section 5.5"),
    RadioInfo("ZigBee", 200.0, 0.060, "Clio, section 5.5"),
    RadioInfo("WiFi ax", 1000.0, 0.100, "Clio, section 5.5"),
)
REPEATS = 7


@dataclass(frozen=True)
class Shape:
    """A layer of the network, and the output it leaves."""

    name: str
    op: str
    block: str
    macs: int
    side: int
    channels: int


@dataclass(frozen=True)
class Chip:
    """Rates of a made-up chip: MAC/cycle by kind, shares of copy and other, active power."""

    name: str
    title: str
    clock_hz: int
    rates: dict[str, float]
    copy: float
    other: float
    active_w: float
    refused: dict[str, str]
    memory: tuple[MemoryUse, ...]


STM32 = Chip(
    "stm32f746",
    "STM32F746",
    216_000_000,
    {"conv2d": 0.52, "pointwise": 0.78, "depthwise": 0.21, "linear": 0.6, "add": 0.3},
    0.04,
    0.09,
    0.36,
    {},
    (
        MemoryUse("flash", 402_112, 1_048_576),
        MemoryUse("dtcm", 41_216, 65_536),
        MemoryUse("sram", 112_640, 262_144),
    ),
)
GAP8 = Chip(
    "gap8",
    "GAP8",
    149_995_520,
    {"conv2d": 3.9, "pointwise": 7.2, "depthwise": 1.7, "linear": 4.0, "add": 2.2},
    0.17,
    0.13,
    0.064,
    dict.fromkeys(
        ("block 16", "block 17", "head"),
        "weights and code need 412,680 B of l2, 458,752 B minus 65,536 B of arena are there",
    ),
    (MemoryUse("l2_low", 0, 65_536), MemoryUse("l2", 391_040, 458_752), MemoryUse("l1", 0, 65_536)),
)


def shapes() -> list[Shape]:
    """All layers of MobileNetV2-0.35 for 32x32 images, in order."""
    found = [Shape("stem", "conv2d", "stem", 32 * 32 * 16 * 27, 32, 16)]
    side, channels, block = 32, 16, 1
    for expansion, out, repeats, stride in STAGES:
        for i in range(repeats):
            step = stride if i == 0 else 1
            found += _inverted_residual(block, side, channels, out, expansion, step)
            side, channels, block = side // step, out, block + 1
    found.append(Shape("head", "pointwise", "head", side * side * channels * 448, side, 448))
    found.append(Shape("pool", "avgpool", "classifier", side * side * 448, 1, 448))
    found.append(Shape("classifier", "linear", "classifier", 4480, 1, 10))
    return found


def _inverted_residual(
    block: int, side: int, cin: int, out: int, expansion: int, stride: int
) -> list[Shape]:
    where, hidden, small = f"block {block}", cin * expansion, side // stride
    layers = []
    if expansion != 1:
        macs = side * side * cin * hidden
        layers.append(Shape(f"{where}.expand", "pointwise", where, macs, side, hidden))
    macs = small * small * hidden * 9
    layers.append(Shape(f"{where}.depthwise", "depthwise", where, macs, small, hidden))
    macs = small * small * hidden * out
    layers.append(Shape(f"{where}.project", "pointwise", where, macs, small, out))
    if stride == 1 and cin == out:
        layers.append(Shape(f"{where}.add", "add", where, small * small * out, small, out))
    return layers


def provenance(chip: Chip, origin: Origin = Origin.SIMULATED) -> Provenance:
    energy = Origin.MEASURED if origin is Origin.MEASURED else Origin.MODELLED
    return Provenance(
        cycles_origin=origin,
        energy_origin=energy,
        board=chip.name,
        chip_id="0x10016449" if chip is STM32 else "gap8-virtual",
        clock_hz=chip.clock_hz,
        toolchain="zig 0.17.1 (clang)",
        build_id="5a" * 32,
        network="mobilenet_v2-0.35-cifar",
        network_digest="c3" * 32,
        timing_model="cortex-m7 block costs 3" if chip is STM32 else "ri5cy lockstep 2",
        meter="virtual SCPI meter 1.0, 100 kS/s",
        rig="virtual",
        protocol=1,
    )


def _interval(rng: np.random.Generator, value: float, relative: float) -> Interval:
    return median_interval(value * (1 + relative * rng.standard_normal(REPEATS)))


def budget(energy_uj: float) -> UncertaintyBudget:
    """Of a meter with 0.1 % of gain."""
    terms = (
        Term("noise", 0.0004 * energy_uj, "Student's t", f"spread of {REPEATS} repeats"),
        Term("gain", 0.001 * energy_uj / 3**0.5, "uniform", "0.100% of the reading"),
        Term("offset", 0.0003 * energy_uj, "uniform", "1e-05 A"),
        Term("edges", 1e-6 * energy_uj, "uniform", "place of the marker's edges"),
    )
    return UncertaintyBudget(energy_uj, terms)


def layer_rows(chip: Chip, rng: np.random.Generator) -> tuple[LayerRow, ...]:
    rows = []
    for index, shape in enumerate(shapes()):
        rate = chip.rates.get(shape.op, 0.5) * rng.uniform(0.8, 1.1)
        compute = shape.macs / rate + 400
        copy, other = compute * chip.copy * rng.uniform(0.5, 1.6), compute * chip.other + 900
        cycles = _interval(rng, compute + copy + other, 0.0006)
        energy = cycles.median / chip.clock_hz * chip.active_w * 1e6
        rows.append(
            LayerRow(
                index,
                shape.name,
                shape.op,
                shape.block,
                shape.macs,
                cycles,
                compute,
                copy,
                other,
                _interval(rng, energy * rng.uniform(0.93, 1.05), 0.006),
                base_energy_uj=0.3 * energy,
                energy_budget=budget(energy),
            )
        )
    return tuple(rows)


def waveform(
    chip: Chip, rows: tuple[LayerRow, ...], rng: np.random.Generator, rate_hz: float = 100_000.0
) -> WaveformView:
    """One window a layer of at least 20 ms, 4 ms of idle between them."""
    levels, marker, windows = [], [], []
    idle = round(0.004 * rate_hz)
    at = 0
    for row in rows:
        one_s = row.cycles.median / chip.clock_hz
        passes = max(1, int(np.ceil(0.02 / one_s)))
        length = round(passes * one_s * rate_hz)
        levels += [np.full(idle, 0.35), np.full(length, rng.uniform(0.9, 1.1))]
        marker += [np.zeros(idle, bool), np.ones(length, bool)]
        start, end = (at + idle) / rate_hz, (at + idle + length) / rate_hz
        assert row.energy_uj is not None
        windows.append(
            LayerWindow(row.index, row.name, start, end, passes, row.energy_uj.median * passes)
        )
        at += idle + length
    current = np.concatenate(levels) * chip.active_w / 3.3
    current = current + rng.normal(0, 0.01 * chip.active_w / 3.3, len(current))
    step = 2e-5  # the meter's own resolution
    return WaveformView(
        sample_rate_hz=rate_hz,
        start_s=0.0,
        supply_v=3.3,
        current_a=(np.round(current / step) * step).astype(np.float32),
        marker=np.concatenate(marker),
        windows=tuple(windows),
        meter="virtual SCPI meter 1.0",
        file=f"attachments/{chip.name}-energy.npz",
        sha256="7d" * 32,
    )


def board_report(chip: Chip, seed: int, origin: Origin = Origin.SIMULATED) -> BoardReport:
    rng = np.random.default_rng(seed)
    rows = layer_rows(chip, rng)
    cycles = independent_sum(row.cycles for row in rows)
    energy = independent_sum(row.energy_uj for row in rows if row.energy_uj)
    network_cycles = _interval(rng, cycles.median * 0.994, 0.0003)
    network_energy = _interval(rng, energy.median * 0.972, 0.004)
    return BoardReport(
        name=chip.name,
        title=chip.title,
        provenance=provenance(chip, origin),
        elf_sha256="e1" * 32,
        layers=rows,
        network_cycles=network_cycles,
        network_energy_uj=network_energy,
        network_budget=budget(network_energy.median),
        meter_accuracy="a data sheet that nobody wrote",
        cycles_check=reconcile(cycles, network_cycles),
        energy_check=reconcile(energy, network_energy),
        memory=chip.memory,
        waveform=waveform(chip, rows, rng),
        good_trials=23,
        voided=(
            VoidedTrial(
                "energy of layers 12 to 20",
                "instrument",
                "meter at TCPIP0::127.0.0.1::5025::SOCKET: 212 samples lost between 0.8412 s and "
                "0.8433 s; the windows over them are void, the trial was repeated",
                "2026-11-23T21:04:31Z",
            ),
        )
        if chip is GAP8
        else (),
        events=(Event("2026-11-23T21:04:33Z", "retry", "energy of layers 12 to 20, try 2 of 3"),)
        if chip is GAP8
        else (),
    )


def cuts() -> list[tuple[str, int, int, int]]:
    """(name, layers, side, channels) of every legal cut: input, after each block, device."""
    layers = shapes()
    found = [("input", 0, 32, 3)]
    for i, shape in enumerate(layers[:-1]):
        if layers[i + 1].block != shape.block:
            found.append((shape.block, i + 1, shape.side, shape.channels))
    return [*found, ("device", len(layers), 1, 10)]


def splits() -> list[Split]:
    """Every cut with every channel count."""
    total = len(shapes())
    found = []
    for name, layers, side, channels in cuts():
        counts = [channels] if layers in (0, total) else range(1, channels + 1)
        found += [
            Split(name, layers, n, channels, 0 if layers == total else side * side * n)
            for n in counts
        ]
    return found


def _options(chip: Chip, board: BoardReport) -> list[PartitionRow]:
    rng = np.random.default_rng(5)
    rows = []
    for split in splits():
        if split.cut in chip.refused:
            rows.append(PartitionRow(chip.name, split, refused=chip.refused[split.cut]))
            continue
        mine = board.layers[: split.layers]
        device = independent_sum(r.cycles for r in mine).scaled(1 / chip.clock_hz)
        energy = independent_sum(r.energy_uj for r in mine if r.energy_uj)
        cloud = _interval(rng, 0.004, 0.05) if split.wire_bytes else Interval.exact(0.0)
        known = split.layers in (0, len(board.layers)) or split.channels % 4 == 0
        hit = 0.86 - 0.25 / (split.channels + 1) if split.layers else 0.88
        rows.append(
            PartitionRow(
                chip.name,
                split,
                device,
                energy,
                cloud,
                Interval(hit, hit - 0.007, hit + 0.007, 10_000, 0.95) if known else None,
                tuple(
                    _link(radio, split, device, energy, cloud, _rejection(known, hit))
                    for radio in RADIOS
                ),
            )
        )
    return rows


def _rejection(known: bool, accuracy: float) -> str:
    if not known:
        return "accuracy unknown"
    return "" if accuracy > 0.7 else "not accurate enough"


def _link(
    radio: RadioInfo,
    split: Split,
    device: Interval,
    energy: Interval,
    cloud: Interval,
    rejected: str,
) -> LinkCost:
    air_s = split.wire_bytes * 8 / (radio.bandwidth_kbps * 1e3)
    air_uj = air_s * radio.tx_power_w * 1e6
    return LinkCost(
        radio.name,
        air_s,
        air_uj,
        independent_sum((device, cloud, Interval.exact(air_s))),
        independent_sum((energy, Interval.exact(air_uj))),
        rejected,
    )


BANDWIDTHS = tuple(float(x) for x in np.geomspace(10, 10_000, 61).round(4))


def _cost(option: PartitionRow, radio: RadioInfo, target: Target, kbps: float) -> float:
    assert option.device_s and option.device_uj and option.cloud_s
    air_s = option.split.wire_bytes * 8 / (kbps * 1e3)
    if target is Target.LATENCY:
        return option.device_s.median + air_s + option.cloud_s.median
    return option.device_uj.median + air_s * radio.tx_power_w * 1e6


def _decided(
    options: list[PartitionRow], radio: RadioInfo, target: Target
) -> tuple[DecisionRow, list[BestRange], list[BandwidthCurve]]:
    """Least cost with at least 70 % accuracy, at the radio's bandwidth and along a sweep."""
    able = [o for o in options if o.accuracy and o.accuracy.median > 0.7]
    board = able[0].board

    def at(kbps: float) -> PartitionRow:
        return min(able, key=lambda o: _cost(o, radio, target, kbps))

    ranges: list[BestRange] = []
    for kbps in BANDWIDTHS:
        split = at(kbps).split
        if ranges and ranges[-1].split == split:
            last = ranges.pop()
            ranges.append(BestRange(board, radio.name, target, last.from_kbps, kbps, split))
        else:
            start = ranges[-1].to_kbps if ranges else kbps
            ranges.append(BestRange(board, radio.name, target, start, kbps, split))
    wanted = {r.split.key for r in ranges if r.split}
    curves = [
        BandwidthCurve(
            board,
            radio.name,
            target,
            o.split,
            BANDWIDTHS,
            tuple(_cost(o, radio, target, kbps) for kbps in BANDWIDTHS),
        )
        for o in able
        if o.split.key in wanted or not o.split.layers or not o.split.wire_bytes
    ]
    best = at(radio.bandwidth_kbps)
    link = best.link(radio.name)
    assert link is not None
    second = sorted(able, key=lambda o: _cost(o, radio, target, radio.bandwidth_kbps))[1]
    decision = DecisionRow(
        board=board,
        radio=radio.name,
        bandwidth_kbps=radio.bandwidth_kbps,
        target=target,
        split=best.split,
        latency_s=link.total_latency_s,
        energy_uj=link.total_energy_uj,
        accuracy=best.accuracy,
        rival=second.split if radio.name == "ZigBee" else None,
        limits="at least 70 % accuracy",
    )
    return decision, ranges, curves


# Cut -> (side, channels, slices), as in the model that ships.
SLICED = {
    "block3": (32, 8, (1, 2, 3, 4, 6, 8)),
    "block5": (16, 16, (1, 2, 4, 6, 8, 10, 12, 16)),
    "block8": (8, 24, (1, 2, 4, 8, 12, 16, 20, 24)),
}


def slicing() -> SlicingReport:
    """Accuracy rises with channels and falls a little with bits; thirty epochs of training."""
    rows, keys = [], []
    for cut, (side, of_channels, counts) in SLICED.items():
        for channels in counts:
            keys.append((cut, channels))
            for bits in (8, 6, 5, 4):
                top1 = 0.9 - 0.5 * (1 - channels / of_channels) ** 2 - 0.002 * (8 - bits)
                raw = side * side * channels
                rows.append(
                    SliceRow(
                        cut,
                        channels,
                        of_channels,
                        bits,
                        Interval(top1, top1 - 0.006, top1 + 0.006, 10_000, 0.95),
                        raw,
                        -(-raw * bits // 8),
                        raw * (bits - 1.5) / 8,
                    )
                )
    epochs = []
    for epoch in range(1, 31):
        left = 0.9**epoch
        best = {(r.cut, r.channels): r.accuracy.median for r in rows if r.bits == 8}
        tops = [EpochTop1(cut, n, best[cut, n] * (1 - 0.4 * left)) for cut, n in keys]
        whole = EpochTop1("all", 0, 0.91 * (1 - 0.4 * left))
        epochs.append(EpochRow(epoch, round(0.6 + 1.8 * left, 4), (*tops, whole)))
    facts = {
        "recipe": "name ours, expectation sandwich, distil True",
        "training": "epochs 30, batch 128, peak lr 0.05",
        "training images, SHA-256": "3f" * 32,
    }
    return SlicingReport(tuple(rows), tuple(epochs), facts)


def report_data(origin: Origin = Origin.SIMULATED) -> ReportData:
    """Two boards, 64 layers, every split, four radios, both targets, trained slices."""
    boards = board_report(STM32, 1, origin), board_report(GAP8, 2, origin)
    options = [_options(c, b) for c, b in zip((STM32, GAP8), boards, strict=True)]
    decisions: list[DecisionRow] = []
    ranges: list[BestRange] = []
    curves: list[BandwidthCurve] = []
    for mine in options:
        for target in Target:
            for radio in RADIOS:
                decision, found, lines = _decided(mine, radio, target)
                decisions.append(decision)
                ranges += found
                curves += lines
    return ReportData(
        title="Where to cut MobileNetV2 between device and cloud",
        run=RunInfo(
            name="0007-virtual",
            network="MobileNetV2-0.35 (CIFAR-10, int8)",
            status="success",
            started="2026-11-23T20:58:02Z",
            stopped="2026-11-23T21:02:40Z",
            planned=47,
            finished=46,
            environment={"host": "bench-1", "python": "3.11.9", "revision": "85220e6"},
        ),
        boards=boards,
        radios=RADIOS,
        decisions=tuple(decisions),
        ranges=tuple(ranges),
        curves=tuple(curves),
        options=tuple(option for mine in options for option in mine),
        slicing=slicing(),
        sources=(
            NumberSource("cloud latency", Origin.MEASURED, "tail on bench-1, 1 thread, n = 7"),
            NumberSource("radio", Origin.MODELLED, "bandwidth and power of Clio, section 5.5"),
            NumberSource("accuracy", Origin.MEASURED, "10,000 test images, Wilson interval"),
        ),
        events=(Event("2026-11-23T20:58:01Z", "start", "2 boards, 47 trials planned"),),
    )
