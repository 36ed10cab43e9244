"""A tiny residual network, images that can be learnt, and a short slicing run."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hil.clio.slicing.artifact import SlicedArtifact
from hil.clio.slicing.evaluate import load_training, make_artifact
from hil.clio.slicing.recipe import ALL_SLICES, SliceRecipe
from hil.clio.slicing.slice_set import uniform
from hil.clio.slicing.task import SlicingTask
from hil.nn.data.images import ImageSet
from hil.nn.train import TrainRecipe, fit
from hil.nn.training_log import read_log
from hil.nn.zoo import ModelSpec

# Block 3 has an identity skip (8 to 8 channels, stride 1), so a cut behind block2 meets one.
SPEC = ModelSpec("mobilenetv2", 0.1, classes=3, image=16)


def pictures(count: int, seed: int) -> ImageSet:
    """Three classes told apart by the colour that is bright, with noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.integers(0, 100, (count, 16, 16, 3))
    x[np.arange(count), :, :, y] += 100
    return ImageSet("colours", x.astype(np.uint8), y)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are tiny, and threads that wait for each other take all day on a busy host."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def train_set() -> ImageSet:
    return pictures(80, 1)


@pytest.fixture(scope="session")
def test_set() -> ImageSet:
    return pictures(45, 2)


@functools.cache
def _task(recipe: SliceRecipe) -> SlicingTask:
    torch.manual_seed(5)
    return SlicingTask(SPEC, [uniform("block5", (2, 5)), uniform("block2", (1, 3, 8))], recipe)


def task(recipe: SliceRecipe = ALL_SLICES) -> SlicingTask:
    """Untrained; a copy, since capturing a model takes a second."""
    return copy.deepcopy(_task(recipe))


@pytest.fixture(scope="session")
def trained_folder(
    tmp_path_factory: pytest.TempPathFactory, train_set: ImageSet, test_set: ImageSet
) -> Path:
    out = tmp_path_factory.mktemp("training")
    fit(task(), TrainRecipe(2, 16, 0.05), train_set, test_set, out, lambda _: None)
    return out


@pytest.fixture(scope="session")
def artifact(trained_folder: Path, train_set: ImageSet, test_set: ImageSet) -> SlicedArtifact:
    return make_artifact(
        load_training(trained_folder / "last.pt"),
        read_log(trained_folder / "train_log.jsonl"),
        train_set.take(30),
        test_set,
        "tiny",
        bits=(8, 5),
        report=lambda _: None,
    )
