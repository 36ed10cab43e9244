"""GAP8 programs in assembly with Xpulp, linked with zig.

``Gap8Programs`` run on any target, on the control core and the cluster
(docs/instruction-tests.md). ``assemble`` makes an ELF for tests of the virtual chip itself: it
starts at ``fc_main``, cluster cores (``start_cluster``) at ``pe_main``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from targets import Programs, Target, words, write_words
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

FIRMWARE = Path(__file__).parent / "firmware"
CLUSTER = (FIRMWARE / "gap8_cluster.S").read_text()
ON_TARGET = (FIRMWARE / "gap8_on_target.S").read_text()

FLAGS = (
    "-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c-a-d-f", "-O2", "-ffreestanding",
    "-nostdlib", "-g0", "-Wl,-e,_start",
)  # fmt: skip

LINKER = """
SECTIONS {
  . = 0x1C010000;
  .text : ALIGN(256) { *(.boot) *(.text .text.*) *(.rodata .rodata.*) *(.data .data.* .sdata*) }
  .bss (NOLOAD) : ALIGN(16) { *(.bss .bss.* .sbss .sbss.*) }
}
"""

# The control core starts the cluster, sets 150 MHz and sleeps.
FC_AT_150_MHZ = """
fc_main:
    jal start_cluster
    li t1, 0xC80023C3      # 150 MHz: both loops at 9155 * 32768 / 2 Hz
    li t2, 9155
    li t0, 0x1A100000
    sw t1, 4(t0)
1:  lw t3, 0(t0)
    bne t3, t2, 1b
    sw t1, 0x14(t0)
2:  lw t3, 0x10(t0)
    bne t3, t2, 2b
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""

PROLOGUE = """
    .section .boot, "ax"
    .option norvc
    .globl _start
_start:
    la sp, 0x1C010000
    csrw 0x7A1, zero
    li t0, 0x1B201400
    li t1, -1
    sw t1, 0(t0)
    j fc_main

    # Ends the program with exit code a0.
exit_program:
    li t0, 0x1A1040A0
    lui t1, 0x80000
    or a0, a0, t1
    sw a0, 0(t0)
1:  j 1b
"""

# An FC or cluster cores that sleep for good: no event is in their mask.
FC_SLEEPS = """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
PES_SLEEP = """
pe_main:
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""


# On the control core: HyperBus and its pads on, RAM on chip select 0 and flash from 0x01000000 on;
# its base in s2. Clobbers t0 to t2.
HYPERBUS_ON = """
    li t0, 0x1A102780
    lw t1, 0(t0)
    ori t1, t1, 8
    sw t1, 0(t0)
    li t0, 0x1A104148          # pads 36, 37, 40 to 50: function 3
    lw t1, 0(t0)
    li t2, 0xFFFF0F00
    or t1, t1, t2
    sw t1, 0(t0)
    lw t1, 4(t0)
    ori t1, t1, 0x3F
    sw t1, 4(t0)
    li s2, 0x1A102180
    li t1, 0x700               # latency 7, base 0
    sw t1, 0x28(s2)
    li t1, 4                   # RAM
    sw t1, 0x34(s2)
    li t1, 0x701               # latency 7, base 1 << 24
    sw t1, 0x38(s2)
    sw zero, 0x44(s2)          # flash
"""


class Gap8Programs(Programs):
    """Programs of an assembly source, behind the frame of ``gap8_on_target.S``."""

    def __init__(self, source: str, target: Target, folder: Path) -> None:
        path = folder / "gap8_programs.S"
        path.write_text(translate(f"{ON_TARGET}\n{CLUSTER}\n{source}\n"))
        self.ram = target.ram
        super().__init__(path, "gap8", target, folder)

    def on_cluster(
        self,
        function: str,
        parameters: Sequence[int] = (),
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        """Runs ``function`` on all cluster cores, with up to 16 words as its parameters."""

        def before() -> None:
            write_words(self._target, self.symbols["parameters"], *parameters)
            prepare()

        self.run("on_cluster", before, a0=self.symbols[function])

    def words(self, count: int) -> tuple[int, ...]:
        """What the program has stored from ``results`` on."""
        return words(self._target, self.symbols["results"], count)


def assemble(folder: Path, source: str) -> Path:
    """An ELF of the prologue and ``source`` (assembly, RVC off)."""
    name = hashlib.sha256(source.encode()).hexdigest()[:12]
    assembly, script = folder / f"{name}.S", folder / f"{name}.ld"
    assembly.write_text(f"{PROLOGUE}{translate(CLUSTER)}\n{source}\n")
    script.write_text(LINKER)
    elf = folder / f"{name}.elf"
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-T", str(script), str(assembly)]
    done = subprocess.run([*command, "-o", str(elf)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"assembler: {done.stderr}")
    return elf


def run_to_exit(folder: Path, source: str, duration_s: float = 0.05) -> Gap8:
    """The chip that has run an Xpulp program to its end."""
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(source)))
    assert chip.run(duration_s) is Stop.EXITED, chip.fault
    return chip
