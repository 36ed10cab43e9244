/* Cluster DMA (MCHAN) as the layers use it: started by core 0, awaited as sets of transfers. */
#ifndef DMA_H
#define DMA_H

#include <stdint.h>

#include "gap8.h"
#include "xpulp.h"

/* The words of one command. `lines`: length | distance << 16 of lines in L2 that touch each other
 * in L1; only sent with DMA_2D. `command` 0: no transfer. */
typedef struct {
    uint32_t command;
    const void *l1;
    const void *l2;
    uint32_t lines;
} transfer_t;

/* Initialisers; up to 65535 bytes, lines and their distance up to 32767. */
#define DMA_FLAGS (DMA_INCREMENT | DMA_EVENT)
#define LOAD(l1, l2, bytes) {(bytes) | DMA_L2_TO_L1 | DMA_FLAGS, l1, l2, 0}
#define LOAD_LINES(l1, l2, bytes, line, distance)                                                  \
    {(bytes) | DMA_L2_TO_L1 | DMA_2D | DMA_FLAGS, l1, l2, (line) | (distance) << 16}
#define STORE(l1, l2, bytes) {(bytes) | DMA_FLAGS, l1, l2, 0}
#define STORE_LINES(l1, l2, bytes, line, distance)                                                 \
    {(bytes) | DMA_2D | DMA_FLAGS, l1, l2, (line) | (distance) << 16}

/* Transfers on their way, one bit each. */
typedef uint32_t dma_set_t;

/* The words of a command must not mix with another command of the same core: only core 0 starts
 * transfers, and never in an interrupt. */
static inline dma_set_t dma_start(const transfer_t *transfer)
{
    if (transfer->command == 0) {
        return 0;
    }
    uint32_t id = REG(DMA_COMMAND);
    REG(DMA_COMMAND) = transfer->command;
    REG(DMA_COMMAND) = (uint32_t)(uintptr_t)transfer->l1;
    REG(DMA_COMMAND) = (uint32_t)(uintptr_t)transfer->l2;
    if (transfer->command & DMA_2D) {
        REG(DMA_COMMAND) = transfer->lines;
    }
    return 1u << id;
}

/* Core 0 sleeps until all of the set have ended. The end-of-transfer event is sticky: one that falls
 * between the test and the sleep is not lost, but one that nobody slept for stays, and any unmasked
 * event ends any event load. So it is unmasked only here, or it would end a barrier too early.
 * Identifiers must be given back. */
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
