"""MetaPruning (Liu et al., ICCV 2019): search widths with generated weights, train the winner.

PruningNet learns weights for all widths at once; candidates are judged with these on training
images held out for it, each with its own BatchNorm statistics. The winner is then trained from
scratch, so no weights are handed on. One PruningNet serves every budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from hil.clio.compression.compressed import Compressed
from hil.clio.compression.evolution import EvolutionSettings, evolve
from hil.clio.compression.macs import size_of
from hil.clio.compression.pruning_net import PruningNet, PruningNetSettings, PruningNetTraining
from hil.clio.compression.space import SearchSpace, level_choices
from hil.clio.compression.state import SearchState
from hil.clio.compression.structure import Counts, resized, structure_of
from hil.core.errors import DataError
from hil.nn.checkpoint import Checkpoint
from hil.nn.data.augment import crop_and_flip
from hil.nn.data.images import ImageSet, split
from hil.nn.train import top1
from hil.nn.zoo import ModelSpec, normalise


@dataclass(frozen=True)
class MetaPruningSettings:
    """31 widths as published; ``judge`` and ``calibration`` are numbers of training images."""

    levels: tuple[float, ...] = tuple(round(0.10 + 0.03 * i, 2) for i in range(31))
    divisor: int = 8
    judge: int = 5000
    calibration: int = 2000
    training: PruningNetSettings = field(default_factory=PruningNetSettings)
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)


@dataclass(frozen=True, eq=False)
class PruningNetData:
    """Training images, the same for PruningNet's training, its statistics and its judgement."""

    images: ImageSet
    fit: ImageSet
    judge: ImageSet
    calibration: ImageSet

    @classmethod
    def of(cls, images: ImageSet, settings: MetaPruningSettings, seed: int) -> PruningNetData:
        """Split ``images``. Raises DataError if there are too few for one batch or a class."""
        fit, judge = split(images, settings.judge, seed)
        if len(fit) < settings.training.batch:
            raise DataError(
                f"{images.name}: {len(fit)} images to train on, one batch takes "
                f"{settings.training.batch}"
            )
        return cls(images, fit, judge, fit.take(settings.calibration))


def train_pruning_net(
    spec: ModelSpec,
    data: PruningNetData,
    settings: MetaPruningSettings,
    seed: int = 0,
    state_file: Path | None = None,
    report: Callable[[str], None] = print,
) -> PruningNet:
    """Train, going on from ``state_file``, which is written after every epoch."""
    structure = structure_of(spec)
    choices = level_choices(structure, settings.levels, settings.divisor)
    whole = SearchSpace(structure, choices, structure.macs(structure.sizes))
    own = settings.training
    steps = len(data.fit) // own.batch

    def labelled(rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = rng.permutation(len(data.fit))[: steps * own.batch]
        for start in range(0, len(order), own.batch):
            index = order[start : start + own.batch]
            x = normalise(crop_and_flip(data.fit.x[index], rng))
            yield x, torch.from_numpy(data.fit.y[index])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PruningNet(spec, own.hidden)
    training = PruningNetTraining(net, own, steps, whole.draw, labelled, seed)
    identity = {
        "method": "pruning net",
        "spec": asdict(spec),
        "settings": _training_settings(settings),
        "seed": seed,
        "images": data.images.digest,
    }
    state = SearchState(state_file, identity)
    held = state.load()
    done = 0
    if held is not None:
        done = held["epochs"]
        training.restore(held["training"])
    for epoch in range(done, own.epochs):
        loss = training.epoch(epoch)
        state.save({"epochs": epoch + 1, "training": training.state()})
        report(f"PruningNet epoch {epoch + 1}/{own.epochs}: loss {loss:.4f}")
    return net


def compress_metapruning(
    checkpoint: Checkpoint,
    budget_macs: int,
    images: ImageSet,
    settings: MetaPruningSettings,
    seed: int = 0,
    state_folder: Path | None = None,
    report: Callable[[str], None] = print,
    shared_net: Path | None = None,
) -> Compressed:
    """Search the best widths for ``budget_macs``; ``images`` are training images.

    Only the shape of ``checkpoint`` is used. State of PruningNet is kept in ``shared_net``
    (several budgets may name the same file) or else in ``state_folder``, that of the search in
    ``state_folder``; a killed search goes on from there.
    """
    spec, structure = checkpoint.spec, structure_of(checkpoint.spec)
    choices = level_choices(structure, settings.levels, settings.divisor)
    space = SearchSpace(structure, choices, budget_macs)
    data = PruningNetData.of(images, settings, seed)
    net_file = shared_net or (state_folder / "pruning_net.pt" if state_folder else None)
    net = train_pruning_net(spec, data, settings, seed, net_file, report)
    pictures = normalise(data.calibration.x)

    def judge(counts: Counts) -> float:
        batches = iter(pictures.split(settings.training.batch))
        return top1(net.candidate(counts, batches), data.judge)

    identity = {
        "method": "metapruning",
        "source": checkpoint.digest,
        "budget_macs": budget_macs,
        "settings": asdict(settings),
        "seed": seed,
        "images": images.digest,
    }
    state = SearchState(state_folder / "evolution.pt" if state_folder else None, identity)
    judged = evolve(space, judge, settings.evolution, seed, state, report)
    winner = max(judged, key=lambda one: one[1])[0]
    return Compressed(
        method="metapruning",
        source=checkpoint.name,
        source_digest=checkpoint.digest,
        before=size_of(spec),
        spec=resized(spec, winner),
        weights=None,
        settings={**asdict(settings), "budget_macs": budget_macs},
        seed=seed,
        data={
            "train": images.digest,
            "judge": data.judge.digest,
            "calibration": data.calibration.digest,
        },
        history=tuple((structure.macs(counts), value) for counts, value in judged),
    )


def _training_settings(settings: MetaPruningSettings) -> dict:
    """What decides PruningNet; the search after it may differ."""
    return asdict(replace(settings, evolution=EvolutionSettings()))
