"""A simulated Nordic PPK2: command bytes in, metadata text and sample words out.

Written from the protocol as Nordic's app speaks it (pc-nrfconnect-ppk), without any of the
driver's code. The points at which it changes its range are this simulator's own choice; the real
kit's are not published.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from hil.sim.instruments.power_trace import PowerTrace

INTERVAL_S = 10e-6
CHUNK = 2000  # samples made at once
RANGE_LIMITS_A = np.array([50e-6, 500e-6, 5e-3, 60e-3])
FULL_SCALE = 16383
ADC_V = 1.8 / 163840
# Typical constants of the five ranges, spread a little by the seed.
R_OHM = np.array([1003.35, 101.59, 10.30, 0.9636, 0.0564])
GS = np.array([0.0, 112.8, 18.0, 2.50, 0.321])
GI = np.array([1.0, 0.9695, 0.9609, 0.9519, 0.9582])
OFFSET = np.array([112.9, 75.5, 64.6, 50.5, 87.2])
S = np.array([0.0, 0.0, 1e-7, -2e-6, 1e-4])
I0 = np.array([-1e-8, -2e-7, 1e-6, 2e-5, -3e-4])
ARGUMENTS = {0x01: 2, 0x0C: 1, 0x0D: 2, 0x11: 1, 0x25: 5}  # bytes behind a command, else 0


class Ppk2Simulator:
    """One kit, fed with ``trace`` from the moment a measurement starts."""

    def __init__(self, trace: PowerTrace, seed: int = 0, logic_bit: int = 0) -> None:
        self.trace = trace
        self.streaming = False
        self.powered = False
        self.mode = 2
        self.vdd_mv = 3000
        self.commands: list[bytes] = []  # all that came, for tests
        self.spike = 0.0  # part by which the first sample in a new range reads too high
        self.mute = False
        self._logic_bit = logic_bit
        self._lose_at: tuple[int, int] | None = None
        self._rng = np.random.default_rng([seed, 0x50504B32])
        spread = 1 + self._rng.uniform(-0.01, 0.01, 5)
        self._r, self._gi, self._ug = R_OHM * spread, GI / spread, np.ones(5)
        self._input = bytearray()
        self._output = bytearray()
        self._sample = 0
        self._counter = 0
        self._range = 0

    def lose(self, count: int, at: int = 500) -> None:
        """Drop ``count`` samples of the next measurement behind sample ``at``."""
        self._lose_at = (at, count)

    def receive(self, data: bytes) -> None:
        self._input += data
        while self._input:
            size = 1 + ARGUMENTS.get(self._input[0], 0)
            if len(self._input) < size:
                return
            command = bytes(self._input[:size])
            del self._input[:size]
            self.commands.append(command)
            action = self._actions().get(command[0])
            if action is not None:
                action(command[1:])

    def produce(self) -> bytes:
        if self.mute:
            return b""
        if self.streaming and not self._output:
            self._output += self._samples(CHUNK)
        data, self._output = bytes(self._output), bytearray()
        return data

    def _actions(self) -> dict[int, Callable[[bytes], None]]:
        return {
            0x06: lambda _: self._start(),
            0x07: lambda _: self._stop(),
            0x0C: lambda a: setattr(self, "powered", bool(a[0])),
            0x0D: lambda a: setattr(self, "vdd_mv", min(max(a[0] << 8 | a[1], 800), 5000)),
            0x11: lambda a: setattr(self, "mode", a[0]),
            0x19: lambda _: self._output.extend(self.metadata().encode()),
            0x20: lambda _: self._reset(),
            0x25: self._user_gain,
        }

    def metadata(self) -> str:
        """The text that the kit answers to 0x19."""
        table = {"R": self._r, "GS": GS, "GI": self._gi, "O": OFFSET, "S": S, "I": I0}
        lines = ["Calibrated: 0"]
        lines += [f"{name}{k}: {row[k]:.10f}" for name, row in table.items() for k in range(5)]
        lines += [f"UG{k}: {gain:.4f}" for k, gain in enumerate(self._ug)]
        lines += [f"VDD: {self.vdd_mv}", "HW: 9173", f"mode: {self.mode}", "IA: 58", "END"]
        return "\n".join(lines)

    def _start(self) -> None:
        self.streaming = True
        self._sample = 0

    def _stop(self) -> None:
        self.streaming = False

    def _reset(self) -> None:
        self._stop()
        self.powered = False

    def _user_gain(self, arguments: bytes) -> None:
        k, gain = struct.unpack("<Bf", arguments)
        self._ug[min(k, 4)] = gain

    def _samples(self, count: int) -> bytes:
        start_s = self._sample * INTERVAL_S
        current = self.trace.current_a(start_s, INTERVAL_S, count) * self.powered
        marker = self.trace.marker(start_s, INTERVAL_S, count)
        ranges = np.searchsorted(RANGE_LIMITS_A, current)
        changed = np.diff(ranges, prepend=self._range) != 0
        adc = self._adc(current * (1 + self.spike * changed), ranges)
        counters = (self._counter + np.arange(count)) % 64
        logic = marker.astype(np.int64) << self._logic_bit
        words = adc | (ranges << 14) | (counters << 18) | (logic << 24)
        self._range = int(ranges[-1])
        self._counter = (self._counter + count) % 64
        keep = self._kept(count)
        self._sample += count
        return words[keep].astype("<u4").tobytes()

    def _adc(self, current: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Converter codes: the published formula solved for the code, with half a bit of noise."""
        c = S[k] * self.vdd_mv / 1000 + I0[k] - current / self._ug[k]
        gs, gi = GS[k], self._gi[k]
        root = np.sqrt(np.maximum(gi * gi - 4 * gs * c, 0.0))
        result = np.where(gs > 0, (root - gi) / np.where(gs > 0, 2 * gs, 1.0), -c / gi)
        codes = (result * self._r[k] / ADC_V + OFFSET[k]) / 4
        noise = self._rng.normal(0.0, 0.5, len(codes))
        return np.clip(np.rint(codes + noise), 0, FULL_SCALE).astype(np.int64)

    def _kept(self, count: int) -> np.ndarray:
        keep = np.ones(count, np.bool_)
        if self._lose_at is not None:
            at, lost = self._lose_at
            places = self._sample + np.arange(count)
            keep = (places < at) | (places >= at + lost)
            if places[-1] >= at + lost:
                self._lose_at = None
        return keep
