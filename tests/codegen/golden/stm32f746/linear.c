/* Layer 0 of random_linear_1x2x3_3_0: under_test
 * linear, 18 multiply-accumulates
 * in   tensor 0: 1x2x3 uint8
 * out  tensor 1: 1x1x3 int8
 */
#include "kernels.h"
#include "layers.h"

enum {
    CHANNELS = 3, /* of the output */
    CHANNEL_PAIRS = 2,
    UNITS = 2, /* groups of four products a sum */
};

/* Each weight is used once: it is expanded in registers, next to its product. */
static void two_sums(const uint32_t *weights, int32_t *sum0, int32_t *sum1)
{
    const uint32_t *in = (const uint32_t *)(const void *)TENSOR_0;
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        uint32_t even = even_u8(in[unit]);
        uint32_t odd = odd_u8(in[unit]);
        uint32_t weight0 = weights[0];
        uint32_t weight1 = weights[1];
        *sum0 = __smlad(even, even_s8(weight0), *sum0);
        *sum1 = __smlad(even, even_s8(weight1), *sum1);
        *sum0 = __smlad(odd, odd_s8(weight0), *sum0);
        *sum1 = __smlad(odd, odd_s8(weight1), *sum1);
        weights += 2;
    }
}

static inline uint8_t output_byte(int32_t sum, requant_t q)
{
    return (uint8_t)__ssat(requantise(sum, q), 8);
}

void layer_00_under_test(layer_probe_t *probe)
{
    uint8_t *out = (uint8_t *)TENSOR_1;
    uint32_t mark = cycle_count();
    for (uint32_t pair = 0; pair < CHANNEL_PAIRS; pair++) {
        const requant_t q0 = requant_of(layer_00_under_test_requant, 2 * pair);
        const requant_t q1 = requant_of(layer_00_under_test_requant, 2 * pair + 1);
        int32_t sum0 = q0.bias, sum1 = q1.bias;
        two_sums((const uint32_t *)(const void *)layer_00_under_test_weights + pair * UNITS * 2, &sum0,
                 &sum1);
        out[2 * pair] = output_byte(sum0, q0);
        if (2 * pair + 1 < CHANNELS) {
            out[2 * pair + 1] = output_byte(sum1, q1);
        }
    }
    probe->compute += lap(&mark);
}
