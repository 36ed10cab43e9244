"""Post-training quantisation of a ``FloatGraph`` to the int8 ``Network`` that boards run.

Weights: symmetric, one scale an output channel. Activations: ``hil.nn.calibrate``. Every
factor becomes a 31-bit multiplier and a shift as ``hil.core.network`` defines them. With
``scales="power_of_two"`` all scales are powers of two, so each multiplier is one bit and the
whole requantisation a shift: the Q-format of the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hil.core.errors import ModelError
from hil.core.network import Layer, Network, Op, Tensor
from hil.nn.calibrate import choose_tensors, observe
from hil.nn.float_graph import FloatGraph, FloatLayer
from hil.nn.reference import INT32_MAX, accumulator_bound

SCALES = ("any", "power_of_two")
# A channel whose largest weight moves the output by less than 2**-20 of a step is dead; a
# smaller scale for it would only make its bias overflow.
_SMALLEST_FACTOR = 2.0**-20
_LARGEST_BIAS = 2**29
_ADD_BITS = 22


@dataclass(frozen=True)
class Quantiser:
    """How to quantise; ``scales`` is one of SCALES, ``method`` of hil.nn.calibrate.METHODS."""

    method: str = "mse"
    scales: str = "any"

    def __post_init__(self) -> None:
        if self.scales not in SCALES:
            raise ModelError(f"no scales {self.scales!r}; known: {', '.join(SCALES)}")


def quantise(
    graph: FloatGraph, calibration: np.ndarray, method: str = "mse", scales: str = "any"
) -> Network:
    """The integer network; ``calibration`` is uint8 images (N, H, W, 3).

    Raises ModelError naming the layer if a factor has no multiplier and shift, or if an
    accumulator could leave 32 bits for some input.
    """
    how = Quantiser(method, scales)
    power_of_two = how.scales == "power_of_two"
    tensors = choose_tensors(graph, observe(graph, calibration), how.method, power_of_two)
    layers = []
    for i, layer in enumerate(graph.layers):
        sources = [tensors[t] for t in layer.inputs]
        layers.append(_quantise_layer(layer, sources, tensors[i + 1], power_of_two))
    return Network(graph.name, tensors, tuple(layers), graph.cuts)


def multiplier_and_shift(factor: float, layer: str) -> tuple[int, int]:
    """The closest ``multiplier / 2**(32 + shift)`` with 31 significant bits where possible.

    Raises ModelError naming ``layer`` unless 0 < factor < 0.5.
    """
    if not 0 < factor < 0.5:
        raise ModelError(
            f"layer {layer}: scale factor {factor:.6g} is not between 0 and 0.5, so it has no "
            "multiplier and shift; calibrate with images that make its output larger"
        )
    exponent = math.frexp(factor)[1]  # factor = m * 2**exponent, 0.5 <= m < 1
    shift = min(-1 - exponent, 31)
    multiplier = round(math.ldexp(factor, 32 + shift))
    if multiplier == 2**31:  # rounded up to the next power of two
        multiplier, shift = (2**30, shift - 1) if shift else (2**31 - 1, 0)
    return multiplier, shift


def _quantise_layer(
    layer: FloatLayer, sources: list[Tensor], out: Tensor, power_of_two: bool
) -> Layer:
    plain = Layer(
        layer.name,
        layer.op,
        layer.inputs,
        layer.kernel,
        layer.stride,
        layer.pad,
        clamp=_clamp(layer, out),
    )
    if layer.op is Op.MAXPOOL:
        return plain
    if layer.op is Op.ADD:
        multiplier, shift = _add_factors(layer.name, sources, out)
        return replace(plain, multiplier=multiplier, shift=shift)
    if layer.op is Op.AVGPOOL:
        window = layer.kernel[0] * layer.kernel[1]
        factor = sources[0].scale / (window * out.scale)
        multiplier, shift = _factors(layer.name, np.array([factor]))
        return _checked(replace(plain, multiplier=multiplier, shift=shift), sources[0])
    return _checked(replace(plain, **_mac(layer, sources[0], out, power_of_two)), sources[0])


def _clamp(layer: FloatLayer, out: Tensor) -> tuple[int, int]:
    """The activation's bounds in steps of the output."""
    low, high = (-128, 127) if out.signed else (0, 255)
    if layer.low > -math.inf:
        low = max(low, round(layer.low / out.scale))
    if layer.high < math.inf:
        high = min(high, round(layer.high / out.scale))
    return low, max(low, high)


def _mac(layer: FloatLayer, source: Tensor, out: Tensor, power_of_two: bool) -> dict[str, Any]:
    """weight, bias, multiplier and shift of a layer with weights."""
    weight, bias = (array.astype(np.float64) for array in layer.parameters())
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"layer {layer.name}: weights or biases are not finite")
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    scale = np.maximum(scale, out.scale / source.scale * _SMALLEST_FACTOR)
    scale = np.maximum(scale, np.abs(bias) / (source.scale * _LARGEST_BIAS))
    if power_of_two:
        scale = 2.0 ** np.ceil(np.log2(scale))
    steps = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    factor = source.scale * scale / out.scale
    multiplier, shift = _factors(layer.name, factor)
    offset = bias / (source.scale * scale)
    # Without a shift there is no rounding, only mulh's floor: half a step goes into the bias.
    offset = np.where(shift == 0, offset + 0.5 / factor, offset)
    return {
        "weight": np.clip(steps, -127, 127).astype(np.int8),
        "bias": np.rint(offset).astype(np.int32),
        "multiplier": multiplier,
        "shift": shift,
    }


def _factors(name: str, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [multiplier_and_shift(float(factor), name) for factor in factors]
    multiplier, shift = zip(*pairs, strict=True)
    return np.array(multiplier, np.int32), np.array(shift, np.uint8)


def _add_factors(name: str, sources: list[Tensor], out: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Two multipliers below 2**22 that share the largest shift for which int32 holds."""
    ratios = [source.scale / out.scale for source in sources]
    largest = [128 if source.signed else 255 for source in sources]
    for shift in range(31, -1, -1):
        multipliers = [round(math.ldexp(ratio, shift)) for ratio in ratios]
        reach = sum(m * x for m, x in zip(multipliers, largest, strict=True))
        rounding = 1 << (shift - 1) if shift else 0
        if max(multipliers) < 1 << _ADD_BITS and reach + rounding <= INT32_MAX:
            return np.array(multipliers, np.int32), np.array([shift], np.uint8)
    raise ModelError(
        f"layer {name}: input scales {[s.scale for s in sources]} are too large for output "
        f"scale {out.scale}; calibrate with images that make its output larger"
    )


def _checked(layer: Layer, source: Tensor) -> Layer:
    bound = accumulator_bound(layer, source)
    if bound > INT32_MAX:
        raise ModelError(
            f"layer {layer.name}: accumulators may reach {bound}, beyond int32; "
            "use fewer input channels or a smaller kernel"
        )
    return layer
