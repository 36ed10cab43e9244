/* What the files of this folder give each other. */
#ifndef CHIP_H
#define CHIP_H

#include <stdint.h>

#define SYSCLK_HZ 216000000u
#define PCLK1_HZ 54000000u      /* SYSCLK / 4: 54 MHz is the limit of APB1 */
#define TIM2_CLOCK_DIVIDER 2u   /* timers of a divided APB run at twice its clock, RM 5.2 */

/* SYSCLK from the PLL at 216 MHz. Returns 0 when HSE was missing and the PLL runs from HSI. */
int clock_init(void);

void console_uart_init(void);
void counters_init(void);

/* Takes over a fault record that a reset has left behind; needs crc32_init(). */
void fault_init(void);

#endif
