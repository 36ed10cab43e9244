"""The memory-mapped side of the core: who answers at which address.

A peripheral sees aligned 32-bit accesses only; narrower ones are cut from or merged into a word
here, which is what the AHB-to-APB bridges do for the registers modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class BusError(Exception):
    """An access that the chip would refuse, or that this model does not know. Ends the run."""


class Peripheral(Protocol):
    """A block of registers. Offsets are multiples of 4 from the peripheral's base."""

    name: str

    def read(self, offset: int) -> int:
        """The register's value; BusError if the offset is not modelled."""

    def write(self, offset: int, value: int) -> None:
        """Write the register; BusError if the offset or the value is not modelled."""


@dataclass(frozen=True)
class Window:
    """A peripheral's place in the address map; ``stall_cycles`` is the core's wait a access."""

    base: int
    size: int
    peripheral: Peripheral
    stall_cycles: float


class Bus:
    """Finds the peripheral of an address; windows are multiples of 1 KB, as on the chip."""

    def __init__(self, windows: list[Window]) -> None:
        self._pages: dict[int, Window] = {}
        for window in windows:
            for page in range(window.base >> 10, (window.base + window.size + 1023) >> 10):
                self._pages[page] = window

    def window(self, address: int) -> Window:
        """The window that holds ``address``; BusError names it where there is none."""
        found = self._pages.get(address >> 10)
        if found is None:
            raise BusError("access to a peripheral that this model does not have")
        return found

    def read(self, address: int, size: int) -> tuple[int, float]:
        """(value, stall cycles) of a read of 1, 2 or 4 bytes."""
        window = self.window(address)
        word = window.peripheral.read((address & ~3) - window.base)
        if size != 4:
            word = (word >> (8 * (address & 3))) & ((1 << (8 * size)) - 1)
        return word, window.stall_cycles

    def write(self, address: int, size: int, value: int) -> float:
        """Stall cycles of a write of 1, 2 or 4 bytes."""
        window = self.window(address)
        offset = (address & ~3) - window.base
        if size != 4:
            shift, mask = 8 * (address & 3), (1 << (8 * size)) - 1
            word = window.peripheral.read(offset) & ~(mask << shift) & 0xFFFFFFFF
            value = word | ((value & mask) << shift)
        window.peripheral.write(offset, value & 0xFFFFFFFF)
        return window.stall_cycles
