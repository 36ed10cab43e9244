"""From a finished training run to the files that ship: weights, log, int8 network, accuracies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hil.core.errors import DataError, ModelError
from hil.nn.assets import CALIBRATION, SAMPLES
from hil.nn.capture import capture
from hil.nn.checkpoint import Checkpoint, export_checkpoint
from hil.nn.data.images import ImageSet, load_images
from hil.nn.evaluate import (
    Accuracy,
    float_accuracy,
    int8_accuracy,
    save_split_accuracy,
    split_accuracy,
)
from hil.nn.network_file import save_network
from hil.nn.quantise import quantise

LARGEST_CHECKPOINT_BYTES = 6_000_000
_SAMPLES = 24
_CALIBRATION_IMAGES = 100


@dataclass(frozen=True)
class Release:
    """What ``release`` wrote and how good it is."""

    name: str
    float_top1: Accuracy
    int8_top1: Accuracy
    checkpoint_digest: str
    network_digest: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.name}: float {self.float_top1}, int8 {self.int8_top1}"


def release(
    last_pt: Path,
    train_log: Path,
    test_set: ImageSet,
    out_dir: Path,
    name: str | None = None,
    method: str = "mse",
    max_drop: float = 0.01,
    report: Callable[[str], None] = print,
) -> Release:
    """Export, quantise, evaluate and write everything for one network into ``out_dir``.

    Calibrates with the images in ``out_dir`` (``write_samples`` puts them there), so that
    anyone with the repository gets the same integers. ``name`` defaults to the checkpoint's
    folder. Raises ModelError, before anything but the weights is written, if int8 loses more
    than ``max_drop`` of top-1; DataError if the log does not belong to the checkpoint.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    calibration = load_images(out_dir / CALIBRATION)
    name = name or Path(last_pt).resolve().parent.name
    weights = out_dir / f"{name}.npz"
    checkpoint = export_checkpoint(last_pt, weights, name)
    log = _checked_log(train_log, checkpoint)
    if weights.stat().st_size > LARGEST_CHECKPOINT_BYTES:
        raise DataError(
            f"{weights}: {weights.stat().st_size} bytes; a checkpoint in the repository may "
            f"have {LARGEST_CHECKPOINT_BYTES}"
        )
    graph = capture(checkpoint.model(), checkpoint.spec.image, name)
    network = quantise(graph, calibration.x, method)
    exact, integer = float_accuracy(graph, test_set), int8_accuracy(network, test_set)
    report(f"float {exact}")
    report(f"int8  {integer}")
    if exact.top1 - integer.top1 > max_drop:
        raise ModelError(
            f"{name}: int8 top-1 {integer.top1:.2%} is more than {max_drop:.1%} below float "
            f"{exact.top1:.2%}; try another calibration method or more images"
        )
    table = split_accuracy(network, graph, test_set, report=report)
    files = {suffix: out_dir / f"{name}.{suffix}" for suffix in _SUFFIXES}
    files["train_log.jsonl"].write_text(log, encoding="utf-8")
    save_network(network, files["int8.npz"])
    save_split_accuracy(table, files["split_accuracy.json"])
    written = (weights, *files.values())
    result = Release(name, exact, integer, checkpoint.digest, network.digest, written)
    files["json"].write_text(_summary(result, checkpoint, test_set, method), encoding="utf-8")
    return result


_SUFFIXES = ("train_log.jsonl", "int8.npz", "split_accuracy.json", "json")


def write_samples(test_set: ImageSet, train_set: ImageSet, out_dir: Path) -> tuple[Path, Path]:
    """Write the 24 sample images and the calibration images, chosen by position and class.

    Both are the first ones of each class in their set, so nobody picked easy pictures.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    samples = _write_images(test_set, _SAMPLES, out_dir / SAMPLES)
    return samples, _write_images(train_set, _CALIBRATION_IMAGES, out_dir / CALIBRATION)


def _by_rank_in_class(y: np.ndarray) -> np.ndarray:
    """Indices: the first image of each class, then the second of each, and so on."""
    rank = np.empty(len(y), np.int64)
    for label in np.unique(y):
        of_class = np.flatnonzero(y == label)
        rank[of_class] = np.arange(len(of_class))
    return np.lexsort((y, rank))


def _write_images(images: ImageSet, count: int, path: Path) -> Path:
    if len(images) < count:
        raise DataError(f"{images.name}: {len(images)} images, {path.name} needs {count}")
    index = _by_rank_in_class(images.y)[:count]
    np.savez_compressed(path, x=images.x[index], y=images.y[index], index=index)
    return path


def _checked_log(path: Path, checkpoint: Checkpoint) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
        last = json.loads(text.splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not a readable training log ({error!r})") from error
    if last != checkpoint.record:
        raise DataError(
            f"{path}: its last line {last} is not the checkpoint's last epoch {checkpoint.record}"
        )
    return text


def _summary(result: Release, checkpoint: Checkpoint, test_set: ImageSet, method: str) -> str:
    accuracies = {
        key: {
            "correct": value.correct,
            "images": value.images,
            "top1": value.top1,
            "interval_95": value.interval,
        }
        for key, value in (("float", result.float_top1), ("int8", result.int8_top1))
    }
    document = {
        "name": result.name,
        "accuracy": accuracies,
        "test_set": test_set.name,
        "test_digest": test_set.digest,
        "train_digest": checkpoint.train_digest,
        "calibration": method,
        "checkpoint_digest": result.checkpoint_digest,
        "network_digest": result.network_digest,
        "recipe": checkpoint.recipe,
    }
    return json.dumps(document, indent=2) + "\n"
