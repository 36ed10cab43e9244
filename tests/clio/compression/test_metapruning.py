"""MetaPruning: generated weights, evolution within the budget, resume, seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hil.clio.compression.evolution import EvolutionSettings, evolve
from hil.clio.compression.macs import budget_macs
from hil.clio.compression.metapruning import (
    MetaPruningSettings,
    PruningNetData,
    compress_metapruning,
    train_pruning_net,
)
from hil.clio.compression.pruning_net import PruningNet, PruningNetSettings, recalibrate
from hil.clio.compression.state import SearchState
from hil.clio.compression.structure import structure_of
from hil.nn.checkpoint import Checkpoint
from hil.nn.zoo import MODEL_NAMES, ModelSpec, build_model, normalise
from tests.clio.compression.conftest import lively_weights, synthetic_images
from tests.clio.compression.test_amc import Killed, chain, quiet, space_of, toy_reward

SMALL = MetaPruningSettings(
    levels=(0.25, 0.5, 0.75, 1.0),
    divisor=2,
    judge=40,
    calibration=64,
    training=PruningNetSettings(epochs=2, batch=32, lr=0.1, hidden=8),
    evolution=EvolutionSettings(2, 4, 2, 2, 1),
)
EVOLUTION = EvolutionSettings(generations=6, population=12, parents=4, mutations=6, crossovers=4)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_generated_weights_fit_every_width(name):
    """In training a batch normalises itself; recalibrated on that batch, so does the candidate."""
    spec = ModelSpec(name, 0.125, classes=4, image=32)
    net, structure = PruningNet(spec, 4), structure_of(spec)
    x = normalise(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
    for keep in (1.0, 0.6):
        counts = tuple(
            max(1, int(keep * n)) if g in structure.free else n
            for g, n in enumerate(structure.sizes)
        )
        with torch.no_grad():
            batch_logits = net.logits(x, counts)
            model = net.candidate(counts, iter([x]))
            for module in model.modules():  # batch variance is biased, running variance is not
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.train()
            torch.testing.assert_close(model(x), batch_logits, rtol=1e-3, atol=1e-4)


def test_recalibration_is_the_mean_of_batch_statistics():
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3)
    batches = [torch.randn(4, 3, 5, 5) * 3 + 1 for _ in range(3)]
    recalibrate(norm, iter(batches))
    means = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variances = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.momentum == 0.1


def test_evolution_keeps_the_budget_and_beats_random_draws():
    space = space_of(chain(10), 0.3)
    reward = toy_reward(space, 5)
    judged = evolve(space, reward, EVOLUTION, 0, report=quiet)
    assert all(space.fits(counts) for counts, _ in judged)
    assert len({counts for counts, _ in judged}) == len(judged)
    rng = np.random.default_rng(9)
    random_best = max(reward(space.draw(rng)) for _ in judged)
    assert max(value for _, value in judged) > random_best
    assert judged == evolve(space, reward, EVOLUTION, 0, report=quiet)
    assert judged != evolve(space, reward, EVOLUTION, 1, report=quiet)


def test_killed_evolution_ends_like_an_uninterrupted_one(tmp_path):
    space = space_of(chain(6), 0.4)
    reward = toy_reward(space, 2)
    whole = evolve(space, reward, EVOLUTION, 0, report=quiet)
    calls = []

    def dying(counts):
        calls.append(counts)
        if len(calls) == 30:
            raise Killed
        return reward(counts)

    state = SearchState(tmp_path / "evolution.pt", {})
    with pytest.raises(Killed):
        evolve(space, dying, EVOLUTION, 0, state, quiet)
    assert evolve(space, dying, EVOLUTION, 0, state, quiet) == whole


def test_killed_training_of_the_pruning_net_resumes(tmp_path):
    spec = ModelSpec("mobilenetv2", 0.1, classes=4, image=16)
    data = PruningNetData.of(synthetic_images(120, 1), SMALL, 0)
    whole = train_pruning_net(spec, data, SMALL, 0, None, quiet)

    def die(_: str) -> None:
        raise Killed

    with pytest.raises(Killed):  # after the first epoch was written
        train_pruning_net(spec, data, SMALL, 0, tmp_path / "net.pt", die)
    resumed = train_pruning_net(spec, data, SMALL, 0, tmp_path / "net.pt", quiet)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    fresh = PruningNet(spec, 8)
    assert not torch.equal(next(fresh.parameters()), next(whole.parameters()))


def test_compresses_within_the_budget_from_scratch(tmp_path):
    spec = ModelSpec("mobilenetv2", 0.1, classes=4, image=16)
    source = Checkpoint("tiny", spec, {}, {}, "", "", lively_weights(spec))
    images, budget = synthetic_images(120, 1), budget_macs(spec, 0.7)
    one = replace(SMALL, training=replace(SMALL.training, epochs=1))
    made = compress_metapruning(source, budget, images, one, 0, tmp_path, quiet)
    assert made.after.macs <= budget
    assert made.weights is None
    assert all(macs <= budget for macs, _ in made.history)
    assert build_model(made.spec) is not None
    again = compress_metapruning(source, budget, images, one, 0, tmp_path, quiet)
    assert (again.spec, again.history) == (made.spec, made.history)
