"""GAP8's share of code generation (codegen.backend.Backend).

Each layer is cut into tiles that fit L1. A tile is a row of constants in the generated C (what
the DMA moves, what the kernel is told); boards/gap8/tiles.c runs such rows and the kernels are
there too, so a layer's own C holds no loop. The planner tries all near-equal ways to cut rows
and channels and takes the one with the least estimated time.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen.backend import LayerPlan
from codegen.gap8.conv import plan_conv
from codegen.gap8.depthwise import plan_depthwise
from codegen.gap8.elementwise import plan_add, plan_pool
from hil.core.board import Board
from hil.core.network import Network, Op

PLANNERS: dict[Op, Callable[[Network, int, Board], LayerPlan]] = {
    Op.CONV: plan_conv,
    Op.POINTWISE: plan_conv,
    Op.LINEAR: plan_conv,
    Op.DEPTHWISE: plan_depthwise,
    Op.ADD: plan_add,
    Op.AVGPOOL: plan_pool,
    Op.MAXPOOL: plan_pool,
}


def plan_layer(network: Network, index: int, board: Board) -> LayerPlan:
    """Tiles and packed weights of layer ``index``; PlanError if no tile of it fits L1."""
    return PLANNERS[network.layers[index].op](network, index, board)
