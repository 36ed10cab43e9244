# The way of boards/gap8 to a running cluster, and a barrier; for programs in assembly. Linked behind
# what defines `pe_main`, where each cluster core arrives with its number in a0.

# On the control core: the cluster off if it is still on, then on, at the control core's clock, both
# caches on, all cores fetching. Clobbers t0 to t6.
    .macro await_soc_event number
91: lw t1, 0(t3)
    bgez t1, 91b               # bit 31: the FIFO gave an event
    andi t1, t1, 0xFF
    li t2, \number
    bne t1, t2, 91b
    .endm

start_cluster:
    csrw mstatus, zero
    li t0, 0x1B201400
    li t1, -1
    sw t1, 0(t0)               # the control core's instruction cache: on, empty
    sw t1, 4(t0)
    la t0, barrier_ready
    sw zero, 0(t0)
    li t0, 0x1A106000          # SoC events 31 (power) and 35 (clock gate) are for this core
    lw t1, 8(t0)
    slli t1, t1, 1
    srli t1, t1, 1
    sw t1, 8(t0)
    lw t1, 4(t0)
    andi t1, t1, -9
    sw t1, 4(t0)
    li t3, 0x1B200F00
1:  lw t1, 0(t3)               # what was left in the FIFO
    bltz t1, 1b
    li t0, 0x1A104000
    li t5, 0x400               # bit 10: clock gated
    lw t4, 0x70(t0)
    andi t1, t4, 8
    beqz t1, 2f

    li t1, 0x10200000          # still on from the program before
    sw zero, 8(t1)
    or t4, t4, t5
    sw t4, 0x70(t0)
    await_soc_event 35
    li t1, 1
    sw t1, 0x0C(t0)            # isolated
    andi t4, t4, -9            # off
    sw t4, 0x70(t0)
    li t1, 0x2000
    or t4, t4, t1              # reset
    sw t4, 0x70(t0)
    await_soc_event 31

2:  li t1, 0x2201              # power and clock by this register, reset
    or t4, t4, t1
    sw t4, 0x70(t0)
    and t1, t4, t5
    bnez t1, 3f                # the event only comes when the gate moves
    or t4, t4, t5
    sw t4, 0x70(t0)
    await_soc_event 35
3:  ori t4, t4, 8              # on
    sw t4, 0x70(t0)
    await_soc_event 31
    sw zero, 0x0C(t0)
    li t1, 0xFFFFC7FF          # neither reset nor its FLL off or retained
    and t4, t4, t1
    sw t4, 0x70(t0)
    xor t4, t4, t5             # clock on
    sw t4, 0x70(t0)
    await_soc_event 35

    li t0, 0x1A100000          # its FLL, from a seed, to the control core's multiplier and divider
    li t1, 0x00501909
    sw t1, 0x18(t0)
    li t1, 332 << 16
    sw t1, 0x1C(t0)
    lw t1, 4(t0)
    li t2, 0xC0000000
    or t1, t1, t2
    sw t1, 0x14(t0)
    slli t1, t1, 16
    srli t1, t1, 16
4:  lw t2, 0x10(t0)            # locked: within 8 of the multiplier
    slli t2, t2, 16
    srli t2, t2, 16
    sub t2, t2, t1
    addi t2, t2, 8
    li t6, 16
    bgtu t2, t6, 4b

    li t0, 0x10201400
    li t1, -1
    sw t1, 0(t0)
    li t0, 0x10200040
    la t1, pe_vectors
    li t2, 8
5:  sw t1, 0(t0)
    addi t0, t0, 4
    addi t2, t2, -1
    bnez t2, 5b
    li t0, 0x10200008
    li t1, 0xFF
    sw t1, 0(t0)
    ret

    .balign 256
pe_vectors:
    .space 0x80                # the hardware starts a core this far behind its boot address
    csrr a0, 0xF14
    li sp, 0x10010000
    slli t0, a0, 9
    sub sp, sp, t0
    j pe_main

# Each core calls this once, its number in a0: barrier 0 is for all eight, and ends a core's wait.
# Clobbers t0, t1.
join_barrier:
    la t0, barrier_ready
    bnez a0, 1f
    li t1, 0x00204200
    li t2, 0xFF
    sw t2, 0(t1)
    sw t2, 0x0C(t1)
    sw t2, 0(t0)
1:  lw t1, 0(t0)
    beqz t1, 1b
    li t0, 0x00204000
    li t1, 0x10000
    sw t1, 0(t0)
    ret

# A barrier of all cores. Clobbers t0, t1.
barrier:
    li t0, 0x00204200
    p.elw t1, 0x1C(t0)
    ret

    .balign 4
barrier_ready: .4byte 0
