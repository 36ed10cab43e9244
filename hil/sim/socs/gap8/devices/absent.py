"""What the chip has and this model has not, by name: an access there stops the chip.

Addresses: archi/chips/gap/memory_map.h and the uDMA's channel offsets (udma.json) of the GAP SDK.
"""

from __future__ import annotations

from hil.sim.socs.gap8.machine import BusFault

# base, size, name
ABSENT = (
    (0x1A000000, 0x2000, "the boot ROM"),
    (0x1A102000, 0x80, "uDMA channel 0 (LVDS)"),
    (0x1A102080, 0x80, "SPI master 0 (uDMA channel 1)"),
    (0x1A102100, 0x80, "SPI master 1 (uDMA channel 2)"),
    (0x1A102280, 0x80, "I2C 0 (uDMA channel 5)"),
    (0x1A102300, 0x80, "I2C 1 (uDMA channel 6)"),
    (0x1A102380, 0x80, "the uDMA's copier to FC memory (channel 7)"),
    (0x1A102400, 0x80, "I2S (uDMA channel 8)"),
    (0x1A102480, 0x80, "the camera interface (uDMA channel 9)"),
    (0x1A102500, 0x280, "the rest of the uDMA"),
    (0x1A102784, 0x87C, "the uDMA's event routing"),
    (0x1A105000, 0x1000, "the advanced timer (PWM)"),
    (0x1A108000, 0x1000, "the real-time clock"),
    (0x1A109000, 0x1000, "the eFuses"),
    (0x10200A00, 0x600, "the rest of the cluster's event unit"),
    (0x10201300, 0x100, "the rest of the HWCE"),
    (0x1B200800, 0x700, "the FC's event unit by its global address (the private one, 0x00204000, "
                        "is modelled)"),
)  # fmt: skip


class Absent:
    """A device that refuses every access by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, offset: int) -> int:
        """BusFault."""
        raise BusFault(f"read of {self._name}, which is not modelled (+0x{offset:x})")

    def write(self, offset: int, value: int) -> None:
        """BusFault."""
        raise BusFault(f"write of 0x{value:08x} to {self._name}, which is not modelled "
                       f"(+0x{offset:x})")  # fmt: skip
