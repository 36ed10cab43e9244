"""Addition and pooling."""

from __future__ import annotations

from typing import Any

from codegen.backend import LayerPlan
from codegen.names import layer_function
from codegen.stm32f7.code_size import ADD_BYTES, AVGPOOL_BYTES, MAXPOOL_BYTES
from codegen.stm32f7.matmul import kind_of
from codegen.stm32f7.requant import clamp_call, rounding_of
from hil.core.errors import PlanError
from hil.core.network import Network

LOWEST = {"s8": "0x80808080u", "u8": "0"}


def plan_add(network: Network, index: int) -> LayerPlan:
    """Two tensors of one shape, each with its factor."""
    layer = network.layers[index]
    x, y = (network.tensors[t] for t in layer.inputs)
    if x.shape != y.shape:
        raise PlanError(f"layer {layer.name}: adds {x.shape} and {y.shape}")
    multiplier, shift = _parameters(network, index)
    context = {
        "elements": x.size_bytes,
        "x_type": x.c_type,
        "y_type": y.c_type,
        "x_factor": multiplier[0],
        "y_factor": multiplier[1],
        "rounding": rounding_of(shift),
        "shift": shift,
        **clamp_call(*layer.clamp),
    }
    return _plan(network, index, "add", context, ADD_BYTES)


def plan_avgpool(network: Network, index: int) -> LayerPlan:
    """Sums of whole windows, requantised."""
    layer = network.layers[index]
    if any(layer.pad):
        raise PlanError(f"layer {layer.name}: average pooling with padding {layer.pad}")
    multiplier, shift = _parameters(network, index)
    context = {
        **_window(network, index),
        "in_type": network.tensors[layer.inputs[0]].c_type,
        "multiplier": multiplier[0],
        "rounding": rounding_of(shift),
        "shift": shift,
        **clamp_call(*layer.clamp),
    }
    return _plan(network, index, "avgpool", context, AVGPOOL_BYTES)


def plan_maxpool(network: Network, index: int) -> LayerPlan:
    """Largest of a window clipped to the image."""
    layer = network.layers[index]
    kind = kind_of(network.tensors[layer.inputs[0]].signed)
    context = {
        **_window(network, index),
        "in_height": network.tensors[layer.inputs[0]].shape[0],
        "pad_top": layer.pad[0],
        "pad_left": layer.pad[1],
        "lowest": LOWEST[kind],
        "larger": f"larger_{kind}",
    }
    return _plan(network, index, "maxpool", context, MAXPOOL_BYTES)


def _parameters(network: Network, index: int) -> tuple[list[int], int]:
    layer = network.layers[index]
    if layer.multiplier is None or layer.shift is None:
        raise PlanError(f"layer {layer.name}: {layer.op.value} without multiplier and shift")
    return layer.multiplier.tolist(), int(layer.shift[0])


def _window(network: Network, index: int) -> dict[str, Any]:
    layer = network.layers[index]
    out_height, out_width, channels = network.tensors[index + 1].shape
    return {
        "in_width": network.tensors[layer.inputs[0]].shape[1],
        "channels": channels,
        "kernel_height": layer.kernel[0],
        "kernel_width": layer.kernel[1],
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "out_height": out_height,
        "out_width": out_width,
    }


def _plan(
    network: Network, index: int, template: str, context: dict[str, Any], code_bytes: int
) -> LayerPlan:
    function = layer_function(network, index)
    return LayerPlan(f"stm32f7/{template}.c.j2", function, context, (), 0, code_bytes)
