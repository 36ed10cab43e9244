"""What a board's code generator gives for one layer: all arithmetic done, ready to lay out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hil.core.board import Board
from hil.core.network import Network


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant array of the image: C type and values (flattened in C order)."""

    name: str
    c_type: str
    values: np.ndarray
    comment: str


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """One generated C function.

    ``template``: path below codegen/templates. ``context``: what the template names, no more.
    ``scratch_bytes``: bytes of the board's "scratch" memory the function uses while it runs.
    ``constants``: arrays the function reads, in their board-specific order and packing.
    ``code_bytes``: code of the generated file and whatever tables it holds itself; whether a cut
    fits is decided by it before anything is compiled, so it must not be too low for any compiler.
    """

    template: str
    function: str
    context: dict[str, Any]
    constants: tuple[Constant, ...]
    scratch_bytes: int
    code_bytes: int


class Backend(Protocol):
    """A board's share of code generation."""

    def plan_layer(self, network: Network, index: int, board: Board) -> LayerPlan:
        """Tiles, buffers and packed weights of layer ``index``.

        Raises PlanError naming layer, memory and bytes when it fits no tiling.
        """
