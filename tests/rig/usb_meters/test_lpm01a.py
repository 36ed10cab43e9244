"""The LPM01A's driver: both data formats by hand, and against a simulated board on a pty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from usb_board import IDLE_A, SUPPLY_V, WINDOWS, board_trace

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig.meter_options import Lpm01aOptions
from hil.rig.meters.lpm01a import Lpm01a, frequency
from hil.rig.meters.lpm01a_stream import AsciiStream, BinaryStream, ValueRecording
from hil.sim.chip import MarkerEdge
from hil.sim.instruments.lpm01a import Lpm01aSimulator
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.pty_server import PtyServer

STAMP_0 = bytes.fromhex("f0f3 00000000 00 ffff")


def text(recording: ValueRecording, data: bytes, step: int = 5) -> AsciiStream:
    stream = AsciiStream(recording)
    for start in range(0, len(data), step):
        stream.feed(data[start : start + step])
    return stream


def binary(recording: ValueRecording, data: bytes, step: int = 3) -> BinaryStream:
    stream = BinaryStream(recording)
    for start in range(0, len(data), step):
        stream.feed(data[start : start + step])
    return stream


class TestFormats:
    def test_the_examples_of_the_help_text(self) -> None:
        decimal, hexadecimal = ValueRecording(10, 1000), ValueRecording(10, 1000)
        text(decimal, b"6409-07\r\n")
        binary(hexadecimal, STAMP_0 + bytes.fromhex("52a0"))
        assert decimal.values == pytest.approx([640.9e-6])
        assert hexadecimal.values == pytest.approx([640.9e-6], rel=1e-4)

    def test_text_between_prompts_and_nul_bytes(self) -> None:
        recording = ValueRecording(10, 1000)
        data = b"PowerShield > ack start\r\nTimeStamp: 000s 000ms, buff 00%\r\n\x001000-06\r\n"
        text(recording, data + b"2000-06\r\nsummary beg\r\n")
        assert recording.values == pytest.approx([1e-3, 2e-3])
        assert recording.lost == 0

    def test_events_turn_the_marker(self) -> None:
        recording = ValueRecording(10, 1000)
        text(recording, b"1000-06\nevent 7 ris\n1000-06\n1000-06\nevent 8 ris\n1000-06\n")
        assert recording.arrays()[1].tolist() == [False, True, True, False]

    def test_an_event_that_is_missing(self) -> None:
        with pytest.raises(InstrumentError, match="event 9 on D7 followed event 7"):
            text(ValueRecording(10, 1000), b"event 7 ris\n1000-06\nevent 9 ris\n")

    def test_a_torn_line_is_a_lost_sample(self) -> None:
        recording = ValueRecording(10, 1000)
        text(recording, b"1000-06\n10-06\n-06\n1000-06\n")
        assert (len(recording.values), recording.lost) == (2, 2)

    def test_time_stamps_find_what_is_missing_by_count(self) -> None:
        recording = ValueRecording(1000, 1000)
        stream = text(recording, b"1000-06\r\n" * 990)
        assert not stream.complete
        stream.feed(b"TimeStamp: 001s 000ms, buff 00%\r\n")
        assert stream.complete and recording.lost == 10

    def test_time_stamps_find_what_is_missing_by_time(self) -> None:
        recording = ValueRecording(3000, 1000)
        samples = b"1000-06\r\n" * 1000
        stamps = [b"TimeStamp: 00%ds 000ms, buff 00%%\r\n" % s for s in (0, 1, 4)]
        text(recording, stamps[0] + samples + stamps[1] + samples + stamps[2], step=4096)
        # 1000 samples in the last 3 s: 2000 did not come.
        assert recording.lost == 2000 and len(recording.arrays()[0]) == 1000

    @pytest.mark.parametrize("step", [1, 2, 3, 4096])
    def test_frames_between_binary_samples(self, step: int) -> None:
        recording = ValueRecording(10, 100_000)
        # Information, overcurrent and voltage between three samples.
        frames = "5100 f0f2 68656c6c6f ffff 5200 f0f5 ffff 5300 f0f7 0ce4 ffff"
        binary(recording, b"ack start\r\n" + STAMP_0 + bytes.fromhex(frames), step)
        assert recording.values == pytest.approx([0x100 / 16**5, 0x200 / 16**5, 0x300 / 16**5])
        assert recording.overcurrent

    @pytest.mark.parametrize(
        ("frame", "says"),
        [
            ("f0f1 6f6f7073 ffff", "the board objects: oops"),
            ("f0f4 ffff", "ended by itself"),
            ("f0f6 ffff", "switched the target off"),
            ("f0f5 0102", "damaged frame"),
        ],
    )
    def test_frames_that_end_it(self, frame: str, says: str) -> None:
        with pytest.raises(InstrumentError, match=says):
            binary(ValueRecording(10, 1000), STAMP_0 + bytes.fromhex(frame))

    def test_a_lost_byte_is_never_silent(self) -> None:
        block = bytes.fromhex("52a0") * 1000
        stamps = [b"\xf0\xf3" + (10 * n).to_bytes(4, "big") + b"\0\xff\xff" for n in range(4)]
        data = stamps[0] + block + stamps[1] + block + stamps[2] + block + stamps[3]
        for at in (9, 10, 700, 1500, 2008):
            recording = ValueRecording(3000, 100_000)
            stream = binary(recording, data[:at] + data[at + 1 :], step=4096)
            assert stream.complete and recording.lost > 0

    @pytest.mark.parametrize(("rate", "word"), [(1e5, "100k"), (1000, "1k"), (500.0, "500")])
    def test_rates_as_the_board_wants_them(self, rate: float, word: str) -> None:
        assert frequency(rate) == word


def pulses() -> PowerTrace:
    """The board's trace with a short low pulse on D7 at every edge of the marker."""
    trace = board_trace()
    edges = []
    for edge in trace.edges:
        edges += [MarkerEdge(edge.time_s, False), MarkerEdge(edge.time_s + 2e-5, True)]
    return PowerTrace(trace.power_w, trace.bin_s, trace.supply_v, edges)


@pytest.fixture
def board(port: Path) -> Iterator[Lpm01aSimulator]:
    simulator = Lpm01aSimulator(pulses())
    server = PtyServer(simulator, port)
    yield simulator
    server.close()


def open_board(port: Path, timeout_s: float = 5.0, marker: str = "events") -> Lpm01a:
    return Lpm01a(str(port), timeout_s, 1.0, Lpm01aOptions(SUPPLY_V, marker))


class TestOnAPty:
    def test_identity_and_settings(self, board: Lpm01aSimulator, port: Path) -> None:
        meter = open_board(port)
        assert meter.identify() == "ST,LPM01A,203637364D465012,1.0.6"
        meter.configure(3000, 0.05)
        assert meter.sample_interval_s == pytest.approx(1 / 5000) and meter.range_a == 0.05
        assert board.commands == [
            "stop", "powershield", "version", "htc", "volt 3000m", "freq 5k", "acqtime inf",
            "acqmode dyn", "output energy", "format ascii_dec", "trigsrc sw", "trigdelay 0",
            "eventsrc d7 fal", "pwr on nostatus",
        ]  # fmt: skip
        meter.close()

    def test_windows_by_events(self, board: Lpm01aSimulator, port: Path) -> None:
        meter = open_board(port)
        meter.configure(5000, 0.05)
        with meter.acquisition(0.03) as acquisition:
            waveform = acquisition.read()
        assert len(waveform) == 265 and waveform.lost_samples == 0
        assert waveform.origin is Origin.MODELLED
        plans = [PlannedWindow(0, 1, round((b - a) * 1e8)) for a, b, _ in WINDOWS]
        for window, (start_s, end_s, current_a) in zip(
            measure_windows(waveform, plans, 1e8, 0), WINDOWS, strict=True
        ):
            true_uj = SUPPLY_V * current_a * (end_s - start_s) * 1e6
            # An edge is known to one sample of 200 us; its slack is part of the uncertainty.
            limit = 2 * window.edge_uncertainty_uj + 2e-3 * true_uj
            assert window.energy_uj == pytest.approx(true_uj, abs=limit)
        meter.close()

    def test_current_without_a_marker_at_the_full_rate(
        self, board: Lpm01aSimulator, port: Path
    ) -> None:
        meter = open_board(port, marker="none")
        meter.configure(100_000, 0.05)
        meter.arm(0.03)
        waveform = meter.read()
        assert len(waveform) == 3000 and not waveform.marker.any()
        assert waveform.current_a[1005:2195] == pytest.approx(0.030, rel=4e-3)
        assert waveform.current_a[:990] == pytest.approx(IDLE_A, rel=4e-3)
        assert "output current" in board.commands and "format bin_hexa" in board.commands
        meter.close()

    def test_windows_without_a_marker_are_refused(self, board: Lpm01aSimulator, port: Path) -> None:
        meter = open_board(port, marker="none")
        meter.configure(1000, 0.05)
        with pytest.raises(InstrumentError, match=r"samples no marker.*cannot measure windows"):
            meter.acquisition(0.1)
        meter.close()

    @pytest.mark.parametrize(("marker", "rate"), [("none", 50_000), ("none", 10_000)])
    def test_lost_samples_are_told(
        self, board: Lpm01aSimulator, port: Path, marker: str, rate: float
    ) -> None:
        meter = open_board(port, marker=marker)
        meter.configure(rate, 0.05)
        board.lose(7)
        meter.arm(0.06)
        waveform = meter.read()
        assert (len(waveform), waveform.lost_samples) == (round(0.06 * rate) - 7, 7)
        meter.close()

    def test_overload(self, port: Path) -> None:
        simulator = Lpm01aSimulator(board_trace(((0.01, 0.02, 0.08),)))
        server = PtyServer(simulator, port)
        meter = open_board(port, marker="none")
        meter.configure(50_000, 0.05)
        meter.arm(0.03)
        waveform = meter.read()
        assert waveform.overload and waveform.current_a.max() == pytest.approx(0.05)
        meter.close()
        server.close()

    def test_a_stream_that_a_dead_program_left_running(
        self, board: Lpm01aSimulator, port: Path
    ) -> None:
        board.receive(b"htc\nstart\n")
        meter = open_board(port)
        meter.configure(5000, 0.05)
        meter.arm(0.03)
        assert meter.read().lost_samples == 0
        meter.close()


class TestFailures:
    @pytest.mark.parametrize(
        ("marker", "rate", "range_a", "says"),
        [
            ("events", 10_000, 0.05, "up to 5000 samples a second with marker 'events'"),
            ("none", 200_000, 0.05, "up to 100000 samples"),
            ("none", 1000, 0.2, r"up to 0.05 A, 0.2 A were asked"),
        ],
    )
    def test_beyond_the_board(
        self, board: Lpm01aSimulator, port: Path, marker: str, rate: float, range_a: float,
        says: str,
    ) -> None:  # fmt: skip
        with pytest.raises(InstrumentError, match=says):
            open_board(port, marker=marker).configure(rate, range_a)

    def test_a_refusal_is_quoted(
        self, board: Lpm01aSimulator, port: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meter = open_board(port)
        monkeypatch.setattr("hil.sim.instruments.lpm01a.CHOICES", {"acqtime": ("10",)})
        with pytest.raises(InstrumentError, match=r"freq 1k: .*Error detail: unknown command"):
            meter.configure(1000, 0.05)

    def test_a_silent_device(self, board: Lpm01aSimulator, port: Path) -> None:
        board.mute = True
        with pytest.raises(InstrumentError, match=r"powershield: timed out.*is this a LPM01A"):
            open_board(port, timeout_s=0.2)

    def test_another_device(self, port: Path) -> None:
        class Echo:
            def __init__(self) -> None:
                self.heard = b""

            def receive(self, data: bytes) -> None:
                self.heard += data

            def produce(self) -> bytes:
                said, self.heard = self.heard, b""
                return b"".join(b"ack " + line + b" what?\n" for line in said.splitlines())

        server = PtyServer(Echo(), port)
        with pytest.raises(InstrumentError, match=r"answered 'what\?'; is this an LPM01A"):
            open_board(port)
        server.close()

    def test_an_event_that_is_missing(self, board: Lpm01aSimulator, port: Path) -> None:
        meter = open_board(port)
        meter.configure(5000, 0.05)
        board.skip_event(2)
        with pytest.raises(InstrumentError, match=r"meter: event 3 on D7.*level is unknown"):
            meter.arm(0.03)
            meter.read()

    def test_a_board_that_is_unplugged(self, port: Path) -> None:
        server = PtyServer(Lpm01aSimulator(pulses()), port)
        meter = open_board(port)
        meter.configure(5000, 0.05)
        meter.arm(1000.0)
        server.close()
        with pytest.raises(InstrumentError, match="the port has vanished"):
            meter.read()


def test_simulated_numbers_are_those_of_the_manual() -> None:
    """The simulator's own encoders, by the help text's example and round trips by hand."""
    from hil.sim.instruments import lpm01a

    assert lpm01a._text(640.9e-6) == b"6409-07\r\n"
    assert lpm01a._binary(640.9e-6).hex() == "52a0"
    assert lpm01a._text(9.99999e-3) == b"1000-05\r\n"
    for value in np.geomspace(1e-9, 0.05, 50):
        digits = lpm01a._binary(value)
        power, mantissa = digits[0] >> 4, (digits[0] & 15) << 8 | digits[1]
        assert mantissa / 16**power == pytest.approx(value, rel=1 / 256)
