/* SYSCLK = 216 MHz, PCLK1 = 54 MHz, PCLK2 = 108 MHz. */
#include "chip.h"
#include "registers.h"

/* The Nucleo feeds the 8 MHz of its ST-LINK into OSC_IN (UM1974 6.8.1), which is off while the
 * ST-LINK is: the wait for it is bounded. */
#define HSE_POLLS 100000u

/* VCO in 2 MHz, VCO out 432 MHz, P = 2, Q = 9 (48 MHz); bit 29 is set at reset (RM 5.3.2). */
#define PLL_FROM_HSE_8MHZ 0x29403604u  /* M = 4, N = 216, source HSE */
#define PLL_FROM_HSI_16MHZ 0x29003608u /* M = 8, N = 216, source HSI */

/* AHB / 1, APB1 / 4, APB2 / 2 */
#define BUS_DIVIDERS 0x9400u

static void start_from_hsi(void)
{
    RCC_CR |= RCC_CR_HSION;
    while (!(RCC_CR & RCC_CR_HSIRDY)) {
    }
    RCC_CFGR &= ~RCC_CFGR_SW_MASK;
    while (RCC_CFGR & RCC_CFGR_SWS_MASK) {
    }
    RCC_CR &= ~RCC_CR_PLLON;
    while (RCC_CR & RCC_CR_PLLRDY) {
    }
}

static int start_hse(void)
{
    RCC_CR |= RCC_CR_HSEBYP;
    RCC_CR |= RCC_CR_HSEON;
    for (uint32_t poll = 0; poll < HSE_POLLS; poll++) {
        if (RCC_CR & RCC_CR_HSERDY) {
            return 1;
        }
    }
    RCC_CR &= ~(RCC_CR_HSEON | RCC_CR_HSEBYP);
    return 0;
}

/* Above 180 MHz the core needs over-drive (RM 4.1.4), entered while SYSCLK still is HSI. */
static void enter_over_drive(void)
{
    PWR_CR1 |= PWR_CR1_ODEN;
    while (!(PWR_CSR1 & PWR_CSR1_ODRDY)) {
    }
    PWR_CR1 |= PWR_CR1_ODSWEN;
    while (!(PWR_CSR1 & PWR_CSR1_ODSWRDY)) {
    }
}

int clock_init(void)
{
    start_from_hsi();
    RCC_APB1ENR |= RCC_APB1ENR_PWR;
    (void)RCC_APB1ENR; /* a read back waits for the enable to reach the bus (RM 5.2.12) */
    PWR_CR1 |= PWR_CR1_VOS_SCALE1;

    int hse = start_hse();
    RCC_PLLCFGR = hse ? PLL_FROM_HSE_8MHZ : PLL_FROM_HSI_16MHZ;
    RCC_CR |= RCC_CR_PLLON;
    enter_over_drive();

    /* Wait states before speed: 7 at 216 MHz and 2.7 V or more (RM 3.3.2). */
    FLASH_ACR = FLASH_ACR_LATENCY_7 | FLASH_ACR_PRFTEN | FLASH_ACR_ARTEN;
    while ((FLASH_ACR & FLASH_ACR_LATENCY_MASK) != FLASH_ACR_LATENCY_7) {
    }
    RCC_CFGR = (RCC_CFGR & RCC_CFGR_SW_MASK) | BUS_DIVIDERS;
    while (!(RCC_CR & RCC_CR_PLLRDY)) {
    }
    RCC_CFGR |= RCC_CFGR_SW_PLL;
    while ((RCC_CFGR & RCC_CFGR_SWS_MASK) != RCC_CFGR_SWS_PLL) {
    }
    return hse;
}
