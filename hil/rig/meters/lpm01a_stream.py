"""The two data formats of the LPM01A's stream: bytes in, values and events out.

ascii_dec: ``6409-07`` is 6409e-7, one sample a line. bin_hexa: two bytes, ``52 A0`` is
0x2A0 / 16**5; 0xF0 followed by 0xF1..0xF7 begins a frame that ends with FF FF. Both carry a time
stamp after every 1000 samples, which is how losses are found. Sources: help text of the firmware
as quoted by mlcommons/tiny (power_manager_lpm.py), zissis-pap/x-nucleo-lpm01a-gui
(core/data_parser.py), zephyr (power-twister-harness/stm32l562e_dk/PowerShield.py), UM2269.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from hil.core.errors import InstrumentError

STAMP_SAMPLES = 1000
PROMPT = "PowerShield >"
END = b"\xff\xff"
FRAME = 0xF0
ERROR, INFO, STAMP, FINISHED, OVERCURRENT, POWER_DOWN, VOLTAGE = range(0xF1, 0xF8)
# Bytes of a frame with head and end; error and info texts end where FF FF comes.
FRAME_BYTES = {STAMP: 9, FINISHED: 4, OVERCURRENT: 4, POWER_DOWN: 4, VOLTAGE: 6}
LONGEST_TEXT = 512

_SAMPLE = re.compile(r"^(\d{4})([+-]\d\d)$")
_STAMP = re.compile(r"^TimeStamp: *(\d+)s *(\d+)ms", re.IGNORECASE)
_EVENT = re.compile(r"^event (\d+) (?:ris|fal)")


@dataclass
class ValueRecording:
    """Samples by their place in the stream, until a time stamp behind the first ``points`` places.

    ``toggles`` are the places before which an event on D7 came. ``lost`` samples are missing; in
    the last stretch between stamps it is not known whether before or behind the end, so all of
    them count.
    """

    points: int
    sample_rate_hz: float
    lost: int = 0
    overcurrent: bool = False
    values: list[float] = field(default_factory=list)
    toggles: list[int] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)
    _next: int = 0
    _stamp: tuple[int | None, int] = (None, 0)  # milliseconds and place of the last one
    _event: int | None = None

    @property
    def complete(self) -> bool:
        """Only a time stamp behind the last sample tells that none is missing."""
        return self._stamp[1] >= self.points

    def sample(self, value: float) -> None:
        self.values.append(value)
        self._places.append(self._next)
        self._next += 1

    def missing(self, count: int = 1) -> None:
        """Samples that did not come or cannot be read."""
        self.lost += count
        self._next += count

    def stamp(self, time_ms: int) -> None:
        """Between two stamps lie 1000 samples, and as many as their times want."""
        since_ms, place = self._stamp
        self.missing(-(self._next - place) % STAMP_SAMPLES)
        if since_ms is not None:
            by_time = round((time_ms - since_ms) * self.sample_rate_hz / 1000)
            late = by_time - (self._next - place)
            if late > max(1.0, self.sample_rate_hz / 1000):  # stamps are whole milliseconds
                self.missing(late)
        self._stamp = (time_ms, self._next)

    def event(self, number: int) -> None:
        if self._event is not None and number != self._event + 1:
            raise InstrumentError(
                f"event {number} on D7 followed event {self._event}: the marker's level is unknown"
            )
        self._event = number
        self.toggles.append(self._next)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (float64) and the marker of the same samples, low before the first event."""
        kept = max(0, self.points - self.lost)
        places = np.array(self._places[:kept], np.int64)
        turned = np.searchsorted(np.array(self.toggles, np.int64), places, side="right")
        return np.array(self.values[:kept]), turned % 2 == 1


class _Stream:
    """What both formats share as a hil.rig.meters.stream_meter.Recording."""

    def __init__(self, recording: ValueRecording) -> None:
        self.recording = recording
        self._rest = bytearray()

    @property
    def begun(self) -> bool:
        return bool(self.recording.values)

    @property
    def complete(self) -> bool:
        return self.recording.complete


class AsciiStream(_Stream):
    """Lines of ascii_dec."""

    def feed(self, data: bytes) -> None:
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            # NUL bytes may follow a time stamp.
            self._line(line.replace(b"\0", b"").decode("ascii", "replace").strip())

    def _line(self, line: str) -> None:
        line = line.removeprefix(PROMPT).strip()
        if match := _SAMPLE.match(line):
            self.recording.sample(float(f"{match[1]}e{match[2]}"))
        elif match := _STAMP.match(line):
            self.recording.stamp(int(match[1]) * 1000 + int(match[2]))
        elif match := _EVENT.match(line):
            self.recording.event(int(match[1]))
        elif line[:1].isdigit() or line.startswith(("+", "-")):
            self.recording.missing()
        elif "overcurrent" in line.lower():
            self.recording.overcurrent = True
        elif line == "end" or line.startswith("Acquisition completed"):
            raise InstrumentError("the acquisition ended by itself")
        elif line.lower().startswith(("err", "error")):
            raise InstrumentError(f"the board objects: {line}")


class BinaryStream(_Stream):
    """Samples and frames of bin_hexa. What comes before the first time stamp is no data."""

    def __init__(self, recording: ValueRecording) -> None:
        super().__init__(recording)
        self._stamped = False

    def feed(self, data: bytes) -> None:
        self._rest += data
        if not self._stamped:
            start = self._rest.find(bytes([FRAME, STAMP]))
            if start < 0:
                self._refuse_text()
                return
            del self._rest[:start]
            self._stamped = True
        taken = 0
        while (size := self._take(taken)) > 0:
            taken += size
        del self._rest[:taken]

    def _refuse_text(self) -> None:
        text = bytes(self._rest).decode("ascii", "replace")
        if re.search(r"\berr(or)?\b.*\n", text):
            raise InstrumentError(f"the board objects: {text.strip()}")

    def _take(self, at: int) -> int:
        """Handle the sample or frame at ``at``; how many bytes it had, 0 when it is incomplete."""
        if len(self._rest) < at + 2:
            return 0
        high, low = self._rest[at], self._rest[at + 1]
        if high < FRAME:
            self.recording.sample(((high & 0x0F) << 8 | low) / 16.0 ** (high >> 4))
            return 2
        if high == FRAME and ERROR <= low <= VOLTAGE:
            return self._frame(at, low)
        # A byte is missing: all until the next frame is unreadable, and the next stamp counts it.
        start = self._rest.find(bytes([FRAME, STAMP]), at)
        return (start if start >= 0 else len(self._rest) - 1) - at

    def _frame(self, at: int, kind: int) -> int:
        size = FRAME_BYTES.get(kind)
        if size is None:
            end = self._rest.find(END, at + 2)
            if end < 0:
                if len(self._rest) - at > LONGEST_TEXT:
                    raise InstrumentError("a message in the stream has no end")
                return 0
            size = end + 2 - at
        if len(self._rest) < at + size:
            return 0
        frame = bytes(self._rest[at : at + size])
        if not frame.endswith(END):
            raise InstrumentError(f"damaged frame in the stream: {frame.hex(' ')}")
        self._handle(kind, frame[2:-2])
        return size

    def _handle(self, kind: int, content: bytes) -> None:
        if kind == STAMP:  # the top bit tells that the counter has wrapped
            self.recording.stamp(int.from_bytes(content[:4], "big") & 0x7FFFFFFF)
        elif kind == OVERCURRENT:
            self.recording.overcurrent = True
        elif kind == ERROR:
            raise InstrumentError(f"the board objects: {content.decode('ascii', 'replace')}")
        elif kind == FINISHED:
            raise InstrumentError("the acquisition ended by itself")
        elif kind == POWER_DOWN:
            raise InstrumentError("the board switched the target off")
