/* What each board gives to the portable firmware (console.c, runner.c). */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Independent check of the cycle counter: both spans in compute-clock cycles. */
typedef struct {
    uint32_t counter_cycles;
    uint32_t reference_cycles;
    uint32_t iterations;
} self_test_t;

/* A fault kept over the reset it causes (cause == 0: none). */
typedef struct {
    uint32_t cause;
    uint32_t pc;
    uint32_t address;
    uint32_t words[4];
} fault_record_t;

extern const char board_name[16];

/* Clocks, caches, counters, console receiver, marker pin (low). */
void board_init(void);

uint32_t board_compute_clock_hz(void);
uint32_t board_control_clock_hz(void);
uint32_t board_reset_cause(void);
void board_chip_id(uint8_t id[16]);

/* Console bytes; get blocks until one has come. put first lets at least one byte time pass since
 * the last byte received (half-duplex and simulated UARTs need it) and returns when all have left
 * the pin. */
uint8_t board_console_get(void);
void board_console_put(const uint8_t *data, size_t count);

/* Runs fn(arg) on the core that computes and returns when it has finished. */
void board_offload(void (*fn)(void *), void *arg);

/* The rest is called on the computing core. */
uint32_t board_cycles(void);          /* free-running, compute clock */
void board_marker(int level);         /* returns after the pin has changed */
void board_delay_us(uint32_t delay_us);
void board_self_test(self_test_t *result);

/* The last fault, and a reset that does not return. */
const fault_record_t *board_last_fault(void);
void board_reset(void);

#endif
