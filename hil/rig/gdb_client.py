"""A small client of the GDB remote serial protocol: enough to load a program and run it.

Works with any GDB server (OpenOCD, pyOCD, st-util, J-Link, ``hil sim gdb``). Every answer has a
deadline. All failures are FlashErrors that name the server and the packet.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn
from xml.etree import ElementTree

from hil.core.errors import FlashError
from hil.core.rsp import (
    ACK,
    INTERRUPT,
    NAK,
    Decoder,
    Event,
    Kind,
    escape,
    expand_runs,
    frame,
    unescape,
)

RECEIVE_BYTES = 65536
LONGEST_PACKET = 1 << 20
DEFAULT_PACKET_BYTES = 400  # what GDB takes for a server that does not say
RESENDS = 3
_SHOWN = 60
INCLUDE = "include"


@dataclass(frozen=True)
class FlashArea:
    """Flash with sectors of one size, as the server describes it."""

    start: int
    size: int
    sector_bytes: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


class GdbClient:
    """A connection to the server at ``server`` ("host:port"). ``timeout_s`` bounds each answer."""

    def __init__(self, server: str, timeout_s: float) -> None:
        self.server = server
        self._timeout_s = timeout_s
        self._decoder = Decoder(LONGEST_PACKET)
        self._events: list[Event] = []
        self._acknowledge = True
        self._numbers: dict[str, int] | None = None  # of registers by name, once asked for
        self._breaks = b"0"  # kind of the breakpoint that is set
        host, _, port = server.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout_s)
        except (OSError, ValueError, OverflowError) as error:
            raise FlashError(
                f"GDB server {server}: cannot connect: {error}; is the server running, and is "
                "[flasher] server its host:port?"
            ) from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        offered = b"qSupported:swbreak+;hwbreak+;error-message+"
        features = self.ask(offered, may_refuse=True).split(b";")
        sizes = [f[len(b"PacketSize=") :] for f in features if f.startswith(b"PacketSize=")]
        self.packet_bytes = int(sizes[0], 16) if sizes else DEFAULT_PACKET_BYTES
        self._has_map = b"qXfer:memory-map:read+" in features
        self._has_features = b"qXfer:features:read+" in features
        if b"QStartNoAckMode+" in features:
            self.ask(b"QStartNoAckMode")
            self._acknowledge = False
        version = self.ask(b"qGDBServerVersion", may_refuse=True)
        found = re.search(rb"name:([^;]*);(?:version:([^;]*);)?", version)
        self.name = "a GDB server that does not tell its name"
        if found:
            self.name = " ".join(p.decode("ascii", "replace") for p in found.groups() if p)
        self.ask(b"?")

    # -- what the flasher needs -------------------------------------------------------------

    def monitor(self, command: str) -> str:
        """A command of the server itself (``monitor`` in GDB); what it printed."""
        answer = self.ask(b"qRcmd," + command.encode().hex().encode())
        said = self._console
        if answer != b"OK":
            said += _from_hex(answer)
        return said

    def flash_areas(self) -> tuple[FlashArea, ...]:
        """The flash of the server's memory map; empty when it has none."""
        if not self._has_map:
            return ()
        areas = []
        for memory in self._document(b"memory-map:read::").iter("memory"):
            if memory.get("type") == "flash":
                sector = memory.findtext("property[@name='blocksize']") or ""
                values = (memory.get("start", ""), memory.get("length", ""), sector)
                try:
                    areas.append(FlashArea(*(int(value, 0) for value in values)))
                except ValueError as error:
                    raise FlashError(f"GDB server {self.server}: memory map: {error}") from error
        return tuple(areas)

    def register_number(self, name: str) -> int:
        """The number of a register in the server's target description, whatever its case."""
        if self._numbers is None:
            self._numbers = {}
            if self._has_features:
                self._number_registers(b"target.xml", -1)
        if name.lower() not in self._numbers:
            raise FlashError(f"GDB server {self.server} describes no register {name!r}")
        return self._numbers[name.lower()]

    def _number_registers(self, document: bytes, last: int) -> int:
        """Number the registers of a document and of those it includes; the last number given."""
        assert self._numbers is not None
        for element in self._document(b"features:read:" + document + b":").iter():
            if element.tag == INCLUDE:
                last = self._number_registers(element.get("href", "").encode(), last)
            elif element.tag == "reg":
                last = int(element.get("regnum", last + 1))
                self._numbers.setdefault(element.get("name", "").lower(), last)
        return last

    def set_register(self, number: int, value: int) -> None:
        """Write a 32-bit register."""
        self._ok(b"P%x=%s" % (number, value.to_bytes(4, "little").hex().encode()))

    def read_register(self, number: int) -> int:
        """The value of a register, unsigned."""
        answer = self.ask(b"p%x" % number)
        try:
            return int.from_bytes(bytes.fromhex(answer.decode("ascii")), "little")
        except ValueError:
            self._fail(f"answered {answer[:_SHOWN]!r} for register {number}")

    def read_memory(self, address: int, size: int) -> bytes:
        """``size`` bytes, in as many packets as they need."""
        step = max(1, (self.packet_bytes - 8) // 2)
        data = b""
        while len(data) < size:
            want = min(step, size - len(data))
            answer = self.ask(b"m%x,%x" % (address + len(data), want))
            try:
                part = bytes.fromhex(answer.decode("ascii"))
            except ValueError:
                part = b""
            if not 0 < len(part) <= want:
                self._fail(f"answered {answer[:_SHOWN]!r} to a read at 0x{address:x}")
            data += part
        return data

    def write_memory(self, address: int, data: bytes) -> None:
        """Plain memory, not flash."""
        for at, part in self._pieces(data):
            place = b"%x,%x:" % (address + at, len(part))
            if self.ask(b"X" + place + escape(part), may_refuse=True) != b"OK":
                self._ok(b"M" + place + part.hex().encode())

    def erase_flash(self, address: int, size: int) -> None:
        """Whole sectors."""
        self._ok(b"vFlashErase:%x,%x" % (address, size))

    def write_flash(self, address: int, data: bytes) -> None:
        """Erased flash; finished by ``finish_flash``."""
        for at, part in self._pieces(data):
            self._ok(b"vFlashWrite:%x:" % (address + at) + escape(part))

    def finish_flash(self) -> None:
        """Let the server write what it has kept back."""
        self._ok(b"vFlashDone")

    def go(self) -> None:
        """Continue, without waiting for a stop; only ``close`` may follow."""
        self._send(frame(b"c"))

    def set_breakpoint(self, address: int, size: int) -> None:
        """Stop before the instruction of ``size`` bytes there; in hardware if not in memory."""
        place = b",%x,%x" % (address, size)
        self._breaks = b"0" if self.ask(b"Z0" + place, may_refuse=True) == b"OK" else b"1"
        if self._breaks == b"1":
            self._ok(b"Z1" + place)

    def clear_breakpoint(self, address: int, size: int) -> None:
        """Take it away."""
        self._ok(b"z%s,%x,%x" % (self._breaks, address, size))

    def run(self, timeout_s: float) -> str:
        """Continue until the target stops; its stop reply and what the server printed.

        FlashError when it does not stop in time; it has been interrupted then.
        """
        try:
            answer = self.ask(b"c", timeout_s=timeout_s)
        except FlashError:
            with suppress(FlashError):  # what is wrong has been found already
                self._exchange(bytes((INTERRUPT,)), b"an interrupt", self._timeout_s)
            raise
        return f"{answer.decode('ascii', 'replace')} {self._console}".strip()

    def close(self) -> None:
        """Hang up; the target goes on."""
        self._socket.close()

    # -- packets ----------------------------------------------------------------------------

    def ask(self, data: bytes, may_refuse: bool = False, timeout_s: float | None = None) -> bytes:
        """Send a packet, return the answer's data. FlashError: E..., silence, a broken line.

        ``may_refuse``: an empty answer, the protocol's "unknown", is returned as it is.
        """
        answer = self._exchange(frame(data), data, timeout_s or self._timeout_s)
        return self._checked(data, answer, may_refuse)

    def _exchange(self, packet: bytes, asked: bytes, timeout_s: float) -> bytes:
        """Send bytes, return the data of the packet that answers; console text is kept."""
        deadline_s = time.monotonic() + timeout_s
        self._console = ""
        resends = 0
        self._send(packet)
        while True:
            event = self._next(deadline_s, timeout_s, asked)
            if event.kind is Kind.NAK and resends < RESENDS:
                resends += 1
                self._send(packet)
            elif event.kind is Kind.DAMAGED and self._acknowledge:
                self._send(NAK)
            elif event.kind is Kind.PACKET:
                if self._acknowledge:
                    self._send(ACK)
                answer = expand_runs(event.data) if b"*" in event.data else event.data
                if not _is_console(answer):
                    return answer
                self._console += _from_hex(answer[1:])

    def _checked(self, data: bytes, answer: bytes, may_refuse: bool) -> bytes:
        if re.fullmatch(rb"E[0-9a-fA-F]{2}", answer) or answer.startswith(b"E."):
            reason = answer.removeprefix(b"E.").decode("utf-8", "replace")
            printed = f"; it printed: {self._console.strip()[-200:]}" if self._console else ""
            self._fail(f"refused {data[:_SHOWN]!r}: {reason}{printed}")
        if not answer and not may_refuse:
            self._fail(f"does not know {data[:_SHOWN]!r}")
        return answer

    def _ok(self, data: bytes) -> None:
        answer = self.ask(data)
        if answer != b"OK":
            self._fail(f"answered {answer[:_SHOWN]!r} to {data[:_SHOWN]!r}")

    def _document(self, name: bytes) -> ElementTree.Element:
        """An object of qXfer; ``name`` is OBJECT:read:ANNEX: with its colons."""
        text = b""
        while True:
            answer = self.ask(b"qXfer:%s%x,%x" % (name, len(text), self.packet_bytes - 8))
            text += unescape(answer[1:])
            if answer[:1] == b"l":
                break
            if answer[:1] != b"m" or len(answer) == 1:
                self._fail(f"answered {answer[:_SHOWN]!r} to a request for {name.decode()}")
        try:
            # QEMU does not declare the prefix of XInclude, which an XML parser takes amiss.
            return ElementTree.fromstring(text.replace(b"xi:include", b"include"))
        except ElementTree.ParseError as error:
            raise FlashError(f"GDB server {self.server}: {name.decode()}: {error}") from error

    def _pieces(self, data: bytes) -> list[tuple[int, bytes]]:
        # An escape makes two of a byte, and M takes two for each.
        step = max(1, (self.packet_bytes - 40) // 2)
        return [(at, data[at : at + step]) for at in range(0, len(data), step)]

    def _next(self, deadline_s: float, timeout_s: float, asked: bytes) -> Event:
        while not self._events:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self._fail(f"did not answer {asked[:_SHOWN]!r} within {timeout_s:g} s")
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError:
                continue
            except OSError as error:
                self._fail(f"broke off: {error}")
            if not data:
                self._fail(f"closed the connection after {asked[:_SHOWN]!r}")
            self._events += self._decoder.feed(data)
        return self._events.pop(0)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            self._fail(f"broke off: {error}")

    def _fail(self, what: str) -> NoReturn:
        raise FlashError(f"GDB server {self.server} {what}")


def _is_console(answer: bytes) -> bool:
    return answer[:1] == b"O" and answer != b"OK"


def _from_hex(text: bytes) -> str:
    try:
        return bytes.fromhex(text.decode("ascii")).decode("utf-8", "replace")
    except ValueError:
        return text.decode("ascii", "replace")
