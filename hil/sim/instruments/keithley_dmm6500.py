"""Keithley DMM6500 in its SCPI command set, as far as digitizing current goes.

From the DMM6500 Reference Manual (DMM6500-901-01, chapter 6): digitize function with sample rate
and aperture, reading buffers of 7,000,000 readings in all, the trigger model with wait, delay and
digitize blocks, readings beyond the range as 9.9E37. It has one input and no marker channel;
its EXT TRIG IN only starts a digitize block: here the marker's next rising edge does. Not
modelled: the slow measure functions, limits, the other command languages.
"""

from __future__ import annotations

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.instruments.instrument import Instrument
from hil.sim.instruments.scpi import (
    Call,
    Command,
    ScpiError,
    number,
    quoted,
    whole,
    word,
)
from hil.sim.instruments.scpi_front import ScpiFront
from hil.sim.meter_frontend import Recording

RANGES_A = (100e-6, 1e-3, 10e-3, 0.1, 1.0, 3.0)
OVERRANGE = 1.2  # a range holds this much more than its name
MAX_READINGS = 7_000_000
RATES = (1_000, 1_000_000)
OVERFLOW = 9.9e37
NOISE = 2e-4
TIMESTAMP = "2026/11/25 12:57:04.484"  # events carry one


class KeithleyDmm6500(ScpiFront, Instrument):
    """One multimeter on its front terminals."""

    ERRORS = 1000

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        super().__init__(supply_v, seed)
        # Buffer and readings of the trigger model under way, and whether it waits for an edge.
        self._running: tuple[str, int] | None = None
        self._waiting = False
        self.open_front(self._commands())
        self._reset()

    @property
    def idn(self) -> str:
        return f"KEITHLEY INSTRUMENTS,MODEL DMM6500,{self.serial},1.7.12b"

    def _commands(self) -> list[Command]:
        return [
            Command("*IDN", query=lambda _: self.idn.encode()),
            Command("*LANG", query=lambda _: b"SCPI"),
            Command("*RST", lambda _: self._reset()),
            Command("*CLS", lambda _: self._errors.clear()),
            Command("*OPC", query=self._opc),
            Command("SYSTem:ERRor[:NEXT]", query=self._error),
            Command("SYSTem:CLEar", lambda _: self._errors.clear()),
            Command("[SENSe<n>:]DIGitize:FUNCtion[:ON]", self._set_function,
                    lambda _: f'"{self._function}"'.encode()),
            Command("[SENSe<n>:]DIGitize:CURRent:RANGe", self._set_range,
                    lambda _: _number(self._range_a)),
            Command("[SENSe<n>:]DIGitize:CURRent:SRATe", self._set_rate,
                    lambda _: str(self._rate_hz).encode()),
            Command("[SENSe<n>:]DIGitize:CURRent:APERture", self._set_aperture,
                    lambda _: self._aperture.encode()),
            Command("[SENSe<n>:]DIGitize:COUNt", self._set_count,
                    lambda _: str(self._count).encode()),
            Command("TRACe:MAKE", self._make),
            Command("TRACe:DELete", self._delete),
            Command("TRACe:POINts", self._set_points, self._points),
            Command("TRACe:CLEar", self._clear),
            Command("TRACe:FILL:MODE", self._set_fill),
            Command("TRACe:ACTual", query=self._actual),
            Command("TRACe:DATA", query=self._read),
            Command("FORMat[:DATA]", self._set_format, lambda _: self._format.encode()),
            Command("FORMat:BORDer", self._set_order, lambda _: self._order.encode()),
            Command("TRIGger:LOAD", self._load),
            Command("TRIGger:BLOCk:BUFFer:CLEar", self._block_clear),
            Command("TRIGger:BLOCk:WAIT", self._block_wait),
            Command("TRIGger:BLOCk:MDIGitize", self._block_digitize),
            Command("TRIGger:EXTernal:IN:CLEar", lambda _: None),
            Command("TRIGger:EXTernal:IN:EDGE", self._set_edge, lambda _: self._edge.encode()),
            Command("TRIGger:STATe", query=self._state),
            Command("INITiate[:IMMediate]", lambda _: self._initiate()),
            Command("ABORt", lambda _: self._abort()),
        ]  # fmt: skip

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self._abort()
        self._function, self._range_a, self._rate_hz = "NONE", 1.0, 100_000
        self._aperture, self._count, self._edge = "AUTO", 1, "FALL"
        self._format, self._order = "ASC", "SWAP"
        self._buffers = {"defbuffer1": 100_000, "defbuffer2": 100_000}
        self._readings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._blocks: dict[int, tuple[str, ...]] = {}

    def _set_function(self, call: Call) -> None:
        call.count(1)
        name = quoted(call.arguments[0])
        self._function = word(name, "CURRent", "VOLTage")

    def _set_range(self, call: Call) -> None:
        call.count(1)
        wanted = number(call.arguments[0], 0.0, RANGES_A[-1])
        self._range_a = next(range_a for range_a in RANGES_A if range_a >= wanted)

    def _set_rate(self, call: Call) -> None:
        call.count(1)
        self._rate_hz = whole(call.arguments[0], *RATES)

    def _set_aperture(self, call: Call) -> None:
        call.count(1)
        if call.arguments[0].upper() == "AUTO":
            self._aperture = "AUTO"
            return
        self._aperture = f"{number(call.arguments[0], 1e-6, 1 / self._rate_hz):.6e}"

    def _set_count(self, call: Call) -> None:
        call.count(1)
        self._count = whole(call.arguments[0], 1, 55_000_000)

    # -- buffers ----------------------------------------------------------------------------

    def _buffer(self, call: Call, place: int) -> str:
        name = quoted(call.arguments[place]) if len(call.arguments) > place else "defbuffer1"
        if name not in self._buffers:
            raise ScpiError(-224, "Illegal parameter value")
        return name

    def _room(self, name: str, points: int) -> None:
        others = sum(size for key, size in self._buffers.items() if key != name)
        if others + points > MAX_READINGS:
            raise ScpiError(-225, "Out of memory")
        self._buffers[name] = points
        self._readings.pop(name, None)

    def _make(self, call: Call) -> None:
        call.count(2, 3)
        name = quoted(call.arguments[0])
        if name in self._buffers:
            raise ScpiError(-224, "Illegal parameter value")
        self._room(name, whole(call.arguments[1], 10, MAX_READINGS))

    def _delete(self, call: Call) -> None:
        call.count(1)
        name = self._buffer(call, 0)
        if name.startswith("defbuffer"):
            raise ScpiError(-224, "Illegal parameter value")
        del self._buffers[name]

    def _set_points(self, call: Call) -> None:
        call.count(1, 2)
        self._room(self._buffer(call, 1), whole(call.arguments[0], 10, MAX_READINGS))

    def _points(self, call: Call) -> bytes:
        return str(self._buffers[self._buffer(call, 0)]).encode()

    def _clear(self, call: Call) -> None:
        self._readings.pop(self._buffer(call, 0), None)

    def _set_fill(self, call: Call) -> None:
        call.count(1, 2)
        word(call.arguments[0], "ONCE", "CONTinuous")
        self._buffer(call, 1)

    def _actual(self, call: Call) -> bytes:
        self.poll()
        name = self._buffer(call, 0)
        return str(len(self._readings[name][0]) if name in self._readings else 0).encode()

    def _set_format(self, call: Call) -> None:
        call.count(1)
        self._format = word(call.arguments[0], "ASCii", "REAL", "SREal")

    def _set_order(self, call: Call) -> None:
        call.count(1)
        self._order = word(call.arguments[0], "NORMal", "SWAPped")

    def _read(self, call: Call) -> bytes:
        """``TRAC:DATA? first,last,"buffer",elements``."""
        call.count(2, 5)
        name = self._buffer(call, 2)
        current, relative_s = self._readings.get(name, (np.zeros(0), np.zeros(0)))
        first, last = (whole(text, 1, MAX_READINGS) for text in call.arguments[:2])
        if not first <= last <= len(current):
            raise ScpiError(-222, "Data out of range")
        elements = [word(text, "READing", "RELative") for text in call.arguments[3:]] or ["READ"]
        columns = {"READ": current, "REL": relative_s}
        table = np.column_stack([columns[element][first - 1 : last] for element in elements])
        if self._format == "ASC":
            return ",".join(f"{value:.9E}" for value in table.ravel()).encode()
        kind = np.dtype("f8" if self._format == "REAL" else "f4")
        order = kind.newbyteorder(">" if self._order == "NORM" else "<")
        return b"#0" + table.astype(order).tobytes()

    # -- trigger model ----------------------------------------------------------------------

    def _load(self, call: Call) -> None:
        call.count(1)
        word(quoted(call.arguments[0]), "EMPTY")
        self._blocks = {}

    def _place(self, call: Call) -> int:
        return whole(call.arguments[0], 1, 63)

    def _block_clear(self, call: Call) -> None:
        call.count(1, 2)
        self._blocks[self._place(call)] = ("clear", self._buffer(call, 1))

    def _block_wait(self, call: Call) -> None:
        call.count(2, 4)
        self._blocks[self._place(call)] = ("wait", word(call.arguments[1], "EXTernal", "COMMand"))

    def _block_digitize(self, call: Call) -> None:
        call.count(1, 3)
        name = self._buffer(call, 1)
        count = call.arguments[2] if len(call.arguments) > 2 else "1"
        points = self._count if count.upper() == "AUTO" else whole(count, 1, 55_000_000)
        self._blocks[self._place(call)] = ("digitize", name, str(points))

    def _set_edge(self, call: Call) -> None:
        call.count(1)
        self._edge = word(call.arguments[0], "RISing", "FALLing", "EITHer")

    def _initiate(self) -> None:
        if self._running is not None or self.recording is not None:
            raise ScpiError(-213, "Init ignored")
        kinds = [self._blocks[place] for place in sorted(self._blocks)]
        digitize = [kind for kind in kinds if kind[0] == "digitize"]
        if len(digitize) != 1 or self._function == "NONE":
            raise ScpiError(-221, "Settings conflict")
        for kind in kinds:
            if kind[0] == "clear":
                self._readings.pop(kind[1], None)
        self._running = (digitize[0][1], min(int(digitize[0][2]), self._buffers[digitize[0][1]]))
        self._waiting = ("wait", "EXT") in kinds
        if not self._waiting:
            self._start()

    def _start(self) -> None:
        assert self._running is not None
        self._waiting = False
        self.record(1.0 / self._rate_hz, self._running[1])

    def feed(self, time_s: float, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        wanted = {"RIS": (True,), "FALL": (False,), "EITH": (True, False)}[self._edge]
        fitting = [edge for edge in edges if edge.level in wanted]
        if self._waiting and fitting and not self.faults.no_trigger:
            self._start()
            assert self.recording is not None
            self.recording.t0_s = fitting[0].time_s
        super().feed(time_s, bins, edges)

    def _abort(self) -> None:
        self._running, self._waiting = None, False
        self.stop()

    def _state(self, _call: Call) -> bytes:
        self.poll(busy=self._waiting)
        state = "WAITING" if self._waiting else "RUNNING" if self._running else "IDLE"
        return f"{state};{state};0".encode()

    def finished(self, recording: Recording) -> None:
        assert self._running is not None
        current_a = self.current_a(recording)
        beyond = np.abs(current_a) > OVERRANGE * self._range_a
        noise = NOISE * self._range_a * self.rng.standard_normal(len(current_a))
        read_a = current_a * self.gain + self.offset * self._range_a + noise
        read_a[beyond] = np.copysign(OVERFLOW, current_a[beyond])
        relative_s = np.arange(len(read_a)) * recording.interval_s
        lost = self.lost(len(read_a))
        self._readings[self._running[0]] = (np.delete(read_a, lost), np.delete(relative_s, lost))
        self._running = None

    def halted(self, reason: str) -> None:
        self._abort()
        self._errors.push(ScpiError(-230, f"Data corrupt or stale; {reason}"))

    def _error(self, _call: Call) -> bytes:
        code, text = self._errors.pop()
        if code == 0:
            return b'0,"No error;0;0 0"'
        return f'{code},"{text};1;{TIMESTAMP}"'.encode("ascii", "replace")


def _number(value: float) -> bytes:
    return f"{value:.6E}".encode()
