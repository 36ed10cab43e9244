"""What the chips have and this model has not, by name: an access there ends the run.

Addresses: RM0385 section 2.2.2 and, where a name says so, RM0410; the CMSIS device headers.
"""

from __future__ import annotations

# base, end, name; inside of the address space that the bus answers for
ABSENT = (
    (0x40000400, 0x40000800, "TIM3"),
    (0x40000800, 0x40000C00, "TIM4"),
    (0x40001000, 0x40001400, "TIM6"),
    (0x40001400, 0x40001800, "TIM7"),
    (0x40001800, 0x40001C00, "TIM12"),
    (0x40001C00, 0x40002000, "TIM13"),
    (0x40002000, 0x40002400, "TIM14"),
    (0x40002400, 0x40002800, "LPTIM1"),
    (0x40002800, 0x40002C00, "the real-time clock (RTC) with its backup registers"),
    (0x40002C00, 0x40003000, "the window watchdog (WWDG)"),
    (0x40003000, 0x40003400, "the independent watchdog (IWDG)"),
    (0x40003400, 0x40003800, "CAN3 (F767)"),
    (0x40003800, 0x40003C00, "SPI2"),
    (0x40003C00, 0x40004000, "SPI3"),
    (0x40004000, 0x40004400, "SPDIFRX"),
    (0x40004400, 0x40004800, "USART2"),
    (0x40004C00, 0x40005000, "UART4"),
    (0x40005000, 0x40005400, "UART5"),
    (0x40005400, 0x40005800, "I2C1"),
    (0x40005800, 0x40005C00, "I2C2"),
    (0x40005C00, 0x40006000, "I2C3"),
    (0x40006000, 0x40006400, "I2C4"),
    (0x40006400, 0x40006800, "CAN1"),
    (0x40006800, 0x40006C00, "CAN2"),
    (0x40006C00, 0x40007000, "HDMI-CEC"),
    (0x40007400, 0x40007800, "the DAC"),
    (0x40007800, 0x40007C00, "UART7"),
    (0x40007C00, 0x40008000, "UART8"),
    (0x40010000, 0x40010400, "TIM1"),
    (0x40010400, 0x40010800, "TIM8"),
    (0x40011C00, 0x40012000, "SDMMC2 (F767)"),
    (0x40012000, 0x40012400, "the ADC"),
    (0x40012C00, 0x40013000, "SDMMC1"),
    (0x40013000, 0x40013400, "SPI1"),
    (0x40013400, 0x40013800, "SPI4"),
    (0x40013C00, 0x40014000, "EXTI"),
    (0x40014000, 0x40014400, "TIM9"),
    (0x40014400, 0x40014800, "TIM10"),
    (0x40014800, 0x40014C00, "TIM11"),
    (0x40015000, 0x40015400, "SPI5"),
    (0x40015400, 0x40015800, "SPI6"),
    (0x40015800, 0x40015C00, "SAI1"),
    (0x40015C00, 0x40016000, "SAI2"),
    (0x40016800, 0x40016C00, "the LCD controller (LTDC)"),
    (0x40017400, 0x40017800, "DFSDM1 (F767)"),
    (0x40017800, 0x40017C00, "MDIOS (F767)"),
    (0x40023000, 0x40023400, "the CRC unit"),
    (0x40024000, 0x40025000, "the backup SRAM"),
    (0x40026000, 0x40026400, "DMA1"),
    (0x40026400, 0x40026800, "DMA2"),
    (0x40028000, 0x40029400, "the Ethernet MAC"),
    (0x4002B000, 0x4002BC00, "DMA2D"),
    (0x40040000, 0x40080000, "USB OTG HS"),
    (0xE0000000, 0xE0001000, "the ITM"),
    (0xE0002000, 0xE0003000, "the FPB (breakpoints)"),
    (0xE0040000, 0xE0041000, "the TPIU"),
    (0xE0041000, 0xE0042000, "the ETM"),
)


def absent(address: int) -> str:
    """What the chips have at ``address`` and this model has not; nothing elsewhere."""
    return next((name for base, end, name in ABSENT if base <= address < end), "")
