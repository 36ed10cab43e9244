"""A board's console: requests with sequence numbers, deadlines and typed errors.

The protocol is hil.core.console; docs/console-protocol.md explains it. One request is under way
at a time. Nothing is retried in silence: every retry, every skipped byte and every unexpected
frame goes to ``on_event`` for the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import serial

from hil.core import console as wire
from hil.core.closing import Closing
from hil.core.console import ErrorCode, Message, RunFlag
from hil.core.errors import HilError, PortLostError, ProtocolError, TargetError
from hil.core.trial import EmptyWindow, SelfTestSample
from hil.rig.frames import OVERHEAD_BYTES, Damage, Frame, FrameParser, encode, shown
from hil.rig.identity import port_identity
from hil.rig.messages import (
    FaultRecord,
    Identity,
    RunResult,
    decode_empty_windows,
    decode_error,
    decode_fault,
    decode_identity,
    decode_partition,
    decode_run,
    decode_self_test,
    decode_words,
)
from hil.rig.ports import open_port

# Asked again once when a CRC was wrong. RUN, REPEAT_LAYERS and EMPTY_WINDOWS are not among them:
# the meter would see their windows twice. A RESET that got lost is better known than repeated.
IDEMPOTENT = frozenset(
    {
        Message.IDENTIFY,
        Message.SELF_TEST,
        Message.LOAD_INPUT,
        Message.SET_PARTITION,
        Message.READ_TENSOR,
        Message.READ_DIGESTS,
        Message.READ_FAULT,
    }
)
BITS_PER_BYTE = 10  # start, 8 data, stop
LAST_BYTES = 32  # of what was received, kept for error messages
WATCH_S = 1.0  # between two looks at the board by other means than the console

OnEvent = Callable[[str, str], None]
# Says why the board will never answer, if something beside the console knows.
Watch = Callable[[], str | None]


def ignore_event(what: str, detail: str) -> None:
    """The ``on_event`` of a caller without a journal."""


def see_nothing() -> None:
    """The ``watch`` of a board that only its console tells about."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds of this computer's clock.

    ``answer_s`` is granted for every answer beyond the time its bytes take on the wire and the
    work the caller expects. ``hello_s`` covers reset and start-up. ``slowdown`` says how many
    times slower than the board's own time things may happen (1 on real boards; a simulated
    board needs more).
    """

    answer_s: float = 2.0
    hello_s: float = 5.0
    slowdown: float = 1.0


class BoardRefusal(ProtocolError):
    """The board answered ERROR. ``code`` is its reason, ``detail`` the value it objects to."""

    def __init__(self, message: str, code: int, detail: int) -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail


class _DamagedReply(ProtocolError):
    """The answer, or the request as the board got it, had a wrong CRC."""


class _Silence(TargetError):
    """No answer before the deadline."""


class Console(Closing):
    """The host's end of the console on serial port ``port``. Use it as a context manager.

    RigError when the port is missing or busy, PortLostError when it goes away later (``reopen``
    goes on with it once it is back, perhaps under another name). Every request raises
    TargetError when no answer comes before its deadline or the board restarts meanwhile, and
    ProtocolError when an answer does not follow the protocol.
    """

    def __init__(
        self,
        port: str,
        baud: int = 1_000_000,
        timeouts: Timeouts | None = None,
        on_event: OnEvent = ignore_event,
        watch: Watch = see_nothing,
    ) -> None:
        self.port = port
        self.baud = baud
        self.timeouts = timeouts or Timeouts()
        self.on_event = on_event
        self._watch = watch
        # What something beside the console knows of the board's last fault; None: nothing.
        self.last_fault: Watch = see_nothing
        self._parser = FrameParser()
        self._frames: list[Frame | Damage] = []
        self._sequence = 0
        self._recent = b""
        self._serial = open_port(port, baud)
        self.identity = port_identity(port)  # the port's, under any name

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def reopen(self, port: str) -> None:
        """Go on at ``port`` after the old one went away; nothing of before is remembered."""
        self._serial.close()
        self._parser.clear()
        self._frames.clear()
        self._recent = b""
        self.port = port
        self._serial = open_port(port, self.baud)

    # -- messages ---------------------------------------------------------------------------

    def wait_hello(self) -> Identity:
        """Wait until the board announces itself after a reset.

        One that does not is asked who it is, since the line may have lost what it said.
        """
        deadline = time.monotonic() + self.timeouts.hello_s
        damaged = False
        while (item := self._next_item(deadline)) is not None:
            if isinstance(item, Frame) and item.type == Message.HELLO:
                return decode_identity(item.payload)
            damaged = damaged or isinstance(item, Damage)
            self._report_unexpected(item)
        damaged = damaged or bool(self._parser.pending)
        unheard = (
            f"the board on {self.port} did not announce itself within "
            f"{self.timeouts.hello_s:g} s; {self._last_seen()}"
        )
        try:
            identity = self.identify()
        except TargetError as error:
            raise TargetError(
                f"{unheard}. Is it powered, and does its firmware start? Flash again, or "
                "power-cycle it"
            ) from error
        if not damaged:
            raise ProtocolError(
                f"{unheard}. It answers IDENTIFY: the line is bad, or the reset never came there"
            )
        self.on_event("resync", f"{unheard}; the line damaged it, IDENTIFY is answered")
        return identity

    def discard_input(self) -> None:
        """Forget what has arrived, so that a HELLO of an earlier reset is not taken for news."""
        self._pump()
        self._drop_stale()

    def identify(self) -> Identity:
        """Ask the board who it is."""
        return decode_identity(self._ask(Message.IDENTIFY, answer_bytes=wire.IDENTITY.size))

    def self_test(self, expected_s: float = 0.5) -> SelfTestSample:
        """Let the board check its cycle counter against an independent timer."""
        return decode_self_test(self._ask(Message.SELF_TEST, expected_s=expected_s))

    def load_input(self, data: bytes) -> None:
        """Write the network's input tensor (int8 bytes, height-width-channel order)."""
        room = wire.MAX_PAYLOAD - wire.LOAD_INPUT.size
        for offset in range(0, len(data), room):
            chunk = wire.LOAD_INPUT.pack(offset) + data[offset : offset + room]
            self._expect_empty(Message.LOAD_INPUT, chunk)

    def set_partition(self, layers: int) -> int:
        """Let RUN run the first ``layers`` layers; returns the bytes of their output."""
        return decode_partition(self._ask(Message.SET_PARTITION, wire.SET_PARTITION.pack(layers)))

    def run(
        self,
        warmup: int = 0,
        iterations: int = 1,
        flags: RunFlag | int = 0,
        expected_s: float = 1.0,
    ) -> RunResult:
        """Run the partition; ``expected_s`` is the board's time for all of its passes."""
        payload = self._ask(
            Message.RUN,
            wire.RUN.pack(warmup, iterations, flags),
            expected_s=expected_s,
            answer_bytes=wire.MAX_PAYLOAD,
        )
        result = decode_run(payload, total_only=RunFlag.TOTAL_ONLY in RunFlag(flags))
        if result.iterations != iterations:
            raise ProtocolError(
                f"the board on {self.port} timed {result.iterations} iterations, "
                f"{iterations} were asked for"
            )
        return result

    def read_tensor(self, index: int, size: int) -> bytes:
        """``size`` bytes of tensor ``index``: 0 is the input, i + 1 the output of layer i."""
        parts = []
        for offset in range(0, size, wire.MAX_PAYLOAD):
            length = min(wire.MAX_PAYLOAD, size - offset)
            request = wire.READ_TENSOR.pack(index, offset, length)
            part = self._ask(Message.READ_TENSOR, request, answer_bytes=length)
            if len(part) != length:
                raise ProtocolError(
                    f"the board on {self.port} sent {len(part)} bytes of tensor {index} at "
                    f"offset {offset}, {length} were asked for"
                )
            parts.append(part)
        return b"".join(parts)

    def read_digests(self, count: int) -> tuple[int, ...]:
        """CRC-32 of the ``count`` layers' outputs of the last RUN with DIGEST."""
        payload = self._ask(Message.READ_DIGESTS, answer_bytes=4 * count)
        return decode_words(payload, count, "I", "the answer to READ_DIGESTS")

    def repeat_layers(
        self, first: int, gap_us: int, counts: Sequence[int], expected_s: float = 1.0
    ) -> tuple[int, ...]:
        """Run layers from ``first`` ``counts[i]`` times each in marked windows.

        Returns the cycles of each window, 0 for a layer that ran once and unmarked.
        """
        request = wire.REPEAT_LAYERS.pack(first, gap_us)
        request += b"".join(count.to_bytes(2, "little") for count in counts)
        payload = self._ask(
            Message.REPEAT_LAYERS,
            request,
            expected_s=expected_s + gap_us * 1e-6 * (len(counts) + 1),
            answer_bytes=8 * len(counts),
        )
        return decode_words(payload, len(counts), "Q", "the answer to REPEAT_LAYERS")

    def empty_windows(self, count: int, gap_us: int) -> tuple[EmptyWindow, ...]:
        """Mark ``count`` windows (at most MAX_EMPTY_WINDOWS) around a layer that does nothing."""
        payload = self._ask(
            Message.EMPTY_WINDOWS,
            wire.EMPTY_WINDOWS.pack(count, gap_us),
            expected_s=gap_us * 1e-6 * (count + 1),
            answer_bytes=wire.EMPTY_WINDOW.size * count,
        )
        return decode_empty_windows(payload, count)

    def read_fault(self) -> FaultRecord | None:
        """The fault that the board kept over its last reset, if there was one."""
        return decode_fault(self._ask(Message.READ_FAULT, answer_bytes=wire.FAULT.size))

    def reset(self) -> Identity:
        """Reset the board by its own firmware and wait until it is back."""
        self._expect_empty(Message.RESET, b"")
        return self.wait_hello()

    # -- requests ---------------------------------------------------------------------------

    def _expect_empty(self, kind: Message, payload: bytes) -> None:
        if answer := self._ask(kind, payload):
            raise ProtocolError(
                f"the answer to {kind.name} from {self.port} is empty by the protocol, it has "
                f"{shown(answer)}"
            )

    def _ask(
        self,
        kind: Message,
        payload: bytes = b"",
        *,
        expected_s: float = 0.0,
        answer_bytes: int = 64,
    ) -> bytes:
        """The answer's payload, after one recorded retry where that can do no harm."""
        wire_s = (2 * OVERHEAD_BYTES + len(payload) + answer_bytes) * BITS_PER_BYTE / self.baud
        timeout_s = self.timeouts.answer_s + (expected_s + wire_s) * self.timeouts.slowdown
        for is_last in (kind not in IDEMPOTENT, True):
            try:
                return self._exchange(kind, payload, timeout_s)
            except _Silence as silence:
                raise self._cause(kind, silence) from silence
            except _DamagedReply as damage:
                if is_last:
                    raise self._cause(kind, damage) from damage
                self.on_event("retry", f"{kind.name} on {self.port}: {damage}")
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, kind: Message, payload: bytes, timeout_s: float) -> bytes:
        self._pump()
        if kind is not Message.IDENTIFY:  # which asks just this: who is there now
            self._refuse_restart(kind)
        self._drop_stale()
        self._sequence = self._sequence % 255 + 1  # 0 is HELLO's
        self._send(encode(kind, self._sequence, payload))
        deadline = time.monotonic() + timeout_s
        while (item := self._next_item(deadline)) is not None:
            answer = self._judge(kind, item)
            if answer is not None:
                return answer
        raise _Silence(
            f"the board on {self.port} did not answer {kind.name} within {timeout_s:.1f} s; "
            f"{self._last_seen()}{self._fault_text()}. Reset or power-cycle it; if the work is "
            "just longer, expect more"
        )

    def _refuse_restart(self, kind: Message) -> None:
        """TargetError when the board has announced itself since the last answer.

        It has forgotten its input and its partition then.
        """
        for item in self._frames:
            if isinstance(item, Frame) and item.type == Message.HELLO:
                self._drop_stale()
                raise self._restarted(kind, item)

    def _cause(self, kind: Message, error: HilError) -> HilError:
        """Who is to blame for ``error``: asked who it is, does the board say anything?

        If it restarted, that was the cause. If it is alive, the line lost what it said or what
        it was told. If it is silent again, or was just late, ``error`` stands. It is asked twice:
        the line may lose the question too.
        """
        self._frames += self._parser.give_up()
        self._recent, awaited = b"", self._sequence
        return self._blamed(kind, error, awaited) or self._blamed(kind, error, awaited) or error

    def _blamed(self, kind: Message, error: HilError, awaited: int) -> HilError | None:
        """One question, and half the wait for an answer; None: nothing has come."""
        # It may wait for the rest of a request: zeros end that, whatever its length.
        self._send(bytes(OVERHEAD_BYTES + wire.MAX_PAYLOAD))
        self._sequence = self._sequence % 255 + 1
        self._send(encode(Message.IDENTIFY, self._sequence))
        sent_bytes = 2 * OVERHEAD_BYTES + wire.MAX_PAYLOAD + wire.IDENTITY.size
        wire_s = sent_bytes * BITS_PER_BYTE / self.baud
        deadline = time.monotonic() + self.timeouts.answer_s / 2 + wire_s * self.timeouts.slowdown
        while (item := self._next_item(deadline)) is not None:
            if isinstance(item, Frame):
                if item.type == Message.HELLO:
                    return self._restarted(kind, item)
                if item.type == Message.IDENTIFY | wire.RESPONSE:
                    return self._line_to_blame(error)
                if (item.sequence, item.type) == (awaited, kind | wire.RESPONSE):
                    return error
            self._report_unexpected(item)
        return self._line_to_blame(error) if self._recent else None

    @staticmethod
    def _line_to_blame(error: HilError) -> HilError:
        if not isinstance(error, _Silence):
            return error
        return ProtocolError(f"{error}. It is alive and answers IDENTIFY: the line is bad")

    def _judge(self, kind: Message, item: Frame | Damage) -> bytes | None:
        """The payload if ``item`` is the answer to ``kind``, None to go on listening."""
        if isinstance(item, Damage):
            if item.crc:
                raise _DamagedReply(f"the answer to {kind.name} on {self.port} is damaged, {item}")
            self.on_event("resync", f"{kind.name} on {self.port}: {item}")
            return None
        if item.type == Message.HELLO:
            if kind is Message.IDENTIFY:  # which is answered by it
                return item.payload
            raise self._restarted(kind, item)
        if item.type == Message.ERROR:
            raise self._refused(kind, item)
        if item.type == Message.IDENTIFY | wire.RESPONSE and kind is not Message.IDENTIFY:
            self._report_unexpected(item)  # a late one
            return None
        if item.sequence != self._sequence or item.type != kind | wire.RESPONSE:
            raise ProtocolError(
                f"{self.port} answered {kind.name} (type 0x{kind | wire.RESPONSE:02x}, sequence "
                f"{self._sequence}) with type 0x{item.type:02x}, sequence {item.sequence}"
            )
        return item.payload

    def _restarted(self, kind: Message, hello: Frame) -> TargetError:
        identity = decode_identity(hello.payload)
        return TargetError(
            f"the board on {self.port} restarted instead of answering {kind.name}, reset cause "
            f"0x{identity.reset_cause:08x}{self._fault_text() or '; READ_FAULT tells more'}"
        )

    def _fault_text(self) -> str:
        fault = self.last_fault()
        return "" if fault is None else f"; its last fault: {fault}"

    def _refused(self, kind: Message, item: Frame) -> ProtocolError | TargetError:
        code, detail = decode_error(item.payload)
        if code == ErrorCode.BAD_CRC:
            return _DamagedReply(
                f"{kind.name} reached the board on {self.port} damaged (it computed CRC "
                f"0x{detail:08x})"
            )
        if code == ErrorCode.FAULT:
            return TargetError(
                f"the board on {self.port} reports a fault during {kind.name}, detail "
                f"0x{detail:08x}; READ_FAULT tells more"
            )
        name = next((known.name for known in ErrorCode if known == code), f"code {code}")
        return BoardRefusal(
            f"the board on {self.port} refused {kind.name}: {name}, value {detail}", code, detail
        )

    # -- bytes ------------------------------------------------------------------------------

    def _next_item(self, deadline: float) -> Frame | Damage | None:
        """The next frame or damage; None when ``deadline`` (monotonic seconds) has passed."""
        while not self._frames:
            left_s = deadline - time.monotonic()
            # Also when it has passed: a busy computer may have kept this process from reading.
            self._pump(min(max(left_s, 0.0), WATCH_S))
            if not self._frames and left_s <= 0:
                return None
            if not self._frames and left_s > WATCH_S:
                self._look()
        return self._frames.pop(0)

    def _look(self) -> None:
        """TargetError when waiting on is pointless."""
        if reason := self._watch():
            self._pump()  # what it said before
            if not self._frames:
                raise TargetError(
                    f"the board on {self.port} will not answer: {reason}; {self._last_seen()}. "
                    "Reset it or flash it again"
                )

    def _pump(self, wait_s: float = 0.0) -> None:
        """Take what has arrived, waiting at most ``wait_s`` for the first byte."""
        try:
            self._serial.timeout = wait_s
            data = self._serial.read(1)
            if data:
                data += self._serial.read(self._serial.in_waiting)
        except (serial.SerialException, OSError) as error:
            raise PortLostError(self._lost(error)) from error
        self._recent = (self._recent + data)[-LAST_BYTES:]
        self._frames += self._parser.feed(data)

    def _send(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except (serial.SerialException, OSError) as error:
            raise PortLostError(self._lost(error)) from error

    def _lost(self, error: Exception) -> str:
        return f"serial port {self.port} was lost: {error}; check cable and power, then open again"

    def _drop_stale(self) -> None:
        for item in self._frames:
            self._report_unexpected(item)
        self._frames.clear()
        if stale := self._parser.clear():
            self.on_event("resync", f"{self.port}: part of a frame dropped: {shown(stale)}")
        self._recent = b""

    def _report_unexpected(self, item: Frame | Damage) -> None:
        if isinstance(item, Frame):
            text = f"unexpected frame of type 0x{item.type:02x}, sequence {item.sequence}"
        else:
            text = str(item)
        self.on_event("resync", f"{self.port}: {text}")

    def _last_seen(self) -> str:
        return f"last bytes seen: {shown(self._recent, LAST_BYTES)}"
