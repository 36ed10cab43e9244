/* Four channels of a tile, height x width x channels, turned into four planes. */
#ifndef PLANES_H
#define PLANES_H

#include <stdint.h>

#include "xpulp.h"

/* Words of four channels at four neighbouring pixels (a, b, c, d) to words of four pixels. Byte
 * selectors of pv.shuffle2.b: 4 to 7 are bytes of the second word. */
#define SELECT_LOW 0x05010400u  /* a0 b0 a1 b1 */
#define SELECT_HIGH 0x07030602u /* a2 b2 a3 b3 */

static inline void transpose(const uint32_t pixel[4], uint32_t channel[4])
{
    const uint32_t ab_low = pv_shuffle2_b(pixel[0], pixel[1], SELECT_LOW);
    const uint32_t ab_high = pv_shuffle2_b(pixel[0], pixel[1], SELECT_HIGH);
    const uint32_t cd_low = pv_shuffle2_b(pixel[2], pixel[3], SELECT_LOW);
    const uint32_t cd_high = pv_shuffle2_b(pixel[2], pixel[3], SELECT_HIGH);
    channel[0] = pv_pack_h(cd_low, ab_low);
    channel[1] = pv_pack_h_h(cd_low, ab_low);
    channel[2] = pv_pack_h(cd_high, ab_high);
    channel[3] = pv_pack_h_h(cd_high, ab_high);
}

/* `words` words of each plane from whole pixels `step` bytes apart: 4 loads, 2 moves, 4 shuffles,
 * 4 packs, 4 stores for 16 bytes. */
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
        ".insn r 0x0b, 7, 0x10, %[a], %[in], %[step]\n\t" /* p.lw a,step(in!) */
        ".insn r 0x0b, 7, 0x10, %[b], %[in], %[step]\n\t"
        ".insn r 0x0b, 7, 0x10, %[c], %[in], %[step]\n\t"
        ".insn r 0x0b, 7, 0x10, %[d], %[in], %[step]\n\t"
        "addi %[t], %[a], 0\n\t"
        "addi %[u], %[c], 0\n\t"
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

/* One word of each plane; `first` is the row's pixel (may be outside) that its byte 0 shows. */
static inline void transpose_edge(const uint8_t *row, uint32_t step, int32_t columns, int32_t first,
                                  uint8_t *plane, uint32_t plane_bytes)
{
    uint32_t pixel[4], channel[4];
    for (int32_t i = 0; i < 4; i++) {
        const int32_t x = first + i;
        pixel[i] = x >= 0 && x < columns ? load_word(row + (uint32_t)x * step) : 0;
    }
    transpose(pixel, channel);
    for (uint32_t i = 0; i < 4; i++) {
        *(uint32_t *)(void *)(plane + i * plane_bytes) = channel[i];
    }
}

/* A row of the planes: `pitch` bytes each, the input row `left` bytes in, zeros around it. */
static inline void planes_row(const uint8_t *row, uint32_t step, uint32_t columns, uint32_t left,
                              uint8_t *plane, uint32_t pitch, uint32_t plane_bytes)
{
    const uint32_t whole_begin = (left + 3) / 4;
    const uint32_t whole_end = (columns + left) / 4; /* words before it hold only input pixels */
    uint32_t word = 0;
    for (; word < pitch / 4; word++) {
        if (word == whole_begin && whole_end > whole_begin) {
            transpose_run(row + (4 * word - left) * step, step, plane + 4 * word, plane_bytes,
                          whole_end - whole_begin);
            word = whole_end;
            if (word == pitch / 4) {
                break;
            }
        }
        transpose_edge(row, step, (int32_t)columns, (int32_t)(4 * word) - (int32_t)left,
                       plane + 4 * word, plane_bytes);
    }
}

/* A row of zeros. */
static inline void planes_zero_row(uint8_t *plane, uint32_t pitch, uint32_t plane_bytes)
{
    for (uint32_t i = 0; i < 4; i++, plane += plane_bytes) {
        for (uint32_t byte = 0; byte < pitch; byte += 4) {
            *(volatile uint32_t *)(void *)(plane + byte) = 0; /* volatile: no call of memset */
        }
    }
}

#endif
