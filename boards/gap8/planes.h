/* Four channels of a tile, height x width x channels, turned into four planes. */
#ifndef PLANES_H
#define PLANES_H

#include <stdint.h>

#include "xpulp.h"

/* Words of four channels at four neighbouring pixels (a, b, c, d) to words of four pixels. Byte
 * selectors of pv.shuffle2.b: 4 to 7 are bytes of the second word. */
#define SELECT_LOW 0x05010400u  /* a0 b0 a1 b1 */
#define SELECT_HIGH 0x07030602u /* a2 b2 a3 b3 */

/* A row of the planes: a word of zeros, over it from byte `left` on `words` words from pixels
 * `step` bytes apart, over those from byte `left + columns` on a word of zeros. 4 loads, 2 moves,
 * 4 shuffles, 4 packs and 4 stores turn 16 bytes; stores to odd addresses cost a cycle or two
 * more, as would shifting rows in registers. What is read beyond the row's end is overwritten. */
static inline void planes_row(const uint8_t *in, uint32_t step, uint32_t columns, uint32_t left,
                              uint8_t *plane, uint32_t plane_bytes)
{
    const uint32_t words = (columns + 3) / 4;
    uint8_t *p0 = plane;
    uint8_t *p1 = p0 + plane_bytes;
    uint8_t *p2 = p1 + plane_bytes;
    uint8_t *p3 = p2 + plane_bytes;
    uint32_t a, b, c, d, t, u;
    __asm__ volatile(
        "sw x0, 0(%[p0])\n\t"
        "sw x0, 0(%[p1])\n\t"
        "sw x0, 0(%[p2])\n\t"
        "sw x0, 0(%[p3])\n\t"
        "add %[p0], %[p0], %[left]\n\t"
        "add %[p1], %[p1], %[left]\n\t"
        "add %[p2], %[p2], %[left]\n\t"
        "add %[p3], %[p3], %[left]\n\t"
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
        "sub %[p0], %[p0], %[beyond]\n\t"
        "sub %[p1], %[p1], %[beyond]\n\t"
        "sub %[p2], %[p2], %[beyond]\n\t"
        "sub %[p3], %[p3], %[beyond]\n\t"
        "sw x0, 0(%[p0])\n\t"
        "sw x0, 0(%[p1])\n\t"
        "sw x0, 0(%[p2])\n\t"
        "sw x0, 0(%[p3])\n\t"
        : [in] "+r"(in), [p0] "+r"(p0), [p1] "+r"(p1), [p2] "+r"(p2), [p3] "+r"(p3),
          [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [u] "=&r"(u)
        : [step] "r"(step), [low] "r"(SELECT_LOW), [high] "r"(SELECT_HIGH), [words] "r"(words),
          [left] "r"(left), [beyond] "r"(4 * words - columns)
        : "memory");
}

/* `bytes` zeros in each plane, by words; `bytes` and the address are multiples of four. */
static inline void planes_zeros(uint8_t *plane, uint32_t plane_bytes, uint32_t bytes)
{
    for (uint32_t i = 0; i < 4; i++, plane += plane_bytes) {
        for (uint32_t at = 0; at < bytes; at += 4) {
            *(volatile uint32_t *)(void *)(plane + at) = 0; /* volatile: no call of memset */
        }
    }
}

#endif
