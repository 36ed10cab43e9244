"""A register file: named registers with reset values and write masks, everything else refused."""

from __future__ import annotations

from hil.sim.cores.cortex_m7.bus import BusError


class RegisterFile:
    """Registers by offset. ``layout`` maps a name to (offset, reset value, writable bits)."""

    def __init__(self, name: str, layout: dict[str, tuple[int, int, int]]) -> None:
        self.name = name
        self._names = {offset: register for register, (offset, _, _) in layout.items()}
        self._reset = {register: reset for register, (_, reset, _) in layout.items()}
        self._mask = {register: mask for register, (_, _, mask) in layout.items()}
        self._values = dict(self._reset)

    def reset(self) -> None:
        """All registers back to their reset values."""
        self._values = dict(self._reset)

    def register(self, offset: int) -> str:
        """The name of the register at ``offset``; BusError if there is none here."""
        if offset not in self._names:
            raise BusError(f"{self.name} has no modelled register at offset 0x{offset:x}")
        return self._names[offset]

    def __getitem__(self, register: str) -> int:
        return self._values[register]

    def __setitem__(self, register: str, value: int) -> None:
        self._values[register] = value & 0xFFFFFFFF

    def store(self, register: str, value: int) -> None:
        """A write by the program: only the writable bits change."""
        mask = self._mask[register]
        self._values[register] = (self._values[register] & ~mask) | (value & mask)

    def bit(self, register: str, number: int) -> bool:
        """One bit of a register."""
        return bool(self._values[register] >> number & 1)
