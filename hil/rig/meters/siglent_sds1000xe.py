"""Siglent oscilloscopes of the SDS1000X-E series (and the T3DSO1000 sold by LeCroy).

Source: Digital Oscilloscopes Series Programming Guide for the SDS1104X-E (PG; CMR? p. 32, INR?
p. 74, TRSE p. 131, WF? p. 142); answers without headers and WFSU from pymeasure's tests of the
lecroyT3DSO1204, FRTR from public programs. There is no SYST:ERR?: CMR? tells the last refusal.

    volts = code * VDIV / 25 - OFST, codes in two's complement
    seconds of the first point = TRDL - 7 * TDIV

The guide subtracts 255 from codes above 127, one more than two's complement does: a difference of
one code, 0.04 divisions, below zero volts.
"""

from __future__ import annotations

import re

import numpy as np

from hil.rig.meters.oscilloscope import (
    MARKER_OFFSET_DIVISIONS,
    MARKER_SCALE_V,
    ShuntScope,
    Timing,
    Trace,
)

CODES_A_DIVISION = 25  # PG p. 142
CODES = (-128, 127)  # 8 bits; the ends are clipped samples
PIECE = 1_000_000  # points of one WF? DAT2
DEPTH_NAMES = {7_000: "7K", 70_000: "70K", 700_000: "700K", 7_000_000: "7M"}
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
# PG p. 32
COMMAND_ERRORS = {
    1: "unrecognized command header", 2: "invalid character", 3: "invalid separator",
    4: "missing parameter", 5: "unrecognized keyword", 6: "string error",
    7: "parameter not allowed", 8: "command string too long", 9: "query not allowed",
    10: "missing query mark", 11: "invalid parameter", 12: "parameter syntax error",
    13: "file name too long",
}  # fmt: skip


class SiglentSds1000xe(ShuntScope):
    """See hil.rig.meters.oscilloscope."""

    IDENTITY = r"(\*IDN )?(siglent technologies,SDS1\d{3}X-E|(teledyne )?lecroy,T3DSO1\d{3})"
    NAME = "a Siglent SDS1000X-E"
    DIVISIONS_X = 14
    SCALES_V = (500e-6, 10.0)
    SCALES_S = (1e-9, 50.0)
    DEPTHS = tuple(DEPTH_NAMES)  # MSIZ with channels 1 and 2, which share a converter
    TOP_RATE_HZ = 500e6
    COUNT_ROUNDING = 0.005  # SANU? has three digits

    def _set_channels(self, scale_v: float, offset_v: float) -> None:
        send = self._link.send
        send("CHDR OFF")
        marker_v = MARKER_OFFSET_DIVISIONS * MARKER_SCALE_V
        for channel, scale, offset in ((1, scale_v, -offset_v), (2, MARKER_SCALE_V, marker_v)):
            send(f"C{channel}:TRA ON")
            send(f"C{channel}:CPL D1M")
            send(f"C{channel}:ATTN 1")
            send(f"C{channel}:VDIV {scale:.2E}V")
            send(f"C{channel}:OFST {offset:.2E}V")
        send("TRSE EDGE,SR,C2,HT,OFF")
        send(f"C2:TRLV {self._marker_level_v:.2E}V")

    def _set_timing(self, timing: Timing) -> None:
        send = self._link.send
        send("STOP")
        send(f"TDIV {timing.scale_s:.2E}S")
        send(f"MSIZ {DEPTH_NAMES[timing.points]}")
        # The first point at TRDL - 7 TDIV (PG p. 142) is the trigger.
        send(f"TRDL {timing.scale_s * self.DIVISIONS_X / 2:.2E}S")
        rate_hz = self._quantity("SARA?")
        if rate_hz * timing.interval_s < 0.99:
            raise self._link.failed(
                "SARA?", f"it samples at {rate_hz:g} Hz, {1 / timing.interval_s:g} were asked for"
            )

    def _single(self) -> None:
        self._link.send("TRMD SINGLE")

    def _is_ready(self) -> bool:
        return self._link.query("SAST?") == "Ready"

    def _force(self) -> None:
        self._link.send("FRTR")
        self._link.wait_until(lambda: not self._is_ready(), self._timeout_s, "FRTR")

    def _has_stopped(self) -> bool:
        return self._link.query("SAST?") == "Stop"

    def _check_errors(self, what: str) -> None:
        code = int(self._link.number("CMR?"))
        if code:
            meaning = COMMAND_ERRORS.get(code, "not in its manual")
            raise self._link.failed(what, f"the instrument objects: CMR {code}, {meaning}")

    def identify(self) -> str:
        """Refuses other models; answers without headers from here on."""
        self._link.connect()
        self._link.send("CHDR OFF")
        return super().identify()

    def _trace(self, channel: int, points: int) -> Trace:
        scale_v = self._quantity(f"C{channel}:VDIV?")
        offset_v = self._quantity(f"C{channel}:OFST?")
        rate_hz = self._quantity("SARA?")
        delay_s = self._quantity("TRDL?")
        scale_s = self._quantity("TDIV?")
        count = int(self._quantity("SANU? C1"))
        return Trace(
            codes=self._codes(channel, min(points, count)),
            volt_step=scale_v / CODES_A_DIVISION,
            code_offset=0.0,
            volt_offset=-offset_v,
            lowest=CODES[0],
            highest=CODES[1],
            interval_s=1 / rate_hz,
            start_s=delay_s - scale_s * self.DIVISIONS_X / 2,
            recorded=count,
        )

    def _codes(self, channel: int, points: int) -> np.ndarray:
        """The memory's first ``points`` samples, piece by piece; its places count from 0."""
        pieces = []
        for first in range(0, points, PIECE):
            size = min(PIECE, points - first)
            self._link.send(f"WFSU SP,1,NP,{size},FP,{first}")
            piece = self._link.block(
                f"C{channel}:WF? DAT2", np.dtype(np.int8), before=b"DAT2,", after=b"\n\n"
            )
            if len(piece) != size:
                raise self._link.failed(
                    "WF? DAT2", f"lost samples: {len(piece)} points of {size} at {first}"
                )
            pieces.append(piece)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int8)

    def _quantity(self, command: str) -> float:
        """A number that may carry a unit: ``5.00E-02``, ``5.00E-02V``, ``1.00GSa/s``, ``7Mpts``."""
        answer = self._link.query(command)
        match = re.match(r"([-+.\d]+(?:[Ee][-+]?\d+)?)([kMG]?)", answer)
        if match is None:
            raise self._link.failed(command, f"answered {answer!r}, not a number")
        return float(match.group(1)) * UNITS[match.group(2)]

    def _give_up(self) -> None:
        self._link.send("STOP")
