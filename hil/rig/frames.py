"""Frames of the console protocol: encoding, and finding them again in a stream of bytes.

Pure: bytes in, frames and oddities out. The layout is in ``hil.core.console``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hil.core.console import CRC, HEADER, MAX_PAYLOAD, SYNC

OVERHEAD_BYTES = len(SYNC) + HEADER.size + CRC.size


@dataclass(frozen=True)
class Frame:
    """A frame whose CRC was right."""

    type: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Damage:
    """Bytes that belong to no frame. ``crc`` is true when they looked like one until its end."""

    reason: str
    data: bytes
    crc: bool = False

    def __str__(self) -> str:
        return f"{self.reason}: {shown(self.data)}"


def shown(data: bytes, limit: int = 24) -> str:
    """The last ``limit`` bytes in hex, for an error message."""
    if not data:
        return "nothing"
    text = data[-limit:].hex(" ")
    return f"… {text} ({len(data)} bytes)" if len(data) > limit else text


def encode(type_: int, sequence: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame on the wire."""
    assert len(payload) <= MAX_PAYLOAD, f"payload of {len(payload)} bytes, most {MAX_PAYLOAD}"
    body = HEADER.pack(type_, sequence, len(payload)) + payload
    return SYNC + body + CRC.pack(zlib.crc32(body))


class FrameParser:
    """Takes bytes as they come and gives frames and damage in their order.

    After a bad frame the search goes on behind its SYNC, not behind its end: the length may be
    what was damaged, and a good frame may lie inside the supposed payload.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bytes:
        """Bytes received that may still become a frame."""
        return bytes(self._buffer)

    def clear(self) -> bytes:
        """Forget and return the pending bytes."""
        pending = self.pending
        self._buffer.clear()
        return pending

    def give_up(self) -> list[Frame | Damage]:
        """Wait no more for the end of the frame that has begun; what lies behind its SYNC."""
        begun = self.clear()
        return self.feed(begun[len(SYNC) :]) if begun.startswith(SYNC) else []

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """What is complete after ``data``."""
        self._buffer += data
        found: list[Frame | Damage] = []
        while (item := self._next()) is not None:
            found.append(item)
        return found

    def _next(self) -> Frame | Damage | None:
        buffer = self._buffer
        start = buffer.find(SYNC)
        if start < 0:
            # The last byte may be the first half of a SYNC.
            keep = 1 if buffer[-1:] == SYNC[:1] else 0
            return self._skip(len(buffer) - keep, "no frame in these bytes")
        if start > 0:
            return self._skip(start, "bytes in front of a frame")
        body = len(SYNC)
        if len(buffer) < body + HEADER.size:
            return None
        type_, sequence, length = HEADER.unpack_from(buffer, body)
        if length > MAX_PAYLOAD:
            return self._skip(body, f"a header claims {length} payload bytes")
        end = body + HEADER.size + length
        if len(buffer) < end + CRC.size:
            return None
        (sent,) = CRC.unpack_from(buffer, end)
        seen = zlib.crc32(buffer[body:end])
        if seen != sent:
            reason = (
                f"CRC 0x{sent:08x} on a frame of type 0x{type_:02x} and {length} payload bytes "
                f"that has 0x{seen:08x}"
            )
            damage = Damage(reason, bytes(buffer[: end + CRC.size]), crc=True)
            del buffer[:body]
            return damage
        payload = bytes(buffer[body + HEADER.size : end])
        del buffer[: end + CRC.size]
        return Frame(type_, sequence, payload)

    def _skip(self, count: int, reason: str) -> Damage | None:
        if count == 0:
            return None
        skipped = bytes(self._buffer[:count])
        del self._buffer[:count]
        return Damage(reason, skipped)
