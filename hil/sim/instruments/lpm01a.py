"""A simulated X-NUCLEO-LPM01A: PowerShield command lines in, answers and sample streams out.

Written from the firmware's help text (quoted by mlcommons/tiny) and ST's data formats, without
any of the driver's code.
"""

from __future__ import annotations

import math
import re

import numpy as np

from hil.sim.instruments.power_trace import PowerTrace

PROMPT = "PowerShield > "
STAMP_SAMPLES = 1000
CHUNK = 500  # samples made at once; a divisor of STAMP_SAMPLES
MOST_A = 0.05
RATES = ("100k", "50k", "20k", "10k", "5k", "2k", "1k", *map(str, (500, 200, 100, 50, 20, 10)),
         "5", "2", "1")  # fmt: skip
CHOICES = {
    "acqmode": ("dyn", "stat"),
    "funcmode": ("optim", "high"),
    "output": ("current", "energy"),
    "format": ("ascii_dec", "bin_hexa"),
    "trigsrc": ("sw", "d7"),
    "freq": RATES,
    "acqtime": ("inf", "0"),
    "trigdelay": ("0",),
    "eventsrc": ("d7 fal",),
}
SUFFIX = {"u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}


class Refusal(Exception):
    """A command that the board does not take."""


class Lpm01aSimulator:
    """One board, fed with ``trace`` from the moment an acquisition starts.

    ``trace.edges`` are those at its D7 pin: each falling edge is an event.
    """

    def __init__(self, trace: PowerTrace, board_id: str = "203637364D465012") -> None:
        self.trace = trace
        self.board_id = board_id
        self.streaming = False
        self.powered = False
        self.mute = False
        self.host_control = False
        self.volt_v = 3.3
        self.settings = {"output": "current", "format": "ascii_dec", "freq": "100", "acqtime": "10"}
        self.commands: list[str] = []  # all that came, for tests
        self._lose_at: tuple[int, int] | None = None
        self._skip_event = 0
        self._input = b""
        self._output = bytearray()
        self._sample = 0
        self._event = 0

    def lose(self, count: int, at: int = 500) -> None:
        """Drop ``count`` samples of the next acquisition behind sample ``at``."""
        self._lose_at = (at, count)

    def skip_event(self, number: int) -> None:
        """Leave out event ``number`` of every acquisition, as when its line is lost."""
        self._skip_event = number

    def receive(self, data: bytes) -> None:
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            command = line.decode("ascii", "replace").strip()
            self.commands.append(command)
            self._execute(command)

    def produce(self) -> bytes:
        if self.mute:
            return b""
        if self.streaming and not self._output:
            self._make(CHUNK)
        data, self._output = bytes(self._output), bytearray()
        return data

    # -- commands ---------------------------------------------------------------------------

    def _execute(self, command: str) -> None:
        if not command:
            return
        try:
            answer = self._answer(command)
        except Refusal as refusal:
            self._say(f"{PROMPT}error {command}")
            self._say(f"Error detail: {refusal}")
            return
        if answer is not None:
            self._say(f"{PROMPT}ack {command} {answer}".rstrip())
        if command == "start":
            self._begin()

    def _answer(self, command: str) -> str | None:
        name, _, argument = command.partition(" ")
        if name == "stop":
            self._end()
            return None
        if self.streaming:
            raise Refusal("acquisition is running")
        simple = {
            "powershield": f"PowerShield present: {self.board_id}",
            "version": "1.0.6",
            "status": "ok",
            "range": "100-09 50-03",
        }
        if name in simple:
            return simple[name]
        if name in ("htc", "hrc"):
            self.host_control = name == "htc"
            return ""
        if not self.host_control:
            raise Refusal("board is not controlled by host")
        return self._set(name, argument)

    def _set(self, name: str, argument: str) -> str:
        if name in CHOICES:
            if argument not in CHOICES[name]:
                raise Refusal(f"argument out of list: {argument}")
            self.settings[name] = argument
        elif name == "volt":
            volts = round(_number(argument), 6)  # 3300m are 3.3 V
            if not 1.8 <= volts <= 3.3:
                raise Refusal(f"argument out of range: {argument}")
            self.volt_v = volts
        elif name == "pwr":
            self.powered = argument.startswith("on")
        elif name == "start":
            self._check_limits()
        else:
            raise Refusal("unknown command")
        return ""

    def _check_limits(self) -> None:
        rate_hz, text = _number(self.settings["freq"]), self.settings["format"] == "ascii_dec"
        if text and rate_hz > 5000:
            raise Refusal("acquisition time too long for this frequency and format")
        if self.settings["output"] == "energy" and rate_hz > 10_000:
            raise Refusal("frequency too high for energy")

    def _say(self, line: str) -> None:
        self._output += line.encode("ascii") + b"\r\n"

    # -- acquisition ------------------------------------------------------------------------

    @property
    def _binary(self) -> bool:
        return self.settings["format"] == "bin_hexa"

    def _begin(self) -> None:
        self.streaming = True
        self._sample, self._event = 0, 0
        self._stamp()

    def _end(self) -> None:
        if self.streaming:
            self.streaming = False
            self._output += b"\xf0\xf4\xff\xff" if self._binary else b"end\r\n"
            self._say(f"{PROMPT}Acquisition completed")

    def _stamp(self) -> None:
        ms = math.floor(self._sample * 1000 / _number(self.settings["freq"]) + 1e-6)
        if self._binary:
            self._output += b"\xf0\xf3" + ms.to_bytes(4, "big") + b"\x07\xff\xff"
        else:
            self._say(f"TimeStamp: {ms // 1000:03d}s {ms % 1000:03d}ms, buff 07%")
            self._output += b"\0"

    def _make(self, count: int) -> None:
        interval_s = 1.0 / _number(self.settings["freq"])
        start_s = self._sample * interval_s
        current = self.trace.current_a(start_s, interval_s, count) * self.powered
        if (current > MOST_A).any():
            self._output += b"\xf0\xf5\xff\xff" if self._binary else b"overcurrent\r\n"
        values = np.minimum(current, MOST_A * 1.2)
        if self.settings["output"] == "energy":
            values = values * self.volt_v * interval_s
        for value in values:
            self._events(interval_s)
            if not self._lost(self._sample):
                self._output += _binary(value) if self._binary else _text(value)
            self._sample += 1
            if self._sample % STAMP_SAMPLES == 0:
                self._stamp()

    def _events(self, interval_s: float) -> None:
        """Falling edges in the sample to come, told before it."""
        if self.settings.get("eventsrc") is None:
            return
        for edge in self.trace.edges:
            # One at the border of two samples belongs to the second, however times are rounded.
            if not edge.level and math.floor(edge.time_s / interval_s + 1e-6) == self._sample:
                self._event += 1
                if self._event != self._skip_event:
                    self._say(f"event {self._event} ris")

    def _lost(self, place: int) -> bool:
        if self._lose_at is None:
            return False
        at, count = self._lose_at
        return at <= place < at + count


def _number(text: str) -> float:
    match = re.fullmatch(r"(\d+)([umk]?)", text)
    if match is None:
        raise Refusal(f"not a number: {text}")
    return int(match[1]) * SUFFIX[match[2]]


def _text(value: float) -> bytes:
    """Four digits and a power of ten: 6409-07."""
    if value <= 0:
        return b"0000-00\r\n"
    power = math.floor(math.log10(value)) - 3
    digits = round(value / 10.0**power)
    if digits == 10000:
        digits, power = 1000, power + 1
    return f"{digits:04d}{'-' if power < 0 else '+'}{abs(power):02d}\r\n".encode("ascii")


def _binary(value: float) -> bytes:
    """Twelve bits and a negative power of sixteen: 52 A0."""
    if value <= 0:
        return b"\xe0\x00"
    power = min(14, max(0, 2 - math.floor(math.log(value, 16))))
    digits = round(value * 16.0**power)
    if digits > 0xFFF:
        digits, power = digits // 16, power - 1
    return bytes([power << 4 | digits >> 8, digits & 0xFF])
