"""Keithley DMM6500 multimeter: digitized current, with the marker at EXT TRIG IN.

Sources: DMM6500 Reference Manual (DMM6500-901-01), chapter 6 ([:SENSe[1]]:<function>:SRATe p. 6-71,
:APERture p. 6-52, :TRACe and :TRIGger subsystems); where only a sister's text was at hand, the
DMM7510's (DMM7510-901-01: formats p. 6-50, elements p. 6-156) and the 2461's, which has the same
trigger model (2461-901-01: digitize block p. 6-202, wait block p. 6-209). EITHer as an edge of
EXT TRIG IN is in public drivers (Qcodes, Keithley 6500). Spellings also from pymeasure.

No marker is sampled beside the current. But a digitize block with the count INF goes on in the
background until another digitize block is reached, and a wait block holds the trigger model until
an edge:

    1 digitize into the low buffer, 2 wait for an edge,
    3 digitize into the high one, 4 wait for an edge, 5 go to 1

Which buffer a reading is in is the marker, and every reading has a time: hil.rig.meters.
switched_buffers makes samples of them. The line's level cannot be read: it is taken for low when
armed. If it was high, or an edge was missed, the windows do not come out and the trial is void.

The wait blocks forget edges of before they were reached (ENTer). By default they act on those, and
nothing says that two blocks share one memory: the edge that ended one wait would end the other.

No manual says what a question does to a running model. Notes of a public bench (ameline-design/
dmm6500-serial-decode, docs/TRIGGER.md, firmware 1.7.17a, in the TSP language) have it aborted by
any command; public programs in SCPI ask all the time. So nothing is asked before the time is over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hil.core.errors import DataError, InstrumentError
from hil.core.waveform import Waveform
from hil.rig.meter_options import KeithleyDmm6500Options
from hil.rig.meters.scpi_meter import ScpiMeter
from hil.rig.meters.switched_buffers import Readings, merge

RANGES_A = (100e-6, 3.0)  # digitize current, front terminals (reference manual, RANGe)
RATES_HZ = (1_000, 1_000_000)  # SRATe
MOST_READINGS = 7_000_000  # all buffers together
LEAST_READINGS = 10  # TRAC:MAKE
OVERFLOW = 9.9e36  # overflow readings are 9.9E37
BUFFER, LOW, HIGH = "hil", "hil_low", "hil_high"
PIECE_READINGS = 50_000  # of a TRAC:DATA? query
EDGES = {"now": "", "rising": "RIS", "falling": "FALL"}
ALIVE = ("RUNNING", "WAITING")  # states of a trigger model that goes on (2461, p. 6-235)
# After INIT, before the board is told to work: the model's first blocks took 2 ms on the public
# bench, and nothing may be asked.
START_S = 0.02
# Readings go on until this computer stops them; it may be busy.
SPARE_S = 0.5


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
    """The instrument at a VISA resource, set to the SCPI command language.

    Without ``options`` it serves to calibrate (``digitize``), not as a rig's meter.
    """

    IDENTITY = r"keithley instruments( inc\.| llc)?,(MODEL )?DMM6500,"
    NAME = "a Keithley DMM6500"

    def __init__(
        self,
        resource: str,
        timeout_s: float = 5.0,
        slowdown: float = 1.0,
        options: KeithleyDmm6500Options | None = None,
    ) -> None:
        super().__init__(resource, timeout_s, slowdown)
        self._options = options
        self._points = 0
        self._over_s = 0.0  # of this computer's clock: when the acquisition has what it needs
        self._counted = -1

    def identify(self) -> str:
        """Refuses another model, and a DMM6500 that listens to another command language."""
        super().identify()
        language = self._link.query("*LANG?")
        if language != "SCPI":
            raise self._link.failed(
                "*LANG?", f"it listens to {language}; send *LANG SCPI and switch it off and on"
            )
        return self.identity

    def _check_limits(self, sample_rate_hz: float, range_a: float) -> None:
        self._limit("sample_rate_hz", sample_rate_hz, *RATES_HZ, "Hz")
        self._limit("range_a", range_a, *RANGES_A, "A")

    # -- a rig's meter ----------------------------------------------------------------------

    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        if self._options is None:
            raise self._link.refused(
                "configure", "it measures no voltage; set supply_v in [meter.options]"
            )
        self._prepare(sample_rate_hz, range_a, {LOW: LEAST_READINGS, HIGH: LEAST_READINGS})
        send = self._link.send
        send("TRIG:EXT:IN:EDGE EITH")
        send(f'TRIG:BLOC:MDIG 1,"{LOW}",INF')
        send("TRIG:BLOC:WAIT 2,EXT,ENT")
        send(f'TRIG:BLOC:MDIG 3,"{HIGH}",INF')
        send("TRIG:BLOC:WAIT 4,EXT,ENT")
        send("TRIG:BLOC:BRAN:ALW 5,1")
        self._check_errors("the set-up")
        self._look_at_settings()

    def _start(self, duration_s: float) -> None:
        self._points = math.ceil((duration_s + START_S) / self.sample_interval_s)
        room = self._points + math.ceil(SPARE_S / self.sample_interval_s)
        if 2 * room > MOST_READINGS - 2 * LEAST_READINGS:  # all may have one level
            most_hz = MOST_READINGS / 2 / (duration_s + START_S + SPARE_S)
            raise self._link.refused(
                "TRAC:POIN",
                f"{duration_s:.3g} s at {self.sample_interval_s * 1e6:g} us need two buffers of "
                f"{room} readings, its memory holds {MOST_READINGS}; lower [meter] sample_rate_hz "
                f"to {0.99 * most_hz:.0f} or shorten the windows",
            )
        for name in (LOW, HIGH):
            self._link.send(f'TRAC:POIN {room},"{name}"')
            self._link.send(f'TRAC:CLE "{name}"')
        self._link.send("TRIG:EXT:IN:CLE")
        self._check_errors("arming")
        self._link.send("INIT")
        self._counted = -1
        self._over_s = time.monotonic() + START_S + duration_s * 1.01 + START_S
        time.sleep(START_S)

    def _fetch(self) -> Waveform:
        time.sleep(max(0.0, self._over_s - time.monotonic()))
        self._link.wait_until(self._has_enough, self._wait_s, "INIT")
        self._check_errors("the acquisition")
        self._stop()
        first_s, low = self._read_buffer(LOW)
        later_s, high = self._read_buffer(HIGH)
        self._check_errors("the readings")
        assert self._options is not None
        latency_s = self._options.marker_latency_us * 1e-6
        shifted = Readings(high.times_s + _seconds_between(first_s, later_s), high.current_a)
        try:
            merged = merge(low, shifted, self.sample_interval_s, latency_s)
        except DataError as error:
            raise self._link.failed("TRAC:DATA?", error) from error
        current_a, beyond = self._clipped(merged.current_a[: self._points])
        return self._waveform(
            current_a,
            merged.marker[: self._points],
            self._options.supply_v,
            overload=beyond,
            lost_samples=merged.lost_samples,
            sample_interval_s=merged.sample_interval_s,
            edge_uncertainty_s=merged.edge_uncertainty_s,
            edge_gap_s=merged.edge_gap_s,
        )

    def _has_enough(self) -> bool:
        """Whether the readings are there; InstrumentError when no more are coming."""
        counted = sum(self._count(name) for name in (LOW, HIGH))
        if counted >= self._points:
            return True
        state = self._state()
        if state not in ALIVE and counted == self._counted:
            raise self._link.failed(
                "INIT",
                f"lost samples: its trigger model is {state} after {counted} readings of "
                f"{self._points}; nobody else may use it meanwhile, not even at its front panel",
            )
        self._counted = counted
        return False

    def _read_buffer(self, name: str) -> tuple[tuple[float, float] | None, Readings]:
        """The first reading's absolute time, seconds and their fraction, and all readings."""
        count = self._count(name)
        if not count:
            return None, Readings(np.zeros(0), np.zeros(0))
        self._link.send("FORM ASC")
        seconds, fraction = self._link.numbers(f'TRAC:DATA? 1,1,"{name}",SEC,FRAC', 2)
        self._link.send("FORM REAL")
        current_a, relative_s = self._columns(name, count)
        # Relative to what, the manual leaves open: to be told from the first reading's own.
        return (seconds, fraction), Readings(relative_s - relative_s[0], current_a)

    def _give_up(self) -> None:
        self._stop()

    def _stop(self) -> None:
        self._link.send("ABOR")
        self._link.send("*CLS")  # that a model was aborted is noted in the same queue, as 2728

    # -- digitizing -------------------------------------------------------------------------

    def digitize(
        self, duration_s: float, sample_rate_hz: float, range_a: float, start: str = "now"
    ) -> CurrentTrace:
        """Current over ``duration_s``, from now or the next edge at EXT TRIG IN.

        To acquire as a rig's meter again, ``configure`` comes first. InstrumentError: out of its
        limits, or anything that goes wrong with the instrument.
        """
        self._check_limits(sample_rate_hz, range_a)
        if start not in EDGES:
            raise InstrumentError(f"{self.resource}: start {start!r}; known: {', '.join(EDGES)}")
        points = math.ceil(duration_s * sample_rate_hz)
        self._limit("readings", points, LEAST_READINGS, MOST_READINGS - 20, "")
        self._duration_s, self._asked = duration_s, None
        self.identify()
        self._link.send("*CLS")
        self._prepare(sample_rate_hz, range_a, {BUFFER: points})
        self._single(points, EDGES[start])
        self._check_errors("the set-up")
        self._look_at_settings()
        self._link.send("INIT")
        if start == "now":
            time.sleep(duration_s)
        self._link.wait_until(self._has_ended, self._wait_s, "INIT")
        return self._trace(points)

    def _single(self, points: int, edge: str) -> None:
        send = self._link.send
        send(f'TRIG:BLOC:BUFF:CLE 1,"{BUFFER}"')
        if edge:
            send("TRIG:EXT:IN:CLE")
            send(f"TRIG:EXT:IN:EDGE {edge}")
            send("TRIG:BLOC:WAIT 2,EXT")
        send(f'TRIG:BLOC:MDIG {3 if edge else 2},"{BUFFER}",{points}')

    def _has_ended(self) -> bool:
        state = self._state()
        if state in ALIVE or state == "IDLE":
            return state == "IDLE"
        raise self._link.failed("INIT", f"its trigger model is {state}")

    def _trace(self, points: int) -> CurrentTrace:
        actual = self._count(BUFFER)
        current_a, relative_s = self._columns(BUFFER, actual)
        self._check_errors("the acquisition")
        if not actual:
            raise self._link.failed("TRAC:ACT?", f"no reading of {points} that were asked for")
        clipped_a, beyond = self._clipped(current_a)
        steps = np.rint(np.diff(relative_s) / self.sample_interval_s)
        missing = int(np.maximum(steps - 1, 0).sum())
        return CurrentTrace(
            self.sample_interval_s,
            clipped_a,
            beyond,
            max(missing, points - actual),
            self.identity,
        )

    # -- both -------------------------------------------------------------------------------

    def _prepare(self, sample_rate_hz: float, range_a: float, buffers: Mapping[str, int]) -> None:
        """Known settings, an empty trigger model, and ``buffers`` of so many readings each."""
        self._stop()
        send = self._link.send
        send('TRIG:LOAD "EMPTY"')
        send('DIG:FUNC "CURR"')
        send(f"DIG:CURR:RANG {range_a:.9g}")
        send(f"DIG:CURR:SRAT {round(sample_rate_hz)}")  # before the aperture, which it limits
        send("DIG:CURR:APER AUTO")  # the longest for the rate: no time goes unmeasured
        for name in ("defbuffer1", "defbuffer2"):  # they share the memory
            send(f'TRAC:POIN {LEAST_READINGS},"{name}"')
        self._check_errors("the set-up")
        for name in (BUFFER, LOW, HIGH):
            send(f'TRAC:DEL "{name}"')
        send("*CLS")  # deleting a buffer that was not there is an error, and is meant to be
        for name, points in buffers.items():
            send(f'TRAC:MAKE "{name}",{points}')
            send(f'TRAC:FILL:MODE ONCE,"{name}"')
        send("FORM REAL")
        send("FORM:BORD SWAP")
        send("FORM:ASC:PREC 16")

    def _look_at_settings(self) -> None:
        self.range_a = self._link.number("DIG:CURR:RANG?")
        self.sample_interval_s = 1 / self._link.number("DIG:CURR:SRAT?")

    def _state(self) -> str:
        return self._link.query("TRIG:STAT?").split(";")[0]

    def _count(self, name: str) -> int:
        return int(self._link.number(f'TRAC:ACT? "{name}"'))

    def _columns(self, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Currents of all readings, and their relative times."""
        pieces = [np.zeros((0, 2))]
        for first in range(1, count + 1, PIECE_READINGS):
            last = min(first + PIECE_READINGS - 1, count)
            query = f'TRAC:DATA? {first},{last},"{name}",READ,REL'
            # The block begins #0 (DMM7510, p. 6-50); one that tells its length is taken as well.
            size = 2 * (last - first + 1) * 8
            piece = self._link.block(query, np.dtype("<f8"), indefinite_bytes=size)
            if len(piece) * 8 != size:
                raise self._link.failed(query, f"{len(piece)} numbers for {last - first + 1} pairs")
            pieces.append(piece.reshape(-1, 2))
        current_a, relative_s = np.concatenate(pieces).T
        return current_a, relative_s

    def _clipped(self, current_a: np.ndarray) -> tuple[np.ndarray, bool]:
        """Readings beyond the range put at its end, and whether there are any."""
        beyond = np.abs(current_a) >= OVERFLOW
        clipped_a = np.where(beyond, np.copysign(self.range_a, current_a), current_a)
        return clipped_a, bool(beyond.any())


def _seconds_between(
    first_s: tuple[float, float] | None, later_s: tuple[float, float] | None
) -> float:
    """Between two absolute times; whole seconds apart from their fractions, for the digits."""
    if first_s is None or later_s is None:
        return 0.0
    return (later_s[0] - first_s[0]) + (later_s[1] - first_s[1])
