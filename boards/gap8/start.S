/* Entry, vectors and fault capture of the control core and the eight cluster cores. */

/* One 256-aligned table serves both kinds of core: the control core through mtvec, the cluster
 * cores as their boot address. Interrupt n and exceptions enter at offset 4 * n; the hardware adds
 * 0x80 to a cluster core's boot address, and older cores enter illegal instructions, ecall and bus
 * errors at 0x84 to 0x8C. No interrupt is ever enabled, so each entry is a fault. */
    .section .vectors, "ax", @progbits
    .balign 256
    .option push
    .option norvc
    .option norelax
    .globl vectors
vectors:
    .rept 32
    j fault
    .endr
    j cluster_start
    j fault
    j fault
    j fault
    .option pop

/* ------------------------------------------------------------------------------------------
 * Control core. The loader jumps to _start. board_reset() jumps to warm_start, where the image's
 * initialised data, changed meanwhile, come back from the copy that _start made.
 * ---------------------------------------------------------------------------------------- */
    .text
    .globl _start
_start:
    csrw 0x300, zero            /* mstatus: interrupts off, the loader may have left some on */
    csrw 0x7A1, zero            /* PCMR: performance counters run after reset */
    la a0, __data_copy
    la a1, __data_start
    la a2, __data_end
    sub a2, a2, a1
    li s0, 0
    j 1f

    .globl warm_start
warm_start:
    csrw 0x300, zero
    la a0, __data_start
    la a1, __data_copy
    la a2, __data_end
    sub a2, a2, a0
    li s0, 1
1:
    beqz a2, 3f
2:
    lw t0, 0(a1)
    sw t0, 0(a0)
    addi a0, a0, 4
    addi a1, a1, 4
    addi a2, a2, -4
    bnez a2, 2b
3:
    la t0, __bss_start
    la t1, __bss_end
4:
    bgeu t0, t1, 5f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 4b
5:
    la sp, __control_stack_top
    la t0, vectors
    csrw 0x305, t0              /* mtvec */
    la t0, start_was_warm
    sw s0, 0(t0)
    call main
6:
    j 6b

/* ------------------------------------------------------------------------------------------
 * Cluster cores: a stack each, then the C loop of their role.
 * ---------------------------------------------------------------------------------------- */
cluster_start:
    csrw 0x300, zero
    csrr a0, 0xF14              /* mhartid: cluster 0, so this is the core's number */
    andi a0, a0, 31
    bnez a0, 1f
    la sp, __master_stack_top
    j cluster_core
1:
    la sp, __worker_stacks_top
    la t0, __worker_stack_bytes
    addi t1, a0, -1
    mul t0, t0, t1
    sub sp, sp, t0
    j cluster_core

/* ------------------------------------------------------------------------------------------
 * Faults: fault_capture(cause, pc, ra, sp) does not return. The stack may be the reason for the
 * fault, so the control core takes a fresh one; a cluster core goes on with its own.
 * ---------------------------------------------------------------------------------------- */
fault:
    csrr a0, 0x342              /* mcause */
    csrr a1, 0x341              /* mepc */
    mv a2, ra
    mv a3, sp
    csrr t0, 0xF14
    andi t1, t0, 0x20 << 5      /* cluster id 32: the control core */
    beqz t1, 1f
    la sp, __control_stack_top
1:
    j fault_capture
