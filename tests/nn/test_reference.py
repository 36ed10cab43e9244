"""The integer reference against torch in double precision and plain Python integers."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hil.core.errors import ModelError
from hil.core.network import Layer, Network, Op, Tensor
from hil.nn.random_layers import random_input, random_network
from hil.nn.reference import accumulator_bound, quantise_input, requantise, run

CASES = [
    # op, h, w, cin, cout, kernel, stride, pad
    (Op.CONV, 7, 9, 3, 5, 3, 1, 1),
    (Op.CONV, 8, 8, 4, 7, 3, 2, 1),
    (Op.CONV, 6, 5, 2, 3, (5, 1), (2, 1), (2, 0, 1, 0)),
    (Op.CONV, 5, 5, 3, 4, 1, 2, 0),
    (Op.POINTWISE, 3, 4, 31, 33, 1, 1, 0),
    (Op.DEPTHWISE, 9, 7, 5, 5, 3, 1, 1),
    (Op.DEPTHWISE, 8, 6, 3, 3, 3, 2, (0, 0, 1, 1)),
    (Op.DEPTHWISE, 4, 4, 9, 9, 5, 1, 2),
    (Op.LINEAR, 2, 3, 13, 10, 1, 1, 0),
    (Op.AVGPOOL, 4, 4, 17, 17, 4, 1, 0),
    (Op.AVGPOOL, 6, 8, 5, 5, (2, 3), 2, 0),
    (Op.MAXPOOL, 7, 7, 6, 6, 3, 2, 1),
    (Op.MAXPOOL, 6, 6, 3, 3, 2, 2, 0),
    (Op.ADD, 3, 5, 7, 7, 1, 1, 0),
]


def exact_step(value: int, multiplier: int, shift: int, low: int, high: int) -> int:
    """Requantisation of one accumulator in unbounded Python integers."""
    value = (value * multiplier) // 2**32
    if shift:
        value = (value + 2 ** (shift - 1)) // 2**shift
    return min(max(value, low), high)


def torch_accumulators(layer: Layer, x: np.ndarray) -> np.ndarray:
    """(N, h, w, c) sums by torch in float64, exact for these sizes."""
    image = torch.from_numpy(x.astype(np.float64)).permute(0, 3, 1, 2)
    top, left, bottom, right = layer.pad
    image = functional.pad(image, (left, right, top, bottom))
    if layer.op is Op.AVGPOOL:
        total = functional.avg_pool2d(image, layer.kernel, layer.stride)
        return np.rint(total.permute(0, 2, 3, 1).numpy() * np.prod(layer.kernel))
    weight = torch.from_numpy(layer.weight.astype(np.float64))
    bias = torch.from_numpy(layer.bias.astype(np.float64))
    if layer.op is Op.LINEAR:
        return functional.linear(
            torch.from_numpy(x.reshape(len(x), -1).astype(np.float64)), weight, bias
        ).numpy()[:, None, None]
    if layer.op is Op.DEPTHWISE:
        made = functional.conv2d(image, weight[:, None], bias, layer.stride, groups=image.shape[1])
    else:
        made = functional.conv2d(image, weight.permute(0, 3, 1, 2), bias, layer.stride)
    return made.permute(0, 2, 3, 1).numpy()


def expected(layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
    if layer.op is Op.MAXPOOL:
        top, left, bottom, right = layer.pad
        image = torch.from_numpy(inputs[0].astype(np.float64)).permute(0, 3, 1, 2)
        image = functional.pad(image, (left, right, top, bottom), value=-1000.0)
        made = functional.max_pool2d(image, layer.kernel, layer.stride)
        return made.permute(0, 2, 3, 1).numpy()
    if layer.op is Op.ADD:
        m0, m1 = (int(m) for m in layer.multiplier)
        shift = int(layer.shift[0])
        flat = [
            min(
                max((int(a) * m0 + int(b) * m1 + 2 ** (shift - 1)) // 2**shift, layer.clamp[0]),
                layer.clamp[1],
            )
            for a, b in zip(inputs[0].ravel(), inputs[1].ravel(), strict=True)
        ]
        return np.array(flat).reshape(inputs[0].shape)
    acc = torch_accumulators(layer, inputs[0])
    result = np.empty(acc.shape, np.int64)
    for index in np.ndindex(acc.shape):
        channel = index[-1] if len(layer.multiplier) > 1 else 0
        result[index] = exact_step(
            int(acc[index]),
            int(layer.multiplier[channel]),
            int(layer.shift[channel]),
            *layer.clamp,
        )
    return result


@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].value}-{c[1]}x{c[2]}x{c[3]}")
def test_layers_agree_with_torch_and_python_integers(case, signed_in):
    for seed, signed_out in ((1, True), (2, False)):
        network = random_network(*case, signed_in, seed, signed_out=signed_out)
        tensors = run(network, random_input(network, seed, 3))
        for i, layer in enumerate(network.layers):
            wanted = expected(layer, [tensors[t] for t in layer.inputs])
            np.testing.assert_array_equal(tensors[i + 1], wanted)
            assert tensors[i + 1].dtype == network.tensors[i + 1].dtype


def test_random_networks_saturate_at_both_ends():
    for op in (Op.CONV, Op.DEPTHWISE, Op.POINTWISE, Op.LINEAR):
        network = random_network(op, 8, 8, 16, 16, 1 if op is Op.POINTWISE else 3, seed=3)
        out = run(network, random_input(network, 3, 16))[-1]
        low, high = network.layers[-1].clamp
        assert 0 < (out == low).mean() < 0.5 and 0 < (out == high).mean() < 0.5


def test_random_networks_are_reproducible():
    make = lambda seed: random_network(Op.CONV, 4, 4, 3, 2, 3, 1, 1, True, seed)  # noqa: E731
    assert make(5).digest == make(5).digest != make(6).digest


def test_hand_worked_requantisation():
    m = np.array([2**30], np.int32)  # a quarter, before the shift
    values = np.array([[6], [7], [-1], [-6], [-10]])
    no_shift = requantise(values, m, np.array([0], np.uint8), (-128, 127))
    np.testing.assert_array_equal(no_shift.ravel(), [1, 1, -1, -2, -3])  # floor
    halved = requantise(values, m, np.array([1], np.uint8), (-128, 127))
    np.testing.assert_array_equal(halved.ravel(), [1, 1, 0, -1, -1])  # half rounds up
    clamped = requantise(np.array([[10**9], [-(10**9)]]), m, np.array([4], np.uint8), (0, 200))
    np.testing.assert_array_equal(clamped.ravel(), [200, 0])


def test_extreme_accumulators_do_not_overflow():
    acc = np.array([[2**31 - 1], [-(2**31)]])
    m = np.array([2**31 - 1], np.int32)
    out = requantise(acc, m, np.array([31], np.uint8), (-128, 127))
    assert [exact_step(int(a[0]), 2**31 - 1, 31, -128, 127) for a in acc] == out.ravel().tolist()


def test_batch_and_single_image_agree_and_upto_stops():
    network = random_network(Op.ADD, 4, 4, 5, 5, seed=1)
    x = random_input(network, 0, 4)
    batch = run(network, x)
    single = run(network, x[2])
    assert single[-1].shape == network.tensors[-1].shape
    np.testing.assert_array_equal(batch[-1][2], single[-1])
    assert len(run(network, x, upto=1)) == 2
    assert len(run(network, x, upto=0)) == 1


def test_input_pixels_are_offset_by_128():
    pixels = np.array([0, 1, 127, 128, 255], np.uint8)
    assert quantise_input(pixels).tolist() == [-128, -127, -1, 0, 127]
    with pytest.raises(ModelError, match="float"):
        quantise_input(pixels.astype(np.float32))


def test_wrong_input_names_both_shapes():
    network = random_network(Op.POINTWISE, 2, 2, 3, 4)
    with pytest.raises(ModelError, match=r"uint8 \(2, 2, 3\).*int8 \(2, 2, 3\)"):
        run(network, np.zeros((2, 2, 3), np.uint8))


def test_accumulator_bound_is_reached_by_the_worst_input_and_overflow_is_refused():
    weight = np.full((1, 1, 1, 4), -127, np.int8)
    layer = Layer(
        "worst",
        Op.POINTWISE,
        (0,),
        weight=weight,
        bias=np.array([-5], np.int32),
        multiplier=np.array([1], np.int32),
        shift=np.array([0], np.uint8),
    )
    assert accumulator_bound(layer, Tensor((1, 1, 4), 1.0, False)) == 255 * 127 * 4 + 5
    overflowing = Layer(
        "boom",
        Op.POINTWISE,
        (0,),
        weight=weight,
        bias=np.array([-(2**31)], np.int32),
        multiplier=np.array([1], np.int32),
        shift=np.array([0], np.uint8),
    )
    tensors = (Tensor((1, 1, 4), 1.0, False), Tensor((1, 1, 1), 1.0, True))
    network = Network("n", tensors, (overflowing,), ())
    with pytest.raises(ModelError, match="boom"):
        run(network, np.full((1, 1, 4), 255, np.uint8))


def test_a_layer_without_parameters_is_named():
    tensors = (Tensor((1, 1, 4), 1.0, True), Tensor((1, 1, 1), 1.0, True))
    network = Network("n", tensors, (Layer("bare", Op.POINTWISE, (0,)),), ())
    with pytest.raises(ModelError, match="layer bare: a pointwise layer without weight"):
        run(network, np.zeros((1, 1, 4), np.int8))
