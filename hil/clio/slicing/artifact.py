"""A trained sliced model: one file with all that a partition of it rests on.

Format 1, an .npz without pickle: ``header`` is UTF-8 JSON (spec, slices, recipes, training log,
data digests, accuracies, digests of the parts), ``float/...`` the float weights (tied ones once),
``int8/...`` the integer network whose front runs on the board (``hil.nn.network_file``), and
``statistics/CUT/BITS/...`` the symbol statistics of the range coder. Loading checks every digest
and that the parts belong together.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError, ModelError
from hil.core.network import Network
from hil.nn.evaluate import Accuracy, SplitAccuracy, SplitPoint
from hil.nn.network_file import network_arrays, network_of_arrays
from hil.nn.zoo import ModelSpec, build_model

FORMAT = 1
SUFFIX = ".sliced.npz"
_DAMAGE = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class SlicePoint:
    """One slice, its values sent with ``bits`` each: how good, and how many bytes.

    ``raw_bytes`` and ``packed_bytes`` are exact; ``range_bytes`` is the mean over the evaluation
    images. Frames are not included.
    """

    cut: str
    channels: int
    of_channels: int
    bits: int
    accuracy: Accuracy
    raw_bytes: int
    packed_bytes: int
    range_bytes: float


@dataclass(frozen=True)
class SliceTable:
    """What was measured on one data set; ``whole`` by part: the float and the int8 network."""

    network_digest: str
    data: str
    data_digest: str
    points: tuple[SlicePoint, ...]
    whole: Mapping[str, Accuracy]

    def same_data(self, other: SliceTable) -> None:
        """Raises DataError unless both were measured on the same images."""
        if self.data_digest != other.data_digest:
            raise DataError(
                f"accuracies on {self.data} ({self.data_digest[:12]}) and on {other.data} "
                f"({other.data_digest[:12]}) cannot be compared; evaluate both on the same images"
            )

    def split_accuracy(self, network: Network) -> SplitAccuracy:
        """Top-1 by cut and channels as the firmware sends them, 8 bits a value, for the bench.

        The raw input is answered by the float network, everything on the device by the int8 one.
        """
        sent = [
            SplitPoint(p.cut, p.channels, p.of_channels, p.accuracy)
            for p in self.points
            if p.bits == 8
        ]
        colours, logits = network.tensors[0].shape[2], network.tensors[-1].shape[2]
        ends = (
            SplitPoint("input", colours, colours, self.whole["float"]),
            SplitPoint("all", logits, logits, self.whole["int8"]),
        )
        points = (ends[0], *sent, ends[1])
        return SplitAccuracy(self.network_digest, self.data_digest, self.data, points)


@dataclass(frozen=True, eq=False)
class SlicedArtifact:
    """A trained sliced model and where it came from.

    ``slicing``: the slicing recipe's fields. ``log``: one record an epoch. ``statistics``: by
    (cut, bits). ``weights``: float parameters and buffers of a ``SlicedModel``, tied ones once.
    """

    name: str
    spec: ModelSpec
    slices: tuple[SliceSet, ...]
    slicing: dict[str, Any]
    training: dict[str, Any]
    log: tuple[dict[str, Any], ...]
    train_digest: str
    weights: dict[str, np.ndarray]
    network: Network
    statistics: Mapping[tuple[str, int], SliceStatistics]
    table: SliceTable

    def __post_init__(self) -> None:
        if self.table.network_digest != self.network.digest:
            raise DataError(
                f"{self.name}: accuracies of network {self.table.network_digest[:12]}, the file "
                f"has {self.network.digest[:12]}"
            )
        known = {cut.name for cut in self.network.cuts}
        trained = {(one.cut, n) for one in self.slices for n in one.channels}
        for point in self.table.points:
            if point.cut not in known or (point.cut, point.channels) not in trained:
                raise DataError(
                    f"{self.name}: an accuracy for {point.channels} channels at {point.cut}, which "
                    "is no slice of this model"
                )

    @property
    def weights_digest(self) -> str:
        """SHA-256 over the float weights, their names and shapes."""
        sha = hashlib.sha256()
        for key in sorted(self.weights):
            array = self.weights[key]
            sha.update(repr((key, array.shape, array.dtype.str)).encode())
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    @cached_property
    def model(self) -> SlicedModel:
        """The sliced model with these weights, in evaluation mode. DataError if they do not fit."""
        model = SlicedModel(
            build_model(self.spec),
            {one.cut: one.channels for one in self.slices},
            self.spec.image,
            self.slicing["private_norms"],
            self.slicing["whole_entry"],
        )
        load_untied(model, self.weights, self.name)
        return model.eval()

    def tail(self, cut: str, channels: int) -> nn.Module:
        """What the cloud runs on a slice, (N, channels, H, W) to logits."""
        if cut == "input":
            return self.model.backbone
        return self.model.cloud(cut, channels).eval()


def untied_weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Parameters and buffers by name, each once: tied ones under the first of their names."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in named}


def load_untied(model: nn.Module, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Put ``untied_weights`` back; DataError names what is missing, foreign or of other shape."""
    named = dict([*model.named_parameters(), *model.named_buffers()])
    if named.keys() != weights.keys():
        odd = sorted(named.keys() ^ weights.keys())
        raise DataError(
            f"{name}: weights are of another model: {len(odd)} names differ, first {odd[0]}"
        )
    with torch.no_grad():
        for key, tensor in named.items():
            if tensor.shape != weights[key].shape:
                raise DataError(
                    f"{name}: {key} has shape {weights[key].shape}, the model {tuple(tensor.shape)}"
                )
            tensor.copy_(torch.from_numpy(weights[key].copy()))


def save_artifact(artifact: SlicedArtifact, path: Path) -> None:
    """Write the file; it appears whole or not at all."""
    table = artifact.table
    header = {
        "format": FORMAT,
        "name": artifact.name,
        "spec": asdict(artifact.spec),
        "slices": [asdict(one) for one in artifact.slices],
        "slicing": artifact.slicing,
        "training": artifact.training,
        "log": list(artifact.log),
        "train_digest": artifact.train_digest,
        "weights_digest": artifact.weights_digest,
        "statistics": [
            {"cut": cut, "bits": bits, "digest": one.digest}
            for (cut, bits), one in artifact.statistics.items()
        ],
        "table": {
            "network_digest": table.network_digest,
            "data": table.data,
            "data_digest": table.data_digest,
            "whole": {part: asdict(accuracy) for part, accuracy in table.whole.items()},
            "points": [
                {**asdict(p), "top1": p.accuracy.top1, "interval_95": p.accuracy.interval}
                for p in table.points
            ],
        },
    }
    arrays: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    arrays |= {f"float/{key}": array for key, array in artifact.weights.items()}
    arrays |= {f"int8/{key}": array for key, array in network_arrays(artifact.network).items()}
    for (cut, bits), one in artifact.statistics.items():
        prefix = f"statistics/{cut}/{bits}/"
        arrays |= {prefix + key: array for key, array in one.to_arrays().items()}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def load_artifact(path: Path) -> SlicedArtifact:
    """Read a file back. DataError for one that is missing, damaged, edited or not of a piece."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such sliced model; `hil release` writes one")
    try:
        with np.load(path, allow_pickle=False) as pack:
            arrays = {key: pack[key] for key in pack.files}
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != FORMAT:
            raise DataError(
                f"{path}: sliced model format {header['format']}; this version reads {FORMAT}"
            )
        artifact = _artifact(path, header, arrays)
        expected = header["weights_digest"]
    except (*_DAMAGE, ModelError) as error:
        raise DataError(f"{path}: not a readable sliced model ({error!r})") from error
    if artifact.weights_digest != expected:
        raise DataError(
            f"{path}: weights have digest {artifact.weights_digest[:16]}, header says "
            f"{expected[:16]}; the file is damaged or was edited"
        )
    return artifact


def _artifact(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SlicedArtifact:
    statistics = {}
    for entry in header["statistics"]:
        one = SliceStatistics.from_arrays(
            _under(arrays, f"statistics/{entry['cut']}/{entry['bits']}/")
        )
        if one.digest != entry["digest"]:
            raise DataError(f"{path}: statistics of {entry['cut']} are not those of the header")
        statistics[entry["cut"], entry["bits"]] = one
    return SlicedArtifact(
        name=header["name"],
        spec=ModelSpec.from_dict(header["spec"]),
        slices=tuple(_slice_set(entry) for entry in header["slices"]),
        slicing=header["slicing"],
        training=header["training"],
        log=tuple(header["log"]),
        train_digest=header["train_digest"],
        weights=_under(arrays, "float/"),
        network=network_of_arrays(_under(arrays, "int8/"), str(path)),
        statistics=statistics,
        table=_table(header["table"]),
    )


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}


def _slice_set(entry: dict[str, Any]) -> SliceSet:
    return SliceSet(entry["cut"], tuple(entry["channels"]), tuple(entry["probabilities"]))


def _table(entry: dict[str, Any]) -> SliceTable:
    points = tuple(
        SlicePoint(
            p["cut"],
            p["channels"],
            p["of_channels"],
            p["bits"],
            Accuracy(**p["accuracy"]),
            p["raw_bytes"],
            p["packed_bytes"],
            p["range_bytes"],
        )
        for p in entry["points"]
    )
    whole = {part: Accuracy(**accuracy) for part, accuracy in entry["whole"].items()}
    return SliceTable(entry["network_digest"], entry["data"], entry["data_digest"], points, whole)
