"""What slicing costs in training, and what Clio's reductions save (section 3.4).

A step of naive training runs every number of channels through a cloud model of its own. Fewer
slices, tied weights and drawing slices shrink it; fewer cuts divide what is left.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hil.clio.slicing.recipe import PAPER_EXACT, SliceRecipe, slicing_loss
from hil.clio.slicing.slice_set import uniform
from hil.clio.slicing.sliced_model import SlicedModel
from hil.nn.zoo import ModelSpec, build_model


@dataclass(frozen=True)
class StepCost:
    """Training one cut one way: parameters learnt, and the median seconds of a step."""

    way: str
    slices: int
    parameters: int
    step_s: float
    steps: int
    batch: int


def training_costs(
    spec: ModelSpec,
    cut: str,
    channels: Sequence[int],
    of_channels: int,
    recipes: Sequence[SliceRecipe],
    batch: int = 32,
    steps: int = 5,
) -> tuple[StepCost, ...]:
    """Naive training, each reduction of section 3.4 on top of the last, then ``recipes``.

    Measured on this machine: forward, backward and update on random images, the first step left
    out. All ways are timed in turns, so that a busy machine slows them alike.
    """
    every = tuple(range(1, of_channels + 1))
    ways = [
        ("all counts, untied", every, PAPER_EXACT, False),
        ("subset, untied", tuple(channels), PAPER_EXACT, False),
        ("subset, tied", tuple(channels), PAPER_EXACT, True),
        *((recipe.name, tuple(channels), recipe, True) for recipe in recipes),
    ]
    steppers = [
        _Stepper(spec, cut, counts, recipe, tied, batch) for _, counts, recipe, tied in ways
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(steps + 1):
        for found, stepper in zip(seconds, steppers, strict=True):
            spent = stepper.step()
            if turn:
                found.append(spent)
    return tuple(
        StepCost(way, len(counts), stepper.parameters, statistics.median(found), steps, batch)
        for (way, counts, _, _), stepper, found in zip(ways, steppers, seconds, strict=True)
    )


class _Stepper:
    """One way of training, a step at a time."""

    def __init__(self, spec, cut: str, channels, recipe: SliceRecipe, tied: bool, batch: int):
        torch.manual_seed(0)
        self.recipe = recipe if tied else replace(recipe, private_norms=False)
        self.model = SlicedModel(
            build_model(spec), {cut: channels}, spec.image,
            self.recipe.private_norms, self.recipe.whole_entry, tied,
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fmt: skip
        self.slices = uniform(cut, channels)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self.rng = np.random.default_rng(0)
        self.x = torch.randn(batch, 3, spec.image, spec.image)
        self.y = torch.arange(batch) % spec.classes
        self.parameters = self._learnt()

    def _learnt(self) -> int:
        """Parameters that some slice's loss reaches."""
        every = replace(PAPER_EXACT, whole_entry=self.recipe.whole_entry)
        slicing_loss(self.model, self.slices, every, self.x[:2], self.y[:2], self.rng).backward()
        found = sum(p.numel() for p in self.model.parameters() if p.grad is not None)
        self.model.zero_grad(set_to_none=True)
        return found

    def step(self) -> float:
        """Seconds of one step."""
        start_s = time.perf_counter()
        loss = slicing_loss(self.model, self.slices, self.recipe, self.x, self.y, self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - start_s
