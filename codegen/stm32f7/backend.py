"""The STM32F746's share of code generation (codegen.backend.Backend)."""

from __future__ import annotations

from collections.abc import Callable

from codegen.backend import LayerPlan
from codegen.stm32f7.depthwise import plan_depthwise
from codegen.stm32f7.matmul import plan_conv2d, plan_linear, plan_pointwise
from codegen.stm32f7.simple import plan_add, plan_avgpool, plan_maxpool
from hil.core.board import Board
from hil.core.network import Network, Op

PLANNERS: dict[Op, Callable[[Network, int], LayerPlan]] = {
    Op.CONV: plan_conv2d,
    Op.POINTWISE: plan_pointwise,
    Op.DEPTHWISE: plan_depthwise,
    Op.LINEAR: plan_linear,
    Op.ADD: plan_add,
    Op.AVGPOOL: plan_avgpool,
    Op.MAXPOOL: plan_maxpool,
}


def plan_layer(network: Network, index: int, board: Board) -> LayerPlan:
    """Plan of layer ``index``; codegen.budget checks its scratch bytes against the board."""
    layer = network.layers[index]
    if layer.op is Op.POINTWISE and (layer.stride != (1, 1) or any(layer.pad)):
        return plan_conv2d(network, index)  # its pixels are not one dense block of rows
    return PLANNERS[layer.op](network, index)
