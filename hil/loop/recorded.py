"""What a run's start document says of the network: accuracies, tails, slices.

A report and a decision need only the run folder, so the campaign writes these down and everything
later reads them here. DataError names the run whose document is damaged or of an older version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from hil.clio.partitions import Key
from hil.clio.slicing.artifact import SlicedArtifact, SlicePoint
from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.measure.budget import MeterAccuracy
from hil.nn.evaluate import Accuracy
from hil.run.reader import Run

Z95 = 0.95


@dataclass(frozen=True)
class RecordedSlicing:
    """How the slices of a run's network were learnt, and what each costs in bytes.

    ``recipe`` and ``training`` are the recipes' fields, ``log`` one record an epoch.
    """

    name: str
    recipe: dict[str, Any]
    training: dict[str, Any]
    log: tuple[dict[str, Any], ...]
    train_digest: str
    data: str
    data_digest: str
    points: tuple[SlicePoint, ...]

    @classmethod
    def of(cls, artifact: SlicedArtifact) -> RecordedSlicing:
        return cls(
            name=artifact.name,
            recipe=artifact.slicing,
            training=artifact.training,
            log=artifact.log,
            train_digest=artifact.train_digest,
            data=artifact.table.data,
            data_digest=artifact.table.data_digest,
            points=artifact.table.points,
        )

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> RecordedSlicing:
        points = (
            SlicePoint(**{**p, "accuracy": Accuracy(**p["accuracy"])}) for p in entry["points"]
        )
        return cls(**{**entry, "log": tuple(entry["log"]), "points": tuple(points)})


def accuracy_interval(accuracy: Accuracy) -> Interval:
    """Top-1 with its 95 % interval over images."""
    return Interval(accuracy.top1, *accuracy.interval, accuracy.images, Z95)


def recorded_accuracies(run: Run) -> dict[Key, Interval]:
    """Top-1 by cut and channels, 8 bits a value: what the firmware sends."""
    with _reading(run, "accuracies"):
        return {
            (point["cut"], point["channels"]): accuracy_interval(
                Accuracy(point["correct"], point["images"])
            )
            for point in run.environment["accuracy"]
        }


def recorded_tails(run: Run) -> dict[Key, Interval]:
    """Seconds of the tail in the cloud by cut and channels."""
    with _reading(run, "tails"):
        tails = run.environment["tails"]
        if isinstance(tails, dict):
            raise DataError(
                f"{run.folder}: an older run with one tail latency a cut; now every slice has its "
                "own: measure again"
            )
        return {
            (tail["cut"], tail["channels"]): Interval.from_dict(tail["cost"]["latency_s"])
            for tail in tails
        }


def recorded_slicing(run: Run) -> RecordedSlicing | None:
    """None for a network that was not trained for slices."""
    with _reading(run, "slicing"):
        entry = run.environment["slicing"]
        return None if entry is None else RecordedSlicing.from_dict(entry)


def recorded_accuracy(run: Run, rig: str) -> MeterAccuracy | None:
    """The limits of a rig's meter; None where the rig file or an older run does not tell them."""
    with _reading(run, "meters"):
        entry = run.environment.get("meters", {}).get(rig)
        return None if entry is None else MeterAccuracy(**entry)


@contextmanager
def _reading(run: Run, what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{run.folder}: damaged {what} in the start document: {error!r}") from error
