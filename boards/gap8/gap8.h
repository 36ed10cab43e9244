/* GAP8 registers the firmware uses. Names and addresses: GreenWaves gap_sdk, archi and hal
 * headers (fll_v1.h, apb_soc.h, eu_v3.h, mchan_v6.h, timer_v2.h, gpio_v2.h, udma). All accesses
 * are 32 bits wide. */
#ifndef GAP8_H
#define GAP8_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Frequency-locked loops: control core at +0x00, cluster at +0x10. */
#define FLL_CONTROL 0x1A100000u
#define FLL_CLUSTER 0x1A100010u
#define FLL_STATUS 0x0u
#define FLL_CONF1 0x4u
#define FLL_CONF2 0x8u
#define FLL_INTEGRATOR 0xCu
#define FLL_CONF1_GATED_UNTIL_LOCK (1u << 30)
#define FLL_CONF1_CLOSED_LOOP (1u << 31)

#define GPIO_DIR 0x1A101000u
#define GPIO_OUT 0x1A101008u

#define UDMA_CLOCK_GATES 0x1A102780u
#define UDMA_CLOCK_UART (1u << 4)
#define UART_RX_ADDRESS 0x1A102200u
#define UART_RX_SIZE 0x1A102204u
#define UART_RX_CONFIG 0x1A102208u
#define UART_TX_ADDRESS 0x1A102210u
#define UART_TX_SIZE 0x1A102214u
#define UART_TX_CONFIG 0x1A102218u
#define UART_STATUS 0x1A102220u
#define UART_SETUP 0x1A102224u
#define UDMA_ENABLE (1u << 4) /* reads: a transfer runs */
#define UDMA_CLEAR (1u << 5)  /* reads: the queue of two is full */
#define UART_SETUP_8N1_RX_TX 0x306u

#define SOC_CLUSTER_ISOLATE 0x1A10400Cu
#define SOC_CLUSTER_BYPASS 0x1A104070u
#define BYPASS_POWER_BY_REGISTER (1u << 0)
#define BYPASS_POWER_ON (1u << 3)
#define BYPASS_CLOCK_BY_REGISTER (1u << 9)
#define BYPASS_CLOCK_GATED (1u << 10)
#define BYPASS_FLL_POWER_DOWN (1u << 11)
#define BYPASS_FLL_RETAIN (1u << 12)
#define BYPASS_RESET (1u << 13)
#define SOC_PAD_FUNCTION_1 0x1A104144u /* pads 16 to 31, two bits each */
#define SOC_PAD_FUNCTION_2 0x1A104148u /* pads 32 to 47 */

/* SoC event generator; a mask bit of 1 blocks the event. */
#define SOC_EVENTS_MASK_HIGH 0x1A106004u /* events 63 to 32 */
#define SOC_EVENTS_MASK_LOW 0x1A106008u
#define SOC_EVENT_CLUSTER_POWER 31u
#define SOC_EVENT_CLUSTER_CLOCK 35u

/* Cluster control, and event units. The demux addresses are private to the core that uses them. */
#define CLUSTER_FETCH_ENABLE 0x10200008u /* write only: reading it back stops the cores on GVSoC */
#define CLUSTER_BOOT_ADDRESS(core) (0x10200040u + 4u * (core))
#define CLUSTER_ICACHE_ENABLE 0x10201400u
#define CLUSTER_SOFTWARE_EVENT(event) (0x10200E00u + 4u * (event))
#define CONTROL_ICACHE_ENABLE 0x1B201400u
#define CONTROL_ICACHE_FLUSH 0x1B201404u
#define CONTROL_SOFTWARE_EVENT(event) (0x1B200E00u + 4u * (event))
#define CONTROL_SOC_EVENT_FIFO 0x1B200F00u
#define SOC_EVENT_VALID (1u << 31)

#define EVENT_MASK 0x00204000u
#define EVENT_BUFFER 0x0020401Cu
#define EVENT_BUFFER_CLEAR 0x00204028u
#define EVENT_WAIT 0x00204038u
#define EVENT_WAIT_CLEAR 0x0020403Cu
#define DISPATCH_FIFO 0x00204080u
#define DISPATCH_TEAM 0x00204084u
#define BARRIER_TRIGGER_MASK 0x00204200u
#define BARRIER_TARGET_MASK 0x0020420Cu
#define BARRIER_TRIGGER_WAIT_CLEAR 0x0020421Cu
#define EVENT_DMA (1u << 8)
#define EVENT_BARRIER (1u << 16)
#define EVENT_DISPATCH (1u << 18)
#define EVENT_SOC_FIFO (1u << 27)

/* Cluster DMA (MCHAN), private port of each core. */
#define DMA_COMMAND 0x00204400u
#define DMA_STATUS 0x00204404u
#define DMA_L2_TO_L1 (1u << 16)
#define DMA_INCREMENT (1u << 17)
#define DMA_2D (1u << 18)
#define DMA_EVENT (1u << 19)

/* Timers: two 32-bit counters each. */
#define TIMER_CONTROL 0x1B200400u
#define TIMER_CLUSTER 0x10200400u
#define TIMER_CONFIG_LOW 0x00u
#define TIMER_CONFIG_HIGH 0x04u
#define TIMER_COUNT_LOW 0x08u
#define TIMER_COUNT_HIGH 0x0Cu
#define TIMER_ENABLE (1u << 0)
#define TIMER_RESET (1u << 1)
#define TIMER_REFERENCE_CLOCK (1u << 7)
#define REFERENCE_CLOCK_HZ 32768u

#define CLUSTER_CORES 8u

#endif
