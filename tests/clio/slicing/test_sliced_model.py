"""What is shared, what is not, and that a slice knows nothing of the channels not sent."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from hil.clio.slicing.sliced_model import SlicedModel
from hil.core.errors import ModelError
from hil.nn.chain import chain
from hil.nn.zoo import ModelSpec, build_model

from .conftest import SPEC

SLICES = {"block2": (1, 3, 8), "block5": (2, 8)}


def backbone(spec: ModelSpec = SPEC) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


@pytest.fixture(params=[True, False], ids=["private-norms", "shared-norms"])
def sliced(request) -> SlicedModel:
    return copy.deepcopy(_sliced(request.param))


@functools.cache
def _sliced(private_norms: bool) -> SlicedModel:
    return SlicedModel(backbone(), SLICES, 16, private_norms=private_norms).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cut,channels", [("block2", 1), ("block2", 3), ("block5", 2)])
def test_a_slice_uses_only_its_channels(sliced, x, cut, channels):
    before = sliced(x, cut, channels)
    last = chain(sliced.backbone)[sliced.cuts[cut] - 1].project  # what makes the cut's channels
    with torch.no_grad():
        last[0].weight[channels:] += 10.0
        last[1].bias[channels:] -= 3.0
    assert torch.equal(sliced(x, cut, channels), before)
    with torch.no_grad():
        last[0].weight[channels - 1] += 10.0
    assert not torch.equal(sliced(x, cut, channels), before)


def test_the_whole_slice_is_the_network_itself(sliced, x):
    expected = sliced.backbone(x)
    assert torch.equal(sliced(x, "block2", 8), expected)
    assert torch.equal(sliced.whole(sliced.device(x, "block5"), "block5"), expected)


def test_a_whole_entry_starts_as_the_network_with_a_convolution_for_the_skip(x):
    sliced = SlicedModel(backbone(), {"block2": (3, 8)}, 16, False, whole_entry=True).eval()
    entry = sliced.cloud("block2", 8)[0]
    assert isinstance(entry.shortcut, nn.Conv2d) and entry.shortcut.kernel_size == (1, 1)
    assert torch.allclose(sliced(x, "block2", 8), sliced.backbone(x), atol=1e-5)


def test_weights_behind_the_entry_are_tied(sliced):
    network = chain(sliced.backbone)[sliced.cuts["block2"] + 1 :]
    path = list(sliced.cloud("block2", 3))[1:]
    for mine, its in zip(path, network, strict=True):
        for (name, a), (_, b) in zip(mine.named_parameters(), its.named_parameters(), strict=True):
            norm = a.ndim == 1 and "classifier" not in name and not isinstance(its, nn.Sequential)
            if a.ndim > 1:
                assert a is b, name
            elif norm:
                assert (a is b) == (not sliced.private_norms), name


def test_a_training_step_keeps_tied_weights_equal(sliced, x):
    optimizer = torch.optim.SGD(sliced.parameters(), 0.1, momentum=0.9)
    before = copy.deepcopy(sliced.state_dict())
    sliced.train()(x, "block2", 3).square().sum().backward()
    optimizer.step()
    after = sliced.state_dict()
    shared = "blocks.9.project.0.weight"
    tail = [k for k in after if k.startswith("paths.block2-3.") and k.endswith("project.0.weight")]
    assert not torch.equal(after[f"backbone.{shared}"], before[f"backbone.{shared}"])
    assert any(torch.equal(after[k], after[f"backbone.{shared}"]) for k in tail)
    entry = "paths.block2-1.0.expand.0.weight"  # another slice's own weights are left alone
    assert torch.equal(after[entry], before[entry])


def test_private_norms_do_not_see_other_slices(x):
    sliced = copy.deepcopy(_sliced(True)).train()
    norms = {
        channels: next(m for m in sliced.cloud("block2", channels)[1].modules() if _is_norm(m))
        for channels in (1, 3)
    }
    before = norms[3].running_mean.clone()
    sliced(x, "block2", 1)
    assert torch.equal(norms[3].running_mean, before)
    assert norms[1].num_batches_tracked == 1


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_other_models_slice_too(name):
    model = SlicedModel(backbone(ModelSpec(name, 0.125, 10)), {"block3": (1, 4)}, 32)
    logits = model(torch.zeros(2, 3, 32, 32), "block3", 4)
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert model.backbone.blocks[0][0].weight.grad is not None


def test_bad_cuts_and_slices():
    with pytest.raises(ModelError, match=r"no cut 'block99'.*known: stem, block1"):
        SlicedModel(backbone(), {"block99": (1,)}, 16)
    with pytest.raises(ModelError, match="block2: a slice of 9 channels; the layer there has 8"):
        SlicedModel(backbone(), {"block2": (1, 9)}, 16)
    model = _sliced(True)
    with pytest.raises(ModelError, match=r"no slice of 2 channels at cut 'block2'; trained: .*/1"):
        model.cloud("block2", 2)
    with pytest.raises(ModelError, match="not a chain of blocks"):
        SlicedModel(nn.Linear(3, 3), {"block2": (1,)}, 16)
