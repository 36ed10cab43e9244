// Runs every body of a table on every state of another, and keeps the registers after each.
//
// It runs on a target from `start` to `finish`, and unchanged under qemu-arm, where `finish` writes
// the RAM out by Linux system calls (write, exit). The table is at `program`, put there by
// tests/sim/thumb_programs.py: bodies, states, their addresses, 8 KB of initial memory. RAM,
// RAM_BYTES and TEXT_BYTES are given when it is assembled.

    .syntax unified
    .cpu cortex-m7
    .fpu fpv5-sp-d16
    .thumb

    .equ BUFFER, RAM + 0x1000 // what the bodies load and store
    .equ BUFFER_BYTES, 0x2000
    .equ RECORDS, RAM + 0x3000
    .equ BODY, 0 // offsets of the harness's own variables in RAM
    .equ STATE, 4
    .equ RECORD, 8
    .equ STATE_BYTES, 208 // r0-r12, sp, lr, APSR, FPSCR, s0-s31, padding: state and record alike

    .section .text, "ax"
    .thumb_func
    .global enable_fpu // on a bare target first, with `enabled` as its end
enable_fpu:
    ldr r0, =0xE000ED88 // CPACR
    ldr r1, [r0]
    orr r1, r1, #0xF00000
    str r1, [r0]
    dsb
    isb
    .thumb_func
    .global enabled
enabled:
    b enabled

    .org 0x200 // every body ends with a jump to here
    .thumb_func
save:
    push {r0, r1, r2}
    mrs r2, apsr
    ldr r1, =RAM
    ldr r0, [r1, #RECORD]
    adds r0, #12
    stm r0!, {r3-r12}
    pop {r3, r4, r5}
    str r3, [r0, #-52]
    str r4, [r0, #-48]
    str r5, [r0, #-44]
    str sp, [r0], #4
    str lr, [r0], #4
    str r2, [r0], #4
    vmrs r3, fpscr
    str r3, [r0], #4
    vstm r0!, {s0-s31}
    adds r0, #12
    str r0, [r1, #RECORD]
next:
    ldr r4, =RAM
    ldr r5, [r4, #BODY]
    ldr r6, [r4, #STATE]
    ldr r0, =program
    ldr r1, [r0] // bodies
    ldr r2, [r0, #4] // states
    cmp r6, r2
    itt eq
    moveq r6, #0
    addeq r5, #1
    cmp r5, r1
    beq finish
    adds r3, r6, #1
    str r5, [r4, #BODY]
    str r3, [r4, #STATE]
    ldr r2, [r0, #8] // addresses of the bodies
    ldr r7, [r2, r5, lsl #2]
    ldr r2, [r0, #12] // states
    movs r3, #STATE_BYTES
    mla r0, r3, r6, r2
    adds r1, r0, #68
    vldm r1, {s0-s31}
    ldr r2, [r0, #64]
    vmsr fpscr, r2
    ldr sp, [r0, #52]
    str r7, [sp, #-4]!
    ldr lr, [r0, #56]
    ldr r2, [r0, #60]
    msr apsr_nzcvqg, r2
    ldm r0, {r0-r12}
    pop {pc}

    .thumb_func
    .global start
start:
    ldr r0, =program
    ldr r1, [r0, #16] // initial memory
    ldr r2, =BUFFER
    ldr r3, =BUFFER_BYTES
1:
    ldr r4, [r1], #4
    str r4, [r2], #4
    subs r3, #4
    bne 1b
    ldr r4, =RAM
    movs r5, #0
    str r5, [r4, #BODY]
    str r5, [r4, #STATE]
    ldr r5, =RECORDS
    str r5, [r4, #RECORD]
    b next

    .thumb_func
    .global finish
finish:
    movs r0, #1 // standard output
    ldr r1, =RAM
    ldr r2, =RAM_BYTES
    movs r7, #4 // write
    svc 0
    movs r0, #0
    movs r7, #1 // exit
    svc 0

    .ltorg
    .org 0x1000
program:
    .space TEXT_BYTES - 0x1000

    .section .ram, "aw", %nobits
    .space RAM_BYTES
