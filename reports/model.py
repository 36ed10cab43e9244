"""What a report shows, as plain frozen data: the only input of ``reports.render``.

Times are seconds, energies microjoules, bandwidths kbit/s (1 kbit = 1000 bit), accuracies
fractions of images. ``None`` means that nobody measured it; the report says so and never puts
a number in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.firmware import MemoryUse
from hil.core.overhead import Overhead
from hil.core.provenance import Origin, Provenance
from hil.core.trial import Event
from hil.core.uncertainty import UncertaintyBudget
from hil.measure.reconcile import Reconciliation
from reports.codec import from_plain, to_plain

# Version of ReportData.to_dict. 1: first.
SCHEMA = 1


class Target(StrEnum):
    """What a decision makes as small as possible."""

    LATENCY = "latency"
    ENERGY = "energy"


@dataclass(frozen=True)
class LayerRow:
    """One layer on one board; ``block`` names the stretch between two cuts it belongs to.

    Cycles are of the board's compute clock for one pass; the parts are medians of their own
    and need not add up to the median of the whole.
    """

    index: int
    name: str
    op: str
    block: str
    macs: int
    cycles: Interval
    compute_cycles: float
    copy_cycles: float
    other_cycles: float
    energy_uj: Interval | None = None
    base_energy_uj: float | None = None
    energy_budget: UncertaintyBudget | None = None
    active_budget: UncertaintyBudget | None = None

    @property
    def mac_per_cycle(self) -> float | None:
        """None for a layer without a cycle or without a multiplication."""
        return self.macs / self.cycles.median if self.macs and self.cycles.median else None


@dataclass(frozen=True)
class LayerWindow:
    """A marked window in the waveform; ``iterations`` passes of a layer (-1: whole network)."""

    layer: int
    name: str
    start_s: float
    end_s: float
    iterations: int
    energy_uj: float


@dataclass(frozen=True, eq=False)
class WaveformView:
    """Current and marker as the meter sampled them together, from ``start_s`` on.

    ``current_a`` float (n,), ``marker`` bool (n,). A missing sample is NaN in ``current_a`` and
    stays a gap in the drawing. ``file`` and ``sha256`` name the raw data in the run folder.
    """

    sample_rate_hz: float
    start_s: float
    supply_v: float
    current_a: np.ndarray
    marker: np.ndarray
    windows: tuple[LayerWindow, ...]
    meter: str
    file: str
    sha256: str

    def __post_init__(self) -> None:
        if self.current_a.ndim != 1 or self.current_a.shape != self.marker.shape:
            raise DataError(
                f"waveform {self.file}: current of shape {self.current_a.shape} beside a marker "
                f"of shape {self.marker.shape}; both are sampled together, give two equal rows"
            )
        if not self.sample_rate_hz > 0 or not len(self.current_a):
            raise DataError(
                f"waveform {self.file}: {len(self.current_a)} samples at {self.sample_rate_hz} Hz "
                "cannot be drawn; leave the waveform out (None)"
            )

    @property
    def duration_s(self) -> float:
        return len(self.current_a) / self.sample_rate_hz


@dataclass(frozen=True)
class VoidedTrial:
    """A trial that does not count: what it was, who failed (``who``) and why."""

    label: str
    who: str
    reason: str
    time: str


@dataclass(frozen=True)
class Loss:
    """An acquisition with ``samples`` lost: what it was, and the most a window may be off by it."""

    label: str
    samples: int
    limit_uj: float


@dataclass(frozen=True)
class MeterCalibration:
    """What corrected a meter's readings. Dates as ISO 8601; ``expires`` "" where nobody told it.

    ``age_days`` when the last energy was measured; ``expired``: energies measured after its last
    day, of ``energies``.
    """

    date: str
    expires: str
    digest: str
    age_days: int
    expired: int
    energies: int


@dataclass(frozen=True)
class BoardReport:
    """All that was measured on one board, and under which conditions.

    ``cycles_check`` and ``energy_check`` compare the sum of layers with the whole network,
    measured by itself; None where one of the two is missing. ``meter_accuracy`` names the source
    of the meter's limits, without which there are no budgets. ``overhead`` of measuring is
    subtracted from all costs; None: it was not measured. ``losses``: acquisitions with lost
    samples that were accepted. ``calibration`` is that of the meter; None: its readings are taken
    as they are.
    """

    name: str
    title: str
    provenance: Provenance
    elf_sha256: str
    layers: tuple[LayerRow, ...]
    network_cycles: Interval | None = None
    network_energy_uj: Interval | None = None
    network_budget: UncertaintyBudget | None = None
    network_active_budget: UncertaintyBudget | None = None
    meter_accuracy: str = ""
    overhead: Overhead | None = None
    losses: tuple[Loss, ...] = ()
    calibration: MeterCalibration | None = None
    cycles_check: Reconciliation | None = None
    energy_check: Reconciliation | None = None
    memory: tuple[MemoryUse, ...] = ()
    waveform: WaveformView | None = None
    good_trials: int = 0
    voided: tuple[VoidedTrial, ...] = ()
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.provenance.clock_hz <= 0:
            raise DataError(f"board {self.name}: a clock of {self.provenance.clock_hz} Hz")

    def seconds(self, cycles: float) -> float:
        """Time of ``cycles`` at this board's compute clock."""
        return cycles / self.provenance.clock_hz


@dataclass(frozen=True)
class RadioInfo:
    """A link. ``source`` says where its two numbers come from."""

    name: str
    bandwidth_kbps: float
    tx_power_w: float
    source: str = ""


@dataclass(frozen=True)
class Split:
    """The first ``layers`` layers on the device, then ``channels`` channels on the air.

    ``wire_bytes`` is 0 when everything stays on the device.
    """

    cut: str
    layers: int
    channels: int
    of_channels: int
    wire_bytes: int

    @property
    def key(self) -> tuple[int, int]:
        return self.layers, self.channels


@dataclass(frozen=True)
class LinkCost:
    """What one radio, at its own bandwidth, adds to an option.

    ``rejected`` says why the decision's limits forbid it over this radio ("not accurate
    enough"); empty: they allow it; None: nobody looked, and the report must not say "allowed".
    """

    radio: str
    latency_s: float
    energy_uj: float
    total_latency_s: Interval | None
    total_energy_uj: Interval | None
    rejected: str | None = None


@dataclass(frozen=True)
class PartitionRow:
    """One way to split for one board. ``refused`` says why the board cannot run it."""

    board: str
    split: Split
    device_s: Interval | None = None
    device_uj: Interval | None = None
    cloud_s: Interval | None = None
    accuracy: Interval | None = None
    links: tuple[LinkCost, ...] = ()
    refused: str = ""

    def link(self, radio: str) -> LinkCost | None:
        """Cost over that radio, if it was priced."""
        return next((link for link in self.links if link.radio == radio), None)


@dataclass(frozen=True)
class DecisionRow:
    """The answer for one board and radio. Without a ``split``, ``why_none`` tells the cause.

    ``rival`` is the closest split that the measurements cannot rule out, ``doubts`` are limits
    that the chosen one may break within its intervals. ``limits`` says in words what it had to
    keep ("at least 80 % accuracy").
    """

    board: str
    radio: str
    bandwidth_kbps: float
    target: Target
    split: Split | None
    latency_s: Interval | None = None
    energy_uj: Interval | None = None
    accuracy: Interval | None = None
    rival: Split | None = None
    doubts: tuple[str, ...] = ()
    limits: str = ""
    why_none: str = ""

    def __post_init__(self) -> None:
        if (self.split is None) != bool(self.why_none):
            raise DataError(
                f"decision for {self.board} over {self.radio}: either a split or why there is none"
            )

    @property
    def certain(self) -> bool:
        return self.split is not None and self.rival is None and not self.doubts


@dataclass(frozen=True)
class BestRange:
    """From ``from_kbps`` to ``to_kbps`` this split is best; None: nothing can be chosen."""

    board: str
    radio: str
    target: Target
    from_kbps: float
    to_kbps: float
    split: Split | None


@dataclass(frozen=True)
class BandwidthCurve:
    """One split's latency (s) or energy (uJ) over the bandwidth of a radio."""

    board: str
    radio: str
    target: Target
    split: Split
    bandwidth_kbps: tuple[float, ...]
    value: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.bandwidth_kbps) != len(self.value):
            raise DataError(
                f"curve of {self.split.cut} on {self.board}: {len(self.bandwidth_kbps)} "
                f"bandwidths with {len(self.value)} values"
            )


@dataclass(frozen=True)
class SliceRow:
    """One slice with ``bits`` a value: payload bytes by coding, frames not included.

    ``raw_bytes`` are those of whole 8-bit values whatever ``bits`` says; ``range_bytes`` is a
    mean over images.
    """

    cut: str
    channels: int
    of_channels: int
    bits: int
    accuracy: Interval
    raw_bytes: int
    packed_bytes: int
    range_bytes: float


@dataclass(frozen=True)
class EpochTop1:
    """Top-1 of a slice after an epoch; ``channels`` 0 is the whole network."""

    cut: str
    channels: int
    top1: float


@dataclass(frozen=True)
class EpochRow:
    """One pass over the training images; ``accuracies`` of what was evaluated after it."""

    epoch: int
    loss: float
    accuracies: tuple[EpochTop1, ...] = ()


@dataclass(frozen=True)
class SlicingReport:
    """Trained slices: what each is worth, and how they were learnt.

    ``facts`` are recipe and data in words.
    """

    slices: tuple[SliceRow, ...]
    epochs: tuple[EpochRow, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.slices:
            raise DataError("trained slices without a single slice; leave them out (None)")


@dataclass(frozen=True)
class NumberSource:
    """Where a kind of number comes from, beyond what the boards' provenance says."""

    quantity: str
    origin: Origin
    how: str


@dataclass(frozen=True)
class RunInfo:
    """The run that the numbers come from. Times are ISO 8601 in UTC."""

    name: str
    network: str
    status: str
    started: str
    stopped: str = ""
    reason: str = ""
    planned: int = 0
    finished: int = 0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """Everything on the page. The first decision of each board is its headline.

    ``slicing`` is None for a network that was not trained for slices.
    """

    title: str
    run: RunInfo
    boards: tuple[BoardReport, ...]
    radios: tuple[RadioInfo, ...] = ()
    decisions: tuple[DecisionRow, ...] = ()
    ranges: tuple[BestRange, ...] = ()
    curves: tuple[BandwidthCurve, ...] = ()
    options: tuple[PartitionRow, ...] = ()
    slicing: SlicingReport | None = None
    sources: tuple[NumberSource, ...] = ()
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        names = [board.name for board in self.boards]
        if not names or len(set(names)) != len(names):
            raise DataError(f"a report needs boards with different names, got {names}")
        titles = [board.title for board in self.boards]
        if len(set(titles)) != len(titles):
            raise DataError(f"a report needs boards with different titles, got {titles}")
        radios = [radio.name for radio in self.radios]
        for option in self.options:
            _known("split", "board", option.board, names)
        linked: tuple[DecisionRow | BestRange | BandwidthCurve, ...]
        linked = (*self.decisions, *self.ranges, *self.curves)
        for row in linked:
            _known(type(row).__name__, "board", row.board, names)
            _known(type(row).__name__, "radio", row.radio, radios)

    def board(self, name: str) -> BoardReport:
        """The board of that name (one exists: checked when made)."""
        return next(board for board in self.boards if board.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"schema": SCHEMA, **to_plain(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ReportData:
        """The report back; DataError names the place of a wrong or missing field."""
        if data.get("schema") != SCHEMA:
            raise DataError(f"report data of schema {data.get('schema')}, this reads {SCHEMA}")
        return from_plain(cls, {k: v for k, v in data.items() if k != "schema"}, "report")


def _known(what: str, kind: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise DataError(f"{what} for {kind} {name!r}; known: {', '.join(names) or 'none'}")
