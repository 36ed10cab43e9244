/* What a chip of the family has for itself: STM32F767ZI. */
#ifndef VARIANT_H
#define VARIANT_H

#define BOARD_NAME "stm32f767"
#define INTERRUPTS 110          /* CMSIS stm32f767xx.h: the last one is MDIOS, 109 */
#define HIGHEST_RAM 0x20080000u /* behind SRAM2 */

#endif
