"""Registers without a function, and the clock gate in front of a peripheral."""

from __future__ import annotations

from collections.abc import Callable

from hil.sim.cores.cortex_m7.bus import Peripheral
from hil.sim.cores.cortex_m7.registers import RegisterFile


class PlainRegisters:
    """Registers that only keep what is written."""

    def __init__(self, name: str, layout: dict[str, tuple[int, int, int]]) -> None:
        self.name = name
        self._file = RegisterFile(name, layout)

    def read(self, offset: int) -> int:
        return self._file[self._file.register(offset)]

    def write(self, offset: int, value: int) -> None:
        self._file.store(self._file.register(offset), value)


class Gated:
    """A peripheral behind its RCC enable bit: reads 0 and ignores writes while that is clear."""

    def __init__(
        self, inner: Peripheral, enabled: Callable[[], bool], refused: Callable[[str], None]
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._enabled = enabled
        self._refused = refused

    def read(self, offset: int) -> int:
        if self._enabled():
            return self._inner.read(offset)
        self._refused(f"{self.name} read at 0x{offset:x} while its clock is off: 0")
        return 0

    def write(self, offset: int, value: int) -> None:
        if self._enabled():
            self._inner.write(offset, value)
        else:
            self._refused(f"{self.name} written at 0x{offset:x} while its clock is off: ignored")
