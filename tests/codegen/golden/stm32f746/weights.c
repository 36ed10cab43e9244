/* Parameters of random_add_2x3x3_3_1, first 2 layers, packed for stm32f746. */
#include "layers.h"

/* ------------------------------------------------------------------------------------------
 * Layer 0: branch
 * ---------------------------------------------------------------------------------------- */

/* 3 channels x 4, pairs of channels interleaved by fours */
const int8_t layer_00_branch_weights[16] __attribute__((aligned(4))) = {
    -7, 3, 65, 0, 115, -119, -91, 0, 82, 114, -64, 0, 0, 0, 0, 0,
};

/* bias, multiplier, shift a channel */
const int32_t layer_00_branch_requant[12] __attribute__((aligned(4))) = {
    -753, 2011761569, 4, 1476, 2007586176, 6, -307, 1494179118, 5, 0, 0, 0,
};
