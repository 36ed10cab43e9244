// Programs that end in a known fault, each started by a debugger at its entry; see
// tests/sim/test_fault_report.py. The handlers stand still.

    .syntax unified
    .cpu cortex-m7
    .thumb

    .section .vectors, "a"
    .word stack_top, Reset_Handler
    .rept 14
    .word standstill
    .endr

    .macro function name
    .thumb_func
    .global \name
    .type \name, %function
\name:
    .endm

    .text
function standstill
    b standstill
    .size standstill, . - standstill

function Reset_Handler
    b Reset_Handler
    .size Reset_Handler, . - Reset_Handler

function load_nowhere // at 6 the load
    movs r2, #0x20
    lsls r2, r2, #24
    add.w r2, r2, #0x50000
    ldr r1, [r2, #4]
    bx lr
    .size load_nowhere, . - load_nowhere

function undefined // at 4 the instruction
    movs r0, #1
    movs r3, #3
    udf #7
    bx lr
    .size undefined, . - undefined

function caller // r12: what to call; at 8 the return address
    push {r4, lr}
    movs r4, #0x44
    mov r5, r12
    blx r5
    pop {r4, pc}
    .size caller, . - caller

function call_twice // r12: what caller is to call; at 4 the return address
    bl caller
    b standstill
    .size call_twice, . - call_twice

function overflow
    push {r0-r7, lr}
    bl overflow
    .size overflow, . - overflow

function fault_in_handler // raises a HardFault whose handler is entered at `bad_handler`
    ldr r0, =0xE000ED08 // VTOR
    ldr r1, =bad_vectors
    str r1, [r0]
    dsb
    udf #1
    .size fault_in_handler, . - fault_in_handler

function bad_handler
    movs r0, #9
    udf #2
    .size bad_handler, . - bad_handler

    .ltorg
    .balign 128
bad_vectors:
    .rept 16
    .word bad_handler
    .endr
