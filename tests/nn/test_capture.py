"""Capture: what the graph computes, where it may be cut, what is refused and how."""

import math

import pytest
import torch
from torch import nn

from hil.core.errors import ModelError, UnsupportedOperatorError
from hil.core.network import Op
from hil.nn.capture import capture
from hil.nn.float_graph import GraphModule
from hil.nn.models.mobilenet_v2 import MobileNetV2
from hil.nn.tail import cloud_tail


def difference(model: nn.Module, image: int = 32) -> float:
    torch.manual_seed(1)
    x = torch.randn(3, 3, image, image)
    graph = capture(model, image, "model")
    with torch.inference_mode():
        return float((GraphModule(graph)(x) - model.eval()(x)).abs().max())


def test_mixture_of_all_operators_computes_the_same(mixture):
    assert difference(mixture) < 1e-5


def test_mixture_is_folded_into_the_expected_layers(mixture):
    graph = capture(mixture, 32, "mixture")
    assert [(layer.name, layer.op) for layer in graph.layers] == [
        ("stem", Op.CONV),
        ("block1", Op.DEPTHWISE),
        ("block1.pool", Op.MAXPOOL),
        ("block2.pool", Op.AVGPOOL),
        ("norm", Op.DEPTHWISE),
        ("conv", Op.POINTWISE),
        ("add", Op.ADD),
        ("first", Op.LINEAR),
        ("second", Op.LINEAR),
    ]
    # ReLU moved in front of the maximum pool; ReLU6 sits on the separate BatchNorm.
    assert [layer.low for layer in graph.layers] == [
        0,
        0,
        0,
        -math.inf,
        0,
        -math.inf,
        0,
        0,
        -math.inf,
    ]
    assert graph.layers[4].high == 6
    assert graph.layers[6].inputs == (4, 6)
    assert [(cut.name, cut.layers) for cut in graph.cuts] == [
        ("input", 0),
        ("stem", 1),
        ("block1", 3),
        ("block2", 4),
        ("all", 9),
    ]


def test_capture_leaves_the_model_in_its_mode(mixture):
    mixture.train()
    capture(mixture, 32, "mixture")
    assert mixture.training


def test_mobilenet_names_and_cuts_respect_skip_connections():
    graph = capture(MobileNetV2(0.35), 32, "mobilenet")
    names = [layer.name for layer in graph.layers]
    assert len(names) == len(set(names)) == 65
    assert names[:7] == [
        "stem",
        "block1.depthwise",
        "block1.project",
        "block2.expand",
        "block2.depthwise",
        "block2.project",
        "block2.add",
    ]
    assert names[-3:] == ["head", "pool", "classifier"]
    assert all(name.replace(".", "_").isidentifier() for name in names)
    assert [cut.name for cut in graph.cuts] == (
        ["input", "stem"] + [f"block{i}" for i in range(1, 18)] + ["head", "all"]
    )
    for cut in graph.cuts[:-1]:
        read_later = {t for layer in graph.layers[cut.layers :] for t in layer.inputs}
        assert {t for t in read_later if t <= cut.layers} == {cut.layers}


def test_tails_behind_every_cut_finish_the_network(small_mobilenet):
    graph = capture(small_mobilenet, 32, "mobilenet")
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        wanted = small_mobilenet(x)
        tensors = GraphModule(graph).tensors(x)
        for cut in graph.cuts:
            logits = cloud_tail(graph, cut.name)(tensors[cut.layers])
            torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="no cut 'block99'; known: input, stem"):
        cloud_tail(graph, "block99")


class Crossing(nn.Module):
    """A skip connection over a whole block: no cut inside it."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))

    def forward(self, x):
        x = self.blocks[0](x)
        y = self.blocks[2](self.blocks[1](x))
        return self.blocks[3](x + y)


def test_a_block_under_a_skip_connection_is_no_cut():
    graph = capture(Crossing(), 8, "crossing")
    assert [(cut.name, cut.layers) for cut in graph.cuts] == [("input", 0), ("stem", 1), ("all", 5)]


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3), nn.Hardtanh(-2, 3), nn.Conv2d(4, 2, (1, 5), (2, 1))],
        [nn.Conv2d(3, 4, 2, padding="same"), nn.MaxPool2d(3, 2, ceil_mode=True)],
        [nn.ReLU(), nn.Conv2d(3, 4, 1, stride=2)],
        [nn.MaxPool2d(2), nn.ReLU6(), nn.Conv2d(3, 2, 1)],
        [nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((2, 4)), nn.Flatten(), nn.Linear(32, 3)],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
    ],
    ids=["hardtanh", "same-and-ceil", "relu-first", "clamp-of-pooled-input", "adaptive", "norms"],
)
def test_variants_compute_the_same(layers):
    assert difference(nn.Sequential(*layers), 16) < 1e-5


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        x = self.conv(x).clamp(min=0)
        x += x
        return self.linear(x.mean((-1, -2)).view(1 if len(x) == 1 else -1, 6)).clamp(-1, 1)


def test_functional_calls_compute_the_same():
    assert difference(Functional(), 9) < 1e-5


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Sigmoid(), "operator sigmoid at features.1"),
        (nn.Conv2d(4, 4, 3, dilation=2), "conv2d at features.1 (dilation [2, 2])"),
        (nn.Conv2d(4, 8, 3, groups=2), "conv2d at features.1 (groups 2, 4 to 8 channels)"),
        (nn.AvgPool2d(3, 1, 1), "avg_pool2d at features.1 (padding [1, 1])"),
        (nn.AdaptiveAvgPool2d(3), "adaptive_avg_pool2d at features.1 (8x8 to 3x3"),
        (nn.Linear(8, 3), "linear at features.1 (only on flattened activations)"),
        (nn.BatchNorm2d(4, track_running_stats=False), "batch_norm at features.1"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_unsupported_operators_are_named_with_place_and_alternatives(layer, words):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 1), layer)

        def forward(self, x):
            return self.features(x)

    with pytest.raises(UnsupportedOperatorError) as caught:
        capture(Model(), 8, "mymodel")
    message = str(caught.value)
    assert message.startswith("mymodel: ") and words in message
    assert "supported: conv2d" in message and "\n" not in message


def test_broadcasting_addition_is_refused():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            return x + x.mean((2, 3), keepdim=True)

    with pytest.raises(UnsupportedOperatorError, match="broadcasting"):
        capture(Model(), 8, "m")


def test_computed_weights_are_refused():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 1, 1))

        def forward(self, x):
            return nn.functional.conv2d(x, torch.relu(self.weight))

    with pytest.raises(UnsupportedOperatorError, match=r"relu .* not supported"):
        capture(Model(), 8, "m")


def test_in_place_on_a_shared_tensor_is_refused():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            torch.relu_(x.flatten(1))
            return nn.functional.max_pool2d(x, 2) + nn.functional.avg_pool2d(x, 2)

    with pytest.raises(UnsupportedOperatorError, match="in place on a tensor"):
        capture(Model(), 8, "m")


def test_a_model_that_cannot_be_exported_says_why():
    with pytest.raises(ModelError, match=r"m: torch.export cannot capture .* 1x3x4x4 .*Kernel"):
        capture(nn.Sequential(nn.Conv2d(3, 4, 9)), 4, "m")
