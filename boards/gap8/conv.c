#include "conv.h"

#include "cluster.h"
#include "tiles.h"
#include "xpulp.h"

/* Four channels x two pixels. The innermost loop's 6 loads and 8 dot products are 14 instructions
 * for 32 multiply-accumulates; each load is at least a cycle ahead of its use. A segment adds 3
 * cycles, a block 86 or 94, 40 of them for mulh. The shifts come as one word: p.addrnr only looks
 * at the five lowest bits. The result points behind the record, the outputs behind what was
 * stored. */
#define LIMIT_ANY(sum) P_MAX(sum, sum, "%[lowest]") P_MIN(sum, sum, "%[highest]")
#define LIMIT_FROM_ZERO(sum) P_CLIPUR(sum, sum, "%[highest]")

#define BLOCK(name, PV_SDOT, LIMIT)                                                                \
    ALWAYS_INLINE const int32_t *name(                                                             \
        const conv_shape_t *shape, const int32_t *weights, const uint8_t *in0, const uint8_t *in1, \
        uint8_t **out0, uint8_t **out1)                                                            \
    {                                                                                              \
        uint32_t w0, w1, w2, w3, a0, a1;                                                           \
        int32_t s00, s01, s02, s03, s10, s11, s12, s13;                                            \
        const uint32_t words = shape->segment_words;                                               \
        __asm__ volatile(                                                                          \
            P_LW_POST("%[s00]", "4", "%[w]")                                                       \
            P_LW_POST("%[s01]", "4", "%[w]")                                                       \
            P_LW_POST("%[s02]", "4", "%[w]")                                                       \
            P_LW_POST("%[s03]", "4", "%[w]")                                                       \
            COPY("%[s10]", "%[s00]")                                                               \
            COPY("%[s11]", "%[s01]")                                                               \
            COPY("%[s12]", "%[s02]")                                                               \
            COPY("%[s13]", "%[s03]")                                                               \
            LP_SETUP_OUTER("%[segments]", "17")                                                    \
            LP_SETUP_INNER("%[words]", "14")                                                       \
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
            "add %[in0], %[in0], %[skip]\n\t"                                                      \
            "add %[in1], %[in1], %[skip]\n\t"                                                      \
            LP_END                                                                                 \
            P_LW_POST("%[w0]", "4", "%[w]")                                                        \
            P_LW_POST("%[w1]", "4", "%[w]")                                                        \
            P_LW_POST("%[w2]", "4", "%[w]")                                                        \
            P_LW_POST("%[w3]", "4", "%[w]")                                                        \
            P_LW_POST("%[a0]", "4", "%[w]")                                                        \
            "mulh %[s00], %[s00], %[w0]\n\t"                                                       \
            "mulh %[s10], %[s10], %[w0]\n\t"                                                       \
            "mulh %[s01], %[s01], %[w1]\n\t"                                                       \
            "mulh %[s11], %[s11], %[w1]\n\t"                                                       \
            "mulh %[s02], %[s02], %[w2]\n\t"                                                       \
            "mulh %[s12], %[s12], %[w2]\n\t"                                                       \
            "mulh %[s03], %[s03], %[w3]\n\t"                                                       \
            "mulh %[s13], %[s13], %[w3]\n\t"                                                       \
            P_ADDRNR("%[s00]", "%[a0]")                                                            \
            P_ADDRNR("%[s10]", "%[a0]")                                                            \
            "srli %[a0], %[a0], 8\n\t"                                                             \
            P_ADDRNR("%[s01]", "%[a0]")                                                            \
            P_ADDRNR("%[s11]", "%[a0]")                                                            \
            "srli %[a0], %[a0], 8\n\t"                                                             \
            P_ADDRNR("%[s02]", "%[a0]")                                                            \
            P_ADDRNR("%[s12]", "%[a0]")                                                            \
            "srli %[a0], %[a0], 8\n\t"                                                             \
            P_ADDRNR("%[s03]", "%[a0]")                                                            \
            P_ADDRNR("%[s13]", "%[a0]")                                                            \
            LIMIT("%[s00]") LIMIT("%[s01]") LIMIT("%[s02]") LIMIT("%[s03]")                        \
            LIMIT("%[s10]") LIMIT("%[s11]") LIMIT("%[s12]") LIMIT("%[s13]")                        \
            P_SB_POST("%[s00]", "%[out0]") P_SB_POST("%[s01]", "%[out0]")                          \
            P_SB_POST("%[s02]", "%[out0]") P_SB_POST("%[s03]", "%[out0]")                          \
            P_SB_POST("%[s10]", "%[out1]") P_SB_POST("%[s11]", "%[out1]")                          \
            P_SB_POST("%[s12]", "%[out1]") P_SB_POST("%[s13]", "%[out1]")                          \
            : [w] "+r"(weights), [in0] "+r"(in0), [in1] "+r"(in1), [out0] "+r"(*out0),             \
              [out1] "+r"(*out1), [w0] "=&r"(w0), [w1] "=&r"(w1), [w2] "=&r"(w2),                  \
              [w3] "=&r"(w3), [a0] "=&r"(a0), [a1] "=&r"(a1),                                      \
              [s00] "=&r"(s00), [s01] "=&r"(s01), [s02] "=&r"(s02), [s03] "=&r"(s03),              \
              [s10] "=&r"(s10), [s11] "=&r"(s11), [s12] "=&r"(s12), [s13] "=&r"(s13)               \
            : [words] "r"(words), [segments] "r"((uint32_t)shape->segments),                       \
              [skip] "r"(shape->segment_pitch - 4 * words),                                        \
              [lowest] "r"((int32_t)shape->lowest), [highest] "r"((int32_t)shape->highest)         \
            : "memory");                                                                           \
        return weights;                                                                            \
    }

BLOCK(block_s8, PV_SDOTSP_B, LIMIT_ANY)
BLOCK(block_u8, PV_SDOTUSP_B, LIMIT_ANY)
BLOCK(block_s8_from_zero, PV_SDOTSP_B, LIMIT_FROM_ZERO)
BLOCK(block_u8_from_zero, PV_SDOTUSP_B, LIMIT_FROM_ZERO)

typedef enum { S8, U8, S8_FROM_ZERO, U8_FROM_ZERO } variant_t;

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

/* Two pixels, all channels of the share. The outputs of an incomplete last record go through spare
 * bytes. */
ALWAYS_INLINE void pixel_pair(const work_t *work, pixel_t p0, pixel_t p1, variant_t variant)
{
    const conv_shape_t shape = *work->shape;
    const int32_t *weights = work->weights;
    const uint32_t channels = work->channels.end - work->channels.begin;
    uint8_t spare0[4], spare1[4];
    uint8_t *out0 = p0.output + work->channels.begin;
    uint8_t *out1 = p1.output + work->channels.begin;
    uint32_t incomplete = 0;
    for (uint32_t records = channels / 4;; records = 1) {
        for (; records > 0; records--) {
            weights = (variant == S8             ? block_s8
                       : variant == U8           ? block_u8
                       : variant == S8_FROM_ZERO ? block_s8_from_zero
                                                 : block_u8_from_zero)(
                &shape, weights, p0.window, p1.window, &out0, &out1);
        }
        if (incomplete != 0 || channels % 4 == 0) {
            break;
        }
        incomplete = channels % 4;
        out0 = spare0;
        out1 = spare1;
    }
    for (uint32_t i = 0; i < incomplete; i++) {
        p0.output[work->channels.end - incomplete + i] = spare0[i];
        p1.output[work->channels.end - incomplete + i] = spare1[i];
    }
}

ALWAYS_INLINE void conv(const conv_shape_t *shape, const conv_step_t *step, variant_t variant)
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
    if (channels.begin == channels.end) {
        return;
    }
    pixel_t p0 = pixel_at(shape, step, pixels.begin);
    for (uint32_t pixel = pixels.begin; pixel < pixels.end; pixel += 2) {
        /* An odd last pixel is its own partner: both compute and store the same. */
        const pixel_t p1 = pixel + 1 < pixels.end ? next_pixel(&work, p0) : p0;
        pixel_pair(&work, p0, p1, variant);
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

static void prepare(const conv_shape_t *shape, const conv_step_t *step, layer_probe_t *probe)
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
    conv(shape, step, S8);
}

void conv_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    prepare(shape, step, probe);
    conv(shape, step, U8);
}

void conv_s8_from_zero(const void *shape, const void *step, layer_probe_t *probe)
{
    prepare(shape, step, probe);
    conv(shape, step, S8_FROM_ZERO);
}

void conv_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe)
{
    prepare(shape, step, probe);
    conv(shape, step, U8_FROM_ZERO);
}
