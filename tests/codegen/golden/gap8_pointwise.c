/* Layer 0 of random_pointwise_8x8x24_48_3: under_test
 * pointwise, 73728 multiply-accumulates
 * in   tensor 0: 8x8x24 int8
 * out  tensor 1: 8x8x48 int8
 */
#include "conv.h"
#include "layers.h"

static const conv_shape_t shape = {
    .columns = 65535, .column_step = 24, .row_step = 24, .segments = 1, .segment_words = 6,
    .segment_pitch = 24, .left = 0, .right = 0, .lowest = -128, .highest = 127,
};
_Static_assert(sizeof(shape) == 20, "scratch was laid out for this size");

/* Up to 32 x 1 pixels and 48 of 48 channels a tile; one buffer.
 * Transfers: L2, L1, bytes, and the length and distance of lines. */
static const conv_step_t steps[2] = {
    {
        /* rows 0 to 31, channels 0 to 47 */
        .io.load = {
            {TENSOR_0 + 0, 1828, 768},
            {layer_00_under_test_weights + 0, 244, 1584},
        },
        .io.store = {TENSOR_1 + 0, 2596, 1536},
        .input = 1828, .output = 2596, .weights = 244, .pixels = 32, .channels = 48,
        .pixel_cores = 8, .pairs_a_core = 2, .records_a_core = 12,
    },
    {
        /* rows 32 to 63, channels 0 to 47 */
        .io.load = {
            {TENSOR_0 + 768, 1828, 768},
        },
        .io.store = {TENSOR_1 + 1536, 2596, 1536},
        .input = 1828, .output = 2596, .weights = 244, .pixels = 32, .channels = 48,
        .pixel_cores = 8, .pairs_a_core = 2, .records_a_core = 12,
    },
};
_Static_assert(sizeof(steps[0]) == 56, "scratch was laid out for this size");

void layer_00_under_test(layer_probe_t *probe)
{
    static const tiled_layer_t layer = {
        .shape = &shape,
        .steps = steps,
        .shape_bytes = sizeof(shape),
        .step_bytes = sizeof(steps[0]),
        .count = 2,
        .buffers = 1,
        .compute = conv_s8,
    };
    tiles_run(&layer, probe);
}
