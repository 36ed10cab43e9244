"""Keithley DMM6500 in its SCPI command set, as far as digitizing current goes.

From the DMM6500 Reference Manual (DMM6500-901-01, chapter 6) and, for formats and elements of
readings, the DMM7510's (DMM7510-901-01, pp. 6-50, 6-156): digitize function with sample rate and
aperture, reading buffers of 7,000,000 readings in all, the trigger model (hil.sim.instruments.
trigger_model), readings beyond the range as 9.9E37. It has one input and no marker channel;
EXT TRIG IN, where the marker goes, only moves the trigger model on. Not modelled: the slow measure
functions, limits, the other command languages.

``SWITCH_S``, and ``LATENCY_S`` from an edge to its effect, are in no manual. They are numbers of
this simulation: notes of a public bench (ameline-design/dmm6500-serial-decode, docs/TRIGGER.md,
firmware 1.7.17a) have the analog trigger act 4 to 9 us after the crossing and no reading lost from
block to block in one buffer; here 40 us are, so that whoever reads must cope. They also saw a
running model aborted by any command that arrived; ``aborts_on_command`` does so.
"""

from __future__ import annotations

import math

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.instruments.instrument import POLL_STEP_S, Instrument
from hil.sim.instruments.reading_buffer import BINARY, ELEMENTS, ReadingBuffer
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
from hil.sim.instruments.trigger_model import Block, TriggerModel
from hil.sim.meter_frontend import Recording

RANGES_A = (100e-6, 1e-3, 10e-3, 0.1, 1.0, 3.0)
OVERRANGE = 1.2  # a range holds this much more than its name
MAX_READINGS = 7_000_000
MOST_BLOCKS = 63
MOST_COUNT = 55_000_000
ENDLESS = 2**62  # samples: of a recording that ends when the trigger model does
RATES = (1_000, 1_000_000)
OVERFLOW = 9.9e37
NOISE = 2e-4
DIGITS = 7  # of numbers in ASCII, unless told
TIMESTAMP = "2026/11/25 12:57:04.484"  # events carry one
SWITCH_S = 40e-6
LATENCY_S = 8e-6
FULL = ScpiError(4915, "Attempting to store past capacity of reading buffer")
ABORTED = ScpiError(2728, "Trigger model path #1 has been aborted")


class KeithleyDmm6500(ScpiFront, Instrument):
    """One multimeter on its front terminals."""

    ERRORS = 1000

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        super().__init__(supply_v, seed)
        self.switch_s, self.rise_s, self.fall_s = SWITCH_S, LATENCY_S, LATENCY_S
        self.aborts_on_command = False
        self._model: TriggerModel | None = None  # the run under way, or the last one
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
            Command("FORMat:ASCii:PRECision", self._set_digits,
                    lambda _: str(self._digits).encode()),
            Command("FORMat:BORDer", self._set_order, lambda _: self._order.encode()),
            Command("TRIGger:LOAD", self._load),
            Command("TRIGger:BLOCk:BUFFer:CLEar", self._block_clear),
            Command("TRIGger:BLOCk:WAIT", self._block_wait),
            Command("TRIGger:BLOCk:MDIGitize", self._block_digitize),
            Command("TRIGger:BLOCk:BRANch:ALWays", self._block_branch),
            Command("TRIGger:EXTernal:IN:CLEar", lambda _: None),
            Command("TRIGger:EXTernal:IN:EDGE", self._set_edge, lambda _: self._edge.encode()),
            Command("TRIGger:STATe", query=self._state),
            Command("INITiate[:IMMediate]", lambda _: self._initiate()),
            Command("ABORt", lambda _: self._abort_told()),
        ]  # fmt: skip

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self._abort()
        self._model = None
        self._function, self._range_a, self._rate_hz = "NONE", 1.0, 100_000
        self._aperture, self._count, self._edge = "AUTO", 1, "FALL"
        self._format, self._order, self._digits = "ASC", "SWAP", 0
        self._buffers = {name: ReadingBuffer(100_000) for name in ("defbuffer1", "defbuffer2")}
        self._blocks: dict[int, Block] = {}

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
        self._count = whole(call.arguments[0], 1, MOST_COUNT)

    def _set_digits(self, call: Call) -> None:
        call.count(1)
        self._digits = whole(call.arguments[0], 0, 16)

    # -- buffers ----------------------------------------------------------------------------

    def _name(self, call: Call, place: int) -> str:
        """Of a buffer there is; the default one where none is given."""
        name = quoted(call.arguments[place]) if len(call.arguments) > place else "defbuffer1"
        if name not in self._buffers:
            raise ScpiError(-224, "Illegal parameter value")
        return name

    def _buffer(self, call: Call, place: int) -> ReadingBuffer:
        return self._buffers[self._name(call, place)]

    def _room(self, name: str, points: int) -> None:
        others = sum(other.capacity for key, other in self._buffers.items() if key != name)
        if others + points > MAX_READINGS:
            raise ScpiError(-225, "Out of memory")
        once = name in self._buffers and self._buffers[name].once
        self._buffers[name] = ReadingBuffer(points, once)

    def _make(self, call: Call) -> None:
        call.count(2, 3)
        name = quoted(call.arguments[0])
        if name in self._buffers:
            raise ScpiError(-224, "Illegal parameter value")
        self._room(name, whole(call.arguments[1], 10, MAX_READINGS))

    def _delete(self, call: Call) -> None:
        call.count(1)
        name = self._name(call, 0)
        if name.startswith("defbuffer"):
            raise ScpiError(-224, "Illegal parameter value")
        del self._buffers[name]

    def _set_points(self, call: Call) -> None:
        call.count(1, 2)
        self._room(self._name(call, 1), whole(call.arguments[0], 10, MAX_READINGS))

    def _points(self, call: Call) -> bytes:
        return str(self._buffer(call, 0).capacity).encode()

    def _clear(self, call: Call) -> None:
        self._buffer(call, 0).clear()

    def _set_fill(self, call: Call) -> None:
        call.count(1, 2)
        self._buffer(call, 1).once = word(call.arguments[0], "ONCE", "CONTinuous") == "ONCE"

    def _actual(self, call: Call) -> bytes:
        self._asked()
        name = self._name(call, 0)
        stored = len(self._buffers[name])
        if self._recording is not None and self._model is not None:
            stored += sum(
                stretch.count(self._recording.known_s, self._model.interval_s)
                for stretch in self._model.stretches
                if stretch.buffer == name
            )
        return str(min(stored, self._buffers[name].capacity)).encode()

    def _set_format(self, call: Call) -> None:
        call.count(1)
        self._format = word(call.arguments[0], "ASCii", "REAL", "SREal")

    def _set_order(self, call: Call) -> None:
        call.count(1)
        self._order = word(call.arguments[0], "NORMal", "SWAPped")

    def _read(self, call: Call) -> bytes:
        """``TRAC:DATA? first,last,"buffer",elements``, of a model that has ended."""
        call.count(2, 3 + len(ELEMENTS))
        buffer = self._buffer(call, 2)
        first, last = (whole(text, 1, MAX_READINGS) for text in call.arguments[:2])
        if not first <= last <= len(buffer):
            raise ScpiError(-222, "Data out of range")
        elements = [word(text, *ELEMENTS) for text in call.arguments[3:]] or ["READ"]
        if self._format != "ASC" and not set(elements) <= set(BINARY):
            raise ScpiError(1133, "Parameter 4, Syntax error, expected valid name parameter")
        table = np.column_stack([buffer.column(element)[first - 1 : last] for element in elements])
        if self._format == "ASC":
            digits = (self._digits or DIGITS) - 1
            return ",".join(f"{value:.{digits}E}" for value in table.ravel()).encode()
        kind = np.dtype("f8" if self._format == "REAL" else "f4")
        order = kind.newbyteorder(">" if self._order == "NORM" else "<")
        return b"#0" + table.astype(order).tobytes()

    # -- trigger model ----------------------------------------------------------------------

    def _load(self, call: Call) -> None:
        call.count(1)
        word(quoted(call.arguments[0]), "EMPTY")
        self._blocks = {}

    def _place(self, call: Call, which: int = 0) -> int:
        return whole(call.arguments[which], 1, MOST_BLOCKS)

    def _block_clear(self, call: Call) -> None:
        call.count(1, 2)
        self._blocks[self._place(call)] = Block("clear", self._name(call, 1))

    def _block_wait(self, call: Call) -> None:
        call.count(2, 3)
        word(call.arguments[1], "EXTernal")
        clear = word(call.arguments[2], "ENTer", "NEVer") if len(call.arguments) > 2 else "NEV"
        self._blocks[self._place(call)] = Block("wait", clears=clear == "ENT")

    def _block_digitize(self, call: Call) -> None:
        call.count(1, 3)
        name = self._name(call, 1)
        count = call.arguments[2].upper() if len(call.arguments) > 2 else "1"
        named = {"AUTO": float(self._count), "INF": math.inf, "INFINITE": math.inf}
        points = named[count] if count in named else whole(count, 0, MOST_COUNT)
        self._blocks[self._place(call)] = Block("digitize", name, points)

    def _block_branch(self, call: Call) -> None:
        call.count(2)
        self._blocks[self._place(call)] = Block("branch", target=self._place(call, 1))

    def _set_edge(self, call: Call) -> None:
        call.count(1)
        self._edge = word(call.arguments[0], "RISing", "FALLing", "EITHer")

    @property
    def _running(self) -> bool:
        return self._recording is not None

    def _initiate(self) -> None:
        if self._running:
            raise ScpiError(-213, "Init ignored")
        kinds = {block.kind for block in self._blocks.values()}
        into = {block.buffer for block in self._blocks.values() if block.buffer}
        if "digitize" not in kinds or self._function == "NONE" or not into <= set(self._buffers):
            raise ScpiError(-221, "Settings conflict")
        interval_s, phase = 1.0 / self._rate_hz, self.rng.uniform()
        self._model = TriggerModel(
            dict(self._blocks), self.time_s, interval_s, phase, self.switch_s
        )
        for name in self._model.cleared:
            self._buffers[name].clear()
        self.record(interval_s, ENDLESS)

    def feed(self, time_s: float, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        super().feed(time_s, bins, edges)
        model, recording = self._model, self._recording
        if model is None or recording is None:
            return
        wanted = {"RIS": (True,), "FALL": (False,), "EITH": (True, False)}[self._edge]
        for edge in edges:
            if edge.level in wanted and not self.faults.no_trigger:
                model.edge(edge.time_s, self.rise_s if edge.level else self.fall_s)
        model.advance(recording.known_s)
        # The reading that was under way when the model ended still has to become known.
        if not model.running and recording.known_s >= model.now_s + model.interval_s:
            self.stop()
            self.finished(recording)

    def _abort(self) -> None:
        model, recording = self._model, self._recording
        self.stop()
        if model is not None and recording is not None:
            # What is not known yet has not been read: the last reading is a complete one.
            model.abort(recording.known_s)
            self.finished(recording)

    def _abort_told(self) -> None:
        """An abort, with its note in the queue."""
        if self._running:
            self._abort()
            self._errors.push(ABORTED)

    def until_recorded(self) -> None:
        """See ``Instrument.until_recorded``; the end is the trigger model's."""
        if self._running:
            self._wait_for(self.time_s + POLL_STEP_S)

    def _asked(self) -> None:
        """A question has come: a client that asks again has let time pass."""
        if self.aborts_on_command:
            self._abort()
        self.poll()

    def _state(self, _call: Call) -> bytes:
        self._asked()
        state = "IDLE" if self._model is None else self._model.state
        if self._running and state not in ("RUNNING", "WAITING"):
            state = "RUNNING"  # its last reading is
        return f"{state};{state};0".encode()

    def finished(self, recording: Recording) -> None:
        """Store the readings of a run that has ended."""
        assert self._model is not None
        interval_s = self._model.interval_s
        counts = [s.count(recording.known_s, interval_s) for s in self._model.stretches]
        if not sum(counts):
            return
        starts = zip(self._model.stretches, counts, strict=True)
        times_s = np.concatenate([s.start_s + np.arange(n) * interval_s for s, n in starts])
        ends_j, begins_j = recording.drawn_j(times_s + interval_s), recording.drawn_j(times_s)
        current_a = self.spoiled((ends_j - begins_j) / interval_s / self.supply_v)
        beyond = np.abs(current_a) > OVERRANGE * self._range_a
        noise = NOISE * self._range_a * self.rng.standard_normal(len(current_a))
        read_a = current_a * self.gain + self.offset * self._range_a + noise
        read_a[beyond] = np.copysign(OVERFLOW, current_a[beyond])
        ends, longest = np.cumsum(counts), int(np.argmax(counts))
        kept = np.ones(len(times_s), np.bool_)
        kept[ends[longest] - counts[longest] + self.lost(counts[longest])] = False
        for stretch, first, end in zip(self._model.stretches, ends - counts, ends, strict=True):
            seen = np.flatnonzero(kept[first:end]) + first
            if not self._buffers[stretch.buffer].store(read_a[seen], times_s[seen]):
                self._errors.push(FULL)

    def halted(self, reason: str) -> None:
        if self._model is not None:
            self._model.abort(self.time_s)  # its readings are gone
        self._errors.push(ScpiError(-230, f"Data corrupt or stale; {reason}"))

    def _error(self, _call: Call) -> bytes:
        code, text = self._errors.pop()
        if code == 0:
            return b'0,"No error;0;0 0"'
        return f'{code},"{text};1;{TIMESTAMP}"'.encode("ascii", "replace")


def _number(value: float) -> bytes:
    return f"{value:.6E}".encode()
