"""HyperBus (uDMA channel 3, 0x1A102180): HyperRAM on chip select 0, HyperFlash on 1.

Registers: archi/udma/hyper/udma_hyper_v1.h of the GAP SDK. The bus moves a byte each FC cycle
(double data rate at half the clock; measured on the vendor simulator, 0.998 bytes a cycle), after
a start that is fitted to those measurements: the vendor simulator's source counts 80 cycles for it
(idle, access latency 72, chip select, six command bytes), 14 more. The latencies of CFG0 and CFG4
and the timing fields of CFG1 and CFG5 enter neither there nor here: they are kept. CFG3 and CFG7
must say what is connected, RAM on chip select 0 and flash on 1, without limits of a burst.

The flash can be read only. Its erase and program commands are refused: load its content with
``Gap8.program_flash``.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

SADDR, SIZE, CFG = 0x0, 0x4, 0x8
RX, TX = 0x00, 0x10
EXT_ADDRESS, CFG0, CFG3, CFG4, CFG7 = 0x20, 0x28, 0x34, 0x38, 0x44
CONFIG = range(CFG0, CFG7 + 4, 4)
CFG_CONTINUOUS, CFG_ENABLE, CFG_CLEAR = 1 << 0, 1 << 4, 1 << 5
# CFG3 and CFG7
IS_RAM, REGISTER_SPACE, BURST_LIMITS = 1 << 2, 1 << 3, 3 << 4
EVENT_RX, EVENT_TX = 6, 7  # SoC event numbers
# Entry state left by the boot ROM (read on the vendor simulator, the others are not known; the ROM
# has read the flash, so chip select 0 begins at 0 and CFG7 says flash)
AT_ENTRY = {EXT_ADDRESS: 0x01000C00, CFG3: IS_RAM, CFG4: 1}

RAM_BYTES, FLASH_BYTES = 8 << 20, 64 << 20  # GAPuino
START_CYCLES = 66  # fitted, see above
# One burst on silicon: the SDK's driver splits longer transfers (hyperram-v1.c)
SILICON_BURST_BYTES = 512
PAGE_BYTES = 4096
POISON = bytes.fromhex("efbeadde")  # content of the RAM after power-on


class PagedMemory:
    """Bytes that cost memory of this computer only where they were written."""

    def __init__(self, name: str, size: int, fill: bytes) -> None:
        self.name = name
        self.size = size
        self._fill = fill * (PAGE_BYTES // len(fill))
        self._pages: dict[int, bytearray] = {}

    def clear(self) -> None:
        """Fills all of it."""
        self._pages.clear()

    def check(self, address: int, count: int) -> None:
        """BusFault unless ``count`` bytes from ``address`` on exist."""
        if address < 0 or address + count > self.size:
            raise BusFault(f"{count} bytes at 0x{address:x} are outside the {self.name} "
                           f"({self.size} bytes)")  # fmt: skip

    def read(self, address: int, count: int) -> bytes:
        """Bytes from ``address`` on; BusFault outside."""
        self.check(address, count)
        data = bytearray()
        while len(data) < count:
            page, first = divmod(address + len(data), PAGE_BYTES)
            data += self._pages.get(page, self._fill)[first : first + count - len(data)]
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        """Stores bytes from ``address`` on; BusFault outside."""
        self.check(address, len(data))
        done = 0
        while done < len(data):
            page, first = divmod(address + done, PAGE_BYTES)
            part = data[done : done + PAGE_BYTES - first]
            content = self._pages.setdefault(page, bytearray(self._fill))
            content[first : first + len(part)] = part
            done += len(part)


@dataclass(frozen=True)
class _Transfer:
    side: int
    l2: int
    size: int
    memory: PagedMemory
    address: int


class HyperBus:
    """The controller with its two memories; one transfer at a time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.ram = PagedMemory("HyperRAM", RAM_BYTES, POISON)
        self.flash = PagedMemory("HyperFlash", FLASH_BYTES, b"\xff")
        self.reset()

    def reset(self) -> None:
        """State at a firmware's entry; the RAM loses its content, the flash keeps it."""
        self._registers = dict.fromkeys((RX, RX + SIZE, TX, TX + SIZE, EXT_ADDRESS), 0)
        self._registers |= AT_ENTRY
        self._busy: _Transfer | None = None
        self.bytes_moved = 0
        self.long_bursts = 0
        self.ram.clear()

    def read(self, offset: int) -> int:
        """SADDR and SIZE read back what was written, not the progress."""
        if offset in (RX + CFG, TX + CFG):
            busy = self._busy is not None and self._busy.side == offset - CFG
            return CFG_ENABLE if busy else 0
        if offset in self._registers:
            return self._registers[offset]
        if offset in CONFIG:
            raise BusFault(f"HyperBus CFG{(offset - CFG0) // 4} read before it was written; what "
                           "the boot ROM leaves in it is not known")  # fmt: skip
        raise BusFault(f"HyperBus register +0x{offset:x} is not modelled")

    def write(self, offset: int, value: int) -> None:
        """CFG starts or clears a transfer."""
        if offset in (RX + CFG, TX + CFG):
            self._configure(offset - CFG, value)
        elif offset in (RX + SADDR, TX + SADDR):
            self._registers[offset] = value & ~3
        elif offset in (RX + SIZE, TX + SIZE):
            self._registers[offset] = value & 0x1FFFF
        elif offset == EXT_ADDRESS and self._busy:
            raise BusFault("HyperBus address written while a transfer runs: it is one register")
        elif offset in self._registers or offset in CONFIG:
            self._registers[offset] = value
        else:
            raise BusFault(f"HyperBus register +0x{offset:x} is not modelled")

    def _target(self) -> tuple[PagedMemory, int]:
        """The memory that EXT_ADDR selects, and the address in it."""
        address = self._registers[EXT_ADDRESS]
        ram_base, flash_base = (
            (self._registers.get(config, 0) & 0xFF) << 24 for config in (CFG0, CFG4)
        )
        in_flash = address >= flash_base
        config = self._registers.get(CFG7 if in_flash else CFG3, 0)
        if config & REGISTER_SPACE:
            raise BusFault("HyperBus register space (CRT) is not modelled")
        if config & BURST_LIMITS:
            raise BusFault("HyperBus burst limits (CFG3 or CFG7 bits 4 and 5) are not modelled")
        if bool(config & IS_RAM) == in_flash:
            raise BusFault(f"HyperBus device type 0x{config:x}: RAM is on chip select 0 (DT0 = 1), "
                           "flash on 1 (DT1 = 0)")  # fmt: skip
        return (self.flash, address - flash_base) if in_flash else (self.ram, address - ram_base)

    def _configure(self, side: int, value: int) -> None:
        if value & CFG_CLEAR and self._busy and self._busy.side == side:
            self._busy = None
            self._machine.end_work(L.HYPERBUS_BYTES)
        if not value & CFG_ENABLE:
            return
        if value & CFG_CONTINUOUS:
            raise BusFault("HyperBus continuous mode is not modelled")
        if self._busy:
            raise BusFault("HyperBus transfer started while one runs: it would change its address")
        transfer = self._checked(side)
        self._busy = transfer
        self.long_bursts += transfer.size > SILICON_BURST_BYTES
        cycle = self._machine.cycle(L.DOMAIN_FC) + START_CYCLES + transfer.size
        due = self._machine.time_fs(L.DOMAIN_FC, cycle)
        self._machine.begin_work(L.HYPERBUS_BYTES, transfer.size, due)
        self._machine.at(due, lambda: self._finish(transfer))

    def _checked(self, side: int) -> _Transfer:
        memory, address = self._target()
        l2, size = self._registers[side + SADDR], self._registers[side + SIZE]
        if size == 0 or size % 4 or address % 2:
            raise BusFault(f"HyperBus transfer of {size} bytes at 0x{address:x}: the address must "
                           "be even and the size a multiple of 4 above 0")  # fmt: skip
        if l2 < L.L2_BASE or l2 + size > L.L2_BASE + L.L2_BYTES:
            raise BusFault(f"HyperBus transfer of {size} bytes at 0x{l2:08x} is not inside L2")
        memory.check(address, size)
        if side == TX and memory is self.flash:
            raise BusFault("HyperFlash commands (erase, program) are not modelled; load the flash "
                           "from the host")  # fmt: skip
        return _Transfer(side, l2, size, memory, address)

    def _finish(self, transfer: _Transfer) -> None:
        """The bytes move when the transfer ends."""
        if self._busy is not transfer:
            return  # cleared meanwhile
        self._busy = None
        self._machine.end_work(L.HYPERBUS_BYTES)
        self.bytes_moved += transfer.size
        if transfer.side == RX:
            data = transfer.memory.read(transfer.address, transfer.size)
            self._machine.write_memory(transfer.l2, data)
            self._machine.soc_events.raise_event(EVENT_RX)
        else:
            data = self._machine.read_memory(transfer.l2, transfer.size)
            transfer.memory.write(transfer.address, data)
            self._machine.soc_events.raise_event(EVENT_TX)
