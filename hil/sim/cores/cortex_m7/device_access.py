"""Accesses to peripherals from inside a block: which instruction makes them, and when.

Unicorn keeps the PC of the block during such an access, and the whole block is counted when it
starts: the accessing instruction is found by its address (``BlockTable.access_place``), and what
the block costs behind it is taken off the cycle counter.
"""

from __future__ import annotations

from typing import Protocol

from unicorn import UC_MEM_READ_PROT, UC_MEM_WRITE_PROT, Uc
from unicorn.arm_const import UC_ARM_REG_PC

from hil.sim.cores.cortex_m7.blocks import BlockTable
from hil.sim.cores.cortex_m7.books import Books
from hil.sim.cores.cortex_m7.bus import Bus, BusError
from hil.sim.cores.cortex_m7.layout import Ints
from hil.sim.cores.cortex_m7.protection import Protection

# Plain integers: every access takes this way.
_BLOCK, _BLOCK_ADDRESS = int(Ints.BLOCK), int(Ints.BLOCK_ADDRESS)
_ACCESSES, _ALL_ACCESSES = int(Ints.ACCESSES), int(Ints.ALL_ACCESSES)


class Fail(Protocol):
    """Ends the run with a fault, at ``address``, of the instruction at ``pc``."""

    def __call__(self, reason: str, address: int | None, pc: int | None = None) -> None: ...


class DeviceAccess:
    """The emulator's callbacks for address space that ``bus`` answers for."""

    def __init__(
        self, books: Books, table: BlockTable, uc: Uc, protection: Protection, fail: Fail
    ) -> None:
        self.bus = Bus([])
        self.accessing = False
        self._books, self._table, self._uc, self._fail = books, table, uc, fail
        self._protection = protection
        self._ints = books.ints.data  # reads and writes one element faster than the array
        self._address = 0
        self._part = (0, 0)  # begin and end of the last access
        self._cycles: float | None = None  # of the present access, once asked for

    def on_read(self, uc: Uc, offset: int, size: int, base: int) -> int:
        """A load from ``base`` + ``offset``."""
        self._begin(base + offset)
        try:
            self._refuse_parts(base + offset, size)
            if self._protection.active:
                self._protection.check_device(base + offset, UC_MEM_READ_PROT)
            value, stall = self.bus.read(base + offset, size)
        except BusError as error:
            self._fail(f"read of {size} bytes: {error}", base + offset, self._pc())
            uc.emu_stop()
            return 0
        finally:
            self._end()
        self._books.add_cycles(stall)
        return value

    def on_write(self, uc: Uc, offset: int, size: int, value: int, base: int) -> None:
        """A store to ``base`` + ``offset``."""
        self._begin(base + offset)
        try:
            self._refuse_parts(base + offset, size)
            if self._protection.active:
                self._protection.check_device(base + offset, UC_MEM_WRITE_PROT)
            stall = self.bus.write(base + offset, size, value)
        except BusError as error:
            self._fail(f"write of 0x{value:x}: {error}", base + offset, self._pc())
            uc.emu_stop()
            return
        finally:
            self._end()
        self._books.add_cycles(stall)

    def _refuse_parts(self, address: int, size: int) -> None:
        """BusError if this is the second part of an unaligned access, which unicorn cuts up."""
        (begin, end), self._part = self._part, (address, address + size)
        if end != address or self._ints[_ACCESSES] == 0 or self._ints[_BLOCK] < 0:
            return
        found = self._table.unaligned_access(self._ints[_BLOCK], begin, address + size)
        if found is not None:
            pc, target = found
            raise BusError(
                f"unaligned access to a device, 0x{target:08x}, by the instruction at 0x{pc:08x}: "
                "a UsageFault (UNALIGNED) on the chip, which this model does not take here"
            )

    def _begin(self, address: int) -> None:
        self.accessing = True
        self._address = address
        self._cycles = None

    def _end(self) -> None:
        self.accessing = False
        self._ints[_ALL_ACCESSES] += 1
        self._ints[_ACCESSES] += 1

    def _pc(self) -> int:
        """Address of the instruction that accesses a peripheral now."""
        if self._ints[_BLOCK] < 0:
            return int(self._uc.reg_read(UC_ARM_REG_PC))
        return self._place()[0]

    def cycles_at_access(self) -> float:
        """The cycle at which the instruction now accessing a peripheral was issued."""
        if self._cycles is None:
            behind = 0.0 if self._ints[_BLOCK] < 0 else self._place()[1]
            self._cycles = self._books.cycles - behind
        return self._cycles

    def _place(self) -> tuple[int, float]:
        ints = self._ints
        return self._table.access_place(
            ints[_BLOCK], ints[_ACCESSES], self._address, ints[_BLOCK_ADDRESS]
        )
