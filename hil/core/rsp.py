"""Packets of the GDB remote serial protocol: framing, checksums, escapes. No I/O.

A packet is ``$data#cc``: ``cc`` is the sum of the bytes between the marks modulo 256, in hex. In
``data`` the bytes ``#``, ``$``, ``}`` and ``*`` are sent as ``}`` and the byte XOR 0x20. Each
packet is answered by ``+`` or, damaged, by ``-``, until both sides agree on QStartNoAckMode.
A lone 0x03 is an interrupt. Source: GDB manual, appendix "GDB Remote Serial Protocol".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

INTERRUPT = 0x03
ACK, NAK = b"+", b"-"
ESCAPE, ESCAPE_XOR = 0x7D, 0x20
ESCAPED = frozenset(b"#$}*")
CRC_POLYNOMIAL = 0x04C11DB7


def checksum(data: bytes) -> int:
    """The sum of the (escaped) bytes between ``$`` and ``#``, modulo 256."""
    return sum(data) & 0xFF


def escape(data: bytes) -> bytes:
    """``data`` without bytes that mean something to the framing."""
    out = bytearray()
    for byte in data:
        out += bytes((ESCAPE, byte ^ ESCAPE_XOR)) if byte in ESCAPED else bytes((byte,))
    return bytes(out)


def unescape(data: bytes) -> bytes:
    """The inverse of ``escape``; ValueError for an escape with nothing behind it."""
    head, *parts = data.split(bytes((ESCAPE,)))
    out = bytearray(head)
    for part in parts:  # the byte behind an escape is never an escape itself
        if not part:
            raise ValueError("an escape with nothing behind it")
        out.append(part[0] ^ ESCAPE_XOR)
        out += part[1:]
    return bytes(out)


def frame(data: bytes) -> bytes:
    """The packet that carries ``data``, which has been escaped where it is binary."""
    return b"$" + data + b"#%02x" % checksum(data)


def expand_runs(data: bytes) -> bytes:
    """Undo run-length encoding: ``x*n`` is x and n - 29 more of it. ValueError: no count."""
    head, *parts = data.split(b"*")
    out = bytearray(head)
    for part in parts:
        if not part or not out or part[0] < 29:
            raise ValueError("run-length encoding without a byte or a count")
        out += out[-1:] * (part[0] - 29) + part[1:]
    return bytes(out)


def crc32(data: bytes) -> int:
    """The CRC of the ``qCRC`` packet: most significant bit first, from ~0, not inverted."""
    register = 0xFFFFFFFF
    for byte in data:
        register = (register << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[register >> 24 ^ byte]
    return register


def _crc_entry(index: int) -> int:
    register = index << 24
    for _ in range(8):
        register = register << 1 ^ (CRC_POLYNOMIAL if register & 0x80000000 else 0)
    return register & 0xFFFFFFFF


_CRC_TABLE = tuple(_crc_entry(index) for index in range(256))


class Kind(Enum):
    """What the decoder found on the wire."""

    PACKET = "a packet with the right checksum"
    DAMAGED = "a packet with a wrong checksum or longer than allowed"
    INTERRUPT = "0x03"
    ACK = "+"
    NAK = "-"


@dataclass(frozen=True)
class Event:
    """One finding; ``data`` (still escaped) is a packet's."""

    kind: Kind
    data: bytes = b""


_LONE = {ACK[0]: Kind.ACK, NAK[0]: Kind.NAK, INTERRUPT: Kind.INTERRUPT}


class Decoder:
    """Cuts a stream of bytes into events. Noise between packets is skipped."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._received = bytearray()

    @property
    def inside_packet(self) -> bool:
        """A packet has begun and has not ended."""
        return bool(self._received)

    def drop(self) -> None:
        """Forget the packet that has begun."""
        self._received.clear()

    def feed(self, data: bytes) -> list[Event]:
        """Everything that ``data`` completes, in order."""
        self._received += data
        events: list[Event] = []
        while self._received:
            event, used = self._next()
            if used == 0:
                break
            del self._received[:used]
            if event is not None:
                events.append(event)
        return events

    def _next(self) -> tuple[Event | None, int]:
        """The event at the front and its bytes; no bytes: incomplete."""
        first = self._received[0]
        if first != ord("$"):
            kind = _LONE.get(first)
            return (None if kind is None else Event(kind)), 1
        end = self._received.find(b"#")
        if end < 0 and len(self._received) > self._longest:
            return Event(Kind.DAMAGED), len(self._received)
        if end < 0 or len(self._received) < end + 3:
            return None, 0
        data = bytes(self._received[1:end])
        try:
            right = int(self._received[end + 1 : end + 3], 16) == checksum(data)
        except ValueError:
            right = False
        if not right or len(data) > self._longest:
            return Event(Kind.DAMAGED), end + 3
        return Event(Kind.PACKET, data), end + 3
