"""Keysight InfiniiVision DSO-X 3000/4000: single acquisition, waveform transfer, error queue.

From the 4000 X-Series Programmer's Guide: preamble and formula (:WAVeform:PREamble), special byte
values 0x00 hole, 0x01 clipped low, 0xFF clipped high (:WAVeform:DATA, p. 1243), run bit 3 of
:OPERegister:CONDition, arm event register :AER, trigger event register :TER, error queue of 30.
RAW points are every k-th sample of the memory. Not modelled: edge triggers, averaging, segments,
digital pods, WORD and ASCII transfers.
"""

from __future__ import annotations

import numpy as np

from hil.sim.instruments.oscilloscope import one_two_five
from hil.sim.instruments.scpi import (
    Call,
    Command,
    ScpiError,
    block,
    boolean,
    nr1,
    nr3,
    number,
    whole,
    word,
)
from hil.sim.instruments.scpi_oscilloscope import ScpiOscilloscope

DIVISIONS_X, DIVISIONS_Y = 10, 8
MEMORY_POINTS = 1_000_000  # of a channel when two are shown
POINTS = sorted(
    [100, 250, 500]
    + [step * 10**power for power in (3, 4, 5) for step in (1, 2, 5)]
    + [1_000_000, 2_000_000, 4_000_000]
)
SCALE_V = (1e-3, 5.0)
SCALE_S = (2e-9, 50.0)
FASTEST_S = 1 / 2.5e9
HOLE, LOW, HIGH, MIDDLE = 0, 1, 255, 128
RUN = 8


class KeysightInfiniiVision(ScpiOscilloscope):
    """A DSO-X 3024T."""

    ERRORS = 30

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        super().__init__(supply_v, seed)
        self.open_front(self._commands())
        self._reset()

    @property
    def idn(self) -> str:
        return f"KEYSIGHT TECHNOLOGIES,DSO-X 3024T,{self.serial},07.20.2017102614"

    def _commands(self) -> list[Command]:
        return [
            Command("*IDN", query=lambda _: self.idn.encode()),
            Command("*RST", lambda _: self._reset()),
            Command("*CLS", lambda _: self._errors.clear()),
            Command("*OPC", query=self._opc),
            Command("SYSTem:ERRor", query=self._signed_error),
            Command("CHANnel<n>:SCALe", self._set_scale, lambda c: nr3(self._channel(c).scale_v)),
            Command("CHANnel<n>:OFFSet", self._set_offset,
                    lambda c: nr3(self._channel(c).offset_v)),
            Command("CHANnel<n>:COUPling", self._words("AC", "DC"), lambda _: b"DC"),
            Command("CHANnel<n>:PROBe", self._set_probe, lambda _: nr3(1.0)),
            Command("CHANnel<n>:IMPedance", self._words("ONEMeg", "FIFTy"), lambda _: b"ONEM"),
            Command("CHANnel<n>:DISPlay", self._set_shown,
                    lambda c: b"1" if self._channel(c).shown else b"0"),
            Command("TIMebase:MODE", self._words("MAIN"), lambda _: b"MAIN"),
            Command("TIMebase:REFerence", self._words("CENTer"), lambda _: b"CENT"),
            Command("TIMebase:SCALe", self._set_time, lambda _: nr3(self._scale_s)),
            Command("TIMebase:POSition", self._set_position, lambda _: nr3(self._position_s)),
            Command("ACQuire:TYPE", self._words("NORMal"), lambda _: b"NORM"),
            Command("ACQuire:MODE", self._words("RTIMe"), lambda _: b"RTIM"),
            Command("TRIGger:MODE", self._words("EDGE"), lambda _: b"EDGE"),
            Command("TRIGger[:EDGE]:SOURce", self._set_trigger_source, lambda _: b"CHAN2"),
            Command("TRIGger[:EDGE]:LEVel", self._set_level, lambda _: nr3(self._level_v)),
            Command("TRIGger:SWEep", self._words("NORMal"), lambda _: b"NORM"),
            Command("TRIGger:FORCe", lambda _: self.force()),
            Command("SINGle", lambda _: self._single()),
            Command("STOP", lambda _: self.cancel()),
            Command("AER", query=self._armed),
            Command("TER", query=self._triggered),
            Command("OPERegister:CONDition", query=self._condition),
            Command("WAVeform:SOURce", self._set_source,
                    lambda _: f"CHAN{self._source}".encode()),
            Command("WAVeform:POINts:MODE", self._words("RAW"), lambda _: b"RAW"),
            Command("WAVeform:POINts", self._set_points, lambda _: nr1(self._points)),
            Command("WAVeform:FORMat", self._words("BYTE"), lambda _: b"BYTE"),
            Command("WAVeform:UNSigned", self._set_unsigned, lambda _: b"1"),
            Command("WAVeform:PREamble", query=self._preamble),
            Command("WAVeform:DATA", query=self._data),
        ]  # fmt: skip

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self.reset_channels()
        self._scale_s, self._position_s, self._level_v = 100e-6, 0.0, 0.0
        self._source, self._points = 1, 1000
        self._was_armed = self._was_triggered = False

    def _set_scale(self, call: Call) -> None:
        call.count(1)
        self._channel(call).scale_v = number(call.arguments[0], *SCALE_V)

    def _set_time(self, call: Call) -> None:
        call.count(1)
        self._scale_s = one_two_five(number(call.arguments[0], *SCALE_S), *SCALE_S)

    def _set_position(self, call: Call) -> None:
        call.count(1)
        self._position_s = number(call.arguments[0], -500.0, 500.0)

    def _set_trigger_source(self, call: Call) -> None:
        call.count(1)
        word(call.arguments[0], "CHANnel1", "CHANnel2", "CHANnel3", "CHANnel4", "CHAN2", "CHAN1")

    def _set_level(self, call: Call) -> None:
        call.count(1)
        self._level_v = number(call.arguments[0], -40.0, 40.0)

    def _set_source(self, call: Call) -> None:
        call.count(1)
        text = call.arguments[0].upper().replace("CHANNEL", "CHAN")
        names = {f"CHAN{channel}": channel for channel in self.channels}
        if text not in names:
            raise ScpiError(-224, "Illegal parameter value")
        self._source = names[text]

    def _set_points(self, call: Call) -> None:
        call.count(1)
        points = whole(call.arguments[0], POINTS[0], POINTS[-1])
        if points not in POINTS:
            raise ScpiError(-222, "Data out of range")
        self._points = points

    def _set_unsigned(self, call: Call) -> None:
        call.count(1)
        if not boolean(call.arguments[0]):
            raise ScpiError(-221, "Settings conflict")

    # -- acquisition ------------------------------------------------------------------------

    def _single(self) -> None:
        interval_s = max(FASTEST_S, DIVISIONS_X * self._scale_s / MEMORY_POINTS)
        points = round(DIVISIONS_X * self._scale_s / interval_s)
        before_s = max(0.0, DIVISIONS_X / 2 * self._scale_s - self._position_s)
        self._was_armed = self._was_triggered = False
        self.single(interval_s, points, before_s)

    def force(self) -> None:
        waited = self.held
        super().force()
        self._was_triggered |= waited and not self.held

    def _armed(self, _call: Call) -> bytes:
        """The arm event: set once, cleared by being read."""
        armed = self.poll_ready() and not self._was_armed
        self._was_armed |= armed
        return nr1(armed)

    def _triggered(self, _call: Call) -> bytes:
        triggered, self._was_triggered = self._was_triggered, False
        return nr1(triggered)

    def _condition(self, _call: Call) -> bytes:
        self.poll()
        return nr1(RUN if self.acquiring else 0)

    # -- transfer ---------------------------------------------------------------------------

    def _stride(self) -> int:
        if self.record_held is None:
            raise ScpiError(-230, "Data corrupt or stale")
        return max(1, self.record_held.points // self._points)

    def _codes(self) -> np.ndarray:
        channel = self.channels[self._source]
        if not channel.shown:
            raise ScpiError(-221, "Settings conflict")
        stride = self._stride()
        divisions = self.analog(self._source)[::stride] - channel.offset_v / channel.scale_v
        codes = np.rint(divisions * 256 / DIVISIONS_Y) + MIDDLE
        codes = np.clip(codes, LOW, HIGH).astype(np.uint8)
        assert self.record_held is not None
        holes = np.isin(np.arange(len(codes)) * stride, self.record_held.missing)
        return np.where(holes, np.uint8(HOLE), codes)

    def _preamble(self, _call: Call) -> bytes:
        stride = self._stride()
        assert self.record_held is not None
        channel = self.channels[self._source]
        points = -(-self.record_held.points // stride)
        numbers = (
            "+0,+0", nr1(points).decode(), "+1",
            nr3(self.record_held.interval_s * stride).decode(),
            nr3(self.record_held.start_s).decode(), "+0",
            nr3(DIVISIONS_Y * channel.scale_v / 256).decode(),
            nr3(channel.offset_v).decode(), nr1(MIDDLE).decode(),
        )  # fmt: skip
        return ",".join(numbers).encode()

    def _data(self, _call: Call) -> bytes:
        return block(self._codes().tobytes(), 8)
