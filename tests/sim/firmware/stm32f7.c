/* Firmware for the tests of the virtual STM32F746: a command byte picks what to do.
 * Register addresses are written out (RM0385) so that nothing is shared with the boards' code. */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define RCC_CR REG(0x40023800)
#define RCC_PLLCFGR REG(0x40023804)
#define RCC_CFGR REG(0x40023808)
#define RCC_AHB1ENR REG(0x40023830)
#define RCC_APB1ENR REG(0x40023840)
#define FLASH_ACR REG(0x40023C00)
#define PWR_CR1 REG(0x40007000)
#define PWR_CSR1 REG(0x40007004)
#define GPIOD_MODER REG(0x40020C00)
#define GPIOD_AFRH REG(0x40020C24)
#define GPIOF_MODER REG(0x40021400)
#define GPIOF_BSRR REG(0x40021418)
#define UART_CR1 REG(0x40004800)
#define UART_BRR REG(0x4000480C)
#define UART_ISR REG(0x4000481C)
#define UART_ICR REG(0x40004820)
#define UART_RDR REG(0x40004824)
#define UART_TDR REG(0x40004828)
#define DWT_CTRL REG(0xE0001000)
#define DWT_CYCCNT REG(0xE0001004)
#define DWT_LAR REG(0xE0001FB0)
#define DEMCR REG(0xE000EDFC)
#define CPACR REG(0xE000ED88)
#define CCR REG(0xE000ED14)

extern uint8_t stack_top[], data_image[], data_start[], data_end[];
void Reset_Handler(void);

__attribute__((section(".vectors"), used)) static void *const vectors[2] = {
    stack_top, (void *)Reset_Handler};

static volatile uint32_t initialised = 0x12345678;
__attribute__((section(".noinit"))) static volatile uint32_t untouched;
static volatile float gain = 1.5f;

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

static void fast(uint32_t latency, int over_drive)
{
    RCC_APB1ENR |= 1u << 28;
    RCC_CR |= 1u << 18;
    RCC_CR |= 1u << 16;
    while (!(RCC_CR & 1u << 17)) {
    }
    RCC_PLLCFGR = 0x29403604;
    RCC_CR |= 1u << 24;
    if (over_drive) {
        PWR_CR1 |= 1u << 16;
        while (!(PWR_CSR1 & 1u << 16)) {
        }
        PWR_CR1 |= 1u << 17;
        while (!(PWR_CSR1 & 1u << 17)) {
        }
    }
    FLASH_ACR = latency;
    RCC_CFGR = 0x9400;
    while (!(RCC_CR & 1u << 25)) {
    }
    RCC_CFGR = 0x9402;
    while ((RCC_CFGR & 0xC) != 0x8) {
    }
    UART_CR1 = 0;
    UART_BRR = 54;
    UART_CR1 = 0xD;
}

static void clocks_at_reset(void)
{
    RCC_AHB1ENR |= 1u << 3 | 1u << 5;
    RCC_APB1ENR |= 1u << 18;
    GPIOD_MODER |= 2u << 16 | 2u << 18;
    GPIOD_AFRH |= 0x77;
    UART_BRR = 16; /* 1 Mbaud from HSI's 16 MHz */
    UART_CR1 = 0xD;
}

static void markers(void)
{
    GPIOF_BSRR = 1u << 12; /* still an input: no edge */
    GPIOF_BSRR = 1u << 28;
    GPIOF_MODER |= 1u << 24;
    DEMCR |= 1u << 24;
    DWT_LAR = 0xC5ACCE55;
    DWT_CTRL |= 1;
    uint32_t start = DWT_CYCCNT;
    GPIOF_BSRR = 1u << 12;
    while (DWT_CYCCNT - start < 10000) {
    }
    GPIOF_BSRR = 1u << 28;
    put_word(DWT_CYCCNT - start);
}

static void cycle_counter(void)
{
    DWT_CTRL = 1;
    put_word(DWT_CYCCNT);
    DEMCR = 1u << 24;
    DWT_CTRL = 1;
    put_word(DWT_CYCCNT); /* still locked */
    DWT_LAR = 0xC5ACCE55;
    DWT_CTRL = 1;
    uint32_t first = DWT_CYCCNT;
    put_word(DWT_CYCCNT - first);
    DWT_CYCCNT = 0;
    put_word(DWT_CYCCNT);
}

__attribute__((noinline)) static void float_sum(void)
{
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    float sum = 0;
    for (int i = 1; i <= 10; i++) {
        sum += gain * (float)i;
    }
    put_word((uint32_t)sum);
}

__attribute__((noinline)) static void spin(uint32_t count)
{
    uint32_t a = 1, b = 2, c = 3;
    CCR |= 1u << 17 | 1u << 16;
    for (uint32_t i = 0; i < count; i++) {
        __asm__ volatile(
            "add %0, %0, %1\n eor %1, %1, %2\n add %2, %2, #1\n mla %0, %1, %2, %0\n"
            "add %0, %0, %1\n eor %1, %1, %2\n add %2, %2, #1\n mla %0, %1, %2, %0\n"
            : "+r"(a), "+r"(b), "+r"(c));
    }
    put_word(a);
}

static void semihosting_exit(uint32_t code)
{
    uint32_t block[2] = {0x20026, code};
    register uint32_t r0 __asm__("r0") = 0x20;
    register uint32_t r1 __asm__("r1") = (uint32_t)block;
    __asm__ volatile("bkpt 0xAB" : : "r"(r0), "r"(r1) : "memory");
}

static void sleep_for_byte(void)
{
    __asm__ volatile("cpsid i");
    UART_CR1 = 0x2D;
    REG(0xE000E104) = 1u << 7; /* IRQ 39 */
    while (!(UART_ISR & 0x20)) {
        __asm__ volatile("wfi");
    }
    put(UART_RDR + 1);
}

__attribute__((noreturn)) void Reset_Handler(void)
{
    for (uint8_t *from = data_image, *to = data_start; to < data_end;) {
        *to++ = *from++;
    }
    clocks_at_reset();
    put_word(initialised);
    for (;;) {
        switch (get()) {
        case 'e': put(get()); break;
        case 'f': fast(7, 1); put('F'); break;
        case 'w': fast(5, 1); put('!'); break;
        case 'o': fast(7, 0); put('!'); break;
        case 'm': markers(); break;
        case 'c': cycle_counter(); break;
        case 'v': float_sum(); break;
        case 'k': __asm__ volatile("vmov s0, r0"); break;
        case 'p': put_word(REG(get_word())); break;
        case 'q': { uint32_t at = get_word(); REG(at) = get_word(); put('Q'); break; }
        case 's': spin(get_word()); break;
        case 'x': semihosting_exit(get()); break;
        case 'z': sleep_for_byte(); break;
        case 'n': put_word(untouched); untouched = 0xCAFE; break;
        case 'r': REG(0xE000ED0C) = 0x05FA0004; for (;;) { }
        case 'u': __asm__ volatile("udf #0"); break;
        default: put('?');
        }
    }
}
