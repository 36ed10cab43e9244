"""Which backend generates for which board. Imported when asked for: each is a package."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from codegen.backend import Backend
from hil.core.errors import PlanError

MODULES = {
    "gap8": "codegen.gap8.backend",
    "stm32f746": "codegen.stm32f7.backend",
    "stm32f767": "codegen.stm32f7.backend",
}


def backend_for(board_name: str) -> Backend:
    """The backend of a board; PlanError lists the boards that have one."""
    if board_name not in MODULES:
        known = ", ".join(sorted(MODULES))
        raise PlanError(f"board {board_name!r} has no code generator; known: {known}")
    return cast(Backend, import_module(MODULES[board_name]))
