"""Keithley DMM6500 multimeter: digitized current, for calibrating other meters.

Source: DMM6500 Reference Manual (DMM6500-901-01), chapter 6 ([:SENSe[1]]:<function>:SRATe p. 6-71,
:APERture p. 6-52, :TRACe and :TRIGger subsystems); spellings also from pymeasure keithleyDMM6500.

It has one measuring input, and its trigger input starts the readings but leaves no trace in them.
With one edge of several nothing checks a window: not its end, not the number of edges, not the
clocks' ratio, and the power before it is not read. So it cannot be a rig's meter (docs/meters.md
has the reasons at length) and ``configure`` says so. What it does well is to tell a current, from
now or from an edge on: ``digitize``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.rig.meters.scpi_meter import ScpiMeter

RANGES_A = (100e-6, 3.0)  # digitize current, front terminals (reference manual, RANGe)
RATES_HZ = (1_000, 1_000_000)  # SRATe
MOST_READINGS = 7_000_000  # all buffers together
LEAST_READINGS = 10  # TRAC:MAKE
OVERFLOW = 9.9e36  # overflow readings are 9.9E37
BUFFER = "hil"
PIECE_READINGS = 50_000  # of a TRAC:DATA? query
NO_MARKER = (
    "a Keithley DMM6500 samples no marker beside the current: its trigger input only starts the "
    "readings, so the end and the number of windows would be assumptions; use another meter on the "
    "rig, and this one's digitize() to calibrate that meter (docs/meters.md)"
)
EDGES = {"now": "", "rising": "RIS", "falling": "FALL"}


@dataclass(frozen=True)
class CurrentTrace:
    """Digitized current. ``lost_samples``: found as gaps between the readings' own times."""

    sample_interval_s: float
    current_a: np.ndarray = field(repr=False)
    overload: bool
    lost_samples: int
    meter: str

    def mean_a(self) -> float:
        """Average current; InstrumentError over a gap or beyond the range."""
        if self.lost_samples or self.overload:
            raise InstrumentError(
                f"{self.meter}: {self.lost_samples} samples lost, overload {self.overload}: "
                "no average; repeat with a lower rate or a larger range"
            )
        return float(np.mean(self.current_a, dtype=np.float64))


class KeithleyDmm6500(ScpiMeter):
    """The instrument at a VISA resource, set to the SCPI command language."""

    IDENTITY = r"keithley instruments( inc\.| llc)?,(MODEL )?DMM6500,"
    NAME = "a Keithley DMM6500"

    def identify(self) -> str:
        """Refuses another model, and a DMM6500 that listens to another command language."""
        super().identify()
        language = self._link.query("*LANG?")
        if language != "SCPI":
            raise self._link.failed(
                "*LANG?", f"it listens to {language}; send *LANG SCPI and switch it off and on"
            )
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        """Always InstrumentError: there is no marker in its samples."""
        self.identify()
        raise self._link.refused("configure", NO_MARKER)

    def arm(self, duration_s: float) -> None:
        """Always InstrumentError, as ``configure``."""
        self.configure(RATES_HZ[1], RANGES_A[1])

    def read(self) -> Waveform:
        """Always InstrumentError, as ``configure``."""
        self.configure(RATES_HZ[1], RANGES_A[1])
        raise AssertionError  # configure raises

    def _give_up(self) -> None:
        self._link.send("ABOR")

    # -- digitizing -------------------------------------------------------------------------

    def digitize(
        self, duration_s: float, sample_rate_hz: float, range_a: float, start: str = "now"
    ) -> CurrentTrace:
        """Current over ``duration_s``, from now or the next edge at EXT TRIG IN.

        InstrumentError: out of its limits, or anything that goes wrong with the instrument.
        """
        self._check_limits(sample_rate_hz, range_a)
        if start not in EDGES:
            raise InstrumentError(f"{self.resource}: start {start!r}; known: {', '.join(EDGES)}")
        points = math.ceil(duration_s * sample_rate_hz)
        self._limit("readings", points, LEAST_READINGS, MOST_READINGS - 20, "")
        self._duration_s = duration_s
        self.identify()
        self._link.send("*CLS")
        self._prepare(sample_rate_hz, range_a, points)
        self._trigger_model(points, EDGES[start])
        self._check_errors("the set-up")
        self.range_a = self._link.number("DIG:CURR:RANG?")
        self.sample_interval_s = 1 / self._link.number("DIG:CURR:SRAT?")
        self._link.send("INIT")
        self._link.wait_until(self._is_idle, self._wait_s, "INIT")
        return self._trace(points)

    def _check_limits(self, sample_rate_hz: float, range_a: float) -> None:
        self._limit("sample_rate_hz", sample_rate_hz, *RATES_HZ, "Hz")
        self._limit("range_a", range_a, *RANGES_A, "A")

    def _prepare(self, sample_rate_hz: float, range_a: float, points: int) -> None:
        send = self._link.send
        send("ABOR")
        send('DIG:FUNC "CURR"')
        send(f"DIG:CURR:RANG {range_a:.9g}")
        send(f"DIG:CURR:SRAT {round(sample_rate_hz)}")  # before the aperture, which it limits
        send("DIG:CURR:APER AUTO")  # the longest for the rate: no time goes unmeasured
        for name in ("defbuffer1", "defbuffer2"):  # they share the memory
            send(f'TRAC:POIN {LEAST_READINGS},"{name}"')
        self._check_errors("the set-up")
        send(f'TRAC:DEL "{BUFFER}"')
        send("*CLS")  # deleting a buffer that was not there is an error, and is meant to be
        send(f'TRAC:MAKE "{BUFFER}",{points}')
        send(f'TRAC:FILL:MODE ONCE,"{BUFFER}"')
        send("FORM REAL")
        send("FORM:BORD SWAP")

    def _trigger_model(self, points: int, edge: str) -> None:
        send = self._link.send
        send('TRIG:LOAD "EMPTY"')
        send(f'TRIG:BLOC:BUFF:CLE 1,"{BUFFER}"')
        if edge:
            send("TRIG:EXT:IN:CLE")
            send(f"TRIG:EXT:IN:EDGE {edge}")
            send("TRIG:BLOC:WAIT 2,EXT")
        send(f'TRIG:BLOC:MDIG {3 if edge else 2},"{BUFFER}",{points}')

    def _is_idle(self) -> bool:
        return self._link.query("TRIG:STAT?").startswith("IDLE")

    def _trace(self, points: int) -> CurrentTrace:
        actual = int(self._link.number(f'TRAC:ACT? "{BUFFER}"'))
        pieces = []
        for first in range(1, actual + 1, PIECE_READINGS):
            last = min(first + PIECE_READINGS - 1, actual)
            query = f'TRAC:DATA? {first},{last},"{BUFFER}",READ,REL'
            # Whether the block begins #0 or with its length is not documented: both are taken.
            size = 2 * (last - first + 1) * 8
            piece = self._link.block(query, np.dtype("<f8"), indefinite_bytes=size)
            if len(piece) * 8 != size:
                raise self._link.failed(query, f"{len(piece)} numbers for {last - first + 1} pairs")
            pieces.append(piece.reshape(-1, 2))
        self._check_errors("the acquisition")
        if not pieces:
            raise self._link.failed("TRAC:ACT?", f"no reading of {points} that were asked for")
        current_a, relative_s = np.concatenate(pieces).T
        beyond = np.abs(current_a) >= OVERFLOW
        return CurrentTrace(
            self.sample_interval_s,
            np.where(beyond, np.copysign(self.range_a, current_a), current_a),
            bool(beyond.any()),
            max(self._gaps(relative_s), points - actual),
            self.identity,
        )

    def _gaps(self, relative_s: np.ndarray) -> int:
        """Readings missing between others, by their times."""
        steps = np.rint(np.diff(relative_s) / self.sample_interval_s)
        return int(np.maximum(steps - 1, 0).sum())
