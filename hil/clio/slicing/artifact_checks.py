"""Whether the parts of a sliced model's file belong together and its numbers agree.

Digests tell damage; these checks tell a file that was put together wrongly. What can be computed
from other parts is computed again: bytes from the cut's tensor, the table's rows from slices and
bit widths, names and shapes of weights from the spec. Each raises DataError.
"""

from __future__ import annotations

import math
import string
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import torch

from hil.clio.slicing.recipe import SliceRecipe
from hil.coding.bits import GRID_BITS
from hil.core.errors import DataError
from hil.nn.evaluate import Accuracy

if TYPE_CHECKING:
    from hil.clio.slicing.artifact import SlicedArtifact, SlicePoint
    from hil.core.network import Tensor

WHOLE_PARTS = ("float", "int8")
# A code costs at most 16 bits and a stream a few bytes more (hil/coding/range_coder.py).
_RANGE_BYTES_A_VALUE, _RANGE_BORDER_BYTES = 2, 8


def check_artifact(artifact: SlicedArtifact) -> None:
    """All that needs no float model: names, slices, table, statistics, recipe, log, digests."""
    _check_network(artifact)
    _check_slices(artifact)
    _check_statistics(artifact)
    _check_table(artifact)
    _check_history(artifact)


def check_weights(artifact: SlicedArtifact) -> None:
    """Names, shapes and types of the float weights against the spec's model, without building it.

    The model is laid out on torch's meta device, which holds shapes but no values.
    """
    with torch.device("meta"):
        model = artifact.untrained()
    expected = {
        name: (tuple(tensor.shape), tensor.dtype)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    if expected.keys() != artifact.weights.keys():
        odd = sorted(expected.keys() ^ artifact.weights.keys())
        raise DataError(
            f"weights are of another model than {artifact.spec}: {len(odd)} names differ, first "
            f"{odd[0]}"
        )
    for name, array in artifact.weights.items():
        found = (array.shape, torch.from_numpy(np.empty(0, array.dtype)).dtype)
        if found != expected[name]:
            raise DataError(f"weight {name} is {found}, {artifact.spec} has {expected[name]}")
    for cut, channels in model.of_channels.items():
        _equal(_tensor(artifact, cut).shape[2], channels, f"channels of the int8 network at {cut}")


def check_shown(point: SlicePoint, top1: float, interval: tuple[float, float]) -> None:
    """The top-1 and the interval that the file shows beside the counts they come from."""
    _check_counts(point.accuracy, _place(point))
    expected = (point.accuracy.top1, *point.accuracy.interval)
    if not all(
        math.isclose(shown, real, rel_tol=1e-9, abs_tol=1e-12)
        for shown, real in zip((top1, *interval), expected, strict=True)
    ):
        raise DataError(
            f"{_place(point)}: top-1 {top1} in {interval}, but {point.accuracy.correct} of "
            f"{point.accuracy.images} give {expected}"
        )


def _check_network(artifact: SlicedArtifact) -> None:
    network, spec = artifact.network, artifact.spec
    if artifact.table.network_digest != network.digest:
        raise DataError(
            f"accuracies of network {artifact.table.network_digest[:12]}, the file has "
            f"{network.digest[:12]}"
        )
    _equal(artifact.name, network.name, "the int8 network's name")
    _equal(network.tensors[0].shape, (spec.image, spec.image, 3), "the int8 network's input")
    _equal(network.tensors[-1].shape[2], spec.classes, "the int8 network's classes")


def _check_slices(artifact: SlicedArtifact) -> None:
    known = [cut.name for cut in artifact.network.cuts]
    names = [one.cut for one in artifact.slices]
    if not names or len(set(names)) < len(names) or not set(names) <= set(known[1:-1]):
        raise DataError(f"slices at {names}; each must be another of the cuts {known[1:-1]}")
    for one in artifact.slices:
        of_channels = _tensor(artifact, one.cut).shape[2]
        if one.channels[-1] > of_channels:
            raise DataError(
                f"a slice of {one.channels[-1]} channels at {one.cut}, which has {of_channels}"
            )


def _check_statistics(artifact: SlicedArtifact) -> None:
    widths = {bits for _, bits in artifact.statistics}
    expected = {(one.cut, bits) for one in artifact.slices for bits in widths}
    if GRID_BITS not in widths or artifact.statistics.keys() != expected:
        raise DataError(
            f"coder statistics for {sorted(artifact.statistics)}; every cut needs the same bit "
            f"widths, {GRID_BITS} among them"
        )
    for (cut, bits), one in artifact.statistics.items():
        tensor = _tensor(artifact, cut)
        found = (one.bits, one.signed, one.channels)
        _equal(found, (bits, tensor.signed, tensor.shape[2]), f"coder statistics of {cut}")


def _check_table(artifact: SlicedArtifact) -> None:
    table = artifact.table
    widths = {bits for _, bits in artifact.statistics}
    expected = {(o.cut, n, bits) for o in artifact.slices for n in o.channels for bits in widths}
    found = [(p.cut, p.channels, p.bits) for p in table.points]
    if foreign := [key for key in found if key not in expected]:
        cut, channels, bits = foreign[0]
        raise DataError(
            f"an accuracy for {channels} channels at {cut} with {bits} bits, which is no slice of "
            "this model"
        )
    if sorted(found) != sorted(expected):
        raise DataError(
            f"{len(found)} accuracies for {len(expected)} slices and bit widths; each needs one"
        )
    _equal(tuple(sorted(table.whole)), WHOLE_PARTS, "parts with the whole network's accuracy")
    images = table.whole[WHOLE_PARTS[0]].images
    for part, accuracy in table.whole.items():
        _check_accuracy(accuracy, images, f"the whole {part} network")
    for point in table.points:
        _check_accuracy(point.accuracy, images, _place(point))
        _check_bytes(point, _tensor(artifact, point.cut))


def _check_counts(accuracy: Accuracy, where: str) -> None:
    counts = (accuracy.correct, accuracy.images)
    whole = all(type(count) is int for count in counts)
    if not whole or not 0 <= accuracy.correct <= accuracy.images or accuracy.images < 1:
        raise DataError(f"{where}: {accuracy.correct} of {accuracy.images} images right")


def _check_accuracy(accuracy: Accuracy, images: int, where: str) -> None:
    _check_counts(accuracy, where)
    _equal(accuracy.images, images, f"{where}: images")


def _check_bytes(point: SlicePoint, tensor: Tensor) -> None:
    height, width, of_channels = tensor.shape
    values = height * width * point.channels
    _equal(point.of_channels, of_channels, f"{_place(point)}: all channels")
    _equal(point.raw_bytes, values, f"{_place(point)}: raw bytes")
    _equal(point.packed_bytes, -(-values * point.bits // 8), f"{_place(point)}: packed bytes")
    most = _RANGE_BYTES_A_VALUE * values + _RANGE_BORDER_BYTES
    if not 0 < point.range_bytes <= most:
        raise DataError(f"{_place(point)}: {point.range_bytes} range-coded bytes of {most} at most")


def _check_history(artifact: SlicedArtifact) -> None:
    """Recipe, log and the digests of data: of the right form, and of one piece."""
    _equal(sorted(artifact.slicing), sorted(f.name for f in fields(SliceRecipe)), "slicing recipe")
    for what, digest in (
        ("training images", artifact.train_digest),
        ("evaluation images", artifact.table.data_digest),
    ):
        if len(digest) != 64 or not set(digest) <= set(string.hexdigits.lower()):
            raise DataError(f"digest of the {what} is {digest!r}, no SHA-256")
    epochs = [record["epoch"] for record in artifact.log]
    if not epochs or epochs != list(range(1, len(epochs) + 1)):
        raise DataError(f"training log of epochs {epochs}; one record each, from 1, is needed")
    if len(epochs) > artifact.training["epochs"]:
        raise DataError(
            f"training log of {len(epochs)} epochs, the recipe has {artifact.training['epochs']}"
        )


def _tensor(artifact: SlicedArtifact, cut: str) -> Tensor:
    return artifact.network.tensors[artifact.network.cut(cut).layers]


def _place(point: SlicePoint) -> str:
    return f"{point.cut}, {point.channels} channels, {point.bits} bits"


def _equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise DataError(f"{what}: {found}, but the rest of the file says {expected}")
