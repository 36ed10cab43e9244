"""The cloud's half: the float layers behind a cut, and what the device sent turned to floats."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hil.core.errors import ModelError
from hil.core.network import Tensor
from hil.nn.capture import capture
from hil.nn.float_graph import FloatGraph, GraphModule


def cloud_tail(model: nn.Module | FloatGraph, cut_name: str, image: int = 32) -> nn.Module:
    """The layers behind a cut, BatchNorm folded, as a module in evaluation mode.

    Input: the tensor that crosses, float32 (N, C, H, W). Output: logits (N, classes); behind
    the cut ``all`` there is nothing left, and the logits pass through. A model is captured
    first, for ``image`` x ``image`` pictures. Raises ModelError for an unknown cut.
    """
    if isinstance(model, FloatGraph):
        graph = model
    else:
        graph = capture(model, image, type(model).__name__)
    return GraphModule(graph, graph.cut(cut_name).layers).eval()


class ZeroFilled(nn.Module):
    """A tail that gets the first channels of its ``channels``; the others are zero.

    For networks that were not trained for slices: (N, i, H, W) for any i up to ``channels``.
    """

    def __init__(self, tail: nn.Module, channels: int):
        super().__init__()
        self.tail = tail
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = self.channels - x.shape[1]
        return self.tail(nn.functional.pad(x, (0, 0, 0, 0, 0, missing)))


def dequantise(values: np.ndarray, tensor: Tensor) -> torch.Tensor:
    """Received 8-bit values (N, H, W, i) to float32 (N, C, H, W), channels last in memory.

    The first i of the tensor's C channels were sent; the rest are zero.
    """
    height, width, channels = tensor.shape
    sent = values.shape[-1]
    if values.shape[1:3] != (height, width) or not 0 < sent <= channels:
        raise ModelError(
            f"received values of shape {values.shape}; the cut's tensor is {tensor.shape}"
        )
    if values.dtype != tensor.dtype:
        raise ModelError(f"received {values.dtype} values; the cut's tensor is {tensor.dtype}")
    full = np.zeros((len(values), height, width, channels), np.float32)
    np.multiply(values, np.float32(tensor.scale), out=full[..., :sent], dtype=np.float32)
    return torch.from_numpy(full).permute(0, 3, 1, 2)
