/* Layer 0 of random_depthwise_6x6x5_5_0: under_test
 * depthwise 3x3, stride 1x1, padding top 1 left 1 bottom 1 right 1, 1620 multiply-accumulates
 * in   tensor 0: 6x6x5 uint8
 * out  tensor 1: 6x6x5 int8
 */
#include "kernels.h"
#include "string.h"
#include "layers.h"

enum {
    IN_HEIGHT = 6,
    IN_WIDTH = 6,
    CHANNELS = 5,
    KERNEL_HEIGHT = 3,
    STRIDE_Y = 1,
    STRIDE_X = 1,
    PAD_TOP = 1,
    PAD_LEFT = 1,
    OUT_HEIGHT = 6,
    OUT_WIDTH = 6,
    TILE_ROWS = 6, /* output rows made from one packing */
    ROW_WORDS = 5, /* a padded input row of one channel, two halfwords a word */
    PLANE_WORDS = 40, /* the input rows of a tile */
    BODY_FIRST = 1, /* words whose two pixels both lie in the image */
    BODY_END = 3,
};

/* Scratch: four channels, each a plane of halfwords with its padding */
static uint32_t *const planes = (uint32_t *)(void *)scratch;

static inline uint32_t pixel_or_zero(const uint8_t *row, int32_t x)
{
    return x >= 0 && x < IN_WIDTH ? load4(row + x * CHANNELS) : 0;
}

/* Four channels of two pixels to one word of each plane. */
static inline void split(uint32_t *plane, uint32_t left, uint32_t right)
{
    uint32_t even_left = even_u8(left), even_right = even_u8(right);
    uint32_t odd_left = odd_u8(left), odd_right = odd_u8(right);
    plane[0 * PLANE_WORDS] = low_halves(even_left, even_right);
    plane[1 * PLANE_WORDS] = low_halves(odd_left, odd_right);
    plane[2 * PLANE_WORDS] = high_halves(even_left, even_right);
    plane[3 * PLANE_WORDS] = high_halves(odd_left, odd_right);
}

static void pack_edge(uint32_t *plane, const uint8_t *row, int32_t word, int32_t end)
{
    for (; word < end; word++) {
        int32_t x = 2 * word - PAD_LEFT;
        split(plane + word, pixel_or_zero(row, x), pixel_or_zero(row, x + 1));
    }
}

static void pack_row(uint32_t *plane, const uint8_t *row)
{
    pack_edge(plane, row, 0, BODY_FIRST);
    const uint8_t *pixel = row + (2 * BODY_FIRST - PAD_LEFT) * CHANNELS;
    for (uint32_t word = BODY_FIRST; word < BODY_END; word++) {
        split(plane + word, load4(pixel), load4(pixel + CHANNELS));
        pixel += 2 * CHANNELS;
    }
    pack_edge(plane, row, BODY_END, ROW_WORDS);
}

/* Input rows from `top` on, channels from `channel` on, to the four planes. */
static void pack(int32_t top, uint32_t channel, int32_t rows)
{
    for (int32_t row = 0; row < rows; row++) {
        int32_t y = top + row;
        uint32_t *plane = planes + row * ROW_WORDS;
        if (y >= 0 && y < IN_HEIGHT) {
            pack_row(plane, (const uint8_t *)TENSOR_0 + y * IN_WIDTH * CHANNELS + channel);
        } else {
            for (uint32_t i = 0; i < 4; i++) {
                memset(plane + i * PLANE_WORDS, 0, ROW_WORDS * 4);
            }
        }
    }
}

static inline uint8_t output_byte(int32_t sum, requant_t q)
{
    return (uint8_t)__ssat(requantise(sum, q), 8);
}

/* One channel: four neighbouring outputs at a time, two products an instruction. */
static void convolve(const uint32_t *plane, uint8_t *out, uint32_t channel, uint32_t rows)
{
    const uint32_t *const taps = layer_00_under_test_taps + channel * 12;
    const requant_t q = requant_of(layer_00_under_test_requant, channel);
    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < OUT_WIDTH; x += 4) {
            const uint32_t *in = plane + y * STRIDE_Y * ROW_WORDS + x * STRIDE_X / 2;
            const uint32_t *tap = taps;
            int32_t sum0 = q.bias, sum1 = q.bias, sum2 = q.bias, sum3 = q.bias;
            for (uint32_t k = 0; k < KERNEL_HEIGHT; k++) {
                uint32_t pair = in[0];
                sum0 = __smlad(pair, tap[0], sum0);
                sum1 = __smlad(pair, tap[2], sum1);
                pair = in[1];
                sum0 = __smlad(pair, tap[1], sum0);
                sum1 = __smlad(pair, tap[3], sum1);
                sum2 = __smlad(pair, tap[0], sum2);
                sum3 = __smlad(pair, tap[2], sum3);
                pair = in[2];
                sum2 = __smlad(pair, tap[1], sum2);
                sum3 = __smlad(pair, tap[3], sum3);
                in += ROW_WORDS;
                tap += 4;
            }
            out[0] = output_byte(sum0, q);
            if (x + 1 < OUT_WIDTH) {
                out[1 * CHANNELS] = output_byte(sum1, q);
            }
            if (x + 2 < OUT_WIDTH) {
                out[2 * CHANNELS] = output_byte(sum2, q);
            }
            if (x + 3 < OUT_WIDTH) {
                out[3 * CHANNELS] = output_byte(sum3, q);
            }
            out += (OUT_WIDTH - x < 4 ? OUT_WIDTH - x : 4) * CHANNELS;
        }
    }
}

void layer_00_under_test(layer_probe_t *probe)
{
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
    for (uint32_t first = 0; first < OUT_HEIGHT; first += TILE_ROWS) {
        uint32_t rows = OUT_HEIGHT - first < TILE_ROWS ? OUT_HEIGHT - first : TILE_ROWS;
        int32_t top = (int32_t)(first * STRIDE_Y) - PAD_TOP;
        for (uint32_t group = 0; group < CHANNELS; group += 4) {
            pack(top, group, (int32_t)((rows - 1) * STRIDE_Y + KERNEL_HEIGHT));
            probe->copy += lap(&mark);
            for (uint32_t i = 0; i < 4 && group + i < CHANNELS; i++) {
                convolve(planes + i * PLANE_WORDS,
                         out + first * OUT_WIDTH * CHANNELS + group + i, group + i, rows);
            }
            probe->compute += lap(&mark);
        }
    }
}
