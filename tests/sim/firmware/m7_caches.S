// The caches of a Cortex-M7, for tests/sim/test_caches_cortex_m7.py. Linked to RAM behind them.

#include "m7_program.inc"

    .equ DCISW, SCB + 0x260
    .equ DCCISW, SCB + 0x274

program stop
    b stop

    .thumb_func
each_line: // of the data cache, to the register at r1
    ldr r0, =SCB
    movs r2, #0
    str r2, [r0, #0x84] // CSSELR
    dsb
    ldr r2, [r0, #0x80] // CCSIDR
    ubfx r3, r2, #13, #15
    ubfx r2, r2, #3, #10
1:  mov r4, r2
2:  lsls r0, r3, #5
    orr r0, r0, r4, lsl #30
    str r0, [r1]
    subs r4, r4, #1
    bpl 2b
    subs r3, r3, #1
    bpl 1b
    dsb
    isb
    bx lr

    .thumb_func
switch: // CCR: the bits of r8 on, both caches empty before
    mov r12, lr
    ldr r1, =DCISW
    bl each_line
    ldr r0, =SCB
    movs r1, #0
    str r1, [r0, #0x250] // ICIALLU
    dsb
    isb
    ldr r1, [r0, #0x14]
    orr r1, r1, r8
    str r1, [r0, #0x14]
    dsb
    isb
    bx r12

    .thumb_func
load_pass: // over r5 words from r6; r0: its cycles
    ldr r0, [r7, #4]
    mov r1, r6
    mov r2, r5
1:  ldr r3, [r1], #4
    subs r2, r2, #1
    bne 1b
    dsb
    ldr r3, [r7, #4]
    subs r0, r3, r0
    bx lr

program data // r8: bits of CCR; r9, r10, r11: cycles of two passes, and of one with empty lines
    count_cycles
    bl switch
    bl load_pass
    mov r9, r0
    bl load_pass
    mov r10, r0
    ldr r1, =DCCISW
    bl each_line
    bl load_pass
    mov r11, r0
    b stop

program code // r8: bits of CCR; r9, r10, r11: the same of a kilobyte of code, ICIALLU between
    count_cycles
    bl switch
    bl code_pass
    mov r9, r0
    bl code_pass
    mov r10, r0
    ldr r0, =SCB
    movs r1, #0
    str r1, [r0, #0x250]
    dsb
    isb
    bl code_pass
    mov r11, r0
    b stop

program written // r8: bits of CCR; r5 words from r6 are their addresses, r9 of them do not come back
    bl switch
    mov r1, r6
    mov r2, r5
1:  str r1, [r1]
    adds r1, r1, #4
    subs r2, r2, #1
    bne 1b
    ldr r1, =DCCISW
    bl each_line
    ldr r0, =SCB
    ldr r1, [r0, #0x14]
    bic r1, r1, r8
    str r1, [r0, #0x14]
    dsb
    isb
    mov r1, r6
    mov r2, r5
    movs r9, #0
2:  ldr r3, [r1]
    cmp r3, r1
    it ne
    addne r9, r9, #1
    adds r1, r1, #4
    subs r2, r2, #1
    bne 2b
    b stop

    .ltorg

    .balign 32
    .thumb_func
code_pass: // r0: its cycles
    ldr r0, [r7, #4]
    .rept 512
    adds r3, r3, #1
    .endr
    dsb
    ldr r3, [r7, #4]
    subs r0, r3, r0
    bx lr
