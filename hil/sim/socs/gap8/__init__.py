"""The virtual GAP8: ``Gap8`` implements ``hil.sim.chip.Chip``."""

from hil.sim.socs.gap8.chip import Gap8

__all__ = ["Gap8"]
