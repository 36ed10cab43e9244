"""Where what lies in the address space of the family (RM0385 section 2.2, DS10916 section 4)."""

from __future__ import annotations

from collections.abc import Iterable

from hil.sim.cores.cortex_m7.blocks import MemoryRegion
from hil.sim.cores.cortex_m7.bus import Window
from hil.sim.fault_report import Area

FLASH, FLASH_ALIAS = 0x08000000, 0x00200000
ITCM, ITCM_BYTES = 0x00000000, 16 << 10
RAM = 0x20000000
FACTORY, UNIQUE_ID, FLASH_SIZE = 0x1FF0F000, 0x1FF0F420, 0x1FF0F442
PERIPHERALS, PERIPHERAL_BYTES = 0x40000000, 0x00080000
PRIVATE, PRIVATE_BYTES = 0xE0000000, 0x00100000
DWT_BASE = 0xE0001000
# What the chip has and this model has not, as (base, end, name). Outside of these and of what is
# modelled nothing answers: a bus fault.
UNMODELLED = (
    (0x00100000, 0x00110000, "the boot loader in system memory"),
    (0x1FF00000, 0x1FF0F000, "the boot loader in system memory"),
    (0x1FFF0000, 0x1FFF0020, "the option bytes"),
    (0x50000000, 0x50061000, "an AHB2 peripheral"),
    (0x60000000, 0xA0002000, "external memory and its controllers (FMC, QUADSPI)"),
    (0xC0000000, 0xE0000000, "external SDRAM"),
)


def unmodelled(address: int) -> str:
    """What the chip has at ``address`` and the model has not; nothing elsewhere."""
    return next((name for base, end, name in UNMODELLED if base <= address < end), "")


def areas(
    memories: Iterable[MemoryRegion], windows: Iterable[Window], dtcm_bytes: int
) -> tuple[Area, ...]:
    """The address space by names, for reports."""
    sram = RAM + dtcm_bytes
    found = [Area(RAM, sram, "DTCM RAM")]
    for memory in memories:
        is_ram = memory.base == RAM
        found.append(
            Area(sram if is_ram else memory.base, memory.end, "SRAM" if is_ram else memory.name)
        )
    found += [Area(w.base, w.base + w.size, w.peripheral.name) for w in windows]
    found += [Area(base, end, f"{name}, not modelled") for base, end, name in UNMODELLED]
    found.append(Area(PERIPHERALS, PERIPHERALS + PERIPHERAL_BYTES, "peripherals"))
    found.append(Area(PRIVATE, PRIVATE + PRIVATE_BYTES, "the private peripheral bus"))
    return tuple(found)
