"""Siglent SDS1000X-E: its older command set, as the series' Programming Guide has it.

From the Digital Oscilloscopes Series Programming Guide: headers switched by CHDR, the error
register CMR? with its thirteen codes (p. 32), no SYST:ERR?, INR? (p. 74), WFSU and WF? DAT2 with
V = code x VDIV/25 - OFST and two line feeds behind the block (p. 142), the first point at
TRDL - 7 x TDIV. Refused commands have no answer. Not modelled: edge triggers, averaging, DESC.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from hil.sim.instruments.oscilloscope import Channel, Oscilloscope, one_two_five
from hil.sim.instruments.scpi import ScpiError, block, number

DIVISIONS_X = 14
CODES_A_DIVISION = 25
DEPTHS = {1: ("14K", "140K", "1.4M", "14M"), 2: ("7K", "70K", "700K", "7M")}
POINTS = {"14K": 14_000, "140K": 140_000, "1.4M": 1_400_000, "14M": 14_000_000}
POINTS |= {"7K": 7_000, "70K": 70_000, "700K": 700_000, "7M": 7_000_000}
TOP_RATE_HZ = {1: 1e9, 2: 500e6}
SCALE_V = (500e-6, 10.0)
SCALE_S = (1e-9, 100.0)
UNITS = {"": 1.0, "N": 1e-9, "U": 1e-6, "M": 1e-3, "K": 1e3}

UNRECOGNIZED, MISSING, NOT_ALLOWED, INVALID = 1, 4, 7, 11  # codes of CMR?
NEW_SIGNAL, TRIGGER_READY = 1, 8192  # bits 0 and 13 of INR?


class Refused(Exception):
    """A command that sets the command error register."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SiglentSds1000xe(Oscilloscope):
    """An SDS1104X-E."""

    GAIN_ERROR = 0.03

    def __init__(self, supply_v: float, seed: int = 0) -> None:
        super().__init__(supply_v, seed)
        self._error_code = 0
        self._reset()

    @property
    def idn(self) -> str:
        return f"Siglent Technologies,SDS1104X-E,{self.serial},8.2.6.1.37R2"

    def answer(self, line: str) -> bytes | None:
        answers = []
        for unit in filter(None, (part.strip() for part in line.split(";"))):
            try:
                answers.append(self._unit(unit))
            except Refused as refused:
                self._error_code = refused.code
            except ScpiError:
                self._error_code = INVALID
        found = [answer for answer in answers if answer is not None]
        return b";".join(found) + b"\n" if found else None

    def _unit(self, unit: str) -> bytes | None:
        match = re.fullmatch(r"(?:C(\d):)?(\*?[A-Za-z]+)(\??)\s*(.*)", unit, re.DOTALL)
        if match is None:
            raise Refused(UNRECOGNIZED)
        channel, name, asks, rest = match.groups()
        table = self._channel_commands() if channel else self._commands()
        if name.upper() not in table:
            raise Refused(UNRECOGNIZED)
        setter, query = table[name.upper()]
        if channel and int(channel) not in self.channels:
            raise Refused(UNRECOGNIZED)
        where = self.channels[int(channel)] if channel else None
        arguments = [part.strip() for part in rest.split(",")] if rest else []
        if asks:
            if query is None:
                raise Refused(9)
            value = query(where, arguments)
            header = f"C{channel}:{name.upper()}" if channel else name.upper()
            if isinstance(value, bytes):  # a block carries its own name
                return f"{header} ".encode() * (self._headers != "OFF") + value
            return (
                value if self._headers == "OFF" or name[0] == "*" else f"{header} {value}"
            ).encode()
        if setter is None:
            raise Refused(10)
        setter(where, arguments)
        return None

    def _commands(self) -> dict[str, tuple[Callable | None, Callable | None]]:
        return {
            "*IDN": (None, lambda *_: self.idn),
            "*RST": (lambda *_: self._reset(), None),
            "*CLS": (lambda *_: self._clear(), None),
            "*OPC": (None, self._finished),
            "CHDR": (self._set_headers, lambda *_: self._headers),
            "CMR": (None, self._error_register),
            "INR": (None, self._internal),
            "TDIV": (self._set_time, lambda *_: _real(self._scale_s)),
            "TRDL": (self._set_delay, lambda *_: _real(self._delay_s)),
            "MSIZ": (self._set_depth, lambda *_: self._depth),
            "SARA": (None, lambda *_: _real(self._rate_hz)),
            "SANU": (None, lambda *_: _real(self._points)),
            "SAST": (None, self._status),
            "TRSE": (self._set_trigger, lambda *_: "EDGE,SR,C2,HT,OFF"),
            "TRMD": (self._set_mode, lambda *_: self._mode),
            "ARM": (lambda *_: self._arm(), None),
            "FRTR": (lambda *_: self.force(), None),
            "STOP": (lambda *_: self._stop(), None),
            "WFSU": (self._set_transfer, lambda *_: self._transfer_text()),
        }

    def _channel_commands(self) -> dict[str, tuple[Callable | None, Callable | None]]:
        return {
            "VDIV": (self._set_scale, lambda channel, _: _real(channel.scale_v)),
            "OFST": (self._set_offset, lambda channel, _: _real(channel.offset_v)),
            "CPL": (self._set_coupling, lambda *_: "D1M"),
            "ATTN": (self._set_probe, lambda *_: "1"),
            "TRA": (self._set_shown, lambda channel, _: "ON" if channel.shown else "OFF"),
            "TRLV": (self._set_level, lambda *_: _real(self._level_v)),
            "WF": (None, self._waveform),
        }

    # -- settings ---------------------------------------------------------------------------

    def _reset(self) -> None:
        self.reset_channels()
        self._headers, self._mode = "SHORT", "AUTO"
        self._scale_s, self._delay_s, self._level_v = 1e-6, 0.0, 0.0
        self._depth = "14K"
        self._transfer = {"SP": 1, "NP": 0, "FP": 0}
        self._internal_bits = 0

    def _clear(self) -> None:
        self._error_code = self._internal_bits = 0

    @property
    def _sharing(self) -> int:
        """Channels 1 and 2 share a converter."""
        return 2 if self.channels[1].shown and self.channels[2].shown else 1

    @property
    def _rate_hz(self) -> float:
        most = min(POINTS[self._depth], POINTS[DEPTHS[self._sharing][-1]])
        return min(TOP_RATE_HZ[self._sharing], most / (DIVISIONS_X * self._scale_s))

    @property
    def _points(self) -> float:
        if self.record_held is not None:
            return self.record_held.points - len(self.record_held.missing)
        return round(self._rate_hz * DIVISIONS_X * self._scale_s)

    def _set_headers(self, _channel: None, arguments: list[str]) -> None:
        self._headers = _one_of(arguments, "OFF", "SHORT")

    def _set_time(self, _channel: None, arguments: list[str]) -> None:
        self._scale_s = one_two_five(_value(arguments, "S"), *SCALE_S)

    def _set_delay(self, _channel: None, arguments: list[str]) -> None:
        self._delay_s = number(str(_value(arguments, "S")), -5000.0, 5000.0)

    def _set_depth(self, _channel: None, arguments: list[str]) -> None:
        self._depth = _one_of(arguments, *DEPTHS[self._sharing])

    def _set_trigger(self, _channel: None, arguments: list[str]) -> None:
        if [text.upper() for text in arguments] != ["EDGE", "SR", "C2", "HT", "OFF"]:
            raise Refused(INVALID)

    def _set_mode(self, _channel: None, arguments: list[str]) -> None:
        mode = _one_of(arguments, "AUTO", "NORM", "SINGLE", "STOP")
        self._mode = mode
        if mode == "SINGLE":
            self._arm()
        elif mode == "STOP":
            self.cancel()

    def _set_scale(self, channel: Channel, arguments: list[str]) -> None:
        channel.scale_v = one_two_five(_value(arguments, "V"), *SCALE_V)

    def _set_offset(self, channel: Channel, arguments: list[str]) -> None:
        channel.offset_v = number(str(_value(arguments, "V")), -100.0, 100.0)

    def _set_coupling(self, _channel: Channel, arguments: list[str]) -> None:
        _one_of(arguments, "D1M", "A1M", "GND")

    def _set_probe(self, _channel: Channel, arguments: list[str]) -> None:
        _one_of(arguments, "1")

    def _set_shown(self, channel: Channel, arguments: list[str]) -> None:
        channel.shown = _one_of(arguments, "ON", "OFF") == "ON"

    def _set_level(self, _channel: Channel, arguments: list[str]) -> None:
        self._level_v = _value(arguments, "V")

    def _set_transfer(self, _channel: None, arguments: list[str]) -> None:
        if not arguments or len(arguments) % 2:
            raise Refused(MISSING)
        for name, text in zip(arguments[::2], arguments[1::2], strict=True):
            if name.upper() not in self._transfer or not text.isdigit():
                raise Refused(INVALID)
            self._transfer[name.upper()] = int(text)

    def _transfer_text(self) -> str:
        return ",".join(f"{name},{value}" for name, value in self._transfer.items())

    # -- acquisition ------------------------------------------------------------------------

    def _arm(self) -> None:
        self._mode = "SINGLE"
        span_s = DIVISIONS_X * self._scale_s
        points = round(self._rate_hz * span_s)
        self.single(1 / self._rate_hz, points, max(0.0, span_s / 2 - self._delay_s))

    def _stop(self) -> None:
        self._mode = "STOP"
        self.cancel()

    def _status(self, *_: object) -> str:
        if self.held:
            return "Ready" if self.poll_ready() else "Arm"
        self.poll()
        if self.acquiring:
            return "Trig'd"
        return "Auto" if self._mode == "AUTO" else "Stop"

    def _internal(self, *_: object) -> str:
        bits = TRIGGER_READY if self.held and self.poll_ready() else 0
        bits |= NEW_SIGNAL if self.record_held is not None else 0
        return str(bits)

    def _finished(self, *_: object) -> str:
        self.until_recorded()
        return "1"

    # -- transfer ---------------------------------------------------------------------------

    def _waveform(self, channel: Channel, arguments: list[str]) -> bytes:
        _one_of(arguments, "DAT2")
        if not channel.shown or self.record_held is None:
            raise Refused(NOT_ALLOWED)
        place = next(n for n, known in self.channels.items() if known is channel)
        divisions = self.analog(place) + channel.offset_v / channel.scale_v
        codes = np.clip(np.rint(divisions * CODES_A_DIVISION), -128, 127).astype(np.int8)
        codes = np.delete(codes, self.record_held.missing)
        codes = codes[self._transfer["FP"] :: max(1, self._transfer["SP"])]
        if self._transfer["NP"]:
            codes = codes[: self._transfer["NP"]]
        return b"DAT2," + block(codes.tobytes(), 9) + b"\n"  # a second LF follows

    def complain(self, code: int, text: str) -> None:
        self._error_code = INVALID  # the register knows no errors of the instrument's own

    def _error_register(self, *_: object) -> str:
        code, self._error_code = self._error_code, 0
        return str(code)


def _one_of(arguments: list[str], *known: str) -> str:
    if not arguments:
        raise Refused(MISSING)
    if len(arguments) > 1 or arguments[0].upper() not in known:
        raise Refused(INVALID)
    return arguments[0].upper()


def _value(arguments: list[str], unit: str) -> float:
    """A number with an optional prefix and unit: ``500US``, ``2.00E-01V``."""
    if not arguments:
        raise Refused(MISSING)
    match = re.fullmatch(rf"([-+.\d]+(?:E[-+]?\d+)?)([NUMK]?){unit}?", arguments[0].upper())
    if match is None or len(arguments) > 1:
        raise Refused(INVALID)
    return float(match.group(1)) * UNITS[match.group(2)]


def _real(value: float) -> str:
    return f"{value:.2E}"
