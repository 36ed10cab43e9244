"""torch-pruning against this package's own reading of a network."""

import numpy as np
import pytest
import torch

from hil.clio.compression import structured
from hil.clio.compression.channel_prune import loaded
from hil.clio.compression.macs import budget_macs, size_of
from hil.clio.compression.structured import StructuredSettings, compress_structured
from hil.core.errors import ModelError
from hil.nn.checkpoint import Checkpoint
from hil.nn.zoo import ModelSpec, normalise
from tests.clio.compression.conftest import lively_weights

pytest.importorskip("torch_pruning", reason="extra 'compress' is not installed")


@pytest.fixture(autouse=True)
def coarse_ratios(monkeypatch):
    monkeypatch.setattr(structured, "STEP", 0.2)


def source(name: str) -> Checkpoint:
    spec = ModelSpec(name, 0.125, classes=4, image=32)
    return Checkpoint(name, spec, {}, {}, "", "", lively_weights(spec))


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18", "vgg16"])
def test_meets_the_budget_with_weights_that_fit(name):
    checkpoint = source(name)
    budget = budget_macs(checkpoint.spec, 0.7)
    made = compress_structured(checkpoint, budget, StructuredSettings(divisor=1))
    assert 0.1 * budget < made.after.macs <= budget
    model = made.checkpoint().model()
    assert sum(p.numel() for p in model.parameters()) == made.after.parameters


def test_whole_budget_keeps_the_network():
    checkpoint = source("mobilenetv2")
    made = compress_structured(checkpoint, size_of(checkpoint.spec).macs)
    x = normalise(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    with torch.inference_mode():
        before = loaded(checkpoint.spec, checkpoint.weights)(x)
        assert made.after == made.before
        torch.testing.assert_close(made.checkpoint().model()(x), before)


def test_budget_out_of_reach_is_refused():
    checkpoint = source("mobilenetv2")
    with pytest.raises(ModelError, match="torch-pruning gets down to"):
        compress_structured(checkpoint, 1000)
    with pytest.raises(ModelError, match="importance"):
        StructuredSettings(importance="luck")
