/* What is timed on the computing core, and how. In a file of its own, so that no compiler can make
 * a version for empty work: an empty window runs the very instructions of a full one. */
#ifndef TIMING_H
#define TIMING_H

#include <stdint.h>

#include "console_protocol.h"
#include "network.h"

/* Cycles of a window. `rise` and `fall` lie between the two looks at the counter around one change
 * of the marker; `passes` between the first and the last look inside, summed up pass by pass. */
typedef struct {
    uint32_t rise;
    uint64_t passes;
    uint32_t fall;
} window_t;

/* Calls pass(work) `count` times, with the marker up around it all when `marked`. One pass must be
 * shorter than 2^32 cycles. */
void timing_window(void (*pass)(void *work), void *work, uint16_t count, int marked,
                   window_t *window);

/* Runs one layer between two looks at the counter. */
void timing_layer(const layer_t *layer, console_layer_cycles_t *cycles);

#endif
