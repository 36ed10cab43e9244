"""The models: published sizes, captured and quantised as they are, rebuilt by channel counts."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hil.core.errors import ModelError
from hil.core.network import Op
from hil.nn.capture import capture
from hil.nn.chain import chain
from hil.nn.float_graph import GraphModule
from hil.nn.models import mobilenet_v2, resnet, vgg
from hil.nn.quantise import quantise
from hil.nn.reference import quantise_input, run
from hil.nn.zoo import MODEL_NAMES, ModelSpec, build_model, normalise
from tests.nn.conftest import randomise_norms

COUNTS = {
    "mobilenetv2": mobilenet_v2.channel_counts,
    "resnet18": lambda width, variant: resnet.channel_counts(width),
    "vgg16": lambda width, variant: vgg.channel_counts(16, width),
    "vgg19": lambda width, variant: vgg.channel_counts(19, width),
}
CASES = [(name, variant) for name in MODEL_NAMES for variant in ("cifar", "imagenet")]


def small(name: str, variant: str = "cifar", **fields) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(build_model(ModelSpec(name, 0.1, 5, variant, **fields)))


def multiply_accumulates(model: nn.Module, image: int) -> int:
    """Of convolutions and dense layers, from shapes alone: the model lies on the meta device."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        total += module.weight[0].numel() * output.numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model.eval()(torch.zeros(1, 3, image, image, device="meta"))
    return total


# At 224x224 with 1000 classes. Parameters as torchvision documents them; millions of
# multiply-accumulates of the papers: MobileNetV2 table 4 (300), ResNet table 1 (1.8e3).
@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [("mobilenetv2", 3_504_872, 300), ("resnet18", 11_689_512, 1810)],
)
def test_published_sizes(name, parameters, millions):
    with torch.device("meta"):
        model = build_model(ModelSpec(name, 1.0, 1000, "imagenet"))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert multiply_accumulates(model, 224) / 1e6 == pytest.approx(millions, rel=0.01)


# torchvision's convolutions (14,714,688 and 20,024,384 with biases), which sit in BatchNorm here.
@pytest.mark.parametrize(
    ("name", "parameters", "layers"), [("vgg16", 14_714_688, 13), ("vgg19", 20_024_384, 16)]
)
def test_published_sizes_of_vgg(name, parameters, layers):
    with torch.device("meta"):
        model = build_model(ModelSpec(name, 1.0, 10))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == layers == len(model.blocks)
    biases = sum(conv.out_channels for conv in convolutions)
    assert sum(conv.weight.numel() for conv in convolutions) + biases == parameters
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert sum(norm.bias.numel() for norm in norms) == biases


def test_cifar_resnet_keeps_the_picture_in_its_stem():
    with torch.device("meta"):
        model = build_model(ModelSpec("resnet18"))
    # As the widely used CIFAR ResNet-18: 11.17 M parameters, 0.56 G multiply-accumulates.
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert multiply_accumulates(model, 32) / 1e6 == pytest.approx(556, rel=0.005)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_captured_graph_and_chain_compute_what_torch_does(name, variant):
    model = small(name, variant)
    image = 32 if variant == "cifar" else 64
    x = torch.randn(2, 3, image, image)
    graph = capture(model, image, name)
    with torch.inference_mode():
        wanted = model(x)
        assert wanted.shape == (2, 5) and wanted.std() > 1e-4
        torch.testing.assert_close(GraphModule(graph)(x), wanted, atol=1e-5, rtol=1e-4)
        y = x
        for unit in chain(model):
            y = unit(y)
        torch.testing.assert_close(y, wanted)
    assert len(graph.cuts) >= len(model.blocks) + 1  # between all blocks, input, all


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_the_integer_reference_follows_torch(name, pictures):
    model = small(name)
    network = quantise(capture(model, 32, name), pictures[:16])
    with torch.inference_mode():
        wanted = model(normalise(pictures[16:32])).numpy()
    made = run(network, quantise_input(pictures[16:32]))[-1].reshape(16, 5)
    error = made * network.tensors[-1].scale - wanted
    assert (error**2).mean() < 0.02 * wanted.var()


def test_layers_of_a_residual_block_and_of_a_pooled_unit():
    names = [(layer.name, layer.op) for layer in capture(small("resnet18"), 32, "r").layers]
    assert names[:5] == [
        ("stem", Op.CONV),
        ("block1.first", Op.CONV),
        ("block1.second", Op.CONV),
        ("block1.add", Op.ADD),
        ("block2.first", Op.CONV),
    ]
    assert ("block3.shortcut", Op.CONV) in names
    imagenet = capture(small("resnet18", "imagenet"), 64, "r")
    assert [layer.name for layer in imagenet.layers][:3] == ["stem", "stem.pool", "block1.first"]
    assert [cut.name for cut in imagenet.cuts][:3] == ["input", "stem", "block1"]
    names = [layer.name for layer in capture(small("vgg16"), 32, "v").layers]
    assert names[:4] == ["stem", "block1", "block1.pool", "block2"]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_explicit_counts_are_the_channels_of_the_convolutions_in_order(name):
    default = COUNTS[name](0.1, "cifar")
    wanted = tuple(count - 1 - i % 3 for i, count in enumerate(default))
    model = small(name, channels=wanted)
    # A depthwise filter has the channels of what it reads, a shortcut those of its block.
    free = [
        module.out_channels
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and not {"depthwise", "shortcut"} & {*path.split(".")}
    ]
    assert tuple(free) == wanted
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    same = small(name, channels=default)
    assert [p.shape for p in same.parameters()] == [p.shape for p in small(name).parameters()]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_wrong_counts_and_variants_are_refused(name):
    spec = ModelSpec(name, 0.1)
    count = len(COUNTS[name](0.1, "cifar"))
    for channels in ((8,) * (count - 1), (8,) * (count - 1) + (0,), ()):
        with pytest.raises(ModelError, match=f"{name}: needs {count} channel counts"):
            build_model(replace(spec, channels=channels))
    with pytest.raises(ModelError, match=f"{name}: variant must be .* not 'mnist'"):
        build_model(replace(spec, variant="mnist"))


def test_unknown_names_and_depths_list_the_known_ones():
    with pytest.raises(ModelError, match="known: mobilenetv2, resnet18, vgg16, vgg19"):
        build_model(ModelSpec("resnet50"))
    with pytest.raises(ModelError, match="16 or 19, not 11"):
        vgg.VGG(11)
