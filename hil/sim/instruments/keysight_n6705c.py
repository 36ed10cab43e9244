"""Keysight N6705C with an N6781A in slot 1 and an N6731B in slot 2, as its array measurement is.

From the N6705C User's Guide ("Making array measurements", pp. 203-217) and Operating and Service
Guide (chapter 7): per-channel settings by channel list, intervals coerced to the hardware's
grid, which gets coarser with every measured parameter (a data log left on by another program
counts), 512 K points at most, single-precision blocks, +9.9E+37 beyond the range. Not modelled:
the source functions, pre-trigger points, ASCII arrays, the logs' own data.
"""

from __future__ import annotations

import numpy as np

from hil.sim.instruments.instrument import MARKER_V, Instrument
from hil.sim.instruments.scpi import (
    Call,
    Command,
    ScpiError,
    Setter,
    block,
    boolean,
    channels,
    nr1,
    nr3,
    number,
    whole,
    word,
)
from hil.sim.instruments.scpi_front import ScpiFront
from hil.sim.meter_frontend import Recording

MODULES = ("N6781A", "N6731B")
RANGES_A = {"N6781A": (10e-6, 1e-3, 0.1, 3.0), "N6731B": (0.1, 10.0)}
RANGES_V = {"N6781A": (1.0, 20.0), "N6731B": (5.0,)}
MAX_POINTS = 524_288
FASTEST_S = {1: 5.12e-6, 2: 10.24e-6, 4: 20.48e-6, 8: 40.96e-6}  # by measured parameters
MAX_INTERVAL_S = 40.0
STEP_S = 10.24e-6
COARSE_STEP_S = 20.48e-6
OVERFLOW = 9.9e37
WAITING, MEASURING = 8, 32  # operation status: WTG-meas, MEAS-active
NOISE = 5e-5  # of the range, one sigma
AUX_NOISE_V = 2e-3


class KeysightN6705C(ScpiFront, Instrument):
    """One mainframe. ``modules`` are the models in its slots; the board hangs on the first."""

    ERRORS = 20

    def __init__(self, supply_v: float, seed: int = 0, modules: tuple[str, ...] = MODULES) -> None:
        super().__init__(supply_v, seed)
        self.modules = modules
        self.open_front(self._commands())
        self._reset()

    @property
    def idn(self) -> str:
        return f"Keysight Technologies,N6705C,{self.serial},E.02.07.3152"

    def _commands(self) -> list[Command]:
        table = [
            Command("*IDN", query=lambda _: self.idn.encode()),
            Command("*RST", lambda _: self._reset()),
            Command("*CLS", lambda _: self._errors.clear()),
            Command("*OPC", query=self._opc),
            Command("SYSTem:ERRor", query=self._signed_error),
            Command("SYSTem:CHANnel[:COUNt]", query=lambda _: str(len(self.modules)).encode()),
            Command("SYSTem:CHANnel:MODel", query=self._models),
            Command("FORMat[:DATA]", self._set_format, lambda _: self._format.encode()),
            Command("FORMat:BORDer", self._set_order, lambda _: self._order.encode()),
            Command("[SENSe:]SWEep:TINTerval", self._set_interval, self._interval),
            Command("[SENSe:]SWEep:POINts", self._set_points, self._points_set),
            Command("[SENSe:]SWEep:OFFSet:POINts", self._set_offset, lambda _: nr1(0)),
            Command("[SENSe:]CURRent[:DC]:RANGe[:UPPer]", self._range_setter("CURR"),
                    lambda call: nr3(self._ranges["CURR", self._one(call)])),
            Command("[SENSe:]VOLTage[:DC]:RANGe[:UPPer]", self._range_setter("VOLT"),
                    lambda call: nr3(self._ranges["VOLT", self._one(call)])),
            Command("[SENSe:]VOLTage:INPut", self._set_input,
                    lambda call: self._inputs[self._one(call)].encode()),
            Command("[SENSe:]WINDow[:TYPE]", self._set_window, lambda _: self._window.encode()),
            Command("TRIGger:ACQuire:SOURce", self._set_source, lambda _: b"BUS"),
            Command("TRIGger:ACQuire[:IMMediate]", self._trigger),
            Command("INITiate:ACQuire", self._initiate),
            Command("ABORt:ACQuire", self._abort),
            Command("STATus:OPERation:CONDition", query=self._condition),
            Command("FETCh:ARRay:CURRent[:DC]", query=lambda call: self._fetch("CURR", call)),
            Command("FETCh:ARRay:VOLTage[:DC]", query=lambda call: self._fetch("VOLT", call)),
            Command("MEASure[:SCALar]:VOLTage[:DC]", query=self._voltage),
            Command("OUTPut[:STATe]", self._set_output,
                    lambda call: b"1" if self._outputs[self._one(call)] else b"0"),
        ]  # fmt: skip
        for log in ("", "ELOG:", "DLOG:"):
            table += [self._function_command(log, word) for word in ("CURRent", "VOLTage")]
        return table

    def _function_command(self, log: str, quantity: str) -> Command:
        key = (log[:4], quantity[:4].upper())
        return Command(
            f"[SENSe:]{log}FUNCtion:{quantity}",
            lambda call: self._set_function(key, call),
            lambda call: self._function(key, call),
        )

    # -- channels ---------------------------------------------------------------------------

    def _list(self, call: Call, before: int = 0) -> tuple[int, ...]:
        """The channel list behind ``before`` other parameters."""
        call.count(before + 1)
        return channels(call.arguments[before], len(self.modules))

    def _one(self, call: Call) -> int:
        found = self._list(call)
        if len(found) != 1:
            raise ScpiError(-222, "Data out of range")
        return found[0]

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self.stop()
        everywhere = range(1, len(self.modules) + 1)
        self._format, self._order, self._window = "ASCII", "NORM", "RECT"
        # (log, quantity, channel) that are switched on; "" is the array measurement.
        self._on = {("", "VOLT", channel) for channel in everywhere}
        self._asked_s = dict.fromkeys(everywhere, 2.048e-05)
        self._points = dict.fromkeys(everywhere, 1024)
        self._ranges = {("CURR", c): RANGES_A[self.modules[c - 1]][-1] for c in everywhere}
        self._ranges |= {("VOLT", c): RANGES_V[self.modules[c - 1]][-1] for c in everywhere}
        self._inputs = dict.fromkeys(everywhere, "MAIN")
        self._outputs = dict.fromkeys(everywhere, False)
        self._outputs[1] = True  # a board hangs on it and runs
        self._armed: int | None = None
        self._data: dict[str, np.ndarray] = {}
        self._data_channel = 0

    def leave_log_on(self, channel: int) -> None:
        """What a program before us may have left: a data log of another channel."""
        self._on |= {("DLOG", "CURR", channel), ("DLOG", "VOLT", channel)}

    def _idle(self) -> None:
        if self._armed is not None or self.recording is not None:
            raise ScpiError(-221, "Settings conflict")

    def _set_format(self, call: Call) -> None:
        call.count(1)
        self._format = word(call.arguments[0], "ASCII", "REAL")

    def _set_order(self, call: Call) -> None:
        call.count(1)
        self._order = word(call.arguments[0], "NORMal", "SWAPped")

    def _set_function(self, key: tuple[str, str], call: Call) -> None:
        self._idle()
        where = self._list(call, 1)
        on = boolean(call.arguments[0])
        for channel in where:
            # Modules with one converter measure voltage or current, not both.
            if on and not key[0] and self.modules[channel - 1] != "N6781A":
                self._on -= {("", "CURR", channel), ("", "VOLT", channel)}
            change = {(*key, channel)}
            self._on = self._on | change if on else self._on - change

    def _function(self, key: tuple[str, str], call: Call) -> bytes:
        return b"1" if (*key, self._one(call)) in self._on else b"0"

    def _set_interval(self, call: Call) -> None:
        self._idle()
        where = self._list(call, 1)
        asked_s = number(call.arguments[0], FASTEST_S[1], MAX_INTERVAL_S)
        for channel in where:
            self._asked_s[channel] = asked_s

    def _interval(self, call: Call) -> bytes:
        return nr3(self._interval_s(self._one(call)))

    def _interval_s(self, channel: int) -> float:
        """The interval really used: on the grid, and no faster than the parameters allow."""
        logs = sum(1 for log, _, _ in self._on if log)
        measured = sum(1 for log, _, c in self._on if not log and c == channel)
        parameters = max(1, logs + measured)
        fastest_s = next(s for count, s in FASTEST_S.items() if count >= min(parameters, 8))
        asked_s = self._asked_s[channel]
        if asked_s <= 7.68e-6:
            return max(fastest_s, FASTEST_S[1])
        step_s = STEP_S if asked_s <= COARSE_STEP_S else COARSE_STEP_S
        return max(fastest_s, round(asked_s / step_s) * step_s)

    def _set_points(self, call: Call) -> None:
        self._idle()
        where = self._list(call, 1)
        for channel in where:
            self._points[channel] = whole(call.arguments[0], 1, MAX_POINTS)

    def _points_set(self, call: Call) -> bytes:
        return nr1(self._points[self._one(call)])

    def _set_offset(self, call: Call) -> None:
        self._list(call, 1)
        whole(call.arguments[0], 0, 0)

    def _range_setter(self, quantity: str) -> Setter:
        def set_range(call: Call) -> None:
            self._idle()
            where = self._list(call, 1)
            for channel in where:
                model = self.modules[channel - 1]
                known = (RANGES_A if quantity == "CURR" else RANGES_V)[model]
                wanted = number(call.arguments[0], 0.0, known[-1])
                self._ranges[quantity, channel] = next(r for r in known if r >= wanted)

        return set_range

    def _set_input(self, call: Call) -> None:
        self._idle()
        where = self._list(call, 1)
        name = word(call.arguments[0], "MAIN", "AUXiliary")
        for channel in where:
            if self.modules[channel - 1] != "N6781A":
                raise ScpiError(-241, "Hardware missing")
            self._inputs[channel] = name

    def _set_window(self, call: Call) -> None:
        self._list(call, 1)
        self._window = word(call.arguments[0], "HANNing", "RECTangular")

    def _set_source(self, call: Call) -> None:
        self._list(call, 1)
        word(call.arguments[0], "BUS")

    def _set_output(self, call: Call) -> None:
        where = self._list(call, 1)
        for channel in where:
            self._outputs[channel] = boolean(call.arguments[0])

    # -- acquisition ------------------------------------------------------------------------

    def _initiate(self, call: Call) -> None:
        channel = self._one(call)
        if self._armed is not None or self.recording is not None:
            raise ScpiError(-213, "Init ignored")
        self._armed, self._data = channel, {}

    def _trigger(self, call: Call) -> None:
        channel = self._one(call)
        if self._armed != channel:
            raise ScpiError(-211, "Trigger ignored")
        if self.faults.no_trigger:
            self.faults.no_trigger = False
            return
        self._armed, self._data_channel = None, channel
        self.record(self._interval_s(channel), self._points[channel])

    def _abort(self, call: Call) -> None:
        self._list(call)
        self._armed = None
        self.stop()

    def _condition(self, call: Call) -> bytes:
        channel = self._one(call)
        self.poll()
        waiting = WAITING if self._armed == channel else 0
        measuring = MEASURING if self.recording is not None else 0
        return nr1(waiting | measuring)

    def finished(self, recording: Recording) -> None:
        channel = self._data_channel
        current_a = self.current_a(recording)
        range_a = self._ranges["CURR", channel]
        beyond = np.abs(current_a) > range_a
        noise = NOISE * range_a * self.rng.standard_normal(len(current_a))
        read_a = current_a * self.gain + self.offset * range_a + noise
        read_a[beyond] = np.copysign(OVERFLOW, current_a[beyond])
        aux_v = recording.marker() * MARKER_V
        aux_v = aux_v + AUX_NOISE_V * self.rng.standard_normal(len(aux_v))
        if self._inputs[channel] == "MAIN":
            aux_v = np.full(len(read_a), self.supply_v)
        lost = self.lost(recording.points)
        self._data = {"CURR": np.delete(read_a, lost), "VOLT": np.delete(aux_v, lost)}

    def halted(self, reason: str) -> None:
        self._armed = None
        self._data = {"CURR": np.zeros(0), "VOLT": np.zeros(0)}
        self._errors.push(ScpiError(-230, f"Data corrupt or stale; {reason}"))

    def _fetch(self, quantity: str, call: Call) -> bytes:
        channel = self._one(call)
        if self._armed == channel:
            self._wait_for(self.time_s + 1.0)  # a trigger that never comes: deaf, as the product
        self.until_recorded()
        if quantity not in self._data or channel != self._data_channel:
            raise ScpiError(-230, "Data corrupt or stale")
        if ("", quantity, channel) not in self._on:
            raise ScpiError(-221, "Settings conflict")
        if self._format != "REAL":
            raise ScpiError(-221, "Settings conflict; this simulator has no ASCII arrays")
        kind = ">f4" if self._order == "NORM" else "<f4"
        return block(self._data[quantity].astype(kind).tobytes())

    def _voltage(self, call: Call) -> bytes:
        channel = self._one(call)
        if self._inputs[channel] == "AUX":
            return nr3(MARKER_V * self._level)
        return nr3(self.supply_v if channel == 1 and self._outputs[1] else 0.0)

    # -- errors -----------------------------------------------------------------------------

    def _models(self, call: Call) -> bytes:
        found = self._list(call)
        return ",".join(self.modules[channel - 1] for channel in found).encode()
