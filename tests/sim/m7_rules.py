"""The timing rules of a Cortex-M7 as loops, with their cycles a turn worked out by hand.

Rule numbers (R1..R25) are those that hil/sim/cores/cortex_m7/costs.py cites. A turn is the body,
then ``subs r12, r12, #1`` and ``bne`` back, which pair and end the turn's last cycle. Where the
body leaves a slot free, ``subs`` takes it and ``bne`` is alone: that is the cycle in which a body
that pairs less well shows.

r8: a double word in DTCM, where each word holds that address; r9: the next word; r7: all ones;
r0 to r6: r8.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Rule(NamedTuple):
    """A loop of ``body`` takes ``cycles`` a turn because of the rule ``number``."""

    number: str
    cycles: float
    body: str


RULES = (
    # Pairs: two simple operations a cycle, even early -> late ALU
    Rule("R2", 2, "add r0, r0, #1; add r1, r1, #1"),
    Rule("R2", 2, "add r0, r0, #1; add r2, r0, #1"),
    Rule("R2", 2, "movw r0, #1; movt r0, #1"),
    Rule("R14", 3, "and r0, r0, r1; and r2, r0, r1"),
    # one multiplication a cycle, beside it an ALU operation, no store
    Rule("R3", 3, "mul r0, r1, r2; mul r3, r4, r5"),
    Rule("R4", 2, "mul r3, r4, r5; add r0, r0, #1"),
    Rule("R4", 2, "add r0, r0, #1; mul r3, r4, r5"),
    Rule("R5", 3, "mul r0, r1, r2; str r5, [r8]"),
    # an extend is the older of its pair, so never two of them
    Rule("R6", 2, "uxtb r0, r1; mul r3, r4, r5"),
    Rule("R6", 3, "mul r3, r4, r5; uxtb r0, r1"),
    Rule("R6", 3, "uxtb r0, r1; uxtb r2, r3"),
    # so do the saturating operations, which use the same unit
    Rule("R6", 2, "ssat r0, #8, r1; mul r3, r4, r5"),
    Rule("R6", 3, "mul r3, r4, r5; ssat r0, #8, r1"),
    Rule("R6", 3, "ssat r0, #8, r1; usat r2, #8, r3"),
    Rule("R6", 3, "qadd16 r0, r1, r1; qadd16 r2, r1, r1"),
    Rule("R6", 3, "uxtb r0, r1; usad8 r2, r3, r4"),
    # one inline shift a cycle
    Rule("R7", 3, "add r0, r1, r2, lsl #2; add r3, r4, r5, lsl #2"),
    Rule("R7", 2, "add r0, r1, r2, lsl #2; add r1, r1, #1"),
    # or shifted constant, which keeps its instruction out of the early ALU (R2)
    Rule("R7", 3, "add r0, r0, #0xff00; add r2, r2, #0xff00"),
    Rule("R7", 3, "add r3, r4, r5, lsl #2; mov r2, #0x20000000"),
    Rule("R7", 3, "ubfx r2, r3, #1, #2; add r0, r0, #0xff00"),
    Rule("R7", 2, "add r0, r0, #0xff00ff; add r1, r1, #0xff00ff"),
    Rule("R2", 2, "add r0, r0, #1; add r2, r0, #0xff00"),
    Rule("R2", 3, "add r0, r0, #0xff00; and r2, r0, r1"),
    # two loads from different banks, a load and a store, never two stores
    Rule("R8", 2, "ldr r0, [r8]; ldr r2, [r8, #4]"),
    Rule("R8", 3, "ldr r0, [r8]; ldr r2, [r8, #8]"),
    Rule("R9", 2, "ldr r0, [r8]; str r5, [r8, #16]"),
    Rule("R9", 3, "str r5, [r8]; str r7, [r8, #4]"),
    # multiples alone, two registers a cycle; a store of an even number wants a double word
    Rule("R10", 3, "ldm r8, {r1, r2, r3}"),
    Rule("R10", 4, "ldm r8, {r1, r2, r3, r4, r5}"),
    Rule("R10", 4, "stm r8, {r1, r2, r3, r4, r5}"),
    Rule("R10", 7, "push {r2, r3, r4, r5, r6, lr}; pop {r2, r3, r4, r5, r6, lr}"),
    Rule("R10", 2, "ldrd r0, r1, [r8]"),
    Rule("R10", 3, "ldrd r0, r1, [r8]; add r3, r2, #1"),
    Rule("R10", 2, "stm r8, {r1, r2}"),
    Rule("R10", 3, "stm r9, {r1, r2}"),
    Rule("R10", 3, "strd r1, r3, [r9]"),
    Rule("R10", 4, "stm r9, {r1, r2, r3, r4}"),
    Rule("R10", 3, "stm r9, {r1, r2, r3}"),
    Rule("R10", 2, "ldm r9, {r1, r3}"),
    # a branch not taken pairs with what follows, one that is taken ends its cycle
    Rule("R11", 1, ""),
    Rule("R11", 2, "cbz r6, 2f; add r3, r3, #1; 2:"),
    Rule("R11", 3, "add r3, r3, #1; b 2f; 2: add r3, r3, #1; b 3f; 3:"),
    Rule("R12", 3, "cmp r8, #0; itt eq; addeq r3, r3, #1; addeq r4, r4, #1"),
    # floating point: one a cycle, beside it an integer operation; moves between the files alone
    Rule("R13", 3, "vadd.f32 s0, s1, s2; vadd.f32 s3, s4, s5"),
    Rule("R13", 2, "vadd.f32 s0, s1, s2; add r3, r3, #1"),
    Rule("R13", 2, "vldr s0, [r8]; add r3, r3, #1"),
    Rule("R13", 3, "vmov s0, r0; add r3, r3, #1"),
    # Latencies: of the ALU to an address or a shift two cycles, of its early half one
    Rule("R15", 4, "and r0, r8, r7; ldr r1, [r0]"),
    Rule("R15", 3, "add r0, r8, #4; ldr r1, [r0]"),
    Rule("R15", 4, "and r0, r1, r2; add r3, r4, r0, lsl #2"),
    # of a load to a multiplicand two, to an accumulator one, to an address three, to a shift two
    Rule("R16", 3, "ldr r0, [r8]; add r3, r0, r4"),
    Rule("R16", 4, "ldr r0, [r8]; mla r2, r0, r3, r2"),
    Rule("R16", 3, "ldr r0, [r8]; mla r2, r3, r4, r0"),
    Rule("R16", 5, "ldr r0, [r8]; ldr r2, [r0]"),
    Rule("R16", 4, "ldr r0, [r8]; add r3, r4, r0, lsl #2"),
    Rule("R16", 3, "ldr r0, [r0]"),
    Rule("R16", 6, "ldr r0, [r0]; b 2f; 2: ldr r0, [r0]"),
    Rule("R16", 9, "ldr r0, [r0]; b 2f; 2: ldr r0, [r0]; b 3f; 3: ldr r0, [r0]"),
    Rule("R17", 4, "ldrb r0, [r8]; add r3, r0, r4"),
    # of a product two, but accumulators chain every cycle
    Rule("R18", 5, "smlad r0, r1, r2, r0; " * 4),
    Rule("R18", 4, "mul r0, r1, r2; add r3, r0, r4"),
    Rule("R18", 4, "mul r0, r1, r2; mul r3, r0, r4"),
    Rule("R18", 17, "smlad r0, r1, r2, r0; add r3, r2, #1; " * 16),
    # to the data of a store none
    Rule("R19", 2, "add r0, r0, #1; str r0, [r8]"),
    Rule("R19", 2, "and r0, r1, r2; str r0, [r8]"),
    Rule("R21", 4, "ssat r0, #8, r1; add r2, r0, r3"),
    Rule("R22", 8, "sdiv r0, r1, r7"),
    Rule("R23", 5, "vadd.f32 s0, s1, s2; vadd.f32 s3, s0, s4"),
    Rule("R23", 7, "vmla.f32 s0, s1, s2; vadd.f32 s3, s0, s4"),
    Rule("R23", 6, "vmla.f32 s0, s1, s2; vmla.f32 s0, s3, s4"),
    Rule("R23", 18, "vdiv.f32 s0, s1, s2; vadd.f32 s3, s0, s4"),
    # Memory: narrow stores in a row leave every 2.4 cycles; a word's border costs a load 3 cycles
    # as the older of its pair and 4 as the younger, a store 4 when the buffer is full
    Rule("R24", 2.4, "strb r1, [r0], #1"),
    Rule("R24", 4.8, "strb r1, [r0], #1; b 2f; 2: strb r1, [r0], #1"),
    Rule("R25", 3 + 3 + 4, "ldr r1, [r8, #1]; add r3, r3, #1; add r4, r4, #1; ldr r2, [r8, #9]"),
    Rule("R25", 3 + 3 + 4, "ldrh r1, [r8, #3]; add r3, r3, #1; add r4, r4, #1; ldrh r2, [r8, #7]"),
    Rule("R25", 2, "ldrh r1, [r8, #1]"),
    Rule("R25", 4, "str r1, [r8, #1]"),
    Rule("R25", 2.4, "strh r1, [r8, #1]"),
)
WARM, FEW, MANY = 10, 100, 300  # turns; cycles a turn are those of the turns that MANY has more

_LOOP = """
    .balign 8
    .thumb_func
rule_{n}:
    {body}
    subs r12, r12, #1
    bne rule_{n}
    bx lr
"""

_PROGRAM = """
#include "{include}"

program stop
    b stop

program rules // r6: where to; r8: the double word
    mov r11, r6
    add r9, r8, #4
    ldr r0, =SCB
    mov r1, #0xF << 20 // CPACR
    str r1, [r0, #0x88]
    dsb
    isb
    .irp n, 0, 1, 2, 3, 4, 5
    vmov.f32 s\\n, #1.0
    .endr
    count_cycles
    ldr r0, =table
1:  ldr r1, [r0], #4
    cmp r1, #0
    beq stop
    push {{r0, r1}}
    movw r12, #{warm}
    bl turns
    movw r12, #{few}
    bl turns
    str r0, [r11], #4
    movw r12, #{many}
    bl turns
    str r0, [r11], #4
    pop {{r0, r1}}
    b 1b

    .thumb_func
turns: // r12 of them by the loop at the address on the stack; r0: cycles
    push {{r3, lr}}
    .irp n, 0, 1, 2, 3, 4, 5, 6
    mov r\\n, r8
    .endr
    mvn r7, #0
    ldr r10, [sp, #12]
    ldr lr, =DWT
    dsb
    isb
    ldr lr, [lr, #4]
    str lr, [sp]
    blx r10
    dsb
    ldr r0, =DWT
    ldr r0, [r0, #4]
    ldr r1, [sp]
    subs r0, r0, r1
    pop {{r3, pc}}

    .ltorg
    .balign 4
table:
    .word {table}, 0
{loops}
"""


def source(include: Path) -> str:
    """The program ``rules``: for each rule the cycles of FEW and of MANY turns, from r6 on.

    ``include``: m7_program.inc.
    """
    bodies = ["\n    ".join(filter(None, map(str.strip, rule.body.split(";")))) for rule in RULES]
    return _PROGRAM.format(
        include=include.as_posix(),
        warm=WARM, few=FEW, many=MANY,
        table=", ".join(f"rule_{n}" for n in range(len(RULES))),
        loops="".join(_LOOP.format(n=n, body=body) for n, body in enumerate(bodies)),
    )  # fmt: skip
