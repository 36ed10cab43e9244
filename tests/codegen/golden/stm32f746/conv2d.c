/* Layer 0 of random_conv2d_5x6x3_5_0: under_test
 * conv2d 3x3, stride 2x2, padding top 1 left 1 bottom 1 right 1, 1215 multiply-accumulates
 * in   tensor 0: 5x6x3 int8
 * out  tensor 1: 3x3x5 uint8
 */
#include "kernels.h"
#include "string.h"
#include "layers.h"

enum {
    IN_HEIGHT = 5,
    IN_WIDTH = 6,
    IN_CHANNELS = 3,
    KERNEL_HEIGHT = 3,
    KERNEL_WIDTH = 3,
    STRIDE_Y = 2,
    STRIDE_X = 2,
    PAD_TOP = 1,
    PAD_LEFT = 1,
    OUT_WIDTH = 3,
    ROW_UNITS = 3, /* a kernel row, filled up to whole words by zero weights */
    CHANNELS = 5, /* of the output */
    CHANNEL_PAIRS = 3,
    PIXELS = 9,
    TILE = 10, /* pixels packed at a time */
    UNITS = 9, /* groups of four products a sum */
};

/* Scratch: packed pixels of a tile, and the weights of two channels */
static uint32_t *const packed = (uint32_t *)(void *)scratch;
static uint32_t *const weights = (uint32_t *)(void *)(scratch + 720);
static uint8_t *const zero_row = scratch + 864; /* a kernel row above or below the image */
static uint8_t *const edge_row = scratch + 876; /* two that hang over its sides */

/* The bytes under one kernel row whose left end is at (y, x); built in `edge` at the sides. */
static const uint8_t *kernel_row(int32_t y, int32_t x, uint8_t *edge)
{
    if (y < 0 || y >= IN_HEIGHT) {
        return zero_row;
    }
    const uint8_t *row = (const uint8_t *)TENSOR_0 + y * IN_WIDTH * IN_CHANNELS;
    if (x >= 0 && x + KERNEL_WIDTH <= IN_WIDTH) {
        return row + x * IN_CHANNELS;
    }
    int32_t left = x < 0 ? 0 : x;
    int32_t right = x + KERNEL_WIDTH < IN_WIDTH ? x + KERNEL_WIDTH : IN_WIDTH;
    memset(edge, 0, ROW_UNITS * 4);
    if (left < right) {
        memcpy(edge + (left - x) * IN_CHANNELS, row + left * IN_CHANNELS,
               (uint32_t)(right - left) * IN_CHANNELS);
    }
    return edge;
}

/* Patches of two output pixels at a time; a last odd pixel is its own partner. */
static void pack(uint32_t first, uint32_t count)
{
    uint32_t *to = packed;
    for (uint32_t i = first; i < first + count; i += 2) {
        uint32_t j = i + 1 < first + count ? i + 1 : i;
        int32_t y0 = (int32_t)(i / OUT_WIDTH * STRIDE_Y) - PAD_TOP;
        int32_t x0 = (int32_t)(i % OUT_WIDTH * STRIDE_X) - PAD_LEFT;
        int32_t y1 = (int32_t)(j / OUT_WIDTH * STRIDE_Y) - PAD_TOP;
        int32_t x1 = (int32_t)(j % OUT_WIDTH * STRIDE_X) - PAD_LEFT;
        for (int32_t k = 0; k < KERNEL_HEIGHT; k++) {
            const uint8_t *row0 = kernel_row(y0 + k, x0, edge_row);
            const uint8_t *row1 = kernel_row(y1 + k, x1, edge_row + ROW_UNITS * 4);
            to = expand_pair_s8(to, row0, row1, ROW_UNITS);
        }
    }
}

DEFINE_DOT_2X2_UNROLLED(UNITS)

static inline uint32_t output_byte(int32_t sum, requant_t q)
{
    return (uint8_t)clamp(requantise(sum, q), 0, 218);
}

/* Channels 2 * pair and 2 * pair + 1 of `count` packed pixels. */
static void multiply(uint8_t *out, uint32_t pair, uint32_t count)
{
    const requant_t q0 = requant_of(layer_00_under_test_requant, 2 * pair);
    const requant_t q1 = requant_of(layer_00_under_test_requant, 2 * pair + 1);
    const block_t bias = {q0.bias, q1.bias, q0.bias, q1.bias};
    for (uint32_t pixel = 0; pixel < count; pixel += 2) {
        block_t sums = dot_2x2_unrolled(packed + pixel * UNITS * 2, weights, bias);
        uint8_t *second = pixel + 1 < count ? out + CHANNELS : out;
        second[0] = output_byte(sums.p1c0, q0);
        out[0] = output_byte(sums.p0c0, q0);
        if (2 * pair + 1 < CHANNELS) {
            second[1] = output_byte(sums.p1c1, q1);
            out[1] = output_byte(sums.p0c1, q1);
        }
        out += 2 * CHANNELS;
    }
}

void layer_00_under_test(layer_probe_t *probe)
{
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
    memset(zero_row, 0, ROW_UNITS * 4);
    for (uint32_t first = 0; first < PIXELS; first += TILE) {
        uint32_t count = PIXELS - first < TILE ? PIXELS - first : TILE;
        pack(first, count);
        for (uint32_t pair = 0; pair < CHANNEL_PAIRS; pair++) {
            expand_weights(weights, layer_00_under_test_weights + pair * UNITS * 8, UNITS);
            probe->copy += lap(&mark);
            multiply(out + first * CHANNELS + 2 * pair, pair, count);
            probe->compute += lap(&mark);
        }
    }
}
