"""Trained weights: the training checkpoint (``last.pt``) and the compact one that is kept.

The compact form is an .npz without optimiser state: a JSON ``header`` (format, name, spec,
recipe, record of the last epoch, data digests, weight digest) and one array a parameter.
No pickle, so a file from anywhere is safe to open.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.core.errors import DataError
from hil.nn.stored import read_arrays, read_state
from hil.nn.zoo import ModelSpec, build_model

FORMAT = 1
WAY_OUT = "`hil train` writes one"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and where they came from; ``record`` is the log line of the last epoch."""

    name: str
    spec: ModelSpec
    recipe: dict[str, Any]
    record: dict[str, Any]
    train_digest: str
    test_digest: str
    weights: dict[str, np.ndarray]

    @property
    def digest(self) -> str:
        """SHA-256 over the weights, their names and shapes."""
        sha = hashlib.sha256()
        for key in sorted(self.weights):
            array = self.weights[key]
            sha.update(repr((key, array.shape, array.dtype.str)).encode())
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    def model(self) -> nn.Module:
        """The network with these weights, in evaluation mode."""
        model = build_model(self.spec)
        state = {key: torch.from_numpy(array.copy()) for key, array in self.weights.items()}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise DataError(f"{self.name}: weights do not fit {self.spec}: {reason}") from error
        return model.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read either form. Raises DataError for a missing, damaged or foreign file."""
    path = Path(path)
    return _load_compact(path) if path.suffix == ".npz" else _load_training(path)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the compact form; the file appears whole or not at all."""
    header = {
        "format": FORMAT,
        "name": checkpoint.name,
        "spec": asdict(checkpoint.spec),
        "recipe": checkpoint.recipe,
        "record": checkpoint.record,
        "train_digest": checkpoint.train_digest,
        "test_digest": checkpoint.test_digest,
        "digest": checkpoint.digest,
    }
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        encoded = np.frombuffer(json.dumps(header).encode(), np.uint8)
        arrays: dict[str, Any] = {"header": encoded, **checkpoint.weights}
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def export_checkpoint(last_pt: Path, out: Path, name: str | None = None) -> Checkpoint:
    """Write the compact form of a training checkpoint to ``out`` and return it."""
    checkpoint = load_checkpoint(last_pt)
    if name is not None:
        checkpoint = Checkpoint(**{**vars(checkpoint), "name": name})
    save_checkpoint(checkpoint, out)
    return checkpoint


def _load_training(path: Path) -> Checkpoint:
    state = read_state(path, "training checkpoint", WAY_OUT)
    try:
        weights = {key: value.contiguous().numpy() for key, value in state["model"].items()}
        return Checkpoint(
            name=path.resolve().parent.name,
            spec=ModelSpec.from_dict(state["spec"]),
            recipe=state["recipe"],
            record=state["record"],
            train_digest=state["train_digest"],
            test_digest=state["test_digest"],
            weights=weights,
        )
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a readable training checkpoint ({error!r})") from error


def _load_compact(path: Path) -> Checkpoint:
    weights = read_arrays(path, "checkpoint", WAY_OUT)
    try:
        header = json.loads(weights.pop("header").tobytes())
        if header["format"] != FORMAT:
            raise DataError(
                f"{path}: checkpoint format {header['format']}; this version reads {FORMAT}"
            )
        checkpoint = Checkpoint(
            name=header["name"],
            spec=ModelSpec.from_dict(header["spec"]),
            recipe=header["recipe"],
            record=header["record"],
            train_digest=header["train_digest"],
            test_digest=header["test_digest"],
            weights=weights,
        )
        expected = header["digest"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a readable checkpoint ({error!r})") from error
    if checkpoint.digest != expected:
        raise DataError(
            f"{path}: weights have digest {checkpoint.digest[:16]}, header says "
            f"{expected[:16]}; the file is damaged or was edited"
        )
    return checkpoint
