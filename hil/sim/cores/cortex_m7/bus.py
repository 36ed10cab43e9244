"""The memory-mapped side of the core: who answers at which address.

A peripheral sees aligned 32-bit accesses only; narrower ones are cut from or merged into a word
here. (The bridges to an STM32's APBs repeat a byte or halfword over the word that is written.)
"""

from __future__ import annotations

from collections.abc import Callable
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
    """A peripheral's place in the address map; ``stall_cycles`` is the core's wait an access.

    ``act_on_ones``: offsets of registers in which each one written does something (clears a flag,
    say) and a zero nothing, so that a narrow write leaves the other bytes alone as zeros.
    """

    base: int
    size: int
    peripheral: Peripheral
    stall_cycles: float
    act_on_ones: frozenset[int] = frozenset()


class Bus:
    """Finds the peripheral of an address; windows are multiples of 1 KB, as on the chip.

    ``absent`` names what the chip has at an address where there is no window, or "".
    """

    def __init__(
        self, windows: list[Window], absent: Callable[[int], str] = lambda address: ""
    ) -> None:
        self._absent = absent
        self._pages: dict[int, Window] = {}
        for window in windows:
            for page in range(window.base >> 10, (window.base + window.size + 1023) >> 10):
                self._pages[page] = window

    def _window(self, address: int) -> Window:
        """The window that holds ``address``; BusError says what is there instead."""
        found = self._pages.get(address >> 10)
        if found is None:
            name = self._absent(address) or "a reserved address"
            raise BusError(f"access to {name}, which is not modelled")
        return found

    def read(self, address: int, size: int) -> tuple[int, float]:
        """(value, stall cycles) of a read of 1, 2 or 4 bytes."""
        window = self._window(address)
        word = window.peripheral.read((address & ~3) - window.base)
        if size != 4:
            word = (word >> (8 * (address & 3))) & ((1 << (8 * size)) - 1)
        return word, window.stall_cycles

    def write(self, address: int, size: int, value: int) -> float:
        """Stall cycles of a write of 1, 2 or 4 bytes."""
        window = self._window(address)
        offset = (address & ~3) - window.base
        if size != 4:
            shift, mask = 8 * (address & 3), (1 << (8 * size)) - 1
            kept = 0 if offset in window.act_on_ones else window.peripheral.read(offset)
            value = kept & ~(mask << shift) | (value & mask) << shift
        window.peripheral.write(offset, value & 0xFFFFFFFF)
        return window.stall_cycles
