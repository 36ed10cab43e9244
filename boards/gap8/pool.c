#include "cluster.h"
#include "elementwise.h"
#include "requantise.h"
#include "xpulp.h"

/* The part of an output pixel's window that lies inside the input. */
typedef struct {
    const uint8_t *first;
    uint32_t rows;
    uint32_t columns;
} window_t;

static inline share_t inside(uint32_t start, uint32_t length, uint32_t before, uint32_t size)
{
    const uint32_t end = start + length - before;
    return (share_t){start < before ? 0 : start - before, end < size ? end : size};
}

static window_t window_at(const pool_shape_t *shape, const pool_step_t *step, uint32_t pixel)
{
    const uint32_t y = pixel / shape->output_columns;
    const uint32_t x = pixel - y * shape->output_columns;
    const share_t rows = inside(y * shape->stride_down, shape->kernel_rows, step->top, step->rows);
    const share_t columns =
        inside(x * shape->stride_across, shape->kernel_columns, shape->left, shape->columns);
    const uint8_t *input = scratch + step->input;
    return (window_t){input + (rows.begin * shape->columns + columns.begin) * step->channels,
                      rows.end - rows.begin, columns.end - columns.begin};
}

/* ------------------------------------------------------------------------------------------
 * Maximum: four channels a word, those left over one by one
 * ---------------------------------------------------------------------------------------- */

/* `line`: bytes of an input row, `step`: of a pixel. */
static inline uint32_t largest_of_four(uint32_t line, uint32_t step, const window_t *window,
                                       uint32_t channel, int is_unsigned)
{
    const uint8_t *row = window->first + channel;
    uint32_t largest = load_word(row);
    for (uint32_t y = 0; y < window->rows; y++, row += line) {
        const uint8_t *at = row;
        for (uint32_t x = 0; x < window->columns; x++, at += step) {
            largest = (is_unsigned ? pv_maxu_b : pv_max_b)(largest, load_word(at));
        }
    }
    return largest;
}

ALWAYS_INLINE void maxpool(const pool_shape_t *shape, const pool_step_t *step, int is_unsigned)
{
    const uint32_t core = core_id();
    const share_t pixels =
        share_of(step->output_rows * shape->output_columns, step->pixels_a_core,
                 core & (step->pixel_cores - 1));
    const share_t channels =
        share_of(step->channels, step->channels_a_core, core / step->pixel_cores);
    const uint32_t line = shape->columns * step->channels;
    for (uint32_t pixel = pixels.begin; pixel < pixels.end; pixel++) {
        const window_t window = window_at(shape, step, pixel);
        uint8_t *out = scratch + step->output + pixel * step->channels;
        for (uint32_t c = channels.begin; c < channels.end; c += 4) {
            uint32_t four = largest_of_four(line, step->channels, &window, c, is_unsigned);
            for (uint32_t i = 0; i < 4 && c + i < channels.end; i++, four >>= 8) {
                out[c + i] = (uint8_t)four;
            }
        }
    }
}

void maxpool_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    (void)probe;
    maxpool(shape, step, 0);
}

void maxpool_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    (void)probe;
    maxpool(shape, step, 1);
}

/* ------------------------------------------------------------------------------------------
 * Average: dot products with a single one among the bytes pick and widen a channel
 * ---------------------------------------------------------------------------------------- */

static inline int32_t widen(int32_t sum, uint32_t four, uint32_t one, int is_unsigned)
{
    return is_unsigned ? pv_sdotusp_b(sum, four, one) : pv_sdotsp_b(sum, four, one);
}

static inline void sum_of_four(uint32_t line, uint32_t step, const window_t *window,
                               uint32_t channel, int is_unsigned, int32_t sum[4])
{
    const uint8_t *row = window->first + channel;
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
    for (uint32_t y = 0; y < window->rows; y++, row += line) {
        const uint8_t *at = row;
        for (uint32_t x = 0; x < window->columns; x++, at += step) {
            const uint32_t four = load_word(at);
            sum[0] = widen(sum[0], four, 0x00000001u, is_unsigned);
            sum[1] = widen(sum[1], four, 0x00000100u, is_unsigned);
            sum[2] = widen(sum[2], four, 0x00010000u, is_unsigned);
            sum[3] = widen(sum[3], four, 0x01000000u, is_unsigned);
        }
    }
}

ALWAYS_INLINE void avgpool(const pool_shape_t *shape, const pool_step_t *step, int is_unsigned)
{
    const uint32_t core = core_id();
    const share_t pixels =
        share_of(step->output_rows * shape->output_columns, step->pixels_a_core,
                 core & (step->pixel_cores - 1));
    const share_t channels =
        share_of(step->channels, step->channels_a_core, core / step->pixel_cores);
    const uint32_t line = shape->columns * step->channels;
    for (uint32_t pixel = pixels.begin; pixel < pixels.end; pixel++) {
        const window_t window = window_at(shape, step, pixel);
        uint8_t *out = scratch + step->output + pixel * step->channels;
        for (uint32_t c = channels.begin; c < channels.end; c += 4) {
            int32_t sum[4];
            sum_of_four(line, step->channels, &window, c, is_unsigned, sum);
            for (uint32_t i = 0; i < 4 && c + i < channels.end; i++) {
                out[c + i] = requantise(sum[i], shape->multiplier, shape->shift, shape->lowest,
                                        shape->highest);
            }
        }
    }
}

void avgpool_s8(const void *shape, const void *step, layer_probe_t *probe)
{
    (void)probe;
    avgpool(shape, step, 0);
}

void avgpool_u8(const void *shape, const void *step, layer_probe_t *probe)
{
    (void)probe;
    avgpool(shape, step, 1);
}
