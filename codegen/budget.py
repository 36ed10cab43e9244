"""What of each memory is left for activations once weights, code and scratch have their share."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.arena import Region
from codegen.backend import LayerPlan
from hil.core.board import Board, Memory
from hil.core.errors import PlanError


def constant_bytes(plans: Sequence[LayerPlan]) -> int:
    """Bytes of all constants as the linker lays them out (each on a 4-byte boundary)."""
    return sum(-(-c.values.nbytes // 4) * 4 for plan in plans for c in plan.constants)


def check_scratch(plan: LayerPlan, board: Board, layer_name: str) -> None:
    """PlanError when a layer asks for more scratch than the board has."""
    memory = board.memories_for("scratch")[0]
    available = memory.size_bytes - memory.reserved_bytes
    if plan.scratch_bytes > available:
        raise PlanError(
            f"{board.name}: layer {layer_name} needs {plan.scratch_bytes} bytes of scratch, "
            f"memory {memory.name} has {available}; use a smaller kernel or fewer channels"
        )


def arena_regions(board: Board, plans: Sequence[LayerPlan]) -> tuple[Region, ...]:
    """Arena memories, best first, with what is left of each; PlanError if weights overflow one."""
    scratch = max(plan.scratch_bytes for plan in plans)
    weights = constant_bytes(plans)
    for memory in board.memories_for("weights"):
        if _left(memory, len(plans), weights, scratch) < 0:
            raise PlanError(
                f"{board.name}: {len(plans)} layers put {weights} bytes of weights into memory "
                f"{memory.name}, which has {_left(memory, len(plans), 0, scratch)} for them; "
                "cut the network earlier"
            )
    return tuple(
        Region(memory.name, max(0, _left(memory, len(plans), weights, scratch)))
        for memory in board.memories_for("arena")
    )


def _left(memory: Memory, layers: int, weights_bytes: int, scratch_bytes: int) -> int:
    left = memory.size_bytes - memory.reserved_bytes
    if "code" in memory.use:
        left -= memory.layer_bytes * layers
    if "weights" in memory.use:
        left -= weights_bytes
    if "scratch" in memory.use:
        left -= scratch_bytes
    return left
