// Small programs for tests/sim/test_core_cortex_m7.py: each runs from its label to `stop`, with
// results in registers. Linked to the RAM of the target.

#include "m7_program.inc"

    .equ ICSR_PENDSVSET, 1 << 28

vectors: // at a multiple of 128
    .rept 11
    .word faulted
    .endr
    .word called
    .word faulted, faulted
    .word pended
    .word faulted

program stop
    b stop

program faulted // r0 CFSR, r1 HFSR, r4 IPSR; goes on at r9 if that is not 0
    ldr r5, =SCB
    ldr r0, [r5, #0x28]
    ldr r1, [r5, #0x2C]
    mrs r4, ipsr
    cmp r9, #0
    it ne
    bxne r9
    b stop

    .thumb_func
called: // SVC: the stacked xPSR changes as r6 says
    ldr r2, [sp, #28]
    eor r2, r2, r6
    str r2, [sp, #28]
    bx lr

    .thumb_func
pended: // PendSV: a call from a handler
    push {r0, lr}
    svc #0
    pop {r0, pc}

program return_to_thread // r6: what is changed in the stacked xPSR
    own_vectors
    svc #0
    b stop

program return_to_handler // the same; SVC is called from PendSV
    own_vectors
    mov r1, #0xF0 << 16 // SHPR3: below SVC
    str r1, [r0, #0x20]
    mov r1, #ICSR_PENDSVSET
    str r1, [r0, #4]
    dsb
    isb
    b stop

program narrow // r0: CFSR behind a fault; r1, r2, r3: behind writes to MMFSR, BFSR and UFSR
    own_vectors
    ldr r9, =1f + 1
    udf #0
1:  mvn r8, #0
    strb r8, [r5, #0x28]
    ldr r1, [r5, #0x28]
    strb r8, [r5, #0x29]
    ldr r2, [r5, #0x28]
    strh r8, [r5, #0x2A]
    ldr r3, [r5, #0x28]
    b stop

program event
    sev
    wfe
    b stop

program wide_event
    sev.w
    wfe.w
    b stop

program event_of_a_call
    own_vectors
    movs r6, #0
    sev
    wfe // no event of before
    svc #0
    wfe
    b stop

program no_event
    sev
    wfe
    wfe
    b stop

    .macro exclusive name, between:vararg // r6: where; r0: 1 if the store has failed, r1: what is there
program \name
    own_vectors
    mov r2, r6
    movs r6, #0
    movs r1, #0x33
    str r6, [r2]
    ldrex r0, [r2]
    \between
    strex r0, r1, [r2]
    ldr r1, [r2]
    b stop
    .endm

    exclusive kept, nop
    exclusive lost_to_clrex, clrex
    exclusive lost_to_call, svc #0

    .ltorg
