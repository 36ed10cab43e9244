"""The uDMA UART (channel 4, 0x1A102200): no FIFOs, bytes move between the wire and L2.

Each direction takes two queued transfers. A byte to be sent is fetched when the wire is free for
it, and goes at the rate then set; clearing ends the transfers behind it. A received byte with no
transfer queued is lost, as on the chip. A received byte is stored with the whole 32-bit word it
starts (measured), so one-byte transfers need a word each.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

SADDR, SIZE, CFG = 0x0, 0x4, 0x8
RX, TX = 0x00, 0x10
STATUS, SETUP = 0x20, 0x24
CFG_ENABLE, CFG_CLEAR = 1 << 4, 1 << 5
SETUP_TX, SETUP_RX = 1 << 8, 1 << 9
EVENT_RX, EVENT_TX = 8, 9  # SoC event numbers
QUEUE = 2


@dataclass
class _Transfer:
    address: int
    size: int
    done: int = 0
    word: int = 0  # bytes of the L2 word under way


class Uart:
    """UART with the divider of the FC clock; one object is both directions."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reset()

    def reset(self) -> None:
        """Disabled, nothing queued, nothing on the wires."""
        self._setup = 0
        self._registers = {RX + SADDR: 0, RX + SIZE: 0, TX + SADDR: 0, TX + SIZE: 0}
        self._rx: deque[_Transfer] = deque()
        self._tx: deque[_Transfer] = deque()
        self._rx_wire: deque[tuple[int, int]] = deque()
        self._rx_wire_free_fs = 0
        self._tx_wire_free_fs = 0
        self._sent: deque[tuple[int, int]] = deque()
        self.lost = 0

    @property
    def _data_bits(self) -> int:
        return 5 + ((self._setup >> 1) & 3)

    def byte_fs(self) -> int:
        """Duration of one character: start, data, parity, stop bits at the programmed divider."""
        bits = 1 + self._data_bits + (self._setup & 1) + 1 + ((self._setup >> 3) & 1)
        divider = (self._setup >> 16) + 1  # silicon; the vendor simulator counts one more
        return bits * divider * self._machine.period_fs(L.DOMAIN_FC)

    @property
    def listening(self) -> bool:
        """Whether a byte that arrives would be stored."""
        return bool(self._setup & SETUP_RX and self._rx)

    def feed(self, data: bytes) -> None:
        """Bytes start to arrive now, back to back."""
        if not self._setup & SETUP_RX:
            self.lost += len(data)
            return
        start = max(self._machine.now_fs, self._rx_wire_free_fs)
        for value in data:
            start += self.byte_fs()
            self._rx_wire.append((start, value & ((1 << self._data_bits) - 1)))
            self._machine.at(start, self._arrive)
        self._rx_wire_free_fs = start

    def drain(self) -> bytes:
        """Bytes that have left the TX pin by now."""
        data = bytearray()
        while self._sent and self._sent[0][0] <= self._machine.now_fs:
            data.append(self._sent.popleft()[1])
        return bytes(data)

    def _arrive(self) -> None:
        _, value = self._rx_wire.popleft()
        if not self.listening:
            self.lost += 1
            return
        transfer = self._rx[0]
        address = transfer.address + transfer.done
        transfer.word |= value << (8 * (address & 3))
        transfer.done += 1
        if transfer.done == transfer.size or address & 3 == 3:
            self._store_word(address & ~3, transfer.word)
            transfer.word = 0
        if transfer.done == transfer.size:
            self._rx.popleft()
            self._machine.soc_events.raise_event(EVENT_RX)

    def _store_word(self, address: int, word: int) -> None:
        state = self._machine.state
        state.mem[L.L2_WORD + ((address - L.L2_BASE) >> 2)] = word
        half = (address - L.L2_BASE) >> 1
        state.code[max(half - 1, 0) : half + 2] = 0  # as access.forget_code

    def _load_byte(self, address: int) -> int:
        word = int(self._machine.state.mem[L.L2_WORD + ((address - L.L2_BASE) >> 2)])
        return (word >> (8 * (address & 3))) & 0xFF

    def _send_next(self) -> bool:
        """Fetches the next byte from L2 and puts it on the wire, if that is free and one may go.

        A transfer ends when its last byte begins. Whether this was quiet (``Machine.at``).
        """
        busy = self._tx_wire_free_fs > self._machine.now_fs
        if busy or not self._setup & SETUP_TX or not self._tx:
            return True
        transfer = self._tx[0]
        value = self._load_byte(transfer.address + transfer.done)
        transfer.done += 1
        self._tx_wire_free_fs = self._machine.now_fs + self.byte_fs()
        self._sent.append((self._tx_wire_free_fs, value & ((1 << self._data_bits) - 1)))
        self._machine.at(self._tx_wire_free_fs, self._send_next)
        if transfer.done < transfer.size:
            return True
        self._tx.popleft()
        self._machine.soc_events.raise_event(EVENT_TX)
        return False

    def _queue(self, side: int) -> deque[_Transfer]:
        return self._rx if side == RX else self._tx

    def read(self, offset: int) -> int:
        """SADDR and SIZE read back what was written, not the progress (measured)."""
        if offset == STATUS:
            return int(self._tx_wire_free_fs > self._machine.now_fs)
        if offset == SETUP:
            return self._setup
        if offset in (RX + CFG, TX + CFG):
            queued = len(self._queue(offset - CFG))
            return (CFG_ENABLE if queued else 0) | (CFG_CLEAR if queued == QUEUE else 0)
        if offset in self._registers:
            return self._registers[offset]
        raise BusFault(f"UART has no register +0x{offset:x}")

    def write(self, offset: int, value: int) -> None:
        """Registers of both channels; CFG starts or clears transfers."""
        if offset == SETUP:
            self._setup = value
            self._send_next()
        elif offset in (RX + CFG, TX + CFG):
            self._configure(offset - CFG, value)
        elif offset in (RX + SADDR, TX + SADDR):
            self._registers[offset] = value & ~3  # the two low bits are dropped (measured)
        elif offset in self._registers:
            self._registers[offset] = value & 0x1FFFF
        else:
            raise BusFault(f"UART has no writable register +0x{offset:x}")

    def _configure(self, side: int, value: int) -> None:
        queue = self._queue(side)
        if value & CFG_CLEAR:
            queue.clear()
        if not value & CFG_ENABLE:
            return
        if value & 1:
            raise BusFault("UART continuous mode is not modelled")
        address, size = self._registers[side + SADDR], self._registers[side + SIZE]
        if not (address >= L.L2_BASE and address + size <= L.L2_BASE + L.L2_BYTES and size):
            raise BusFault(f"UART transfer of {size} bytes at 0x{address:08x} is not inside L2")
        if len(queue) == QUEUE:
            raise BusFault("UART transfer queued while two are pending")
        queue.append(_Transfer(address, size))
        if side == TX:
            self._send_next()
