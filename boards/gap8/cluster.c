#include "cluster.h"

typedef void (*job_t)(void *);

static volatile job_t job;
static void *volatile job_argument;
static volatile uint32_t job_failed;

/* ------------------------------------------------------------------------------------------
 * Frequency-locked loops
 * ---------------------------------------------------------------------------------------- */

#define LOCK_TOLERANCE 8u /* multiplier steps of 16 kHz: 0.09 % of 150 MHz, enough for the UART */

static void wait_for_lock(uint32_t loop, uint32_t multiplier)
{
    uint32_t distance;
    do {
        uint32_t measured = REG(loop + FLL_STATUS) & 0xFFFFu;
        distance = measured > multiplier ? measured - multiplier : multiplier - measured;
    } while (distance > LOCK_TOLERANCE);
}

void fll_retune(uint32_t loop, uint32_t multiplier, uint32_t divider)
{
    REG(loop + FLL_CONF1) =
        FLL_CONF1_CLOSED_LOOP | FLL_CONF1_GATED_UNTIL_LOCK | (divider << 26) | multiplier;
    wait_for_lock(loop, multiplier);
}

/* The first start after power-on: tolerance and assert cycles, and a seed near 70 MHz for the
 * oscillator (values of the SDK's fll-v1.c). */
static void fll_start(uint32_t loop, uint32_t multiplier, uint32_t divider)
{
    const uint32_t gain_and_deassert = 0x109u;
    REG(loop + FLL_CONF2) = (0x50u << 16) | (6u << 10) | gain_and_deassert;
    REG(loop + FLL_INTEGRATOR) = 332u << 16;
    fll_retune(loop, multiplier, divider);
}

/* ------------------------------------------------------------------------------------------
 * Power
 * ---------------------------------------------------------------------------------------- */

static void wait_for_soc_event(uint32_t wanted)
{
    for (;;) {
        uint32_t popped = REG(CONTROL_SOC_EVENT_FIFO);
        if ((popped & SOC_EVENT_VALID) && (popped & 0xFFu) == wanted) {
            return;
        }
        if (!(popped & SOC_EVENT_VALID)) {
            /* The value of the event load says nothing (GVSoC returns 0 after a sleep). */
            (void)event_load(EVENT_WAIT);
            REG(EVENT_BUFFER_CLEAR) = EVENT_SOC_FIFO;
        }
    }
}

static void gate_clock(uint32_t gated)
{
    uint32_t old = REG(SOC_CLUSTER_BYPASS);
    uint32_t wanted = gated ? old | BYPASS_CLOCK_GATED : old & ~BYPASS_CLOCK_GATED;
    if (wanted != old) { /* the event only comes if the gate moves */
        REG(SOC_CLUSTER_BYPASS) = wanted;
        wait_for_soc_event(SOC_EVENT_CLUSTER_CLOCK);
    }
}

static void listen_to_power_events(void)
{
    REG(SOC_EVENTS_MASK_LOW) &= ~(1u << SOC_EVENT_CLUSTER_POWER);
    REG(SOC_EVENTS_MASK_HIGH) &= ~(1u << (SOC_EVENT_CLUSTER_CLOCK - 32u));
    while (REG(CONTROL_SOC_EVENT_FIFO) & SOC_EVENT_VALID) { /* left by the loader */
    }
    REG(EVENT_BUFFER_CLEAR) = 0xFFFFFFFFu;
    REG(EVENT_MASK) = EVENT_SOC_FIFO;
}

static void ignore_power_events(void)
{
    REG(SOC_EVENTS_MASK_LOW) |= 1u << SOC_EVENT_CLUSTER_POWER;
    REG(SOC_EVENTS_MASK_HIGH) |= 1u << (SOC_EVENT_CLUSTER_CLOCK - 32u);
    REG(EVENT_BUFFER_CLEAR) = 0xFFFFFFFFu;
    REG(EVENT_MASK) = 1u << EVENT_JOB_DONE;
}

void cluster_power_up(uint32_t multiplier, uint32_t divider)
{
    extern const uint32_t vectors[];
    listen_to_power_events();
    REG(SOC_CLUSTER_BYPASS) |= BYPASS_POWER_BY_REGISTER | BYPASS_CLOCK_BY_REGISTER | BYPASS_RESET;
    gate_clock(1);
    if (!(REG(SOC_CLUSTER_BYPASS) & BYPASS_POWER_ON)) {
        REG(SOC_CLUSTER_BYPASS) |= BYPASS_POWER_ON;
        wait_for_soc_event(SOC_EVENT_CLUSTER_POWER);
    }
    REG(SOC_CLUSTER_ISOLATE) = 0;
    REG(SOC_CLUSTER_BYPASS) &= ~(BYPASS_RESET | BYPASS_FLL_POWER_DOWN | BYPASS_FLL_RETAIN);
    gate_clock(0);
    ignore_power_events();
    fll_start(FLL_CLUSTER, multiplier, divider);
    REG(CLUSTER_ICACHE_ENABLE) = 0xFFFFFFFFu;
    REG(TIMER_CLUSTER + TIMER_CONFIG_LOW) = TIMER_ENABLE | TIMER_RESET;
    for (uint32_t core = 0; core < CLUSTER_CORES; core++) {
        REG(CLUSTER_BOOT_ADDRESS(core)) = (uint32_t)(uintptr_t)vectors;
    }
    REG(CLUSTER_FETCH_ENABLE) = (1u << CLUSTER_CORES) - 1u;
}

void cluster_power_down(void)
{
    if (!(REG(SOC_CLUSTER_BYPASS) & BYPASS_POWER_ON)) {
        return;
    }
    listen_to_power_events();
    REG(CLUSTER_FETCH_ENABLE) = 0;
    gate_clock(1);
    REG(SOC_CLUSTER_ISOLATE) = 1;
    REG(SOC_CLUSTER_BYPASS) &= ~BYPASS_POWER_ON;
    REG(SOC_CLUSTER_BYPASS) |= BYPASS_RESET;
    wait_for_soc_event(SOC_EVENT_CLUSTER_POWER);
    ignore_power_events();
}

/* ------------------------------------------------------------------------------------------
 * Jobs: control core -> core 0 -> all cores
 * ---------------------------------------------------------------------------------------- */

int cluster_run(void (*fn)(void *), void *arg)
{
    job = fn;
    job_argument = arg;
    REG(CLUSTER_SOFTWARE_EVENT(EVENT_JOB)) = 1u; /* for core 0 */
    while (!(REG(EVENT_BUFFER) & (1u << EVENT_JOB_DONE))) {
        (void)event_load(EVENT_WAIT);
    }
    REG(EVENT_BUFFER_CLEAR) = 1u << EVENT_JOB_DONE;
    return !job_failed;
}

void cluster_report_fault(void)
{
    job_failed = 1;
    REG(CONTROL_SOFTWARE_EVENT(EVENT_JOB_DONE)) = 1u;
}

/* Core 0. An event load ends at any unmasked event, so its mask always holds just what it waits
 * for: a job here, the end of a transfer in dma_wait(), a barrier otherwise. It never takes from
 * the dispatch queue, though it is a member of the team (as in the SDK): that event stays
 * masked. */
static void master_loop(void)
{
    for (;;) {
        REG(EVENT_MASK) = 1u << EVENT_JOB;
        while (!(REG(EVENT_BUFFER) & (1u << EVENT_JOB))) {
            (void)event_load(EVENT_WAIT);
        }
        REG(EVENT_BUFFER_CLEAR) = 1u << EVENT_JOB;
        REG(EVENT_MASK) = EVENT_BARRIER;
        job(job_argument);
        REG(CONTROL_SOFTWARE_EVENT(EVENT_JOB_DONE)) = 1u;
    }
}

static void worker_loop(void)
{
    REG(EVENT_MASK) = EVENT_DISPATCH | EVENT_BARRIER;
    for (;;) {
        job_t fn = (job_t)(uintptr_t)event_load(DISPATCH_FIFO);
        void *arg = (void *)(uintptr_t)event_load(DISPATCH_FIFO);
        fn(arg);
        cluster_barrier();
    }
}

/* From start.S, on every cluster core. */
void cluster_core(uint32_t core)
{
    REG(EVENT_BUFFER_CLEAR) = 0xFFFFFFFFu & ~(1u << EVENT_JOB) & ~EVENT_DISPATCH;
    if (core == 0) {
        REG(BARRIER_TRIGGER_MASK) = (1u << CLUSTER_CORES) - 1u;
        REG(BARRIER_TARGET_MASK) = (1u << CLUSTER_CORES) - 1u;
        REG(DISPATCH_TEAM) = (1u << CLUSTER_CORES) - 1u;
        master_loop();
    }
    worker_loop();
}

void cluster_fork(void (*fn)(void *), void *arg)
{
    REG(DISPATCH_FIFO) = (uint32_t)(uintptr_t)fn;
    REG(DISPATCH_FIFO) = (uint32_t)(uintptr_t)arg;
    fn(arg);
    cluster_barrier();
}
