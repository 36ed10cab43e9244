/* Depthwise layers on a tile in L1. */
#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include <stdint.h>

#include "tiles.h"

/* Dot products run over neighbours in a row, but in memory the neighbours of a byte are other
 * channels. So each core takes four channels and some output rows at a time, turns the rows they
 * need into four planes (one a channel, zero padding included), and runs down these planes.
 *
 * Weights are records of four channels: four biases, four multipliers, four one-byte shifts, then
 * for each channel its kernel rows, each padded with zeros to words. */
typedef struct {
    uint16_t planes;         /* 4 * plane_bytes for each core */
    uint16_t plane_bytes;
    uint16_t plane_pitch;    /* a multiple of four */
    uint16_t columns;        /* input columns */
    uint16_t left;           /* zero columns before them */
    uint16_t right;          /* and behind */
    uint16_t kernel_rows;
    uint16_t kernel_words;   /* words of a kernel row */
    uint16_t stride_down;
    uint16_t stride_across;
    uint16_t output_columns;
    uint16_t row_cores;      /* the cores form a grid: `row_cores` columns, a power of two, */
    int16_t lowest;          /* share the output rows, 8 / row_cores rows the fours of channels */
    int16_t highest;
} depthwise_shape_t;

typedef struct {
    step_io_t io;
    uint16_t input;          /* rows x columns x channels, no padding */
    uint16_t output;
    uint16_t weights;
    uint16_t rows;           /* input rows in L1 */
    uint16_t top;            /* zero rows above them */
    uint16_t channels;
    uint16_t output_rows;
    uint16_t rows_a_core;
    uint16_t quads_a_core;
    uint16_t unused;
} depthwise_step_t;

/* `shape`: a depthwise_shape_t, `step`: a depthwise_step_t. Kernels of 3x3 with stride 1, 3x3
 * with stride 2, and any other, for signed and unsigned input; those from zero are for a lower
 * limit of 0 (a cycle less an output). For tiles_run(). */
void depthwise_3x3_s8(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_3x3_u8(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_3x3_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_3x3_stride2_s8(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_3x3_stride2_u8(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_3x3_stride2_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_any_s8(const void *shape, const void *step, layer_probe_t *probe);
void depthwise_any_u8(const void *shape, const void *step, layer_probe_t *probe);

#endif
