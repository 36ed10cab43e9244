/* The eight cluster cores: start, fork and join, barrier, cycle counter. */
#ifndef CLUSTER_H
#define CLUSTER_H

#include <stdint.h>

#include "gap8.h"
#include "xpulp.h"

/* Software events between the two sides. */
#define EVENT_JOB 1u        /* control core -> cluster core 0: a job waits */
#define EVENT_JOB_DONE 3u   /* cluster core 0 -> control core */

static inline uint32_t core_id(void)
{
    uint32_t hart;
    __asm__("csrr %0, 0xF14" : "=r"(hart));
    return hart & 31u;
}

/* Cycles of the cluster clock, from the cluster's timer: the cores' own counters (PCCR 0) stop
 * while a core sleeps in p.elw, and the waits belong to the time of a layer. */
static inline uint32_t cluster_cycles(void)
{
    return REG(TIMER_CLUSTER + TIMER_COUNT_LOW);
}

/* All eight cores meet. Waiting cores sleep. Also orders memory: what a core wrote before is seen
 * by the others after. */
static inline void cluster_barrier(void)
{
    (void)event_load(BARRIER_TRIGGER_WAIT_CLEAR);
}

/* Control core: powers the cluster up and starts its cores, or stops them and powers it down. */
void cluster_power_up(uint32_t multiplier, uint32_t divider);
void cluster_power_down(void);

/* Cluster core 0: fn(arg) on all eight cores; returns when all have finished. */
void cluster_fork(void (*fn)(void *), void *arg);

/* Control core: fn(arg) on cluster core 0. Sleeps until it has finished. Returns 0 if a cluster
 * core faulted instead. */
int cluster_run(void (*fn)(void *), void *arg);

/* Control core: puts CONF1 of a frequency-locked loop and waits until it runs at that clock. */
void fll_retune(uint32_t loop, uint32_t multiplier, uint32_t divider);

#endif
