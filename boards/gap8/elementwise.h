/* Layers without weights on a tile in L1: addition and pooling. */
#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include <stdint.h>

#include "tiles.h"

/* out = clamp((x * multiplier_x + y * multiplier_y + rounding) >> shift), element by element. */
typedef struct {
    int32_t multiplier_x;
    int32_t multiplier_y;
    int32_t rounding; /* half of what the shift drops: 0 for shift 0 */
    int16_t lowest;
    int16_t highest;
    uint32_t shift;
} add_shape_t;

typedef struct {
    step_io_t io;
    uint16_t x;
    uint16_t y;
    uint16_t output;
    uint16_t count;
    uint16_t count_a_core;
    uint16_t unused;
} add_step_t;

/* `shape`: an add_shape_t, `step`: an add_step_t. The letters: signedness of x and y. For
 * tiles_run(). */
void add_s8_s8(const void *shape, const void *step, layer_probe_t *probe);
void add_s8_u8(const void *shape, const void *step, layer_probe_t *probe);
void add_u8_s8(const void *shape, const void *step, layer_probe_t *probe);
void add_u8_u8(const void *shape, const void *step, layer_probe_t *probe);

/* A window of kernel_rows x kernel_columns a output pixel; its parts outside the input are left
 * out. */
typedef struct {
    uint16_t columns; /* input columns */
    uint16_t left;    /* columns of padding before the first */
    uint16_t kernel_rows;
    uint16_t kernel_columns;
    uint16_t stride_down;
    uint16_t stride_across;
    uint16_t output_columns;
    uint16_t shift;   /* average only, as is the multiplier */
    int16_t lowest;
    int16_t highest;
    int32_t multiplier;
} pool_shape_t;

typedef struct {
    step_io_t io;
    uint16_t input;           /* rows x columns x channels */
    uint16_t output;
    uint16_t rows;
    uint16_t top;             /* rows of padding before the first row in L1 */
    uint16_t channels;
    uint16_t output_rows;
    uint16_t pixel_cores;     /* the cores form a grid: `pixel_cores` columns, a power of */
    uint16_t pixels_a_core;   /* two, share the pixels, 8 / pixel_cores rows the channels */
    uint16_t channels_a_core; /* a multiple of four */
    uint16_t unused;
} pool_step_t;

/* `shape`: a pool_shape_t, `step`: a pool_step_t. For tiles_run(). */
void maxpool_s8(const void *shape, const void *step, layer_probe_t *probe);
void maxpool_u8(const void *shape, const void *step, layer_probe_t *probe);
void avgpool_s8(const void *shape, const void *step, layer_probe_t *probe);
void avgpool_u8(const void *shape, const void *step, layer_probe_t *probe);

#endif
