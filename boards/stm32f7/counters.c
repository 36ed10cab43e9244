/* Cycles by the DWT counter, and TIM2 as its independent witness. */
#include "board.h"
#include "chip.h"
#include "registers.h"

#define SELF_TEST_ITERATIONS 20000u
#define CYCLES_PER_US (SYSCLK_HZ / 1000000u)
#define LONGEST_SPAN_US 1000000u /* 2^32 cycles are 19.9 s */

/* The lock register is the trap of the Cortex-M7: without its key writes to CTRL are ignored
 * unless a debugger has opened it before. */
void counters_init(void)
{
    DEMCR |= DEMCR_TRCENA;
    DWT_LAR = DWT_LAR_KEY;
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;

    RCC_APB1ENR |= RCC_APB1ENR_TIM2;
    (void)RCC_APB1ENR;
    TIM2_PSC = 0;
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_EGR = TIM_EGR_UG; /* loads prescaler and period */
    TIM2_CR1 = TIM_CR1_CEN;
}

uint32_t board_cycles(void)
{
    return DWT_CYCCNT;
}

void board_delay_us(uint32_t delay_us)
{
    while (delay_us > 0) {
        uint32_t span_us = delay_us < LONGEST_SPAN_US ? delay_us : LONGEST_SPAN_US;
        uint32_t start = board_cycles();
        while (board_cycles() - start < span_us * CYCLES_PER_US) {
        }
        delay_us -= span_us;
    }
}

void board_self_test(self_test_t *result)
{
    uint32_t timer = TIM2_CNT;
    uint32_t start = board_cycles();
    for (uint32_t i = 0; i < SELF_TEST_ITERATIONS; i++) {
        __asm__ volatile("" ::: "memory"); /* keeps the empty loop */
    }
    result->counter_cycles = board_cycles() - start;
    result->reference_cycles = (TIM2_CNT - timer) * TIM2_CLOCK_DIVIDER;
    result->iterations = SELF_TEST_ITERATIONS;
}
