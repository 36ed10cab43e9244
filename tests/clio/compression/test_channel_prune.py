"""Pruned networks against masked originals and against least squares on the inputs themselves."""

import numpy as np
import pytest
import torch
from torch import nn

from hil.clio.compression.channel_prune import loaded, prune, select, slice_weights, take_grams
from hil.clio.compression.structure import resized, structure_of
from hil.core.errors import ModelError
from hil.nn.zoo import MODEL_NAMES, ModelSpec, normalise
from tests.clio.compression.conftest import lively_weights, synthetic_images

SPECS = [ModelSpec(name, 0.25, classes=4) for name in MODEL_NAMES]
PICTURES = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)


def fewer(structure, seed, low=0.3):
    rng = np.random.default_rng(seed)
    return tuple(
        int(rng.integers(max(1, int(n * low)), n + 1)) if g in structure.free else n
        for g, n in enumerate(structure.sizes)
    )


def run(model, x=PICTURES):
    with torch.inference_mode():
        return model(normalise(x)).numpy()


def masked_original(spec, weights, keep):
    """The full network whose dropped channels are set to zero wherever they are made."""
    model, structure = loaded(spec, weights), structure_of(spec)

    def zero(group):
        mask = torch.zeros(structure.sizes[group])
        mask[keep[group]] = 1.0
        return lambda module, inputs, output: output * mask[None, :, None, None]

    for layer in structure.layers:
        module = dict(model.named_modules()).get(layer.name)
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(zero(layer.makes))
    return model


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_nothing_pruned_is_the_same_network(spec):
    weights = lively_weights(spec)
    same, kept = prune(spec, weights, structure_of(spec).sizes)
    assert kept.keys() == weights.keys()
    assert np.array_equal(run(loaded(same, kept)), run(loaded(spec, weights)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_equals_a_masked_original(spec, seed):
    weights, structure = lively_weights(spec), structure_of(spec)
    counts = fewer(structure, seed)
    narrow, kept = prune(spec, weights, counts)
    keep = select(structure, weights, counts)
    expected = run(masked_original(spec, weights, keep))
    np.testing.assert_allclose(run(loaded(narrow, kept)), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, run(loaded(spec, weights)), rtol=1e-2)


def test_keeps_the_channels_with_the_largest_weights(spec):
    structure, weights = structure_of(spec), dict(lively_weights(spec))
    group = structure.free[-1]  # the head's channels, read by the classifier alone
    size = structure.sizes[group]
    weights["classifier.weight"] = np.zeros_like(weights["classifier.weight"])
    weights["classifier.weight"][1, [5, 2, size - 1]] = [-3.0, 2.0, 1.0]
    counts = tuple(3 if g == group else n for g, n in enumerate(structure.sizes))
    assert select(structure, weights, counts)[group].tolist() == [2, 5, size - 1]


def test_refit_is_the_least_squares_solution(spec):
    """One pruned group: its pointwise reader against numpy's lstsq on the recorded inputs."""
    weights, structure = lively_weights(spec), structure_of(spec)
    pictures = synthetic_images(40, 3)
    grams = take_grams(spec, weights, pictures.x, pictures.digest)
    layer = next(x for x in structure.layers if x.name == "blocks.4.project.0")
    keep = {g: np.arange(n) for g, n in enumerate(structure.sizes)}
    keep[layer.reads] = keep[layer.reads][::2]
    fitted = slice_weights(structure, weights, keep, grams)[f"{layer.name}.weight"]

    seen = []
    model = loaded(spec, weights)
    model.get_submodule(layer.name).register_forward_hook(lambda m, i, o: seen.append((i[0], o)))
    run(model, pictures.x)
    x, y = (t.movedim(1, -1).flatten(0, 2).numpy().astype(float) for t in seen[0])
    best = np.linalg.lstsq(x[:, ::2], y, rcond=None)[0]
    # Nearly unused channels leave coefficients open: what counts is the error that remains.
    errors = [np.square(x[:, ::2] @ v - y).sum() for v in (best, fitted[:, :, 0, 0].T)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)
    np.testing.assert_allclose(fitted[:, :, 0, 0], best.T, rtol=0.05, atol=0.02)


def test_refit_reduces_the_error_on_other_images(spec):
    weights, structure = lively_weights(spec), structure_of(spec)
    calibration, other = synthetic_images(60, 3), synthetic_images(30, 4)
    grams = take_grams(spec, weights, calibration.x, calibration.digest)
    exact = run(loaded(spec, weights), other.x)
    hidden = [x.reads for x in structure.layers if x.name.endswith("project.0")]
    counts = tuple(n // 2 if g in hidden[1:] else n for g, n in enumerate(structure.sizes))
    errors = []
    for given in (None, grams):
        narrow, kept = prune(spec, weights, counts, given)
        errors.append(np.square(run(loaded(narrow, kept), other.x) - exact).mean())
    assert errors[1] < 0.7 * errors[0]


def test_refuses_more_channels_than_there_are(spec):
    structure = structure_of(spec)
    more = tuple(n + 1 for n in structure.sizes)
    with pytest.raises(ModelError, match="cannot keep"):
        prune(spec, lively_weights(spec), more)
    with pytest.raises(ModelError):
        resized(spec, tuple(0 if g in structure.free else n for g, n in enumerate(more)))
