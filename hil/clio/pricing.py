"""Latency and energy of a partition: measured device + radio + measured cloud.

    latency = max(device, connection) + bytes on air * 8 / bandwidth + cloud tail
    energy  = device + transmit power * time on air

as in the paper (sections 3.3 and 5.5): the cloud's energy and the answer's way back are not
counted. The radio is woken when computing starts, so the device hides connection latency
(section 5.7). What has not been measured stays unknown and is named; nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from hil.clio.partitions import Key, Partition
from hil.clio.radio import Radio
from hil.core.cost import CostTable, Interval, independent_difference, independent_sum
from hil.measure import segments

ZERO = Interval.exact(0.0)


@dataclass(frozen=True)
class Measured:
    """What is known so far.

    ``cloud_s``: seconds of a partition's tail. ``accuracy``: fraction of images right, with its
    interval over images. Both by (cut name, channels). ``refused``: cut name -> why the board
    cannot run it.
    """

    table: CostTable
    cloud_s: Mapping[Key, Interval] = field(default_factory=dict)
    accuracy: Mapping[Key, Interval] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _segments(self) -> dict[tuple[int, int, bool], Interval | None]:
        return {}

    @cached_property
    def measured_layers(self) -> frozenset[int]:
        """Layers with measured cycles."""
        return frozenset(row.index for row in self.table.rows)

    def unmeasured(self, layers: int) -> tuple[int, ...]:
        """Layers of a partition that have no measured cycles."""
        return tuple(i for i in range(layers) if i not in self.measured_layers)

    def segment_s(self, first: int, end: int) -> Interval:
        """Device seconds of layers ``first..end-1``; all must be measured."""
        found = self._segment(first, end, energy=False)
        assert found is not None
        return found

    def segment_uj(self, first: int, end: int) -> Interval | None:
        """Device microjoules of layers ``first..end-1`` with what the meter may be wrong.

        None if one has no energy.
        """
        return self._segment(first, end, energy=True)

    def _segment(self, first: int, end: int, energy: bool) -> Interval | None:
        key = (first, end, energy)
        if key not in self._segments:
            of = segments.trusted_energy_uj if energy else segments.segment_latency_s
            self._segments[key] = of(self.table, first, end)
        return self._segments[key]


class Target(StrEnum):
    """What a decision is for: the least latency or energy, or the best accuracy."""

    LATENCY = "latency"
    ENERGY = "energy"
    ACCURACY = "accuracy"


# Targets that are costs, in s and uJ: less is better.
COSTS = (Target.LATENCY, Target.ENERGY)


@dataclass(frozen=True)
class Priced:
    """A partition at one bandwidth. None where something needed was not measured.

    ``unknown`` says what that is. ``refused`` says why the board cannot run it.
    """

    partition: Partition
    bandwidth_kbps: float
    device_s: Interval | None
    airtime_s: float
    cloud_s: Interval | None
    latency_s: Interval | None
    device_uj: Interval | None
    radio_uj: float
    energy_uj: Interval | None
    accuracy: Interval | None
    refused: str = ""
    unknown: tuple[str, ...] = ()

    def value(self, target: Target) -> Interval | None:
        """Seconds, microjoules or fraction of images right, whichever is the target."""
        if target is Target.ACCURACY:
            return self.accuracy
        return self.latency_s if target is Target.LATENCY else self.energy_uj


def price(partition: Partition, measured: Measured, radio: Radio) -> Priced:
    """Latency and energy of a partition over a radio at the radio's bandwidth."""
    layers, sent = partition.layers, partition.wire_bytes
    unmeasured = measured.unmeasured(layers)
    device_s = None if unmeasured else measured.segment_s(0, layers)
    device_uj = None if unmeasured else measured.segment_uj(0, layers)
    cloud_s = measured.cloud_s.get(partition.key) if sent else ZERO
    airtime_s, radio_uj = radio.airtime_s(sent), radio.energy_uj(sent)
    return Priced(
        partition=partition,
        bandwidth_kbps=radio.bandwidth_kbps,
        device_s=device_s,
        airtime_s=airtime_s,
        cloud_s=cloud_s,
        latency_s=_latency(device_s, airtime_s, cloud_s, _connection_s(partition, radio)),
        device_uj=device_uj,
        radio_uj=radio_uj,
        energy_uj=None if device_uj is None else device_uj.shifted(radio_uj),
        accuracy=measured.accuracy.get(partition.key),
        refused=measured.refused.get(partition.cut, ""),
        unknown=_unknown(unmeasured, device_uj, cloud_s),
    )


def _unknown(
    unmeasured: tuple[int, ...], device_uj: Interval | None, cloud_s: Interval | None
) -> tuple[str, ...]:
    found = []
    if unmeasured:
        found.append(f"cycles of layers {', '.join(str(i) for i in unmeasured)}")
    elif device_uj is None:
        found.append("device energy")
    if cloud_s is None:
        found.append("latency of the tail in the cloud")
    return tuple(found)


def _connection_s(partition: Partition, radio: Radio) -> float:
    return radio.connection_latency_s if partition.wire_bytes else 0.0


def _latency(
    device_s: Interval | None, airtime_s: float, cloud_s: Interval | None, connection_s: float
) -> Interval | None:
    if device_s is None or cloud_s is None:
        return None
    ready_s = _at_least(device_s, connection_s)
    return independent_sum((ready_s, cloud_s)).shifted(airtime_s)


def _at_least(interval: Interval, floor: float) -> Interval:
    """The later of a sampled and a fixed time."""
    return Interval(
        max(interval.median, floor),
        max(interval.lo, floor),
        max(interval.hi, floor),
        interval.n,
        interval.confidence,
    )


def latency_difference(a: Priced, b: Priced, measured: Measured, radio: Radio) -> Interval:
    """Latency of ``a`` minus that of ``b``; both must be known, at the radio's bandwidth.

    Layers that both run on the device cancel, error and all. Comparing the two totals'
    intervals instead would call two channel counts of one cut indistinguishable for ever.
    """
    if a.partition.layers < b.partition.layers:
        return _negated(latency_difference(b, a, measured, radio))
    device = _device_difference(a.partition, b.partition, measured, radio)
    computing = independent_sum((device, _cloud_difference(a, b)))
    return computing.shifted(a.airtime_s - b.airtime_s)


def _device_difference(
    longer: Partition, shorter: Partition, measured: Measured, radio: Radio
) -> Interval:
    """max(D + S, c1) - max(D, c0): rises with the shared part D and with the rest S.

    c1 is c0 or 0 (all on device), D >= 0, so the bounds are at the bounds of D and S.
    """
    shared = measured.segment_s(0, shorter.layers)
    rest = measured.segment_s(shorter.layers, longer.layers)
    long_floor, short_floor = _connection_s(longer, radio), _connection_s(shorter, radio)
    if not long_floor and not short_floor:
        return rest

    def gap(d: float, s: float) -> float:
        return max(d + s, long_floor) - max(d, short_floor)

    median = gap(shared.median, rest.median)
    return Interval(
        median,
        min(median, gap(shared.lo, rest.lo)),  # min and max only against the last rounded digit
        max(median, gap(shared.hi, rest.hi)),
        min(shared.n, rest.n) or max(shared.n, rest.n),
        min(shared.confidence, rest.confidence),
    )


def _cloud_difference(a: Priced, b: Priced) -> Interval:
    assert a.cloud_s is not None and b.cloud_s is not None
    # The same tail measured once and filed for several widths is one measurement.
    if a.partition.cut == b.partition.cut and a.cloud_s == b.cloud_s:
        return ZERO
    return independent_difference(a.cloud_s, b.cloud_s)


def energy_difference(a: Priced, b: Priced, measured: Measured) -> Interval:
    """Energy of ``a`` minus that of ``b``; both must be known. Shared layers cancel."""
    if a.partition.layers < b.partition.layers:
        return _negated(energy_difference(b, a, measured))
    rest = measured.segment_uj(b.partition.layers, a.partition.layers)
    assert rest is not None
    return rest.shifted(a.radio_uj - b.radio_uj)


def accuracy_loss(a: Priced, b: Priced) -> Interval:
    """What ``a`` gets wrong and ``b`` right, as a fraction; both accuracies must be known."""
    assert a.accuracy is not None and b.accuracy is not None
    return independent_difference(b.accuracy, a.accuracy)


def _negated(interval: Interval) -> Interval:
    return independent_difference(ZERO, interval)
