"""Nordic Power Profiler Kit II on its USB serial port.

Sources: Nordic's app pc-nrfconnect-ppk (01ae85c1, src/constants.ts for the command bytes,
src/device/serialDevice.ts for metadata, sample word, conversion and spike filter), checked
against IRNAS/ppk2-api-python and m-mcgowan/ppk2-python. The kit takes no rate: it sends 100,000
words a second. It reports no supply voltage; in ampere mode the rig file's is believed.

    word  = 14 bits ADC / 4, 3 bits range, 1 bit battery, 6 bits counter, 8 bits logic
    r     = (ADC - O) * (1.8 V / 163840) / R
    I [A] = UG * (r * (GS * r + GI) + S * Vdd + I)       constants of the word's range

A loss of a multiple of 64 words does not show in the counter; it shows as a window that lasts
longer by the board's count than by the marker (hil.measure.windows).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.rig.meter_options import Ppk2Options
from hil.rig.meters.stream_meter import Recording, StreamMeter
from hil.rig.meters.usb_serial import UsbModel

SAMPLE_RATE_HZ = 100_000
RANGE_A = 1.0  # the kit's specified maximum
SERIAL_DIGITS = 8  # what is printed on the kit; USB shows more

AVERAGE_START = bytes([0x06])
AVERAGE_STOP = bytes([0x07])
GET_METADATA = bytes([0x19])
DUT_POWER_ON = bytes([0x0C, 1])
POWER_MODES = {"ampere": bytes([0x11, 1]), "source": bytes([0x11, 2])}

RANGES = 5
SPIKE_SAMPLES = 3
LSB_V = 1.8 / 163840
_LINE = re.compile(r"^\s*([A-Za-z]+[0-4]?)\s*:\s*(\S+)\s*$", re.MULTILINE)


def regulator_set(supply_v: float) -> bytes:
    """The command that sets VDD: millivolts, big-endian."""
    return bytes([0x0D]) + round(supply_v * 1000).to_bytes(2, "big")


@dataclass(frozen=True, eq=False)
class Calibration:
    """The constants of the five ranges, each an array of 5; see the module for the formula."""

    r: np.ndarray
    gs: np.ndarray
    gi: np.ndarray
    o: np.ndarray
    s: np.ndarray
    i: np.ndarray
    ug: np.ndarray
    hardware: str

    @classmethod
    def from_metadata(cls, text: str) -> Calibration:
        """From the answer to GET_METADATA; InstrumentError when it is another device's.

        As in Nordic's app a constant that is absent, 0 or not a number keeps its default.
        """
        entries = {name.lower(): value for name, value in _LINE.findall(text)}
        if not {"r0", "r4", "hw"} <= entries.keys():
            raise InstrumentError(f"no PPK2 metadata but {text[:60]!r}")
        found = {name: defaults.copy() for name, defaults in _defaults().items()}
        for name, values in found.items():
            for k in range(RANGES):
                with suppress(ValueError):  # "-nan" on kits without calibration is one, "" not
                    value = float(entries.get(f"{name}{k}", "0"))
                    if value and math.isfinite(value):
                        values[k] = value
        return cls(**found, hardware=entries["hw"])

    def current_a(self, words: np.ndarray, supply_v: float) -> np.ndarray:
        """Amperes (float64) of uint32 sample words at a supply of ``supply_v``."""
        k = ranges_of(words)
        adc = (words & 0x3FFF).astype(np.float64) * 4
        r = (adc - self.o[k]) * (LSB_V / self.r[k])
        offset = self.s[k] * supply_v + self.i[k]
        return self.ug[k] * (r * (self.gs[k] * r + self.gi[k]) + offset)


def _defaults() -> dict[str, np.ndarray]:
    ones, zeros = np.ones(RANGES), np.zeros(RANGES)
    r = np.array([1031.64, 101.65, 10.15, 0.94, 0.043])
    return {"r": r, "gs": ones, "gi": ones, "o": zeros, "s": zeros, "i": zeros, "ug": ones}


def ranges_of(words: np.ndarray) -> np.ndarray:
    """Range 0 (most sensitive) to 4 of each word."""
    return np.minimum((words >> 14) & 7, RANGES - 1).astype(np.intp)


def settled(current_a: np.ndarray, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The current without the spikes of changed ranges, and the numbers of the estimated samples.

    A change of range makes a spike, so the first SPIKE_SAMPLES in a new range are not believed, as
    in Nordic's app. Each is replaced by the first one behind them (the app's rolling average holds
    much of the power before the change). Where the range changes again before there is one, they
    stay as they are: nothing better is known, and their height must not be forgotten.
    """
    changes = np.flatnonzero(np.diff(ranges)) + 1
    ends = np.append(changes[1:], len(ranges))
    behind = changes + SPIKE_SAMPLES
    known = behind < ends
    out = current_a.copy()
    for offset in range(SPIKE_SAMPLES):
        out[changes[known] + offset] = current_a[behind[known]]
    places = changes[:, None] + np.arange(SPIKE_SAMPLES)
    return out, places[places < ends[:, None]].astype(np.int64)


@dataclass
class WordRecording:
    """Sample words by their place in the stream, up to ``points`` places."""

    points: int
    lost: int = 0
    received: int = 0
    _rest: bytes = b""
    _words: list[np.ndarray] = field(default_factory=list)
    _counter: int | None = None

    @property
    def begun(self) -> bool:
        return self.received > 0

    @property
    def complete(self) -> bool:
        return self.received + self.lost >= self.points

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        words = np.frombuffer(data[:whole], "<u4")
        if len(words) == 0:
            return
        counters = ((words >> 18) & 63).astype(np.int64)
        before = counters[0] - 1 if self._counter is None else self._counter
        gaps = (np.diff(counters, prepend=before) - 1) % 64
        places = self.received + self.lost + np.arange(len(words)) + np.cumsum(gaps)
        kept = int(np.searchsorted(places, self.points))
        self._words.append(words[:kept])
        self.received += kept
        if kept == len(words):
            self.lost += int(gaps.sum())
        else:  # all places are accounted for, and what has no word is lost
            self.lost = self.points - self.received
        self._counter = int(counters[-1])

    def words(self) -> np.ndarray:
        """All words so far, uint32."""
        return np.concatenate([np.zeros(0, np.uint32), *self._words]).astype(np.uint32)


class Ppk2(StreamMeter):
    """The kit. What its spike filter replaces is told as the waveform's ``estimated`` samples."""

    model = UsbModel("PPK2", 0x1915, 0xC00A, interface="1")
    baud = 115200  # of no consequence on USB
    start_command = AVERAGE_START
    stop_command = AVERAGE_STOP

    def __init__(
        self, resource: str, timeout_s: float, slowdown: float, options: Ppk2Options
    ) -> None:
        self.options = options
        self._recording = WordRecording(0)
        super().__init__(resource, timeout_s, slowdown)

    def _hello(self) -> str:
        self._send(GET_METADATA, "metadata")
        text = self._read_until(lambda text: "END" in text, "metadata")
        self._calibration = Calibration.from_metadata(text)
        number = self.usb_serial[:SERIAL_DIGITS] or "unknown"
        return f"Nordic,PPK2,{number},HW {self._calibration.hardware}"

    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        if sample_rate_hz > SAMPLE_RATE_HZ or range_a > RANGE_A:
            raise InstrumentError(
                f"a PPK2 takes {SAMPLE_RATE_HZ} samples a second up to {RANGE_A:g} A, "
                f"{sample_rate_hz:g} and {range_a:g} A were asked for; correct [meter] "
                "sample_rate_hz or range_a"
            )
        self._send(POWER_MODES[self.options.mode], "the mode")
        self._send(regulator_set(self.options.supply_v), "the supply voltage")
        self._send(DUT_POWER_ON, "the supply switch")
        self.sample_interval_s = 1.0 / SAMPLE_RATE_HZ
        self.range_a = RANGE_A

    def _new_recording(self, duration_s: float) -> tuple[Recording, float]:
        points = math.ceil(duration_s * SAMPLE_RATE_HZ - 1e-6)
        self._recording = WordRecording(points)
        return self._recording, points / SAMPLE_RATE_HZ

    def _waveform(self) -> Waveform:
        words, lost = self._recording.words(), self._recording.lost
        if lost > len(words):
            raise InstrumentError(
                f"{lost} of {self._recording.points} samples lost: the counter does not count; "
                "use another cable or hub"
            )
        current_a = self._calibration.current_a(words, self.options.supply_v)
        estimated = np.zeros(0, np.int64)
        if self.options.spike_filter == "settled":
            current_a, estimated = settled(current_a, ranges_of(words))
        clipped = np.clip(current_a, -RANGE_A, RANGE_A)
        return Waveform(
            t0_s=0.0,  # the kit has no clock of its own; each start is its zero
            sample_interval_s=self.sample_interval_s,
            current_a=clipped.astype(np.float32),
            marker=((words >> (24 + self.options.marker)) & 1).astype(np.bool_),
            supply_v=self.options.supply_v,
            range_a=RANGE_A,
            overload=bool((clipped != current_a).any()),
            lost_samples=lost,
            meter=self.identity,
            origin=self.origin,
            estimated=estimated,
        )
