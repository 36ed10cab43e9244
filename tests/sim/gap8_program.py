"""Helpers of the GAP8 tests: assemble a program with zig, and the prologue that starts a cluster.

The prologue (fabric controller) powers the cluster at its reset clock, enables both caches and
starts the eight cores at ``pe_main``; the test's ``fc_main`` runs meanwhile.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

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

    # Starts the cluster; clobbers t0-t3.
start_cluster:
    li t0, 0x1A104000
    li t1, 0x2A01          # power and clock by register, reset, FLL power-down as at entry
    sw t1, 0x70(t0)
    ori t1, t1, 8          # power on
    sw t1, 0x70(t0)
    li t2, 4000
1:  addi t2, t2, -1
    bnez t2, 1b
    sw zero, 0x0C(t0)
    li t1, 0x209
    sw t1, 0x70(t0)        # out of reset, clock on
    li t0, 0x10201400
    li t1, -1
    sw t1, 0(t0)
    li t0, 0x10200040
    la t1, pe_vectors
    li t2, 8
2:  sw t1, 0(t0)
    addi t0, t0, 4
    addi t2, t2, -1
    bnez t2, 2b
    li t0, 0x10200008
    li t1, 0xFF
    sw t1, 0(t0)
    ret

    # Ends the program with exit code a0.
exit_program:
    li t0, 0x1A1040A0
    lui t1, 0x80000
    or a0, a0, t1
    sw a0, 0(t0)
1:  j 1b

    .balign 256
pe_vectors:
    .space 0x80
    csrr a0, 0xF14
    li sp, 0x10010000
    slli t0, a0, 9
    sub sp, sp, t0
    j pe_main

    # A barrier of all cores; the caller's event mask must hold bit 16. Clobbers t0, t1.
barrier:
    li t0, 0x00204200
    .4byte 0x01C2E303      # p.elw t1, 0x1C(t0)
    ret

    # Barrier masks of all eight cores (by one core), and this core's event mask.
init_barrier:
    li t0, 0x00204200
    li t1, 0xFF
    sw t1, 0(t0)
    sw t1, 0x0C(t0)
listen_barrier:
    li t0, 0x00204000
    li t1, 0x10000
    sw t1, 0(t0)
    ret
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


def assemble(folder: Path, source: str, c_source: str = "") -> Path:
    """An ELF of the prologue, ``source`` (assembly, RVC off) and optional C."""
    name = hashlib.sha256((source + c_source).encode()).hexdigest()[:12]
    assembly, script = folder / f"{name}.S", folder / f"{name}.ld"
    assembly.write_text(PROLOGUE + source + "\n")
    script.write_text(LINKER)
    inputs = [str(assembly)]
    if c_source:
        (folder / f"{name}.c").write_text(c_source)
        inputs.append(str(folder / f"{name}.c"))
    elf = folder / f"{name}.elf"
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-T", str(script), *inputs]
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
