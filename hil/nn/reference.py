"""The integer reference: what every board must output, bit for bit.

The arithmetic is the one defined in ``hil.core.network``. Convolutions are matrix products of
integer-valued floats: a sum whose terms' magnitudes add up to less than 2**24 (float32) or
2**53 (float64) is exact in any order, and BLAS is far faster than NumPy's integer product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.core.errors import ModelError
from hil.core.network import Layer, Network, Op, Tensor

INT32_MAX = 2**31 - 1
_FLOAT32_EXACT = 2**24
INPUT_OFFSET = 128


def quantise_input(images: np.ndarray) -> np.ndarray:
    """uint8 pixels to the int8 input tensor (pixel - 128); any shape."""
    if images.dtype != np.uint8:
        raise ModelError(f"images are {images.dtype}; the input tensor is made from uint8 pixels")
    return (images ^ 0x80).view(np.int8)  # in two's complement, p - 128 flips the top bit


def run(network: Network, x: np.ndarray, upto: int | None = None) -> list[np.ndarray]:
    """All tensors, tensor 0 (the input) first, through the first ``upto`` layers (None: all).

    ``x``: (H, W, C), or (N, H, W, C) for a batch, of the input tensor's type. The tensors
    returned have the batch axis if ``x`` has it. Raises ModelError for an input that does not
    fit, and for an accumulator that leaves 32 bits.
    """
    shape = network.tensors[0].shape
    if x.shape[-3:] != shape or x.ndim not in (3, 4) or x.dtype != network.tensors[0].dtype:
        raise ModelError(
            f"{network.name}: input is {x.dtype} {x.shape}; expected "
            f"{network.tensors[0].dtype} {shape}, with or without a batch axis"
        )
    tensors = [x if x.ndim == 4 else x[None]]
    for index, layer in enumerate(network.layers[:upto]):
        tensors.append(
            run_layer(layer, [tensors[i] for i in layer.inputs], network.tensors[index + 1])
        )
    return tensors if x.ndim == 4 else [t[0] for t in tensors]


def run_layer(layer: Layer, inputs: Sequence[np.ndarray], output: Tensor) -> np.ndarray:
    """One layer over batches (N, H, W, C) of 8-bit tensors."""
    if layer.op is Op.ADD:
        result = _add(layer, inputs[0], inputs[1])
    elif layer.op is Op.MAXPOOL:
        result = _maxpool(layer, inputs[0], output)
    else:
        acc = accumulate(layer, inputs[0], output)
        low, high = int(acc.min()), int(acc.max())
        if low < -INT32_MAX - 1 or high > INT32_MAX:
            raise ModelError(
                f"layer {layer.name}: accumulators span {low}..{high}, beyond 32 bits; "
                "the network was not made by hil.nn.quantise or is damaged"
            )
        multiplier, shift = _array(layer, "multiplier"), _array(layer, "shift")
        result = requantise(acc, multiplier, shift, layer.clamp)
    shape = (len(inputs[0]), *output.shape)
    if result.shape != shape:
        raise ModelError(f"layer {layer.name}: makes {result.shape}, network says {shape}")
    return result.astype(output.dtype)


def requantise(
    acc: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, clamp: tuple[int, int]
) -> np.ndarray:
    """``clamp(round_shift(mulh(acc, multiplier), shift))``, channels last; int64."""
    high = acc.astype(np.int64)
    high *= multiplier.astype(np.int64)
    high >>= 32
    return _round_shift_clamp(high, shift, clamp)


def accumulator_bound(layer: Layer, input_tensor: Tensor) -> int:
    """Largest magnitude an accumulator of a MAC or average pooling layer can ever reach.

    The sum of the magnitudes of all terms, so it also bounds every partial sum, whatever
    the order a kernel adds in.
    """
    largest = 128 if input_tensor.signed else 255
    if layer.op is Op.AVGPOOL:
        return largest * layer.kernel[0] * layer.kernel[1]
    weight = np.abs(_array(layer, "weight").astype(np.int64))
    if layer.op is Op.DEPTHWISE:
        sums = weight.sum(axis=(1, 2))
    else:
        sums = weight.reshape(len(weight), -1).sum(axis=1)
    terms = sums * largest
    if layer.bias is not None:
        terms = terms + np.abs(layer.bias.astype(np.int64))
    return int(terms.max())


def _round_shift_clamp(value: np.ndarray, shift: np.ndarray, clamp: tuple[int, int]) -> np.ndarray:
    """Round half up on a right shift, then clamp; in place on int64."""
    shift = shift.astype(np.int64)
    value += np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    value >>= shift
    return np.clip(value, clamp[0], clamp[1], out=value)


def _array(layer: Layer, key: str) -> np.ndarray:
    array = getattr(layer, key)
    if array is None:
        raise ModelError(f"layer {layer.name}: a {layer.op.value} layer without {key}")
    return array


def _add(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    multiplier = _array(layer, "multiplier")
    total = x.astype(np.int64) * int(multiplier[0])
    total += y.astype(np.int64) * int(multiplier[1])
    return _round_shift_clamp(total, _array(layer, "shift"), layer.clamp)


def accumulate(layer: Layer, x: np.ndarray, output: Tensor) -> np.ndarray:
    """Accumulators with bias of a MAC or average pooling layer, (N, h, w, c)."""
    if layer.op is Op.AVGPOOL:
        return sum(view.astype(np.int32) for _, _, view in _taps(layer, x, output))  # type: ignore[return-value]
    if layer.op is Op.DEPTHWISE:
        acc = _depthwise(layer, x, output)
    elif layer.op is Op.LINEAR:
        acc = _product(x.reshape(len(x), 1, 1, -1), _array(layer, "weight"))
    else:
        weight = _array(layer, "weight")
        acc = _product(_columns(layer, x, output), weight.reshape(len(weight), -1))
    return acc if layer.bias is None else acc + layer.bias.astype(np.int64)


def _depthwise(layer: Layer, x: np.ndarray, output: Tensor) -> np.ndarray:
    weight = _array(layer, "weight").astype(np.int32)
    acc = np.zeros((len(x), *output.shape), np.int32)
    # 255 * 128 a tap: 65,000 taps fit, far beyond any kernel window.
    for row, column, view in _taps(layer, x, output):
        acc += view * weight[:, row, column]
    return acc.astype(np.int64)


def _columns(layer: Layer, x: np.ndarray, output: Tensor) -> np.ndarray:
    """im2col: (N, h, w, kernel rows * kernel columns * channels)."""
    if layer.kernel == (1, 1) and layer.stride == (1, 1) and not any(layer.pad):
        return x
    return np.concatenate([view for _, _, view in _taps(layer, x, output)], axis=3)


def _product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Exact integer ``x @ weight.T`` over the last axis; int64."""
    largest = 128 if x.dtype == np.int8 else 255
    bound = largest * int(np.abs(weight.astype(np.int64)).sum(axis=1).max())
    dtype = np.float32 if bound < _FLOAT32_EXACT else np.float64
    flat = x.reshape(-1, x.shape[-1]).astype(dtype)
    acc = flat @ weight.T.astype(dtype)
    return acc.astype(np.int64).reshape(*x.shape[:-1], len(weight))


def _maxpool(layer: Layer, x: np.ndarray, output: Tensor) -> np.ndarray:
    lowest = np.iinfo(x.dtype).min
    result = np.full((len(x), *output.shape), lowest, x.dtype)
    for _, _, view in _taps(layer, x, output, fill=lowest):
        np.maximum(result, view, out=result)
    return result


def _taps(layer: Layer, x: np.ndarray, output: Tensor, fill: int = 0):
    """For each kernel tap (row, column): the input seen through it, (N, h, w, c)."""
    top, left, bottom, right = layer.pad
    if any(layer.pad):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    height, width, _ = output.shape
    (rows, columns), (down, across) = layer.kernel, layer.stride
    for row in range(rows):
        for column in range(columns):
            yield (
                row,
                column,
                x[
                    :,
                    row : row + (height - 1) * down + 1 : down,
                    column : column + (width - 1) * across + 1 : across,
                ],
            )
