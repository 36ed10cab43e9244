"""How progressive slices are learnt: which slices a step looks at, and with which loss.

Clio minimises the expected loss over the slices that the link lets through (equation 1). The
paper draws one slice a step. ``SANDWICH`` follows universally slimmable networks (Yu and Huang,
ICCV 2019): the whole network learns from the labels, the smallest slice and a drawn one learn from
the whole network, and every slice keeps BatchNorm statistics of its own. ``ALL_SLICES`` does so
with all slices in every step, which takes longer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.core.errors import ModelError


class Expectation(StrEnum):
    """How the expected loss over slices is taken in a step."""

    SAMPLED = "sampled"  # one slice drawn by pi: unbiased
    EXACT = "exact"  # all slices, weighted by pi
    SANDWICH = "sandwich"  # whole network, smallest slice, and ``drawn`` more by pi
    ALL = "all"  # whole network and all slices, whatever pi says


@dataclass(frozen=True)
class SliceRecipe:
    """``distil``: slices learn the whole network's softmax instead of the labels.

    ``drawn``: slices drawn beside the two fixed ones of a sandwich. ``slice_weight``: of each
    slice's loss beside the whole network's. ``private_norms`` and ``whole_entry`` are those of
    ``SlicedModel``. ``recalibrate``: batches from which each
    path's BatchNorm statistics are taken anew at the end of training; 0 keeps the running ones.
    """

    name: str
    expectation: Expectation
    distil: bool = False
    drawn: int = 1
    slice_weight: float = 1.0
    private_norms: bool = False
    whole_entry: bool = True
    recalibrate: int = 0

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {**asdict(self), "expectation": str(self.expectation)}


PAPER = SliceRecipe("paper", Expectation.SAMPLED)
PAPER_EXACT = SliceRecipe("paper-exact", Expectation.EXACT)
NESTED = SliceRecipe(
    "nested", Expectation.EXACT, private_norms=True, whole_entry=False, recalibrate=40
)
SANDWICH = SliceRecipe(
    "sandwich",
    Expectation.SANDWICH,
    distil=True,
    slice_weight=0.5,
    private_norms=True,
    whole_entry=False,
    recalibrate=40,
)
ALL_SLICES = replace(SANDWICH, name="all-slices", expectation=Expectation.ALL, slice_weight=1.0)
RECIPES = {recipe.name: recipe for recipe in (PAPER, PAPER_EXACT, NESTED, SANDWICH, ALL_SLICES)}


def slice_recipe(name: str) -> SliceRecipe:
    """A recipe by name; ModelError lists them."""
    if name not in RECIPES:
        raise ModelError(f"no slicing recipe {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]


def slicing_loss(
    model: SlicedModel,
    slices: SliceSet,
    recipe: SliceRecipe,
    x: torch.Tensor,
    y: torch.Tensor,
    rng: np.random.Generator,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """The loss of one batch at one cut, a scalar. ``rng`` draws the slices.

    Sampled: its expectation over the draw is the exact loss, and so is its gradient's.
    """
    features = model.device(x, slices.cut)

    def labelled(logits: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, y, label_smoothing=smoothing)

    def answer(channels: int) -> torch.Tensor:
        return model.cloud(slices.cut, channels)(features[:, :channels])

    if recipe.expectation is Expectation.SAMPLED:
        return labelled(answer(int(rng.choice(slices.channels, p=slices.probabilities))))
    if recipe.expectation is Expectation.EXACT:
        weighted = zip(slices.channels, slices.probabilities, strict=True)
        return torch.stack([p * labelled(answer(n)) for n, p in weighted if p > 0]).sum()
    whole = model.whole(features, slices.cut)
    if recipe.expectation is Expectation.ALL:
        counts = [n for n in slices.channels if n < model.of_channels[slices.cut]]
    else:
        counts = sandwich_slices(model, slices, recipe.drawn, rng)
    narrow = [answer(n) for n in counts]
    if recipe.distil:
        target = whole.detach().float().softmax(1)
        parts = [functional.cross_entropy(logits, target) for logits in narrow]
    else:
        parts = [labelled(logits) for logits in narrow]
    return labelled(whole) + recipe.slice_weight * sum(parts)


def sandwich_slices(
    model: SlicedModel, slices: SliceSet, drawn: int, rng: np.random.Generator
) -> list[int]:
    """The smallest slice and ``drawn`` different others by pi; the whole network is not one."""
    of_channels = model.of_channels[slices.cut]
    pi = {
        n: p for n, p in zip(slices.channels, slices.probabilities, strict=True) if n < of_channels
    }
    if not pi:
        return []
    smallest, *others = pi
    weights = np.array([pi[n] for n in others])
    possible = min(drawn, int((weights > 0).sum()))
    if not possible:
        return [smallest]
    picked = rng.choice(others, possible, replace=False, p=weights / weights.sum())
    return [smallest, *(int(n) for n in picked)]


@torch.no_grad()
def recalibrate_norms(path: nn.Module, inputs: list[torch.Tensor]) -> None:
    """Take the BatchNorm statistics of a path anew: their mean over ``inputs`` batches."""
    norms = [m for m in path.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training = path.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    path.train()
    for batch in inputs:
        path(batch)
    path.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
