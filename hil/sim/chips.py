"""The virtual chips by board name."""

from __future__ import annotations

from importlib import import_module

from hil.core.errors import SimulationError
from hil.sim.chip import Chip

# Imported when asked for: a simulator compiles code at import, and one bench needs one of them.
CHIPS = {
    "gap8": ("hil.sim.socs.gap8", "Gap8"),
    "stm32f746": ("hil.sim.socs.stm32f7", "Stm32F746"),
    "stm32f767": ("hil.sim.socs.stm32f7", "Stm32F767"),
}


def make_chip(board: str, data_cache: str = "") -> Chip:
    """A new, blank chip for ``board``; SimulationError lists the boards that have one.

    ``data_cache`` chooses how an STM32F7 times its data cache ("average" or "lines").
    """
    if board not in CHIPS:
        raise SimulationError(f"no virtual chip for board {board!r}; there are: {', '.join(CHIPS)}")
    module, name = CHIPS[board]
    chip = getattr(import_module(module), name)
    if data_cache and not board.startswith("stm32f7"):
        raise SimulationError(f"data_cache {data_cache!r}: the virtual {board} has no data cache")
    return chip(data_cache=data_cache) if data_cache else chip()
