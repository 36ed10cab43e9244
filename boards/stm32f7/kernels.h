/* Building stones of the generated layers: 16-bit SIMD of the Cortex-M7 (PM0253 3.6).
 *
 * Bytes become halfwords in the order that SXTB16 gives for free: word b0 b1 b2 b3 expands to
 * (b0, b2) and (b1, b3). Weights and activations both take that order, so products still meet.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <arm_acle.h>
#include <stdint.h>

#include "network.h"

/* DWT cycle counter; board_cycles() without the call. */
static inline uint32_t cycle_count(void)
{
    return *(volatile uint32_t *)0xE0001004u;
}

/* Cycles since *mark, which moves to now. */
static inline uint32_t lap(uint32_t *mark)
{
    uint32_t now = cycle_count();
    uint32_t span = now - *mark;
    *mark = now;
    return span;
}

/* ------------------------------------------------------------------------------------------
 * Bytes and words
 * ---------------------------------------------------------------------------------------- */

/* Four bytes from any address: the core loads unaligned words (PM0253 2.2.2, CCR.UNALIGN_TRP 0),
 * and this type keeps the compiler from merging them into LDRD, which does not. */
typedef struct __attribute__((packed)) {
    uint32_t word;
} unaligned_t;

static inline uint32_t load4(const uint8_t *bytes)
{
    return ((const unaligned_t *)(const void *)bytes)->word;
}

/* Folds into the extraction that follows; ACLE's __ror is not in GCC 12. */
static inline uint32_t rotate_byte(uint32_t word) { return (word >> 8) | (word << 24); }

static inline uint32_t even_s8(uint32_t bytes) { return (uint32_t)__sxtb16(bytes); }
static inline uint32_t odd_s8(uint32_t bytes) { return (uint32_t)__sxtb16(rotate_byte(bytes)); }
static inline uint32_t even_u8(uint32_t bytes) { return __uxtb16(bytes); }
static inline uint32_t odd_u8(uint32_t bytes) { return __uxtb16(rotate_byte(bytes)); }

/* Low halves of a and b, high halves of a and b, as one word each (PKHBT, PKHTB). */
static inline uint32_t low_halves(uint32_t a, uint32_t b) { return (a & 0xFFFFu) | (b << 16); }
static inline uint32_t high_halves(uint32_t a, uint32_t b) { return (a >> 16) | (b & 0xFFFF0000u); }

/* The larger of each of four bytes: the subtraction sets GE where a >= b, SEL takes a there. One
 * asm statement, because the flags must not be lost between the two. */
static inline uint32_t larger_s8(uint32_t a, uint32_t b)
{
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}

static inline uint32_t larger_u8(uint32_t a, uint32_t b)
{
    uint32_t result;
    __asm__("usub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}

/* ------------------------------------------------------------------------------------------
 * Requantisation (hil/core/network.py): round_shift(mulh(sum, multiplier), shift), then clamp
 * ---------------------------------------------------------------------------------------- */

typedef struct {
    int32_t bias;
    int32_t multiplier;
    int32_t rounding; /* half of the last place kept; 0 for shift 0 */
    int32_t shift;
} requant_t;

/* Channel `index` of a table of (bias, multiplier, shift). */
static inline requant_t requant_of(const int32_t *table, uint32_t index)
{
    const int32_t *row = table + 3 * index;
    requant_t q = {row[0], row[1], (int32_t)((1u << row[2]) >> 1), row[2]};
    return q;
}

static inline int32_t requantise(int32_t sum, requant_t q)
{
    int32_t high = (int32_t)(((int64_t)sum * q.multiplier) >> 32); /* SMMUL */
    return (high + q.rounding) >> q.shift;
}

static inline int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* ------------------------------------------------------------------------------------------
 * Matrix product by blocks of two pixels and two channels
 * ---------------------------------------------------------------------------------------- */

/* Expands 4 * units bytes of two rows; their words alternate, as the dot products read them. */
#define DEFINE_EXPAND_PAIR(kind)                                                                  \
    static inline uint32_t *expand_pair_##kind(uint32_t *out, const uint8_t *first,               \
                                               const uint8_t *second, uint32_t units)             \
    {                                                                                             \
        for (uint32_t unit = 0; unit < units; unit++) {                                           \
            uint32_t a = load4(first + 4 * unit);                                                 \
            uint32_t b = load4(second + 4 * unit);                                                \
            out[0] = even_##kind(a);                                                              \
            out[1] = even_##kind(b);                                                              \
            out[2] = odd_##kind(a);                                                               \
            out[3] = odd_##kind(b);                                                               \
            out += 4;                                                                             \
        }                                                                                         \
        return out;                                                                               \
    }
DEFINE_EXPAND_PAIR(s8)
DEFINE_EXPAND_PAIR(u8)

/* The same for weights, whose two rows already alternate by four bytes in flash. */
static inline void expand_weights(uint32_t *out, const int8_t *weights, uint32_t units)
{
    const uint32_t *words = (const uint32_t *)(const void *)weights;
    for (uint32_t unit = 0; unit < units; unit++) {
        uint32_t a = words[0];
        uint32_t b = words[1];
        out[0] = even_s8(a);
        out[1] = even_s8(b);
        out[2] = odd_s8(a);
        out[3] = odd_s8(b);
        words += 2;
        out += 4;
    }
}

/* Sums of two pixels by two channels: sums[pixel][channel]. */
typedef struct {
    int32_t p0c0;
    int32_t p0c1;
    int32_t p1c0;
    int32_t p1c1;
} block_t;

/* Adds 4 * units products to each sum. Every SMLAD pairs with a load, and a loaded word is used
 * two cycles later at the earliest (a load feeds a multiplicand with one cycle between), so a unit
 * takes 8 cycles for 16 products when all data are in DTCM. The last unit reads ahead, past the
 * end of both buffers by 16 bytes; nothing uses those words. Written in assembly because compilers
 * merge the loads into LDRD and LDM, which pair with nothing. */
#define DOT_FIRST_LOADS                                                                           \
    "ldr   %[a0], [%[pixels]], #4            \n"                                                  \
    "ldr   %[w0], [%[weights]], #4           \n"                                                  \
    "ldr   %[a1], [%[pixels]], #4            \n"                                                  \
    "ldr   %[w1], [%[weights]], #4           \n"
#define DOT_UNIT                                                                                  \
    "smlad %[s00], %[a0], %[w0], %[s00]      \n"                                                  \
    "ldr   %[x], [%[pixels]], #4             \n"                                                  \
    "smlad %[s01], %[a0], %[w1], %[s01]      \n"                                                  \
    "ldr   %[y], [%[weights]], #4            \n"                                                  \
    "smlad %[s11], %[a1], %[w1], %[s11]      \n"                                                  \
    "ldr   %[a0], [%[pixels]], #4            \n"                                                  \
    "smlad %[s10], %[a1], %[w0], %[s10]      \n"                                                  \
    "ldr   %[w1], [%[weights]], #4           \n"                                                  \
    "smlad %[s10], %[a0], %[y], %[s10]       \n"                                                  \
    "ldr   %[a1], [%[pixels], #4]            \n"                                                  \
    "smlad %[s11], %[a0], %[w1], %[s11]      \n"                                                  \
    "ldr   %[w0], [%[weights]], #4           \n"                                                  \
    "smlad %[s01], %[x], %[w1], %[s01]       \n"                                                  \
    "ldr   %[a0], [%[pixels]], #8            \n"                                                  \
    "smlad %[s00], %[x], %[y], %[s00]        \n"                                                  \
    "ldr   %[w1], [%[weights]], #4           \n"

/* For long sums: a loop, one cycle more a unit. */
static inline block_t dot_2x2_loop(const uint32_t *pixels, const uint32_t *weights, uint32_t units,
                                   block_t s)
{
    uint32_t a0, a1, w0, w1, x, y;
    __asm__ volatile(DOT_FIRST_LOADS
                     ".balign 8                               \n"
                     "1:                                      \n" DOT_UNIT
                     "subs  %[units], %[units], #1            \n"
                     "bne   1b                                \n"
                     : [s00] "+r"(s.p0c0), [s01] "+r"(s.p0c1), [s10] "+r"(s.p1c0),
                       [s11] "+r"(s.p1c1), [pixels] "+r"(pixels), [weights] "+r"(weights),
                       [units] "+r"(units), [a0] "=&r"(a0), [a1] "=&r"(a1), [w0] "=&r"(w0),
                       [w1] "=&r"(w1), [x] "=&r"(x), [y] "=&r"(y)
                     :
                     : "cc", "memory");
    return s;
}

/* For short sums, whose loop would cost a mispredicted branch each: a function for one length. */
#define DEFINE_DOT_2X2_UNROLLED(units)                                                            \
    static inline block_t dot_2x2_unrolled(const uint32_t *pixels, const uint32_t *weights,       \
                                           block_t s)                                             \
    {                                                                                             \
        uint32_t a0, a1, w0, w1, x, y;                                                            \
        __asm__ volatile(DOT_FIRST_LOADS ".rept %c[count] \n" DOT_UNIT ".endr \n"                 \
                         : [s00] "+r"(s.p0c0), [s01] "+r"(s.p0c1), [s10] "+r"(s.p1c0),            \
                           [s11] "+r"(s.p1c1), [pixels] "+r"(pixels), [weights] "+r"(weights),    \
                           [a0] "=&r"(a0), [a1] "=&r"(a1), [w0] "=&r"(w0), [w1] "=&r"(w1),        \
                           [x] "=&r"(x), [y] "=&r"(y)                                             \
                         : [count] "i"(units)                                                     \
                         : "cc", "memory");                                                       \
        return s;                                                                                 \
    }

#endif
