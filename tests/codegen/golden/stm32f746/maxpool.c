/* Layer 0 of random_maxpool_5x5x6_6_0: under_test
 * maxpool 3x3, stride 2x2, padding top 1 left 1 bottom 1 right 1, 486 multiply-accumulates
 * in   tensor 0: 5x5x6 int8
 * out  tensor 1: 3x3x6 int8
 */
#include "kernels.h"
#include "layers.h"

enum {
    IN_HEIGHT = 5,
    IN_WIDTH = 5,
    CHANNELS = 6,
    KERNEL_HEIGHT = 3,
    KERNEL_WIDTH = 3,
    STRIDE_Y = 2,
    STRIDE_X = 2,
    PAD_TOP = 1,
    PAD_LEFT = 1,
    OUT_HEIGHT = 3,
    OUT_WIDTH = 3,
};

/* The part of a window inside the image: padding never wins. */
typedef struct {
    int32_t top, bottom, left, right;
} window_t;

static inline window_t window_at(int32_t y, int32_t x)
{
    window_t w = {y < 0 ? 0 : y, y + KERNEL_HEIGHT, x < 0 ? 0 : x, x + KERNEL_WIDTH};
    w.bottom = w.bottom < IN_HEIGHT ? w.bottom : IN_HEIGHT;
    w.right = w.right < IN_WIDTH ? w.right : IN_WIDTH;
    return w;
}

/* Largest of each of four channels; writes the `count` of them that exist. */
static void largest(window_t w, uint32_t channel, uint8_t *out, uint32_t count)
{
    const uint8_t *in = (const uint8_t *)TENSOR_0 + channel;
    uint32_t best = 0x80808080u;
    for (int32_t y = w.top; y < w.bottom; y++) {
        for (int32_t x = w.left; x < w.right; x++) {
            best = larger_s8(best, load4(in + (y * IN_WIDTH + x) * CHANNELS));
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (uint8_t)(best >> 8 * i);
    }
}

void layer_00_under_test(layer_probe_t *probe)
{
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
    for (int32_t y = 0; y < OUT_HEIGHT; y++) {
        for (int32_t x = 0; x < OUT_WIDTH; x++, out += CHANNELS) {
            window_t w = window_at(y * STRIDE_Y - PAD_TOP, x * STRIDE_X - PAD_LEFT);
            for (uint32_t c = 0; c < CHANNELS; c += 4) {
                largest(w, c, out + c, CHANNELS - c < 4 ? CHANNELS - c : 4);
            }
        }
    }
    probe->compute += lap(&mark);
}
