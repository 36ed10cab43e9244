/* Firmware for the tests of exceptions on the virtual STM32F746. Every fault is told over the
 * console, then the program goes on behind the faulting instruction. At reset HSI runs: 1 Mbaud. */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_CR1 REG(0x40004800)
#define UART_BRR REG(0x4000480C)
#define UART_ISR REG(0x4000481C)
#define UART_ICR REG(0x40004820)
#define UART_RDR REG(0x40004824)
#define UART_TDR REG(0x40004828)
#define SYST_CSR REG(0xE000E010)
#define SYST_RVR REG(0xE000E014)
#define SYST_CVR REG(0xE000E018)
#define NVIC_ISER1 REG(0xE000E104)
#define NVIC_ICER1 REG(0xE000E184)
#define NVIC_IPR9 REG(0xE000E424)
#define ICSR REG(0xE000ED04)
#define VTOR REG(0xE000ED08)
#define SHPR3 REG(0xE000ED20)
#define SHCSR REG(0xE000ED24)
#define CFSR REG(0xE000ED28)
#define HFSR REG(0xE000ED2C)
#define BFAR REG(0xE000ED38)
#define CPACR REG(0xE000ED88)
#define ABFSR REG(0xE000EFA8)
#define PENDSVSET (1u << 28)

extern uint8_t stack_top[], data_image[], data_start[], data_end[];
void Reset_Handler(void);
void fault_entry(void);
void told(uint32_t *frame, uint32_t link);

static volatile uint32_t ticks, nested, again;
static volatile uint32_t trail; /* a digit for each step, in order */
static volatile uint8_t received[16];
static volatile uint32_t count, wanted;
static volatile uint32_t left, calls, done; /* by the transmit and idle interrupts */

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
        "tst lr, #4\n ite eq\n mrseq r0, msp\n mrsne r0, psp\n mov r1, lr\n"
        "push {r4, lr}\n bl told\n pop {r4, pc}\n");
}

void told(uint32_t *frame, uint32_t link)
{
    if (again) {
        (void)REG(0x20050000); /* a fault inside the fault's handler */
    }
    const uint32_t record[] = {ipsr(), CFSR,     HFSR,    BFAR, ABFSR, frame[6],
                               frame[7], link, (uint32_t)frame};
    for (int i = 0; i < 9; i++) {
        put_word(record[i]);
    }
    if (CFSR & 0x00020101) { /* INVSTATE, IBUSERR, IACCVIOL: the target is the fault, go home */
        frame[6] = frame[5] & ~1u;
        frame[7] |= 1u << 24;
    } else if (!(CFSR & 0x400)) {
        frame[6] += *(uint16_t *)frame[6] >> 11 >= 0x1D ? 4 : 2;
    }
    while (!(UART_ISR & 0x80)) { /* the program may have been between this look and its write */
    }
    CFSR = CFSR;
    HFSR = HFSR;
    ABFSR = 0;
}

static void step(uint32_t digit)
{
    trail = trail * 10 + digit;
}

static void sv_call(void)
{
    step(2);
    ICSR = PENDSVSET; /* the lowest priority: runs behind this handler */
    step(3);
}

static void pend_sv(void)
{
    step(4);
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
    if (UART_CR1 & UART_ISR & 0x10) {
        UART_ICR = 0x10;
        done = 1;
        return;
    }
    nested += ipsr() == 16 + 39 && !(ICSR & 1u << 11); /* RETTOBASE is clear inside SysTick */
    received[count++ & 15] = (uint8_t)UART_RDR;
}

__attribute__((section(".vectors"), used)) static void *const vectors[16 + 98] = {
    stack_top,
    (void *)Reset_Handler,
    [2 ... 15] = (void *)fault_entry,
    [11] = (void *)sv_call,
    [14] = (void *)pend_sv,
    [15] = (void *)sys_tick,
    [16 + 39] = (void *)usart3,
};

/* The registers an exception saves must come back, and the flags. */
static uint32_t kept_over_fault(uint32_t at)
{
    uint32_t sum;
    __asm__ volatile(
        "movs r0, #1\n movs r2, #2\n movs r3, #4\n mov r12, #8\n cmp r0, #1\n ldr r4, [%1]\n"
        "ite eq\n addeq r0, r0, r2\n movne r0, #99\n add r0, r0, r3\n add %0, r0, r12\n"
        : "=r"(sum) : "r"(at) : "r0", "r2", "r3", "r4", "r12", "cc");
    return sum;
}

static void on_process_stack(uint32_t misalign)
{
    static uint64_t stack[32];
    uint32_t top = (uint32_t)(stack + 32) - misalign;
    __asm__ volatile(
        "msr psp, %0\n movs r0, #2\n msr control, r0\n isb\n mov r4, sp\n udf #1\n"
        "mov r5, sp\n movs r0, #0\n msr control, r0\n isb\n subs r4, r4, r5\n"
        "it ne\n movne r6, #1\n it eq\n moveq r6, #0\n mov %0, r6\n"
        : "+r"(top) : : "r0", "r4", "r5", "r6", "cc", "memory");
    put_word(top);
}

static void float_over_fault(void)
{
    uint32_t bits;
    CPACR |= 0xFu << 20;
    __asm__ volatile(
        "dsb\n isb\n mov r0, #0x3F800000\n vmov s0, r0\n vmov s15, r0\n udf #2\n"
        "vadd.f32 s0, s0, s15\n vmov %0, s0\n" : "=r"(bits) : : "r0", "s0", "s15");
    put_word(bits);
}

static void call_and_pend(void)
{
    SHPR3 = 0xF0u << 16;
    trail = 1;
    __asm__ volatile("svc 7" : : : "memory");
    step(5);
    __asm__ volatile("cpsid i" : : : "memory");
    ICSR = PENDSVSET;
    step(6);
    __asm__ volatile("cpsie i" : : : "memory");
    step(7);
    put_word(trail);
}

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
        if (sleeps) {
            __asm__ volatile("wfi");
        }
    }
    NVIC_ICER1 = 1u << 7;
    put(calls);
}

static void receive_until_idle(void)
{
    done = count = 0;
    UART_ICR = 0x10;
    NVIC_ISER1 = 1u << 7;
    UART_CR1 |= 0x30;
    while (!done) {
        __asm__ volatile("wfi");
    }
    NVIC_ICER1 = 1u << 7;
    UART_CR1 &= ~0x30u;
    put(count);
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
        case 'b': ((void (*)(void))get_word())(); put('B'); break;
        case 'u': __asm__ volatile("udf #0"); put('U'); break;
        case 'k': __asm__ volatile("bkpt #1"); put('K'); break;
        case 'n': __asm__ volatile("nop\n nop\n vmov s0, r0"); put('N'); break;
        case 'a': again = 1; __asm__ volatile("udf #0"); break;
        case 'm': __asm__ volatile("cpsid f\n udf #0"); break;
        case 's': put_word(kept_over_fault(get_word())); break;
        case 'o': on_process_stack(get()); break;
        case 'f': float_over_fault(); break;
        case 'v': call_and_pend(); break;
        case 't': { uint32_t period = get_word(); tick(period, get()); break; }
        case 'i': receive(get()); break;
        case 'w': { uint32_t bytes = get(); transmit_by_interrupt(bytes, get()); break; }
        case 'j': receive_until_idle(); break;
        case 'x': __asm__ volatile("bx %0" : : "r"(0xFFFFFFF9u) : "memory"); break;
        case 'z': {
            uint32_t nowhere = 0x1FFFF000;
            __asm__ volatile("msr msp, %0\n udf #0" : : "r"(nowhere));
            break;
        }
        default: put('?');
        }
    }
}
