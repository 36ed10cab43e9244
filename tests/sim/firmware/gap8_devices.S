# Small programs for tests/sim/test_devices_gap8.py: each runs on the control core from its label to
# `stop`, with results in registers. Linked to the RAM of the target.

    .option norvc
    .section .text, "ax"
    .globl stop
stop:
    j stop

    .globl identity             # a0: mhartid
identity:
    csrr a0, 0xF14
    j stop

    .globl timers               # a0, a1: cycles of a loop by the FC's timer and its own counter
timers:
    csrwi 0x7A0, 1              # PCER: cycles
    csrwi 0x7A1, 1              # PCMR: count
    li t0, 0x1B200400
    li t1, 3                    # enabled, from 0
    sw t1, 0(t0)
    lw a2, 8(t0)
    csrr a3, 0x780
    li t2, 1000
1:  addi t2, t2, -1
    bnez t2, 1b
    lw a0, 8(t0)
    csrr a1, 0x780
    sub a0, a0, a2
    sub a1, a1, a3
    j stop

    .globl masks                # a0 to a2: the event mask after a store, an or, an and-not
masks:
    li t0, 0x00204000
    li t1, 0x30
    sw t1, 0(t0)
    lw a0, 0(t0)
    li t1, 0x1000
    sw t1, 8(t0)
    lw a1, 0(t0)
    li t1, 0x10
    sw t1, 4(t0)
    lw a2, 0(t0)
    sw zero, 0(t0)
    j stop

    .globl software_event       # a0: event 3 in the buffer, a1: after it has been cleared
software_event:
    li t0, 0x00204000
    li t1, -1
    sw t1, 0x28(t0)
    sw t1, 0x10C(t0)
    nop
    nop
    lw a0, 0x1C(t0)
    li t1, 8
    sw t1, 0x28(t0)
    lw a1, 0x1C(t0)
    j stop

    .globl lanes                # a5: where to; a0 the word, a1 a byte with its sign, a2 unaligned
lanes:
    li t1, 0x11223344
    sw t1, 0(a5)
    li t1, 0x95
    sb t1, 1(a5)
    li t1, 0x6677
    sh t1, 2(a5)
    li t1, 0x8899AABB
    sw t1, 4(a5)
    lw a0, 0(a5)
    lb a1, 1(a5)
    lw a2, 3(a5)
    j stop
