/* Firmware for the tests of exceptions on the virtual STM32F746. Every fault is told over the
 * console, then the program goes on behind the faulting instruction. At reset HSI runs: 1 Mbaud. */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_CR1 REG(0x40004800)
#define UART_BRR REG(0x4000480C)
#define UART_ISR REG(0x4000481C)
#define UART_RDR REG(0x40004824)
#define UART_TDR REG(0x40004828)
#define SYST_CSR REG(0xE000E010)
#define SYST_RVR REG(0xE000E014)
#define SYST_CVR REG(0xE000E018)
#define NVIC_ISER1 REG(0xE000E104)
#define NVIC_ICER1 REG(0xE000E184)
#define NVIC_IPR9 REG(0xE000E424)
#define ICSR REG(0xE000ED04)
#define SHPR3 REG(0xE000ED20)
#define CFSR REG(0xE000ED28)
#define HFSR REG(0xE000ED2C)
#define BFAR REG(0xE000ED38)
#define ABFSR REG(0xE000EFA8)

extern uint8_t stack_top[], data_image[], data_start[], data_end[];
void Reset_Handler(void);
void fault_entry(void);
void told(uint32_t *frame);

static volatile uint32_t ticks, nested, again;
static volatile uint8_t received[16];
static volatile uint32_t count, wanted;
static volatile uint32_t left, calls, done; /* by the transmit interrupt */

static void put(uint32_t byte)
{
    while (!(UART_ISR & 0x80)) {
    }
    UART_TDR = byte;
}

static uint32_t get(void)
{
    while (!(UART_ISR & 0x20)) {
    }
    return UART_RDR;
}

static void put_word(uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        put(word >> (8 * i) & 0xFF);
    }
}

static uint32_t get_word(void)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        word |= get() << (8 * i);
    }
    return word;
}

static uint32_t ipsr(void)
{
    uint32_t value;
    __asm__ volatile("mrs %0, ipsr" : "=r"(value));
    return value;
}

__attribute__((naked)) void fault_entry(void)
{
    __asm__ volatile(
        "mrs r0, msp\n"
        "push {r4, lr}\n bl told\n pop {r4, pc}\n");
}

void told(uint32_t *frame)
{
    if (again) {
        (void)REG(0x20050000); /* a fault inside the fault's handler */
    }
    const uint32_t record[] = {ipsr(), CFSR, HFSR, BFAR, ABFSR};
    for (int i = 0; i < 5; i++) {
        put_word(record[i]);
    }
    if (!(CFSR & 0x400)) { /* not behind a store */
        frame[6] += *(uint16_t *)frame[6] >> 11 >= 0x1D ? 4 : 2;
    }
    while (!(UART_ISR & 0x80)) { /* the program may have been between this look and its write */
    }
    CFSR = CFSR;
    HFSR = HFSR;
    ABFSR = 0;
}

static void sys_tick(void)
{
    uint32_t seen = count;
    ticks++;
    while (count == seen && count < wanted) { /* until a more urgent interrupt has come between */
    }
}

/* TXE until all is handed over, then TC. */
static void transmit(void)
{
    calls++;
    if (UART_CR1 & UART_ISR & 0x40) {
        UART_CR1 &= ~0x40u;
        done = 1;
    } else if (left) {
        UART_TDR = 'a' + --left;
    } else {
        UART_CR1 = (UART_CR1 & ~0x80u) | 0x40;
    }
}

static void usart3(void)
{
    if (UART_CR1 & 0xC0) {
        transmit();
        return;
    }
    nested += ipsr() == 16 + 39 && !(ICSR & 1u << 11); /* RETTOBASE is clear inside SysTick */
    received[count++ & 15] = (uint8_t)UART_RDR;
}

__attribute__((section(".vectors"), used)) static void *const vectors[16 + 98] = {
    stack_top,
    (void *)Reset_Handler,
    [2 ... 15] = (void *)fault_entry,
    [15] = (void *)sys_tick,
    [16 + 39] = (void *)usart3,
};

static void tick(uint32_t period, uint32_t sleeps)
{
    ticks = 0;
    SYST_RVR = period - 1;
    SYST_CVR = 0;
    SYST_CSR = 7;
    while (ticks < 10) {
        if (sleeps) {
            __asm__ volatile("wfi");
        }
    }
    SYST_CSR = 0;
    put_word(ticks);
}

static void receive(uint32_t bytes)
{
    count = 0;
    nested = 0;
    wanted = bytes;
    NVIC_IPR9 = 0x10u << 24; /* interrupt 39; SysTick at 0x80 below it */
    SHPR3 = 0x80u << 24;
    UART_CR1 |= 1u << 5;
    NVIC_ISER1 = 1u << 7;
    SYST_RVR = 399; /* 25 us */
    SYST_CVR = 0;
    SYST_CSR = 7;
    put('!');
    while (count < bytes) {
        __asm__ volatile("wfi");
    }
    SYST_CSR = 0;
    NVIC_ICER1 = 1u << 7;
    UART_CR1 &= ~(1u << 5);
    wanted = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        put(received[i]);
    }
    put(nested);
}

static void transmit_by_interrupt(uint32_t bytes, uint32_t sleeps)
{
    done = calls = 0;
    left = bytes;
    NVIC_ISER1 = 1u << 7;
    UART_CR1 |= 0x80;
    while (!done) {
        if (sleeps) { /* PRIMASK: no interrupt between the look and the sleep */
            __asm__ volatile("cpsid i");
            if (!done) {
                __asm__ volatile("wfi");
            }
            __asm__ volatile("cpsie i");
        }
    }
    NVIC_ICER1 = 1u << 7;
    put(calls);
}

__attribute__((noreturn)) void Reset_Handler(void)
{
    REG(0x40023830) |= 1u << 3;
    REG(0x40023840) |= 1u << 18;
    REG(0x40020C00) |= 2u << 16 | 2u << 18;
    REG(0x40020C24) |= 0x77;
    UART_BRR = 16;
    UART_CR1 = 0xD;
    again = count = wanted = 0; /* RAM starts as rubbish */
    put('R');
    for (;;) {
        uint32_t command = get();
        switch (command) {
        case 'p': put_word(REG(get_word())); break;
        case 'q': { uint32_t at = get_word(); REG(at) = get_word(); put('Q'); break; }
        case 'u': __asm__ volatile("udf #0"); put('U'); break;
        case 'k': __asm__ volatile("bkpt #1"); put('K'); break;
        case 'a': again = 1; __asm__ volatile("udf #0"); break;
        case 'm': __asm__ volatile("cpsid f\n udf #0"); break;
        case 't': { uint32_t period = get_word(); tick(period, get()); break; }
        case 'i': receive(get()); break;
        case 'w': { uint32_t bytes = get(); transmit_by_interrupt(bytes, get()); break; }
        case 'z': {
            uint32_t nowhere = 0x1FFFF000;
            __asm__ volatile("msr msp, %0\n udf #0" : : "r"(nowhere));
            break;
        }
        default: put('?');
        }
    }
}
