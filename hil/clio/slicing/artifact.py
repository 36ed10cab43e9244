"""A trained sliced model: one file with all that a partition of it rests on.

Format 2, an .npz without pickle: ``header`` is UTF-8 JSON (spec, slices, recipes, training log,
data digests, accuracies, digests of the parts), ``header_sha256`` its digest, ``float/...`` the
float weights (tied ones once), ``int8/...`` the integer network whose front runs on the board
(``hil.nn.network_file``), and ``statistics/CUT/BITS/...`` the symbol statistics of the range
coder. Loading checks every digest and that the parts belong together
(``hil.clio.slicing.artifact_checks``). Format 1 had no digest of the header and is not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.clio.slicing.artifact_checks import check_artifact, check_shown, check_weights
from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError, HilError
from hil.core.network import Network
from hil.nn.chain import chain
from hil.nn.evaluate import Accuracy, SplitAccuracy, SplitPoint
from hil.nn.network_file import network_arrays, network_of_arrays
from hil.nn.stored import read_arrays
from hil.nn.zoo import ModelSpec, build_model

FORMAT = 2
SUFFIX = ".sliced.npz"
_WAY_OUT = "`hil release` writes one"


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
    DataError if the parts do not belong together.
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
        check_artifact(self)

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
        model = self.untrained()
        load_untied(model, self.weights, self.name)
        return model.eval()

    def untrained(self) -> SlicedModel:
        """The model that the spec and the slices describe, its weights still to be filled in."""
        backbone = build_model(self.spec)
        # A model of the zoo can be cut behind each of its units, so the number of a cut among the
        # network's is that of the units before it.
        units = {cut.name: number for number, cut in enumerate(self.network.cuts)}
        if len(units) != len(chain(backbone)) + 1:
            raise DataError(
                f"{self.name}: an int8 network with {len(units)} cuts is not of {self.spec}"
            )
        return SlicedModel(
            backbone,
            {one.cut: one.channels for one in self.slices},
            self.spec.image,
            self.slicing["private_norms"],
            self.slicing["whole_entry"],
            units=units,
        )

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
    arrays: dict[str, Any] = artifact_arrays(artifact)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def artifact_arrays(artifact: SlicedArtifact) -> dict[str, np.ndarray]:
    """What the file holds, by name."""
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
    arrays = sealed(json.dumps(header).encode())
    arrays |= {f"float/{key}": array for key, array in artifact.weights.items()}
    arrays |= {f"int8/{key}": array for key, array in network_arrays(artifact.network).items()}
    for (cut, bits), one in artifact.statistics.items():
        prefix = f"statistics/{cut}/{bits}/"
        arrays |= {prefix + key: array for key, array in one.to_arrays().items()}
    return arrays


def sealed(header: bytes) -> dict[str, np.ndarray]:
    """The header's arrays: its bytes and their SHA-256."""
    digest = hashlib.sha256(header).digest()
    return {
        "header": np.frombuffer(header, np.uint8),
        "header_sha256": np.frombuffer(digest, np.uint8),
    }


def load_artifact(path: Path) -> SlicedArtifact:
    """Read a file back. DataError for one that is missing, damaged, edited or not of a piece."""
    path = Path(path)
    return artifact_of_arrays(read_arrays(path, "sliced model", _WAY_OUT), str(path))


def artifact_of_arrays(arrays: dict[str, np.ndarray], place: str) -> SlicedArtifact:
    """The inverse of ``artifact_arrays``; DataError, naming ``place``, as ``load_artifact``."""
    try:
        header = _header(arrays)
        artifact = _artifact(header, arrays)
        if artifact.weights_digest != header["weights_digest"]:
            raise DataError(
                f"weights have digest {artifact.weights_digest[:16]}, header says "
                f"{header['weights_digest'][:16]}; the file is damaged or was edited"
            )
        check_weights(artifact)
    except HilError as error:
        raise DataError(f"{place}: {error}; {_WAY_OUT} anew") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(
            f"{place}: not a readable sliced model ({error!r}); {_WAY_OUT} anew"
        ) from error
    return artifact


def _header(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    text = arrays["header"].tobytes()
    header = json.loads(text)
    if header["format"] != FORMAT:
        raise DataError(f"sliced model format {header['format']}; this version reads {FORMAT}")
    if not np.array_equal(sealed(text)["header_sha256"], arrays["header_sha256"]):
        raise DataError("the header is not that of its digest; the file is damaged or was edited")
    return header


def _artifact(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SlicedArtifact:
    statistics = {}
    for entry in header["statistics"]:
        one = SliceStatistics.from_arrays(
            _under(arrays, f"statistics/{entry['cut']}/{entry['bits']}/")
        )
        if one.digest != entry["digest"]:
            raise DataError(f"statistics of {entry['cut']} are not those of the header")
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
        network=network_of_arrays(_under(arrays, "int8/"), "int8 network"),
        statistics=statistics,
        table=_table(header["table"]),
    )


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}


def _slice_set(entry: dict[str, Any]) -> SliceSet:
    return SliceSet(entry["cut"], tuple(entry["channels"]), tuple(entry["probabilities"]))


def _table(entry: dict[str, Any]) -> SliceTable:
    points = tuple(_point(shown) for shown in entry["points"])
    whole = {part: Accuracy(**accuracy) for part, accuracy in entry["whole"].items()}
    return SliceTable(entry["network_digest"], entry["data"], entry["data_digest"], points, whole)


def _point(shown: dict[str, Any]) -> SlicePoint:
    fields = dict(shown)
    top1, interval = fields.pop("top1"), fields.pop("interval_95")
    point = SlicePoint(**{**fields, "accuracy": Accuracy(**fields["accuracy"])})
    check_shown(point, top1, interval)
    return point
