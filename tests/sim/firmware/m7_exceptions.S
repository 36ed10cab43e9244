// Faults for tests/sim/test_exceptions_cortex_m7.py, and the player of scripts (m7_scripts.py).
// Linked to the RAM of the target.

#include "m7_program.inc"

vectors: // at a multiple of 512
    .word 0, 0, interrupt
    .rept 4
    .word fault
    .endr
    .rept 9 + 98
    .word interrupt
    .endr

program stop
    b stop

    .macro float_on // CPACR
    ldr r0, =SCB
    mov r1, #0xF << 20
    str r1, [r0, #0x88]
    dsb
    isb
    .endm

// Faults. r8: where the record goes (IPSR, CFSR, HFSR, MMFAR, BFAR, stacked pc and xPSR, link,
// frame); r10: where the program goes on, 0: at the stacked pc; r11: to be put into s0, not 0.

    .balign 4
    .thumb_func
fault:
    tst lr, #4
    ite eq
    mrseq r0, msp
    mrsne r0, psp
    ldr r1, =SCB
    mrs r2, ipsr
    str r2, [r8]
    ldr r2, [r1, #0x28]
    str r2, [r8, #4]
    str r2, [r1, #0x28]
    ldr r2, [r1, #0x2C]
    str r2, [r8, #8]
    str r2, [r1, #0x2C]
    ldr r2, [r1, #0x34]
    str r2, [r8, #12]
    ldr r2, [r1, #0x38]
    str r2, [r8, #16]
    ldr r2, [r0, #24]
    str r2, [r8, #20]
    ldr r3, [r0, #28]
    str r3, [r8, #24]
    str lr, [r8, #28]
    str r0, [r8, #32]
    cmp r11, #0
    beq 1f
    vmov s0, r11
1:  cmp r10, #0
    beq 2f
    str r10, [r0, #24]
    ldr r2, =0x0600FC00 // out of an IT block
    bic r3, r3, r2
    orr r3, r3, #1 << 24
    str r3, [r0, #28]
2:  ldr r0, [r8, #4]
    tst r0, #1 << 18 // INVPC: the link is the EXC_RETURN that was wrong
    it ne
    ldrne lr, =0xFFFFFFF9
    bx lr

program undefined
    own_vectors r5
    .global at_undefined
at_undefined:
    udf #3
    b stop

program load // r6: from where
    own_vectors r5
    .global at_load
at_load:
    ldr r7, [r6]
    b stop

program store // r6: where to
    own_vectors r5
    str r6, [r6]
    dsb
    b stop

program branch // r6: where to
    own_vectors r5
    bx r6

program float_off
    own_vectors r5
    nop
    .global at_float
at_float:
    vmov s0, r0
    b stop

    .macro aligned name, code:vararg // r6: where to, or from
program \name
    float_on
    own_vectors r5
    \code
    dsb
    b stop
    .endm

    aligned word_load, ldr.w r0, [r6]
    aligned half_load, ldrh.w r0, [r6]
    aligned load_multiple, ldm.w r6, {r0, r3}
    aligned store_multiple, stm.w r6, {r0, r3}
    aligned load_double, ldrd r0, r3, [r6]
    aligned store_double, strd r0, r3, [r6]
    aligned load_exclusive, ldrex r0, [r6]
    aligned load_float, vldr s0, [r6]

program kept // r0: 15 if registers and flags came back
    own_vectors r5
    ldr r10, =1f
    movs r0, #1
    movs r2, #2
    movs r3, #4
    mov r12, #8
    cmp r0, #1
    udf #1
1:  ite eq
    addeq r0, r0, r2
    movne r0, #99
    add r0, r0, r3
    add r0, r0, r12
    b stop

program process_stack // r6: its top; r4, r5: the stack pointer before and behind the fault
    own_vectors r5
    ldr r10, =1f
    msr psp, r6
    movs r0, #2
    msr control, r0
    isb
    mov r4, sp
    udf #1
1:  mov r5, sp
    movs r0, #0
    msr control, r0
    isb
    b stop

program float_kept // r0: 3.0; the handler writes s0
    float_on
    own_vectors r5
    ldr r10, =1f
    mov r11, #0x7F000000
    vmov.f32 s0, #1.0
    vmov.f32 s15, #2.0
    udf #2
1:  vadd.f32 s0, s0, s15
    vmov r0, s0
    b stop

program called_in_it_block // r6: 5 if the block went on behind SVC
    own_vectors r5
    movs r6, #1
    cmp r6, r6
    itete eq
    svceq #1
    addne r6, r6, #16
    addeq r6, r6, #4
    addne r6, r6, #32
    b stop

// Scripts (tests/sim/m7_scripts.py): rows of (operation, address, value, mask). r9: the one of the
// main program; r7: the table of those of the handlers by exception number (0: none); r8: where the
// trail goes; r6: 0, or an address that never became what was waited for.

program script
    own_vectors r5
    bl play
    b stop

    .balign 4
    .thumb_func
interrupt:
    push {r9, lr}
    mrs r0, ipsr
    str r0, [r8], #4
    ldr r9, [r7, r0, lsl #2]
    cmp r9, #0
    it ne
    blne play
    mrs r0, ipsr
    rsbs r0, r0, #0
    str r0, [r8], #4
    pop {r9, pc}

    .thumb_func
play:
    ldm r9!, {r0, r1, r2, r3}
    tbb [pc, r0]
0:  .byte (ends - 0b) / 2, (stores - 0b) / 2, (reads - 0b) / 2, (marks - 0b) / 2
    .byte (calls - 0b) / 2, (primask - 0b) / 2, (faultmask - 0b) / 2, (basepri - 0b) / 2
    .byte (waits - 0b) / 2, (sleeps - 0b) / 2, (awaits - 0b) / 2, (spins - 0b) / 2
    .byte (leaves - 0b) / 2, 0
ends:
    bx lr
stores:
    str r2, [r1]
done:
    dsb
    isb
    b play
reads:
    ldr r2, [r1]
marks:
    str r2, [r8], #4
    b play
calls:
    svc #1
    b play
primask:
    msr primask, r2
    b done
faultmask:
    msr faultmask, r2
    b done
basepri:
    msr basepri, r2
    b done
waits:
    cmp r8, r2
    blo waits
    b play
sleeps:
    wfi
    cmp r8, r2
    blo sleeps
    b play
awaits:
    ldr r12, =1000000
1:  ldr r0, [r1]
    ands r0, r0, r3
    cmp r0, r2
    beq play
    subs r12, r12, #1
    bne 1b
    mov r6, r1
    b play
spins:
    subs r2, r2, #1
    bne spins
    b play
leaves: // from `interrupt`
    pop {r9, lr}
    bx r2

    .ltorg
