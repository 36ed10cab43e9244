"""Rigol oscilloscopes of the DS1000Z and MSO1000Z series.

Source: MSO1000Z/DS1000Z Programming Guide (PG; :WAVeform pp. 2-212 to 2-227 with the preamble on
p. 2-226, *IDN? p. 2-80) and DS1000Z User's Guide (memory depth, p. 4-6). The size of a batch and
the formula's signs are confirmed by public programs; :ACQuire:MDEPth taking effect only while it
runs is a public user's finding.

    volts = (code - YORigin - YREFerence) * YINCrement
    memory depth = sample rate * seconds a division * 12
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

BATCH = 250_000  # most bytes of one :WAV:DATA? in RAW mode
PREAMBLE = 10  # numbers of :WAVeform:PREamble?
CODES = (0, 255)  # 8 bits; the ends are clipped samples
OTHERS = (3, 4)


class RigolDs1000z(ShuntScope):
    """See hil.rig.meters.oscilloscope."""

    IDENTITY = r"rigol technologies,(DS|MSO)1\d{2}4Z"
    NAME = "a Rigol DS1000Z or MSO1000Z"
    DIVISIONS_X = 12
    SCALES_V = (1e-3, 10.0)
    SCALES_S = (5e-9, 50.0)
    DEPTHS = (6_000, 60_000, 600_000, 6_000_000)  # :ACQuire:MDEPth with two channels (PG)
    TOP_RATE_HZ = 500e6  # with two channels

    def _set_channels(self, scale_v: float, offset_v: float) -> None:
        send = self._link.send
        for channel in OTHERS:  # each takes its share of memory and rate
            send(f":CHAN{channel}:DISP OFF")
        marker_v = MARKER_OFFSET_DIVISIONS * MARKER_SCALE_V
        for channel, scale, offset in ((1, scale_v, -offset_v), (2, MARKER_SCALE_V, marker_v)):
            send(f":CHAN{channel}:DISP ON")
            send(f":CHAN{channel}:COUP DC")
            send(f":CHAN{channel}:PROB 1")
            send(f":CHAN{channel}:SCAL {scale:g}")
            send(f":CHAN{channel}:OFFS {offset:g}")  # added to the signal (PG)
        send(":ACQ:TYPE NORM")
        send(":TRIG:MODE EDGE")
        send(":TRIG:EDG:SOUR CHAN2")
        send(f":TRIG:EDG:LEV {self._marker_level_v:g}")

    def _set_timing(self, timing: Timing) -> None:
        send = self._link.send
        send(":RUN")  # a new memory depth is taken only while it runs
        send(":TIM:MODE MAIN")
        send(f":TIM:MAIN:SCAL {timing.scale_s:g}")
        send(f":TIM:MAIN:OFFS {timing.scale_s * self.DIVISIONS_X / 2:g}")  # trigger at the left
        send(f":ACQ:MDEP {timing.points}")
        answer = self._link.query(":ACQ:MDEP?")
        if answer != str(timing.points):
            raise self._link.failed(
                ":ACQ:MDEP", f"its memory depth is {answer}, {timing.points} were asked for"
            )

    def _single(self) -> None:
        self._link.send(":SING")

    def _is_ready(self) -> bool:
        return self._status() == "WAIT"

    def _force(self) -> None:
        self._link.send(":TFOR")
        self._link.wait_until(lambda: self._status() != "WAIT", self._timeout_s, ":TFOR")

    def _has_stopped(self) -> bool:
        return self._status() == "STOP"

    def _status(self) -> str:
        return self._link.query(":TRIG:STAT?")  # TD, WAIT, RUN, AUTO or STOP (PG)

    def _trace(self, channel: int, points: int) -> Trace:
        send = self._link.send
        send(f":WAV:SOUR CHAN{channel}")
        send(":WAV:MODE RAW")
        send(":WAV:FORM BYTE")
        numbers = self._link.numbers(":WAV:PRE?", PREAMBLE)
        _, _, count, _, step_s, start_s, _, volt_step, origin, reference = numbers
        return Trace(
            codes=self._codes(min(points, int(count))),
            volt_step=volt_step,
            code_offset=-origin - reference,
            volt_offset=0.0,
            lowest=CODES[0],
            highest=CODES[1],
            interval_s=step_s,
            start_s=start_s,
            recorded=int(count),
        )

    def _codes(self, points: int) -> np.ndarray:
        """The memory's first ``points`` samples, batch by batch; its places count from 1."""
        batches = []
        for first in range(1, points + 1, BATCH):
            last = min(first + BATCH - 1, points)
            self._link.send(f":WAV:STAR {first}")
            self._link.send(f":WAV:STOP {last}")
            batch = self._link.block(":WAV:DATA?", np.dtype(np.uint8))
            if len(batch) != last - first + 1:
                raise self._link.failed(
                    ":WAV:DATA?", f"lost samples: {len(batch)} in a batch of {last - first + 1}"
                )
            batches.append(batch)
        return np.concatenate(batches) if batches else np.zeros(0, np.uint8)

    def _give_up(self) -> None:
        self._link.send(":STOP")
