"""What is measured: a quantised network with its accuracies, its tails and its test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cloud.cost import TailCost, measure_tail
from hil.core.cost import Interval
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
from hil.nn.tail import cloud_tail
from hil.nn.user_model import load_user_model

if TYPE_CHECKING:
    from torch import nn

RELEASED = ".int8.npz"
# Images of the given ones that a torch model is calibrated with, as many as `hil release` takes.
CALIBRATION_IMAGES = 100
# (cut, channels sent), as hil.clio files accuracies and tail latencies.
SplitKey = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Subject:
    """A quantised network: integers for the boards, floats for the cloud, images for both.

    ``graph`` gives the float layers behind a cut; ``training`` is what is known of the weights.
    """

    network: Network
    accuracy: SplitAccuracy
    images: ImageSet
    graph: Callable[[], FloatGraph]
    training: dict[str, Any]

    @classmethod
    def load(cls, model: str | None = None, data: Path | None = None) -> Subject:
        """The shipped model (None), a released NAME.int8.npz, or a torch FILE.py:FUNCTION.

        ``data`` are labelled images: needed for a torch model, which is calibrated and evaluated
        with them, and instead of the shipped sample images otherwise. DataError and ModelError
        name what is missing, damaged, of another network or not supported.
        """
        if model is not None and ".py:" in model:
            if data is None:
                raise DataError(f"{model}: a torch model needs labelled images; add --data FILE")
            return cls.of_torch(load_user_model(model), load_images(data, "test"), model)
        if model is not None and not model.endswith(RELEASED):
            raise DataError(
                f"{model}: name a model as NAME{RELEASED} (from `hil release`) or FILE.py:FUNCTION"
            )
        path = Path(model) if model else assets.FOLDER / f"{assets.DEFAULT_NAME}{RELEASED}"
        return cls._released(path.parent, path.name.removesuffix(RELEASED), data)

    @classmethod
    def _released(cls, folder: Path, name: str, data: Path | None) -> Subject:
        network = load_network(folder / f"{name}{RELEASED}")
        accuracy = load_split_accuracy(folder / f"{name}.split_accuracy.json")
        accuracy.check(network)
        checkpoint = load_checkpoint(folder / f"{name}.npz")
        images = assets.sample_images() if data is None else load_images(data, "test")

        def graph() -> FloatGraph:
            return capture(checkpoint.model(), checkpoint.spec.image, network.name)

        return cls(network, accuracy, images, graph, checkpoint.record)

    @classmethod
    def of_torch(cls, model: nn.Module, images: ImageSet, place: str) -> Subject:
        """Capture, quantise and evaluate a model of one's own; ``images`` fix its input size.

        The first CALIBRATION_IMAGES also choose the scales; labels play no part in that.
        """
        name = place.rpartition(":")[2]
        graph = capture(model, images.x.shape[1], name)
        network = quantise(graph, images.x[:CALIBRATION_IMAGES])
        accuracy = split_accuracy(network, graph, images)
        return cls(network, accuracy, images, lambda: graph, {"model": place})


def measure_tails(
    subject: Subject, repeats: int, report: Callable[[str], None]
) -> dict[str, TailCost]:
    """Latency of every cut's tail on this host, by cut name; nothing remains behind the last.

    On one thread: a server's cores serve requests side by side, and torch's thread pools wait
    for each other for a quarter of a second when the host is busy with something else.
    """
    graph, costs = subject.graph(), {}
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
