# Frame of the programs that run on any target (Gap8Programs). Each starts at its label on the
# control core and ends at `stop`; functions for the cluster go through `on_cluster`.

    .option norvc
    .macro copy_words from, to, words
    mv t0, \from
    mv t1, \to
    li t2, \words
9:  lw t3, 0(t0)
    sw t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    addi t2, t2, -1
    bnez t2, 9b
    .endm

    .section .text, "ax"
    .globl stop
stop:
    j stop

# Runs the function at a0 on each cluster core, with its number in a0, `parameters` in a1 and
# `results` in a2; a core is done when it returns, or jumps to `finish`.
on_cluster:
    jal launch
await_cluster:
    li t0, 0x00204000
    li t1, 8                   # software event 3
    sw t1, 0(t0)
1:  sw t1, 0x28(t0)
    la t2, done
    li t3, 8
2:  lw t4, 0(t2)
    beqz t4, 3f
    addi t2, t2, 4
    addi t3, t3, -1
    bnez t3, 2b
    j stop
3:  p.elw t4, 0x38(t0)
    j 1b

launch:
    la t0, function
    sw a0, 0(t0)
    la t0, done
    li t1, 8
1:  sw zero, 0(t0)
    addi t0, t0, 4
    addi t1, t1, -1
    bnez t1, 1b
    j start_cluster

pe_main:
    la ra, finish
    la a1, parameters
    la a2, results
    la t0, function
    lw t0, 0(t0)
    jr t0

finish:
    csrr a0, 0xF14
    slli a0, a0, 2
    la t0, done
    add t0, t0, a0
    li t1, 1
    sw t1, 0(t0)
    li t0, 0x1B200E0C          # software event 3 of the control core
    sw t1, 0(t0)
    li t0, 0x00204000
    sw zero, 0(t0)
1:  p.elw t1, 0x38(t0)         # for good: nothing is in its mask
    j 1b

    .balign 16
function: .4byte 0
done: .space 32
parameters: .space 64
results: .space 1024
