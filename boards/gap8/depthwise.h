/* Depthwise layers on a tile in L1. */
#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include <stdint.h>

#include "tiles.h"

/* Dot products run over neighbours in a row, but in memory the neighbours of a byte are other
 * channels. So each core takes four channels and some output rows at a time, turns the rows they
 * need into four planes (one a channel, zero padding included), and runs down these planes.
 *
 * `weights`: a record for each channel: bias, multiplier, shift, then for each kernel row its
 * bytes, padded with zeros to words. */
typedef struct {
    const uint8_t *input;    /* rows x columns x channels */
    uint8_t *output;
    const void *weights;
    uint8_t *planes;         /* 4 * plane_bytes for each core */
    uint32_t rows;           /* input rows in L1 */
    uint32_t columns;
    uint32_t channels;
    uint32_t top;            /* zero rows above the first input row */
    uint32_t left;           /* zero columns */
    uint32_t plane_pitch;    /* bytes, a multiple of four */
    uint32_t plane_bytes;
    uint32_t kernel_rows;
    uint32_t kernel_words;   /* words of a kernel row */
    uint32_t stride_down;
    uint32_t stride_across;
    uint32_t output_rows;
    uint32_t output_columns;
    int32_t lowest;
    int32_t highest;
    uint32_t rows_a_core;    /* the cores form a grid: `row_cores` columns share the output rows, */
    uint32_t quads_a_core;   /* 8 / row_cores rows share the groups of four channels */
    uint32_t row_cores;      /* a power of two */
} depthwise_tile_t;

typedef struct {
    step_io_t io;
    depthwise_tile_t tile;
} depthwise_step_t;

/* `step`: a depthwise_step_t. Kernels of 3x3 with stride 1, 3x3 with stride 2, and any other, for
 * signed and unsigned input. For tiles_run(). */
void depthwise_3x3_s8(const void *step, layer_probe_t *probe);
void depthwise_3x3_u8(const void *step, layer_probe_t *probe);
void depthwise_3x3_stride2_s8(const void *step, layer_probe_t *probe);
void depthwise_3x3_stride2_u8(const void *step, layer_probe_t *probe);
void depthwise_any_s8(const void *step, layer_probe_t *probe);
void depthwise_any_u8(const void *step, layer_probe_t *probe);

#endif
