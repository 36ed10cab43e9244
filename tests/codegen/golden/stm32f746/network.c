/* random_add_2x3x3_3_1, first 2 layers, on stm32f746: what the runner knows of it. */
#include "network.h"

#include "layers.h"

uint8_t arena_sram[96] __attribute__((section(".arena_sram"), aligned(32)));
uint8_t scratch[64] __attribute__((section(".scratch"), aligned(32)));

const char network_name[32] = "random_add_2x3x3_3_1";

uint8_t *const network_input = (uint8_t *)TENSOR_0;
const uint32_t network_input_bytes = 18;

const uint16_t network_layer_count = 2;

/* Name, function, output, bytes. */
const layer_t network_layers[] = {
    {"branch", layer_00_branch, (const uint8_t *)TENSOR_1, 18},
    {"under_test", layer_01_under_test, (const uint8_t *)TENSOR_2, 18},
};
