/* board.h on GAP8: the control core talks, cluster core 0 computes with its seven helpers. */
#include "board.h"

#include "cluster.h"
#include "console_link.h"
#include "gap8.h"
#include "string.h"

const char board_name[16] = "gap8";

/* Both loops: 32768 Hz * MULTIPLIER / 2^(DIVIDER - 1) = 149,995,520 Hz. */
#define FLL_MULTIPLIER 9155u
#define FLL_DIVIDER 2u
#define CLOCK_HZ (REFERENCE_CLOCK_HZ * FLL_MULTIPLIER >> (FLL_DIVIDER - 1u))

#define BITS_A_BYTE 10u /* start, 8 data, stop */
#define BYTE_CYCLES ((CLOCK_HZ + CONSOLE_BAUD - 1u) / CONSOLE_BAUD * BITS_A_BYTE)

#define MARKER_GPIO 17u
#define MARKER_PAD 31u /* GPIO17 = pad 31 (ball B11), alternate function 1 */

uint32_t board_compute_clock_hz(void)
{
    return CLOCK_HZ;
}

uint32_t board_control_clock_hz(void)
{
    return CLOCK_HZ;
}

/* ------------------------------------------------------------------------------------------
 * Start and identity
 * ---------------------------------------------------------------------------------------- */

uint32_t start_was_warm; /* written by start.S */

/* GAP8 documents no reset cause register: 0 is a start by the loader, 1 a restart by board_reset(),
 * 2 one after a fault. */
uint32_t board_reset_cause(void)
{
    if (!start_was_warm) {
        return 0;
    }
    return board_last_fault()->cause != 0 ? 2 : 1;
}

/* GAP8 documents no serial number: a board is told from its twin by its debug probe. */
void board_chip_id(uint8_t id[16])
{
    static const uint8_t chip[16] = "GAP8";
    memcpy(id, chip, sizeof chip);
}

static void init_marker(void)
{
    const uint32_t shift = 2u * (MARKER_PAD % 16u);
    REG(GPIO_OUT) &= ~(1u << MARKER_GPIO);
    REG(SOC_PAD_FUNCTION_1) = (REG(SOC_PAD_FUNCTION_1) & ~(3u << shift)) | (1u << shift);
    REG(GPIO_DIR) |= 1u << MARKER_GPIO;
}

static void init_console(void);
static void check_fault_record(void);

void board_init(void)
{
    REG(CONTROL_ICACHE_ENABLE) = 0xFFFFFFFFu;
    REG(CONTROL_ICACHE_FLUSH) = 0xFFFFFFFFu;
    check_fault_record();
    fll_retune(FLL_CONTROL, FLL_MULTIPLIER, FLL_DIVIDER); /* before the UART divides this clock */
    REG(TIMER_CONTROL + TIMER_CONFIG_LOW) = TIMER_ENABLE | TIMER_RESET;
    REG(TIMER_CONTROL + TIMER_CONFIG_HIGH) = TIMER_ENABLE | TIMER_RESET | TIMER_REFERENCE_CLOCK;
    init_marker();
    cluster_power_down(); /* still up after a warm restart */
    cluster_power_up(FLL_MULTIPLIER, FLL_DIVIDER);
    init_console();
}

/* ------------------------------------------------------------------------------------------
 * Console: micro-DMA UART. This UART has no "byte valid" flag and keeps no byte that finds no
 * transfer, so two one-byte transfers are always queued, each into a word of its own (the DMA
 * writes whole words); when the queue is no longer full the older one has its byte.
 * ---------------------------------------------------------------------------------------- */

static volatile uint32_t received[2] __attribute__((aligned(4)));
static uint32_t next_slot;
static uint32_t last_received_at; /* control-core cycles */
static uint8_t outgoing[1024] __attribute__((aligned(4))); /* the DMA drops address bits 1:0 */

static uint32_t control_cycles(void)
{
    return REG(TIMER_CONTROL + TIMER_COUNT_LOW);
}

static void queue_receive(uint32_t slot)
{
    REG(UART_RX_ADDRESS) = (uint32_t)(uintptr_t)&received[slot];
    REG(UART_RX_SIZE) = 1;
    REG(UART_RX_CONFIG) = UDMA_ENABLE;
}

static void init_console(void)
{
    REG(UDMA_CLOCK_GATES) |= UDMA_CLOCK_UART;
    REG(SOC_PAD_FUNCTION_2) &= ~(0xFu << 12); /* pads 38 and 39: function 0, UART */
    REG(UART_RX_CONFIG) = UDMA_CLEAR;
    REG(UART_TX_CONFIG) = UDMA_CLEAR;
    const uint32_t divider = (CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD - 1u;
    REG(UART_SETUP) = (divider << 16) | UART_SETUP_8N1_RX_TX;
    next_slot = 0;
    queue_receive(0);
    queue_receive(1);
}

uint8_t board_console_get(void)
{
    while (REG(UART_RX_CONFIG) & UDMA_CLEAR) { /* both transfers still wait */
    }
    uint8_t byte = (uint8_t)received[next_slot];
    queue_receive(next_slot);
    next_slot ^= 1u;
    last_received_at = control_cycles();
    return byte;
}

static void wait_since(uint32_t start, uint32_t cycles)
{
    while (control_cycles() - start < cycles) {
    }
}

/* The transfer counts as finished, and STATUS can read idle, before the stop bit of the last byte
 * has left: two byte times more are waited for. */
static void send(const uint8_t *data, size_t count)
{
    memcpy(outgoing, data, count);
    REG(UART_TX_ADDRESS) = (uint32_t)(uintptr_t)outgoing;
    REG(UART_TX_SIZE) = count;
    REG(UART_TX_CONFIG) = UDMA_ENABLE;
    while (REG(UART_TX_CONFIG) & UDMA_ENABLE) {
    }
    while (REG(UART_STATUS) & 1u) {
    }
    wait_since(control_cycles(), 2u * BYTE_CYCLES);
}

void board_console_put(const uint8_t *data, size_t count)
{
    wait_since(last_received_at, BYTE_CYCLES);
    while (count > 0) {
        size_t part = count < sizeof outgoing ? count : sizeof outgoing;
        send(data, part);
        data += part;
        count -= part;
    }
}

/* ------------------------------------------------------------------------------------------
 * Computing core
 * ---------------------------------------------------------------------------------------- */

void board_offload(void (*fn)(void *), void *arg)
{
    if (!cluster_run(fn, arg)) {
        board_reset();
    }
}

uint32_t board_cycles(void)
{
    return cluster_cycles();
}

void board_marker(int level)
{
    uint32_t others = REG(GPIO_OUT) & ~(1u << MARKER_GPIO);
    REG(GPIO_OUT) = others | ((uint32_t)(level != 0) << MARKER_GPIO);
    (void)REG(GPIO_OUT); /* the answer comes after the write has reached the pin */
}

void board_delay_us(uint32_t delay_us)
{
    while (delay_us > 0) {
        uint32_t part_us = delay_us < 1000u ? delay_us : 1000u;
        uint32_t start = cluster_cycles();
        while (cluster_cycles() - start < part_us * (CLOCK_HZ / 1000u) / 1000u) {
        }
        delay_us -= part_us;
    }
}

/* The reference is the 32768 Hz crystal, counted by the control core's timer: neither loop can
 * falsify it. */
void board_self_test(self_test_t *result)
{
    const uint32_t ticks = 64; /* 2 ms; the edge is seen within some 20 cycles of 300,000 */
    uint32_t iterations = 0;
    uint32_t before = REG(TIMER_CONTROL + TIMER_COUNT_HIGH);
    uint32_t first;
    do {
        first = REG(TIMER_CONTROL + TIMER_COUNT_HIGH);
    } while (first == before);
    uint32_t start = cluster_cycles();
    while (REG(TIMER_CONTROL + TIMER_COUNT_HIGH) - first < ticks) {
        iterations++;
    }
    result->counter_cycles = cluster_cycles() - start;
    result->reference_cycles = (uint32_t)((uint64_t)ticks * CLOCK_HZ / REFERENCE_CLOCK_HZ);
    result->iterations = iterations;
}

/* ------------------------------------------------------------------------------------------
 * Faults and reset
 * ---------------------------------------------------------------------------------------- */

#define RECORD_IS_VALID 0x46414C54u /* "FALT"; memory holds anything after power-on */

static struct {
    uint32_t valid;
    fault_record_t fault;
} record __attribute__((section(".keep")));

void warm_start(void) __attribute__((noreturn));
void cluster_report_fault(void);

static void check_fault_record(void)
{
    if (!start_was_warm || record.valid != RECORD_IS_VALID) {
        memset(&record.fault, 0, sizeof record.fault);
    }
    record.valid = 0;
}

const fault_record_t *board_last_fault(void)
{
    return &record.fault;
}

/* From start.S, on the core that met the fault. The cores report no bad address, and interrupts,
 * whose cause would start at 0, are never on: cause + 1 keeps 0 free for "none".
 * words: mhartid, ra, sp, 0. */
void fault_capture(uint32_t cause, uint32_t pc, uint32_t ra, uint32_t sp)
{
    uint32_t hart;
    __asm__("csrr %0, 0xF14" : "=r"(hart));
    record.fault = (fault_record_t){cause + 1u, pc, 0, {hart, ra, sp, 0}};
    record.valid = RECORD_IS_VALID;
    if (hart >> 5 == 0) { /* a cluster core: the control core restarts the board */
        cluster_report_fault();
        for (;;) {
            REG(EVENT_MASK) = 0;
            (void)event_load(EVENT_WAIT);
        }
    }
    warm_start();
}

/* GAP8 documents no software reset: the image starts again and powers the cluster off and on. */
void board_reset(void)
{
    warm_start();
}
