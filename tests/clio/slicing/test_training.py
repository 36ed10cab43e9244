"""Training: what is learnt, resuming to the last bit, refusing what does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hil.clio.slicing.recipe import PAPER, SANDWICH
from hil.clio.slicing.task import slice_accuracies
from hil.core.errors import DataError
from hil.nn import train as training
from hil.nn.data.images import ImageSet
from hil.nn.train import Classifier, TrainRecipe, fit, train
from hil.nn.zoo import normalise

from .conftest import SPEC, task

RECIPE = TrainRecipe(2, 16, 0.05)


GPU = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
)


class Killed(Exception):
    pass


def state(out: Path) -> dict:
    return torch.load(out / "last.pt", weights_only=True)


def without_seconds(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("recipe", [SANDWICH, PAPER], ids=lambda r: r.name)
def test_resume_equals_an_uninterrupted_run(
    tmp_path, train_set, test_set, recipe, device, monkeypatch
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(task(recipe), RECIPE, train_set, test_set, whole, lambda _: None, device)

    def killed(*_) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "append_record", killed)
        fit(task(recipe), RECIPE, train_set, test_set, broken, lambda _: None, device)
    # Killed between checkpoint and log: the epoch is in one of them only.
    assert (broken / "last.pt").exists() and not (broken / "train_log.jsonl").exists()
    fit(task(recipe), RECIPE, train_set, test_set, broken, lambda _: None, device)
    one, other = state(whole)["model"], state(broken)["model"]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert without_seconds(whole) == without_seconds(broken)
    assert [line["epoch"] for line in without_seconds(whole)] == [1, 2]


def test_colours_are_learnt_through_narrow_slices(tmp_path, train_set, test_set):
    learnt = task()
    fit(learnt, TrainRecipe(12, 16, 0.1), train_set, test_set, tmp_path, lambda _: None)
    accuracies = slice_accuracies(learnt.model, test_set)
    assert accuracies["all", 0].top1 > 0.9
    assert accuracies["block5", 2].top1 > 0.8  # chance is a third


def test_accuracies_count_like_a_plain_loop(trained_folder, test_set):
    trained = task()
    trained.model.load_state_dict(state(trained_folder)["model"])
    model = trained.model.eval()
    x = (torch.from_numpy(test_set.x).permute(0, 3, 1, 2).float() - 128) / 64
    with torch.inference_mode():
        right = [int(model(x[i : i + 1], "block5", 2).argmax()) for i in range(len(x))]
    found = slice_accuracies(model, test_set, batch=7)
    assert found["block5", 2].correct == sum(a == b for a, b in zip(right, test_set.y, strict=True))


def test_checkpoints_of_other_runs_are_refused(trained_folder, train_set, test_set):
    with pytest.raises(DataError, match=r"last.pt was written with recipe="):
        fit(task(), TrainRecipe(9, 16, 0.05), train_set, test_set, trained_folder)
    with pytest.raises(DataError, match="was written with slicing="):
        fit(task(PAPER), TrainRecipe(2, 16, 0.05), train_set, test_set, trained_folder)
    with pytest.raises(DataError, match="was written with train_digest="):
        fit(task(), TrainRecipe(2, 16, 0.05), train_set.take(70), test_set, trained_folder)


def test_what_does_not_fit_is_refused(tmp_path, train_set, test_set):
    two = ImageSet("two", train_set.x[train_set.y < 2], train_set.y[train_set.y < 2])
    with pytest.raises(DataError, match="class"):
        train(SPEC, RECIPE, two, test_set, tmp_path)
    with pytest.raises(DataError, match="10 images, one step takes 16"):
        train(SPEC, RECIPE, train_set.take(10), test_set, tmp_path)
    big = ImageSet("big", test_set.x.repeat(2, 1).repeat(2, 2), test_set.y)
    with pytest.raises(DataError, match=r"big: images of \(32, 32\), the network takes 16x16"):
        train(SPEC, RECIPE, train_set, big, tmp_path)
    with pytest.raises(DataError, match="precision must be"):
        TrainRecipe(1, precision="half")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_missing_gpu_is_named(tmp_path, train_set, test_set):
    with pytest.raises(DataError, match=r"device cuda: .* finds no GPU"):
        train(SPEC, RECIPE, train_set, test_set, tmp_path, device="cuda")


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_mixed_precision_learns(tmp_path, train_set, test_set, device):
    learnt = Classifier(SPEC)
    seen = set()
    learnt.model.register_forward_hook(
        lambda module, _, logits: seen.add(logits.dtype) if module.training else None
    )
    recipe = TrainRecipe(2, 16, 0.1, precision="mixed")
    fit(learnt, recipe, train_set, test_set, tmp_path, lambda _: None, device)
    first, last = without_seconds(tmp_path)
    assert last["train_loss"] < first["train_loss"] and seen == {torch.bfloat16}
    assert all(weight.dtype == torch.float32 for weight in learnt.model.parameters())


@pytest.mark.parametrize("threads", [1, 5])
def test_batches_do_not_depend_on_who_augments(monkeypatch, train_set, threads):
    monkeypatch.setattr(training, "_augmenters", lambda device: threads)
    run = training._Run(task(), RECIPE, train_set, "cpu", print)
    found = torch.stack(list(run.batches(1)))
    one_by_one = [run._batch(index, 1, step)[0] for step, index in enumerate(order(run))]
    assert torch.equal(found, torch.stack([normalise(x) for x in one_by_one]))
    assert not torch.equal(found, torch.stack(list(run.batches(2))))


def order(run):
    """Indices of each batch of epoch 1, from the documented seeds."""
    shuffled = np.random.default_rng([run.recipe.seed, 1, 0]).permutation(len(run.train_set))
    return shuffled[: run.steps * run.recipe.batch].reshape(run.steps, -1)
