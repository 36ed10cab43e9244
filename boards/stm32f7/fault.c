/* A fault is written where a reset does not clear it, then the chip resets and reports it. */
#include "board.h"
#include "chip.h"
#include "crc32.h"
#include "registers.h"
#include "variant.h"

#define MAGIC 0x46415543u
#define LOWEST_RAM 0x20000000u
#define FRAME_BYTES 32u /* r0-r3, r12, lr, pc, xpsr: PM 2.3.7 */

typedef struct {
    uint32_t magic;
    fault_record_t record;
    uint32_t crc;
} kept_fault_t;

__attribute__((section(".noinit"))) static kept_fault_t kept;

static fault_record_t last_fault;

void fault_handler(void);
void fault_record_and_reset(const uint32_t *stacked);

static uint32_t record_crc(void)
{
    return crc32(0, (const uint8_t *)&kept.record, sizeof kept.record);
}

void fault_init(void)
{
    if (kept.magic == MAGIC && kept.crc == record_crc()) {
        last_fault = kept.record;
    }
    kept.magic = 0;
}

const fault_record_t *board_last_fault(void)
{
    return &last_fault;
}

void board_reset(void)
{
    dsb();
    SCB_AIRCR = SCB_AIRCR_RESET;
    dsb();
    for (;;) {
    }
}

static uint32_t fault_address(uint32_t status)
{
    if (status & SCB_CFSR_BFARVALID) {
        return SCB_BFAR;
    }
    return (status & SCB_CFSR_MMARVALID) ? SCB_MMFAR : 0;
}

/* words: HFSR, link register, xPSR, ABFSR (which bus interface failed; Cortex-M7 TRM 3.3.13). */
void fault_record_and_reset(const uint32_t *stacked)
{
    uint32_t status = SCB_CFSR;
    uint32_t hard = SCB_HFSR;
    uint32_t at = (uint32_t)(uintptr_t)stacked;
    int readable = at >= LOWEST_RAM && at <= HIGHEST_RAM - FRAME_BYTES; /* a stack overflow is not */
    kept.record.cause = status ? status : hard;
    kept.record.pc = readable ? stacked[6] : 0;
    kept.record.address = fault_address(status);
    kept.record.words[0] = hard;
    kept.record.words[1] = readable ? stacked[5] : 0;
    kept.record.words[2] = readable ? stacked[7] : 0;
    kept.record.words[3] = SCB_ABFSR;
    kept.crc = record_crc();
    kept.magic = MAGIC;
    board_reset();
}

/* EXC_RETURN bit 2 tells which stack holds the frame. The handler runs on a fresh stack: the old
 * one may be the reason of the fault. */
__attribute__((naked)) void fault_handler(void)
{
    __asm__ volatile(
        "tst   lr, #4             \n"
        "ite   eq                 \n"
        "mrseq r0, msp            \n"
        "mrsne r0, psp            \n"
        "movw  r1, #:lower16:stack_top \n"
        "movt  r1, #:upper16:stack_top \n"
        "msr   msp, r1            \n"
        "b     fault_record_and_reset \n");
}
