/* Convolution, pointwise and linear layers on a tile in L1. */
#ifndef CONV_H
#define CONV_H

#include <stdint.h>

#include "tiles.h"

/* A tile. The window of an output pixel is `segments` runs of `segment_words` words in the input,
 * `segment_pitch` bytes apart: a kernel row of a convolution is one run of kernel width x channels
 * bytes, because the L1 input carries its zero padding. So nothing is gathered (no im2col buffer):
 * it would be worth its copying only for windows under some ten words, and 512 channels of 3x3
 * would not fit eight of them.
 *
 * `weights` are records of four output channels: four biases, then for each segment and word
 * the word of each of the four channels, then four multipliers and four one-byte shifts. Runs are
 * padded to words with zero weights, against which any input byte is harmless; output channels are
 * padded to records and not stored. */
typedef struct {
    const void *input;       /* first window byte of the first output pixel */
    uint8_t *output;
    const void *weights;
    uint32_t pixels;         /* output pixels, row after row */
    uint32_t columns;        /* output pixels in a row */
    uint32_t column_step;    /* input bytes from one output pixel's window to the next */
    uint32_t row_step;       /* and from one row's first to the next row's first */
    uint32_t segments;
    uint32_t segment_words;
    uint32_t segment_pitch;
    uint32_t channels;
    int32_t lowest;
    int32_t highest;
    uint32_t pairs_a_core;   /* the cores form a grid: `pixel_cores` columns share the pixel pairs, */
    uint32_t records_a_core; /* 8 / pixel_cores rows share the records */
    uint32_t pixel_cores;    /* a power of two */
} conv_tile_t;

/* Input tile with room for padding: `rows` rows of `pitch` bytes. The DMA has put the data of a
 * row `left` bytes into it and anything into the rest; `top` and `bottom` rows are not loaded. */
typedef struct {
    uint8_t *base;
    uint32_t rows;
    uint32_t pitch;
    uint32_t top;
    uint32_t bottom;
    uint32_t left;           /* bytes */
    uint32_t right;          /* bytes */
} border_t;

typedef struct {
    step_io_t io;
    conv_tile_t tile;
    border_t border;         /* rows == 0: none */
} conv_step_t;

/* `step`: a conv_step_t; the input's bytes are signed or unsigned. For tiles_run(). */
void conv_s8(const void *step, layer_probe_t *probe);
void conv_u8(const void *step, layer_probe_t *probe);

#endif
