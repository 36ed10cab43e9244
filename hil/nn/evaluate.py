"""Accuracy: of the float network, of the integer one, and of every split between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from hil.core.errors import DataError, ModelError
from hil.core.network import Network
from hil.nn.data.images import ImageSet
from hil.nn.float_graph import FloatGraph, GraphModule
from hil.nn.reference import quantise_input, run
from hil.nn.tail import cloud_tail, dequantise
from hil.nn.zoo import normalise

FORMAT = 1
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
_BATCH = 64


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``images`` were classified right."""

    correct: int
    images: int

    @property
    def top1(self) -> float:
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval (E. B. Wilson, JASA 1927)."""
        n, z2 = self.images, _Z95**2
        centre = (self.top1 + z2 / (2 * n)) / (1 + z2 / n)
        spread = self.top1 * (1 - self.top1) / n + z2 / (4 * n * n)
        half = _Z95 * spread**0.5 / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.top1:.2%} of {self.images} (95 %: {low:.2%} to {high:.2%})"


@dataclass(frozen=True)
class SplitPoint:
    """Accuracy when the first ``channels`` of ``of_channels`` cross at ``cut``."""

    cut: str
    channels: int
    of_channels: int
    accuracy: Accuracy


@dataclass(frozen=True)
class SplitAccuracy:
    """Top-1 for every cut and a few channel counts, tied to a network and a data set."""

    network_digest: str
    data_digest: str
    data: str
    points: tuple[SplitPoint, ...]

    def at(self, cut: str, channels: int) -> Accuracy:
        """The accuracy of one split; ModelError lists what was evaluated."""
        for point in self.points:
            if (point.cut, point.channels) == (cut, channels):
                return point.accuracy
        known = ", ".join(f"{p.cut}/{p.channels}" for p in self.points)
        raise ModelError(f"no accuracy for {channels} channels at cut {cut!r}; known: {known}")

    def channels(self, cut: str) -> tuple[int, ...]:
        """The channel counts evaluated at a cut, ascending."""
        return tuple(sorted(p.channels for p in self.points if p.cut == cut))

    def check(self, network: Network) -> None:
        """Raises ModelError if the table was made with another network."""
        if self.network_digest != network.digest:
            raise ModelError(
                f"split accuracy belongs to network {self.network_digest[:16]}, not to "
                f"{network.name} {network.digest[:16]}; evaluate again"
            )


def float_accuracy(graph: FloatGraph, images: ImageSet) -> Accuracy:
    """Top-1 of the float network."""
    module = GraphModule(graph).eval()
    logits = (_logits(module, normalise(x)) for x, _ in _batches(images))
    return _count(logits, images)


def int8_accuracy(network: Network, images: ImageSet) -> Accuracy:
    """Top-1 of the integer reference; of equal logits the first counts, as on the boards."""
    logits = (run(network, quantise_input(x))[-1].reshape(len(x), -1) for x, _ in _batches(images))
    return _count(logits, images)


def channel_counts(channels: int, fractions: tuple[float, ...] = FRACTIONS) -> tuple[int, ...]:
    """Whole numbers of channels, at least one, no duplicates, ascending."""
    return tuple(sorted({max(1, round(channels * fraction)) for fraction in fractions}))


def split_accuracy(
    network: Network,
    graph: FloatGraph,
    images: ImageSet,
    fractions: tuple[float, ...] = FRACTIONS,
    report: Callable[[str], None] | None = None,
) -> SplitAccuracy:
    """Integer device part, first i channels sent, float tail, for every cut of ``network``.

    The device part runs once a batch and serves all cuts. At the cut ``all`` the logits
    themselves are sent, so only the full number makes sense there.
    """
    plan = _plan(network, fractions)
    tails = {cut: cloud_tail(graph, cut) for cut, _, _ in plan}
    correct = np.zeros(len(plan), np.int64)
    done = 0
    for x, y in _batches(images):
        tensors = run(network, quantise_input(x))
        for i, (cut, layers, channels) in enumerate(plan):
            sent = dequantise(tensors[layers][..., :channels], network.tensors[layers])
            correct[i] += int((_logits(tails[cut], sent).argmax(1) == y).sum())
        done += len(x)
        if report is not None:
            report(f"split accuracy: {done}/{len(images)} images, {len(plan)} splits")
    points = tuple(
        SplitPoint(
            cut, channels, network.tensors[layers].shape[2], Accuracy(int(count), len(images))
        )
        for (cut, layers, channels), count in zip(plan, correct, strict=True)
    )
    return SplitAccuracy(network.digest, images.digest, images.name, points)


def save_split_accuracy(table: SplitAccuracy, path: Path) -> None:
    """Write the table as JSON, one split a line, with its intervals for other readers."""
    points = [
        json.dumps({**asdict(p), "top1": p.accuracy.top1, "interval_95": p.accuracy.interval})
        for p in table.points
    ]
    head = json.dumps(
        {
            "format": FORMAT,
            "network_digest": table.network_digest,
            "data": table.data,
            "data_digest": table.data_digest,
        }
    )
    body = ",\n  ".join(points)
    Path(path).write_text(f'{head[:-1]}, "points": [\n  {body}\n]}}\n', encoding="utf-8")


def load_split_accuracy(path: Path) -> SplitAccuracy:
    """Read a table back. Raises DataError for a missing or damaged file."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise DataError(
                f"{path}: split accuracy format {document['format']}; this version reads {FORMAT}"
            )
        points = tuple(
            SplitPoint(p["cut"], p["channels"], p["of_channels"], Accuracy(**p["accuracy"]))
            for p in document["points"]
        )
        return SplitAccuracy(
            document["network_digest"], document["data_digest"], document["data"], points
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable split accuracy table ({error!r})") from error


def _plan(network: Network, fractions: tuple[float, ...]) -> list[tuple[str, int, int]]:
    """(cut, layers on the device, channels sent) of every split to evaluate."""
    plan = []
    for cut in network.cuts:
        channels = network.tensors[cut.layers].shape[2]
        last = cut.layers == len(network.layers)
        counts = (channels,) if last else channel_counts(channels, fractions)
        plan += [(cut.name, cut.layers, count) for count in counts]
    return plan


def _batches(images: ImageSet) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(images), _BATCH):
        yield images.x[start : start + _BATCH], images.y[start : start + _BATCH]


@torch.inference_mode()
def _logits(module: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    return module(x).numpy()


def _count(logits: Iterator[np.ndarray], images: ImageSet) -> Accuracy:
    predicted = np.concatenate([part.argmax(1) for part in logits])
    return Accuracy(int((predicted == images.y).sum()), len(images))
