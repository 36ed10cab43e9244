"""Calibration: the scale and sign of every tensor, from what real images make of it.

``minmax`` covers all values seen; ``percentile`` lets the rarest 0.01 % saturate; ``mse``
takes the scale with the least mean squared error, clipping included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from hil.core.errors import ModelError
from hil.core.network import Op, Tensor
from hil.nn.float_graph import FloatGraph, FloatLayer, GraphModule
from hil.nn.zoo import INPUT_SCALE, normalise

METHODS = ("minmax", "percentile", "mse")
_SAMPLES = 1 << 17  # values kept a tensor: enough for a tail of 0.01 %
# Of these, so many are tried at each of 71 candidate scales. 16,384 were too few: the pooled
# features have a thin tail that decides the class, and a sample without it clips the tail off.
_SEARCH_SAMPLES = 1 << 16
_PERCENTILE = 99.99


@dataclass(frozen=True)
class Observed:
    """What one tensor held: its extremes and a sample of its values."""

    low: float
    high: float
    values: np.ndarray


@torch.inference_mode()
def observe(graph: FloatGraph, images: np.ndarray, batch: int = 32) -> list[Observed]:
    """Run uint8 images (N, H, W, 3) through the float graph; one entry a tensor."""
    if len(images) == 0:
        raise ModelError(f"{graph.name}: calibration needs at least one image")
    module = GraphModule(graph)
    parts: list[list[np.ndarray]] = [[] for _ in graph.shapes]
    low = np.full(len(parts), np.inf)
    high = np.full(len(parts), -np.inf)
    share = max(1, _SAMPLES * batch // len(images))
    rng = np.random.default_rng(0)
    for start in range(0, len(images), batch):
        made = module.tensors(normalise(images[start : start + batch]))
        for i, tensor in enumerate(made):
            values = tensor.contiguous().numpy().ravel()
            low[i], high[i] = min(low[i], values.min()), max(high[i], values.max())
            if len(values) > share:
                values = values[rng.integers(0, len(values), share)]
            parts[i].append(values.copy())
    return [
        Observed(float(low[i]), float(high[i]), np.concatenate(part))
        for i, part in enumerate(parts)
    ]


def choose_tensors(
    graph: FloatGraph, observed: list[Observed], method: str, power_of_two: bool
) -> tuple[Tensor, ...]:
    """Scale and sign of every tensor.

    The input's is fixed by ``hil.nn.zoo``; a maximum pool keeps its input's; the last
    tensor's covers all values, because clipped logits would tie.
    """
    if method not in METHODS:
        raise ModelError(f"no calibration method {method!r}; known: {', '.join(METHODS)}")
    tensors = [Tensor(graph.input_shape, INPUT_SCALE, True)]
    for i, layer in enumerate(graph.layers, start=1):
        source = tensors[layer.inputs[0]]
        if layer.op is Op.MAXPOOL:
            tensors.append(Tensor(layer.shape, source.scale, source.signed))
            continue
        signed = not _never_negative(layer, [tensors[t] for t in layer.inputs])
        rule = "minmax" if i == len(graph.layers) else method
        scale = max(_scale(observed[i], signed, rule), _finest(layer, source, power_of_two))
        tensors.append(Tensor(layer.shape, _power_of_two(scale) if power_of_two else scale, signed))
    return tuple(tensors)


def _never_negative(layer: FloatLayer, sources: list[Tensor]) -> bool:
    """For any input, by construction: calibration images prove nothing about others."""
    keeps_sign = layer.op in (Op.ADD, Op.AVGPOOL) and not any(s.signed for s in sources)
    return layer.low >= 0 or keeps_sign


def _finest(layer: FloatLayer, source: Tensor, power_of_two: bool) -> float:
    """The output scale at which the layer's largest factor, which must stay below one half, is.

    A finer one would gain nothing: one step of the input already moves the output by 63 steps.
    """
    if layer.op is Op.AVGPOOL:
        step = 1 / (layer.kernel[0] * layer.kernel[1])
    elif layer.weight is not None:
        step = float(np.abs(layer.parameters()[0]).max()) / 127
        step = _power_of_two(step) if power_of_two and step > 0 else step
    else:
        return 0.0
    return source.scale * step * 2.001


def _scale(seen: Observed, signed: bool, method: str) -> float:
    """Real value of one step."""
    widest = max(seen.high / 127, -seen.low / 128) if signed else seen.high / 255
    if widest <= 0:
        return 1.0  # a tensor that is always zero: any scale holds it
    if method == "minmax":
        return widest
    if method == "percentile":
        magnitude = float(np.percentile(np.abs(seen.values), _PERCENTILE))
        return min(widest, magnitude / (127 if signed else 255)) or widest
    candidates = widest * np.linspace(0.3, 1.0, 71)
    values = seen.values[:: max(1, len(seen.values) // _SEARCH_SAMPLES)]
    errors = [_squared_error(values, scale, signed) for scale in candidates]
    return float(candidates[int(np.argmin(errors))])


def _squared_error(values: np.ndarray, scale: float, signed: bool) -> float:
    low, high = (-128, 127) if signed else (0, 255)
    exact = values.astype(np.float64)
    steps = np.clip(np.rint(exact / scale), low, high)
    return float(np.square(steps * scale - exact).mean())


def _power_of_two(scale: float) -> float:
    """The next power of two that is not smaller, so that nothing more is clipped."""
    return 2.0 ** math.ceil(math.log2(scale))
