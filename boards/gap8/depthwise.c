#include "depthwise.h"

#include "cluster.h"
#include "planes.h"
#include "requantise.h"

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
        const depthwise_tile_t *tile, const uint8_t *in, const int32_t *record, uint8_t *left,     \
        uint8_t *right, uint32_t rows)                                                             \
    {                                                                                              \
        const uint32_t pitch = tile->plane_pitch;                                                  \
        const uint32_t down = tile->output_columns * tile->channels;                               \
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
            : [pitch] "r"(pitch), [down] "r"(down), [bias] "r"(record[0]),                         \
              [scale] "r"(record[1]), [shift] "r"(record[2]), [k0] "r"(record[3]),                 \
              [k1] "r"(record[4]), [k2] "r"(record[5]), [q0] "r"(record[3] << 8),                  \
              [q1] "r"(record[4] << 8), [q2] "r"(record[5] << 8),                                  \
              [lowest] "r"(tile->lowest), [highest] "r"(tile->highest), [rows] "r"(rows)           \
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
        const depthwise_tile_t *tile, const uint8_t *in, const int32_t *record, uint8_t *out,      \
        uint32_t rows)                                                                             \
    {                                                                                              \
        const uint32_t pitch = tile->plane_pitch;                                                  \
        const uint32_t down = tile->output_columns * tile->channels;                               \
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
            : [pitch] "r"(pitch), [down] "r"(down), [bias] "r"(record[0]),                         \
              [scale] "r"(record[1]), [shift] "r"(record[2]), [k0] "r"(record[3]),                 \
              [k1] "r"(record[4]), [k2] "r"(record[5]), [lowest] "r"(tile->lowest),                \
              [highest] "r"(tile->highest), [rows] "r"(rows)                                       \
            : "memory");                                                                           \
    }

SWEEP_STRIDE2(sweep_stride2_s8, PV_SDOTSP_B)
SWEEP_STRIDE2(sweep_stride2_u8, PV_SDOTUSP_B)

/* ------------------------------------------------------------------------------------------
 * One channel of a core's rows, in each of the three ways
 * ---------------------------------------------------------------------------------------- */

typedef enum { KERNEL_3X3, KERNEL_3X3_STRIDE2, KERNEL_ANY } kernel_t;

static inline void channel_3x3(const depthwise_tile_t *tile, const uint8_t *plane,
                               const int32_t *record, uint8_t *out, uint32_t rows, int is_unsigned)
{
    for (uint32_t x = 0; x < tile->output_columns; x += 2) {
        uint8_t *right = x + 1 < tile->output_columns ? out + tile->channels : out;
        (is_unsigned ? sweep_two_u8 : sweep_two_s8)(tile, plane + x, record, out, right, rows);
        out += 2 * tile->channels;
    }
}

static inline void channel_3x3_stride2(const depthwise_tile_t *tile, const uint8_t *plane,
                                       const int32_t *record, uint8_t *out, uint32_t rows,
                                       int is_unsigned)
{
    for (uint32_t x = 0; x < tile->output_columns; x++) {
        (is_unsigned ? sweep_stride2_u8 : sweep_stride2_s8)(tile, plane + 2 * x, record, out, rows);
        out += tile->channels;
    }
}

static inline void channel_any(const depthwise_tile_t *tile, const uint8_t *plane,
                               const int32_t *record, uint8_t *out, uint32_t rows, int is_unsigned)
{
    for (uint32_t y = 0; y < rows; y++) {
        const uint8_t *row = plane + y * tile->stride_down * tile->plane_pitch;
        for (uint32_t x = 0; x < tile->output_columns; x++) {
            const uint8_t *window = row + x * tile->stride_across;
            const int32_t *weights = record + 3;
            int32_t sum = record[0];
            for (uint32_t ky = 0; ky < tile->kernel_rows; ky++) {
                for (uint32_t word = 0; word < tile->kernel_words; word++) {
                    const uint32_t taps = load_word(window + 4 * word);
                    const uint32_t weight = (uint32_t)*weights++;
                    sum = (is_unsigned ? pv_sdotusp_b : pv_sdotsp_b)(sum, taps, weight);
                }
                window += tile->plane_pitch;
            }
            *out = requantise(sum, record[1], record[2], tile->lowest, tile->highest);
            out += tile->channels;
        }
    }
}

/* ------------------------------------------------------------------------------------------
 * A core's share
 * ---------------------------------------------------------------------------------------- */

/* Planes of four channels, with the input rows that output rows `rows` need. */
static void make_planes(const depthwise_tile_t *tile, uint32_t channel, share_t rows,
                        uint8_t *planes)
{
    const uint32_t count = (rows.end - rows.begin - 1) * tile->stride_down + tile->kernel_rows;
    const uint32_t line = tile->columns * tile->channels;
    uint32_t row = rows.begin * tile->stride_down - tile->top; /* wraps above the input: zeros */
    for (uint32_t i = 0; i < count; i++, row++, planes += tile->plane_pitch) {
        if (row < tile->rows) {
            planes_row(tile->input + row * line + channel, tile->channels, tile->columns,
                       tile->left, planes, tile->plane_pitch, tile->plane_bytes);
        } else {
            planes_zero_row(planes, tile->plane_pitch, tile->plane_bytes);
        }
    }
}

static inline __attribute__((always_inline)) void depthwise(const void *step, layer_probe_t *probe,
                                                             kernel_t kernel, int is_unsigned)
{
    const depthwise_tile_t *tile = &((const depthwise_step_t *)step)->tile;
    const uint32_t core = core_id();
    const share_t rows =
        share_of(tile->output_rows, tile->rows_a_core, core & (tile->row_cores - 1));
    const share_t channels = share_of(tile->channels, 4 * tile->quads_a_core, core / tile->row_cores);
    const uint32_t record_words = 3 + tile->kernel_rows * tile->kernel_words;
    uint8_t *planes = tile->planes + core * 4 * tile->plane_bytes;
    uint8_t *output = tile->output + rows.begin * tile->output_columns * tile->channels;
    if (rows.begin == rows.end) {
        return;
    }
    for (uint32_t quad = channels.begin; quad < channels.end; quad += 4) {
        const uint32_t start = cluster_cycles();
        make_planes(tile, quad, rows, planes);
        probe->copy += cluster_cycles() - start;
        for (uint32_t i = 0; i < 4 && quad + i < channels.end; i++) {
            const uint8_t *plane = planes + i * tile->plane_bytes;
            const int32_t *record = (const int32_t *)tile->weights + (quad + i) * record_words;
            uint8_t *out = output + quad + i;
            const uint32_t count = rows.end - rows.begin;
            if (kernel == KERNEL_3X3) {
                channel_3x3(tile, plane, record, out, count, is_unsigned);
            } else if (kernel == KERNEL_3X3_STRIDE2) {
                channel_3x3_stride2(tile, plane, record, out, count, is_unsigned);
            } else {
                channel_any(tile, plane, record, out, count, is_unsigned);
            }
        }
    }
}

void depthwise_3x3_s8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_3X3, 0);
}

void depthwise_3x3_u8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_3X3, 1);
}

void depthwise_3x3_stride2_s8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_3X3_STRIDE2, 0);
}

void depthwise_3x3_stride2_u8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_3X3_STRIDE2, 1);
}

void depthwise_any_s8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_ANY, 0);
}

void depthwise_any_u8(const void *step, layer_probe_t *probe)
{
    depthwise(step, probe, KERNEL_ANY, 1);
}
