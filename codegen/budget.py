"""What of each memory is left for activations once image, stacks and scratch have their share.

The account is made before anything is compiled, and is never below what the linker will need:
constants and tables are exact, code is each backend's upper bound (``LayerPlan.code_bytes``), and
``reserved_bytes`` of board.toml holds what is the same for every network. So a cut that the
planner allows also links; tests/codegen/test_budget.py compares both.
"""

from __future__ import annotations

from collections.abc import Sequence

from codegen.arena import ALIGNMENT_BYTES, Region
from codegen.backend import LayerPlan
from hil.core.board import Board, Memory
from hil.core.errors import PlanError
from hil.core.network import Network

WORD_BYTES = 4
ENTRY_BYTES = 16  # layer_t of boards/common/network.h: three pointers and a size


def constant_bytes(plans: Sequence[LayerPlan]) -> int:
    """Bytes of all constants as the linker lays them out (each on a 4-byte boundary)."""
    return sum(_align(c.values.nbytes, WORD_BYTES) for plan in plans for c in plan.constants)


def code_bytes(network: Network, plans: Sequence[LayerPlan]) -> int:
    """Bytes, at most, of the layers' functions, their tables and their rows in network.c."""
    names = (layer.name for layer in network.layers[: len(plans)])
    rows = sum(ENTRY_BYTES + _align(len(name.encode()) + 1, WORD_BYTES) for name in names)
    return rows + sum(_align(plan.code_bytes, WORD_BYTES) for plan in plans)


def check_scratch(plan: LayerPlan, board: Board, layer_name: str) -> None:
    """PlanError when a layer asks for more scratch than the board has."""
    memory = board.memories_for("scratch")[0]
    available = memory.size_bytes - memory.reserved_bytes
    if plan.scratch_bytes > available:
        raise PlanError(
            f"{board.name}: layer {layer_name} needs {plan.scratch_bytes} bytes of scratch, "
            f"memory {memory.name} has {available}; use a smaller kernel or fewer channels"
        )


def occupied_bytes(network: Network, board: Board, plans: Sequence[LayerPlan]) -> dict[str, int]:
    """Bytes of each memory, by name, that all but the activations take: never too few.

    The result is a multiple of the arena's alignment, so the arena can begin there.
    """
    shares = {
        "code": code_bytes(network, plans),
        "weights": constant_bytes(plans),
        "scratch": _align(max(plan.scratch_bytes for plan in plans), ALIGNMENT_BYTES),
    }
    return {memory.name: _occupied(memory, shares) for memory in board.memories}


def arena_regions(network: Network, board: Board, plans: Sequence[LayerPlan]) -> tuple[Region, ...]:
    """Arena memories, best first, with what is left of each.

    PlanError if anything but activations overflows a memory, naming memory and bytes.
    """
    occupied = occupied_bytes(network, board, plans)
    for memory in board.memories:
        over = occupied[memory.name] - memory.size_bytes
        if over > 0:
            raise PlanError(_overflow(network, board, plans, memory, over))
    return tuple(
        Region(memory.name, memory.size_bytes - occupied[memory.name])
        for memory in board.memories_for("arena")
    )


def _occupied(memory: Memory, shares: dict[str, int]) -> int:
    used = memory.reserved_bytes + sum(shares.get(use, 0) for use in memory.use)
    return _align(used, ALIGNMENT_BYTES)


def _overflow(
    network: Network, board: Board, plans: Sequence[LayerPlan], memory: Memory, over: int
) -> str:
    return (
        f"{board.name}: {len(plans)} layers put {constant_bytes(plans)} bytes of weights and up to "
        f"{code_bytes(network, plans)} of code and tables into memory {memory.name} of "
        f"{memory.size_bytes}, where {memory.reserved_bytes} are reserved: {over} too many; cut "
        "the network earlier"
    )


def _align(size_bytes: int, alignment: int) -> int:
    return -(-size_bytes // alignment) * alignment
