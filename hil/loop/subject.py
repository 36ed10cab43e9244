"""What is measured: a quantised network with its accuracies, its tails and its test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.cloud.cost import TailCost, measure_tail
from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.network import Network
from hil.nn import assets
from hil.nn.capture import capture
from hil.nn.checkpoint import Checkpoint, load_checkpoint
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import SplitAccuracy, load_split_accuracy
from hil.nn.network_file import load_network
from hil.nn.tail import cloud_tail

DEFAULT_MODEL = "mobilenetv2-0.35-cifar10"
# (cut, channels sent), as hil.clio files accuracies and tail latencies.
SplitKey = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Subject:
    """A released network: integers for the boards, floats for the cloud, images for both."""

    network: Network
    checkpoint: Checkpoint
    accuracy: SplitAccuracy
    images: ImageSet

    @classmethod
    def load(cls, folder: Path | None = None, name: str = DEFAULT_MODEL) -> Subject:
        """Read what ``hil release`` wrote to ``folder`` (default: the shipped model).

        DataError names the file that is missing, damaged or of another network.
        """
        folder = folder or Path(assets.__file__).parent
        network = load_network(folder / f"{name}.int8.npz")
        accuracy = load_split_accuracy(folder / f"{name}.split_accuracy.json")
        accuracy.check(network)
        return cls(
            network, load_checkpoint(folder / f"{name}.npz"), accuracy, assets.sample_images()
        )

    def slices(self) -> dict[str, tuple[int, ...]]:
        """Channel counts with a known accuracy, by cut: the only ones worth offering."""
        return {cut.name: self.accuracy.channels(cut.name) for cut in self.network.cuts}

    def accuracies(self) -> dict[SplitKey, Interval]:
        """Top-1 with its 95 % interval over images, by cut and channels."""
        return {
            (point.cut, point.channels): Interval(
                point.accuracy.top1, *point.accuracy.interval, point.accuracy.images, 0.95
            )
            for point in self.accuracy.points
        }


def measure_tails(
    subject: Subject, repeats: int, report: Callable[[str], None]
) -> dict[str, TailCost]:
    """Latency of every cut's tail on this host, by cut name; nothing remains behind the last.

    On one thread: a server's cores serve requests side by side, and torch's thread pools wait
    for each other for a quarter of a second when the host is busy with something else.
    """
    graph = capture(subject.checkpoint.model(), subject.checkpoint.spec.image, subject.network.name)
    costs = {}
    for cut in subject.network.cuts:
        if cut.layers == len(subject.network.layers):
            continue
        height, width, channels = subject.network.tensors[cut.layers].shape
        tail = cloud_tail(graph, cut.name)
        costs[cut.name] = measure_tail(tail, (1, channels, height, width), repeats, threads=1)
        report(f"cloud tail behind {cut.name}: {costs[cut.name].latency_s.median * 1e3:.2f} ms")
    return costs


def tail_latencies(
    tails: Mapping[str, Mapping[str, Any]], slices: Mapping[str, tuple[int, ...]]
) -> dict[SplitKey, Interval]:
    """Tail costs as journalled, by cut and channels: every slice of a cut has the same tail."""
    try:
        latencies = {
            cut: Interval.from_dict(dict(cost["latency_s"])) for cut, cost in tails.items()
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"damaged tail costs in the run's start document: {error!r}") from error
    return {
        (cut, channels): latencies[cut]
        for cut, counts in slices.items()
        for channels in counts
        if cut in latencies
    }
