/* int32 accumulator -> 8 bits, exactly as hil/core/network.py defines it. */
#ifndef REQUANTISE_H
#define REQUANTISE_H

#include <stdint.h>

#include "xpulp.h"

/* Before the limits. */
static inline int32_t rescale(int32_t sum, int32_t multiplier, int32_t shift)
{
    const int32_t high = (int32_t)(((int64_t)sum * multiplier) >> 32); /* mulh, floor */
    return p_round_shift(high, shift);
}

static inline uint8_t requantise(int32_t sum, int32_t multiplier, int32_t shift, int32_t lowest,
                                 int32_t highest)
{
    return (uint8_t)p_min(p_max(rescale(sum, multiplier, shift), lowest), highest);
}

#endif
