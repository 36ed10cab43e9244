"""The PPK2's driver: conversion and counter by hand, and against a simulated kit on a pty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from usb_board import IDLE_A, SUPPLY_V, WINDOWS, board_trace

from hil.core.errors import InstrumentError, InstrumentLostError
from hil.core.provenance import Origin
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig import recovery
from hil.rig.meter_options import Ppk2Options
from hil.rig.meters import usb_serial
from hil.rig.meters.ppk2 import (
    SPIKE_SAMPLES,
    Calibration,
    Ppk2,
    WordRecording,
    ranges_of,
    regulator_set,
    settled,
)
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.ppk2 import Ppk2Simulator
from hil.sim.instruments.pty_server import PtyServer

METADATA = """Calibrated: 0
R0: 1000.0
R1: 100.0
R2: 10.0
R3: 1.0
R4: 0.05
GS0: 0.0
GS2: 20.0
GI2: 0.96
O2: 60.0
S2: 0.000001
I2: 0.000002
UG2: 1.01
I4: -nan
VDD: 3000
HW: 9173
mode: 2
IA: 58
END"""


def word(adc: int, k: int, counter: int, logic: int = 0) -> int:
    return adc | k << 14 | (counter % 64) << 18 | logic << 24


def words(*values: int) -> np.ndarray:
    return np.array(values, np.uint32)


class TestProtocol:
    def test_conversion_by_hand(self) -> None:
        calibration = Calibration.from_metadata(METADATA)
        # (4 * 2015 - 60) * (1.8 / 163840) / 10 = 8.7890625e-3
        r = 8000 * 1.8 / 163840 / 10
        expected = 1.01 * (r * (20.0 * r + 0.96) + 1e-6 * 3.0 + 2e-6)
        got = calibration.current_a(words(word(2015, 2, 0)), 3.0)
        assert got == pytest.approx([expected], rel=1e-12)
        assert expected == pytest.approx(0.0100874, rel=1e-4)  # amperes: the order is right

    def test_absent_zero_and_nan_constants_keep_their_defaults(self) -> None:
        calibration = Calibration.from_metadata(METADATA)
        assert calibration.gs.tolist() == [1, 1, 20, 1, 1]
        assert calibration.i.tolist() == [0, 0, 2e-6, 0, 0]
        assert calibration.hardware == "9173"

    def test_fields_of_a_word(self) -> None:
        # Ranges above 4 count as 4; bit 17 (battery) belongs to no field.
        sample = words(word(1, 3, 5), word(1, 7, 6), word(1, 3, 7) | 1 << 17)
        assert ranges_of(sample).tolist() == [3, 4, 3]

    @pytest.mark.parametrize(
        ("supply_v", "command"), [(0.8, "0d0320"), (3.3, "0d0ce4"), (5.0, "0d1388")]
    )
    def test_the_voltage_command(self, supply_v: float, command: str) -> None:
        assert regulator_set(supply_v).hex() == command

    def test_three_samples_in_a_new_range_are_taken_for_the_fourth(self) -> None:
        current = np.array([10.0, 10.0, 100.0, 20.0, 21.0, 22.0, 20.0])
        out, estimated = settled(current, np.array([2, 2, 3, 3, 3, 3, 3]))
        assert out.tolist() == [10, 10, 22, 22, 22, 22, 20]
        assert estimated.tolist() == [2, 3, 4] and estimated.dtype == np.int64

    def test_a_range_that_is_left_before_it_has_settled(self) -> None:
        """Its readings are all that is known of it: an estimate of 10 would be none."""
        current = np.array([10.0, 90.0, 80.0, 80.0, 30.0, 10.0, 10.0, 11.0, 10.0])
        out, estimated = settled(current, np.array([2, 3, 3, 3, 2, 2, 2, 2, 2]))
        assert out.tolist() == [10, 90, 80, 80, 11, 11, 11, 11, 10]
        assert estimated.tolist() == [1, 2, 3, 4, 5, 6]
        out, estimated = settled(current[:4], np.array([2, 3, 4, 4]))  # and where the record ends
        assert np.array_equal(out, current[:4]) and estimated.tolist() == [1, 2, 3]

    def test_without_a_change_of_range_nothing_is_estimated(self) -> None:
        current = np.arange(5.0)
        out, estimated = settled(current, np.full(5, 2))
        assert np.array_equal(out, current) and len(estimated) == 0


class TestCounter:
    @staticmethod
    def feed(recording: WordRecording, counters: list[int], step: int) -> WordRecording:
        data = words(*(word(7, 1, c) for c in counters)).tobytes()
        for start in range(0, len(data), step):  # words are torn where reads end
            recording.feed(data[start : start + step])
        return recording

    @pytest.mark.parametrize("step", [1, 3, 4, 1000])
    def test_gaps_count_and_are_not_filled(self, step: int) -> None:
        recording = self.feed(WordRecording(20), [60, 61, 62, 63, 0, 1, 5, 6, 7], step)
        assert (recording.received, recording.lost, recording.complete) == (9, 3, False)
        assert len(recording.words()) == 9

    def test_a_gap_over_the_end_is_cut(self) -> None:
        recording = self.feed(WordRecording(6), [0, 1, 2, 3, 9, 10], 1000)
        assert recording.complete and (recording.received, recording.lost) == (4, 2)

    def test_what_comes_behind_the_last_sample_is_not_used(self) -> None:
        recording = self.feed(WordRecording(3), [7, 8, 9, 10, 40], 1000)
        assert recording.complete and (recording.received, recording.lost) == (3, 0)


@pytest.fixture
def kit(trace: PowerTrace, port: Path) -> Iterator[Ppk2Simulator]:
    simulator = Ppk2Simulator(trace, seed=3)
    server = PtyServer(simulator, port)
    yield simulator
    server.close()


def open_kit(port: Path, timeout_s: float = 5.0, **options: object) -> Ppk2:
    fields = {"supply_v": SUPPLY_V, **options}
    return Ppk2(str(port), timeout_s, 1.0, Ppk2Options(**fields))  # type: ignore[arg-type]


@pytest.fixture
def meter(kit: Ppk2Simulator, port: Path) -> Iterator[Ppk2]:
    meter = open_kit(port)
    meter.configure(100_000, 0.1)
    yield meter
    meter.close()


def plans() -> list[PlannedWindow]:
    return [PlannedWindow(n, 1, round((b - a) * 1e8)) for n, (a, b, _) in enumerate(WINDOWS)]


class TestOnAPty:
    def test_identity_and_settings(self, kit: Ppk2Simulator, meter: Ppk2) -> None:
        assert meter.identify() == "Nordic,PPK2,unknown,HW 9173"
        assert (meter.sample_interval_s, meter.range_a) == (1e-5, 1.0)
        meter.arm(0.001)
        # Stop, metadata, source mode, 3000 mV, supply on, start: as bytes.
        sent = b"".join(kit.commands).hex()
        assert sent == "07" + "19" + "1102" + "0d0bb8" + "0c01" + "06"

    def test_ampere_mode_and_another_input(self, trace: PowerTrace, port: Path) -> None:
        simulator = Ppk2Simulator(trace, logic_bit=7)
        server = PtyServer(simulator, port)
        meter = open_kit(port, mode="ampere", marker=7)
        meter.configure(1000, 0.1)
        meter.arm(0.03)
        assert meter.read().marker.any()
        assert b"\x11\x01" in simulator.commands
        meter.close()
        server.close()

    def test_the_profile_comes_back(self, meter: Ppk2) -> None:
        with meter.acquisition(0.03) as acquisition:
            waveform = acquisition.read()
        assert len(waveform) == 5300 and waveform.lost_samples == 0 and not waveform.overload
        assert waveform.origin is Origin.MODELLED  # a pty is no USB device
        windows = measure_windows(waveform, plans(), 1e8, 0)
        for window, (start_s, end_s, current_a) in zip(windows, WINDOWS, strict=True):
            true_uj = SUPPLY_V * current_a * (end_s - start_s) * 1e6
            assert window.energy_uj == pytest.approx(true_uj, rel=3e-3)
            assert window.base_power_w == pytest.approx(SUPPLY_V * IDLE_A, rel=0.02)

    def test_all_ranges(self, port: Path) -> None:
        currents = (20e-6, 200e-6, 2e-3, 20e-3, 300e-3)
        steps = tuple((0.01 * n, 0.01 * n + 0.005, a) for n, a in enumerate(currents, 1))
        server = PtyServer(Ppk2Simulator(board_trace(steps, 5e-6)), port)
        meter = open_kit(port, spike_filter="none")
        meter.configure(100_000, 0.1)
        meter.arm(0.06)
        waveform = meter.read()
        for start_s, end_s, current_a in steps:
            inside = waveform.current_a[round(start_s * 1e5) + 2 : round(end_s * 1e5) - 2]
            assert np.mean(inside) == pytest.approx(current_a, rel=4e-3)
        assert len(waveform.estimated) == 0
        meter.close()
        server.close()

    def test_the_filter_takes_a_spike_away(self, kit: Ppk2Simulator, meter: Ppk2) -> None:
        kit.spike = 5.0
        meter.arm(0.03)
        filtered = meter.read()
        assert len(filtered.estimated) == 3 * 2  # one window: into another range and back
        meter.options = Ppk2Options(SUPPLY_V, spike_filter="none")
        meter.arm(0.03)
        assert meter.read().current_a[5:].max() > 0.1 > filtered.current_a.max()

    def test_estimates_are_in_the_windows_and_their_limits(
        self, kit: Ppk2Simulator, meter: Ppk2
    ) -> None:
        kit.spike = 0.5
        meter.arm(0.05)
        windows = measure_windows(meter.read(), plans(), 1e8, 0)
        for window, (start_s, end_s, current_a) in zip(windows, WINDOWS, strict=True):
            # Those of the new range, and of the old one again what is a border sample.
            assert window.estimated_samples == SPIKE_SAMPLES + 1
            limit_uj = window.estimated_samples * SUPPLY_V * (current_a - IDLE_A) * 10
            assert window.estimate_limit_uj == pytest.approx(limit_uj, rel=0.02)
            true_uj = SUPPLY_V * current_a * (end_s - start_s) * 1e6
            assert window.energy_uj == pytest.approx(true_uj, rel=3e-3)

    def test_lost_samples_are_told(self, kit: Ppk2Simulator, meter: Ppk2) -> None:
        kit.lose(10)
        meter.arm(0.03)
        waveform = meter.read()
        assert (waveform.lost_samples, len(waveform)) == (10, 2990)
        with pytest.raises(InstrumentError, match="10 samples were lost"):
            measure_windows(waveform, plans(), 1e8, 0)

    def test_a_loss_that_the_counter_hides_shows_in_the_windows(
        self, kit: Ppk2Simulator, meter: Ppk2
    ) -> None:
        kit.lose(64, at=1500)
        meter.arm(0.05)
        waveform = meter.read()
        assert waveform.lost_samples == 0
        with pytest.raises(InstrumentError, match="window 0 lasts"):
            measure_windows(waveform, plans(), 1e8, 0)

    def test_overload(self, port: Path) -> None:
        server = PtyServer(Ppk2Simulator(board_trace(((0.01, 0.02, 1.3),))), port)
        meter = open_kit(port)
        meter.configure(100_000, 1.0)
        meter.arm(0.03)
        waveform = meter.read()
        assert waveform.overload and waveform.current_a.max() == 1.0
        with pytest.raises(InstrumentError, match="clipped"):
            measure_windows(waveform, [PlannedWindow(0, 1, 1_000_000)], 1e8, 0)
        meter.close()
        server.close()

    def test_a_stream_that_a_dead_program_left_running(
        self, kit: Ppk2Simulator, port: Path
    ) -> None:
        kit.receive(b"\x06")
        meter = open_kit(port)
        meter.configure(100_000, 0.1)
        meter.arm(0.03)
        assert meter.read().lost_samples == 0
        meter.close()

    def test_an_acquisition_that_nobody_reads(self, kit: Ppk2Simulator, meter: Ppk2) -> None:
        with meter.acquisition(0.01):
            pass
        assert kit.commands[-1] == b"\x07"
        meter.arm(0.01)
        assert len(meter.read()) == 1000


class TestFailures:
    @pytest.mark.parametrize(("rate", "range_a"), [(200_000, 0.1), (1000, 2.0)])
    def test_beyond_the_kit(self, meter: Ppk2, rate: float, range_a: float) -> None:
        with pytest.raises(InstrumentError, match=r"100000 samples a second up to 1 A"):
            meter.configure(rate, range_a)

    def test_another_device(self, port: Path) -> None:
        class Talker:
            def receive(self, data: bytes) -> None:
                self.asked = b"\x19" in data or getattr(self, "asked", False)

            def produce(self) -> bytes:
                answer, self.asked = getattr(self, "asked", False), False
                return b"hello, THE END\n" if answer else b""

        server = PtyServer(Talker(), port)
        with pytest.raises(InstrumentError, match="no PPK2 metadata but 'hello, THE END"):
            open_kit(port)
        server.close()

    def test_a_silent_device(self, kit: Ppk2Simulator, port: Path) -> None:
        kit.mute = True
        with pytest.raises(InstrumentError, match=r"meter: metadata: timed out: .*is this a PPK2"):
            open_kit(port, timeout_s=0.2)

    def test_a_device_that_never_stops(self, port: Path) -> None:
        class Babbler:
            def receive(self, data: bytes) -> None:
                pass

            def produce(self) -> bytes:
                return bytes(100)

        server = PtyServer(Babbler(), port)
        with pytest.raises(InstrumentError, match="still sends"):
            open_kit(port, timeout_s=0.3)
        server.close()

    def test_a_stream_that_stops(self, kit: Ppk2Simulator, port: Path) -> None:
        meter = open_kit(port, timeout_s=0.3)
        meter.configure(100_000, 0.1)
        kit.mute = True
        with pytest.raises(InstrumentError, match="timed out: no data"):
            meter.arm(0.01)
        kit.mute = False
        meter.arm(0.01)  # opens the port again
        assert len(meter.read()) == 1000
        meter.close()

    def test_a_kit_that_is_unplugged(self, trace: PowerTrace, port: Path) -> None:
        simulator = Ppk2Simulator(trace)
        server = PtyServer(simulator, port)
        meter = open_kit(port)
        meter.configure(100_000, 0.1)
        meter.arm(100.0)
        server.close()
        with pytest.raises(InstrumentError, match=r"meter: .*the port has vanished"):
            meter.read()
        with pytest.raises(InstrumentError, match="does not exist"):
            meter.arm(0.01)
        meter.close()

    def test_armed_before_it_was_configured(self, kit: Ppk2Simulator, port: Path) -> None:
        meter = open_kit(port)
        with pytest.raises(InstrumentError, match="before it was configured"):
            meter.arm(0.1)
        meter.configure(1000, 0.1)
        with pytest.raises(InstrumentError, match="read before it was armed"):
            meter.read()
        meter.close()


class TestComingBack:
    """A kit behind a hub that hiccups: its port is gone for a while."""

    @pytest.fixture
    def rig(
        self, kit: Ppk2Simulator, port: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[SimpleNamespace]:
        """A rig with the kit on ``usb:``, which is away for ``away`` looks from now on."""
        rig = SimpleNamespace(away=0)
        mine = SimpleNamespace(
            device=str(port), vid=0x1915, pid=0xC00A, serial_number="C0FFEE", location="1-2:1.1"
        )

        def comports() -> list[SimpleNamespace]:
            rig.away -= 1
            return [] if rig.away >= 0 else [mine]

        monkeypatch.setattr(usb_serial.list_ports, "comports", comports)
        rig.meter = Ppk2("usb:", 1.0, 1.0, Ppk2Options(SUPPLY_V))
        rig.rig = SimpleNamespace(
            name="bench", meter=SimpleNamespace(kind="ppk2", sample_rate_hz=1e5, range_a=0.1)
        )
        rig.meter._disconnect()  # as after the error that the trial ended with
        yield rig
        rig.meter.close()

    def test_it_is_waited_for(self, rig: SimpleNamespace) -> None:
        rig.away, events = 4, []
        recovery.set_up_meter(rig, lambda what, _: events.append(what))
        assert rig.away < 0 and events == ["meter set-up", "meter lost"]
        with rig.meter.acquisition(0.001) as acquisition:
            assert len(acquisition.read()) > 0

    def test_not_for_ever(self, rig: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recovery, "RETURN_S", 0.2)
        rig.away = 1_000_000
        with pytest.raises(InstrumentLostError, match="0 PPK2 fit"):
            recovery.set_up_meter(rig, lambda *_: None)
