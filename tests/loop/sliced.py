"""A tiny network with slices, untrained: what the bench does with it does not depend on skill."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hil.clio.slicing.artifact import SlicedArtifact
from hil.clio.slicing.evaluate import Trained, make_artifact
from hil.clio.slicing.recipe import ALL_SLICES
from hil.clio.slicing.slice_set import uniform
from hil.clio.slicing.sliced_model import SlicedModel
from hil.nn.data.images import ImageSet
from hil.nn.zoo import ModelSpec, build_model

SPEC = ModelSpec("mobilenetv2", 0.1, classes=3, image=16)
SLICES = (uniform("block2", (1, 3, 8)), uniform("block5", (2, 5)))
BITS = (8, 5)
# Labels as hil.nn.train writes them: cut/channels, and all for the whole network.
LOG = (
    {"epoch": 1, "train_loss": 1.5, "test_top1": {"block2/1": 0.3, "all": 0.4}, "test_images": 50},
    {"epoch": 2, "train_loss": 1.2, "test_top1": {"block2/1": 0.5, "all": 0.6}, "test_images": 50},
)


def noise(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return ImageSet("noise", x, rng.integers(0, 3, count))


def artifact() -> SlicedArtifact:
    torch.manual_seed(3)
    model = SlicedModel(build_model(SPEC), {s.cut: s.channels for s in SLICES}, SPEC.image)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of one batch: else deep tensors are near zero
    with torch.no_grad():
        model.train()
        for one in SLICES:
            for channels in one.channels:
                model(torch.randn(32, 3, 16, 16), one.cut, channels)
        model.eval()
    training = {"epochs": 2, "batch": 16}
    trained = Trained(SPEC, SLICES, ALL_SLICES.to_dict(), training, "ab" * 32, model)
    quiet = {"bits": BITS, "report": lambda _: None}
    return make_artifact(trained, LOG, noise(16, 1), noise(30, 2), "tiny", **quiet)
