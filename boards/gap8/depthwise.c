#include "depthwise.h"

#include "cluster.h"
#include "planes.h"
#include "requantise.h"

/* Parameters of a channel. */
typedef struct {
    int32_t bias;
    int32_t multiplier;
    int32_t shift;
    const uint32_t *taps;
} channel_t;

/* ------------------------------------------------------------------------------------------
 * 3x3, stride 1: two columns at once, down the rows. A word of a plane row holds the taps of both:
 * bytes 0 to 2 for the left output, 1 to 3 for the right one, against kernel words shifted by a
 * byte. Two outputs take 19 or 21 instructions and 27 or 29 cycles (mulh takes 5), a pair of
 * columns 8 more. With `step` 0 both outputs go to one place, the left one last.
 * ---------------------------------------------------------------------------------------- */

#define LIMIT_ANY(sum) P_MAX(sum, sum, "%[lowest]") P_MIN(sum, sum, "%[highest]")
#define LIMIT_FROM_ZERO(sum) P_CLIPUR(sum, sum, "%[highest]")

#define SWEEP_TWO(name, PV_SDOT, LIMIT, count)                                                     \
    ALWAYS_INLINE void name(                                                                       \
        const depthwise_shape_t *shape, const uint8_t *top, const channel_t *channel,              \
        uint8_t *out, uint32_t step, uint32_t down, uint32_t pairs, uint32_t rows)                 \
    {                                                                                              \
        const uint8_t *in;                                                                         \
        uint8_t *left;                                                                             \
        uint32_t r0, r1, r2;                                                                       \
        int32_t s0, s1;                                                                            \
        __asm__ volatile(                                                                          \
            LP_SETUP_OUTER("%[pairs]", "8 + " count)                                               \
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
            : [top] "+r"(top), [out] "+r"(out), [in] "=&r"(in), [left] "=&r"(left),                \
              [r0] "=&r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2), [s0] "=&r"(s0), [s1] "=&r"(s1)       \
            : [pairs] "r"(pairs), [rows] "r"(rows), [step] "r"(step), [down] "r"(down),            \
              [pitch] "r"((uint32_t)shape->plane_pitch), [bias] "r"(channel->bias),                \
              [scale] "r"(channel->multiplier), [shift] "r"(channel->shift),                       \
              [k0] "r"(channel->taps[0]), [k1] "r"(channel->taps[1]),                              \
              [k2] "r"(channel->taps[2]), [q0] "r"(channel->taps[0] << 8),                         \
              [q1] "r"(channel->taps[1] << 8), [q2] "r"(channel->taps[2] << 8),                    \
              [lowest] "r"((int32_t)shape->lowest), [highest] "r"((int32_t)shape->highest)         \
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
    ALWAYS_INLINE void name(                                                                       \
        const depthwise_shape_t *shape, const uint8_t *top, const channel_t *channel,              \
        uint8_t *out, uint32_t step, uint32_t down, uint32_t columns, uint32_t rows)               \
    {                                                                                              \
        const uint8_t *in;                                                                         \
        uint8_t *at;                                                                               \
        uint32_t r0, r1, r2;                                                                       \
        int32_t s0;                                                                                \
        __asm__ volatile(                                                                          \
            LP_SETUP_OUTER("%[columns]", "6 + " count)                                             \
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
            : [top] "+r"(top), [out] "+r"(out), [in] "=&r"(in), [at] "=&r"(at), [r0] "=&r"(r0),    \
              [r1] "=&r"(r1), [r2] "=&r"(r2), [s0] "=&r"(s0)                                       \
            : [columns] "r"(columns), [rows] "r"(rows), [step] "r"(step), [down] "r"(down),        \
              [pitch] "r"((uint32_t)shape->plane_pitch), [bias] "r"(channel->bias),                \
              [scale] "r"(channel->multiplier), [shift] "r"(channel->shift),                       \
              [k0] "r"(channel->taps[0]), [k1] "r"(channel->taps[1]),                              \
              [k2] "r"(channel->taps[2]), [lowest] "r"((int32_t)shape->lowest),                    \
              [highest] "r"((int32_t)shape->highest)                                               \
            : "memory");                                                                           \
    }

SWEEP_STRIDE2(stride2_s8, PV_SDOTSP_B, LIMIT_ANY, "12")
SWEEP_STRIDE2(stride2_u8, PV_SDOTUSP_B, LIMIT_ANY, "12")
SWEEP_STRIDE2(stride2_u8_from_zero, PV_SDOTUSP_B, LIMIT_FROM_ZERO, "11")

/* ------------------------------------------------------------------------------------------
 * One channel of a core's rows, in each of the three ways. `step` is the distance of two output
 * pixels: the channels of the tile.
 * ---------------------------------------------------------------------------------------- */

typedef enum { KERNEL_3X3, KERNEL_3X3_STRIDE2, KERNEL_ANY } kernel_t;

/* Signed input, unsigned input, and unsigned input to outputs limited from below by 0. */
typedef enum { S8, U8, U8_FROM_ZERO } variant_t;

ALWAYS_INLINE void channel_3x3(const depthwise_shape_t *shape, const uint8_t *plane,
                               const channel_t *channel, uint8_t *out, uint32_t step, uint32_t rows,
                               variant_t variant)
{
    const uint32_t columns = shape->output_columns;
    uint32_t pairs = columns / 2, apart = step;
    for (uint32_t done = 0; done < columns; done += 2 * pairs, pairs = 1, apart = 0) {
        if (pairs == 0) {
            continue;
        }
        (variant == S8 ? two_s8 : variant == U8 ? two_u8 : two_u8_from_zero)(
            shape, plane + done, channel, out + done * step, apart, columns * step, pairs, rows);
    }
}

ALWAYS_INLINE void channel_3x3_stride2(const depthwise_shape_t *shape, const uint8_t *plane,
                                       const channel_t *channel, uint8_t *out, uint32_t step,
                                       uint32_t rows, variant_t variant)
{
    const uint32_t columns = shape->output_columns;
    (variant == S8 ? stride2_s8 : variant == U8 ? stride2_u8 : stride2_u8_from_zero)(
        shape, plane, channel, out, step, columns * step, columns, rows);
}

ALWAYS_INLINE void channel_any(const depthwise_shape_t *shape, const uint8_t *plane,
                               const channel_t *channel, uint8_t *out, uint32_t step, uint32_t rows,
                               variant_t variant)
{
    for (uint32_t y = 0; y < rows; y++) {
        const uint8_t *row = plane + y * shape->stride_down * shape->plane_pitch;
        for (uint32_t x = 0; x < shape->output_columns; x++, out += step) {
            const uint8_t *window = row + x * shape->stride_across;
            const uint32_t *taps = channel->taps;
            int32_t sum = channel->bias;
            for (uint32_t ky = 0; ky < shape->kernel_rows; ky++) {
                for (uint32_t word = 0; word < shape->kernel_words; word++) {
                    const uint32_t inputs = load_word(window + 4 * word);
                    sum = (variant == S8 ? pv_sdotsp_b : pv_sdotusp_b)(sum, inputs, *taps++);
                }
                window += shape->plane_pitch;
            }
            *out = requantise(sum, channel->multiplier, channel->shift, shape->lowest,
                              shape->highest);
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

/* Channel `i` of four in their record. */
ALWAYS_INLINE channel_t channel_of(const depthwise_shape_t *shape, const int32_t *record,
                                   uint32_t i)
{
    const uint8_t *shifts = (const uint8_t *)(record + 8);
    const uint32_t *taps = (const uint32_t *)(record + 9);
    return (channel_t){record[i], record[4 + i], shifts[i],
                       taps + i * shape->kernel_rows * shape->kernel_words};
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
    const uint32_t record_words = 9 + 4 * shape->kernel_rows * shape->kernel_words;
    const int32_t *weights = (const int32_t *)(const void *)(scratch + step->weights);
    uint8_t *planes = scratch + shape->planes + core * 4 * shape->plane_bytes;
    uint8_t *output =
        scratch + step->output + rows.begin * shape->output_columns * step->channels;
    if (count == 0) {
        return;
    }
    for (uint32_t quad = channels.begin; quad < channels.end; quad += 4) {
        const int32_t *record = weights + quad / 4 * record_words;
        const uint32_t start = cluster_cycles();
        make_planes(shape, step, quad, rows, planes);
        probe->copy += cluster_cycles() - start;
        for (uint32_t i = 0; i < 4 && quad + i < channels.end; i++) {
            const uint8_t *plane = planes + i * shape->plane_bytes;
            const channel_t channel = channel_of(shape, record, i);
            uint8_t *out = output + quad + i;
            if (kernel == KERNEL_3X3) {
                channel_3x3(shape, plane, &channel, out, step->channels, count, variant);
            } else if (kernel == KERNEL_3X3_STRIDE2) {
                channel_3x3_stride2(shape, plane, &channel, out, step->channels, count,
                                    variant);
            } else {
                channel_any(shape, plane, &channel, out, step->channels, count, variant);
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
