"""The ELF loader against images packed here by hand from the gABI layout."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hil.core.elf import load_segments
from hil.core.errors import FirmwareError

EM_ARM, EM_RISCV = 40, 243
HEADER_BYTES, PROGRAM_HEADER_BYTES = 52, 32


def pack_elf(
    segments: list[tuple[int, int, bytes, int]], machine: int = EM_ARM, entry: int = 0x08000101
) -> bytes:
    """An ELF32 of (virtual, physical, data, memory_size) PT_LOAD segments and no sections."""
    offset = HEADER_BYTES + PROGRAM_HEADER_BYTES * len(segments)
    ident = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header = ident + struct.pack(
        "<HHIIIIIHHHHHH",
        2, machine, 1, entry, HEADER_BYTES, 0, 0,
        HEADER_BYTES, PROGRAM_HEADER_BYTES, len(segments), 0, 0, 0,
    )  # fmt: skip
    table, body = b"", b""
    for virtual, physical, data, size in segments:
        at = offset + len(body)
        table += struct.pack("<8I", 1, at, virtual, physical, len(data), size, 5, 4)
        body += data
    return header + table + body


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_load_address_is_the_physical_one(tmp_path: Path) -> None:
    raw = pack_elf(
        [(0x08000000, 0x08000000, b"code", 4), (0x20000000, 0x08000004, b"\1\2\3\4", 16)]
    )
    image = load_segments(write(tmp_path / "a.elf", raw), "EM_ARM")
    assert image.entry == 0x08000101
    assert [(s.address, s.data, s.memory_size) for s in image.segments] == [
        (0x08000000, b"code", 4),
        (0x08000004, b"\1\2\3\4", 16),
    ]
    assert image.segments[1].virtual_address == 0x20000000
    assert image.segments[0].end == 0x08000004


def test_noload_memory_yields_an_empty_segment(tmp_path: Path) -> None:
    raw = pack_elf([(0, 0, b"x", 1), (0x1C000000, 0x1C000000, b"", 65536)], EM_RISCV)
    image = load_segments(write(tmp_path / "a.elf", raw), "EM_RISCV")
    assert image.segments[1].data == b"" and image.segments[1].memory_size == 65536


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"MZ not an ELF at all, only text", "not a usable ELF"),
        (pack_elf([(0, 0, b"code", 4)])[:40], "not a usable ELF"),
        (pack_elf([(0, 0, b"code" * 9, 36)])[:-5], "truncated"),
        (pack_elf([(0, 0, b"code", 2)]), "damaged"),
        (pack_elf([(0, 0, b"code", 4)], EM_RISCV), "EM_RISCV, this chip needs EM_ARM"),
        (pack_elf([]), "no PT_LOAD"),
        (pack_elf([(0, 0, b"", 0)]), "no PT_LOAD"),
        (b"\x7fELF\x02" + pack_elf([(0, 0, b"code", 4)])[5:], "ELF"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, raw: bytes, says: str) -> None:
    path = write(tmp_path / "bad.elf", raw)
    with pytest.raises(FirmwareError, match=says) as caught:
        load_segments(path, "EM_ARM")
    assert "bad.elf" in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match=r"no\.elf"):
        load_segments(tmp_path / "no.elf")


def test_missing_symbol_is_named(tmp_path: Path) -> None:
    image = load_segments(write(tmp_path / "a.elf", pack_elf([(0, 0, b"code", 4)])))
    with pytest.raises(FirmwareError, match="Reset_Handler"):
        image.symbol("Reset_Handler")
