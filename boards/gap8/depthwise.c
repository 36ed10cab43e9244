#include "depthwise.h"

#include "cluster.h"
#include "planes.h"
#include "requantise.h"

/* What a sweep over a channel needs. It lives in memory and the sweeps load it themselves: 25
 * values in registers at once leave the compiler none to prepare them in. */
typedef struct {
    const uint8_t *top;  /* first word of the plane */
    uint8_t *out;
    uint32_t times;      /* column pairs or columns */
    uint32_t rows;
    uint32_t step;       /* bytes from an output pixel to the next */
    uint32_t down;       /* and to the one below */
    uint32_t pitch;
    int32_t lowest;
    int32_t highest;
    int32_t bias;
    int32_t multiplier;
    int32_t shift;
    const uint32_t *taps;
} sweep_t;

#define LOAD_SWEEP                                                                                 \
    "lw %[top], 0(%[sweep])\n\t"                                                                   \
    "lw %[out], 4(%[sweep])\n\t"                                                                   \
    "lw %[times], 8(%[sweep])\n\t"                                                                 \
    "lw %[rows], 12(%[sweep])\n\t"                                                                 \
    "lw %[step], 16(%[sweep])\n\t"                                                                 \
    "lw %[down], 20(%[sweep])\n\t"                                                                 \
    "lw %[pitch], 24(%[sweep])\n\t"                                                                \
    "lw %[k2], 48(%[sweep])\n\t"                                                                   \
    "lw %[lowest], 28(%[sweep])\n\t"                                                               \
    "lw %[highest], 32(%[sweep])\n\t"                                                              \
    "lw %[bias], 36(%[sweep])\n\t"                                                                 \
    "lw %[scale], 40(%[sweep])\n\t"                                                                \
    "lw %[shift], 44(%[sweep])\n\t"                                                                \
    "lw %[k0], 0(%[k2])\n\t"                                                                       \
    "lw %[k1], 4(%[k2])\n\t"                                                                       \
    "lw %[k2], 8(%[k2])\n\t"

/* ------------------------------------------------------------------------------------------
 * 3x3, stride 1: two columns at once, down the rows. A word of a plane row holds the taps of both:
 * bytes 0 to 2 for the left output, 1 to 3 for the right one, against kernel words shifted by a
 * byte. Two outputs take 19 or 21 instructions and 27 or 29 cycles (mulh takes 5), a pair of
 * columns 8 more. With `step` 0 both outputs go to one place, the left one last.
 * ---------------------------------------------------------------------------------------- */

#define LIMIT_ANY(sum) P_MAX(sum, sum, "%[lowest]") P_MIN(sum, sum, "%[highest]")
#define LIMIT_FROM_ZERO(sum) P_CLIPUR(sum, sum, "%[highest]")

#define SWEEP_TWO(name, PV_SDOT, LIMIT, count)                                                     \
    ALWAYS_INLINE void name(const sweep_t *sweep)                                                  \
    {                                                                                              \
        uint32_t top, out, times, rows, step, down, pitch, lowest, highest, bias, scale, shift;    \
        uint32_t k0, k1, k2, q0, q1, q2, in, left, r0, r1, r2, s0, s1;                             \
        __asm__ volatile(                                                                          \
            LOAD_SWEEP                                                                             \
            "slli %[q0], %[k0], 8\n\t"                                                             \
            "slli %[q1], %[k1], 8\n\t"                                                             \
            "slli %[q2], %[k2], 8\n\t"                                                             \
            LP_SETUP_OUTER("%[times]", "8 + " count)                                               \
            COPY("%[in]", "%[top]")                                                                \
            COPY("%[left]", "%[out]")                                                              \
            P_LW_STEP("%[r0]", "%[pitch]", "%[in]")                                                \
            P_LW_STEP("%[r1]", "%[pitch]", "%[in]")                                                \
            LP_SETUP_INNER("%[rows]", count)                                                       \
            P_LW_STEP("%[r2]", "%[pitch]", "%[in]")                                                \
            COPY("%[s0]", "%[bias]")                                                               \
            COPY("%[s1]", "%[bias]")                                                               \
            PV_SDOT("%[s0]", "%[r0]", "%[k0]")                                                     \
            PV_SDOT("%[s1]", "%[r0]", "%[q0]")                                                     \
            PV_SDOT("%[s0]", "%[r1]", "%[k1]")                                                     \
            PV_SDOT("%[s1]", "%[r1]", "%[q1]")                                                     \
            PV_SDOT("%[s0]", "%[r2]", "%[k2]")                                                     \
            PV_SDOT("%[s1]", "%[r2]", "%[q2]")                                                     \
            "mulh %[s1], %[s1], %[scale]\n\t"                                                      \
            "mulh %[s0], %[s0], %[scale]\n\t"                                                      \
            COPY("%[r0]", "%[r1]")                                                                 \
            COPY("%[r1]", "%[r2]")                                                                 \
            P_ADDRNR("%[s1]", "%[shift]")                                                          \
            P_ADDRNR("%[s0]", "%[shift]")                                                          \
            LIMIT("%[s1]")                                                                         \
            LIMIT("%[s0]")                                                                         \
            P_SB_AT("%[s1]", "%[step]", "%[left]")                                                 \
            P_SB_STEP("%[s0]", "%[down]", "%[left]")                                               \
            "addi %[top], %[top], 2\n\t"                                                           \
            "add %[out], %[out], %[step]\n\t"                                                      \
            "add %[out], %[out], %[step]\n\t"                                                      \
            LP_END                                                                                 \
            : [top] "=&r"(top), [out] "=&r"(out), [times] "=&r"(times), [rows] "=&r"(rows),        \
              [step] "=&r"(step), [down] "=&r"(down), [pitch] "=&r"(pitch),                        \
              [lowest] "=&r"(lowest), [highest] "=&r"(highest), [bias] "=&r"(bias),                \
              [scale] "=&r"(scale), [shift] "=&r"(shift), [k0] "=&r"(k0), [k1] "=&r"(k1),          \
              [k2] "=&r"(k2), [q0] "=&r"(q0), [q1] "=&r"(q1), [q2] "=&r"(q2), [in] "=&r"(in),      \
              [left] "=&r"(left), [r0] "=&r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2),                  \
              [s0] "=&r"(s0), [s1] "=&r"(s1)                                                       \
            : [sweep] "r"(sweep)                                                                   \
            : "memory");                                                                           \
    }

SWEEP_TWO(two_s8, PV_SDOTSP_B, LIMIT_ANY, "21")
SWEEP_TWO(two_u8, PV_SDOTUSP_B, LIMIT_ANY, "21")
SWEEP_TWO(two_u8_from_zero, PV_SDOTUSP_B, LIMIT_FROM_ZERO, "19")

/* ------------------------------------------------------------------------------------------
 * 3x3, stride 2: one column, down the rows; the last row of a window is the next one's first. 15 or
 * 16 cycles an output, 6 more a column.
 * ---------------------------------------------------------------------------------------- */

#define SWEEP_STRIDE2(name, PV_SDOT, LIMIT, count)                                                 \
    ALWAYS_INLINE void name(const sweep_t *sweep)                                                  \
    {                                                                                              \
        uint32_t top, out, times, rows, step, down, pitch, lowest, highest, bias, scale, shift;    \
        uint32_t k0, k1, k2, in, at, r0, r1, r2, s0;                                               \
        __asm__ volatile(                                                                          \
            LOAD_SWEEP                                                                             \
            LP_SETUP_OUTER("%[times]", "6 + " count)                                               \
            COPY("%[in]", "%[top]")                                                                \
            COPY("%[at]", "%[out]")                                                                \
            P_LW_STEP("%[r0]", "%[pitch]", "%[in]")                                                \
            LP_SETUP_INNER("%[rows]", count)                                                       \
            P_LW_STEP("%[r1]", "%[pitch]", "%[in]")                                                \
            P_LW_STEP("%[r2]", "%[pitch]", "%[in]")                                                \
            COPY("%[s0]", "%[bias]")                                                               \
            PV_SDOT("%[s0]", "%[r0]", "%[k0]")                                                     \
            PV_SDOT("%[s0]", "%[r1]", "%[k1]")                                                     \
            PV_SDOT("%[s0]", "%[r2]", "%[k2]")                                                     \
            "mulh %[s0], %[s0], %[scale]\n\t"                                                      \
            COPY("%[r0]", "%[r2]")                                                                 \
            P_ADDRNR("%[s0]", "%[shift]")                                                          \
            LIMIT("%[s0]")                                                                         \
            P_SB_STEP("%[s0]", "%[down]", "%[at]")                                                 \
            "addi %[top], %[top], 2\n\t"                                                           \
            "add %[out], %[out], %[step]\n\t"                                                      \
            LP_END                                                                                 \
            : [top] "=&r"(top), [out] "=&r"(out), [times] "=&r"(times), [rows] "=&r"(rows),        \
              [step] "=&r"(step), [down] "=&r"(down), [pitch] "=&r"(pitch),                        \
              [lowest] "=&r"(lowest), [highest] "=&r"(highest), [bias] "=&r"(bias),                \
              [scale] "=&r"(scale), [shift] "=&r"(shift), [k0] "=&r"(k0), [k1] "=&r"(k1),          \
              [k2] "=&r"(k2), [in] "=&r"(in), [at] "=&r"(at), [r0] "=&r"(r0), [r1] "=&r"(r1),      \
              [r2] "=&r"(r2), [s0] "=&r"(s0)                                                       \
            : [sweep] "r"(sweep)                                                                   \
            : "memory");                                                                           \
    }

SWEEP_STRIDE2(stride2_s8, PV_SDOTSP_B, LIMIT_ANY, "12")
SWEEP_STRIDE2(stride2_u8, PV_SDOTUSP_B, LIMIT_ANY, "12")
SWEEP_STRIDE2(stride2_u8_from_zero, PV_SDOTUSP_B, LIMIT_FROM_ZERO, "11")

/* ------------------------------------------------------------------------------------------
 * One channel of a core's rows, in each of the three ways
 * ---------------------------------------------------------------------------------------- */

typedef enum { KERNEL_3X3, KERNEL_3X3_STRIDE2, KERNEL_ANY } kernel_t;

/* Signed input, unsigned input, and unsigned input to outputs limited from below by 0. */
typedef enum { S8, U8, U8_FROM_ZERO } variant_t;

ALWAYS_INLINE void channel_3x3(sweep_t *sweep, uint32_t columns, variant_t variant)
{
    const uint32_t step = sweep->step;
    for (uint32_t pairs = columns / 2;;) {
        sweep->times = pairs;
        if (pairs > 0) {
            (variant == S8 ? two_s8 : variant == U8 ? two_u8 : two_u8_from_zero)(sweep);
        }
        if (columns % 2 == 0 || sweep->step == 0) {
            break;
        }
        sweep->top += columns - 1;
        sweep->out += (columns - 1) * step;
        sweep->step = 0; /* once more for the odd last column */
        pairs = 1;
    }
    sweep->step = step;
}

ALWAYS_INLINE void channel_3x3_stride2(sweep_t *sweep, uint32_t columns, variant_t variant)
{
    sweep->times = columns;
    (variant == S8 ? stride2_s8 : variant == U8 ? stride2_u8 : stride2_u8_from_zero)(sweep);
}

ALWAYS_INLINE void channel_any(const depthwise_shape_t *shape, const sweep_t *sweep,
                               variant_t variant)
{
    uint8_t *out = sweep->out;
    for (uint32_t y = 0; y < sweep->rows; y++) {
        const uint8_t *row = sweep->top + y * shape->stride_down * sweep->pitch;
        for (uint32_t x = 0; x < shape->output_columns; x++, out += sweep->step) {
            const uint8_t *window = row + x * shape->stride_across;
            const uint32_t *taps = sweep->taps;
            int32_t sum = sweep->bias;
            for (uint32_t ky = 0; ky < shape->kernel_rows; ky++) {
                for (uint32_t word = 0; word < shape->kernel_words; word++) {
                    const uint32_t inputs = load_word(window + 4 * word);
                    sum = (variant == S8 ? pv_sdotsp_b : pv_sdotusp_b)(sum, inputs, *taps++);
                }
                window += sweep->pitch;
            }
            *out = requantise(sum, sweep->multiplier, sweep->shift, sweep->lowest,
                              sweep->highest);
        }
    }
}

/* ------------------------------------------------------------------------------------------
 * A core's share
 * ---------------------------------------------------------------------------------------- */

/* Planes of four channels from `channel` on, with the input rows that output rows `rows` need. */
static __attribute__((noinline)) void make_planes(const depthwise_shape_t *shape,
                                                  const depthwise_step_t *step, uint32_t channel,
                                                  share_t rows, uint8_t *planes)
{
    const uint32_t count = (rows.end - rows.begin - 1) * shape->stride_down + shape->kernel_rows;
    const uint32_t line = shape->columns * step->channels;
    const uint32_t wide = shape->left > 4 || shape->right > 4; /* more than planes_row() zeroes */
    uint32_t row = rows.begin * shape->stride_down - step->top; /* wraps above the input: zeros */
    for (uint32_t i = 0; i < count; i++, row++, planes += shape->plane_pitch) {
        if (row >= step->rows || wide) {
            planes_zeros(planes, shape->plane_bytes, shape->plane_pitch);
        }
        if (row < step->rows) {
            planes_row(scratch + step->input + row * line + channel, step->channels,
                       shape->columns, shape->left, planes, shape->plane_bytes);
        }
    }
}

ALWAYS_INLINE void depthwise(const depthwise_shape_t *shape, const depthwise_step_t *step,
                             layer_probe_t *probe, kernel_t kernel, variant_t variant)
{
    const uint32_t core = core_id();
    const share_t rows =
        share_of(step->output_rows, step->rows_a_core, core & (shape->row_cores - 1));
    const share_t channels =
        share_of(step->channels, 4 * step->quads_a_core, core / shape->row_cores);
    const uint32_t count = rows.end - rows.begin;
    const uint32_t taps = shape->kernel_rows * shape->kernel_words; /* words a channel */
    const uint32_t record_words = 9 + 4 * taps;
    const int32_t *weights = (const int32_t *)(const void *)(scratch + step->weights);
    uint8_t *planes = scratch + shape->planes + core * 4 * shape->plane_bytes;
    uint8_t *output =
        scratch + step->output + rows.begin * shape->output_columns * step->channels;
    if (count == 0) {
        return;
    }
    sweep_t sweep = {.rows = count,
                     .step = step->channels,
                     .down = shape->output_columns * step->channels,
                     .pitch = shape->plane_pitch,
                     .lowest = shape->lowest,
                     .highest = shape->highest};
    for (uint32_t quad = channels.begin; quad < channels.end; quad += 4) {
        const int32_t *record = weights + quad / 4 * record_words;
        const uint8_t *shifts = (const uint8_t *)(record + 8);
        const uint32_t start = cluster_cycles();
        make_planes(shape, step, quad, rows, planes);
        probe->copy += cluster_cycles() - start;
        for (uint32_t i = 0; i < 4 && quad + i < channels.end; i++) {
            sweep.top = planes + i * shape->plane_bytes;
            sweep.out = output + quad + i;
            sweep.bias = record[i];
            sweep.multiplier = record[4 + i];
            sweep.shift = shifts[i];
            sweep.taps = (const uint32_t *)(record + 9 + i * taps);
            if (kernel == KERNEL_3X3) {
                channel_3x3(&sweep, shape->output_columns, variant);
            } else if (kernel == KERNEL_3X3_STRIDE2) {
                channel_3x3_stride2(&sweep, shape->output_columns, variant);
            } else {
                channel_any(shape, &sweep, variant);
            }
        }
    }
}

void depthwise_3x3_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3, S8);
}

void depthwise_3x3_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3, U8);
}

void depthwise_3x3_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3, U8_FROM_ZERO);
}

void depthwise_3x3_stride2_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3_STRIDE2, S8);
}

void depthwise_3x3_stride2_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3_STRIDE2, U8);
}

void depthwise_3x3_stride2_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3_STRIDE2, U8_FROM_ZERO);
}

void depthwise_any_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_ANY, S8);
}

void depthwise_any_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_ANY, U8);
}
