/* Layer 0 of random_avgpool_4x4x5_5_0: under_test
 * avgpool 2x2, stride 2x2, padding top 0 left 0 bottom 0 right 0, 80 multiply-accumulates
 * in   tensor 0: 4x4x5 int8
 * out  tensor 1: 2x2x5 int8
 */
#include "kernels.h"
#include "layers.h"

enum {
    IN_WIDTH = 4,
    CHANNELS = 5,
    KERNEL_HEIGHT = 2,
    KERNEL_WIDTH = 2,
    STRIDE_Y = 2,
    STRIDE_X = 2,
    OUT_HEIGHT = 2,
    OUT_WIDTH = 2,
};

static const requant_t q = {0, 1102047116, 0, 0};

/* Four channels of one window, summed side by side; writes the `count` of them that exist. */
static void average(const uint8_t *window, uint8_t *out, uint32_t count)
{
    int32_t sums[4] = {0, 0, 0, 0};
    for (uint32_t y = 0; y < KERNEL_HEIGHT; y++) {
        const uint8_t *pixel = window + y * IN_WIDTH * CHANNELS;
        for (uint32_t x = 0; x < KERNEL_WIDTH; x++, pixel += CHANNELS) {
            uint32_t four = load4(pixel);
            sums[0] += (int8_t)four;
            sums[1] += (int8_t)(four >> 8);
            sums[2] += (int8_t)(four >> 16);
            sums[3] += (int8_t)(four >> 24);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (uint8_t)__ssat(requantise(sums[i], q), 8);
    }
}

void layer_00_under_test(layer_probe_t *probe)
{
    const uint8_t *in = (const uint8_t *)TENSOR_0;
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
    for (uint32_t y = 0; y < OUT_HEIGHT; y++) {
        for (uint32_t x = 0; x < OUT_WIDTH; x++, out += CHANNELS) {
            const uint8_t *window = in + (y * STRIDE_Y * IN_WIDTH + x * STRIDE_X) * CHANNELS;
            for (uint32_t c = 0; c < CHANNELS; c += 4) {
                average(window + c, out + c, CHANNELS - c < 4 ? CHANNELS - c : 4);
            }
        }
    }
    probe->compute += lap(&mark);
}
