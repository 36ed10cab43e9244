"""Narrowing: what a unit computes from fewer channels, and what it refuses."""

import pytest
import torch
from torch import nn

from hil.core.errors import ModelError
from hil.nn.capture import capture
from hil.nn.chain import chain
from hil.nn.float_graph import GraphModule
from hil.nn.models.mobilenet_v2 import ConvBnRelu6, InvertedResidual
from hil.nn.models.resnet import BasicBlock
from hil.nn.narrow import narrow
from hil.nn.zoo import ModelSpec, build_model
from tests.nn.conftest import randomise_norms

CHANNELS = 6


def norm_first() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3))


def separable() -> nn.Module:
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    return nn.Sequential(depthwise, nn.BatchNorm2d(6), nn.ReLU6(), ConvBnRelu6(6, 4, 1))


# Units whose first layer with weights mixes the channels.
MIXING = {
    "conv": lambda: nn.Conv2d(6, 4, 3, 2),
    "conv-bn-relu-pool": lambda: nn.Sequential(*ConvBnRelu6(6, 9, 3), nn.MaxPool2d(2)),
    "pooling-first": lambda: nn.Sequential(
        nn.Identity(), nn.ReLU(), nn.AvgPool2d(2), nn.Sequential(nn.Dropout(), nn.Conv2d(6, 2, 1))
    ),
    "inverted": lambda: InvertedResidual(6, 12, 9, 2),
    "inverted-skip": lambda: InvertedResidual(6, 12, 6, 1),
    "basic": lambda: BasicBlock(6, 7, 9, 2),
    "basic-skip": lambda: BasicBlock(6, 5, 6, 1),
    "blocks": lambda: nn.Sequential(nn.ReLU(), BasicBlock(6, 5, 6, 1), nn.Conv2d(6, 3, 1)),
    "head": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 10)
    ),
    "head-2x4": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d((2, 4)), nn.Flatten(), nn.ReLU(), nn.Linear(48, 10), nn.Linear(10, 3)
    ),
}
# Units where something with a bias comes before the channels are mixed.
BIASED = {
    "inverted-depthwise": lambda: InvertedResidual(6, 6, 9, 1, expand=False),
    "inverted-depthwise-skip": lambda: InvertedResidual(6, 6, 6, 1, expand=False),
    "norm-first": norm_first,
    "separable": separable,
}
UNITS = MIXING | BIASED


def make(kind: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return randomise_norms(UNITS[kind]()), torch.randn(3, CHANNELS, 8, 8)


@pytest.mark.parametrize("kind", UNITS)
def test_all_channels_compute_exactly_the_same(kind):
    unit, x = make(kind)
    assert torch.equal(narrow(unit, CHANNELS)(x), unit(x))


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("channels", [1, 4])
def test_absent_channels_count_as_zero(kind, channels):
    unit, x = make(kind)
    x[:, channels:] = 0
    torch.testing.assert_close(
        narrow(unit, channels)(x[:, :channels]), unit(x), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kind", BIASED)
def test_behind_a_bias_absent_channels_are_left_out(kind):
    """Not zero at the input but at the layer that mixes: hide its input's last channels there."""
    unit, x = make(kind)
    mixing = next(m for m in unit.modules() if isinstance(m, nn.Conv2d) and m.groups == 1)
    narrowed = narrow(unit, 4)

    def hide(_module, inputs):
        return (torch.cat([inputs[0][:, :4], torch.zeros_like(inputs[0][:, 4:])], 1),)

    mixing.register_forward_pre_hook(hide)
    x[:, 4:] = 0  # for shortcuts
    torch.testing.assert_close(narrowed(x[:, :4]), unit(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", UNITS)
def test_the_copy_trains_and_leaves_the_unit_alone(kind):
    unit, x = make(kind)
    before = {name: value.clone() for name, value in unit.state_dict().items()}
    narrowed = narrow(unit, 4).train()
    narrowed(x[:, :4]).square().sum().backward()
    for name, parameter in narrowed.named_parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape, name
    with torch.no_grad():
        for parameter in narrowed.parameters():
            parameter.add_(1)
    for name, value in unit.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in unit.parameters())


@pytest.mark.parametrize("kind", UNITS)
def test_narrowing_twice_is_narrowing_once(kind):
    unit, x = make(kind)
    torch.testing.assert_close(
        narrow(narrow(unit, 4), 2)(x[:, :2]), narrow(unit, 2)(x[:, :2]), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kind", UNITS)
def test_narrowed_units_are_captured(kind):
    unit, _ = make(kind)
    units = nn.Sequential(nn.Conv2d(3, 4, 1), narrow(unit, 4)).eval()
    x = torch.randn(2, 3, 8, 8)
    graph = capture(units, 8, kind)
    with torch.inference_mode():
        torch.testing.assert_close(
            GraphModule(graph)(x).reshape(-1), units(x).reshape(-1), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18", "vgg16"])
def test_every_unit_of_every_model_can_be_narrowed(name):
    torch.manual_seed(0)
    model = randomise_norms(build_model(ModelSpec(name, 0.1)))
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        for unit in chain(model):
            y = unit(x)
            assert torch.equal(narrow(unit, x.shape[1])(x), y)
            assert narrow(unit, 2)(x[:, :2]).shape == y.shape
            x = y


def test_skips_become_convolutions_of_the_identity():
    block = InvertedResidual(6, 12, 6, 1).eval()
    assert isinstance(block.shortcut, nn.Identity)
    conv = narrow(block, 4).shortcut
    assert isinstance(conv, nn.Conv2d) and conv.bias is None and not conv.training
    assert torch.equal(conv.weight[:, :, 0, 0], torch.eye(6)[:, :4])
    # Checkpoints of whole blocks keep the names they have always had.
    assert {name.partition(".")[0] for name in block.state_dict()} == {
        "expand",
        "depthwise",
        "project",
    }
    assert InvertedResidual(6, 12, 9, 1).shortcut is None


def test_a_head_of_unknown_size_needs_to_be_told_its_channels():
    torch.manual_seed(0)
    head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4 * 4, 10))
    with pytest.raises(ModelError, match="how many channels make its Linear's 96 features"):
        narrow(head, 4)
    with pytest.raises(ModelError, match="now 7"):
        narrow(head, 4, of=7)
    x = torch.randn(2, 6, 8, 8)
    x[:, 4:] = 0
    x = x.abs()
    torch.testing.assert_close(narrow(head, 4, of=6)(x[:, :4]), head(x))


@pytest.mark.parametrize("channels", [0, -1, 7])
@pytest.mark.parametrize("kind", UNITS)
def test_wrong_channels_name_unit_value_and_limit(kind, channels):
    unit, _ = make(kind)
    name = type(unit).__name__
    with pytest.raises(ModelError, match=f"{name} to {channels} channels: choose 1 to 6"):
        narrow(unit, channels)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 6)), "cannot narrow Sequential: .*GroupNorm"),
        (nn.ConvTranspose2d(6, 3, 1), "cannot narrow ConvTranspose2d"),
        (nn.Conv2d(6, 4, 1, groups=2), "2 groups"),
        (nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()), "no layer in it mixes channels"),
        (nn.Linear(6, 3), "without a Flatten"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(6, 3)), "Flatten must keep the batch"),
        (nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(5, 3, 1)), "reads 5 channels, not the 6"),
    ],
)
def test_units_that_cannot_be_narrowed_say_why(unit, words):
    with pytest.raises(ModelError, match=words):
        narrow(unit, 2)
