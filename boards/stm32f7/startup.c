/* Vector table, and the way from reset to main(). */
#include "registers.h"
#include "string.h"
#include "variant.h"

extern uint8_t stack_top[];
extern uint8_t data_image[];
extern uint8_t data_start[];
extern uint8_t data_end[];
extern uint8_t bss_start[];
extern uint8_t bss_end[];

int main(void);
void Reset_Handler(void);
void fault_handler(void);

/* 16 system vectors and the interrupts. No interrupt is ever enabled, so that
 * nothing disturbs a timed span; every vector that could be taken is a fault. */
#define VECTORS (16 + INTERRUPTS)

typedef void (*vector_t)(void);

__attribute__((section(".vectors"), used)) static const vector_t vectors[VECTORS] = {
    (vector_t)(uintptr_t)stack_top,
    Reset_Handler,
    [2 ... VECTORS - 1] = fault_handler,
};

static void enable_fpu(void)
{
    SCB_CPACR |= SCB_CPACR_FPU;
    dsb();
    isb();
}

static void enable_instruction_cache(void)
{
    dsb();
    isb();
    SCB_ICIALLU = 0;
    dsb();
    isb();
    SCB_CCR |= SCB_CCR_IC;
    dsb();
    isb();
}

/* The data cache holds rubbish after power-on: every set of every way is invalidated first. */
static void enable_data_cache(void)
{
    SCB_CSSELR = 0; /* level 1, data */
    dsb();
    uint32_t size = SCB_CCSIDR;
    uint32_t last_set = (size >> 13) & 0x7FFFu;
    uint32_t last_way = (size >> 3) & 0x3FFu;
    for (uint32_t set = 0; set <= last_set; set++) {
        for (uint32_t way = 0; way <= last_way; way++) {
            SCB_DCISW = (way << 30) | (set << 5);
        }
    }
    dsb();
    SCB_CCR |= SCB_CCR_DC;
    dsb();
    isb();
}

void Reset_Handler(void)
{
    SCB_VTOR = (uint32_t)(uintptr_t)vectors; /* the boot option may have left another address */
    enable_fpu(); /* before the compiler may use its registers */
    memcpy(data_start, data_image, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    enable_instruction_cache();
    enable_data_cache();
    main();
    for (;;) {
    }
}
