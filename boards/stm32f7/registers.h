/* Registers used here. RM = RM0385 (STM32F75x/74x reference manual), PM = PM0253 (Cortex-M7). */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define BIT(n) (1u << (n))

/* Reset and clock control, RM 5.3 */
#define RCC_CR REGISTER(0x40023800)
#define RCC_CR_HSION BIT(0)
#define RCC_CR_HSIRDY BIT(1)
#define RCC_CR_HSEON BIT(16)
#define RCC_CR_HSERDY BIT(17)
#define RCC_CR_HSEBYP BIT(18)
#define RCC_CR_PLLON BIT(24)
#define RCC_CR_PLLRDY BIT(25)
#define RCC_PLLCFGR REGISTER(0x40023804)
#define RCC_CFGR REGISTER(0x40023808)
#define RCC_CFGR_SW_MASK 0x3u
#define RCC_CFGR_SW_PLL 0x2u
#define RCC_CFGR_SWS_MASK 0xCu
#define RCC_CFGR_SWS_PLL 0x8u
#define RCC_AHB1ENR REGISTER(0x40023830)
#define RCC_AHB1ENR_GPIOD BIT(3)
#define RCC_AHB1ENR_GPIOF BIT(5)
#define RCC_APB1ENR REGISTER(0x40023840)
#define RCC_APB1ENR_TIM2 BIT(0)
#define RCC_APB1ENR_USART3 BIT(18)
#define RCC_APB1ENR_PWR BIT(28)
#define RCC_CSR REGISTER(0x40023874)
#define RCC_CSR_RMVF BIT(24)

/* Power controller, RM 4.4 */
#define PWR_CR1 REGISTER(0x40007000)
#define PWR_CR1_VOS_SCALE1 (3u << 14)
#define PWR_CR1_ODEN BIT(16)
#define PWR_CR1_ODSWEN BIT(17)
#define PWR_CSR1 REGISTER(0x40007004)
#define PWR_CSR1_ODRDY BIT(16)
#define PWR_CSR1_ODSWRDY BIT(17)

/* Flash interface, RM 3.7 */
#define FLASH_ACR REGISTER(0x40023C00)
#define FLASH_ACR_LATENCY_7 7u
#define FLASH_ACR_LATENCY_MASK 0xFu
#define FLASH_ACR_PRFTEN BIT(8)
#define FLASH_ACR_ARTEN BIT(9)

/* GPIO ports, RM 6.4 */
#define GPIO(port, offset) REGISTER(0x40020000 + 0x400 * (port) + (offset))
#define GPIO_MODER(port) GPIO(port, 0x00)
#define GPIO_OSPEEDR(port) GPIO(port, 0x08)
#define GPIO_BSRR(port) GPIO(port, 0x18)
#define GPIO_AFRH(port) GPIO(port, 0x24)
#define PORT_D 3
#define PORT_F 5

/* USART3, RM 31.8 */
#define USART3(offset) REGISTER(0x40004800 + (offset))
#define USART3_CR1 USART3(0x00)
#define USART_CR1_UE BIT(0)
#define USART_CR1_RE BIT(2)
#define USART_CR1_TE BIT(3)
#define USART3_CR3 USART3(0x08)
#define USART_CR3_OVRDIS BIT(12)
#define USART3_BRR USART3(0x0C)
#define USART3_ISR USART3(0x1C)
#define USART_ISR_RXNE BIT(5)
#define USART_ISR_TC BIT(6)
#define USART_ISR_TXE BIT(7)
#define USART3_RDR USART3(0x24)
#define USART3_TDR USART3(0x28)

/* TIM2, 32 bits, RM 23.4 */
#define TIM2(offset) REGISTER(0x40000000 + (offset))
#define TIM2_CR1 TIM2(0x00)
#define TIM_CR1_CEN BIT(0)
#define TIM2_EGR TIM2(0x14)
#define TIM_EGR_UG BIT(0)
#define TIM2_CNT TIM2(0x24)
#define TIM2_PSC TIM2(0x28)
#define TIM2_ARR TIM2(0x2C)

/* Identity, RM 41.1 and 40.6.1 */
#define UNIQUE_ID(word) REGISTER(0x1FF0F420 + 4 * (word))
#define DBGMCU_IDCODE REGISTER(0xE0042000)

/* System control block, PM 4.3 */
#define SCB_VTOR REGISTER(0xE000ED08)
#define SCB_AIRCR REGISTER(0xE000ED0C)
#define SCB_AIRCR_RESET 0x05FA0004u /* VECTKEY, SYSRESETREQ */
#define SCB_CCR REGISTER(0xE000ED14)
#define SCB_CCR_IC BIT(17)
#define SCB_CCR_DC BIT(16)
#define SCB_CFSR REGISTER(0xE000ED28)
#define SCB_CFSR_MMARVALID BIT(7)
#define SCB_CFSR_BFARVALID BIT(15)
#define SCB_HFSR REGISTER(0xE000ED2C)
#define SCB_MMFAR REGISTER(0xE000ED34)
#define SCB_BFAR REGISTER(0xE000ED38)
#define SCB_CCSIDR REGISTER(0xE000ED80)
#define SCB_CSSELR REGISTER(0xE000ED84)
#define SCB_CPACR REGISTER(0xE000ED88)
#define SCB_CPACR_FPU (0xFu << 20)
#define SCB_ICIALLU REGISTER(0xE000EF50)
#define SCB_DCISW REGISTER(0xE000EF60)
#define SCB_ABFSR REGISTER(0xE000EFA8)

/* Debug and trace, PM has none: ARMv7-M ARM C1.6.5, C1.8 */
#define DEMCR REGISTER(0xE000EDFC)
#define DEMCR_TRCENA BIT(24)
#define DWT_CTRL REGISTER(0xE0001000)
#define DWT_CTRL_CYCCNTENA BIT(0)
#define DWT_CYCCNT REGISTER(0xE0001004)
#define DWT_LAR REGISTER(0xE0001FB0)
#define DWT_LAR_KEY 0xC5ACCE55u

static inline void dsb(void) { __asm__ volatile("dsb" ::: "memory"); }
static inline void isb(void) { __asm__ volatile("isb" ::: "memory"); }

#endif
