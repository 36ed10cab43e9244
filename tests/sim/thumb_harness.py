"""The program that runs the bodies of thumb_programs, built with zig (firmware/thumb_harness.S)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from targets import Ram
from thumb_programs import Layout

from hil.core.elf import load_segments

SOURCE = Path(__file__).parent / "firmware" / "thumb_harness.S"
FLAGS = (
    *("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp", "-g0"),
    *("-nostdlib", "-Wl,-e,start"),
)
CPACR, FPU_ON = 0xE000ED88, 0xF << 20
IN_FLASH = Layout(0x08000000, 0x30000, 0x20010000, 0x40000)  # of an STM32F746, data in SRAM


def in_ram(ram: Ram) -> Layout:
    """All in the RAM of a target: a quarter for the program, the rest for what it does."""
    text_bytes = ram.size // 4 & ~0xFFF
    return Layout(ram.start, text_bytes, ram.start + text_bytes, ram.size - text_bytes)


@dataclass(frozen=True)
class Harness:
    """The ELF without bodies, and where it is to lie."""

    elf: Path
    layout: Layout

    def place(self, symbol: str) -> int:
        """The address of a label: ``start``, ``finish``, ``enable_fpu``, ``enabled``."""
        return load_segments(self.elf).symbol(symbol) & ~1


def build_harness(layout: Layout, folder: Path) -> Harness:
    """Assembled and linked for ``layout``."""
    out, script = folder / "harness.elf", folder / "harness.ld"
    script.write_text(
        f"SECTIONS {{ .text {layout.text} : {{ KEEP(*(.text)) }}\n"
        f".ram {layout.ram} (NOLOAD) : {{ *(.ram) }} }}\n"
    )
    sizes = {"RAM": layout.ram, "RAM_BYTES": layout.ram_bytes, "TEXT_BYTES": layout.text_bytes}
    defined = [f"-D{name}={value}" for name, value in sizes.items()]
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *defined, "-T", str(script)]
    subprocess.run([*command, str(SOURCE), "-o", str(out)], check=True)
    return Harness(out, layout)


def with_program(harness: Harness, image: bytes, out: Path) -> Path:
    """The harness with ``image`` at its place."""
    raw = bytearray(harness.elf.read_bytes())
    with harness.elf.open("rb") as stream:
        segment = next(s for s in ELFFile(stream).iter_segments("PT_LOAD") if s["p_filesz"])
    at = segment["p_offset"] + harness.layout.program - segment["p_vaddr"]
    raw[at : at + len(image)] = image
    out.write_bytes(raw)
    out.chmod(0o755)  # qemu-arm refuses, without a word, what is not executable
    return out
