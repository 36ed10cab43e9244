/* NUCLEO-F746ZG and NUCLEO-F767ZI: identity, marker pin, and the one core that is control and computing core. */
#include "board.h"

#include "chip.h"
#include "registers.h"
#include "string.h"
#include "variant.h"

/* D8 of the Arduino connector, on no LED (a lit LED would be in the power trace). */
#define MARKER_PIN 12
#define OUTPUT 1u
#define MEDIUM_SPEED 1u /* faster edges ring into the meter's shunt */

#define RESET_CAUSE_HSI BIT(0) /* in RCC_CSR this bit is LSION, which stays 0 here */

const char board_name[16] = BOARD_NAME;

static uint32_t reset_cause;

static void marker_init(void)
{
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOF;
    (void)RCC_AHB1ENR;
    GPIO_BSRR(PORT_F) = BIT(MARKER_PIN + 16); /* low before it becomes an output */
    GPIO_OSPEEDR(PORT_F) |= MEDIUM_SPEED << (2 * MARKER_PIN);
    GPIO_MODER(PORT_F) =
        (GPIO_MODER(PORT_F) & ~(3u << (2 * MARKER_PIN))) | (OUTPUT << (2 * MARKER_PIN));
}

void board_init(void)
{
    reset_cause = RCC_CSR;
    RCC_CSR |= RCC_CSR_RMVF;
    if (!clock_init()) {
        reset_cause |= RESET_CAUSE_HSI;
    }
    counters_init();
    marker_init();
    console_uart_init();
    fault_init();
}

uint32_t board_compute_clock_hz(void)
{
    return SYSCLK_HZ;
}

uint32_t board_control_clock_hz(void)
{
    return SYSCLK_HZ;
}

uint32_t board_reset_cause(void)
{
    return reset_cause;
}

/* 96 bits of unique id, lowest word first, then device and revision id. */
void board_chip_id(uint8_t id[16])
{
    uint32_t words[4] = {UNIQUE_ID(0), UNIQUE_ID(1), UNIQUE_ID(2), DBGMCU_IDCODE};
    memcpy(id, words, sizeof words);
}

void board_offload(void (*fn)(void *), void *arg)
{
    fn(arg);
}

void board_marker(int level)
{
    GPIO_BSRR(PORT_F) = level ? BIT(MARKER_PIN) : BIT(MARKER_PIN + 16);
    dsb(); /* the store has left the core before a timed span begins */
}
