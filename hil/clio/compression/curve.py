"""Accuracy against MACs: every method at every budget, trained alike, one row each.

Methods that hand on weights are fine-tuned for as many epochs as the others train from scratch,
at a lower rate. Searches never see test images. All parts resume, so a killed curve goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hil.clio.compression.amc import AmcSettings, compress_amc
from hil.clio.compression.compressed import Compressed, save_compressed
from hil.clio.compression.macs import Size, budget_macs, size_of
from hil.clio.compression.metapruning import MetaPruningSettings, compress_metapruning
from hil.clio.compression.width import compress_width, width_for
from hil.core.errors import ModelError
from hil.nn.checkpoint import Checkpoint, load_checkpoint
from hil.nn.data.images import ImageSet, split
from hil.nn.evaluate import Accuracy
from hil.nn.train import TrainRecipe, top1, train

FORMAT = 1
METHODS = ("width", "amc", "metapruning")


@dataclass(frozen=True)
class CurveSettings:
    """``search_images`` of the training images serve the searches; all serve training.

    The peak rates are those of one cycle: from scratch, and for weights that were pruned.
    """

    epochs: int
    amc: AmcSettings
    metapruning: MetaPruningSettings
    search_images: int = 20000
    batch: int = 128
    scratch_lr: float = 0.35
    fine_tune_lr: float = 0.05


@dataclass(frozen=True)
class CurveRow:
    """One network after its training. ``budget`` is a share of the original's MACs."""

    method: str
    budget: float
    size: Size
    accuracy: Accuracy
    epochs: int
    seed: int
    from_scratch: bool
    channels: tuple[int, ...] | None

    def document(self) -> dict[str, Any]:
        """As it is written: plain numbers, with the 95 % interval."""
        return {
            "method": self.method,
            "budget": self.budget,
            **asdict(self.size),
            "top1": self.accuracy.top1,
            "interval_95": self.accuracy.interval,
            "n": self.accuracy.images,
            "epochs": self.epochs,
            "seed": self.seed,
            "from_scratch": self.from_scratch,
            "channels": self.channels,
        }


def compression_curve(
    checkpoint: Checkpoint,
    train_set: ImageSet,
    test_set: ImageSet,
    budgets: list[float],
    settings: CurveSettings,
    out: Path,
    seed: int = 0,
    methods: tuple[str, ...] = METHODS,
    report: Callable[[str], None] = print,
) -> tuple[CurveRow, ...]:
    """Compress and train for every budget and method; writes ``out/curve.json`` after each.

    The first row is the network as it came. Raises ModelError for a budget or method that cannot
    be had, DataError for foreign files in ``out``.
    """
    unknown = set(methods) - set(METHODS)
    if unknown:
        raise ModelError(f"no method {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    limits = [(share, budget_macs(checkpoint.spec, share)) for share in budgets]
    if limits and "width" in methods:  # it reaches least far: better said now than after hours
        width_for(checkpoint.spec, min(limit for _, limit in limits))
    search_set = train_set
    if settings.search_images < len(train_set):
        search_set = split(train_set, settings.search_images, seed)[1]
    rows = [_original(checkpoint, test_set)]
    for share, limit in limits:
        for method in methods:
            folder = out / f"{method}-{share:g}"
            made = _compressed(
                method, checkpoint, limit, search_set, settings, seed, out, folder, report
            )
            save_compressed(made, folder)
            report(f"{method} at {share:g}: {made}")
            rows.append(_trained(made, share, train_set, test_set, settings, folder, report))
            report(f"{method} at {share:g}: {rows[-1].accuracy}")
            _save(out / "curve.json", checkpoint, train_set, test_set, settings, rows)
    return tuple(rows)


def _original(checkpoint: Checkpoint, test_set: ImageSet) -> CurveRow:
    return CurveRow(
        method="original",
        budget=1.0,
        size=size_of(checkpoint.spec),
        accuracy=_accuracy(checkpoint, test_set),
        epochs=int(checkpoint.recipe.get("epochs", 0)),
        seed=int(checkpoint.recipe.get("seed", 0)),
        from_scratch=True,
        channels=checkpoint.spec.channels,
    )


def _compressed(
    method: str,
    checkpoint: Checkpoint,
    limit: int,
    images: ImageSet,
    settings: CurveSettings,
    seed: int,
    out: Path,
    folder: Path,
    report: Callable[[str], None],
) -> Compressed:
    if method == "width":
        return compress_width(checkpoint, limit, seed)
    if method == "amc":
        return compress_amc(
            checkpoint, limit, images, settings.amc, seed, folder / "amc.pt", report
        )
    return compress_metapruning(
        checkpoint,
        limit,
        images,
        settings.metapruning,
        seed,
        folder,
        report,
        shared_net=out / "pruning_net.pt",
    )


def _trained(
    made: Compressed,
    share: float,
    train_set: ImageSet,
    test_set: ImageSet,
    settings: CurveSettings,
    folder: Path,
    report: Callable[[str], None],
) -> CurveRow:
    scratch = made.weights is None
    recipe = TrainRecipe(
        settings.epochs,
        settings.batch,
        settings.scratch_lr if scratch else settings.fine_tune_lr,
        seed=made.seed,
    )
    weights = {key: torch.from_numpy(array) for key, array in made.initial_weights().items()}
    last = train(
        made.spec, recipe, train_set, test_set, folder / "training", report, weights=weights
    )
    return CurveRow(
        made.method,
        share,
        made.after,
        _accuracy(load_checkpoint(last), test_set),
        settings.epochs,
        made.seed,
        scratch,
        made.spec.channels,
    )


def _accuracy(checkpoint: Checkpoint, images: ImageSet) -> Accuracy:
    return Accuracy(round(top1(checkpoint.model(), images) * len(images)), len(images))


def _save(
    path: Path,
    checkpoint: Checkpoint,
    train_set: ImageSet,
    test_set: ImageSet,
    settings: CurveSettings,
    rows: list[CurveRow],
) -> None:
    document = {
        "format": FORMAT,
        "checkpoint": checkpoint.name,
        "checkpoint_digest": checkpoint.digest,
        "train_set": train_set.name,
        "train_digest": train_set.digest,
        "test_set": test_set.name,
        "test_digest": test_set.digest,
        "settings": asdict(settings),
        "rows": [row.document() for row in rows],
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
