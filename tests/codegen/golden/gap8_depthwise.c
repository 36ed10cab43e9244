/* Layer 0 of random_depthwise_20x20x16_16_3: under_test
 * depthwise 3x3, stride 1x1, padding top 1 left 1 bottom 1 right 1, 57600 multiply-accumulates
 * in   tensor 0: 20x20x16 uint8
 * out  tensor 1: 20x20x16 int8
 */
#include "depthwise.h"
#include "layers.h"

static const depthwise_shape_t shape = {
    .planes = 3788, .plane_bytes = 112, .plane_pitch = 28, .columns = 20, .left = 1,
    .right = 1, .kernel_rows = 3, .kernel_words = 1, .stride_down = 1, .stride_across = 1,
    .output_columns = 20, .row_cores = 2, .lowest = -128, .highest = 127,
};
_Static_assert(sizeof(shape) == 28, "scratch was laid out for this size");

/* Up to 4 x 20 pixels and 16 of 16 channels a tile; one buffer.
 * Transfers: L2, L1, bytes, and the length and distance of lines. */
static const depthwise_step_t steps[5] = {
    {
        /* rows 0 to 3, channels 0 to 15 */
        .io.load = {
            {TENSOR_0 + 0, 588, 1600},
            {layer_00_under_test_weights + 0, 252, 336},
        },
        .io.store = {TENSOR_1 + 0, 2508, 1280},
        .input = 588, .output = 2508, .weights = 252, .rows = 5, .top = 1, .channels = 16,
        .output_rows = 4, .rows_a_core = 2, .quads_a_core = 1,
    },
    {
        /* rows 4 to 7, channels 0 to 15 */
        .io.load = {
            {TENSOR_0 + 960, 588, 1920},
        },
        .io.store = {TENSOR_1 + 1280, 2508, 1280},
        .input = 588, .output = 2508, .weights = 252, .rows = 6, .top = 0, .channels = 16,
        .output_rows = 4, .rows_a_core = 2, .quads_a_core = 1,
    },
    {
        /* rows 8 to 11, channels 0 to 15 */
        .io.load = {
            {TENSOR_0 + 2240, 588, 1920},
        },
        .io.store = {TENSOR_1 + 2560, 2508, 1280},
        .input = 588, .output = 2508, .weights = 252, .rows = 6, .top = 0, .channels = 16,
        .output_rows = 4, .rows_a_core = 2, .quads_a_core = 1,
    },
    {
        /* rows 12 to 15, channels 0 to 15 */
        .io.load = {
            {TENSOR_0 + 3520, 588, 1920},
        },
        .io.store = {TENSOR_1 + 3840, 2508, 1280},
        .input = 588, .output = 2508, .weights = 252, .rows = 6, .top = 0, .channels = 16,
        .output_rows = 4, .rows_a_core = 2, .quads_a_core = 1,
    },
    {
        /* rows 16 to 19, channels 0 to 15 */
        .io.load = {
            {TENSOR_0 + 4800, 588, 1600},
        },
        .io.store = {TENSOR_1 + 5120, 2508, 1280},
        .input = 588, .output = 2508, .weights = 252, .rows = 5, .top = 0, .channels = 16,
        .output_rows = 4, .rows_a_core = 2, .quads_a_core = 1,
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
        .count = 5,
        .buffers = 1,
        .compute = depthwise_3x3_u8,
    };
    tiles_run(&layer, probe);
}
