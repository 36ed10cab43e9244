"""The virtual power meter VPM1: a current digitiser with a marker input that speaks SCPI.

It is an instrument of its own and imitates nobody's: ``*IDN?`` says ``HIL,VPM1,<serial>,1``, so
its numbers can always be told from measured ones. One command a line, ended by LF; long and
short forms, any case. docs/virtual-meter.md is its manual.

=================================  =====================================================
``*IDN?`` ``*RST`` ``*CLS``        identify; default settings; clear the error queue
``*OPC?``                          1 as soon as no acquisition is under way
``SYSTem:ERRor[:NEXT]?``           oldest error, ``0,"No error"`` when there is none
``[SENSe:]CURRent:RANGe <A>``      smallest range that holds the current; query echoes it
``[SENSe:]SWEep:TINTerval <s>``    sample interval, 1 us to 1 s in steps of 1 us
``[SENSe:]SWEep:POINts <n>``       samples of an acquisition, 1 to 4,000,000
``FORMat:BORDer NORMal|SWAPped``   byte order of blocks: big-endian (default) or little
``INITiate[:IMMediate]``           start an acquisition now
``ABORt``                          give it up
``STATus:OPERation:CONDition?``    bit 4 (16) is set while an acquisition is under way
``FETCh:ARRay:CURRent?``           block of float32, amperes; waits for the end
``FETCh:ARRay:MARKer?``            block of bytes 0 or 1, the marker of the same samples
``FETCh:STATistics?``              points, overloaded samples, lost samples, t0 in seconds
``MEASure:VOLTage?``               the target's supply in volts
=================================  =====================================================

Ranges and coerced values are echoed by the query form; ``MIN``, ``MAX`` and ``DEF`` are taken.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.meter_frontend import RANGES_A, TICK_S, Recording, Samples, Specimen, to_samples
from hil.sim.wires_lines import Wait

MAX_POINTS = 4_000_000
MAX_INTERVAL_S = 1.0
DEFAULT_RANGE_A = 1.0
DEFAULT_INTERVAL_S = 10e-6
DEFAULT_POINTS = 1000
QUEUE_LENGTH = 20
MEASURING = 16  # bit 4 of the operation status register, SCPI-99 volume 1, 9.3

NO_ERROR = (0, "No error")


class ScpiError(Exception):
    """A command the instrument refuses: number and text go to the error queue."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f'{code},"{text}"')
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Command:
    """A header as a manual prints it: ``[SENSe:]CURRent:RANGe``. None where there is no form."""

    header: str
    setter: Callable[[str], None] | None = None
    query: Callable[[], bytes] | None = None


def header_forms(header: str) -> set[str]:
    """All upper-case spellings of a header: long and short words, optional parts left out."""
    parts: list[tuple[str, ...]] = []
    for part in header.replace("[", " [").replace("]", "] ").split():
        optional = part.startswith("[")
        words = [_word_forms(word) for word in part.strip("[]").split(":")]
        spelled = tuple(":".join(choice) for choice in itertools.product(*words))
        parts.append((*spelled, "") if optional else spelled)
    return {"".join(choice).strip(":") for choice in itertools.product(*parts)}


def _word_forms(word: str) -> tuple[str, ...]:
    short = "".join(letter for letter in word if not letter.islower())
    return (short,) if short == word.upper() else (word.upper(), short)


class VirtualMeter:
    """The instrument without its socket: lines in, answers out, fed with the chip's energy."""

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        self.specimen = Specimen.from_seed(seed)
        self.supply_v = supply_v
        # Fault injection: samples that the next acquisition drops or clips, and units of which
        # it tells a thousand for one ("volt", "ampere", "second").
        self.lose_next = 0
        self.overload_next = 0
        self.milli: set[str] = set()
        self._rng = np.random.default_rng([seed, 1])
        self._errors: deque[tuple[int, str]] = deque()
        self._acquisition: Recording | None = None
        self._samples: Samples | None = None
        self._time_s = 0.0
        self._level = False
        self._reset()
        self._table = {
            form: command for command in self._commands() for form in header_forms(command.header)
        }

    def _commands(self) -> tuple[Command, ...]:
        return (
            Command("*IDN", query=lambda: self.idn.encode()),
            Command("*RST", setter=self._nothing(self._reset)),
            Command("*CLS", setter=self._nothing(self._errors.clear)),
            Command("*OPC", query=self._finished),
            Command("SYSTem:ERRor[:NEXT]", query=self._next_error),
            Command("[SENSe:]CURRent:RANGe", self._set_range, self._range),
            Command("[SENSe:]SWEep:TINTerval", self._set_interval, self._interval),
            Command("[SENSe:]SWEep:POINts", self._set_points, lambda: _number(self.points)),
            Command("FORMat:BORDer", self._set_order, lambda: self._order.encode()),
            Command("INITiate[:IMMediate]", self._nothing(self._start)),
            Command("ABORt", self._nothing(self._abort)),
            Command("STATus:OPERation:CONDition", query=self._condition),
            Command("FETCh:ARRay:CURRent", query=self._fetch_current),
            Command("FETCh:ARRay:MARKer", query=self._fetch_marker),
            Command("FETCh:STATistics", query=self._fetch_statistics),
            Command("MEASure:VOLTage", query=self._voltage),
        )

    @property
    def idn(self) -> str:
        """The answer to *IDN?."""
        return f"HIL,VPM1,{self.specimen.serial},1"

    @property
    def headers(self) -> tuple[str, ...]:
        """Every command's header, for the manual's test."""
        return tuple(command.header for command in self._commands())

    # -- the bench's side -------------------------------------------------------------------

    @property
    def needed_until_s(self) -> float | None:
        """Bench time until which energy is needed for the acquisition under way."""
        return None if self._acquisition is None else self._acquisition.end_s

    def feed(self, time_s: float, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        """What happened up to bench time ``time_s`` since the last call."""
        self._time_s = time_s
        if edges:
            self._level = edges[-1].level
        if self._acquisition is not None:
            self._acquisition.feed(bins, edges)
            if self._acquisition.complete:
                self._finish(self._acquisition)

    def halt(self, reason: str) -> None:
        """No energy will come any more: the acquisition ends empty, with an error."""
        self._acquisition = None
        self._samples = Samples(self._time_s, np.zeros(0), np.zeros(0, np.bool_), overloaded=0)
        self._push(ScpiError(-230, f"Data corrupt or stale; {reason}"))

    def execute(self, line: str) -> bytes | None:
        """Carry out one line; the answer with its LF, or None. Wait: not yet."""
        text = line.strip()
        if not text:
            return None
        header, _, argument = text.partition(" ")
        try:
            answer = self._dispatch(header, argument.strip())
        except ScpiError as error:
            self._push(error)
            return None
        return None if answer is None else answer + b"\n"

    def _dispatch(self, header: str, argument: str) -> bytes | None:
        asks = header.endswith("?")
        command = self._table.get(header.upper().removesuffix("?").removeprefix(":"))
        form = None if command is None else (command.query if asks else command.setter)
        if command is None or form is None:
            raise ScpiError(-113, f"Undefined header; {header[:40]}")
        if asks:
            if argument:
                raise ScpiError(-108, f"Parameter not allowed; {header} {argument[:40]}")
            return command.query() if command.query else None
        if command.setter:
            command.setter(argument)
        return None

    # -- settings ---------------------------------------------------------------------------

    @staticmethod
    def _nothing(action: Callable[[], object]) -> Callable[[str], None]:
        """A setter that takes no parameter."""

        def run(argument: str) -> None:
            if argument:
                raise ScpiError(-108, f"Parameter not allowed; {argument[:40]}")
            action()

        return run

    def _reset(self) -> None:
        self._abort()
        self._samples = None
        self.range_a = DEFAULT_RANGE_A
        self.ticks = round(DEFAULT_INTERVAL_S / TICK_S)
        self.points = DEFAULT_POINTS
        self._order = "NORM"

    def _idle(self) -> None:
        if self._acquisition is not None:
            raise ScpiError(-221, "Settings conflict; an acquisition is under way, ABORt it first")

    def _set_range(self, argument: str) -> None:
        self._idle()
        wanted = _value(argument, RANGES_A[0], RANGES_A[-1], DEFAULT_RANGE_A)
        if not 0 <= wanted <= RANGES_A[-1]:
            raise ScpiError(-222, f"Data out of range; {argument}, most is {RANGES_A[-1]} A")
        self.range_a = next(range_a for range_a in RANGES_A if range_a >= wanted)

    def _set_interval(self, argument: str) -> None:
        self._idle()
        wanted = _value(argument, TICK_S, MAX_INTERVAL_S, DEFAULT_INTERVAL_S)
        if not TICK_S * 0.999 <= wanted <= MAX_INTERVAL_S:
            raise ScpiError(-222, f"Data out of range; {argument}, {TICK_S} to {MAX_INTERVAL_S} s")
        # Rounded up, so never faster than asked; the small part forgives 2.9999e-6.
        self.ticks = math.ceil(wanted / TICK_S - 1e-6)

    def _told(self, value: float, unit: str) -> float:
        """The number that it tells for ``value``."""
        return value * 1000.0 if unit in self.milli else value

    def _range(self) -> bytes:
        return _number(self._told(self.range_a, "ampere"))

    def _interval(self) -> bytes:
        return _number(self._told(self.ticks * TICK_S, "second"))

    def _set_points(self, argument: str) -> None:
        self._idle()
        wanted = _value(argument, 1, MAX_POINTS, DEFAULT_POINTS)
        if not 1 <= wanted <= MAX_POINTS or wanted != int(wanted):
            raise ScpiError(-222, f"Data out of range; {argument}, whole, 1 to {MAX_POINTS}")
        self.points = int(wanted)

    def _set_order(self, argument: str) -> None:
        forms = {"NORM": "NORM", "NORMAL": "NORM", "SWAP": "SWAP", "SWAPPED": "SWAP"}
        if argument.upper() not in forms:
            raise ScpiError(-224, f"Illegal parameter value; {argument[:40]}, NORMal or SWAPped")
        self._order = forms[argument.upper()]

    # -- acquisitions -----------------------------------------------------------------------

    def _start(self) -> None:
        if self._acquisition is not None:
            raise ScpiError(-213, "Init ignored; an acquisition is under way")
        interval_s = self.ticks * TICK_S
        t0_s = self._time_s + self._rng.uniform(0.0, interval_s)
        self._samples = None
        self._acquisition = Recording(t0_s, interval_s, self.points, self._level)

    def _abort(self) -> None:
        self._acquisition = None

    def _finish(self, acquisition: Recording) -> None:
        samples = to_samples(acquisition, self.range_a, self.specimen, self.supply_v, self._rng)
        if self.overload_next:
            place = int(self._rng.integers(len(samples.marker)))
            samples = samples.clipped(place, self.overload_next, self.range_a)
        self._samples = samples.without(self.lose_next) if self.lose_next else samples
        self.lose_next = self.overload_next = 0
        self._acquisition = None

    def _finished(self) -> bytes:
        if self._acquisition is not None:
            raise Wait
        return b"1"

    def _condition(self) -> bytes:
        return b"0" if self._acquisition is None else str(MEASURING).encode()

    def _fetched(self) -> Samples:
        self._finished()
        if self._samples is None:
            raise ScpiError(-230, "Data corrupt or stale; no acquisition has ended, INITiate one")
        return self._samples

    def _fetch_current(self) -> bytes:
        order = ">f4" if self._order == "NORM" else "<f4"
        told = self._told(1.0, "ampere") * self._fetched().current_a
        return _block(told.astype(order).tobytes())

    def _fetch_marker(self) -> bytes:
        return _block(self._fetched().marker.astype(np.uint8).tobytes())

    def _fetch_statistics(self) -> bytes:
        samples = self._fetched()
        numbers = (len(samples.marker), samples.overloaded, samples.lost)
        return b",".join([*map(_number, numbers), _number(samples.t0_s)])

    def _voltage(self) -> bytes:
        return _number(self._told(round(self.supply_v * self.specimen.voltage_gain, 5), "volt"))

    # -- errors -----------------------------------------------------------------------------

    def _push(self, error: ScpiError) -> None:
        if len(self._errors) >= QUEUE_LENGTH:
            self._errors[-1] = (-350, "Queue overflow")
        else:
            self._errors.append((error.code, error.text))

    def _next_error(self) -> bytes:
        code, text = self._errors.popleft() if self._errors else NO_ERROR
        clean = text.replace('"', "'").replace("\n", " ")
        return f'{code},"{clean}"'.encode("ascii", "replace")


def _number(value: float) -> bytes:
    return (str(value) if isinstance(value, int) else f"{value:.9g}").encode()


def _value(argument: str, least: float, most: float, default: float) -> float:
    words = {"MIN": least, "MINIMUM": least, "MAX": most, "MAXIMUM": most}
    words |= {"DEF": default, "DEFAULT": default}
    if argument.upper() in words:
        return words[argument.upper()]
    if not argument:
        raise ScpiError(-109, "Missing parameter")
    try:
        value = float(argument)
    except ValueError:
        raise ScpiError(-104, f"Data type error; {argument[:40]} is not a number") from None
    if not math.isfinite(value):
        raise ScpiError(-222, f"Data out of range; {argument[:40]}")
    return value


def _block(data: bytes) -> bytes:
    """A definite-length block of IEEE 488.2: ``#``, digits of the length, length, bytes."""
    length = str(len(data)).encode()
    return b"#" + str(len(length)).encode() + length + data
