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

/* A share of a tile, resolved to addresses. */
typedef struct {
    const conv_shape_t *shape;
    const int32_t *weights;
    share_t channels;
    uint32_t out_step; /* bytes from an output pixel to the next */
} work_t;

/* Walks the output pixels of a tile. */
typedef struct {
    const uint8_t *window;
    uint8_t *output;
    uint32_t column;
} pixel_t;

static inline pixel_t next_pixel(const work_t *work, pixel_t at)
{
    const conv_shape_t *shape = work->shape;
    at.window += shape->column_step;
    at.output += work->out_step;
    if (++at.column == shape->columns) {
        at.column = 0;
        at.window += shape->row_step - shape->columns * shape->column_step;
    }
    return at;
}

static inline pixel_t pixel_at(const conv_shape_t *shape, const conv_step_t *step, uint32_t pixel)
{
    const uint32_t row = pixel / shape->columns;
    const uint32_t column = pixel - row * shape->columns;
    const uint8_t *input = scratch + step->input;
    return (pixel_t){input + row * shape->row_step + column * shape->column_step,
                     scratch + step->output + pixel * step->channels, column};
}

static inline __attribute__((always_inline)) void store_four(const conv_shape_t *shape,
                                                              const int32_t *scales,
                                                              uint32_t channels, uint8_t *out0,
                                                              uint8_t *out1, const int32_t *sum0,
                                                              const int32_t *sum1)
{
    const uint8_t *shifts = (const uint8_t *)(scales + 4);
    const int32_t lowest = shape->lowest, highest = shape->highest;
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

/* Two pixels, all channels of the share. */
static inline __attribute__((always_inline)) void pixel_pair(const work_t *work, pixel_t p0,
                                                              pixel_t p1, int is_unsigned)
{
    const conv_shape_t *shape = work->shape;
    const int32_t *weights = work->weights;
    for (uint32_t c = work->channels.begin; c < work->channels.end; c += 4) {
        int32_t sum0[4] = {weights[0], weights[1], weights[2], weights[3]};
        int32_t sum1[4] = {weights[0], weights[1], weights[2], weights[3]};
        const uint8_t *in0 = p0.window, *in1 = p1.window;
        const uint32_t left = work->channels.end - c;
        weights += 4;
        uint32_t segments = shape->segments;
        do {
            (is_unsigned ? dot_u8 : dot_s8)(&weights, in0, in1, shape->segment_words, sum0, sum1);
            in0 += shape->segment_pitch;
            in1 += shape->segment_pitch;
        } while (--segments > 0);
        if (left >= 4) {
            store_four(shape, weights, 4, p0.output + c, p1.output + c, sum0, sum1);
        } else {
            store_four(shape, weights, left, p0.output + c, p1.output + c, sum0, sum1);
        }
        weights += 5;
    }
}

static inline __attribute__((always_inline)) void conv(const conv_shape_t *shape,
                                                        const conv_step_t *step, int is_unsigned)
{
    const uint32_t core = core_id();
    const uint32_t record_words = 9 + 4 * shape->segments * shape->segment_words;
    const share_t pixels =
        share_of(step->pixels, 2 * step->pairs_a_core, core & (step->pixel_cores - 1));
    const share_t channels =
        share_of(step->channels, 4 * step->records_a_core, core / step->pixel_cores);
    const int32_t *weights = (const int32_t *)(const void *)(scratch + step->weights);
    const work_t work = {shape, weights + channels.begin / 4 * record_words, channels,
                         step->channels};
    pixel_t p0 = pixel_at(shape, step, pixels.begin);
    for (uint32_t pixel = pixels.begin; pixel < pixels.end; pixel += 2) {
        /* An odd last pixel is its own partner: both compute and store the same. */
        const pixel_t p1 = pixel + 1 < pixels.end ? next_pixel(&work, p0) : p0;
        pixel_pair(&work, p0, p1, is_unsigned);
        p0 = next_pixel(&work, p1);
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
static void clear_border(const conv_shape_t *shape, const conv_step_t *step)
{
    const uint32_t pitch = shape->segment_pitch;
    for (uint32_t row = core_id(); row < step->rows; row += CLUSTER_CORES) {
        uint8_t *at = scratch + step->input + row * pitch;
        if (row < step->top || row >= (uint32_t)step->rows - step->bottom) {
            clear(at, pitch);
        } else {
            clear(at, shape->left);
            clear(at + pitch - shape->right, shape->right);
        }
    }
}

static inline void prepare(const conv_shape_t *shape, const conv_step_t *step,
                           layer_probe_t *probe)
{
    if (step->rows != 0) {
        const uint32_t start = cluster_cycles();
        clear_border(shape, step);
        cluster_barrier();
        probe->copy += cluster_cycles() - start;
    }
}

void conv_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    prepare(shape, step, probe);
    conv(shape, step, 0);
}

void conv_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    prepare(shape, step, probe);
    conv(shape, step, 1);
}
