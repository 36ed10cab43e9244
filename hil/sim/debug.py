"""What a simulated chip offers to a debugger: stop, step, registers, memory, flash.

A debugger is a second way to a chip beside ``hil.sim.chip.Chip``, used only between two calls of
``Chip.run``. Looking costs the chip no time: no cycle passes and no energy is drawn while
registers and memory are read or written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hil.core.errors import SimulationError
from hil.sim.chip import Stop


@dataclass(frozen=True)
class Register:
    """A register as GDB's target description names it. ``number`` is its place in that list."""

    name: str
    bits: int
    feature: str
    kind: str = ""  # GDB's type: "code_ptr", "data_ptr", "ieee_double"; empty: an integer


@dataclass(frozen=True)
class Region:
    """A range of addresses; ``sector_bytes`` is set for flash."""

    start: int
    size: int
    kind: str  # "ram", "rom" or "flash", as in GDB's memory map
    sector_bytes: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


class Debugger(Protocol):
    """The debug port of a chip. All methods raise SimulationError for what the chip has not.

    ``core`` counts from 0; core 0 is the one that starts.
    """

    architecture: str  # GDB's name
    core_names: tuple[str, ...]
    registers: tuple[Register, ...]
    pc_number: int
    program_in_ram: bool  # what was loaded is lost at a reset
    regions: tuple[Region, ...]

    def core_state(self, core: int) -> str:
        """One word for people: "running", "asleep", "held"."""

    def read_register(self, core: int, number: int) -> int:
        """The value, unsigned."""

    def write_register(self, core: int, number: int, value: int) -> None:
        """Set a register; the program counter too."""

    def read_memory(self, address: int, size: int) -> bytes:
        """Memory, or whole registers of a device with the side effects a read has on it."""

    def write_memory(self, address: int, data: bytes) -> None:
        """The same for writing. Flash is refused: ``erase_flash`` and ``write_flash``."""

    def erase_flash(self, address: int, size: int) -> None:
        """Erase whole sectors."""

    def write_flash(self, address: int, data: bytes) -> None:
        """Program erased flash."""

    def set_breakpoint(self, address: int) -> None:
        """``Chip.run`` returns Stop.BREAK before an instruction there is executed."""

    def clear_breakpoint(self, address: int) -> None:
        """Take it away; nothing happens where there is none."""

    def stopped_core(self) -> int:
        """The core that met the last breakpoint or fault."""

    def step(self, core: int) -> Stop | None:
        """Execute one instruction of ``core``, a breakpoint there or not; None: done.

        An exception that is pending is entered instead. Other cores run for as long as that
        takes. A sleeping core may not wake: WAITING.
        """


def check_flash(regions: tuple[Region, ...], address: int, size: int) -> list[Region]:
    """The flash regions that hold ``address`` ... ``address + size``, in order.

    SimulationError when not all of it is flash.
    """
    found, at = [], address
    for region in sorted(regions, key=lambda region: region.start):
        if region.kind == "flash" and region.start <= at < region.end and at < address + size:
            found.append(region)
            at = region.end
    if at < address + size or not found:
        raise SimulationError(f"{size} bytes at 0x{address:08x} are not all flash")
    return found


def check_sectors(regions: tuple[Region, ...], address: int, size: int) -> None:
    """SimulationError unless the range begins and ends at borders of flash sectors."""
    for region in check_flash(regions, address, size):
        for border in (address, address + size):
            inside = region.start <= border < region.end
            if inside and (border - region.start) % region.sector_bytes:
                raise SimulationError(
                    f"0x{border:08x} is no border of a flash sector: they have "
                    f"{region.sector_bytes} bytes from 0x{region.start:08x} on"
                )
