"""Losses against finite enumeration; BatchNorm statistics against NumPy."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hil.clio.slicing.recipe import (
    ALL_SLICES,
    PAPER,
    PAPER_EXACT,
    SANDWICH,
    recalibrate_norms,
    sandwich_slices,
    slice_recipe,
    slicing_loss,
)
from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.core.errors import ModelError
from hil.nn.zoo import build_model

from .conftest import SPEC

SLICES = SliceSet("block2", (1, 3, 8), (0.5, 0.125, 0.375))


class Draws:
    """A generator that draws what it is told."""

    def __init__(self, *values):
        self.values = list(values)

    def choice(self, *_, **__):
        return self.values.pop(0)


@functools.cache
def _built(private_norms: bool, whole_entry: bool) -> SlicedModel:
    torch.manual_seed(3)
    slices = {"block2": (1, 2, 3, 8)}
    return SlicedModel(build_model(SPEC), slices, 16, private_norms, whole_entry).double()


@pytest.fixture
def model() -> SlicedModel:
    return copy.deepcopy(_built(False, True))


@pytest.fixture
def ours() -> SlicedModel:
    """With private BatchNorms, and the network itself for all channels."""
    return copy.deepcopy(_built(True, False))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(6, 3, 16, 16, generator=generator, dtype=torch.float64)
    return x, torch.tensor([0, 1, 2, 0, 1, 2])


def gradient(model: SlicedModel, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    zipped = zip(found, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zipped])


def test_the_sampled_gradient_is_unbiased(model, batch):
    """The mean over all possible draws, weighted by pi, is the gradient of the expected loss."""
    exact = gradient(model, slicing_loss(model, SLICES, PAPER_EXACT, *batch, rng=Draws()))
    enumerated = sum(
        p * gradient(model, slicing_loss(model, SLICES, PAPER, *batch, rng=Draws(n)))
        for n, p in zip(SLICES.channels, SLICES.probabilities, strict=True)
    )
    assert torch.allclose(exact, enumerated, rtol=1e-9, atol=1e-12)
    assert exact.abs().max() > 1e-3


def test_the_expected_loss_is_a_finite_sum_with_a_finite_difference_slope(model, batch):
    x, y = batch
    by_hand = sum(
        p * functional.cross_entropy(model(x, "block2", n), y)
        for n, p in zip(SLICES.channels, SLICES.probabilities, strict=True)
    )
    loss = slicing_loss(model, SLICES, PAPER_EXACT, x, y, Draws())
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-12)
    weight = model.backbone.blocks[1].project[0].weight
    slopes = torch.autograd.grad(loss, weight)[0].flatten()
    steepest = int(slopes.abs().argmax())
    step = 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.view(-1)[steepest] += sign * step
            values.append(slicing_loss(model, SLICES, PAPER_EXACT, x, y, Draws()).item())
            weight.view(-1)[steepest] -= sign * step
    assert slopes[steepest].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_a_slice_of_probability_zero_is_never_drawn(model, batch):
    never = replace(SLICES, probabilities=(0.0, 1.0, 0.0))
    drawn = slicing_loss(model, never, PAPER, *batch, np.random.default_rng(0))
    exact = slicing_loss(model, never, PAPER_EXACT, *batch, Draws())
    assert drawn.item() == pytest.approx(exact.item())


@pytest.mark.parametrize(
    "recipe,weight", [(SANDWICH, 0.5), (ALL_SLICES, 1.0)], ids=["sandwich", "all"]
)
def test_sandwich_and_all_slices_by_hand(ours, batch, recipe, weight):
    model, (x, y) = ours, batch
    loss = slicing_loss(model, SLICES, recipe, x, y, np.random.default_rng(0))
    whole = model.backbone(x)
    target = whole.softmax(1).detach()
    learnt = [
        -(target * model(x, "block2", n).log_softmax(1)).sum(1).mean()
        for n in (1, 3)  # 8 channels are the network itself
    ]
    expected = functional.cross_entropy(whole, y) + weight * sum(learnt)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)  # targets are float32


def test_distillation_moves_no_teacher(ours, batch):
    """What the network itself learns comes from the labels alone."""
    model = ours
    classifier = model.backbone.classifier
    loss = slicing_loss(model, SLICES, ALL_SLICES, *batch, np.random.default_rng(0))
    slices = [model(batch[0], "block2", n) for n in (1, 3)]
    target = model.backbone(batch[0]).softmax(1).detach()
    student = sum(functional.cross_entropy(logits, target) for logits in slices)
    labels = functional.cross_entropy(model.backbone(batch[0]), batch[1])
    both = torch.autograd.grad(loss, classifier.weight)[0]
    apart = [torch.autograd.grad(part, classifier.weight)[0] for part in (student, labels)]
    assert torch.allclose(both, apart[0] + apart[1], atol=1e-7)


def test_sandwich_draws_follow_pi(ours):
    slices = SliceSet("block2", (1, 2, 3, 8), (0.1, 0.6, 0.2, 0.1))
    rng = np.random.default_rng(0)
    drawn = [sandwich_slices(ours, slices, 1, rng) for _ in range(4000)]
    assert {d[0] for d in drawn} == {1}  # the smallest, always
    assert np.mean([d[1] == 2 for d in drawn]) == pytest.approx(0.75, abs=0.03)
    assert sandwich_slices(ours, slices, 9, rng) in ([1, 2, 3], [1, 3, 2])


def test_recalibrated_statistics_are_those_of_the_inputs():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(9.0)
    batches = [torch.randn(8, 3, 4, 4) * 2 + i for i in range(3)]
    recalibrate_norms(nn.Sequential(norm).eval(), batches)
    means = np.mean([b.numpy().mean((0, 2, 3)) for b in batches], 0)
    variances = np.mean([b.numpy().var((0, 2, 3), ddof=1) for b in batches], 0)
    assert norm.running_mean.numpy() == pytest.approx(means, rel=1e-5)
    assert norm.running_var.numpy() == pytest.approx(variances, rel=1e-5)
    assert norm.momentum == 0.1 and not norm.training


def test_unknown_recipe():
    with pytest.raises(ModelError, match="no slicing recipe 'best'; known: paper"):
        slice_recipe("best")
