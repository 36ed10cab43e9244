/* Convolution, pointwise and linear layers on a tile in L1. */
#ifndef CONV_H
#define CONV_H

#include <stdint.h>

#include "tiles.h"

/* The window of an output pixel is `segments` runs of `segment_words` words in the input,
 * `segment_pitch` bytes apart: a kernel row of a convolution is one run of kernel width x channels
 * bytes, because the L1 input carries its zero padding. So nothing is gathered (no im2col buffer):
 * that would pay only for windows under some ten words, and for 512 channels of 3x3 eight of them
 * would not fit.
 *
 * Weights are records of four output channels: four biases, then for each segment and word the
 * word of each of the four channels, then four multipliers and four one-byte shifts. Runs are
 * padded to words with zero weights, against which any input byte is harmless; output channels are
 * padded to records and not stored. */
typedef struct {
    uint16_t columns;        /* output pixels in a row */
    uint16_t column_step;    /* input bytes from one output pixel's window to the next */
    uint16_t row_step;       /* and from one row's first to the next row's first */
    uint16_t segments;
    uint16_t segment_words;
    uint16_t segment_pitch;  /* also the bytes of an input row, padding included */
    uint16_t left;           /* padding bytes at both ends of an input row; the DMA leaves */
    uint16_t right;          /* anything there, the kernel zeroes them first */
    int16_t lowest;
    int16_t highest;
} conv_shape_t;

typedef struct {
    step_io_t io;
    uint16_t input;          /* first window byte of the first output pixel */
    uint16_t output;
    uint16_t weights;
    uint16_t pixels;         /* output pixels, row after row */
    uint16_t channels;
    uint16_t pixel_cores;    /* the cores form a grid: `pixel_cores` columns, a power of */
    uint16_t pairs_a_core;   /* two, share the pixel pairs, 8 / pixel_cores rows the records */
    uint16_t records_a_core;
    uint16_t rows;           /* input rows, padding included; 0 for a layer without padding */
    uint8_t top;             /* of them zero, not loaded */
    uint8_t bottom;
} conv_step_t;

/* `shape`: a conv_shape_t, `step`: a conv_step_t. The input's bytes are signed or unsigned; the
 * kernels from zero are for a lower limit of 0 (a cycle less an output). For tiles_run(). */
void conv_s8(const void *shape, const void *step, layer_probe_t *probe);
void conv_u8(const void *shape, const void *step, layer_probe_t *probe);
void conv_s8_from_zero(const void *shape, const void *step, layer_probe_t *probe);
void conv_u8_from_zero(const void *shape, const void *step, layer_probe_t *probe);

#endif
