"""Random networks of one operator, for trying kernels at awkward sizes.

Multipliers are chosen from the accumulators that random inputs give, so that outputs use
their whole range and saturate now and then at both ends.
"""

from __future__ import annotations

import numpy as np

from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.nn.reference import accumulate

_FULL = {True: (-128, 127), False: (0, 255)}


def random_input(network: Network, seed: int, count: int | None = None) -> np.ndarray:
    """Values over the input's whole range, its extremes more often than chance."""
    tensor = network.tensors[0]
    shape = tensor.shape if count is None else (count, *tensor.shape)
    return _random_values(np.random.default_rng(seed), tensor, shape)


def random_network(
    op: Op,
    h: int,
    w: int,
    cin: int,
    cout: int,
    kernel: int | tuple[int, int] = 1,
    stride: int | tuple[int, int] = 1,
    pad: int | tuple[int, int, int, int] = 0,
    signed_in: bool = True,
    seed: int = 0,
    signed_out: bool = True,
) -> Network:
    """A network of one layer ``op`` on an (h, w, cin) input.

    ``cout`` is used by conv2d, pointwise and linear only. ``add`` gets a pointwise layer
    first, so that its two inputs differ in values, scale and (for odd seeds) sign.
    ``signed_out`` False also narrows the upper clamp, as ReLU6 does.
    """
    op = Op(op)
    rng = np.random.default_rng(seed)
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    stride = (stride, stride) if isinstance(stride, int) else stride
    pad = (pad,) * 4 if isinstance(pad, int) else pad
    source = Tensor((h, w, cin), 1 / 64, signed_in)
    tensors, layers = [source], []
    if op is Op.ADD:
        other = signed_in ^ bool(seed % 2)
        layer, tensor = _mac(rng, Op.POINTWISE, "branch", source, cin, other)
        layers, tensors = [layer], [source, tensor]
        last, out = _add(rng, tensors, signed_out)
    elif op is Op.MAXPOOL:
        out = Tensor(_pooled(source, kernel, stride, pad), source.scale, signed_in)
        last = Layer("under_test", op, (0,), kernel, stride, pad, clamp=_FULL[signed_in])
    else:
        last, out = _mac(rng, op, "under_test", source, cout, signed_out, kernel, stride, pad)
    layers, tensors = [*layers, last], [*tensors, out]
    cuts = (Cut("input", 0), Cut("all", len(layers)))
    name = f"random_{op.value}_{h}x{w}x{cin}_{cout}_{seed}"
    return Network(name, tuple(tensors), tuple(layers), cuts)


def _random_values(rng, tensor: Tensor, shape) -> np.ndarray:
    info = np.iinfo(tensor.dtype)
    values = rng.integers(info.min, info.max, shape, endpoint=True)
    extreme = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.1, extreme, values).astype(tensor.dtype)


def _pooled(source: Tensor, kernel, stride, pad) -> tuple[int, int, int]:
    h, w, channels = source.shape
    top, left, bottom, right = pad
    rows = (h + top + bottom - kernel[0]) // stride[0] + 1
    columns = (w + left + right - kernel[1]) // stride[1] + 1
    return rows, columns, channels


def _mac(
    rng, op, name, source, cout, signed, kernel=(1, 1), stride=(1, 1), pad=(0, 0, 0, 0)
) -> tuple[Layer, Tensor]:
    """A layer with random parameters whose outputs about fill the range."""
    h, w, cin = source.shape
    shape = _pooled(source, kernel, stride, pad)
    weight_shape = {
        Op.CONV: (cout, *kernel, cin),
        Op.POINTWISE: (cout, 1, 1, cin),
        Op.DEPTHWISE: (cin, *kernel),
        Op.LINEAR: (cout, h * w * cin),
    }.get(op)
    if op is Op.LINEAR:
        shape, kernel = (1, 1, cout), (1, 1)
    elif weight_shape is not None:
        shape = (*shape[:2], weight_shape[0])
    out = Tensor(shape, 1 / 32, signed)
    weight = bias = None
    if weight_shape is not None:
        weight = rng.integers(-127, 127, weight_shape, endpoint=True).astype(np.int8)
        bias = rng.integers(-2000, 2000, weight_shape[0]).astype(np.int32)
    clamp = (-128, 127) if signed else (0, int(rng.integers(180, 256)))
    layer = Layer(name, op, (0,), kernel, stride, pad, weight, bias, clamp=clamp)
    trial = _random_values(rng, source, (8, *source.shape))
    acc = accumulate(layer, trial, out).reshape(-1, shape[2])
    multiplier, shift = _fill_range(rng, op, acc, signed)
    return Layer(name, op, (0,), kernel, stride, pad, weight, bias, multiplier, shift, clamp), out


def _fill_range(rng, op: Op, acc: np.ndarray, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Factors that send two standard deviations of each channel just beyond the range."""
    spread = np.abs(acc).mean(axis=0) + 2 * acc.std(axis=0) + 4
    if op is Op.AVGPOOL:
        spread = spread.max(keepdims=True)
    half_range = 127 if signed else 255
    widest = 1.1 if op is Op.AVGPOOL else 1.8
    factor = half_range / spread * rng.uniform(0.9, widest, len(spread))
    factor = np.minimum(factor, 0.499)
    shift = np.clip(np.floor(-1 - np.log2(factor)), 0, 31).astype(np.uint8)
    multiplier = np.floor(factor * 2.0 ** (32 + shift.astype(int)))
    return np.minimum(multiplier, 2**31 - 1).astype(np.int32), shift


def _add(rng, tensors: list[Tensor], signed: bool) -> tuple[Layer, Tensor]:
    multiplier = rng.integers(2**20, 2**22, 2).astype(np.int32)
    shift = np.array([21 if signed else 20], np.uint8)
    clamp = (-128, 127) if signed else (0, int(rng.integers(180, 256)))
    layer = Layer("under_test", Op.ADD, (0, 1), multiplier=multiplier, shift=shift, clamp=clamp)
    return layer, Tensor(tensors[0].shape, 1 / 32, signed)
