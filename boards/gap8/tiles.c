#include "tiles.h"

typedef struct {
    tiled_layer_t layer; /* on core 0's stack, in L1 */
    layer_probe_t probe;
} run_t;

static void wait_for(dma_set_t set, layer_probe_t *probe)
{
    if (set != 0) {
        uint32_t start = cluster_cycles();
        dma_wait(set);
        probe->copy += cluster_cycles() - start;
    }
}

/* ------------------------------------------------------------------------------------------
 * Steps and their transfers
 * ---------------------------------------------------------------------------------------- */

static uint32_t slot_at(const tiled_layer_t *layer, uint32_t tile)
{
    return layer->shape_bytes + tile % STEP_SLOTS * layer->step_bytes;
}

static const step_io_t *slot(const tiled_layer_t *layer, uint32_t tile)
{
    return (const step_io_t *)(const void *)(scratch + slot_at(layer, tile));
}

static dma_set_t fetch_shape(const tiled_layer_t *layer)
{
    const transfer_t transfer = {layer->shape, 0, layer->shape_bytes, 0, 0};
    return dma_start(&transfer, DMA_L2_TO_L1);
}

static dma_set_t fetch_step(const tiled_layer_t *layer, uint32_t tile)
{
    if (tile >= layer->count) {
        return 0;
    }
    const uint8_t *step = (const uint8_t *)layer->steps + tile * layer->step_bytes;
    const transfer_t transfer = {step, (uint16_t)slot_at(layer, tile), layer->step_bytes, 0, 0};
    return dma_start(&transfer, DMA_L2_TO_L1);
}

static dma_set_t load(const tiled_layer_t *layer, uint32_t tile)
{
    if (tile >= layer->count) {
        return 0;
    }
    const step_io_t *io = slot(layer, tile);
    return dma_start(&io->load[0], DMA_L2_TO_L1) | dma_start(&io->load[1], DMA_L2_TO_L1);
}

static dma_set_t store(const tiled_layer_t *layer, uint32_t tile)
{
    return dma_start(&slot(layer, tile)->store, 0);
}

static void compute(const tiled_layer_t *layer, uint32_t tile, layer_probe_t *probe)
{
    uint32_t start = cluster_cycles();
    uint32_t copied = probe->copy;
    layer->compute(scratch, slot(layer, tile), probe);
    probe->compute += cluster_cycles() - start - (probe->copy - copied);
}

/* ------------------------------------------------------------------------------------------
 * Core 0's part and the others'
 * ---------------------------------------------------------------------------------------- */

/* One barrier a tile: behind it every core has left tile - 1 and finds tile in L1. What tile + 1
 * is loaded over was read for tile - 1; what tile writes over has been stored since tile - 2. */
static void master_double(const tiled_layer_t *layer, layer_probe_t *probe)
{
    dma_set_t storing = 0;
    dma_set_t loading = load(layer, 0) | fetch_step(layer, 1);
    for (uint32_t tile = 0; tile < layer->count; tile++) {
        wait_for(loading | storing, probe);
        cluster_barrier();
        storing = tile > 0 ? store(layer, tile - 1) : 0;
        loading = load(layer, tile + 1) | fetch_step(layer, tile + 2);
        compute(layer, tile, probe);
    }
    cluster_barrier();
    wait_for(storing | store(layer, layer->count - 1), probe);
}

static void master_single(const tiled_layer_t *layer, layer_probe_t *probe)
{
    for (uint32_t tile = 0; tile < layer->count; tile++) {
        wait_for(load(layer, tile) | fetch_step(layer, tile + 1), probe);
        cluster_barrier();
        compute(layer, tile, probe);
        cluster_barrier();
        wait_for(store(layer, tile), probe);
    }
}

/* Cores 1 to 7 meet core 0's barriers: one before each tile, and one behind each with one buffer,
 * behind the last with two. */
static void helper(const tiled_layer_t *layer)
{
    layer_probe_t ignored = {0, 0};
    for (uint32_t tile = 0; tile < layer->count; tile++) {
        cluster_barrier();
        layer->compute(scratch, slot(layer, tile), &ignored);
        if (layer->buffers == 1) {
            cluster_barrier();
        }
    }
    if (layer->buffers == 2) {
        cluster_barrier();
    }
}

static void every_core(void *arg)
{
    run_t *run = arg;
    if (core_id() != 0) {
        helper(&run->layer);
    } else if (run->layer.buffers == 2) {
        master_double(&run->layer, &run->probe);
    } else {
        master_single(&run->layer, &run->probe);
    }
}

void tiles_run(const tiled_layer_t *layer, layer_probe_t *probe)
{
    run_t run = {*layer, *probe};
    wait_for(fetch_shape(&run.layer) | fetch_step(&run.layer, 0), &run.probe);
    cluster_fork(every_core, &run);
    *probe = run.probe;
}
