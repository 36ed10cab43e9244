"""A captured network before quantisation: ordered float layers, BatchNorm already folded.

Same numbering as ``hil.core.network``: tensor 0 is the input, tensor ``i + 1`` the output of
layer ``i``. ``GraphModule`` runs it, or the part of it behind a cut, as a torch module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hil.core.errors import ModelError
from hil.core.network import Cut, Op


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """One layer with its activation fused; parameters are float32.

    ``weight`` has the layout of ``hil.core.network.Layer``. ``shape`` is the output's
    (height, width, channels); ``low`` and ``high`` bound it (ReLU6: 0 and 6). ``module`` is
    the place in the model it came from.
    """

    name: str
    op: Op
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    low: float = -math.inf
    high: float = math.inf
    module: str = ""

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a layer that has them; ModelError for one that has not."""
        if self.weight is None or self.bias is None:
            raise ModelError(f"layer {self.name}: {self.op.value} without weight and bias")
        return self.weight, self.bias


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """Layers in execution order and the legal cuts between them."""

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[FloatLayer, ...]
    cuts: tuple[Cut, ...] = field(default=())

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(height, width, channels) of every tensor."""
        return (self.input_shape, *(layer.shape for layer in self.layers))

    def cut(self, name: str) -> Cut:
        """The cut of that name; ModelError lists the known ones."""
        for cut in self.cuts:
            if cut.name == name:
                return cut
        known = ", ".join(cut.name for cut in self.cuts)
        raise ModelError(f"{self.name}: no cut {name!r}; known: {known}")


class GraphModule(nn.Module):
    """The layers from number ``first`` on, as a torch module.

    Input: tensor ``first``, float32 (N, C, H, W). Output: the last tensor, (N, features) if
    it is one pixel, else (N, C, H, W).
    """

    def __init__(self, graph: FloatGraph, first: int = 0):
        super().__init__()
        self.first = first
        self.specs = graph.layers[first:]
        self.layers = nn.ModuleList(_LayerModule(layer) for layer in graph.layers[first:])
        reads = [t for layer in graph.layers[first:] for t in layer.inputs]
        if any(t < first for t in reads):
            raise ModelError(
                f"{graph.name}: layers after number {first} also read tensors before it; "
                "split at a cut"
            )
        self.last_use = {t: i for i, layer in enumerate(graph.layers[first:]) for t in layer.inputs}

    def tensors(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Tensor ``first`` and all after it, each (N, C, H, W)."""
        made = [x]
        for spec, layer in zip(self.specs, self.layers, strict=True):
            made.append(layer(*(made[t - self.first] for t in spec.inputs)))
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        alive = {self.first: x}
        for i, (spec, layer) in enumerate(zip(self.specs, self.layers, strict=True)):
            x = layer(*(alive[t] for t in spec.inputs))
            alive = {t: v for t, v in alive.items() if self.last_use[t] > i}
            if self.first + i + 1 in self.last_use:
                alive[self.first + i + 1] = x
        return x.flatten(1) if x.shape[-2:] == (1, 1) else x


class _LayerModule(nn.Module):
    """One float layer; weights become parameters in torch's own layout."""

    def __init__(self, layer: FloatLayer):
        super().__init__()
        self.spec = layer
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if layer.weight is not None:
            weight, bias = layer.parameters()
            self.weight = nn.Parameter(torch.from_numpy(_torch_layout(layer.op, weight)))
            self.bias = nn.Parameter(torch.from_numpy(bias.copy()))

    def extra_repr(self) -> str:
        return f"{self.spec.name}: {self.spec.op.value} -> {self.spec.shape}"

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        result = x + y if y is not None else self._one_input(x)
        if self.spec.low == -math.inf and self.spec.high == math.inf:
            return result
        return result.clamp(self.spec.low, self.spec.high)

    def _one_input(self, x: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        if spec.op is Op.AVGPOOL:
            return functional.avg_pool2d(x, spec.kernel, spec.stride)
        top, left, bottom, right = spec.pad
        around = (left, right, top, bottom)
        if spec.op is Op.MAXPOOL:
            x = functional.pad(x, around, value=-math.inf)
            return functional.max_pool2d(x, spec.kernel, spec.stride)
        assert self.weight is not None
        if spec.op is Op.LINEAR:
            features = x.permute(0, 2, 3, 1).flatten(1)
            return functional.linear(features, self.weight, self.bias)[:, :, None, None]
        pad = (top, left)
        if pad != (bottom, right):  # conv2d pads both sides alike
            x, pad = functional.pad(x, around), (0, 0)
        groups = x.shape[1] if spec.op is Op.DEPTHWISE else 1
        return functional.conv2d(x, self.weight, self.bias, spec.stride, pad, groups=groups)


def _torch_layout(op: Op, weight: np.ndarray) -> np.ndarray:
    """conv (cout, cin, kh, kw); depthwise (c, 1, kh, kw); linear as it is."""
    if op is Op.DEPTHWISE:
        weight = weight[:, None]
    elif op is not Op.LINEAR:
        weight = weight.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(weight, dtype=np.float32)
