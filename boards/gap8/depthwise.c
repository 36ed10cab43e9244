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
 * byte. 21 instructions, 29 cycles (mulh takes 5), make two outputs. Storing right before left lets an odd
 * last column use the same address for both.
 * ---------------------------------------------------------------------------------------- */

#define REQUANTISE(sum)                                                                            \
    ".insn r 0x5b, 6, 0x20, " sum ", x0, %[shift]\n\t" /* p.addrnr */                              \
    ".insn r 0x33, 6, 0x02, " sum ", " sum ", %[lowest]\n\t" /* p.max */                           \
    ".insn r 0x33, 4, 0x02, " sum ", " sum ", %[highest]\n\t" /* p.min */
#define P_LW_STEP(rd, step, rs1) ".insn r 0x0b, 7, 0x10, " rd ", " rs1 ", " step "\n\t"
#define P_SB_STEP(rs2, step, rs1) ".insn r 0x2b, 4, 0x00, " step ", " rs1 ", " rs2 "\n\t"
#define COPY(rd, rs1) "addi " rd ", " rs1 ", 0\n\t"

#define SWEEP_TWO(name, PV_SDOT)                                                                   \
    static inline __attribute__((always_inline)) void name(                                        \
        const depthwise_shape_t *shape, const uint8_t *in, const channel_t *channel,               \
        uint8_t *left, uint8_t *right, uint32_t rows, uint32_t down)                               \
    {                                                                                              \
        const uint32_t pitch = shape->plane_pitch;                                                 \
        uint32_t r0 = load_word(in), r1 = load_word(in + pitch), r2;                               \
        int32_t s0, s1;                                                                            \
        in += 2 * pitch;                                                                           \
        __asm__ volatile(                                                                          \
            LP_SETUP("%[rows]", "21")                                                              \
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
            REQUANTISE("%[s1]")                                                                    \
            REQUANTISE("%[s0]")                                                                    \
            P_SB_STEP("%[s1]", "%[down]", "%[right]")                                              \
            P_SB_STEP("%[s0]", "%[down]", "%[left]")                                               \
            LP_END                                                                                 \
            : [in] "+r"(in), [left] "+r"(left), [right] "+r"(right), [r0] "+r"(r0),                \
              [r1] "+r"(r1), [r2] "=&r"(r2), [s0] "=&r"(s0), [s1] "=&r"(s1)                        \
            : [pitch] "r"(pitch), [down] "r"(down), [bias] "r"(channel->bias),                     \
              [scale] "r"(channel->multiplier), [shift] "r"(channel->shift), [k0] "r"(channel->taps[0]),\
              [k1] "r"(channel->taps[1]), [k2] "r"(channel->taps[2]), [q0] "r"(channel->taps[0] << 8),\
              [q1] "r"(channel->taps[1] << 8), [q2] "r"(channel->taps[2] << 8),                    \
              [lowest] "r"((int32_t)shape->lowest), [highest] "r"((int32_t)shape->highest), [rows] "r"(rows)\
            : "memory");                                                                           \
    }

SWEEP_TWO(sweep_two_s8, PV_SDOTSP_B)
SWEEP_TWO(sweep_two_u8, PV_SDOTUSP_B)

/* ------------------------------------------------------------------------------------------
 * 3x3, stride 2: one column, down the rows; the last row of a window is the next one's first.
 * 12 instructions, 16 cycles, an output.
 * ---------------------------------------------------------------------------------------- */

#define SWEEP_STRIDE2(name, PV_SDOT)                                                               \
    static inline __attribute__((always_inline)) void name(                                        \
        const depthwise_shape_t *shape, const uint8_t *in, const channel_t *channel, uint8_t *out, \
        uint32_t rows, uint32_t down)                                                              \
    {                                                                                              \
        const uint32_t pitch = shape->plane_pitch;                                                 \
        uint32_t r0 = load_word(in), r1, r2;                                                       \
        int32_t s0;                                                                                \
        in += pitch;                                                                               \
        __asm__ volatile(                                                                          \
            LP_SETUP("%[rows]", "12")                                                              \
            P_LW_STEP("%[r1]", "%[pitch]", "%[in]")                                                \
            P_LW_STEP("%[r2]", "%[pitch]", "%[in]")                                                \
            COPY("%[s0]", "%[bias]")                                                               \
            PV_SDOT("%[s0]", "%[r0]", "%[k0]")                                                     \
            PV_SDOT("%[s0]", "%[r1]", "%[k1]")                                                     \
            PV_SDOT("%[s0]", "%[r2]", "%[k2]")                                                     \
            "mulh %[s0], %[s0], %[scale]\n\t"                                                      \
            COPY("%[r0]", "%[r2]")                                                                 \
            REQUANTISE("%[s0]")                                                                    \
            P_SB_STEP("%[s0]", "%[down]", "%[out]")                                                \
            LP_END                                                                                 \
            : [in] "+r"(in), [out] "+r"(out), [r0] "+r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2),       \
              [s0] "=&r"(s0)                                                                       \
            : [pitch] "r"(pitch), [down] "r"(down), [bias] "r"(channel->bias),                     \
              [scale] "r"(channel->multiplier), [shift] "r"(channel->shift), [k0] "r"(channel->taps[0]),\
              [k1] "r"(channel->taps[1]), [k2] "r"(channel->taps[2]), [lowest] "r"((int32_t)shape->lowest),\
              [highest] "r"((int32_t)shape->highest), [rows] "r"(rows)                             \
            : "memory");                                                                           \
    }

SWEEP_STRIDE2(sweep_stride2_s8, PV_SDOTSP_B)
SWEEP_STRIDE2(sweep_stride2_u8, PV_SDOTUSP_B)

/* ------------------------------------------------------------------------------------------
 * One channel of a core's rows, in each of the three ways. `step` is the distance of two output
 * pixels: the channels of the tile.
 * ---------------------------------------------------------------------------------------- */

typedef enum { KERNEL_3X3, KERNEL_3X3_STRIDE2, KERNEL_ANY } kernel_t;

static inline void channel_3x3(const depthwise_shape_t *shape, const uint8_t *plane,
                               const channel_t *channel, uint8_t *out, uint32_t step,
                               uint32_t rows, int is_unsigned)
{
    const uint32_t down = shape->output_columns * step;
    for (uint32_t x = 0; x < shape->output_columns; x += 2, out += 2 * step) {
        uint8_t *right = x + 1 < shape->output_columns ? out + step : out;
        if (is_unsigned) {
            sweep_two_u8(shape, plane + x, channel, out, right, rows, down);
        } else {
            sweep_two_s8(shape, plane + x, channel, out, right, rows, down);
        }
    }
}

static inline void channel_3x3_stride2(const depthwise_shape_t *shape, const uint8_t *plane,
                                       const channel_t *channel, uint8_t *out, uint32_t step,
                                       uint32_t rows, int is_unsigned)
{
    const uint32_t down = shape->output_columns * step;
    for (uint32_t x = 0; x < shape->output_columns; x++, out += step) {
        if (is_unsigned) {
            sweep_stride2_u8(shape, plane + 2 * x, channel, out, rows, down);
        } else {
            sweep_stride2_s8(shape, plane + 2 * x, channel, out, rows, down);
        }
    }
}

static inline void channel_any(const depthwise_shape_t *shape, const uint8_t *plane,
                               const channel_t *channel, uint8_t *out, uint32_t step,
                               uint32_t rows, int is_unsigned)
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
                    sum = (is_unsigned ? pv_sdotusp_b : pv_sdotsp_b)(sum, inputs, *taps++);
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
static void make_planes(const depthwise_shape_t *shape, const depthwise_step_t *step,
                        uint32_t channel, share_t rows, uint8_t *planes)
{
    const uint32_t count = (rows.end - rows.begin - 1) * shape->stride_down + shape->kernel_rows;
    const uint32_t line = shape->columns * step->channels;
    uint32_t row = rows.begin * shape->stride_down - step->top; /* wraps above the input: zeros */
    for (uint32_t i = 0; i < count; i++, row++, planes += shape->plane_pitch) {
        if (row < step->rows) {
            planes_row(scratch + step->input + row * line + channel, step->channels,
                       shape->columns, shape->left, planes, shape->plane_pitch,
                       shape->plane_bytes);
        } else {
            planes_zero_row(planes, shape->plane_pitch, shape->plane_bytes);
        }
    }
}

/* Channel `i` of four in their record. */
static inline channel_t channel_of(const depthwise_shape_t *shape, const int32_t *record,
                                   uint32_t i)
{
    const uint8_t *shifts = (const uint8_t *)(record + 8);
    const uint32_t *taps = (const uint32_t *)(record + 9);
    return (channel_t){record[i], record[4 + i], shifts[i],
                       taps + i * shape->kernel_rows * shape->kernel_words};
}

static inline __attribute__((always_inline)) void depthwise(const depthwise_shape_t *shape,
                                                             const depthwise_step_t *step,
                                                             layer_probe_t *probe, kernel_t kernel,
                                                             int is_unsigned)
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
                channel_3x3(shape, plane, &channel, out, step->channels, count, is_unsigned);
            } else if (kernel == KERNEL_3X3_STRIDE2) {
                channel_3x3_stride2(shape, plane, &channel, out, step->channels, count,
                                    is_unsigned);
            } else {
                channel_any(shape, plane, &channel, out, step->channels, count, is_unsigned);
            }
        }
    }
}

void depthwise_3x3_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3, 0);
}

void depthwise_3x3_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3, 1);
}

void depthwise_3x3_stride2_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3_STRIDE2, 0);
}

void depthwise_3x3_stride2_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_3X3_STRIDE2, 1);
}

void depthwise_any_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_ANY, 0);
}

void depthwise_any_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    depthwise(shape, step, probe, KERNEL_ANY, 1);
}
