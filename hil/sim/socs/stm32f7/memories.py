"""The memories of the chip: what a power-on leaves in them, and how an ELF gets into flash."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from hil.core.elf import ElfImage, Segment
from hil.core.errors import SimulationError
from hil.sim.cores.cortex_m7.blocks import MemoryRegion
from hil.sim.socs.stm32f7.memory_map import (
    FACTORY,
    FLASH,
    FLASH_ALIAS,
    FLASH_SIZE,
    ITCM,
    ITCM_BYTES,
    RAM,
    UNIQUE_ID,
)
from hil.sim.socs.stm32f7.variant import Variant

ERASED = 0xFF
POISON = 0xDEADBEEF
FACTORY_BYTES = 4096
UNIQUE_ID_BYTES = 12


def _memory(size: int, fill: int) -> np.ndarray:
    memory = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    memory[:] = fill
    return memory


class Memories:
    """Flash, ITCM, DTCM with both SRAMs, and the bytes that the maker has burnt in."""

    def __init__(self, variant: Variant, unique_id: bytes) -> None:
        if len(unique_id) != UNIQUE_ID_BYTES:
            raise SimulationError(f"unique id of {len(unique_id)} bytes; the chip's has 12")
        self._part = variant.part
        self.flash = _memory(variant.flash_bytes, ERASED)
        self._itcm = _memory(ITCM_BYTES, ERASED)
        self._ram = _memory(variant.ram_bytes, ERASED)
        self._factory = _memory(FACTORY_BYTES, ERASED)
        self._burn(UNIQUE_ID, unique_id)
        self._burn(FLASH_SIZE, (variant.flash_bytes >> 10).to_bytes(2, "little"))

    def _burn(self, address: int, data: bytes) -> None:
        at = address - FACTORY
        self._factory[at : at + len(data)] = np.frombuffer(data, np.uint8)

    def regions(self) -> list[MemoryRegion]:
        """All of them at their addresses; flash is seen at two."""
        return [
            MemoryRegion("ITCM", ITCM, self._itcm),
            MemoryRegion("flash (ITCM port)", FLASH_ALIAS, self.flash, writable=False),
            MemoryRegion("flash", FLASH, self.flash, writable=False),
            MemoryRegion("factory", FACTORY, self._factory, writable=False),
            MemoryRegion("RAM", RAM, self._ram),
        ]

    def power_on(self) -> None:
        """RAM holds anything: a pattern that shows when it is used."""
        for ram in (self._ram, self._itcm):
            ram.view("<u4")[:] = POISON

    def vectors(self) -> tuple[int, int]:
        """Stack pointer and entry from the start of flash."""
        stack, entry = self.flash[:8].view("<u4")
        return int(stack), int(entry)

    def store(self, path: Path, image: ElfImage) -> None:
        """Erase flash and program what the headers of ``image`` load there."""
        self.flash[:] = ERASED
        for segment in image.segments:
            self._check_place(path, segment)
            if segment.data:
                self._program(path, segment)

    def _check_place(self, path: Path, segment: Segment) -> None:
        start = segment.virtual_address
        if not any(
            base <= start and start + segment.memory_size <= base + size
            for base, size in (
                (FLASH, len(self.flash)),
                (FLASH_ALIAS, len(self.flash)),
                (RAM, len(self._ram)),
                (ITCM, ITCM_BYTES),
            )
        ):
            raise SimulationError(
                f"{path}: segment at 0x{start:08x}, {segment.memory_size} bytes, is outside "
                f"flash, ITCM and RAM of the {self._part}; check the linker script"
            )

    def _program(self, path: Path, segment: Segment) -> None:
        base = FLASH if segment.address >= FLASH else FLASH_ALIAS
        if not (base <= segment.address and segment.end <= base + len(self.flash)):
            raise SimulationError(
                f"{path}: segment of {len(segment.data)} bytes is to be stored at "
                f"0x{segment.address:08x}, which is not flash; give it a load address (AT>FLASH)"
            )
        at = segment.address - base
        self.flash[at : at + len(segment.data)] = np.frombuffer(segment.data, np.uint8)
