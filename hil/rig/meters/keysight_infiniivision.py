"""Keysight InfiniiVision oscilloscopes of the 3000, 3000T and 4000 X-Series.

Source: InfiniiVision 4000 X-Series Programmer's Guide (PG; :WAVeform chapter, p. 1235 and on, in
the 2019 edition p. 1396 and on) and 3000 X-Series (root commands, pp. 192-209). :TRIGger:FORCe
is from public drivers of the series.

    volts = (code - yreference) * yincrement + yorigin
    code 0x00: hole, no sample there; 0x01, 0xFF: clipped at the bottom or top (PG :WAVeform:DATA)
"""

from __future__ import annotations

import numpy as np

from hil.rig.meters.oscilloscope import (
    MARKER_OFFSET_DIVISIONS,
    MARKER_SCALE_V,
    ShuntScope,
    Timing,
    Trace,
)

HOLE, CLIPPED_LOW, CLIPPED_HIGH = 0x00, 0x01, 0xFF  # PG :WAVeform:DATA
RUN = 8  # :OPERegister:CONDition? bit 3: not stopped
PREAMBLE = 10  # numbers of :WAVeform:PREamble?


class KeysightInfiniiVision(ShuntScope):
    """See hil.rig.meters.oscilloscope."""

    IDENTITY = r"(keysight|agilent) technologies,(DSO|MSO)-X [34]\d{3}"
    NAME = "a Keysight InfiniiVision 3000 or 4000 X-Series"
    DIVISIONS_X = 10
    SCALES_V = (1e-3, 5.0)
    SCALES_S = (2e-9, 50.0)
    # What :WAVeform:POINts takes in RAW mode, as far as the memory of two channels goes.
    DEPTHS = (
        1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    )  # fmt: skip
    TOP_RATE_HZ = 2e9

    def _set_channels(self, scale_v: float, offset_v: float) -> None:
        send = self._link.send
        send(":STOP")
        marker_v = -MARKER_OFFSET_DIVISIONS * MARKER_SCALE_V
        for channel, scale, middle in ((1, scale_v, offset_v), (2, MARKER_SCALE_V, marker_v)):
            send(f":CHAN{channel}:DISP ON")
            send(f":CHAN{channel}:COUP DC")
            send(f":CHAN{channel}:IMP ONEM")
            send(f":CHAN{channel}:PROB 1")
            send(f":CHAN{channel}:SCAL {scale:g}")
            send(f":CHAN{channel}:OFFS {middle:g}")  # the voltage at the screen's middle (PG)
        send(":ACQ:TYPE NORM")
        send(":ACQ:MODE RTIM")
        send(":TRIG:MODE EDGE")
        send(":TRIG:EDGE:SOUR CHAN2")
        send(f":TRIG:EDGE:LEV {self._marker_level_v:g}")
        send(":TRIG:SWE NORM")
        send(":WAV:FORM BYTE")
        send(":WAV:UNS 1")
        send(":WAV:POIN:MODE RAW")

    def _set_timing(self, timing: Timing) -> None:
        send = self._link.send
        send(":TIM:MODE MAIN")
        send(":TIM:REF CENT")
        send(f":TIM:SCAL {timing.scale_s:g}")
        send(f":TIM:POS {timing.scale_s * self.DIVISIONS_X / 2:g}")  # trigger at the left edge
        send(f":WAV:POIN {timing.points}")

    def _single(self) -> None:
        self._link.query(":TER?")  # clears it
        self._link.send(":SING")

    def _is_ready(self) -> bool:
        return bool(int(self._link.number(":AER?")))

    def _force(self) -> None:
        self._link.send(":TRIG:FORC")
        self._link.wait_until(
            lambda: bool(int(self._link.number(":TER?"))), self._timeout_s, ":TRIG:FORC"
        )

    def _has_stopped(self) -> bool:
        return not int(self._link.number(":OPER:COND?")) & RUN

    def _trace(self, channel: int, points: int) -> Trace:
        self._link.send(f":WAV:SOUR CHAN{channel}")
        numbers = self._link.numbers(":WAV:PRE?", PREAMBLE)
        _, _, count, _, step_s, start_s, _, volt_step, origin_v, reference = numbers
        codes = self._link.block(":WAV:DATA?", np.dtype(np.uint8))
        if len(codes) != count:
            raise self._link.failed(
                ":WAV:DATA?", f"{len(codes)} samples, its preamble tells of {count:.0f}"
            )
        return Trace(
            codes=codes,
            volt_step=volt_step,
            code_offset=-reference,
            volt_offset=origin_v,
            lowest=CLIPPED_LOW,
            highest=CLIPPED_HIGH,
            interval_s=step_s,
            start_s=start_s,
            recorded=int(count),
            hole=HOLE,
        )

    def _give_up(self) -> None:
        self._link.send(":STOP")
