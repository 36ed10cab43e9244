"""Accuracy against bytes of several slicing runs, on the same images, compared image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hil.clio.slicing.evaluate import Trained, slices_correct
from hil.core.errors import DataError
from hil.nn.capture import capture
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import Accuracy
from hil.nn.quantise import quantise

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class CurvePoint:
    """One slice of one run: int8 device part, 8 bits a value on the wire, float cloud."""

    run: str
    recipe: str
    epochs: int
    cut: str
    channels: int
    of_channels: int
    raw_bytes: int
    accuracy: Accuracy


@dataclass(frozen=True)
class Difference:
    """Top-1 of ``run`` minus that of ``baseline`` for the same slice, in points, with the 95 %
    interval of the mean paired difference over images.
    """

    run: str
    baseline: str
    cut: str
    channels: int
    points: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, eq=False)
class Curves:
    """Points of every run, and of each slice that a run shares with one of another recipe."""

    data: str
    data_digest: str
    points: tuple[CurvePoint, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types, with intervals for other readers."""
        return {
            "data": self.data,
            "data_digest": self.data_digest,
            "points": [
                {**asdict(p), "top1": p.accuracy.top1, "interval_95": p.accuracy.interval}
                for p in self.points
            ],
            "differences": [asdict(d) for d in self.differences],
        }


def curves(
    runs: Mapping[str, Trained],
    baseline: str,
    calibration: ImageSet,
    images: ImageSet,
    report: Callable[[str], None] = print,
) -> Curves:
    """Evaluate every slice of every run; compare with the runs of the recipe ``baseline``.

    Raises DataError when runs were trained on different images or no run has that recipe.
    """
    _check(runs, baseline)
    points: list[CurvePoint] = []
    correct: dict[tuple[str, str, int], np.ndarray] = {}
    for name, trained in runs.items():
        graph = capture(trained.model.backbone, trained.spec.image, name)
        network = quantise(graph, calibration.x)
        found = slices_correct(trained.model, network, images, (8,), _prefixed(name, report))
        for (cut, channels, _), right in found.items():
            height, width, of_channels = network.tensors[network.cut(cut).layers].shape
            correct[name, cut, channels] = right
            points.append(
                CurvePoint(
                    name, trained.slicing["name"], trained.training["epochs"], cut, channels,
                    of_channels, height * width * channels, Accuracy(int(right.sum()), len(right)),
                )
            )  # fmt: skip
    return Curves(images.name, images.digest, tuple(points), _differences(runs, baseline, correct))


def _prefixed(name: str, report: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: report(f"{name}: {text}")


def _check(runs: Mapping[str, Trained], baseline: str) -> None:
    first, *others = runs.items()
    for name, trained in others:
        if trained.train_digest != first[1].train_digest:
            raise DataError(
                f"{name} was trained on images {trained.train_digest[:12]}, {first[0]} on "
                f"{first[1].train_digest[:12]}; their accuracies are not comparable"
            )
    recipes = sorted({trained.slicing["name"] for trained in runs.values()})
    if baseline not in recipes:
        raise DataError(f"no run of recipe {baseline!r} to compare with; there are {recipes}")


def _differences(
    runs: Mapping[str, Trained], baseline: str, correct: Mapping[tuple[str, str, int], np.ndarray]
) -> tuple[Difference, ...]:
    found = []
    for (name, cut, channels), right in correct.items():
        if runs[name].slicing["name"] == baseline:
            continue
        for other in (n for n in runs if runs[n].slicing["name"] == baseline):
            if (other, cut, channels) in correct:
                gain = right.astype(float) - correct[other, cut, channels]
                half = _Z95 * gain.std(ddof=1) / np.sqrt(len(gain))
                mean = gain.mean()
                found.append(
                    Difference(
                        name, other, cut, channels,
                        float(100 * mean), float(100 * (mean - half)), float(100 * (mean + half)),
                        len(gain),
                    )
                )  # fmt: skip
    return tuple(found)
