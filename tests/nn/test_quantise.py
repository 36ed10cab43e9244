"""Quantisation: how close integers stay to floats, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hil.core.errors import ModelError
from hil.core.network import Op
from hil.nn.calibrate import METHODS
from hil.nn.capture import capture
from hil.nn.float_graph import FloatGraph, FloatLayer, GraphModule
from hil.nn.quantise import multiplier_and_shift, quantise
from hil.nn.reference import quantise_input, run
from hil.nn.zoo import normalise


def float_tensors(graph: FloatGraph, images: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        made = GraphModule(graph).tensors(normalise(images))
    return [t.permute(0, 2, 3, 1).numpy() for t in made]


def signal_to_noise_db(network, graph, images) -> list[float]:
    integers = run(network, quantise_input(images))
    ratios = []
    for i, real in enumerate(float_tensors(graph, images)):
        noise = integers[i] * network.tensors[i].scale - real
        ratios.append(10 * math.log10((real**2).mean() / max((noise**2).mean(), 1e-12)))
    return ratios


@given(st.floats(min_value=2.0**-40, max_value=0.49999, allow_subnormal=False))
def test_multiplier_and_shift_are_close_and_in_range(factor):
    multiplier, shift = multiplier_and_shift(factor, "x")
    assert 0 <= multiplier < 2**31 and 0 <= shift <= 31
    error = abs(Fraction(multiplier, 2 ** (32 + shift)) - Fraction(factor))
    # Half a unit of the last place, a whole one where rounding up would reach one half.
    assert error <= Fraction(1, 2 ** (32 + shift))
    if factor >= 2.0**-32:
        assert error <= Fraction(factor) / 2**30


@pytest.mark.parametrize("factor", [0.5, 0.75, 3.0, 0.0, -0.1, math.nan])
def test_factors_that_cannot_be_represented_name_the_layer(factor):
    with pytest.raises(ModelError, match=r"layer block3\.expand: scale factor"):
        multiplier_and_shift(factor, "block3.expand")


def test_a_factor_just_below_a_half_stays_below():
    assert multiplier_and_shift(math.nextafter(0.5, 0), "x") == (2**31 - 1, 0)
    assert multiplier_and_shift(math.nextafter(0.25, 0), "x") == (2**30, 0)


@pytest.mark.parametrize("method", METHODS)
def test_every_tensor_stays_close_to_its_float(small_mobilenet, pictures, method):
    graph = capture(small_mobilenet, 32, "small")
    network = quantise(graph, pictures[:32], method)
    ratios = signal_to_noise_db(network, graph, pictures[32:])
    assert ratios[0] > 100  # the input is exact
    assert min(ratios) > 14 and np.median(ratios) > 20


def test_mixture_of_operators_stays_close(mixture, pictures):
    graph = capture(mixture, 32, "mixture")
    network = quantise(graph, pictures[:32])
    assert min(signal_to_noise_db(network, graph, pictures[32:])) > 20
    by_name = {layer.name: i + 1 for i, layer in enumerate(network.layers)}
    assert not network.tensors[by_name["stem"]].signed  # behind a ReLU
    assert network.tensors[by_name["conv"]].signed
    pool, before = by_name["block1.pool"], by_name["block1"]
    assert network.tensors[pool].scale == network.tensors[before].scale


def test_parameters_follow_the_contract(small_mobilenet, pictures):
    network = quantise(capture(small_mobilenet, 32, "small"), pictures)
    for i, layer in enumerate(network.layers):
        out = network.tensors[i + 1]
        if layer.op is Op.ADD:
            assert np.abs(layer.multiplier).max() < 2**22 and layer.shift.shape == (1,)
            reach = sum(
                int(m) * (128 if network.tensors[t].signed else 255)
                for m, t in zip(layer.multiplier, layer.inputs, strict=True)
            )
            assert reach + (1 << (int(layer.shift[0]) - 1)) < 2**31
            continue
        count = 1 if layer.op is Op.AVGPOOL else out.shape[2]
        assert layer.multiplier.dtype == np.int32 and layer.multiplier.shape == (count,)
        assert layer.shift.dtype == np.uint8 and layer.shift.max() <= 31
        assert layer.multiplier.min() >= 2**30
        if layer.weight is not None:
            assert layer.weight.dtype == np.int8 and layer.weight.min() >= -127
            assert layer.bias.dtype == np.int32
        assert layer.clamp[0] >= (-128 if out.signed else 0)
        assert layer.clamp[1] <= (127 if out.signed else 255)


def test_power_of_two_scales_make_one_bit_multipliers(small_mobilenet, pictures):
    graph = capture(small_mobilenet, 32, "small")
    network = quantise(graph, pictures[:32], scales="power_of_two")
    for tensor in network.tensors:
        assert math.frexp(tensor.scale)[0] == 0.5
    for layer in network.layers:
        assert all(int(m).bit_count() == 1 for m in layer.multiplier)
    # Steps up to twice as wide, in weights and activations.
    assert min(signal_to_noise_db(network, graph, pictures[32:])) > 8


def test_quantising_twice_gives_the_same_network(mixture, pictures):
    graph = capture(mixture, 32, "mixture")
    assert quantise(graph, pictures).digest == quantise(graph, pictures).digest


def test_a_dead_channel_with_a_large_bias_survives(pictures):
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[0].weight[2] = 1e-30
        model[0].bias[:] = torch.tensor([0.0, 1.0, -1.0, 0.5])
    graph = capture(model, 32, "dead")
    network = quantise(graph, pictures, "minmax")
    made = run(network, quantise_input(pictures[0]))[-1] * network.tensors[-1].scale
    step = network.tensors[-1].scale
    assert np.abs(made[..., 1] - 1.0).max() <= step
    assert np.abs(made[..., 2] + 1.0).max() <= step


def test_relu6_is_the_clamp_when_its_range_is_used(pictures):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6())
    with torch.no_grad():
        model[0].weight *= 40
    network = quantise(capture(model, 32, "m"), pictures, "minmax")
    low, high = network.layers[0].clamp
    assert low == 0 and abs(high * network.tensors[1].scale - 6) <= network.tensors[1].scale / 2


def one_layer_graph(weight: np.ndarray, bias: np.ndarray) -> FloatGraph:
    layer = FloatLayer("wide", Op.LINEAR, (0,), (1, 1, len(weight)), weight=weight, bias=bias)
    return FloatGraph("one", (2, 2, 3), (layer,))


def test_weights_that_are_not_finite_are_refused():
    weight = np.full((1, 12), np.nan, np.float32)
    images = np.zeros((1, 2, 2, 3), np.uint8)
    with pytest.raises(ModelError, match="layer wide: weights or biases are not finite"):
        quantise(one_layer_graph(weight, np.zeros(1, np.float32)), images, "minmax")


@pytest.mark.parametrize("scales", ["any", "power_of_two"])
def test_an_output_far_smaller_than_its_terms_keeps_its_steps(scales):
    """Its scale cannot be finer than the largest factor allows; no step of the input is lost."""
    graph = one_layer_graph(np.array([[1.0, -1.0] * 6], np.float32), np.zeros(1, np.float32))
    images = np.full((3, 2, 2, 3), 200, np.uint8)  # grey: the terms all but cancel
    images[0, 0, 0, 0] -= 1
    images[2, 0, 0, 0] += 1
    network = quantise(graph, images, "minmax", scales)
    found = run(network, quantise_input(images))[1].ravel() * network.tensors[1].scale
    exact = float_tensors(graph, images)[1].ravel()
    assert np.abs(found - exact).max() <= network.tensors[1].scale
    assert 10 * network.tensors[1].scale < 1 / 64  # of which one step of the input has many


def test_an_accumulator_that_could_overflow_is_refused():
    features = 140_000  # 128 * 127 * 140,000 > 2**31
    weight = np.ones((1, features), np.float32)
    layer = FloatLayer(
        "huge", Op.LINEAR, (0,), (1, 1, 1), weight=weight, bias=np.zeros(1, np.float32)
    )
    graph = FloatGraph("one", (200, 700, 1), (layer,))
    from hil.core.network import Tensor
    from hil.nn.quantise import _quantise_layer

    source, out = Tensor((200, 700, 1), 1 / 64, True), Tensor((1, 1, 1), 100.0, True)
    with pytest.raises(ModelError, match="layer huge: accumulators may reach 22"):
        _quantise_layer(graph.layers[0], [source], out, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"method": "best"}, "known: minmax"), ({"scales": "odd"}, "known: any")],
)
def test_unknown_options_list_the_known_ones(mixture, pictures, options, words):
    with pytest.raises(ModelError, match=words):
        quantise(capture(mixture, 32, "m"), pictures, **options)


def test_no_calibration_images_are_refused(mixture):
    with pytest.raises(ModelError, match="at least one image"):
        quantise(capture(mixture, 32, "m"), np.zeros((0, 32, 32, 3), np.uint8))
