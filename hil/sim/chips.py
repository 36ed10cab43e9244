"""The virtual chips by board name."""

from __future__ import annotations

from importlib import import_module

from hil.core.errors import SimulationError
from hil.sim.chip import Chip

# Imported when asked for: a simulator compiles code at import, and one bench needs one of them.
CHIPS = {
    "gap8": ("hil.sim.socs.gap8", "Gap8"),
    "stm32f746": ("hil.sim.socs.stm32f7", "Stm32F746"),
}


def make_chip(board: str) -> Chip:
    """A new, blank chip for ``board``; SimulationError lists the boards that have one."""
    if board not in CHIPS:
        raise SimulationError(f"no virtual chip for board {board!r}; there are: {', '.join(CHIPS)}")
    module, name = CHIPS[board]
    return getattr(import_module(module), name)()
