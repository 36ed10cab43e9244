/* Layer 1 of random_add_2x3x3_3_1: under_test
 * add, 18 multiply-accumulates
 * in   tensor 0: 2x3x3 int8
 * in   tensor 1: 2x3x3 uint8
 * out  tensor 2: 2x3x3 int8
 */
#include "kernels.h"
#include "layers.h"

enum {
    ELEMENTS = 18,
    X_FACTOR = 4084102,
    Y_FACTOR = 2371655,
    ROUNDING = 1048576,
    SHIFT = 21,
};

static inline uint32_t sum_byte(int8_t x, uint8_t y)
{
    int32_t sum = (x * X_FACTOR + y * Y_FACTOR + ROUNDING) >> SHIFT;
    return (uint8_t)__ssat(sum, 8);
}

void layer_01_under_test(layer_probe_t *probe)
{
    const int8_t *x = (const int8_t *)TENSOR_0;
    const uint8_t *y = (const uint8_t *)TENSOR_1;
    uint32_t *words = (uint32_t *)(void *)TENSOR_2;
    uint8_t *out = (uint8_t *)TENSOR_2;
    uint32_t mark = cycle_count();
    for (uint32_t i = 0; i < ELEMENTS / 4; i++) {
        uint32_t xs = ((const uint32_t *)(const void *)x)[i];
        uint32_t ys = ((const uint32_t *)(const void *)y)[i];
        uint32_t sums = sum_byte((int8_t)xs, (uint8_t)ys);
        sums |= sum_byte((int8_t)(xs >> 8), (uint8_t)(ys >> 8)) << 8;
        sums |= sum_byte((int8_t)(xs >> 16), (uint8_t)(ys >> 16)) << 16;
        sums |= sum_byte((int8_t)(xs >> 24), (uint8_t)(ys >> 24)) << 24;
        words[i] = sums;
    }
    for (uint32_t i = ELEMENTS / 4 * 4; i < ELEMENTS; i++) {
        out[i] = (uint8_t)sum_byte(x[i], y[i]);
    }
    probe->compute += lap(&mark);
}
