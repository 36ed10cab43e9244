"""Read a firmware ELF by its program headers, as a flasher or a boot ROM would.

Sections are a linker's view and say nothing about what is put on the chip: only PT_LOAD segments
do. A segment's *physical* address is where its bytes are stored (flash for ``.data``); start-up
code copies them to their virtual address. NOLOAD memory has no file bytes and yields a segment
with empty ``data``.

Source: System V gABI, chapter 5 "Program Header"; machine numbers EM_ARM 40, EM_RISCV 243.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from hil.core.errors import FirmwareError


@dataclass(frozen=True)
class Segment:
    """One PT_LOAD segment: ``data`` at its load address, then zeros up to ``memory_size`` bytes.

    ``address`` is the physical (load) address, ``virtual_address`` where the code expects it.
    """

    address: int
    data: bytes
    memory_size: int
    virtual_address: int

    @property
    def end(self) -> int:
        """The first address behind the bytes that the file holds."""
        return self.address + len(self.data)


@dataclass(frozen=True)
class ElfImage:
    """What a chip needs of an ELF: the entry point, the segments and the symbols by name."""

    path: Path
    machine: str
    entry: int
    segments: tuple[Segment, ...]
    symbols: dict[str, int] = field(repr=False)

    def symbol(self, name: str) -> int:
        """The address of symbol ``name``; FirmwareError if the image has none."""
        if name not in self.symbols:
            raise FirmwareError(
                f"{self.path}: no symbol {name!r} among {len(self.symbols)}; "
                "link without --strip-all, or check the name"
            )
        return self.symbols[name]


def load_segments(path: Path, machine: str | None = None) -> ElfImage:
    """Read the PT_LOAD segments of the 32-bit little-endian ELF at ``path``.

    ``machine`` is the expected e_machine name (``"EM_ARM"``, ``"EM_RISCV"``); None accepts any.
    FirmwareError: not an ELF, truncated, wrong machine, class or byte order, nothing to load.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{path}: cannot read the firmware: {error.strerror}") from error
    try:
        return _parse(path, raw, machine)
    except (ELFError, UnicodeDecodeError, ValueError, KeyError, IndexError) as error:
        raise FirmwareError(
            f"{path}: not a usable ELF ({len(raw)} bytes, starts {raw[:4].hex() or 'empty'}): "
            f"{type(error).__name__} {error}; rebuild the firmware"
        ) from error


def _parse(path: Path, raw: bytes, machine: str | None) -> ElfImage:
    elf = ELFFile(BytesIO(raw))
    found = str(elf["e_machine"])
    if elf.elfclass != 32 or not elf.little_endian:
        order = "little" if elf.little_endian else "big"
        raise FirmwareError(f"{path}: ELF{elf.elfclass} {order}-endian, need ELF32 little-endian")
    if machine is not None and found != machine:
        raise FirmwareError(
            f"{path}: built for {found}, this chip needs {machine}; build for the right board"
        )
    segments = _load_segments(path, elf, len(raw))
    if not segments:
        raise FirmwareError(f"{path}: no PT_LOAD segment holds anything; link an executable")
    return ElfImage(path, found, int(elf["e_entry"]), segments, _symbols(elf))


def _load_segments(path: Path, elf: ELFFile, file_bytes: int) -> tuple[Segment, ...]:
    segments = []
    for index, part in enumerate(elf.iter_segments()):
        if part["p_type"] != "PT_LOAD" or part["p_memsz"] == 0:
            continue
        end = part["p_offset"] + part["p_filesz"]
        if end > file_bytes:
            raise FirmwareError(
                f"{path}: truncated: segment {index} ends at byte {end} of a {file_bytes}-byte file"
            )
        if part["p_filesz"] > part["p_memsz"]:
            raise FirmwareError(
                f"{path}: segment {index} has {part['p_filesz']} bytes for {part['p_memsz']} "
                "bytes of memory; the file is damaged"
            )
        segments.append(Segment(part["p_paddr"], part.data(), part["p_memsz"], part["p_vaddr"]))
    return tuple(segments)


def _symbols(elf: ELFFile) -> dict[str, int]:
    found: dict[str, int] = {}
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if symbol.name and symbol["st_shndx"] != "SHN_UNDEF":
                    found[symbol.name] = int(symbol["st_value"])
    return found
