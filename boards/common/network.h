/* The generated network as the runner sees it. network.c is generated for each model. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

/* Cycles spent inside a layer's function: kernels' own work, and moving data towards them
 * (DMA waits, packing). The rest of a layer's total is loop control, barriers and calls. */
typedef struct {
    uint32_t compute;
    uint32_t copy;
} layer_probe_t;

typedef struct {
    const char *name;
    void (*run)(layer_probe_t *probe);
    const uint8_t *output;
    uint32_t output_bytes;
} layer_t;

extern const char network_name[32];
extern const uint8_t firmware_build_id[32];
extern const uint16_t network_layer_count;
extern const layer_t network_layers[];
extern uint8_t *const network_input;
extern const uint32_t network_input_bytes;

#endif
