/* Activations, constants and functions of random_add_2x3x3_3_1, first 2 layers, on stm32f746. */
#ifndef LAYERS_H
#define LAYERS_H

#include <stdint.h>

#include "network.h"

/* ------------------------------------------------------------------------------------------
 * Memory: arenas of the activations, and the scratch bytes a layer may use while it runs
 * ---------------------------------------------------------------------------------------- */

extern uint8_t arena_sram[96];
extern uint8_t scratch[64];

/* ------------------------------------------------------------------------------------------
 * Tensors, height x width x channels; those that share bytes are never alive together
 * ---------------------------------------------------------------------------------------- */

#define TENSOR_0 ((int8_t *)(arena_sram + 0)) /* 2x3x3 int8, 18 bytes */
#define TENSOR_1 ((uint8_t *)(arena_sram + 32)) /* 2x3x3 uint8, 18 bytes */
#define TENSOR_2 ((int8_t *)(arena_sram + 64)) /* 2x3x3 int8, 18 bytes */

/* ------------------------------------------------------------------------------------------
 * Layers
 * ---------------------------------------------------------------------------------------- */

extern const int8_t layer_00_branch_weights[16];
extern const int32_t layer_00_branch_requant[12];
void layer_00_branch(layer_probe_t *probe);

void layer_01_under_test(layer_probe_t *probe);

#endif
