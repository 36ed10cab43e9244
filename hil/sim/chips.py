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


def make_chip(board: str, data_cache: str = "", core_v: float | None = None) -> Chip:
    """A new, blank chip for ``board``; SimulationError lists the boards that have one.

    ``data_cache`` chooses how an STM32F7 times its data cache ("average" or "lines"), ``core_v``
    the voltage with which a GAP8's core starts (1.0 to 1.2 V). SimulationError also for a chip
    without that choice.
    """
    if board not in CHIPS:
        raise SimulationError(f"no virtual chip for board {board!r}; there are: {', '.join(CHIPS)}")
    module, name = CHIPS[board]
    chip = getattr(import_module(module), name)
    if data_cache and not board.startswith("stm32f7"):
        raise SimulationError(f"data_cache {data_cache!r}: the virtual {board} has no data cache")
    if core_v is not None and board != "gap8":
        raise SimulationError(
            f"core_v {core_v:g}: the virtual {board} has no choice of core voltage"
        )
    options: dict[str, object] = {}
    if data_cache:
        options["data_cache"] = data_cache
    if core_v is not None:
        options["core_v"] = core_v
    made: Chip = chip(**options)
    return made
