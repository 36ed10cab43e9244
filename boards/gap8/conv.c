#include "conv.h"

#include "cluster.h"
#include "requantise.h"
#include "tiles.h"
#include "xpulp.h"

/* Four channels x two pixels: 6 loads and 8 dot products are 14 instructions for 32
 * multiply-accumulates. `weights` and both inputs advance. The dot products start four
 * instructions after the load they need first, so no load is waited for. */
#define DOT_4X2(name, PV_SDOT)                                                                     \
    static inline __attribute__((always_inline)) void name(                                        \
        const int32_t **weights, const uint8_t *in0, const uint8_t *in1, uint32_t words,           \
        int32_t sum0[4], int32_t sum1[4])                                                          \
    {                                                                                              \
        uint32_t w0, w1, w2, w3, a0, a1;                                                           \
        __asm__ volatile(                                                                          \
            LP_SETUP("%[words]", "14")                                                             \
            P_LW_POST("%[w0]", "4", "%[w]")                                                        \
            P_LW_POST("%[w1]", "4", "%[w]")                                                        \
            P_LW_POST("%[w2]", "4", "%[w]")                                                        \
            P_LW_POST("%[w3]", "4", "%[w]")                                                        \
            P_LW_POST("%[a0]", "4", "%[in0]")                                                      \
            P_LW_POST("%[a1]", "4", "%[in1]")                                                      \
            PV_SDOT("%[s00]", "%[a0]", "%[w0]")                                                    \
            PV_SDOT("%[s01]", "%[a0]", "%[w1]")                                                    \
            PV_SDOT("%[s02]", "%[a0]", "%[w2]")                                                    \
            PV_SDOT("%[s03]", "%[a0]", "%[w3]")                                                    \
            PV_SDOT("%[s10]", "%[a1]", "%[w0]")                                                    \
            PV_SDOT("%[s11]", "%[a1]", "%[w1]")                                                    \
            PV_SDOT("%[s12]", "%[a1]", "%[w2]")                                                    \
            PV_SDOT("%[s13]", "%[a1]", "%[w3]")                                                    \
            LP_END                                                                                 \
            : [w] "+r"(*weights), [in0] "+r"(in0), [in1] "+r"(in1),                                \
              [s00] "+r"(sum0[0]), [s01] "+r"(sum0[1]), [s02] "+r"(sum0[2]),                       \
              [s03] "+r"(sum0[3]), [s10] "+r"(sum1[0]), [s11] "+r"(sum1[1]),                       \
              [s12] "+r"(sum1[2]), [s13] "+r"(sum1[3]), [w0] "=&r"(w0), [w1] "=&r"(w1),            \
              [w2] "=&r"(w2), [w3] "=&r"(w3), [a0] "=&r"(a0), [a1] "=&r"(a1)                       \
            : [words] "r"(words)                                                                   \
            : "memory");                                                                           \
    }

DOT_4X2(dot_s8, PV_SDOTSP_B)
DOT_4X2(dot_u8, PV_SDOTUSP_B)

/* Walks the output pixels of a tile. */
typedef struct {
    const uint8_t *window;
    uint8_t *output;
    uint32_t column;
} pixel_t;

static inline pixel_t next_pixel(const conv_tile_t *tile, pixel_t at)
{
    at.window += tile->column_step;
    at.output += tile->channels;
    if (++at.column == tile->columns) {
        at.column = 0;
        at.window += tile->row_step - tile->columns * tile->column_step;
    }
    return at;
}

static inline pixel_t pixel_at(const conv_tile_t *tile, uint32_t pixel)
{
    uint32_t row = pixel / tile->columns;
    uint32_t column = pixel - row * tile->columns;
    const uint8_t *input = tile->input;
    return (pixel_t){input + row * tile->row_step + column * tile->column_step,
                     tile->output + pixel * tile->channels, column};
}

static inline __attribute__((always_inline)) void store_four(const conv_tile_t *tile,
                                                              const int32_t *scales,
                                                              uint32_t channels, uint8_t *out0,
                                                              uint8_t *out1, const int32_t *sum0,
                                                              const int32_t *sum1)
{
    const uint8_t *shifts = (const uint8_t *)(scales + 4);
    const int32_t lowest = tile->lowest, highest = tile->highest;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        if (i < channels) {
            const int32_t multiplier = scales[i], shift = shifts[i];
            const uint8_t y0 = requantise(sum0[i], multiplier, shift, lowest, highest);
            const uint8_t y1 = requantise(sum1[i], multiplier, shift, lowest, highest);
            out0[i] = y0;
            out1[i] = y1;
        }
    }
}

/* Two pixels, the channels from `first` to before `end`. */
static inline __attribute__((always_inline)) void pixel_pair(const conv_tile_t *tile, pixel_t p0,
                                                              pixel_t p1, const int32_t *weights,
                                                              share_t channels, int is_unsigned)
{
    for (uint32_t c = channels.begin; c < channels.end; c += 4) {
        int32_t sum0[4] = {weights[0], weights[1], weights[2], weights[3]};
        int32_t sum1[4] = {weights[0], weights[1], weights[2], weights[3]};
        const uint8_t *in0 = p0.window, *in1 = p1.window;
        weights += 4;
        uint32_t segments = tile->segments;
        do {
            (is_unsigned ? dot_u8 : dot_s8)(&weights, in0, in1, tile->segment_words, sum0, sum1);
            in0 += tile->segment_pitch;
            in1 += tile->segment_pitch;
        } while (--segments > 0);
        if (channels.end - c >= 4) {
            store_four(tile, weights, 4, p0.output + c, p1.output + c, sum0, sum1);
        } else {
            store_four(tile, weights, channels.end - c, p0.output + c, p1.output + c, sum0, sum1);
        }
        weights += 5;
    }
}

static inline __attribute__((always_inline)) void conv(const conv_tile_t *tile, int is_unsigned)
{
    const uint32_t core = core_id();
    const uint32_t record_words = 9 + 4 * tile->segments * tile->segment_words;
    const share_t pixels =
        share_of(tile->pixels, 2 * tile->pairs_a_core, core & (tile->pixel_cores - 1));
    const share_t channels =
        share_of(tile->channels, 4 * tile->records_a_core, core / tile->pixel_cores);
    const int32_t *weights = (const int32_t *)tile->weights + channels.begin / 4 * record_words;
    pixel_t p0 = pixel_at(tile, pixels.begin);
    for (uint32_t pixel = pixels.begin; pixel < pixels.end; pixel += 2) {
        /* An odd last pixel is its own partner: both compute and store the same. */
        pixel_t p1 = pixel + 1 < pixels.end ? next_pixel(tile, p0) : p0;
        pixel_pair(tile, p0, p1, weights, channels, is_unsigned);
        p0 = next_pixel(tile, p1);
    }
}

/* ------------------------------------------------------------------------------------------
 * Zero padding
 * ---------------------------------------------------------------------------------------- */

static void clear(uint8_t *at, uint32_t bytes)
{
    for (; bytes > 0 && ((uintptr_t)at & 3u) != 0; bytes--) {
        *at++ = 0;
    }
    for (; bytes >= 4; bytes -= 4, at += 4) {
        *(volatile uint32_t *)(void *)at = 0; /* volatile: no call of memset */
    }
    for (; bytes > 0; bytes--) {
        *(volatile uint8_t *)at++ = 0;
    }
}

/* Every core zeroes its share of the rows. */
static void clear_border(const border_t *border)
{
    for (uint32_t row = core_id(); row < border->rows; row += CLUSTER_CORES) {
        uint8_t *at = border->base + row * border->pitch;
        if (row < border->top || row >= border->rows - border->bottom) {
            clear(at, border->pitch);
        } else {
            clear(at, border->left);
            clear(at + border->pitch - border->right, border->right);
        }
    }
}

static inline void prepare(const conv_step_t *step, layer_probe_t *probe)
{
    if (step->border.rows != 0) {
        uint32_t start = cluster_cycles();
        clear_border(&step->border);
        cluster_barrier();
        probe->copy += cluster_cycles() - start;
    }
}

void conv_s8(const void *step, layer_probe_t *probe)
{
    const conv_step_t *conv_step = step;
    prepare(conv_step, probe);
    conv(&conv_step->tile, 0);
}

void conv_u8(const void *step, layer_probe_t *probe)
{
    const conv_step_t *conv_step = step;
    prepare(conv_step, probe);
    conv(&conv_step->tile, 1);
}
