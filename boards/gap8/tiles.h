/* A layer in tiles: while all cores compute one tile in L1, the DMA brings the next one from L2
 * and takes the last one back. */
#ifndef TILES_H
#define TILES_H

#include <stdint.h>

#include "cluster.h"
#include "dma.h"
#include "network.h"

/* Transfers of a tile. Each operator's step is a structure that begins with this and goes on with
 * what differs from tile to tile. All L1 places are offsets in `scratch`. */
typedef struct {
    transfer_t load[2];
    transfer_t store;
} step_io_t;

/* Steps that L1 holds: the one whose output leaves, the current one, the next two. */
#define STEP_SLOTS 4u

/* `shape`: the operator's structure of what all tiles have in common. `steps`: `count` of
 * `step_bytes` each. Both lie in L2; the start of scratch takes a copy of the shape and, behind
 * it, a ring of STEP_SLOTS steps, because a core reads L1 in one cycle and L2 in nine. `compute`
 * runs on every core. It adds what it spends on packing to probe->copy (each core has a probe;
 * core 0's is reported). With `buffers` 2 the loads of a tile must not touch what the tile before
 * it reads, nor its output what the tile before it wrote; with 1 the steps take turns. */
typedef struct {
    const void *shape;
    const void *steps;
    uint16_t shape_bytes; /* multiples of four */
    uint16_t step_bytes;
    uint16_t count;
    uint16_t buffers;
    void (*compute)(const void *shape, const void *step, layer_probe_t *probe);
} tiled_layer_t;

/* Called on core 0; forks to all cores. */
void tiles_run(const tiled_layer_t *layer, layer_probe_t *probe);

/* Part `index` of `count` things in parts of `each`: from `begin` up to, without, `end`. */
typedef struct {
    uint32_t begin;
    uint32_t end;
} share_t;

static inline share_t share_of(uint32_t count, uint32_t each, uint32_t index)
{
    uint32_t begin = index * each < count ? index * each : count;
    uint32_t end = begin + each < count ? begin + each : count;
    return (share_t){begin, end};
}

#endif
