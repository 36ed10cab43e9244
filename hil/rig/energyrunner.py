"""A board that speaks the EnergyRunner protocol (docs/energyrunner.md).

Commands are ASCII and end with "%". A board ends each answer with ``m-ready``, also after an
error, and says nothing after it: one command is under way at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import serial

from hil.core.closing import Closing
from hil.core.energyrunner import BAUD, DB_BYTES, Mode
from hil.core.errors import PortLostError, ProtocolError, TargetError
from hil.rig.console import WATCH_S, Timeouts, Watch, see_nothing
from hil.rig.ports import open_port

READY = "m-ready"
BITS_PER_BYTE = 10  # start, 8 data, stop
LONGEST_LINE_BYTES = 65536  # a board that sends more without a line end sends no lines
ANSWER_BYTES = 256  # of an answer, if the caller expects no more

_NAME = re.compile(r"m-name-dut-\[([^]]+)\]")
_MODEL = re.compile(r"m-model-\[([^]]+)\]")
_LAP = re.compile(r"m-lap-us-(\d+)")
_RESULTS = re.compile(r"m-results-\[(-?\d+(?:,-?\d+)*)\]")
_BUILD = re.compile(r"build ([0-9a-f]{64})")


@dataclass(frozen=True)
class Inference:
    """What `infer` gave: microseconds of all iterations together, and the last one's result.

    In energy mode the board tells no time: ``window_us`` is 0.
    """

    iterations: int
    window_us: int
    results: tuple[int, ...]


class EnergyRunnerConsole(Closing):
    """The host's end of the protocol on serial port ``port`` in ``mode``, at the mode's baud.
    Use it as a context manager.

    Every command raises TargetError when ``m-ready`` does not come before its deadline,
    ProtocolError when the board answers with an error or not as the protocol says, and
    PortLostError when the port goes away.
    """

    def __init__(
        self,
        port: str,
        mode: Mode = Mode.PERFORMANCE,
        timeouts: Timeouts | None = None,
        watch: Watch = see_nothing,
    ) -> None:
        self.port = port
        self.mode = mode
        self.baud = baud = BAUD[mode]
        self.timeouts = timeouts or Timeouts()
        self._watch = watch
        self._received = b""
        self._serial = open_port(port, baud)

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def discard_input(self) -> None:
        """Forget what has arrived, so that an earlier prompt is not taken for the next one."""
        self._pump(0.0)
        self._received = b""

    # -- commands ---------------------------------------------------------------------------

    def wait_boot(self) -> None:
        """Wait for the prompt after a reset. ProtocolError when it is in another mode."""
        lines = self._until_ready("its start", self.timeouts.hello_s)
        expected = f"m-timestamp-mode-{self.mode}"
        if expected not in lines:
            raise ProtocolError(
                f"the board on {self.port} started with {_quoted(lines)}, expected {expected}; is "
                "this a firmware for the other mode?"
            )

    def name(self) -> str:
        """The device's name."""
        return _only(_NAME, self.command("name"), "name", self.port)[1]

    def model(self) -> str:
        """The benchmark it says it runs, such as "ic01"."""
        return _only(_MODEL, self.command("profile"), "profile", self.port)[1]

    def build_id(self) -> str:
        """The firmware's build id, which our firmware tells among its help."""
        return _only(_BUILD, self.command("help", answer_bytes=1024), "help", self.port)[1]

    def load(self, data: bytes) -> None:
        """Write the input, checked by the board's own count."""
        lines = self.command(f"db load {len(data)}")
        if lines != [f"m-[Expecting {len(data)} bytes]"]:
            raise ProtocolError(f"{self.port} answered db load with {_quoted(lines)}")
        step = DB_BYTES[self.mode]
        for start in range(0, len(data), step):
            chunk = data[start : start + step]
            last = start + step >= len(data)
            lines = self.command(f"db {chunk.hex()}")
            if lines != ["m-load-done"] * last:
                raise ProtocolError(
                    f"{self.port} answered bytes {start} to {start + len(chunk) - 1} of "
                    f"{len(data)} with {_quoted(lines)}; bytes were lost or added on the wire"
                )

    def infer(self, iterations: int, warmups: int, expected_s: float = 1.0) -> Inference:
        """Run the loaded input; ``expected_s`` is the board's time for all passes."""
        lines = self.command(
            f"infer {iterations} {warmups}", expected_s=expected_s, answer_bytes=8192
        )
        times = self.mode is Mode.PERFORMANCE
        expected: list[str | re.Pattern[str]] = [
            f"m-warmup-start-{warmups}", "m-warmup-done", f"m-infer-start-{iterations}",
            *[_LAP, _LAP] * times, "m-infer-done", _RESULTS,
        ]  # fmt: skip
        matches = [re.fullmatch(e, line) for e, line in zip(expected, lines, strict=False)]
        if len(lines) != len(expected) or not all(matches):
            raise ProtocolError(f"{self.port} answered infer with {_quoted(lines)}")
        if not times:
            return Inference(iterations, 0, _values(lines[-1]))
        first, second = (int(line.rpartition("-")[2]) for line in lines[3:5])
        if second <= first:
            raise ProtocolError(
                f"{self.port}: the timestamps of infer are {first} and {second} us; the board's "
                "timer stands still or is too coarse"
            )
        return Inference(iterations, second - first, _values(lines[-1]))

    # -- the wire ---------------------------------------------------------------------------

    def command(
        self, text: str, expected_s: float = 0.0, answer_bytes: int = ANSWER_BYTES
    ) -> list[str]:
        """Lines of the answer, without the prompt. ProtocolError carries the board's own words."""
        self.discard_input()
        try:
            self._serial.write(f"{text}%".encode("ascii"))
        except (serial.SerialException, OSError) as error:
            raise PortLostError(self._lost(error)) from error
        wire_s = (len(text) + 1 + answer_bytes) * BITS_PER_BYTE / self.baud
        timeout_s = self.timeouts.answer_s + (expected_s + wire_s) * self.timeouts.slowdown
        lines = self._until_ready(text.partition(" ")[0], timeout_s)
        if refused := [line for line in lines if line.startswith("e-")]:
            raise ProtocolError(f"the board on {self.port} refused {text[:40]!r}: {refused[0]}")
        return lines

    def _until_ready(self, what: str, timeout_s: float) -> list[str]:
        deadline = time.monotonic() + timeout_s
        lines: list[str] = []
        while True:
            for line in self._complete_lines():
                if line == READY:
                    return lines
                lines.append(line)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TargetError(
                    f"the board on {self.port} gave no {READY} for {what} within {timeout_s:.1f} "
                    f"s; it said {_quoted(lines)}. Check [console] port; reset or flash the board"
                )
            self._pump(min(left_s, WATCH_S))
            if left_s > WATCH_S and not self._received and (reason := self._watch()):
                raise TargetError(f"the board on {self.port} will not answer {what}: {reason}")

    def _complete_lines(self) -> Iterator[str]:
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            yield line.rstrip(b"\r").decode("ascii", "replace")
        if len(self._received) > LONGEST_LINE_BYTES:
            raise ProtocolError(
                f"{self.port}: {len(self._received)} bytes without a line end; another firmware, "
                f"or not {self.baud} baud"
            )

    def _pump(self, wait_s: float) -> None:
        try:
            self._serial.timeout = wait_s
            data = self._serial.read(1)
            self._received += data + self._serial.read(self._serial.in_waiting)
        except (serial.SerialException, OSError) as error:
            raise PortLostError(self._lost(error)) from error

    def _lost(self, error: Exception) -> str:
        return f"serial port {self.port} was lost: {error}; check cable and power, then open again"


def _only(pattern: re.Pattern[str], lines: list[str], what: str, port: str) -> re.Match[str]:
    found = [match for line in lines if (match := pattern.fullmatch(line))]
    if len(found) != 1:
        raise ProtocolError(
            f"{port} answered {what} with {_quoted(lines)}; no EnergyRunner firmware of ours"
        )
    return found[0]


def _values(line: str) -> tuple[int, ...]:
    match = _RESULTS.fullmatch(line)
    assert match is not None
    return tuple(int(value) for value in match[1].split(","))


def _quoted(lines: list[str]) -> str:
    return " / ".join(lines[-6:])[:300] if lines else "nothing"
