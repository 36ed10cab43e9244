"""ST X-NUCLEO-LPM01A (PowerShield firmware) on its USB serial port.

Commands and their arguments: the firmware's help text as quoted by mlcommons/tiny
(benchmark/runner/power_manager/power_manager_lpm.py); acknowledgements as parsed there, in
zissis-pap/x-nucleo-lpm01a-gui and in zephyr's PowerShield.py. ``eventsrc d7 fal`` is used by
mlcommons/tiny and is not in that text; firmware 1.0.6 has it.

The board samples no level beside the current. It tells falling edges on D7 between two samples,
so both edges of a window need a circuit that makes a pulse of each; docs/usb-meters.md.
"""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition
from hil.rig.meter_options import Lpm01aOptions
from hil.rig.meters.lpm01a_stream import (
    PROMPT,
    STAMP_SAMPLES,
    AsciiStream,
    BinaryStream,
    ValueRecording,
)
from hil.rig.meters.stream_meter import Recording, StreamMeter
from hil.rig.meters.usb_serial import UsbModel

RATES_HZ = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 20e3, 50e3, 100e3)
# Text is endless up to 5 kHz, energy comes up to 10 kHz, binary current up to 100 kHz.
MOST_TEXT_HZ, MOST_ENERGY_HZ = 5e3, 10e3
RANGE_A = 0.05  # dynamic mode


def frequency(rate_hz: float) -> str:
    """A rate as the board wants it: 100k, 500."""
    return f"{rate_hz / 1000:g}k" if rate_hz >= 1000 else f"{rate_hz:g}"


class Lpm01a(StreamMeter):
    """The board. Up to 10 kHz a sample is the energy of its interval; above, the board has only
    momentary currents."""

    model = UsbModel("LPM01A", 0x0483, 0x5740)
    baud = 3_686_400
    start_command = b"start\n"
    stop_command = b"stop\n"

    def __init__(
        self, resource: str, timeout_s: float, slowdown: float, options: Lpm01aOptions
    ) -> None:
        self.options = options
        self._recording = ValueRecording(0, 1.0)
        super().__init__(resource, timeout_s, slowdown)

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        """InstrumentError without a marker: an acquisition around work is one of windows."""
        if self.options.marker == "none":
            raise InstrumentError(
                f"{self.resource}: an LPM01A samples no marker beside the current, so it cannot "
                'measure windows; wire D7 as docs/usb-meters.md says and set marker = "events" '
                "in [meter.options], or use a meter with a marker input"
            )
        return super().acquisition(busy_s)

    def _hello(self) -> str:
        present = self._command("powershield")
        if "PowerShield present" not in present:
            raise InstrumentError(f"powershield: answered {present!r}; is this an LPM01A?")
        words = re.findall(r"\b[0-9A-Fa-f]{6,}\b", present)
        version = re.sub(r"\s", "", self._command("version")) or "?"
        return f"ST,LPM01A,{words[-1] if words else self.usb_serial or 'unknown'},{version}"

    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        rate_hz = self._rate_hz(sample_rate_hz)
        if range_a > RANGE_A:
            raise InstrumentError(
                f"an LPM01A measures up to {RANGE_A:g} A, {range_a:g} A were asked for; correct "
                "[meter] range_a"
            )
        for command in (
            "htc",
            f"volt {round(self.options.supply_v * 1000)}m",
            f"freq {frequency(rate_hz)}",
            "acqtime inf",
            "acqmode dyn",
            f"output {'energy' if rate_hz <= MOST_ENERGY_HZ else 'current'}",
            f"format {'ascii_dec' if self._text else 'bin_hexa'}",
            "trigsrc sw",
            "trigdelay 0",
            *(["eventsrc d7 fal"] if self._text else []),
            "pwr on nostatus",
        ):
            self._command(command)
        self.sample_interval_s = 1.0 / rate_hz
        self.range_a = RANGE_A

    def _new_recording(self, duration_s: float) -> tuple[Recording, float]:
        rate_hz = round(1.0 / self.sample_interval_s)
        points = math.ceil(duration_s * rate_hz - 1e-6)
        self._recording = ValueRecording(points, rate_hz)
        stream = AsciiStream if self._text else BinaryStream
        # The stream goes on to the next time stamp, which tells whether all has come.
        return stream(self._recording), (points + STAMP_SAMPLES) / rate_hz

    def _waveform(self) -> Waveform:
        values, marker = self._recording.arrays()
        if self.sample_interval_s * MOST_ENERGY_HZ >= 1.0:  # joules of each interval
            values = values / (self.options.supply_v * self.sample_interval_s)
        return Waveform(
            t0_s=0.0,  # time stamps count from the start of the acquisition
            sample_interval_s=self.sample_interval_s,
            current_a=np.minimum(values, RANGE_A).astype(np.float32),
            marker=marker,
            supply_v=self.options.supply_v,
            range_a=RANGE_A,
            overload=self._recording.overcurrent or bool((values > RANGE_A).any()),
            lost_samples=min(self._recording.lost, self._recording.points),
            meter=self.identity,
            origin=self.origin,
        )

    # -- commands ---------------------------------------------------------------------------

    @property
    def _text(self) -> bool:
        """Events are known to come in the text format only."""
        return self.options.marker == "events"

    def _rate_hz(self, asked_hz: float) -> float:
        """The board's smallest rate that is not below ``asked_hz``."""
        most_hz = MOST_TEXT_HZ if self._text else RATES_HZ[-1]
        rate_hz = next((rate for rate in RATES_HZ if rate >= asked_hz * 0.999), math.inf)
        if rate_hz > most_hz:
            raise InstrumentError(
                f"an LPM01A takes up to {most_hz:g} samples a second with marker "
                f"{self.options.marker!r}, {asked_hz:g} were asked for; correct [meter] "
                "sample_rate_hz"
            )
        return float(rate_hz)

    def _command(self, command: str) -> str:
        """Send ``command``; what follows its acknowledgement on the line."""
        with self._closing_on_error():
            self._send(command.encode("ascii") + b"\n", command)
            text = self._read_until(lambda text: _answer(text, command) is not None, command)
            good, answer = _answer(text, command) or (False, "")
            if not good:  # the reason is in a line of its own
                text += self._opened().read().decode("ascii", "replace")
                raise InstrumentError(f"{command}: the board objects: {' '.join(text.split())}")
            return answer


def _answer(text: str, command: str) -> tuple[bool, str] | None:
    """Whether ``command`` was taken and what was answered; None while there is no answer."""
    for line in text.replace("\0", "").split("\n")[:-1]:
        kind, _, rest = line.strip().removeprefix(PROMPT).strip().partition(" ")
        if kind == "ack" and rest.startswith(command):
            return True, rest.removeprefix(command).strip()
        if kind in ("err", "error"):
            return False, rest
    return None
