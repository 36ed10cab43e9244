"""A small network with lively weights and images with a learnable class."""

import numpy as np
import pytest
import torch
from torch import nn

from hil.nn.checkpoint import Checkpoint
from hil.nn.data.images import ImageSet
from hil.nn.zoo import ModelSpec, build_model

IMAGE = 16
CLASSES = 4


def synthetic_images(count: int, seed: int) -> ImageSet:
    """Noise with one bright corner; which corner is the class."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 120, (count, IMAGE, IMAGE, 3), np.uint8)
    y = rng.integers(0, CLASSES, count)
    half = IMAGE // 2
    for i, label in enumerate(y):
        top, left = half * (label // 2), half * (label % 2)
        x[i, top : top + half, left : left + half] += 100
    return ImageSet(f"corners-{seed}", x, y.astype(np.int64))


def lively_weights(spec: ModelSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with BatchNorm statistics far from the identity."""
    torch.manual_seed(seed)
    model = build_model(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return ModelSpec("mobilenetv2", 0.25, classes=CLASSES, image=IMAGE)


@pytest.fixture(scope="session")
def checkpoint(spec) -> Checkpoint:
    return Checkpoint("tiny", spec, {}, {"epoch": 0}, "0" * 64, "0" * 64, lively_weights(spec))


@pytest.fixture(scope="session")
def images() -> ImageSet:
    return synthetic_images(240, 1)
