"""A GDB stub for a virtual chip: packets in, packets out, no sockets.

All-stop mode; a core is a thread, numbered from 1. The chip is held from ``attach`` on and runs
from a continue packet until a breakpoint, a fault, an exit, or the client's interrupt. What the
stub does not know is answered with the empty packet, as the protocol asks; what it cannot do,
with ``E.`` and the reason. That is no answer to a read of memory unless the client has announced
``error-message+`` (GDB does from version 16 on): else E01, and ``monitor why`` tells the reason.

Stop signals: 5 breakpoint, step or reset; 2 interrupt; 11 fault (the reason goes out as console
text before it); an exit of the firmware is W with its code.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.core.errors import SimulationError, TargetError
from hil.core.rsp import NAK, Decoder, Event, Kind, crc32, escape, frame, unescape
from hil.sim.chip import Stop
from hil.sim.debug import Debugger, check_flash
from hil.sim.gdb.description import memory_map_xml, target_xml
from hil.sim.powered_chip import PoweredChip

PACKET_BYTES = 0x4000
SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11
HELP = (
    "monitor reset [halt]   reset the chip; it stays stopped until it is continued\n"
    "monitor halt           nothing to do: the chip is stopped whenever this can be asked\n"
    "monitor why            why the last thing that was refused was refused\n"
)


class Stub:
    """The protocol for one client after the other. ``chip`` must have a debugger."""

    def __init__(self, chip: PoweredChip) -> None:
        debugger = chip.debugger
        if debugger is None:
            raise SimulationError(f"{chip.chip.name}: this chip has no debug port")
        self.chip = chip
        self.debug: Debugger = debugger
        self.hang_up = False
        self._decoder = Decoder(PACKET_BYTES)
        self._running = False
        self._reset_session()

    def _reset_session(self) -> None:
        self._acknowledge = True
        self._last = b""
        self._takes_reasons = False
        self._refusal = "nothing has been refused"
        self._selected = 0  # core of g, G, p, P
        self._breakpoints: set[int] = set()
        self._decoder.drop()
        self.hang_up = False

    # -- the connection ---------------------------------------------------------------------

    def attach(self) -> None:
        """A client has come: the chip is held."""
        self._reset_session()
        self._running = False
        self.chip.held = True

    def detach(self) -> None:
        """The client has gone: its breakpoints go, the chip runs on."""
        for address in list(self._breakpoints):
            self.debug.clear_breakpoint(address)
        self._breakpoints.clear()
        self._running = False
        self.chip.release()

    @property
    def running(self) -> bool:
        """The client waits for the chip to stop."""
        return self._running

    @property
    def inside_packet(self) -> bool:
        """Half a packet has arrived."""
        return self._decoder.inside_packet

    def drop_packet(self) -> bytes:
        """The rest of a packet did not come in time: ask for it again."""
        self._decoder.drop()
        return NAK if self._acknowledge else b""

    def feed(self, data: bytes) -> bytes:
        """Bytes of the client; returns those to send back."""
        out = b""
        for event in self._decoder.feed(data):
            out += self._on_event(event)
        return out

    def poll(self) -> bytes:
        """After the chip has run: the stop reply, if it has stopped."""
        if not self._running or self.chip.running or self.chip.stop is Stop.WAITING:
            return b""
        return self._stopped(self._stop_text())

    def _on_event(self, event: Event) -> bytes:
        if event.kind is Kind.NAK:
            return self._last
        if event.kind is Kind.INTERRUPT:
            return self._stopped(self._signal(SIGINT)) if self._running else b""
        if event.kind is Kind.DAMAGED:
            return NAK if self._acknowledge else b""
        if event.kind is Kind.ACK:
            return b""
        plus = b"+" if self._acknowledge else b""
        return plus + self._packet(event.data)

    def _packet(self, data: bytes) -> bytes:
        if self._running:
            # All-stop: nothing but an interrupt can come now.
            return self._reply(b"E.the chip runs; interrupt it first")
        try:
            answer = self._answer(data)
        except (SimulationError, TargetError) as error:
            answer = self._refuse(data, str(error))
        except (ValueError, IndexError, UnicodeDecodeError):
            answer = self._refuse(data, f"malformed packet {data[:20]!r}")
        return b"" if answer is None else self._reply(answer)

    def _refuse(self, data: bytes, reason: str) -> bytes:
        self._refusal = reason
        if data[:1] == b"m" and not self._takes_reasons:
            return b"E01"
        return _error(reason)

    def _reply(self, data: bytes) -> bytes:
        self._last = frame(data)
        return self._last

    # -- packets ----------------------------------------------------------------------------

    def _answer(self, data: bytes) -> bytes | None:
        """The answer's data; None when it comes later or never."""
        for name, handler in _BY_NAME:
            if data.startswith(name):
                return handler(self, data[len(name) :])
        known = _BY_LETTER.get(data[:1])
        return b"" if known is None else known(self, data[1:])

    def _supported(self, text: bytes) -> bytes:
        self._takes_reasons = b"error-message+" in text[1:].split(b";")
        return (
            b"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;qXfer:memory-map:read+;"
            b"swbreak+;hwbreak+;vContSupported+;"
            b"error-message+" % PACKET_BYTES
        )

    def _no_ack(self, _text: bytes) -> bytes:
        self._acknowledge = False
        return b"OK"

    def _version(self, _text: bytes) -> bytes:
        return b"name:hil virtual %s;version:1;" % self.chip.chip.name.encode()

    def _features(self, text: bytes) -> bytes:
        name, part = text.split(b":", 1)
        if name != b"target.xml":
            return _error(f"no document {name!r}")
        return _slice(target_xml(self.debug), part)

    def _memory_map(self, text: bytes) -> bytes:
        return _slice(memory_map_xml(self.debug), text)

    def _question(self, _text: bytes) -> bytes:
        # An exit is told once, when it happens: its packet ends the client's session.
        exited = self.chip.stop is Stop.EXITED
        return self._signal(SIGTRAP) if exited else self._stop_text()

    # Threads

    def _thread_select(self, text: bytes) -> bytes:
        if text[:1] not in (b"g", b"c"):
            return b""
        core = self._core(text[1:])
        if text[:1] == b"g":
            self._selected = core
        return b"OK"

    def _core(self, text: bytes) -> int:
        """A thread's core; 0 and -1 (any, all) keep the selected one."""
        number = int(text, 16)
        if number <= 0:
            return self._selected
        if number > len(self.debug.core_names):
            raise SimulationError(f"no thread {number}")
        return number - 1

    def _thread_alive(self, text: bytes) -> bytes:
        self._core(text)
        return b"OK"

    def _current_thread(self, _text: bytes) -> bytes:
        return b"QC%x" % (self._selected + 1)

    def _first_threads(self, _text: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (n + 1) for n in range(len(self.debug.core_names)))

    def _thread_text(self, text: bytes) -> bytes:
        core = self._core(text)
        return (
            f"{self.debug.core_names[core]} {self.debug.core_state(core)}".encode().hex().encode()
        )

    # Registers

    def _read_registers(self, _text: bytes) -> bytes:
        return b"".join(self._register_hex(number) for number in range(len(self.debug.registers)))

    def _register_hex(self, number: int) -> bytes:
        value = self.debug.read_register(self._selected, number)
        return value.to_bytes(self._bytes_of(number), "little").hex().encode()

    def _bytes_of(self, number: int) -> int:
        if not 0 <= number < len(self.debug.registers):
            raise SimulationError(f"no register {number}")
        return self.debug.registers[number].bits // 8

    def _write_registers(self, text: bytes) -> bytes:
        data = bytes.fromhex(text.decode("ascii"))
        sizes = [self._bytes_of(number) for number in range(len(self.debug.registers))]
        if len(data) != sum(sizes):
            raise SimulationError(f"{len(data)} bytes of registers; there are {sum(sizes)}")
        at = 0
        for number, size in enumerate(sizes):
            self._set_register(number, data[at : at + size])
            at += size
        return b"OK"

    def _read_register(self, text: bytes) -> bytes:
        number = int(text, 16)
        self._bytes_of(number)
        return self._register_hex(number)

    def _write_register(self, text: bytes) -> bytes:
        number_text, value = text.split(b"=")
        number, data = int(number_text, 16), bytes.fromhex(value.decode("ascii"))
        if len(data) != self._bytes_of(number):
            raise SimulationError(f"register {number} has {self._bytes_of(number)} bytes")
        self._set_register(number, data)
        return b"OK"

    def _set_register(self, number: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if value != self.debug.read_register(self._selected, number):
            self.debug.write_register(self._selected, number, value)

    # Memory

    def _read_memory(self, text: bytes) -> bytes:
        address, size = _pair(text)
        if size > PACKET_BYTES // 2:
            raise SimulationError(f"{size} bytes do not fit a packet")
        return self.debug.read_memory(address, size).hex().encode()

    def _write_hex(self, text: bytes) -> bytes:
        place, data = text.split(b":", 1)
        return self._store(*_pair(place), bytes.fromhex(data.decode("ascii")))

    def _write_binary(self, text: bytes) -> bytes:
        place, data = text.split(b":", 1)
        return self._store(*_pair(place), unescape(data))

    def _store(self, address: int, size: int, data: bytes) -> bytes:
        if len(data) != size:
            raise SimulationError(f"{len(data)} bytes came, {size} were announced")
        if data:
            self.debug.write_memory(address, data)
            self.chip.loaded = True
        return b"OK"

    def _crc(self, text: bytes) -> bytes:
        return b"C%x" % crc32(self.debug.read_memory(*_pair(text)))

    # Flash

    def _flash_erase(self, text: bytes) -> bytes:
        address, size = _pair(text)
        self.debug.erase_flash(address, size)
        return b"OK"

    def _flash_write(self, text: bytes) -> bytes:
        place, data = text.split(b":", 1)
        address, content = int(place, 16), unescape(data)
        if not content:
            return b"OK"
        check_flash(self.debug.regions, address, len(content))
        self.debug.write_flash(address, content)
        self.chip.loaded = True
        return b"OK"

    def _flash_done(self, _text: bytes) -> bytes:
        return b"OK"

    # Running

    def _continue(self, text: bytes) -> bytes | None:
        self._jump(text)
        return self._resume()

    def _continue_signal(self, text: bytes) -> bytes | None:
        return self._continue(text.partition(b";")[2])

    def _step(self, text: bytes) -> bytes | None:
        self._jump(text)
        return self._step_core(self._selected)

    def _step_signal(self, text: bytes) -> bytes | None:
        return self._step(text.partition(b";")[2])

    def _continue_how(self, _text: bytes) -> bytes:
        return b"vCont;c;C;s;S"

    def _continue_each(self, text: bytes) -> bytes | None:
        """``vCont;action[:thread]...``: a step of one thread, or else a continue of all."""
        actions = [part.partition(b":")[::2] for part in text.split(b";")]
        for action, thread in actions:
            if action[:1] in (b"s", b"S"):
                return self._step_core(self._core(thread) if thread else self._selected)
        if any(action[:1] in (b"c", b"C") for action, _ in actions):
            return self._resume()
        return b""

    def _jump(self, text: bytes) -> None:
        if text:
            self.debug.write_register(self._selected, self.debug.pc_number, int(text, 16))

    def _step_core(self, core: int) -> bytes:
        met = self.chip.step(core) is Stop.BREAK
        self._selected = self.debug.stopped_core() if met else core
        return self._stop_text()

    def _resume(self) -> bytes | None:
        for core in {self.debug.stopped_core(), self._selected}:
            # Out of the breakpoint it stands at.
            if self._pc(core) in self._breakpoints and self.chip.step(core) is not None:
                return self._stop_text()
        self._running = True
        self.chip.release()
        return None

    def _pc(self, core: int) -> int:
        return self.debug.read_register(core, self.debug.pc_number)

    def _stopped(self, answer: bytes) -> bytes:
        self._running = False
        self.chip.held = True
        return self._fault_text() + self._reply(answer)

    def _stop_text(self) -> bytes:
        stop = self.chip.stop
        if stop is Stop.EXITED:
            return b"W%02x" % ((self.chip.chip.exit_code or 0) & 0xFF)
        if stop is Stop.FAULT:
            self._selected = self.debug.stopped_core()
            return self._signal(SIGSEGV)
        if stop is Stop.BREAK and self._running:
            self._selected = self.debug.stopped_core()
        return self._signal(SIGTRAP)

    def _fault_text(self) -> bytes:
        """Why the chip has halted, for the client's console."""
        if self.chip.stop is not Stop.FAULT:
            return b""
        return frame(b"O" + f"{self.chip.fault_text}\n".encode().hex().encode())

    def _signal(self, number: int) -> bytes:
        return b"T%02xthread:%x;" % (number, self._selected + 1)

    # Breakpoints

    def _insert(self, text: bytes) -> bytes:
        kind, address = self._breakpoint(text)
        if kind not in (0, 1):
            return b""
        self.debug.set_breakpoint(address)
        self._breakpoints.add(address)
        return b"OK"

    def _remove(self, text: bytes) -> bytes:
        kind, address = self._breakpoint(text)
        if kind not in (0, 1):
            return b""
        self.debug.clear_breakpoint(address)
        self._breakpoints.discard(address)
        return b"OK"

    @staticmethod
    def _breakpoint(text: bytes) -> tuple[int, int]:
        kind, address, _size = text.split(b";")[0].split(b",")
        return int(kind, 16), int(address, 16)

    # Reset and end

    def _command(self, text: bytes) -> bytes:
        words = bytes.fromhex(text.decode("ascii")).decode("utf-8").split()
        if words in (["reset"], ["reset", "halt"], ["reset", "init"]):
            self.chip.reset()
            self.chip.held = True
            self._selected = 0
            return b"OK"
        if words == ["halt"]:
            return b"OK"
        said = {"help": HELP, "why": f"{self._refusal}\n"}.get(
            " ".join(words), f"no command {' '.join(words)!r}\n{HELP}"
        )
        return said.encode().hex().encode()

    def _detach(self, _text: bytes) -> bytes:
        self.hang_up = True
        return b"OK"

    def _kill(self, _text: bytes) -> None:
        self.hang_up = True

    def _kill_process(self, _text: bytes) -> bytes:
        return self._detach(b"")


_Handler = Callable[[Stub, bytes], bytes | None]
# The longer name first where one begins with another.
_BY_NAME: tuple[tuple[bytes, _Handler], ...] = (
    (b"qSupported", Stub._supported),
    (b"QStartNoAckMode", Stub._no_ack),
    (b"qXfer:features:read:", Stub._features),
    (b"qXfer:memory-map:read::", Stub._memory_map),
    (b"qGDBServerVersion", Stub._version),
    (b"qfThreadInfo", Stub._first_threads),
    (b"qsThreadInfo", lambda _stub, _text: b"l"),
    (b"qThreadExtraInfo,", Stub._thread_text),
    (b"qAttached", lambda _stub, _text: b"1"),
    (b"qSymbol", lambda _stub, _text: b"OK"),
    (b"qCRC:", Stub._crc),
    (b"qRcmd,", Stub._command),
    (b"qC", Stub._current_thread),
    (b"vCont?", Stub._continue_how),
    (b"vCont;", Stub._continue_each),
    (b"vFlashErase:", Stub._flash_erase),
    (b"vFlashWrite:", Stub._flash_write),
    (b"vFlashDone", Stub._flash_done),
    (b"vKill", Stub._kill_process),
)
_BY_LETTER: dict[bytes, _Handler] = {
    b"?": Stub._question,
    b"H": Stub._thread_select,
    b"T": Stub._thread_alive,
    b"g": Stub._read_registers,
    b"G": Stub._write_registers,
    b"p": Stub._read_register,
    b"P": Stub._write_register,
    b"m": Stub._read_memory,
    b"M": Stub._write_hex,
    b"X": Stub._write_binary,
    b"c": Stub._continue,
    b"C": Stub._continue_signal,
    b"s": Stub._step,
    b"S": Stub._step_signal,
    b"Z": Stub._insert,
    b"z": Stub._remove,
    b"D": Stub._detach,
    b"k": Stub._kill,
}


def _error(reason: str) -> bytes:
    return b"E." + escape(reason.encode("utf-8", "replace"))


def _pair(text: bytes) -> tuple[int, int]:
    first, second = text.split(b",")
    return int(first, 16), int(second, 16)


def _slice(document: bytes, part: bytes) -> bytes:
    offset, length = _pair(part)
    piece = document[offset : offset + min(length, PACKET_BYTES - 1)]
    more = offset + len(piece) < len(document)
    return (b"m" if more else b"l") + escape(piece)
