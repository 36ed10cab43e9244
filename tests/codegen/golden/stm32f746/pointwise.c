/* Layer 0 of random_pointwise_3x3x5_4_0: under_test
 * pointwise, 180 multiply-accumulates
 * in   tensor 0: 3x3x5 int8
 * out  tensor 1: 3x3x4 int8
 */
#include "kernels.h"
#include "layers.h"

enum {
    IN_CHANNELS = 5,
    CHANNELS = 4, /* of the output */
    CHANNEL_PAIRS = 2,
    PIXELS = 9,
    TILE = 10, /* pixels packed at a time */
    UNITS = 2, /* groups of four products a sum */
};

/* Scratch: packed pixels of a tile, and the weights of two channels */
static uint32_t *const packed = (uint32_t *)(void *)scratch;
static uint32_t *const weights = (uint32_t *)(void *)(scratch + 160);

/* Bytes of two pixels at a time to halfwords; a last odd pixel is its own partner. */
static void pack(uint32_t first, uint32_t count)
{
    const uint8_t *pixel = (const uint8_t *)TENSOR_0 + first * IN_CHANNELS;
    uint32_t *to = packed;
    for (uint32_t i = 0; i < count; i += 2) {
        const uint8_t *partner = i + 1 < count ? pixel + IN_CHANNELS : pixel;
        to = expand_pair_s8(to, pixel, partner, UNITS);
        pixel += 2 * IN_CHANNELS;
    }
}

DEFINE_DOT_2X2_UNROLLED(UNITS)

static inline uint32_t output_byte(int32_t sum, requant_t q)
{
    return (uint8_t)__ssat(requantise(sum, q), 8);
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
        *(uint16_t *)(void *)second = output_byte(sums.p1c0, q0) | output_byte(sums.p1c1, q1) << 8;
        *(uint16_t *)(void *)out = output_byte(sums.p0c0, q0) | output_byte(sums.p0c1, q1) << 8;
        out += 2 * CHANNELS;
    }
}

void layer_00_under_test(layer_probe_t *probe)
{
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
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
