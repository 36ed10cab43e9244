#include "runner.h"

#include "board.h"
#include "crc32.h"
#include "network.h"

static void run_layer(uint16_t index)
{
    layer_probe_t ignored = {0, 0};
    network_layers[index].run(&ignored);
}

static void run_layers(uint16_t layers)
{
    for (uint16_t i = 0; i < layers; i++) {
        run_layer(i);
    }
}

static void time_layers(uint16_t layers, console_layer_cycles_t *cycles)
{
    for (uint16_t i = 0; i < layers; i++) {
        layer_probe_t probe = {0, 0};
        uint32_t start = board_cycles();
        network_layers[i].run(&probe);
        cycles[i].total = board_cycles() - start;
        cycles[i].compute = probe.compute;
        cycles[i].copy = probe.copy;
    }
}

static uint32_t output_digest(uint16_t index)
{
    return crc32(0, network_layers[index].output, network_layers[index].output_bytes);
}

/* A pass of its own: later layers reuse the memory of earlier outputs, and reading an output
 * between two timed layers would leave it in the cache for the second one. */
static void digest_layers(uint16_t layers, uint32_t *digests)
{
    for (uint16_t i = 0; i < layers; i++) {
        run_layer(i);
        digests[i] = output_digest(i);
    }
}

static void run_iteration(run_job_t *job)
{
    if (job->flags & RUN_FLAG_TOTAL_ONLY) {
        run_layers(job->layers);
    } else {
        time_layers(job->layers, job->cycles);
    }
}

void runner_run(void *run_job)
{
    run_job_t *job = run_job;
    if (job->flags & RUN_FLAG_DIGEST) {
        digest_layers(job->layers, job->digests);
    }
    for (uint16_t i = 0; i < job->warmup; i++) {
        run_iteration(job);
    }
    job->total_cycles = 0;
    if (job->flags & RUN_FLAG_MARKER) {
        board_marker(1);
    }
    uint32_t last = board_cycles();
    for (uint16_t i = 0; i < job->iterations; i++) {
        run_iteration(job);
        uint32_t now = board_cycles();
        job->total_cycles += now - last; /* one iteration must be shorter than 2^32 cycles */
        last = now;
    }
    if (job->flags & RUN_FLAG_MARKER) {
        board_marker(0);
    }
    if (job->flags & RUN_FLAG_DIGEST) {
        /* The output that the host will believe is the timed iterations' own. */
        job->digests[job->layers - 1] = output_digest(job->layers - 1);
    }
}

static uint64_t marked_window(uint16_t index, uint16_t repeats)
{
    uint64_t cycles = 0;
    board_marker(1);
    uint32_t last = board_cycles();
    for (uint16_t i = 0; i < repeats; i++) {
        run_layer(index);
        uint32_t now = board_cycles();
        cycles += now - last;
        last = now;
    }
    board_marker(0);
    return cycles;
}

void runner_repeat(void *repeat_job)
{
    repeat_job_t *job = repeat_job;
    run_layers(job->first);
    for (uint16_t i = 0; i < job->count; i++) {
        uint16_t index = job->first + i;
        if (job->repeats[i] == 0) {
            run_layer(index);
            job->window_cycles[i] = 0;
        } else {
            board_delay_us(job->gap_us);
            job->window_cycles[i] = marked_window(index, job->repeats[i]);
        }
    }
    board_delay_us(job->gap_us); /* the last window gets a quiet end too */
}

void runner_self_test(void *self_test)
{
    board_self_test(self_test);
}
