"""What tells the chips of the family apart.

Sources: RM0385 and DS10916 (F746), RM0410 and DS11532 (F767), CMSIS device headers; core revisions
and cache sizes as in the datasheets, F767 values of MVFR0 and of the flash options from memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.sim.cores.cortex_m7.system import Identity

KB = 1024


@dataclass(frozen=True)
class Variant:
    """Memories in bytes; ``sectors`` are (count, bytes each) of the flash, in order.

    DTCM, SRAM1 and SRAM2 are contiguous from 0x20000000; ``ram_bytes`` is their sum.
    """

    name: str
    part: str
    sectors: tuple[tuple[int, int], ...]
    dtcm_bytes: int
    ram_bytes: int
    core: Identity
    idcode: int  # DBGMCU_IDCODE: revision and device
    option_word: int  # FLASH_OPTCR after reset
    unique_id: bytes

    @property
    def flash_bytes(self) -> int:
        """All sectors together."""
        return sum(count * size for count, size in self.sectors)


F746 = Variant(
    name="stm32f746",
    part="STM32F746",
    sectors=((4, 32 * KB), (1, 128 * KB), (3, 256 * KB)),
    dtcm_bytes=64 * KB,
    ram_bytes=320 * KB,
    core=Identity(cpuid=0x410FC271, mvfr0=0x10110021, cache_bytes=4 * KB),
    idcode=0x10010449,  # revision Z
    option_word=0xC0FFAAFD,
    unique_id=b"virtual-f746",
)
F767 = Variant(
    name="stm32f767",
    part="STM32F767",
    sectors=((4, 32 * KB), (1, 128 * KB), (7, 256 * KB)),  # one bank: nDBANK set
    dtcm_bytes=128 * KB,
    ram_bytes=512 * KB,
    core=Identity(cpuid=0x411FC270, mvfr0=0x10110221, cache_bytes=16 * KB),
    idcode=0x10010451,
    option_word=0xFFFFAAFD,
    unique_id=b"virtual-f767",
)
