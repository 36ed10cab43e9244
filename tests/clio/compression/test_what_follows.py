"""A compressed network goes on as any other: slices, int8, C for a board."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import boards
from codegen.generate import generate
from hil.clio.compression import structured
from hil.clio.compression.amc import AmcSettings, compress_amc
from hil.clio.compression.macs import budget_macs
from hil.clio.compression.metapruning import compress_metapruning
from hil.clio.compression.structured import StructuredSettings, compress_structured
from hil.clio.compression.width import compress_width
from hil.clio.slicing.sliced_model import SlicedModel
from hil.nn.capture import capture
from hil.nn.chain import captured_cut_units
from hil.nn.checkpoint import Checkpoint
from hil.nn.quantise import quantise
from hil.nn.reference import quantise_input, run
from hil.nn.zoo import ModelSpec, normalise
from tests.clio.compression.conftest import lively_weights, synthetic_images
from tests.clio.compression.test_amc import AGENT, quiet
from tests.clio.compression.test_metapruning import SMALL

SPEC = ModelSpec("mobilenetv2", 0.2, classes=4, image=16)
SOURCE = Checkpoint("tiny", SPEC, {}, {}, "", "", lively_weights(SPEC))
IMAGES = synthetic_images(100, 1)
CUT = "block5"


def by_width(budget):
    return compress_width(SOURCE, budget)


def by_amc(budget):
    settings = AmcSettings(warmup=1, episodes=0, divisor=2, judge=20, calibration=10, agent=AGENT)
    return compress_amc(SOURCE, budget, IMAGES, settings, report=quiet)


def by_metapruning(budget):
    settings = replace(SMALL, training=replace(SMALL.training, epochs=1))
    return compress_metapruning(SOURCE, budget, IMAGES, settings, report=quiet)


def by_torch_pruning(budget):
    pytest.importorskip("torch_pruning", reason="extra 'compress' is not installed")
    return compress_structured(SOURCE, budget, StructuredSettings(divisor=1))


@pytest.mark.parametrize("compress", [by_width, by_amc, by_metapruning, by_torch_pruning])
def test_compressed_networks_are_sliced_quantised_and_generated(compress, monkeypatch):
    monkeypatch.setattr(structured, "STEP", 0.2)
    made = compress(budget_macs(SPEC, 0.7))
    assert made.after.macs < made.before.macs
    model = made.checkpoint().model()
    graph = capture(model, SPEC.image, "small")
    units = captured_cut_units(model, graph)
    of_channels = graph.shapes[graph.cut(CUT).layers][2]
    assert of_channels in made.spec.channels

    # Learnt at a cut: a step's gradient reaches the device part and the slice's own entry.
    sliced = SlicedModel(model, {CUT: (1, of_channels)}, SPEC.image, units=units)
    x = normalise(IMAGES.x[:8])
    logits = sliced(x, CUT, 1)
    assert logits.shape == (8, SPEC.classes)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(IMAGES.y[:8])).backward()
    for part in (next(sliced.backbone.parameters()), next(sliced.paths.parameters())):
        assert part.grad is not None and part.grad.isfinite().all() and part.grad.any()

    # int8 answers at the cut what the float network does, within a few steps of its scale.
    network = quantise(graph, IMAGES.x[:20])
    cut = network.cut(CUT)
    tensor = network.tensors[cut.layers]
    with torch.inference_mode():
        real = sliced.device(x, CUT).permute(0, 2, 3, 1).numpy()
    found = run(network, quantise_input(IMAGES.x[:8]), cut.layers)[cut.layers] * tensor.scale
    assert np.abs(found - real).mean() < 0.1 * np.abs(real).mean() + tensor.scale

    sources = generate(network, boards.load_board("stm32f746"), cut.layers)
    assert sources.layers == len(sources.plans) == cut.layers
    assert all(f"{plan.function}.c" in sources.files for plan in sources.plans)
