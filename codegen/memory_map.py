"""Bytes of each of the board's memories that an ELF occupies."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from hil.core.board import Board
from hil.core.errors import BuildError
from hil.core.firmware import MemoryUse

SHF_ALLOC = 2  # ELF specification, section flags: occupies memory while running


def memory_use(elf: Path, board: Board) -> tuple[MemoryUse, ...]:
    """Use of every memory of the board, in its order.

    A section counts where it lives while running; one that is copied there at start (.data)
    counts at its load address as well. BuildError names a section outside every memory.
    """
    used = {memory.name: 0 for memory in board.memories}
    for name, address, size in occupied_ranges(elf):
        memory = next(
            (m for m in board.memories if m.base <= address < m.base + m.size_bytes), None
        )
        if memory is None or address + size > memory.base + memory.size_bytes:
            raise BuildError(
                f"{board.name}: {elf.name}: section {name}, {size} bytes at 0x{address:08x}, lies "
                "in no memory of board.toml"
            )
        used[memory.name] += size
    return tuple(MemoryUse(m.name, used[m.name], m.size_bytes) for m in board.memories)


def occupied_ranges(elf: Path) -> list[tuple[str, int, int]]:
    """(section, address, bytes) of everything that takes memory, load images included."""
    ranges: list[tuple[str, int, int]] = []
    try:
        with elf.open("rb") as stream:
            image = ELFFile(stream)
            for section in image.iter_sections():
                if section["sh_flags"] & SHF_ALLOC and section["sh_size"] > 0:
                    ranges.append((section.name, section["sh_addr"], section["sh_size"]))
            for segment in image.iter_segments("PT_LOAD"):
                if segment["p_filesz"] > 0 and segment["p_paddr"] != segment["p_vaddr"]:
                    ranges.append(("load image", segment["p_paddr"], segment["p_filesz"]))
    except (OSError, ELFError) as error:
        raise BuildError(f"{elf.name}: cannot read the ELF: {error}") from error
    return ranges
