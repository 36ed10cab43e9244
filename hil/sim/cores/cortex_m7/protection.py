"""The memory protection unit made to hold in the emulator, which has none of its own.

Memory is mapped in pieces whose pages have one set of rights each. A page with more than one (a
guard of 32 bytes) is mapped without any: the emulator asks at every access to it. While there is
such a page the emulator takes its slow way for all accesses.

Attributes of memory go to the data cache where that is followed by lines. Its average and the
instruction cache know the default memory map only: a region that changes what one of them, switched
on, would do is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from unicorn import (
    UC_CTL_IO_WRITE,
    UC_CTL_TLB_FLUSH,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_WRITE,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_NONE,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
)
from unicorn.arm_const import UC_ARM_REG_XPSR

from hil.sim.cores.cortex_m7.blocks import MemoryRegion
from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.data_cache import DataCache
from hil.sim.cores.cortex_m7.exceptions import IT_STATE
from hil.sim.cores.cortex_m7.layout import (
    FLASH_AXI,
    FLASH_BYTES,
    LINE_SHIFT,
    POLICY_COUNT,
    RAM,
    RAM_BYTES,
    Policy,
)
from hil.sim.cores.cortex_m7.mpu import POLICY_TEXT, Mpu, Region, Rights
from hil.sim.cores.cortex_m7.registers import RegisterFile

PAGE = 0x1000
FETCHES = (UC_MEM_FETCH_PROT, UC_MEM_FETCH_UNMAPPED)
WRITES = (UC_MEM_WRITE, UC_MEM_WRITE_PROT, UC_MEM_WRITE_UNMAPPED)
CCR_DC, CCR_IC, FORCEWT = 16, 17, 2


@dataclass(frozen=True)
class _Key:
    """What the mapping in force depends on."""

    active: bool
    version: int
    caches: int
    write_through: bool


class Protection:
    """Maps ``memories`` and keeps the mapping in step with the unit. ``active``: it is in force.

    ``cached_ram``: RAM from there on is behind the data cache.
    """

    def __init__(
        self,
        uc: Uc,
        memories: Iterable[MemoryRegion],
        cached_ram: int,
        data_cache: DataCache,
    ) -> None:
        self._uc = uc
        self._data_cache = data_cache
        # RAM before flash: with flash mapped first unicorn 2.1.4 takes some stores to RAM for
        # stores to code and translates it again and again (2,000 blocks a network run, half the
        # speed).
        self._memories = sorted(memories, key=lambda memory: -memory.base)
        self._cached_ram = cached_ram
        self._mpu = Mpu()
        self._registers: RegisterFile | None = None
        self._restricted = False  # by more than what the memories are
        self._hooks: list[int] = []
        self._key: _Key | None = None
        self.active = False
        for memory in self._memories:
            self._map(memory, [(memory.base, memory.end, UC_PROT_ALL)])

    def attach(self, mpu: Mpu, registers: RegisterFile) -> None:
        """Another life of the core: its unit, and the registers with its caches' switches."""
        self._mpu, self._registers = mpu, registers
        self._key, self.active = None, False
        self._remap()
        self._set_policies()

    def update(self, in_fault_handler: Callable[[], bool]) -> str:
        """Let the unit's present state hold; a reason where the model cannot follow it.

        ``in_fault_handler``: HardFault, NMI or FAULTMASK, in which the unit may be off.
        """
        mpu, registers = self._mpu, self._registers
        if registers is None or (not mpu.enabled and self._key is None):
            return ""
        active = mpu.enabled and (mpu.in_fault_handlers or not in_fault_handler())
        ccr, through = registers["CCR"] >> CCR_DC & 3, registers.bit("CACR", FORCEWT)
        key = _Key(active, mpu.version, ccr, through) if mpu.enabled else None
        if key == self._key:
            return ""
        self._key, self.active = key, active
        self._remap()
        self._set_policies()
        return self._conflict(ccr, through) if active else ""

    def forbidden(self, address: int, size: int, access: int) -> Rights | None:
        """The rights that ``access`` (a UC_MEM number) of ``size`` bytes violates, if any."""
        if not self.active:
            return None
        for at in (*range(address, address + size, 4), address + size - 1):
            rights = self._mpu.rights(at & 0xFFFFFFFF)
            if access in FETCHES:
                allowed = rights.execute
            else:
                allowed = rights.write if access in WRITES else rights.read
            if not allowed:
                return rights
        return None

    def check_device(self, address: int, access: int) -> None:
        """BusError where the unit forbids a device: a fault inside an access is not modelled."""
        if self.forbidden(address, 1, access) is not None:
            raise BusError("the MPU forbids this device; that MemManage fault is not modelled")

    def forget_accesses(self) -> None:
        """Behind a fault: the emulator takes a page for good that it was about to load from."""
        self._uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)

    # Mapping

    def _remap(self) -> None:
        while self._hooks:
            self._uc.hook_del(self._hooks.pop())
        pieces = {memory.base: list(self._pieces(memory)) for memory in self._memories}
        free = all(rights == UC_PROT_ALL for each in pieces.values() for _, _, rights in each)
        if free and not self._restricted:
            return
        self._restricted = not free
        for memory in self._memories:
            self._uc.mem_unmap(memory.base, len(memory.data))
        for memory in self._memories:
            self._map(memory, pieces[memory.base])
        self._uc.ctl_flush_tb()  # type: ignore[attr-defined]  # missing in unicorn's stub

    def _map(self, memory: MemoryRegion, pieces: list[tuple[int, int, int | None]]) -> None:
        own = UC_PROT_ALL if memory.writable else UC_PROT_READ | UC_PROT_EXEC
        for start, end, rights in pieces:
            allowed = UC_PROT_NONE if rights is None else rights & own
            place = memory.data.ctypes.data + start - memory.base
            self._uc.mem_map_ptr(start, end - start, allowed, place)
            if rights is None:
                self._ask_always(start, end)

    def _ask_always(self, start: int, end: int) -> None:
        # A hook, whatever it does, keeps the emulator from remembering that an access went well.
        kind = UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE
        self._hooks.append(self._uc.hook_add(kind, self._on_access, None, start, end - 1))

    def _on_access(
        self, _uc: Uc, access: int, address: int, size: int, _value: int, _data: object
    ) -> None:
        if self.forbidden(address, size, access) is None:
            self.allow()

    def allow(self) -> None:
        """An access about which the emulator has asked goes on.

        Unicorn 2.1.4 leaves the IT state of an instruction that it has stopped at to what comes
        behind the block.
        """
        xpsr = self._uc.reg_read(UC_ARM_REG_XPSR)
        if xpsr & IT_STATE:
            self._uc.reg_write(UC_ARM_REG_XPSR, xpsr & ~IT_STATE)

    def _pieces(self, memory: MemoryRegion) -> Iterator[tuple[int, int, int | None]]:
        """(start, end, rights) in whole pages; rights None where a page has several."""
        if not self.active:
            yield memory.base, memory.end, UC_PROT_ALL
            return
        spans = [(start, end, _bits(rights)) for start, end, rights in self._spans(memory)]
        begun: tuple[int, int, int | None] | None = None
        for start in range(memory.base, memory.end, PAGE):
            end = start + PAGE
            inside = {allowed for low, high, allowed in spans if low < end and start < high}
            rights = inside.pop() if len(inside) == 1 else None
            if begun is not None and begun[2] == rights:
                begun = (begun[0], end, rights)
                continue
            if begun is not None:
                yield begun
            begun = (start, end, rights)
        if begun is not None:
            yield begun

    def _spans(self, memory: MemoryRegion) -> Iterator[tuple[int, int, Rights]]:
        """(start, end, rights) between all borders of regions."""
        borders = {memory.base, memory.end}
        for region in self._mpu.regions:
            borders |= {at for at in region.borders() if memory.base < at < memory.end}
        ordered = sorted(borders)
        for start, end in pairwise(ordered):
            yield start, end, self._mpu.rights(start)

    # Attributes

    def _set_policies(self) -> None:
        """What the regions in force have the followed data cache do."""
        if not self._data_cache.is_followed:
            return
        policies = np.zeros(POLICY_COUNT, np.int64) if self.active else None
        if policies is not None:
            by_number = {region.number: region.policy for region in self._mpu.regions}
            for memory in self._memories:
                for start, end, rights in self._spans(memory):
                    if rights.region is not None:
                        _fill(policies, start, end, by_number[rights.region])
        self._data_cache.set_policies(policies)

    def _conflict(self, caches: int, through: bool) -> str:
        """What a cache that is on would do otherwise than the model."""
        for memory in self._memories:
            for region in self._mpu.regions:
                start = self._first_place(memory, region)
                if start is None or self._follows(memory, region, caches, through):
                    continue
                return (
                    f"MPU region {region.number} makes {memory.name} {POLICY_TEXT[region.policy]} "
                    f"from 0x{start:08x} on while its cache is on, which this model does not "
                    "follow; choose the data cache by lines, leave it to the default memory map, "
                    "or the cache off"
                )
        return ""

    def _follows(self, memory: MemoryRegion, region: Region, caches: int, through: bool) -> bool:
        """The caches that are on treat ``memory`` as ``region`` says, or nobody can read it."""
        data_on, code_on = caches & 1 and not self._data_cache.is_followed, caches >> 1 & 1
        if not region.rights.read:
            return True
        if memory.writable:
            wanted = Policy.WRITE_THROUGH if through else Policy.ALLOCATING
            return not data_on or region.policy == wanted
        return not (data_on or code_on) or region.policy < Policy.NONCACHEABLE

    def _first_place(self, memory: MemoryRegion, region: Region) -> int | None:
        """Where ``region`` decides about ``memory`` behind the caches; None: nowhere."""
        start = max(region.base, memory.base, self._cached_ram if memory.writable else 0)
        end = min(region.base + region.size, memory.end)
        borders = {at for other in self._mpu.regions for at in other.borders()}
        places = [start, *sorted(at for at in borders if start < at < end)] if start < end else []
        wins = (at for at in places if self._mpu.rights(at).region == region.number)
        return next(wins, None)


def _fill(policies: np.ndarray, start: int, end: int, policy: Policy) -> None:
    """Lines of SRAM and of flash on the AXI bus; others are behind no cache."""
    for base, size, at in ((RAM, RAM_BYTES, 0), (FLASH_AXI, FLASH_BYTES, RAM_BYTES)):
        low, high = max(start, base) - base + at, min(end, base + size) - base + at
        if low < high:
            policies[low >> LINE_SHIFT : high >> LINE_SHIFT] = policy


def _bits(rights: Rights) -> int:
    return (
        (UC_PROT_READ if rights.read else 0)
        | (UC_PROT_WRITE if rights.write else 0)
        | (UC_PROT_EXEC if rights.execute else 0)
    )
