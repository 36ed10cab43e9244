"""Rigol DS1000Z: single acquisition, memory depth, transfer in batches, error queue.

From the MSO1000Z/DS1000Z Programming Guide: ten preamble numbers (p. 2-226), memory depth =
sample rate x 12 divisions (User's Guide 4-6), RAW transfer only when stopped, at most 250,000
bytes a batch, V = (code - YORigin - YREFerence) x YINCrement. Not modelled: edge triggers,
averaging, slow-sweep display, WORD and ASCII transfers.
"""

from __future__ import annotations

import numpy as np

from hil.sim.instruments.oscilloscope import Channel, one_two_five
from hil.sim.instruments.scpi import (
    Call,
    Command,
    ScpiError,
    block,
    number,
    whole,
)
from hil.sim.instruments.scpi_oscilloscope import ScpiOscilloscope

DIVISIONS_X = 12
CODES_A_DIVISION = 25
MIDDLE = 127
DEPTHS = {1: (12_000, 120_000, 1_200_000, 12_000_000), 2: (6_000, 60_000, 600_000, 6_000_000)}
DEPTHS |= {4: (3_000, 30_000, 300_000, 3_000_000)}
TOP_RATE_HZ = {1: 1e9, 2: 500e6, 4: 250e6}
BATCH_BYTES = 250_000
SCALE_V = (1e-3, 10.0)
SCALE_S = (5e-9, 50.0)


class RigolDs1000z(ScpiOscilloscope):
    """A DS1104Z."""

    ERRORS = 32
    GAIN_ERROR = 0.03
    OFFSET_V = 100.0

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        super().__init__(supply_v, seed)
        self.open_front(self._commands())
        self._reset()

    @property
    def idn(self) -> str:
        return f"RIGOL TECHNOLOGIES,DS1104Z,{self.serial},00.04.04.SP3"

    def _commands(self) -> list[Command]:
        return [
            Command("*IDN", query=lambda _: self.idn.encode()),
            Command("*RST", lambda _: self._reset()),
            Command("*CLS", lambda _: self._errors.clear()),
            Command("*OPC", query=self._opc),
            Command("SYSTem:ERRor[:NEXT]", query=self._error),
            Command("CHANnel<n>:SCALe", self._set_scale, lambda c: _real(self._channel(c).scale_v)),
            Command("CHANnel<n>:OFFSet", self._set_offset,
                    lambda c: _real(self._channel(c).offset_v)),
            Command("CHANnel<n>:COUPling", self._words("AC", "DC", "GND"), lambda _: b"DC"),
            Command("CHANnel<n>:PROBe", self._set_probe, lambda _: b"1"),
            Command("CHANnel<n>:DISPlay", self._set_shown,
                    lambda c: b"1" if self._channel(c).shown else b"0"),
            Command("TIMebase:MODE", self._words("MAIN"), lambda _: b"MAIN"),
            Command("TIMebase[:MAIN]:SCALe", self._set_time, lambda _: _real(self._scale_s)),
            Command("TIMebase[:MAIN]:OFFSet", self._set_time_offset,
                    lambda _: _real(self._position_s)),
            Command("ACQuire:TYPE", self._words("NORMal"), lambda _: b"NORM"),
            Command("ACQuire:MDEPth", self._set_depth, lambda _: str(self._depth).encode()),
            Command("ACQuire:SRATe", query=lambda _: _real(self._rate_hz)),
            Command("TRIGger:MODE", self._words("EDGE"), lambda _: b"EDGE"),
            Command("TRIGger:EDGe:SOURce", self._words("CHANnel1", "CHANnel2", "CHAN2"),
                    lambda _: b"CHAN2"),
            Command("TRIGger:EDGe:LEVel", self._set_level, lambda _: _real(self._level_v)),
            Command("TRIGger:SWEep", self._words("AUTO", "NORMal", "SINGle"), lambda _: b"SING"),
            Command("TRIGger:STATus", query=self._status),
            Command("TFORce", lambda _: self.force()),
            Command("RUN", lambda _: self._run()),
            Command("SINGle", lambda _: self._single()),
            Command("STOP", lambda _: self._stop()),
            Command("WAVeform:SOURce", self._set_source,
                    lambda _: f"CHAN{self._source}".encode()),
            Command("WAVeform:MODE", self._words("RAW"), lambda _: b"RAW"),
            Command("WAVeform:FORMat", self._words("BYTE"), lambda _: b"BYTE"),
            Command("WAVeform:STARt", self._set_start, lambda _: str(self._first).encode()),
            Command("WAVeform:STOP", self._set_end, lambda _: str(self._last).encode()),
            Command("WAVeform:PREamble", query=self._preamble),
            Command("WAVeform:DATA", query=self._data),
        ]  # fmt: skip

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self.reset_channels()
        self._scale_s, self._position_s, self._level_v = 1e-6, 0.0, 0.0
        self._depth, self._source, self._first, self._last = 12_000, 1, 1, 1200
        self._running, self._single_shot = True, False

    @property
    def _sharing(self) -> int:
        """How many channels share the converter."""
        shown = sum(channel.shown for channel in self.channels.values())
        return 1 if shown <= 1 else 2 if shown == 2 else 4

    @property
    def _rate_hz(self) -> float:
        return min(TOP_RATE_HZ[self._sharing], self._depth / (DIVISIONS_X * self._scale_s))

    def _set_scale(self, call: Call) -> None:
        call.count(1)
        self._channel(call).scale_v = one_two_five(
            float(number(call.arguments[0], *SCALE_V)), *SCALE_V
        )

    def _set_time(self, call: Call) -> None:
        call.count(1)
        self._scale_s = one_two_five(number(call.arguments[0], *SCALE_S), *SCALE_S)

    def _set_time_offset(self, call: Call) -> None:
        call.count(1)
        self._position_s = number(call.arguments[0], -500.0, 5000.0)

    def _set_level(self, call: Call) -> None:
        call.count(1)
        self._level_v = number(call.arguments[0], -100.0, 100.0)

    def _set_depth(self, call: Call) -> None:
        call.count(1)
        depth = whole(call.arguments[0], 3_000, 12_000_000)
        if not self._running:
            return  # the product takes a new depth only while it runs, and says nothing
        if depth not in DEPTHS[self._sharing]:
            raise ScpiError(-222, "Data out of range")
        self._depth = depth

    def _set_source(self, call: Call) -> None:
        call.count(1)
        text = call.arguments[0].upper().replace("CHANNEL", "CHAN")
        names = {f"CHAN{channel}": channel for channel in self.channels}
        if text not in names:
            raise ScpiError(-224, "Illegal parameter value")
        self._source = names[text]

    def _set_start(self, call: Call) -> None:
        call.count(1)
        self._first = whole(call.arguments[0], 1, 24_000_000)

    def _set_end(self, call: Call) -> None:
        call.count(1)
        self._last = whole(call.arguments[0], 1, 24_000_000)

    # -- acquisition ------------------------------------------------------------------------

    def _run(self) -> None:
        self._running, self._single_shot = True, False

    def _stop(self) -> None:
        self._running = False
        self.cancel()

    def _single(self) -> None:
        self._running, self._single_shot = False, True
        span_s = DIVISIONS_X * self._scale_s
        points = round(span_s * self._rate_hz)
        self.single(1 / self._rate_hz, points, max(0.0, span_s / 2 - self._position_s))

    def _status(self, _call: Call) -> bytes:
        if self.held:
            return b"WAIT" if self.poll_ready() else b"RUN"
        self.poll()
        if self.acquiring:
            return b"TD"
        return b"AUTO" if self._running else b"STOP"

    # -- transfer ---------------------------------------------------------------------------

    def _codes(self) -> np.ndarray:
        if self._running or self.acquiring:
            raise ScpiError(-221, "Settings conflict")
        channel = self.channels[self._source]
        if not channel.shown:
            raise ScpiError(-221, "Settings conflict")
        divisions = self.analog(self._source)
        assert self.record_held is not None
        codes = np.rint(divisions * CODES_A_DIVISION) + self._origin(channel) + MIDDLE
        return np.delete(np.clip(codes, 0, 255).astype(np.uint8), self.record_held.missing)

    def _origin(self, channel: Channel) -> int:
        return round(channel.offset_v * CODES_A_DIVISION / channel.scale_v)

    def _preamble(self, _call: Call) -> bytes:
        channel = self.channels[self._source]
        points = len(self._codes())
        assert self.record_held is not None
        record = self.record_held
        numbers = (
            f"0,2,{points},1,{record.interval_s:.6e},{record.start_s:.6e},0,"
            f"{channel.scale_v / CODES_A_DIVISION:.6e},{self._origin(channel)},{MIDDLE}"
        )
        return numbers.encode()

    def _data(self, _call: Call) -> bytes:
        if not self._first <= self._last or self._last - self._first >= BATCH_BYTES:
            raise ScpiError(-222, "Data out of range")
        return block(self._codes()[self._first - 1 : self._last].tobytes(), 9)

    def _error(self, _call: Call) -> bytes:
        code, text = self._errors.pop()
        return f'{code},"{text}"'.encode("ascii", "replace")


def _real(value: float) -> bytes:
    return f"{value:.6e}".encode()
