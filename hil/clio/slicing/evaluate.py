"""From a finished slicing run to its artifact: quantise, evaluate every slice, count its bytes.

Quantisation comes after slicing (Clio, section 3.3): the device part becomes the integers that the
boards run, and what crosses the cut are its 8-bit values, or fewer bits of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hil.clio.slicing.artifact import (
    SlicedArtifact,
    SlicePoint,
    SliceTable,
    untied_weights,
)
from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.coding.bits import reduce, restore
from hil.coding.sizes import slice_sizes
from hil.coding.slice_codec import Coding, SliceCodec
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError
from hil.core.network import Network
from hil.nn.capture import capture
from hil.nn.checkpoint import WAY_OUT
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import Accuracy, float_accuracy, int8_accuracy
from hil.nn.quantise import quantise
from hil.nn.reference import quantise_input, run
from hil.nn.stored import read_state
from hil.nn.zoo import ModelSpec, build_model

# Bits a value: what the firmware sends, the paper's harmless six (section 5.8), and fewer.
BITS = (8, 6, 5, 4)
# Images (the first ones) on which range-coded bytes are averaged: coding them is slow.
_SIZED_IMAGES = 200
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Trained:
    """A slicing run read back from ``last.pt``."""

    spec: ModelSpec
    slices: tuple[SliceSet, ...]
    slicing: dict[str, Any]
    training: dict[str, Any]
    train_digest: str
    model: SlicedModel


def load_training(last_pt: Path) -> Trained:
    """Read ``last.pt`` of a slicing run. DataError if it is missing, damaged or of a plain one."""
    state = _read(last_pt)
    if "slicing" not in state:
        raise DataError(
            f"{last_pt}: a plain network, without slices; train with --cut to have them"
        )
    try:
        spec = ModelSpec.from_dict(state["spec"])
        slicing = state["slicing"]["recipe"]
        slices = tuple(
            SliceSet(s["cut"], tuple(s["channels"]), tuple(s["probabilities"]))
            for s in state["slicing"]["slices"]
        )
        model = SlicedModel(
            build_model(spec),
            {s.cut: s.channels for s in slices},
            spec.image,
            slicing["private_norms"],
            slicing["whole_entry"],
        )
        model.load_state_dict(state["model"])
        return Trained(spec, slices, slicing, state["recipe"], state["train_digest"], model.eval())
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{last_pt}: not a readable training checkpoint ({error!r})") from error


def is_slicing_run(last_pt: Path) -> bool:
    """Whether a checkpoint of ``hil train`` has slices; DataError if it is none at all."""
    return "slicing" in _read(last_pt)


def _read(last_pt: Path) -> dict[str, Any]:
    return read_state(last_pt, "training checkpoint", WAY_OUT)


def make_artifact(
    trained: Trained,
    log: Sequence[dict[str, Any]],
    calibration: ImageSet,
    test_set: ImageSet,
    name: str,
    method: str = "mse",
    bits: Sequence[int] = BITS,
    report: Callable[[str], None] = print,
) -> SlicedArtifact:
    """Quantise, evaluate every slice on ``test_set`` and put everything into one record.

    ``calibration`` images choose the scales of the integers and the coder's statistics; no label
    plays a part in that.
    """
    graph = capture(trained.model.backbone, trained.spec.image, name)
    network = quantise(graph, calibration.x, method)
    upto = max(network.cut(cut).layers for cut in trained.model.cuts)
    tensors = run(network, quantise_input(calibration.x), upto)
    statistics = {
        (cut, b): SliceStatistics.of(tensors[network.cut(cut).layers], b)
        for cut in trained.model.cuts
        for b in bits
    }
    table = slice_table(trained.model, network, statistics, test_set, report)
    whole = {
        "float": float_accuracy(graph, test_set),
        "int8": int8_accuracy(network, test_set),
    }
    report(f"whole network: float {whole['float']}, int8 {whole['int8']}")
    return SlicedArtifact(
        name=name,
        spec=trained.spec,
        slices=trained.slices,
        slicing=trained.slicing,
        training=trained.training,
        log=tuple(log),
        train_digest=trained.train_digest,
        weights=untied_weights(trained.model),
        network=network,
        statistics=statistics,
        table=SliceTable(network.digest, test_set.name, test_set.digest, table, whole),
    )


def slice_table(
    model: SlicedModel,
    network: Network,
    statistics: dict[tuple[str, int], SliceStatistics],
    images: ImageSet,
    report: Callable[[str], None] = print,
) -> tuple[SlicePoint, ...]:
    """Every slice with the bits that ``statistics`` has: integer device part, float cloud."""
    bits = tuple(sorted({b for _, b in statistics}, reverse=True))
    correct = slices_correct(model, network, images, bits, report)
    layers = {cut: network.cut(cut).layers for cut in model.cuts}
    some = run(network, quantise_input(images.x[:_SIZED_IMAGES]), max(layers.values()))
    sizes = {
        (cut, b): _sizes(network, layers[cut], some[layers[cut]], b, one)
        for (cut, b), one in statistics.items()
    }
    return tuple(
        SlicePoint(
            cut,
            channels,
            model.of_channels[cut],
            b,
            Accuracy(int(right.sum()), len(right)),
            *sizes[cut, b][channels - 1],
        )
        for (cut, channels, b), right in correct.items()
    )


def slices_correct(
    model: SlicedModel,
    network: Network,
    images: ImageSet,
    bits: Sequence[int] = (8,),
    report: Callable[[str], None] = print,
) -> dict[tuple[str, int, int], np.ndarray]:
    """By (cut, channels, bits): which images (N,) are answered right, bool.

    The device part is the integer ``network``, its values reduced to ``bits``; the cloud's is
    ``model`` in float.
    """
    keys = [(cut, n, b) for cut, counts in model.slices.items() for n in counts for b in bits]
    layers = {cut: network.cut(cut).layers for cut in model.cuts}
    right: dict[tuple[str, int, int], list[np.ndarray]] = {key: [] for key in keys}
    model.eval()
    for start in range(0, len(images), _BATCH):
        x, y = images.x[start : start + _BATCH], images.y[start : start + _BATCH]
        tensors = run(network, quantise_input(x), max(layers.values()))
        for cut, channels, b in keys:
            scale = network.tensors[layers[cut]].scale
            sent = restore(reduce(tensors[layers[cut]][..., :channels], b), b)
            logits = _logits(model, cut, channels, sent, scale)
            right[cut, channels, b].append(logits.argmax(1) == y)
        report(f"slices: {min(start + _BATCH, len(images))}/{len(images)} images")
    return {key: np.concatenate(parts) for key, parts in right.items()}


@torch.inference_mode()
def _logits(
    model: SlicedModel, cut: str, channels: int, values: np.ndarray, scale: float
) -> np.ndarray:
    real = torch.from_numpy(values.astype(np.float32) * np.float32(scale)).permute(0, 3, 1, 2)
    return model.cloud(cut, channels)(real).numpy()


def _sizes(
    network: Network, layers: int, tensors: np.ndarray, bits: int, statistics: SliceStatistics
) -> list[tuple[int, int, float]]:
    """Raw, packed and mean range-coded bytes of each number of channels."""
    tensor = network.tensors[layers]
    raw = slice_sizes(SliceCodec(tensor), tensors[:1])
    packed = slice_sizes(SliceCodec(tensor, Coding.PACKED, bits), tensors[:1])
    ranged = slice_sizes(SliceCodec(tensor, Coding.RANGE, bits, statistics), tensors)
    together = zip(raw, packed, ranged, strict=True)
    return [(r.max_bytes, p.max_bytes, c.mean_bytes) for r, p, c in together]
