/* Console bytes: USART3 on PD8 (TX) and PD9 (RX), the ST-LINK's virtual COM port (UM1974 6.9). */
#include "board.h"
#include "chip.h"
#include "console_link.h"
#include "registers.h"

#define ALTERNATE_FUNCTION 2u
#define AF7_USART3 7u

/* RXNE comes in the middle of the stop bit: two byte times of ten bits leave a whole one. */
#define TURNAROUND_CYCLES (2u * 10u * (SYSCLK_HZ / CONSOLE_BAUD))

static uint32_t last_received; /* cycle counter when the last byte was taken */

void console_uart_init(void)
{
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOD;
    RCC_APB1ENR |= RCC_APB1ENR_USART3;
    (void)RCC_APB1ENR;
    GPIO_AFRH(PORT_D) = (GPIO_AFRH(PORT_D) & ~0xFFu) | AF7_USART3 | (AF7_USART3 << 4);
    GPIO_MODER(PORT_D) = (GPIO_MODER(PORT_D) & ~(0xFu << 16)) | (ALTERNATE_FUNCTION << 16) |
                         (ALTERNATE_FUNCTION << 18);
    USART3_CR1 = 0;
    USART3_BRR = (PCLK1_HZ + CONSOLE_BAUD / 2) / CONSOLE_BAUD;
    /* A byte that comes while a job runs overwrites the one before: the frame's CRC tells. */
    USART3_CR3 = USART_CR3_OVRDIS;
    USART3_CR1 = USART_CR1_UE | USART_CR1_RE | USART_CR1_TE;
}

uint8_t board_console_get(void)
{
    while (!(USART3_ISR & USART_ISR_RXNE)) {
    }
    uint8_t byte = (uint8_t)USART3_RDR;
    last_received = board_cycles();
    return byte;
}

void board_console_put(const uint8_t *data, size_t count)
{
    while (board_cycles() - last_received < TURNAROUND_CYCLES) {
    }
    for (size_t i = 0; i < count; i++) {
        while (!(USART3_ISR & USART_ISR_TXE)) {
        }
        USART3_TDR = data[i];
    }
    while (!(USART3_ISR & USART_ISR_TC)) {
    }
}
