/* Cluster DMA (MCHAN) as the layers use it: started by core 0, awaited as sets of transfers. */
#ifndef DMA_H
#define DMA_H

#include <stdint.h>

#include "gap8.h"
#include "xpulp.h"

/* `bytes` bytes (0: no transfer) between L2 and `scratch + l1`. `line` 0: one run; else lines of
 * that many bytes, `distance` bytes from one to the next in L2, touching each other in L1. All
 * lengths and distances go up to 32767: the chip drops the length's bit 15, and says nothing. */
typedef struct {
    const void *l2;
    uint16_t l1;
    uint16_t bytes;
    uint16_t line;
    uint16_t distance;
} transfer_t;

/* Transfers on their way, one bit each. */
typedef uint32_t dma_set_t;

extern uint8_t scratch[]; /* the layers' share of L1, network.c */

/* `direction`: DMA_L2_TO_L1 or 0. The words of a command must not mix with another command of the
 * same core: only core 0 starts transfers, and never in an interrupt. */
static inline dma_set_t dma_start(const transfer_t *transfer, uint32_t direction)
{
    if (transfer->bytes == 0) {
        return 0;
    }
    const uint32_t lines = transfer->line != 0 ? DMA_2D : 0;
    const uint32_t id = REG(DMA_COMMAND);
    REG(DMA_COMMAND) = transfer->bytes | direction | DMA_INCREMENT | DMA_EVENT | lines;
    REG(DMA_COMMAND) = (uint32_t)(uintptr_t)(scratch + transfer->l1);
    REG(DMA_COMMAND) = (uint32_t)(uintptr_t)transfer->l2;
    if (lines) {
        REG(DMA_COMMAND) = transfer->line | (uint32_t)transfer->distance << 16;
    }
    return 1u << id;
}

/* Core 0 sleeps until all of the set have ended. The end-of-transfer event is sticky: one that
 * falls between the test and the sleep is not lost, but one that nobody slept for stays, and any
 * unmasked event ends any event load. So it is unmasked only here, or it would end a barrier too
 * early. Identifiers must be given back. */
static inline void dma_wait(dma_set_t set)
{
    REG(EVENT_MASK) = EVENT_DMA;
    while (REG(DMA_STATUS) & set) {
        (void)event_load(EVENT_WAIT_CLEAR);
    }
    REG(EVENT_MASK) = EVENT_BARRIER;
    REG(DMA_STATUS) = set;
}

#endif
