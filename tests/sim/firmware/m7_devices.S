// Small programs for tests/sim/test_devices_cortex_m7.py and test_mpu_cortex_m7.py, with results in
// registers. Linked to the RAM of the target.

#include "m7_program.inc"

vectors: // at a multiple of 128
    .rept 16
    .word handler
    .endr

program stop
    b stop

program for_ever
    b for_ever

program handler // r0 CFSR, r1 HFSR, r2 BFAR, r3 stacked pc, r4 IPSR, r5 MMFAR
    ldr r5, =SCB
    ldr r0, [r5, #0x28]
    ldr r1, [r5, #0x2C]
    ldr r2, [r5, #0x38]
    ldr r3, [sp, #24]
    mrs r4, ipsr
    ldr r5, [r5, #0x34]
    cmp r10, #0
    beq stop
    mov r9, r10 // once more, from the handler
    movs r10, #0
    ldr r8, [r9]
    b stop

program identity // r0 CPUID
    ldr r1, =SCB
    ldr r0, [r1]
    b stop

program undefined
    own_vectors
    .global undefined_at
undefined_at:
    udf #3
    b stop

program stop_without_vectors // ends in a lock-up
    ldr r0, =SCB
    ldr r1, =0x60000000 - 0x100
    str r1, [r0, #8]
    dsb
    udf #4

program load // r6: from where
    own_vectors
    .global load_at
load_at:
    ldr r7, [r6]
    b stop

// The MPU as the words at r9 say: count, RBAR and RASR of each region, CTRL; MemManage on if r8 is
// not 0. Then r6: address, r7: 0 load, 1 store, 2 branch there, 3 push with sp there, 4 nothing but
// reading the regions back (r0 RNR, r1 RBAR, r2 RASR, r3 TYPE), 5 load as first of an ITT block.
// r10: an address that the handler loads from (not 0), into r8.
program protect
    own_vectors
    ldr r0, =SCB
    cmp r8, #0
    it ne
    movne r8, #1 << 16
    str r8, [r0, #0x24] // SHCSR.MEMFAULTENA
    movs r8, #0
    ldr r1, [r9], #4
1:  cbz r1, 2f
    ldr r2, [r9], #4
    ldr r3, [r9], #4
    str r2, [r0, #0x9C]
    str r3, [r0, #0xA0]
    subs r1, #1
    b 1b
2:  ldr r2, [r9]
    str r2, [r0, #0x94]
    dsb
    isb
    b access
    .global access
    .thumb_func
access:
    mov r11, #0x77
    cmp r7, #1
    beq protect_store
    bhi protect_other
    .global protect_load
    .thumb_func
protect_load:
    ldr r11, [r6]
    b stop
    .global protect_store
    .thumb_func
protect_store:
    str r11, [r6]
    b stop
protect_other:
    cmp r7, #5
    beq protect_conditional
    cmp r7, #3
    beq protect_push
    bhi 3f
    orr r6, r6, #1
    bx r6
    .global protect_push
    .thumb_func
protect_push:
    mov r12, sp
    mov sp, r6
    push {r0, r1, r2, r3}
    mov sp, r12
    b stop
protect_conditional: // r12: 1 if the block ends where it should
    movs r12, #0
    cmp r7, r7
    itt eq
    ldreq r11, [r6]
    addeq r12, #1
    cmp r7, #0
    addw r12, r12, #0
    b stop
3:  ldr r0, =SCB
    ldr r1, [r0, #0x9C]
    ldr r2, [r0, #0xA0]
    ldr r3, [r0, #0x90]
    ldr r0, [r0, #0x98]
    b stop

program lanes // r6: where to; r0 the word, r1 unaligned
    ldr r1, =0x11223344
    str r1, [r6]
    movs r1, #0x55
    strb r1, [r6, #1]
    ldr r1, =0x6677
    strh r1, [r6, #2]
    ldr r1, =0x8899AABB
    str r1, [r6, #4]
    ldr r0, [r6]
    ldr r1, [r6, #3]
    b stop

    .ltorg
