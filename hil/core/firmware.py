"""A built image and what the bench must know about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of one memory that the image occupies."""

    memory: str
    used_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Firmware:
    """An ELF for a board with the first ``layers`` layers of a network in it.

    ``build_id`` is the SHA-256 over generated sources, board sources, flags and compiler
    version; the firmware reports it over the console. ``elf_sha256`` is the file's own.
    """

    board: str
    elf: Path
    build_id: str
    elf_sha256: str
    toolchain: str
    network: str
    network_digest: str
    layers: int
    memory_use: tuple[MemoryUse, ...]
