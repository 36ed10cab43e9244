"""The memory protection unit: registers, and what they allow at an address.

Reference: Armv7-M ARM B3.5 (PMSAv7), Cortex-M7 TRM 6 (eight regions). Accesses are judged as those
of privileged code: the unprivileged half of AP is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hil.sim.cores.cortex_m7.layout import Policy

REGIONS = 8
TYPE, CTRL, RNR = 0xD90, 0xD94, 0xD98
PAIRS = range(0xD9C, 0xDBC, 4)  # RBAR and RASR, and three aliases of both
OFFSETS = frozenset((TYPE, CTRL, RNR, *PAIRS))
ENABLE, HFNMIENA, PRIVDEFENA = 0, 1, 2
RBAR_ADDRESS, RBAR_VALID = 0xFFFFFFE0, 4
RASR_BITS = 0x173FFF3F
SMALLEST_WITH_SUBREGIONS = 256
PRIVATE_BUS = range(0xE0000000, 0xE0100000)  # always by the default map
READ_WRITE_AP, READ_AP = (1, 2, 3), (5, 6, 7)

POLICY_TEXT = {
    Policy.ALLOCATING: "write-back with write allocation",
    Policy.WRITE_BACK: "write-back without write allocation",
    Policy.WRITE_THROUGH: "write-through",
    Policy.NONCACHEABLE: "non-cacheable",
    Policy.DEVICE: "Device or Strongly-ordered",
}
# By C and B: with TEX 0, and with TEX[2] set.
PLAIN = (
    Policy.DEVICE, Policy.DEVICE, Policy.WRITE_THROUGH, Policy.WRITE_BACK
)  # fmt: skip
INNER = (
    Policy.NONCACHEABLE, Policy.ALLOCATING, Policy.WRITE_THROUGH, Policy.WRITE_BACK
)  # fmt: skip


@dataclass(frozen=True)
class Rights:
    """What privileged code may do at an address, and the region that says so (None: none)."""

    read: bool
    write: bool
    execute: bool
    region: int | None = None

    @property
    def all(self) -> bool:
        """Nothing is forbidden."""
        return self.read and self.write and self.execute


FREE = Rights(True, True, True)
NOTHING = Rights(False, False, False)


@dataclass(frozen=True)
class Region:
    """An enabled region, read from its RBAR and RASR."""

    number: int
    base: int
    size: int
    rasr: int

    @classmethod
    def from_registers(cls, number: int, rbar: int, rasr: int) -> Region | None:
        """None when it is off or smaller than the architecture allows."""
        exponent = (rasr >> 1 & 31) + 1
        if not rasr & 1 or exponent < 5:
            return None
        return cls(number, rbar & RBAR_ADDRESS & -(1 << exponent), 1 << exponent, rasr)

    def holds(self, address: int) -> bool:
        """Inside, and not in a subregion that is switched off."""
        if not self.base <= address < self.base + self.size:
            return False
        if self.size < SMALLEST_WITH_SUBREGIONS:
            return True
        return not self.rasr >> 8 + (address - self.base) // (self.size // 8) & 1

    def borders(self) -> Iterable[int]:
        """Addresses at which something may change."""
        parts = 8 if self.size >= SMALLEST_WITH_SUBREGIONS else 1
        return range(self.base, self.base + self.size + 1, self.size // parts)

    @property
    def rights(self) -> Rights:
        """By AP and XN."""
        access = self.rasr >> 24 & 7
        read = access in READ_WRITE_AP or access in READ_AP
        execute = read and not self.rasr >> 28 & 1
        return Rights(read, access in READ_WRITE_AP, execute, self.number)

    @property
    def policy(self) -> Policy:
        """How the level 1 data cache treats it. Shared memory is not cached (TRM 5.2.4)."""
        kind, shared, bits = self.rasr >> 19 & 7, self.rasr >> 18 & 1, self.rasr >> 16 & 3
        if kind == 2 or (kind == 0 and bits < 2):
            return Policy.DEVICE
        if shared or kind == 3:
            return Policy.NONCACHEABLE
        if kind >> 2:
            return INNER[bits]
        if kind == 0:
            return PLAIN[bits]
        return Policy.ALLOCATING if bits == 3 else Policy.NONCACHEABLE


class Mpu:
    """The registers. ``version`` changes with every write."""

    def __init__(self) -> None:
        self._control = 0
        self._number = 0
        self._registers = [(0, 0)] * REGIONS
        self._regions: tuple[Region, ...] = ()  # enabled, the highest number first
        self.version = 0

    @property
    def enabled(self) -> bool:
        """CTRL.ENABLE."""
        return bool(self._control >> ENABLE & 1)

    @property
    def in_fault_handlers(self) -> bool:
        """CTRL.HFNMIENA: it stays on in HardFault and NMI, and with FAULTMASK set."""
        return bool(self._control >> HFNMIENA & 1)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The enabled ones, those that win first."""
        return self._regions

    def rights(self, address: int) -> Rights:
        """What the enabled unit allows at ``address``."""
        if address in PRIVATE_BUS:
            return FREE
        for region in self._regions:
            if region.holds(address):
                return region.rights
        return FREE if self._control >> PRIVDEFENA & 1 else NOTHING

    def read(self, offset: int) -> int:
        """A register of ``OFFSETS``."""
        if offset == TYPE:
            return REGIONS << 8
        if offset == CTRL:
            return self._control
        if offset == RNR:
            return self._number
        base, attributes = self._registers[self._number]
        return attributes if _is_rasr(offset) else base | self._number

    def write(self, offset: int, value: int) -> None:
        """The same for writing."""
        self.version += 1
        if offset == CTRL:
            self._control = value & 7
        elif offset == RNR:
            self._number = value & 0xFF & REGIONS - 1
        elif offset in PAIRS:
            self._write_pair(_is_rasr(offset), value)

    def _write_pair(self, is_rasr: bool, value: int) -> None:
        if not is_rasr and value >> RBAR_VALID & 1:
            self._number = value & REGIONS - 1
        base, attributes = self._registers[self._number]
        self._registers[self._number] = (
            (base, value & RASR_BITS) if is_rasr else (value & RBAR_ADDRESS, attributes)
        )
        found = (Region.from_registers(n, *self._registers[n]) for n in reversed(range(REGIONS)))
        self._regions = tuple(region for region in found if region is not None)


def _is_rasr(offset: int) -> bool:
    return (offset - PAIRS.start) % 8 == 4
