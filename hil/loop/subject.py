"""What is measured: a quantised network with its accuracies, its tails and its test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hil.clio
from hil.clio.partitions import Key
from hil.clio.slicing.artifact import SUFFIX, SlicedArtifact, load_artifact
from hil.cloud.cost import TailCost, measure_tail
from hil.core.errors import DataError
from hil.core.network import Network
from hil.nn import assets
from hil.nn.capture import capture
from hil.nn.checkpoint import load_checkpoint
from hil.nn.data.images import ImageSet, load_images
from hil.nn.evaluate import SplitAccuracy, load_split_accuracy, split_accuracy
from hil.nn.float_graph import FloatGraph
from hil.nn.network_file import load_network
from hil.nn.quantise import quantise
from hil.nn.tail import ZeroFilled, cloud_tail
from hil.nn.user_model import load_user_model

if TYPE_CHECKING:
    from torch import nn

RELEASED = ".int8.npz"
# Images of the given ones that a torch model is calibrated with, as many as `hil release` takes.
CALIBRATION_IMAGES = 100
# The model that is measured when none is named.
SHIPPED = Path(hil.clio.__file__).parent / "assets" / f"{assets.DEFAULT_NAME}{SUFFIX}"
# Slice of so many channels at a cut -> logits: (N, channels, H, W) to (N, classes).
Tails = Callable[[str, int], "nn.Module"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A quantised network: integers for the boards, floats for the cloud, images for both.

    ``tail(cut, channels)`` is what the cloud runs on a slice; ``training`` is what is known of
    the weights. ``artifact`` is there for a network that was trained for slices: then only its
    slices are evaluated, besides the raw input and everything on the device.
    """

    network: Network
    accuracy: SplitAccuracy
    images: ImageSet
    tail: Tails
    training: dict[str, Any]
    artifact: SlicedArtifact | None = None

    @property
    def slices(self) -> tuple[Key, ...]:
        """(cut, channels) of all that was evaluated and sends something."""
        cuts = {cut.name: cut.layers for cut in self.network.cuts}
        last = len(self.network.layers)
        return tuple((p.cut, p.channels) for p in self.accuracy.points if cuts[p.cut] < last)

    @classmethod
    def load(cls, model: str | None = None, data: Path | None = None) -> Subject:
        """The shipped model (None), a NAME.sliced.npz, NAME.int8.npz, or torch FILE.py:FUNCTION.

        ``data`` are labelled images: needed for a torch model, which is calibrated and evaluated
        with them, and instead of the shipped sample images otherwise. DataError and ModelError
        name what is missing, damaged, of another network or not supported.
        """
        if model is not None and ".py:" in model:
            if data is None:
                raise DataError(f"{model}: a torch model needs labelled images; add --data FILE")
            return cls.of_torch(load_user_model(model), load_images(data, "test"), model)
        path = SHIPPED if model is None else Path(model)
        if path.name.endswith(SUFFIX):
            return cls.of_artifact(load_artifact(path), _images(data))
        if path.name.endswith(RELEASED):
            return cls._released(path.parent, path.name.removesuffix(RELEASED), _images(data))
        raise DataError(
            f"{model}: name a model as NAME{SUFFIX} or NAME{RELEASED} (from `hil release`), or as "
            "FILE.py:FUNCTION"
        )

    @classmethod
    def of_artifact(cls, artifact: SlicedArtifact, images: ImageSet) -> Subject:
        """A network with trained slices. DataError for images of another size."""
        network = artifact.network
        if images.x.shape[1:] != network.tensors[0].shape:
            raise DataError(
                f"{images.name}: images of {images.x.shape[1:]}, {artifact.name} takes "
                f"{network.tensors[0].shape}; add --data FILE with images of that size"
            )
        accuracy = artifact.table.split_accuracy(network)
        training = {**artifact.training, "slicing": artifact.slicing["name"]}
        return cls(network, accuracy, images, artifact.tail, training, artifact)

    @classmethod
    def _released(cls, folder: Path, name: str, images: ImageSet) -> Subject:
        network = load_network(folder / f"{name}{RELEASED}")
        accuracy = load_split_accuracy(folder / f"{name}.split_accuracy.json")
        accuracy.check(network)
        checkpoint = load_checkpoint(folder / f"{name}.npz")

        def graph() -> FloatGraph:
            return capture(checkpoint.model(), checkpoint.spec.image, network.name)

        return cls(network, accuracy, images, _zero_filled(network, graph), checkpoint.record)

    @classmethod
    def of_torch(cls, model: nn.Module, images: ImageSet, place: str) -> Subject:
        """Capture, quantise and evaluate a model of one's own; ``images`` fix its input size.

        The first CALIBRATION_IMAGES also choose the scales; labels play no part in that.
        """
        name = place.rpartition(":")[2]
        graph = capture(model, images.x.shape[1], name)
        network = quantise(graph, images.x[:CALIBRATION_IMAGES])
        accuracy = split_accuracy(network, graph, images)
        tail = _zero_filled(network, lambda: graph)
        return cls(network, accuracy, images, tail, {"model": place})


def _images(data: Path | None) -> ImageSet:
    return assets.sample_images() if data is None else load_images(data, "test")


def _zero_filled(network: Network, graph: Callable[[], FloatGraph]) -> Tails:
    """Tails of a network that knows no slices: what was not sent is zero."""
    captured = cache(graph)

    @cache
    def whole(cut: str) -> nn.Module:
        return cloud_tail(captured(), cut)

    def tail(cut: str, channels: int) -> nn.Module:
        return ZeroFilled(whole(cut), network.tensors[network.cut(cut).layers].shape[2])

    return tail


def measure_tails(
    subject: Subject, repeats: int, report: Callable[[str], None]
) -> dict[Key, TailCost]:
    """Latency of every slice's tail on this host; nothing remains behind the last cut.

    On one thread: a server's cores serve requests side by side, and torch's thread pools wait
    for each other for a quarter of a second when the host is busy with something else.
    """
    costs = {}
    for cut, channels in subject.slices:
        height, width, _ = subject.network.tensors[subject.network.cut(cut).layers].shape
        shape = (1, channels, height, width)
        cost = measure_tail(subject.tail(cut, channels), shape, repeats, threads=1)
        costs[cut, channels] = cost
        milliseconds = cost.latency_s.median * 1e3
        report(f"cloud tail behind {cut}, {channels} channels: {milliseconds:.2f} ms")
    return costs
