"""Endless bare-metal loops for the simulators' speed, built with zig.

The Cortex-M7 has two: one whose data stay in DTCM, and one like a convolution's inner loop, whose
weights come from flash and whose results go to SRAM, so that the data cache misses all the time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import boards

CORTEX_M7_START = """
    .syntax unified
    .thumb
    .section .start, "ax"
    .word 0x20010000, start
    .type start, %function
    .global start
start:
    bl clock_init           @ boards/stm32f7: 216 MHz
    ldr r0, =0xE000EF50     @ ICIALLU, then CCR.IC and CCR.DC
    mov r1, #0
    str r1, [r0]
    ldr r0, =0xE000ED14
    ldr r1, [r0]
    orr r1, r1, #0x30000
    str r1, [r0]
    ldr r0, =0x20000000
    mov r3, #0
    mov r4, #0
"""
CORTEX_M7_DTCM = """
    mov r1, r0
    str r3, [r0]
    str r3, [r0, #4]
1:  mov r7, #64
2:  ldr r5, [r0]
    ldr r6, [r0, #4]
    smlad r3, r5, r6, r3
    smlad r4, r6, r5, r4
    ldr r5, [r1]
    ldr r6, [r1, #4]
    smlad r3, r5, r6, r3
    smlad r4, r6, r5, r4
    add r8, r3, r4
    eor r9, r8, r3
    subs r7, #1
    bne 2b
    b 1b
"""
# A turn takes 16 bytes of weights, four words of DTCM, and stores a word: 64 KB of flash and 16 KB
# of SRAM go through a cache of 4 KB, so that one in eight accesses to it misses.
CORTEX_M7_STREAM = """
1:  ldr r1, =0x08010000
    ldr r2, =0x20020000
    mov r7, #4096
2:  ldm r1!, {r5, r6, r8, r9}
    ldr r10, [r0]
    ldr r11, [r0, #4]
    smlad r3, r5, r10, r3
    smlad r4, r6, r11, r4
    ldr r10, [r0, #8]
    ldr r11, [r0, #12]
    smlad r3, r8, r10, r3
    smlad r4, r9, r11, r4
    add r12, r3, r4
    str r12, [r2], #4
    subs r7, #1
    bne 2b
    b 1b
"""
# The eight cores run one loop over L1: two loads, two products, so that they meet at the banks.
# The prologue powers the cluster with its reset clock and turns both instruction caches on.
GAP8 = """
    .section .start, "ax"
    .option norvc
    .globl _start
_start:
    li t0, 0x1B201400
    li t1, -1
    sw t1, 0(t0)
    li t0, 0x1A104000
    li t1, 0x2A01
    sw t1, 0x70(t0)
    ori t1, t1, 8
    sw t1, 0x70(t0)
    li t2, 4000
1:  addi t2, t2, -1
    bnez t2, 1b
    sw zero, 0x0C(t0)
    li t1, 0x209
    sw t1, 0x70(t0)
    li t0, 0x10201400
    li t1, -1
    sw t1, 0(t0)
    li t0, 0x10200040
    la t1, vectors
    li t2, 8
2:  sw t1, 0(t0)
    addi t0, t0, 4
    addi t2, t2, -1
    bnez t2, 2b
    li t0, 0x10200008
    li t1, 0xFF
    sw t1, 0(t0)
    wfi
    .balign 256
vectors:
    .space 0x80
    li t0, 0x10000000
    csrr t1, 0xF14
    andi t1, t1, 15
    slli t1, t1, 4
    add t1, t0, t1
    li a0, 0
    li a1, 0
3:  li t2, 64
4:  lw t3, 0(t0)
    lw t4, 4(t1)
    .word {dot_a0}    # pv.sdotsp.b a0, t3, t4
    .word {dot_a1}
    addi t2, t2, -1
    bnez t2, 4b
    j 3b
"""
SDOTSP_B = 0x57 | 46 << 26 | 1 << 12
T3, T4, A0, A1 = 28, 29, 10, 11


def cortex_m7(folder: Path, streams: bool = False) -> Path:
    """An ELF for the STM32F746 that never ends; ``streams``: through the data cache."""
    source = CORTEX_M7_START + (CORTEX_M7_STREAM if streams else CORTEX_M7_DTCM)
    board = Path(boards.__file__).parent / "stm32f7"
    more = ["-mcpu=cortex_m7", "-O2", "-I", str(board), str(board / "clock.c"), "-Wl,-e,start"]
    return _build(folder, source, 0x08000000, more, "thumb-freestanding-eabihf")


def gap8(folder: Path) -> Path:
    """An ELF for GAP8 whose eight cores never end."""
    dot_a0, dot_a1 = (hex(SDOTSP_B | rd << 7 | T3 << 15 | T4 << 20) for rd in (A0, A1))
    source = GAP8.format(dot_a0=dot_a0, dot_a1=dot_a1)
    cpu = ["-mcpu=generic_rv32+m+c-a-d-f", "-Wl,-e,_start"]
    return _build(folder, source, 0x1C010000, cpu, "riscv32-freestanding-none")


def _build(folder: Path, source: str, base: int, flags: list[str], target: str) -> Path:
    assembly, script, elf = (folder / f"loop.{suffix}" for suffix in ("s", "ld", "elf"))
    assembly.write_text(source)
    text = f".text 0x{base:x} : {{ KEEP(*(.start)) *(.text*) *(.rodata*) }}"
    script.write_text(f"SECTIONS {{ {text} /DISCARD/ : {{ *(.ARM*) }} }}\n")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-nostdlib", "-g0"]
    subprocess.run([*command, *flags, "-T", str(script), str(assembly), "-o", str(elf)], check=True)
    return elf
