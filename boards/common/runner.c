#include "runner.h"

#include "board.h"
#include "crc32.h"
#include "network.h"
#include "timing.h"

static void run_layer(void *layer)
{
    layer_probe_t ignored = {0, 0};
    ((const layer_t *)layer)->run(&ignored);
}

/* As the work of a pass; nobody writes to it. */
static void *layer_at(uint16_t index)
{
    return (void *)&network_layers[index];
}

static void run_layers(uint16_t layers)
{
    for (uint16_t i = 0; i < layers; i++) {
        run_layer(layer_at(i));
    }
}

static void time_layers(uint16_t layers, console_layer_cycles_t *cycles)
{
    for (uint16_t i = 0; i < layers; i++) {
        timing_layer(&network_layers[i], &cycles[i]);
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
        run_layer(layer_at(i));
        digests[i] = output_digest(i);
    }
}

static void run_iteration(void *run_job)
{
    run_job_t *job = run_job;
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
    window_t window;
    timing_window(run_iteration, job, job->iterations, job->flags & RUN_FLAG_MARKER, &window);
    job->total_cycles = window.passes;
    if (job->flags & RUN_FLAG_DIGEST) {
        /* The output that the host will believe is the timed iterations' own. */
        job->digests[job->layers - 1] = output_digest(job->layers - 1);
    }
}

void runner_repeat(void *repeat_job)
{
    repeat_job_t *job = repeat_job;
    run_layers(job->first);
    for (uint16_t i = 0; i < job->count; i++) {
        void *layer = layer_at(job->first + i);
        if (job->repeats[i] == 0) {
            run_layer(layer);
            job->window_cycles[i] = 0;
        } else {
            window_t window;
            board_delay_us(job->gap_us);
            timing_window(run_layer, layer, job->repeats[i], 1, &window);
            job->window_cycles[i] = window.passes;
        }
    }
    board_delay_us(job->gap_us); /* the last window gets a quiet end too */
}

static void do_nothing(layer_probe_t *probe)
{
    (void)probe;
}

static const layer_t empty_layer = {"", do_nothing, NULL, 0};

void runner_empty(void *empty_job)
{
    empty_job_t *job = empty_job;
    for (uint16_t i = 0; i < job->count; i++) {
        window_t window;
        console_layer_cycles_t layer;
        board_delay_us(job->gap_us);
        timing_window(run_layer, (void *)&empty_layer, 1, 1, &window);
        timing_layer(&empty_layer, &layer);
        job->windows[i].rise = window.rise;
        job->windows[i].pass = (uint32_t)window.passes;
        job->windows[i].fall = window.fall;
        job->windows[i].layer = layer.total;
    }
    board_delay_us(job->gap_us);
}

void runner_self_test(void *self_test)
{
    board_self_test(self_test);
}
