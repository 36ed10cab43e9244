"""Operation numbers of the decoded RV32IMC + Xpulp instruction set.

The decoder normalises: register and immediate forms of one operation share a number (the second
operand is then taken from ``imm``), ``.sc``/``.sci`` forms too (the broadcast is an operand mode).
Ranges carry meaning, so that the interpreter chooses a group with one comparison:
up to ``LAST_SHARED`` system and memory, what others can see; then control flow; ``ALU..SIMD``
scalar results; from ``SIMD`` on packed results.
"""

from __future__ import annotations

UNDECODED = 0
ILLEGAL = 1

# System
CSRRW, CSRRS, CSRRC = 2, 3, 4
ECALL, EBREAK, MRET, WFI, FENCE = 5, 6, 7, 8, 9
# Viterbi operations read or write two flags of the core
VITOP_MAX, VITOP_SEL = 10, 11

# Loads and stores. Address mode bits live in the flags of the decoded word (see decode.py).
ELW = 12
LB, LBU, LH, LHU, LW = 13, 14, 15, 16, 17
SB, SH, SW = 18, 19, 20
LAST_SHARED = SW  # up to here operations wait for the cycle that all cores have reached

# Control flow
BEQ, BNE, BLT, BGE, BLTU, BGEU = 21, 22, 23, 24, 25, 26
JAL, JALR = 27, 28
LP_START, LP_END, LP_COUNT, LP_COUNTI, LP_SETUP, LP_SETUPI = 29, 30, 31, 32, 33, 34

# Scalar results: rd = f(a, b, old rd, imm)
ALU = 40
ADD, SUB, SLL, SLT, SLTU, XOR, SRL, SRA, OR, AND = range(40, 50)
LUI, AUIPC = 50, 51
MAC, MSU = 52, 53
MULN, ADDN = 54, 55  # half-word multiplies, shifted adds: options in imm (decode.py)
ABS, SLET, SLETU, MIN, MINU, MAX, MAXU = range(56, 63)
ROR, FF1, FL1, CLB, CNT = range(63, 68)
EXTHS, EXTHZ, EXTBS, EXTBZ = range(68, 72)
CLIP, CLIPU = 72, 73
EXTRACT, EXTRACTU, INSERT, BSET, BCLR = range(74, 79)
# Scalar results that take more than a cycle or delay a dependent instruction
MUL = 80
MULH, MULHSU, MULHU = 81, 82, 83
DIV, DIVU, REM, REMU = 84, 85, 86, 87

# Packed results: rd = f(a, b, old rd); even numbers work on halves, odd ones on bytes
SIMD = 100
(
    V_ADD, V_SUB, V_AVG, V_AVGU, V_MIN, V_MINU, V_MAX, V_MAXU, V_SRL, V_SRA, V_SLL, V_OR, V_XOR,
    V_AND, V_ABS, V_CMPEQ, V_CMPNE, V_CMPGT, V_CMPGE, V_CMPLT, V_CMPLE, V_CMPGTU, V_CMPGEU,
    V_CMPLTU, V_CMPLEU, V_DOTSP, V_DOTUP, V_DOTUSP, V_SDOTSP, V_SDOTUP, V_SDOTUSP, V_SHUFFLE,
    V_SHUFFLE2, V_EXTRACT, V_EXTRACTU, V_INSERT, V_ADD_DIV2, V_ADD_DIV4, V_SUB_DIV2, V_SUB_DIV4,
) = range(100, 180, 2)  # fmt: skip
V_SHUFFLEI0, V_SHUFFLEI1, V_SHUFFLEI2, V_SHUFFLEI3 = 180, 181, 182, 183
V_PACK, V_PACK_HH, V_PACKHI, V_PACKLO = 184, 185, 186, 187
V_CPLXMUL, V_CPLXMUL_DIV2, V_CPLXMUL_DIV4, V_CPLXCONJ = 188, 189, 190, 191
V_SUBROTMJ, V_SUBROTMJ_DIV2, V_SUBROTMJ_DIV4 = 192, 193, 194
V_SHUFFLE_SCI = 195
