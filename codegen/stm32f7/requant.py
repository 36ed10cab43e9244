"""Requantisation as the Cortex-M7 kernels take it."""

from __future__ import annotations

import numpy as np

from codegen.backend import Constant
from hil.core.errors import PlanError
from hil.core.network import Layer

SATURATIONS = {(-128, 127): ("__ssat", ", 8"), (0, 255): ("__usat", ", 8")}


def clamp_call(low: int, high: int) -> dict[str, str]:
    """Function and arguments that clamp to [low, high]: one instruction for a whole type."""
    call, arguments = SATURATIONS.get((low, high), ("clamp", f", {low}, {high}"))
    return {"clamp": call, "clamp_arguments": arguments}


def rounding_of(shift: int) -> int:
    """Half of the last place that ``shift`` keeps; 0 when nothing is shifted out."""
    return (1 << shift) >> 1


def weight_of(layer: Layer) -> np.ndarray:
    """The layer's weights; PlanError when it has none."""
    if layer.weight is None:
        raise PlanError(f"layer {layer.name}: {layer.op.value} without weights")
    return layer.weight


def requant_table(layer: Layer, channels: int, function: str) -> Constant:
    """(bias, multiplier, shift) of each channel, an even number of rows."""
    if layer.multiplier is None or layer.shift is None:
        raise PlanError(f"layer {layer.name}: {layer.op.value} without multiplier and shift")
    table = np.zeros((channels + channels % 2, 3), np.int32)
    if layer.bias is not None:
        table[:channels, 0] = layer.bias
    table[:channels, 1] = layer.multiplier
    table[:channels, 2] = layer.shift
    return Constant(
        f"{function}_requant", "int32_t", table.ravel(), "bias, multiplier, shift a channel"
    )
