/* Xpulp instructions of the GAP8 cores for compilers that do not know them.
 *
 * Every instruction is one `.insn` in RI5CY encoding, so GNU as and LLVM assemble it for plain
 * rv32imc. None is volatile unless it touches memory: the compiler may schedule them. */
#ifndef XPULP_H
#define XPULP_H

#include <stdint.h>

/* Kernels are written once and made for each variant by constant arguments. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* ------------------------------------------------------------------------------------------
 * Hardware loops, for use inside asm blocks
 * ---------------------------------------------------------------------------------------- */

/* The body must follow at once: `count` 32-bit instructions (at least 3, no branch, no compressed
 * one, hence norvc), word-aligned. lp.setup's offset counts half words from itself to the last
 * instruction of the body, which it includes: two for each instruction. */
#define LP_SETUP(times, count)                                                                     \
    ".balign 4\n\t"                                                                                \
    ".option push\n\t"                                                                             \
    ".option norvc\n\t"                                                                            \
    ".insn i 0x7b, 4, x0, " times ", 2 * (" count ")\n\t"
#define LP_END ".option pop\n\t"

/* Loop 0 inside a body of loop 1 (LP_SETUP_OUTER ... LP_SETUP_INNER ... LP_END): the outer body
 * needs two instructions or more behind the inner one, and counts all, lp.setup included. */
#define LP_SETUP_OUTER(times, count)                                                               \
    ".balign 4\n\t"                                                                                \
    ".option push\n\t"                                                                             \
    ".option norvc\n\t"                                                                            \
    ".insn i 0x7b, 4, x1, " times ", 2 * (" count ")\n\t"
#define LP_SETUP_INNER(times, count) ".insn i 0x7b, 4, x0, " times ", 2 * (" count ")\n\t"

/* Names end in what happens to the address: POST adds a constant, STEP a register, AT indexes. */
#define P_LW_POST(rd, step, rs1) ".insn i 0x0b, 2, " rd ", " step "(" rs1 ")\n\t"
#define P_LW_STEP(rd, step, rs1) ".insn r 0x0b, 7, 0x10, " rd ", " rs1 ", " step "\n\t"
#define P_SB_POST(rs2, rs1) ".insn s 0x2b, 0, " rs2 ", 1(" rs1 ")\n\t"
#define P_SB_STEP(rs2, step, rs1) ".insn r 0x2b, 4, 0x00, " step ", " rs1 ", " rs2 "\n\t"
#define P_SB_AT(rs2, offset, rs1) ".insn r 0x23, 4, 0x00, " offset ", " rs1 ", " rs2 "\n\t"
#define COPY(rd, rs1) "addi " rd ", " rs1 ", 0\n\t"
#define P_ADDRNR(rd, shift) ".insn r 0x5b, 6, 0x20, " rd ", x0, " shift "\n\t"
#define P_MAX(rd, rs1, rs2) ".insn r 0x33, 6, 0x02, " rd ", " rs1 ", " rs2 "\n\t"
#define P_MIN(rd, rs1, rs2) ".insn r 0x33, 4, 0x02, " rd ", " rs1 ", " rs2 "\n\t"
#define P_CLIPUR(rd, rs1, highest) ".insn r 0x33, 6, 0x0a, " rd ", " rs1 ", " highest "\n\t"
#define P_SW_POST(rs2, step, rs1) ".insn s 0x2b, 2, " rs2 ", " step "(" rs1 ")\n\t"
#define PV_SDOTUSP_B(rd, rs1, rs2) ".insn r 0x57, 1, 0x54, " rd ", " rs1 ", " rs2 "\n\t"
#define PV_SDOTSP_B(rd, rs1, rs2) ".insn r 0x57, 1, 0x5c, " rd ", " rs1 ", " rs2 "\n\t"

/* ------------------------------------------------------------------------------------------
 * Memory
 * ---------------------------------------------------------------------------------------- */

/* A word at any address; a misaligned one costs a second access. */
static inline uint32_t load_word(const void *address)
{
    uint32_t word;
    __asm__("lw %0, 0(%1)" : "=r"(word) : "r"(address), "m"(*(const uint8_t (*)[4])address));
    return word;
}

static inline void store_word(void *address, uint32_t word)
{
    __asm__ volatile("sw %1, 0(%0)" : : "r"(address), "r"(word) : "memory");
}

/* p.elw: a load the event unit answers when the core may go on; the core's clock stops meanwhile.
 * It can be replayed after an interrupt, so the result must not share the address register. */
static inline uint32_t event_load(uintptr_t address)
{
    uint32_t value;
    __asm__ volatile(".insn i 0x03, 6, %0, 0(%1)" : "=&r"(value) : "r"(address) : "memory");
    return value;
}

/* ------------------------------------------------------------------------------------------
 * Scalars
 * ---------------------------------------------------------------------------------------- */

static inline int32_t p_max(int32_t a, int32_t b)
{
    int32_t d;
    __asm__(".insn r 0x33, 6, 0x02, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

static inline int32_t p_min(int32_t a, int32_t b)
{
    int32_t d;
    __asm__(".insn r 0x33, 4, 0x02, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

/* value limited to [0, highest] */
static inline int32_t p_clipur(int32_t value, int32_t highest)
{
    __asm__(P_CLIPUR("%0", "%0", "%1") : "+r"(value) : "r"(highest));
    return value;
}

/* sum + a * b */
static inline int32_t p_mac(int32_t sum, int32_t a, int32_t b)
{
    __asm__(".insn r 0x33, 0, 0x21, %0, %1, %2" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* (value + 2^(shift-1)) >> shift, value itself for shift 0 (p.addrnr with a zero addend) */
static inline int32_t p_round_shift(int32_t value, int32_t shift)
{
    __asm__(".insn r 0x5b, 6, 0x20, %0, x0, %1" : "+r"(value) : "r"(shift));
    return value;
}

/* ------------------------------------------------------------------------------------------
 * Four bytes in a word
 * ---------------------------------------------------------------------------------------- */

/* sum + dot product; the *us* form takes unsigned bytes in `a`, signed ones in `b` */
static inline int32_t pv_sdotusp_b(int32_t sum, uint32_t a, uint32_t b)
{
    __asm__(PV_SDOTUSP_B("%0", "%1", "%2") : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t pv_sdotsp_b(int32_t sum, uint32_t a, uint32_t b)
{
    __asm__(PV_SDOTSP_B("%0", "%1", "%2") : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline uint32_t pv_max_b(uint32_t a, uint32_t b)
{
    uint32_t d;
    __asm__(".insn r 0x57, 1, 0x18, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

static inline uint32_t pv_maxu_b(uint32_t a, uint32_t b)
{
    uint32_t d;
    __asm__(".insn r 0x57, 1, 0x1c, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

/* Byte i of the result: byte (select[i] & 3) of `high` if select[i] & 4, else of `low`. */
static inline uint32_t pv_shuffle2_b(uint32_t low, uint32_t high, uint32_t select)
{
    __asm__(".insn r 0x57, 1, 0x64, %0, %1, %2" : "+r"(low) : "r"(high), "r"(select));
    return low;
}

/* Halves `low` (bits 15:0 of each) or `high` (31:16) of two words, `a` into bits 31:16. */
static inline uint32_t pv_pack_h(uint32_t a, uint32_t b)
{
    uint32_t d;
    __asm__(".insn r 0x57, 0, 0x68, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

static inline uint32_t pv_pack_h_h(uint32_t a, uint32_t b)
{
    uint32_t d;
    __asm__(".insn r 0x57, 6, 0x68, %0, %1, %2" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

#endif
