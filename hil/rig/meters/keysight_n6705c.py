"""Keysight N6705C power analyzer with an N6781A source/measure module.

Sources: N6705C User's Guide (UG), "Making array measurements", pp. 203-217; N6705C Operating and
Service Guide (OSG), chapter 7; command spellings also from public drivers (microsoft/Qcodes
Keysight_N6705B). What is from memory is marked so.

The board is fed by the module and its current is measured there. The mainframe samples no digital
pin beside the current (its pins only start an acquisition), but the N6781A measures the voltage
at its auxiliary input in the same samples as the current: the marker pin goes there.
SENS:VOLT:INP is in a public wrapper of the command set; that AUX is the N6781A's input of +-20 V
is from memory, and the first thing to try on the instrument. Voltage and output are the user's:
this driver switches no output and sets no voltage.
"""

from __future__ import annotations

import math

import numpy as np

from hil.core.waveform import Waveform
from hil.rig.meter_options import KeysightN6705COptions
from hil.rig.meters.scpi_meter import ScpiMeter

# Two parameters, current and auxiliary voltage, are sampled every 10.24 us at best (UG p. 213).
FASTEST_S = 10.24e-6
SLOWEST_S = 40.0
MOST_POINTS = 524_288  # SENS:SWE:POIN, 1 to 512 K
RANGES_A = (10e-6, 1e-3, 0.1, 3.0)  # N6781A data sheet, from memory; queried back
MARKER_RANGE_V = 20.0  # the auxiliary input takes -20 to 20 V
OVERFLOW = 9.9e36  # readings beyond the range are +-9.9E+37 (SCPI-99; from memory for this model)
WAITING, MEASURING = 8, 32  # STAT:OPER:COND?: WTG-meas (from memory), MEAS-active (OSG)
MODULE = "N6781A"
LOGS = ("ELOG", "DLOG")


class KeysightN6705C(ScpiMeter):
    """See hil.rig.meters.scpi_meter and, for ``options``, hil.rig.meter_options."""

    IDENTITY = r"(keysight|agilent) technologies,N6705[ABC],"
    NAME = "a Keysight N6705"

    def __init__(
        self,
        resource: str,
        timeout_s: float = 5.0,
        slowdown: float = 1.0,
        options: KeysightN6705COptions | None = None,
    ) -> None:
        super().__init__(resource, timeout_s, slowdown)
        options = options or KeysightN6705COptions()
        self._channel = options.channel
        self._marker_level_v = options.marker_level_v
        self._all = ""  # channel list of every slot
        self._supply_v = math.nan
        self._points = 0

    def identify(self) -> str:
        """Refuses a mainframe without an N6781A in the slot (SYST:CHAN:MOD?, OSG)."""
        super().identify()
        slots = int(self._link.number("SYST:CHAN?"))
        if not 1 <= self._channel <= slots:
            raise self._link.failed(
                "SYST:CHAN?", f"there is no channel {self._channel}, only 1 to {slots}"
            )
        self._all = f"(@1:{slots})"
        module = self._link.query(f"SYST:CHAN:MOD? {self._at}")
        if module != MODULE:
            raise self._link.failed(
                "SYST:CHAN:MOD?",
                f"channel {self._channel} is a {module}; only the {MODULE} measures current and "
                "the marker at its auxiliary input together; correct channel in [meter.options]",
            )
        return self.identity

    def _check_limits(self, sample_rate_hz: float, range_a: float) -> None:
        self._limit("sample_rate_hz", sample_rate_hz, 1 / SLOWEST_S, 1 / FASTEST_S, "Hz")
        self._limit("range_a", range_a, RANGES_A[0], RANGES_A[-1], "A")

    @property
    def _at(self) -> str:
        return f"(@{self._channel})"

    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        send, at = self._link.send, self._at
        send(f"ABOR:ACQ {at}")
        send("FORM REAL")  # single-precision blocks (UG)
        send("FORM:BORD SWAP")  # little-endian
        # Logs left on by another program slow all measurements down (public bug report).
        for log in LOGS:
            send(f"SENS:{log}:FUNC:CURR OFF,{self._all}")
            send(f"SENS:{log}:FUNC:VOLT OFF,{self._all}")
        send(f"SENS:VOLT:INP MAIN,{at}")
        self._supply_v = self._link.number(f"MEAS:VOLT? {at}")
        if not int(self._link.number(f"OUTP? {at}")):
            raise self._link.failed(
                "OUTP?",
                f"channel {self._channel}'s output is off; set the board's voltage and switch it "
                "on at the front panel",
            )
        send(f"SENS:FUNC:CURR ON,{at}")
        send(f"SENS:FUNC:VOLT ON,{at}")
        send(f"SENS:VOLT:INP AUX,{at}")
        send(f"SENS:VOLT:RANG {MARKER_RANGE_V:g},{at}")
        send(f"SENS:CURR:RANG {range_a:.9g},{at}")
        send(f"SENS:WIND RECT,{at}")  # a Hann window would weigh the samples
        send(f"SENS:SWE:OFFS:POIN 0,{at}")
        send(f"TRIG:ACQ:SOUR BUS,{at}")
        send(f"SENS:SWE:TINT {1 / sample_rate_hz:.9g},{at}")
        self._check_errors("the set-up")
        self.range_a = self._link.number(f"SENS:CURR:RANG? {at}")
        # Rounded to the grid: 10.24 us steps up to 20.48 us, 20.48 us steps above (UG p. 213).
        self.sample_interval_s = self._link.number(f"SENS:SWE:TINT? {at}")

    def _start(self, duration_s: float) -> None:
        at = self._at
        self._points = math.ceil(duration_s / self.sample_interval_s)
        if self._points > MOST_POINTS:
            raise self._link.refused(
                "SENS:SWE:POIN",
                f"{duration_s:.3g} s at {self.sample_interval_s * 1e6:g} us are {self._points} "
                f"samples, its memory holds {MOST_POINTS}; lower [meter] sample_rate_hz to "
                f"{MOST_POINTS / duration_s:.0f} or shorten the windows",
            )
        self._link.send(f"SENS:SWE:POIN {self._points},{at}")
        self._link.send(f"INIT:ACQ {at}")
        self._link.wait_until(lambda: self._has(WAITING), self._timeout_s, "INIT:ACQ")
        self._link.send(f"TRIG:ACQ {at}")  # starts whatever the trigger source (UG)
        self._check_errors("TRIG:ACQ")
        # Asking is what makes sure that sampling has begun before the board is told to work.
        if not self._has(MEASURING):
            raise self._link.failed("TRIG:ACQ", "it is not measuring")

    def _has(self, bit: int) -> bool:
        return bool(int(self._link.number(f"STAT:OPER:COND? {self._at}")) & bit)

    def _fetch(self) -> Waveform:
        single = np.dtype("<f4")
        # FETC:ARR answers when the acquisition has ended (UG).
        current = self._link.block(f"FETC:ARR:CURR? {self._at}", single, self._wait_s)
        marker_v = self._link.block(f"FETC:ARR:VOLT? {self._at}", single)
        self._check_errors("the acquisition")
        if not len(current) == len(marker_v) == self._points:
            raise self._link.failed(
                "FETC:ARR",
                f"lost samples: {len(current)} currents and {len(marker_v)} voltages of "
                f"{self._points} that were asked for",
            )
        beyond = np.abs(current) >= OVERFLOW
        clipped = np.where(beyond, np.copysign(self.range_a, current), current)
        return self._waveform(
            clipped,
            marker_v > self._marker_level_v,
            self._supply_v,
            overload=bool(beyond.any()),
        )

    def _give_up(self) -> None:
        self._link.send(f"ABOR:ACQ {self._at}")
