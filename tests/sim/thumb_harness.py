"""The program that runs the bodies of thumb_programs, built with zig (firmware/thumb_harness.S)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from thumb_programs import PROGRAM

FIRMWARE = Path(__file__).parent / "firmware"
FLAGS = (
    *("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp", "-g0"),
    *("-nostdlib", "-Wl,-e,start", "-T", str(FIRMWARE / "thumb_harness.ld")),
)
RAM, CPACR, FPU_ON = 0x20010000, 0xE000ED88, 0xF << 20


def build_harness(folder: Path) -> Path:
    """The ELF without bodies."""
    out = folder / "harness.elf"
    source = str(FIRMWARE / "thumb_harness.S")
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *FLAGS, source, "-o", str(out)], check=True
    )
    return out


def with_program(harness: Path, image: bytes, out: Path) -> Path:
    """The harness with ``image`` at its place."""
    raw = bytearray(harness.read_bytes())
    with harness.open("rb") as stream:
        segment = next(s for s in ELFFile(stream).iter_segments("PT_LOAD") if s["p_filesz"])
    at = segment["p_offset"] + PROGRAM - segment["p_vaddr"]
    raw[at : at + len(image)] = image
    out.write_bytes(raw)
    out.chmod(0o755)  # qemu-arm refuses, without a word, what is not executable
    return out
