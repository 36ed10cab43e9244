/* What a chip of the family has for itself: STM32F746ZG. */
#ifndef VARIANT_H
#define VARIANT_H

#define BOARD_NAME "stm32f746"
#define INTERRUPTS 98           /* RM0385 10.1.2 */
#define HIGHEST_RAM 0x20050000u /* behind SRAM2 */

#endif
