/* Jobs on the generated network. Each runs on the computing core, through board_offload(). */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdint.h>

#include "console_protocol.h"

/* The tables below are static; the generator refuses a network with more layers. */
#define RUNNER_MAX_LAYERS 128

/* What RUN asks for and brings back. */
typedef struct {
    uint16_t layers;
    uint16_t warmup;
    uint16_t iterations;
    uint8_t flags;
    uint64_t total_cycles;
    console_layer_cycles_t cycles[RUNNER_MAX_LAYERS];
    uint32_t digests[RUNNER_MAX_LAYERS];
} run_job_t;

/* What REPEAT_LAYERS asks for and brings back, for layers first .. first + count - 1. */
typedef struct {
    uint16_t first;
    uint16_t count;
    uint32_t gap_us;
    uint16_t repeats[RUNNER_MAX_LAYERS];
    uint64_t window_cycles[RUNNER_MAX_LAYERS];
} repeat_job_t;

/* What EMPTY_WINDOWS asks for and brings back. */
typedef struct {
    uint16_t count; /* 1 to CONSOLE_MAX_EMPTY_WINDOWS */
    uint32_t gap_us;
    console_empty_window_t windows[CONSOLE_MAX_EMPTY_WINDOWS];
} empty_job_t;

void runner_run(void *run_job);
void runner_repeat(void *repeat_job);
void runner_empty(void *empty_job);
void runner_self_test(void *self_test);

#endif
