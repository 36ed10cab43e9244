"""USART in 8N1 operation, polled or by interrupt, with byte times. Reference: RM0385 section 31.

Modelled: double-buffered transmitter (TXE, TC), receiver with overrun, IDLE, their interrupts, baud
from BRR and the kernel clock, single-wire half duplex (the receiver hears the transmitter). Refused
by name: parity, other word lengths, DMA, other interrupts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.registers import RegisterFile
from hil.sim.socs.stm32f7.timeline import Timeline

ALL = 0xFFFFFFFF
UE, RE, TE, OVER8 = 0, 2, 3, 15
IDLEIE, RXNEIE, TCIE, TXEIE = 4, 5, 6, 7
ORE, IDLE, RXNE, TC, TXE, BUSY, TEACK, REACK = 3, 4, 5, 6, 7, 16, 21, 22
HDSEL, OVRDIS = 3, 12
LEAST_DIVIDER = 16
INTERRUPTS = 1 << IDLEIE | 1 << RXNEIE | 1 << TCIE | 1 << TXEIE
CR1_MODELLED = 1 << UE | 1 << RE | 1 << TE | INTERRUPTS | 1 << OVER8
CR2_MODELLED = 1 << 13  # STOP = 10: two stop bits
CR3_MODELLED = 1 << HDSEL | 1 << OVRDIS | 1 << 11  # ONEBIT only changes the noise filter
LAYOUT = {
    "CR1": (0x00, 0, CR1_MODELLED),
    "CR2": (0x04, 0, CR2_MODELLED),
    "CR3": (0x08, 0, CR3_MODELLED),
    "BRR": (0x0C, 0, 0xFFFF),
    "GTPR": (0x10, 0, 0xFFFF),
    "RTOR": (0x14, 0, ALL),
    "RQR": (0x18, 0, 0),
    "ISR": (0x1C, 0, 0),
    "ICR": (0x20, 0, 0),
    "RDR": (0x24, 0, 0),
    "TDR": (0x28, 0, 0),
}
MODELLED = {"CR1": CR1_MODELLED, "CR2": CR2_MODELLED, "CR3": CR3_MODELLED}


@dataclass
class WireCounts:
    """Bytes of a console since power-on."""

    bytes_in: int = 0
    bytes_out: int = 0
    overruns: int = 0  # not taken in time
    lost_unready: int = 0  # came while the receiver was off


class Usart:
    """One USART on its pins.

    ``clock_hz`` is its kernel clock, ``sends`` and ``hears`` say whether its TX and its RX pin are
    in the right alternate function, ``on_poll`` is called at every read of ISR with the value
    read, ``on_interrupt`` when a write may have changed what the interrupt line does, or when.
    """

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        clock_hz: Callable[[], float],
        sends: Callable[[], bool],
        hears: Callable[[], bool],
        on_poll: Callable[[int], None],
        on_interrupt: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.name = name
        self._file = RegisterFile(name, LAYOUT)
        self._timeline = timeline
        self._clock_hz = clock_hz
        self._sends, self._hears = sends, hears
        self._on_poll = on_poll
        self._on_interrupt = on_interrupt
        self._warn = warn
        self._sent = bytearray()
        self._arriving: deque[tuple[float, int]] = deque()
        self._wire_free_s = 0.0
        self.counts = WireCounts()
        self.reset()

    def reset(self) -> None:
        """By APB1RSTR or APB2RSTR. What is on the wires stays, but for a byte half sent."""
        if self._half_duplex:
            self._arriving.clear()  # its own byte
        self._file.reset()
        self._byte_s: float | None = None
        self._sending: tuple[float, int] | None = None  # (end of its stop bit, byte)
        self._holding: int | None = None
        self._complete = True  # TC
        self._received: int | None = None
        self._data = 0
        self._overrun = False
        self._idle = False
        self._idle_at_s: float | None = None

    # The wire

    @property
    def byte_s(self) -> float | None:
        """Seconds of one frame on the wire, None while the baud rate is not set."""
        return self._byte_s

    def clock_changed(self) -> None:
        """The kernel clock or a register that sets the frame's length has changed."""
        bits = 11 if self._file["CR2"] & CR2_MODELLED else 10
        divider = self._divider()
        oversampled = 2 if self._file.bit("CR1", OVER8) else 1
        usable = divider >= LEAST_DIVIDER
        self._byte_s = bits * divider / oversampled / self._clock_hz() if usable else None

    def _divider(self) -> int:
        """USARTDIV (RM0385 31.5.4)."""
        brr = self._file["BRR"]
        return (brr & 0xFFF0) | (brr & 7) << 1 if self._file.bit("CR1", OVER8) else brr

    def feed(self, data: bytes) -> None:
        """Bytes start on the RX wire now, behind those already on it."""
        frame_s = self.byte_s
        if frame_s is None or not self.listening:
            self.counts.lost_unready += len(data)
            return
        at_s = max(self._timeline.now_s, self._wire_free_s)
        for byte in data:
            at_s += frame_s
            self._arriving.append((at_s, byte))
        self._wire_free_s = at_s

    def drain(self) -> bytes:
        """Bytes whose stop bit has left the TX pin since the last call."""
        self.sync()
        sent = bytes(self._sent)
        self._sent.clear()
        return sent

    def next_event_s(self) -> float | None:
        """When a status flag changes next by itself; None if nothing is under way."""
        times = [] if self._sending is None else [self._sending[0]]
        if self._arriving:
            times.append(self._arriving[0][0])
        elif self._idle_at_s is not None:
            times.append(self._idle_at_s)
        return min(times, default=None)

    def next_arrival_s(self) -> float | None:
        """When the next byte on the RX wire arrives."""
        return self._arriving[0][0] if self._arriving else None

    @property
    def listening(self) -> bool:
        """A byte on the RX wire would be received."""
        return self._receiving() and self.byte_s is not None and not self._half_duplex

    @property
    def receive_interrupt_enabled(self) -> bool:
        """A received byte raises the interrupt line."""
        return self._file.bit("CR1", RXNEIE)

    @property
    def interrupt_enabled(self) -> bool:
        """Some flag raises the interrupt line."""
        return bool(self._file["CR1"] & INTERRUPTS)

    @property
    def interrupt(self) -> bool:
        """The interrupt line. Each enable has its flag's place in ISR; RXNEIE hears ORE too."""
        flags = self._status()
        flags |= (flags >> ORE & 1) << RXNEIE
        return self._file.bit("CR1", UE) and bool(flags & self._file["CR1"] & INTERRUPTS)

    def next_interrupt_s(self) -> float | None:
        """When time alone may next raise the interrupt line; None if nothing under way does."""
        enabled, times = self._file["CR1"], []
        if self._sending is not None and enabled & (1 << TXEIE | 1 << TCIE):
            times.append(self._sending[0])
        if enabled & (1 << RXNEIE | 1 << IDLEIE):
            if self._arriving:
                times.append(self._arriving[0][0])
            elif self._idle_at_s is not None and enabled >> IDLEIE & 1:
                times.append(self._idle_at_s)
        return min(times, default=None)

    def sync(self) -> None:
        """Let everything happen that is due by now."""
        if self._sending is None and not self._arriving and self._idle_at_s is None:
            return
        now_s = self._timeline.now_s
        while self._sending is not None and self._sending[0] <= now_s:
            self._finish_byte()
        while self._arriving and self._arriving[0][0] <= now_s:
            at_s, byte = self._arriving.popleft()
            self._arrive(at_s, byte)
        if self._idle_at_s is not None and self._idle_at_s <= now_s:
            self._idle_at_s = None
            self._idle = not self._arriving

    def _finish_byte(self) -> None:
        assert self._sending is not None
        end_s, byte = self._sending
        self._sent.append(byte)
        self.counts.bytes_out += 1
        self._sending = None
        if self._holding is None:
            self._complete = True
        else:
            self._send(end_s, self._holding)
            self._holding = None

    def _send(self, start_s: float, byte: int) -> None:
        frame_s = self.byte_s
        if frame_s is None:
            raise BusError(
                f"{self.name} sends with BRR = {self._file['BRR']}: USARTDIV is {self._divider()}, "
                f"must be {LEAST_DIVIDER} or more; set the baud rate"
            )
        self._sending = (start_s + frame_s, byte)
        if self._half_duplex and self._receiving():
            self._arriving.append(self._sending)

    @property
    def _half_duplex(self) -> bool:
        """TX and RX are joined inside; the RX pin is not used (RM0385 31.5.13)."""
        return self._file.bit("CR3", HDSEL)

    def _receiving(self) -> bool:
        on = self._file.bit("CR1", UE) and self._file.bit("CR1", RE)
        return on and (self._sends() if self._half_duplex else self._hears())

    def _arrive(self, at_s: float, byte: int) -> None:
        if not self._receiving():
            self.counts.lost_unready += 1
            return
        frame_s = self.byte_s
        self._idle_at_s = None if frame_s is None else at_s + frame_s
        if self._received is not None and not self._file.bit("CR3", OVRDIS):
            self._overrun = True
            self.counts.overruns += 1
            return
        self.counts.overruns += self._received is not None
        self._received = self._data = byte
        self.counts.bytes_in += 1

    # Registers

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        if register == "ISR":
            self.sync()
            status = self._status()
            self._on_poll(status)
            return status
        if register == "RDR":
            self.sync()
            self._received = None
            return self._data
        return self._file[register]

    def _status(self) -> int:
        enabled = self._file.bit("CR1", UE)
        status = self._complete << TC | (self._holding is None) << TXE
        status |= self._overrun << ORE | self._idle << IDLE | (self._received is not None) << RXNE
        status |= (enabled and self._file.bit("CR1", TE)) << TEACK
        status |= (enabled and self._file.bit("CR1", RE)) << REACK
        return status | self._is_arriving() << BUSY

    def _is_arriving(self) -> bool:
        frame_s = self.byte_s
        if not self._arriving or frame_s is None:
            return False
        return self._timeline.now_s >= self._arriving[0][0] - frame_s

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        self.sync()
        if register == "TDR":
            self._transmit(value & 0xFF)
        elif register == "ICR":
            self._clear(value)
        elif register == "RQR":
            if value & ~0x18:
                raise BusError(f"{self.name}_RQR = 0x{value:x}: only the two flushes are modelled")
            self._received = None if value & 0x8 else self._received
        elif register in MODELLED and value & ~MODELLED[register]:
            raise BusError(
                f"{self.name}_{register} = 0x{value:x}: bits 0x{value & ~MODELLED[register]:x} "
                "(parity, word length, DMA, interrupts or modes) are not modelled"
            )
        elif register == "BRR" and self._file.bit("CR1", UE):
            self._warn(f"{self.name}_BRR written while the USART is enabled: ignored")
        else:
            self._file.store(register, value)
            self.clock_changed()
            if not self._file.bit("CR1", UE):
                self._received, self._overrun, self._idle, self._complete = None, False, False, True
        if self.interrupt_enabled:
            self._on_interrupt()

    def _clear(self, value: int) -> None:
        if value >> ORE & 1:
            self._overrun = False
        if value >> IDLE & 1:
            self._idle = False
        if value >> TC & 1:
            self._complete = False

    def _transmit(self, byte: int) -> None:
        if not (self._file.bit("CR1", UE) and self._file.bit("CR1", TE)):
            self._warn(f"{self.name}_TDR written while the transmitter is off: byte lost")
            return
        if not self._sends():
            self._warn(f"{self.name} sends while its TX pin is not in its alternate function")
            return
        self._complete = False
        if self._sending is None:
            self._send(self._timeline.now_s, byte)
            return
        if self._holding is not None:
            self._warn(f"{self.name}_TDR written while TXE is 0: a byte is overwritten")
        self._holding = byte
