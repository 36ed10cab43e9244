"""The debug port of the virtual STM32F7: core, memories, and its flash by sectors.

Flash sectors as in RM0385 section 3.3.1, table 3, and for the F767 as in RM0410 with one bank, seen
at 0x08000000 (AXIM) and at 0x00200000 (ITCM). Programming works as on the chip through a debug
probe: sectors are erased to 0xFF, and only erased bytes can be written. It takes no time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.core import CortexM7
from hil.sim.cores.cortex_m7.debug import PC_NUMBER, REGISTERS
from hil.sim.debug import Region, check_flash, check_sectors
from hil.sim.socs.stm32f7.variant import KB, Variant

ERASED = 0xFF


def flash_regions(base: int, sectors: tuple[tuple[int, int], ...]) -> tuple[Region, ...]:
    """The sectors from ``base`` on, those of a size together."""
    regions, at = [], base
    for count, size in sectors:
        regions.append(Region(at, count * size, "flash", size))
        at += count * size
    return tuple(regions)


class Steps(Protocol):
    """The chip, as far as a step goes through it."""

    def step(self) -> Stop | None:
        """One instruction; None: done."""


class Stm32Debugger:
    """See :class:`hil.sim.debug.Debugger`."""

    architecture = "arm"
    core_names = ("Cortex-M7",)
    registers = REGISTERS
    program_in_ram = False
    pc_number = PC_NUMBER

    def __init__(
        self, chip: Steps, flash: np.ndarray, base: int, alias: int, variant: Variant
    ) -> None:
        self._chip = chip
        self._flash = flash
        self._base = base
        self._alias = alias
        self._breakpoints: set[int] = set()
        self.regions = (
            Region(0x00000000, 16 * KB, "ram"),  # ITCM
            Region(alias, len(flash), "rom"),
            *flash_regions(base, variant.sectors),
            Region(0x1FF0F000, 4 * KB, "rom"),  # unique id and flash size
            Region(0x20000000, variant.ram_bytes, "ram"),
            Region(0x40000000, 512 * KB, "ram"),  # peripherals
            Region(0xE0000000, 1024 * KB, "ram"),  # private peripheral bus
        )

    def attach(self, core: CortexM7) -> None:
        """Take the core of this power-on; breakpoints stay."""
        self._core = core
        core.debug.break_at(self._breakpoints)

    def set_breakpoint(self, address: int) -> None:
        """Stop before the instruction at ``address``."""
        if address & 1 or self._memory(address, 2) is None:
            raise SimulationError(f"no code can be at 0x{address:08x}")
        self._breakpoints.add(address)
        self._core.debug.break_at(self._breakpoints)

    def clear_breakpoint(self, address: int) -> None:
        """Take it away."""
        self._breakpoints.discard(address)
        self._core.debug.break_at(self._breakpoints)

    def stopped_core(self) -> int:
        """There is one."""
        return 0

    def step(self, core: int) -> Stop | None:
        """One instruction."""
        return self._chip.step()

    def core_state(self, core: int) -> str:
        """In a handler or not."""
        exception = self._core.running_exception
        return f"handling exception {exception}" if exception else "in thread mode"

    # Registers

    def read_register(self, core: int, number: int) -> int:
        """A register of ``registers``."""
        self._check_register(number)
        return self._core.debug.read_register(number)

    def write_register(self, core: int, number: int, value: int) -> None:
        """The same for writing."""
        self._check_register(number)
        self._core.jump(number, value)

    @staticmethod
    def _check_register(number: int) -> None:
        if not 0 <= number < len(REGISTERS):
            raise SimulationError(f"no register {number}")

    # Memory

    def read_memory(self, address: int, size: int) -> bytes:
        """Memory, or a device: 1 or 2 bytes, or whole words."""
        data = self._memory(address, size)
        if data is not None:
            return data.tobytes()
        unit = self._device_unit(address, size)
        try:
            parts = [self._core.bus.read(address + at, unit)[0] for at in range(0, size, unit)]
        except (BusError, SimulationError) as error:
            raise SimulationError(f"0x{address:08x}: {error}") from error
        return b"".join(part.to_bytes(unit, "little") for part in parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """The same for writing; not flash."""
        memory = self._memory(address, len(data))
        if memory is not None:
            if self._read_only(address):
                raise SimulationError(
                    f"0x{address:08x} is read-only memory; flash is erased and programmed"
                )
            memory[:] = np.frombuffer(data, np.uint8)
            self._core.debug.code_changed()
            self._core.forget_blocks()
            return
        unit = self._device_unit(address, len(data))
        try:
            for at in range(0, len(data), unit):
                value = int.from_bytes(data[at : at + unit], "little")
                self._core.bus.write(address + at, unit, value)
        except (BusError, SimulationError) as error:
            raise SimulationError(f"0x{address:08x}: {error}") from error

    def erase_flash(self, address: int, size: int) -> None:
        """Set whole sectors to 0xFF."""
        check_sectors(self.regions, address, size)
        at = address - self._base
        self._flash[at : at + size] = ERASED
        self._flash_changed()

    def write_flash(self, address: int, data: bytes) -> None:
        """Program erased flash."""
        check_flash(self.regions, address, len(data))
        at = address - self._base
        place = self._flash[at : at + len(data)]
        if (place != ERASED).any():
            first = address + int(np.flatnonzero(place != ERASED)[0])
            raise SimulationError(f"flash at 0x{first:08x} is not erased")
        place[:] = np.frombuffer(data, np.uint8)
        self._flash_changed()

    def _flash_changed(self) -> None:
        self._core.debug.code_changed()
        self._core.forget_blocks()

    def _memory(self, address: int, size: int) -> np.ndarray | None:
        for memory in self._core.memories:
            if memory.base <= address and address + size <= memory.end:
                return memory.data[address - memory.base :][:size]
        return None

    def _read_only(self, address: int) -> bool:
        return any(m.base <= address < m.end and not m.writable for m in self._core.memories)

    @staticmethod
    def _device_unit(address: int, size: int) -> int:
        if size in (1, 2) and address % size == 0:
            return size
        if address % 4 or size % 4:
            raise SimulationError(f"{size} bytes at 0x{address:08x} are neither memory nor words")
        return 4
