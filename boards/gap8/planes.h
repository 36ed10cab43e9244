/* Four channels of a tile, height x width x channels, turned into four planes. */
#ifndef PLANES_H
#define PLANES_H

#include <stdint.h>

#include "xpulp.h"

/* Words of four channels at four neighbouring pixels (a, b, c, d) to words of four pixels. Byte
 * selectors of pv.shuffle2.b: 4 to 7 are bytes of the second word. */
#define SELECT_LOW 0x05010400u  /* a0 b0 a1 b1 */
#define SELECT_HIGH 0x07030602u /* a2 b2 a3 b3 */

/* `words` words of each plane from pixels `step` bytes apart: 4 loads, 2 moves, 4 shuffles, 4 packs,
 * 4 stores for 16 bytes. */
static inline void transpose_run(const uint8_t *in, uint32_t step, uint8_t *plane,
                                 uint32_t plane_bytes, uint32_t words)
{
    uint8_t *p0 = plane;
    uint8_t *p1 = p0 + plane_bytes;
    uint8_t *p2 = p1 + plane_bytes;
    uint8_t *p3 = p2 + plane_bytes;
    uint32_t a, b, c, d, t, u;
    __asm__ volatile(
        LP_SETUP("%[words]", "18")
        P_LW_STEP("%[a]", "%[step]", "%[in]")
        P_LW_STEP("%[b]", "%[step]", "%[in]")
        P_LW_STEP("%[c]", "%[step]", "%[in]")
        P_LW_STEP("%[d]", "%[step]", "%[in]")
        COPY("%[t]", "%[a]")
        COPY("%[u]", "%[c]")
        ".insn r 0x57, 1, 0x64, %[a], %[b], %[low]\n\t" /* pv.shuffle2.b */
        ".insn r 0x57, 1, 0x64, %[t], %[b], %[high]\n\t"
        ".insn r 0x57, 1, 0x64, %[c], %[d], %[low]\n\t"
        ".insn r 0x57, 1, 0x64, %[u], %[d], %[high]\n\t"
        ".insn r 0x57, 0, 0x68, %[b], %[c], %[a]\n\t" /* pv.pack.h */
        ".insn r 0x57, 6, 0x68, %[d], %[c], %[a]\n\t" /* pv.pack.h.h */
        ".insn r 0x57, 0, 0x68, %[a], %[u], %[t]\n\t"
        ".insn r 0x57, 6, 0x68, %[c], %[u], %[t]\n\t"
        P_SW_POST("%[b]", "4", "%[p0]")
        P_SW_POST("%[d]", "4", "%[p1]")
        P_SW_POST("%[a]", "4", "%[p2]")
        P_SW_POST("%[c]", "4", "%[p3]")
        LP_END
        : [in] "+r"(in), [p0] "+r"(p0), [p1] "+r"(p1), [p2] "+r"(p2), [p3] "+r"(p3),
          [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [u] "=&r"(u)
        : [step] "r"(step), [low] "r"(SELECT_LOW), [high] "r"(SELECT_HIGH), [words] "r"(words)
        : "memory");
}

static inline void planes_zeros(uint8_t *plane, uint32_t plane_bytes, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += 4) {
        for (uint32_t i = 0; i < 4; i++) {
            store_word(plane + i * plane_bytes + at, 0);
        }
    }
}

/* A row of the planes: `left` zeros, the input row, `right` zeros. Zeros go by words, and so does
 * the input: the last word of the left ones is overwritten by the first pixels, the pixels read
 * beyond the row by the right ones. Stores to odd addresses cost a cycle or two; shifting whole
 * rows in registers would cost as much. */
static inline void planes_row(const uint8_t *row, uint32_t step, uint32_t columns, uint32_t left,
                              uint32_t right, uint8_t *plane, uint32_t plane_bytes)
{
    planes_zeros(plane, plane_bytes, left);
    transpose_run(row, step, plane + left, plane_bytes, (columns + 3) / 4);
    planes_zeros(plane + left + columns, plane_bytes, right);
}

#endif
