/* Layers without weights on a tile in L1: addition and pooling. */
#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include <stdint.h>

#include "tiles.h"

/* out = clamp((x * multiplier_x + y * multiplier_y + rounding) >> shift), element by element. */
typedef struct {
    const void *x;
    const void *y;
    uint8_t *output;
    uint32_t count;
    uint32_t count_a_core;
    int32_t multiplier_x;
    int32_t multiplier_y;
    int32_t rounding; /* half of what the shift drops: 0 for shift 0 */
    int32_t shift;
    int32_t lowest;
    int32_t highest;
} add_tile_t;

typedef struct {
    step_io_t io;
    add_tile_t tile;
} add_step_t;

/* `step`: an add_step_t. The letters: signedness of x and y. For tiles_run(). */
void add_s8_s8(const void *step, layer_probe_t *probe);
void add_s8_u8(const void *step, layer_probe_t *probe);
void add_u8_s8(const void *step, layer_probe_t *probe);
void add_u8_u8(const void *step, layer_probe_t *probe);

/* A window of kernel_rows x kernel_columns a output pixel; parts of it outside the input are left
 * out. `top`, `left`: rows and columns of padding before the first input row and column in L1. */
typedef struct {
    const void *input; /* rows x columns x channels */
    uint8_t *output;
    uint32_t rows;
    uint32_t columns;
    uint32_t channels;
    uint32_t top;
    uint32_t left;
    uint32_t kernel_rows;
    uint32_t kernel_columns;
    uint32_t stride_down;
    uint32_t stride_across;
    uint32_t output_rows;
    uint32_t output_columns;
    int32_t multiplier; /* average only, as are the next three */
    int32_t shift;
    int32_t lowest;
    int32_t highest;
    uint32_t pixels_a_core;   /* the cores form a grid: `pixel_cores` columns share the pixels, */
    uint32_t channels_a_core; /* 8 / pixel_cores rows share the channels (a multiple of four) */
    uint32_t pixel_cores;     /* a power of two */
} pool_tile_t;

typedef struct {
    step_io_t io;
    pool_tile_t tile;
} pool_step_t;

/* `step`: a pool_step_t. For tiles_run(). */
void maxpool_s8(const void *step, layer_probe_t *probe);
void maxpool_u8(const void *step, layer_probe_t *probe);
void avgpool_s8(const void *step, layer_probe_t *probe);
void avgpool_u8(const void *step, layer_probe_t *probe);

#endif
