"""MACs and parameters without running anything, against the quantised network and torch."""

from dataclasses import replace

import numpy as np
import pytest

from hil.clio.compression.macs import budget_macs, size_of
from hil.clio.compression.structure import Kind, explicit, resized, structure_of
from hil.core.errors import ModelError
from hil.nn.capture import capture
from hil.nn.quantise import quantise
from hil.nn.zoo import MODEL_NAMES, ModelSpec, build_model

NARROW = [ModelSpec(name, 0.125) for name in MODEL_NAMES]


SPECS = [
    *NARROW,
    ModelSpec("mobilenetv2", 0.35, classes=7),
    ModelSpec("mobilenetv2", 0.1, variant="imagenet", image=64),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_equals_the_quantised_network_and_torchs_parameters(spec):
    model = build_model(spec)
    images = np.random.default_rng(0).integers(0, 256, (1, spec.image, spec.image, 3), np.uint8)
    network = quantise(capture(model, spec.image, "net"), images)
    size = size_of(spec)
    assert size.macs == sum(network.macs(i) for i in range(len(network.layers)))
    assert size.parameters == sum(p.numel() for p in model.parameters())


def test_layer_by_layer_against_a_pruned_network():
    spec = ModelSpec("mobilenetv2", 0.25)
    structure = structure_of(spec)
    counts = tuple(
        max(1, size * 2 // 3) if group in structure.free else size
        for group, size in enumerate(structure.sizes)
    )
    images = np.zeros((1, 32, 32, 3), np.uint8)
    network = quantise(capture(build_model(resized(spec, counts)), 32, "net"), images)
    ours = [x.macs(counts) for x in structure.layers if x.kind is not Kind.NORM]
    assert ours == [network.macs(i) for i in range(len(network.layers))]


@pytest.mark.parametrize("spec", NARROW, ids=str)
def test_explicit_channels_build_the_same_shapes(spec):
    written = explicit(spec)
    shapes = [[(n, p.shape) for n, p in build_model(s).named_parameters()] for s in (spec, written)]
    assert shapes[0] == shapes[1]
    assert structure_of(written) == structure_of(spec)


def test_skips_tie_their_channels():
    structure = structure_of(ModelSpec("mobilenetv2", 1.0))
    counts = structure.counts(structure.channels(structure.sizes))
    assert counts == structure.sizes
    # stem, 16, five stages, 320, head: nine; and a hidden group in each of 16 blocks.
    assert len(structure.free) == 9 + 16
    untied = list(structure.channels(structure.sizes))
    untied[3] += 8  # the output of the second stage's first block, which is skipped to
    with pytest.raises(ModelError, match="must be equal"):
        structure.counts(untied)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_other_counts_keep_skips_and_ties(name):
    """Also where counts happen to agree that did not before: no skip is added."""
    spec = ModelSpec(name, 0.35)
    structure = structure_of(spec)
    # From 2: a depthwise convolution of one channel is an ordinary one, so it ties nothing.
    drawn = np.random.default_rng(3).integers(2, 9, len(structure.sizes))
    for sizes in (drawn, np.full_like(drawn, 8)):
        counts = tuple(
            int(sizes[group]) if group in structure.free else n
            for group, n in enumerate(structure.sizes)
        )
        assert structure_of(resized(spec, counts)) == replace(structure, sizes=counts)


def test_budget_outside_zero_to_one_is_refused():
    spec = NARROW[0]
    assert budget_macs(spec, 1.0) == size_of(spec).macs
    for fraction in (0, -0.5, 1.1):
        with pytest.raises(ModelError, match="fraction"):
            budget_macs(spec, fraction)
