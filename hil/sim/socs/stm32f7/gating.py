"""Registers without a function, and the clock gate and reset in front of a peripheral."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hil.sim.cores.cortex_m7.bus import Peripheral
from hil.sim.cores.cortex_m7.registers import RegisterFile


class Resettable(Peripheral, Protocol):
    """A peripheral with a reset bit in RCC."""

    def reset(self) -> None:
        """Its registers and what they do, back to the state after a reset of the chip."""


class PlainRegisters:
    """Registers that only keep what is written."""

    def __init__(self, name: str, layout: dict[str, tuple[int, int, int]]) -> None:
        self.name = name
        self._file = RegisterFile(name, layout)

    def reset(self) -> None:
        """All registers back to their reset values."""
        self._file.reset()

    def read(self, offset: int) -> int:
        return self._file[self._file.register(offset)]

    def write(self, offset: int, value: int) -> None:
        self._file.store(self._file.register(offset), value)


class Gated:
    """A peripheral behind its RCC enable and reset bits: reads 0 and ignores writes while it does
    not run."""

    def __init__(
        self, inner: Peripheral, runs: Callable[[], bool], refused: Callable[[str], None]
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._runs = runs
        self._refused = refused

    def read(self, offset: int) -> int:
        if self._runs():
            return self._inner.read(offset)
        self._refused(f"{self.name} read at 0x{offset:x} without a clock or in reset: 0")
        return 0

    def write(self, offset: int, value: int) -> None:
        if self._runs():
            self._inner.write(offset, value)
        else:
            self._refused(
                f"{self.name} written at 0x{offset:x} without a clock or in reset: ignored"
            )
