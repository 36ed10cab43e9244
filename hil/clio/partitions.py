"""Every way to split a network: where to cut, and how many channels to send.

A partition runs the first ``layers`` layers on the device and sends the first ``channels``
channels of the one tensor that crosses (8 bits a value, so a byte each). Two of them are the
usual baselines: nothing on the device (the raw input is sent) and everything on the device
(nothing is sent; the result is used where it is).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.core.errors import ModelError
from hil.core.network import Cut, Network

ALL_REMOTE = "input"
ALL_DEVICE = "device"

# Cut's name and channels sent: what accuracies and tail latencies are filed under.
Key = tuple[str, int]


@dataclass(frozen=True)
class Partition:
    """A cut and a number of channels. ``wire_bytes`` include the frame; 0 for all on device."""

    cut: str
    layers: int
    channels: int
    of_channels: int
    wire_bytes: int

    @property
    def key(self) -> Key:
        return self.cut, self.channels

    def __str__(self) -> str:
        if not self.wire_bytes:
            return f"{self.cut}: all {self.layers} layers on the device"
        share = f"{self.channels}/{self.of_channels} channels"
        return f"{self.cut}: {self.layers} layers on the device, {share}, {self.wire_bytes} bytes"


def partitions(
    network: Network,
    channels: Mapping[str, Sequence[int]] | None = None,
    frame_bytes: int = 0,
) -> tuple[Partition, ...]:
    """All partitions, first cut first, few channels first.

    ``channels`` limits the counts of a cut by its name (a trained slice has a fixed set of
    widths; a cut with none offers nothing); a cut that is not named offers every count.
    ``frame_bytes`` are added to every transmission. The raw input always goes as a whole: it is
    not a learned representation.
    """
    limits = channels or {}
    unknown = set(limits) - {cut.name for cut in network.cuts}
    if unknown:
        raise ModelError(
            f"{network.name}: channels given for unknown cuts {', '.join(sorted(unknown))}; "
            f"known: {', '.join(cut.name for cut in network.cuts)}"
        )
    found: list[Partition] = []
    for cut in _all_cuts(network):
        found.extend(_of_cut(network, cut, limits.get(cut.name), frame_bytes))
    return tuple(found)


def _all_cuts(network: Network) -> list[Cut]:
    cuts = {cut.layers: cut for cut in network.cuts}
    cuts.setdefault(0, Cut(ALL_REMOTE, 0))
    cuts.setdefault(len(network.layers), Cut(ALL_DEVICE, len(network.layers)))
    return [cuts[layers] for layers in sorted(cuts)]


def _of_cut(
    network: Network, cut: Cut, counts: Sequence[int] | None, frame_bytes: int
) -> list[Partition]:
    height, width, total = network.tensors[cut.layers].shape
    if cut.layers == len(network.layers):
        return [Partition(cut.name, cut.layers, total, total, 0)]
    if cut.layers == 0:
        counts = (total,)
    elif counts is None:
        counts = range(1, total + 1)
    for count in counts:
        if not 1 <= count <= total:
            raise ModelError(
                f"{network.name}, cut {cut.name}: {count} channels cannot be sent, it has {total}"
            )
    return [
        Partition(cut.name, cut.layers, n, total, height * width * n + frame_bytes)
        for n in sorted(set(counts))
    ]
