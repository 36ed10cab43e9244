"""Registers of a GAP8 by its debugger, while the control core spins in one instruction."""

from __future__ import annotations

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.gap8 import layout as L

SPIN = 0x0000006F  # j .
SOC_EVENT_MASK_HIGH, SOC_EVENT_FIFO = 0x1A106004, 0x1B200F00
UDMA_CLOCKS = 0x1A102780


def spinning(chip: Gap8) -> Gap8:
    """``chip`` after a reset, its control core in an endless loop."""
    chip.reset()
    chip.load_words(L.L2_BASE, [SPIN])
    return chip


def read(chip: Gap8, address: int) -> int:
    """A register; SimulationError as the chip refuses it."""
    return int.from_bytes(chip.debugger.read_memory(address, 4), "little")


def write(chip: Gap8, address: int, value: int) -> None:
    """Writes a register; SimulationError as the chip refuses it."""
    chip.debugger.write_memory(address, value.to_bytes(4, "little"))


def pass_time(chip: Gap8, duration_s: float) -> None:
    """Lets the chip run."""
    assert chip.run(duration_s) is Stop.BUDGET, chip.fault
