"""The virtual meter against its manual, hand-made energies, and its own specification."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.meter import VirtualMeter, header_forms
from hil.sim.meter_frontend import CODE_MAX, MAX_GAIN_ERROR, MAX_OFFSET, Specimen
from hil.sim.wires_lines import Wait

MANUAL = Path(__file__).parents[2] / "docs" / "virtual-meter.md"
BIN_S = 2e-6
SUPPLY_V = 2.0


def feed(meter: VirtualMeter, power_w: np.ndarray, edges: list[MarkerEdge], first: int = 0) -> None:
    """Give the meter the power of consecutive bins."""
    end_s = (first + len(power_w)) * BIN_S
    meter.feed(end_s, EnergyBins(first, BIN_S, power_w * BIN_S), edges)


def block(answer: bytes | None, kind: str) -> np.ndarray:
    assert answer is not None and answer[:1] == b"#" and answer[-1:] == b"\n"
    digits = int(answer[1:2])
    size = int(answer[2 : 2 + digits])
    data = answer[2 + digits : -1]
    assert len(data) == size
    return np.frombuffer(data, kind)


def acquire(
    meter: VirtualMeter, points: int, interval_s: float, range_a: float, power_w: np.ndarray,
    edges: list[MarkerEdge] | None = None,
) -> tuple[np.ndarray, np.ndarray, list[float]]:  # fmt: skip
    """Current, marker and statistics of an acquisition begun at time zero."""
    for line in (f"CURR:RANG {range_a}", f"SWE:TINT {interval_s}", f"SWE:POIN {points}", "INIT"):
        assert meter.execute(line) is None
    feed(meter, power_w, edges or [])
    current = block(meter.execute("FETC:ARR:CURR?"), ">f4")
    marker = block(meter.execute("FETC:ARR:MARK?"), "u1")
    statistics = meter.execute("FETC:STAT?")
    assert statistics is not None
    return current, marker, [float(word) for word in statistics.split(b",")]


class TestCommands:
    def test_every_command_is_in_the_manual(self) -> None:
        text = MANUAL.read_text(encoding="utf-8")
        for header in VirtualMeter(3.3).headers:
            assert f"`{header}" in text, header

    @pytest.mark.parametrize(
        ("header", "forms"),
        [
            ("*IDN", {"*IDN"}),
            ("CURRent:RANGe", {"CURR:RANG", "CURRENT:RANG", "CURR:RANGE", "CURRENT:RANGE"}),
            ("INIT[:IMM]", {"INIT", "INIT:IMM"}),
            ("[SENSe:]X", {"X", "SENS:X", "SENSE:X"}),
        ],
    )
    def test_header_forms(self, header: str, forms: set[str]) -> None:
        assert header_forms(header) == forms

    def test_identity_follows_the_seed(self) -> None:
        assert VirtualMeter(3.3, 12).execute("*IDN?") == b"HIL,VPM1,V000012,1\n"
        assert Specimen.from_seed(3) == Specimen.from_seed(3) != Specimen.from_seed(4)

    @pytest.mark.parametrize(
        ("line", "query", "answer"),
        [
            ("CURR:RANG 0.02", "curr:rang?", b"0.1\n"),
            ("SENSE:CURRENT:RANGE MIN", "SENS:CURR:RANG?", b"0.001\n"),
            (":sens:curr:rang 1", ":CURR:RANG?", b"1\n"),
            ("SWE:TINT 3.2e-6", "SWE:TINT?", b"4e-06\n"),
            ("SWE:TINT 3e-6", "SWE:TINT?", b"3e-06\n"),
            ("SWE:TINT DEF", "SWE:TINT?", b"1e-05\n"),
            ("SWEEP:POINTS 77", "SWE:POIN?", b"77\n"),
            ("SWE:POIN MAX", "SWE:POIN?", b"4000000\n"),
            ("FORMAT:BORDER swapped", "FORM:BORD?", b"SWAP\n"),
        ],
    )
    def test_settings_echo_what_is_used(self, line: str, query: str, answer: bytes) -> None:
        meter = VirtualMeter(3.3)
        assert meter.execute(line) is None
        assert meter.execute(query) == answer
        assert meter.execute("SYST:ERR?") == b'0,"No error"\n'

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("FLY", -113),
            ("INIT?", -113),
            ("*IDN", -113),
            ("*IDN? 3", -108),
            ("INIT NOW", -108),
            ("CURR:RANG", -109),
            ("CURR:RANG much", -104),
            ("CURR:RANG 1.5", -222),
            ("CURR:RANG -1", -222),
            ("CURR:RANG nan", -222),
            ("SWE:TINT 1e-7", -222),
            ("SWE:POIN 0", -222),
            ("SWE:POIN 1.5", -222),
            ("SWE:POIN 4000001", -222),
            ("FORM:BORD LEFT", -224),
            ("FETC:ARR:CURR?", -230),
            ("SWE:POIN 5;SWE:TINT 1", -104),
        ],
    )
    def test_refusals_wait_in_the_queue(self, line: str, code: int) -> None:
        meter = VirtualMeter(3.3)
        assert meter.execute(line) is None
        answer = meter.execute("SYST:ERR?")
        assert answer is not None and answer.startswith(f'{code},"'.encode())
        assert meter.execute("SYSTEM:ERROR:NEXT?") == b'0,"No error"\n'

    def test_the_queue_overflows_at_its_end(self) -> None:
        meter = VirtualMeter(3.3)
        for _ in range(30):
            meter.execute("FLY")
        answers = [meter.execute("SYST:ERR?") for _ in range(21)]
        assert answers[19] == b'-350,"Queue overflow"\n' and answers[20] == b'0,"No error"\n'
        meter.execute("FLY")
        meter.execute("*CLS")
        assert meter.execute("SYST:ERR?") == b'0,"No error"\n'

    def test_an_acquisition_holds_settings_and_answers(self) -> None:
        meter = VirtualMeter(SUPPLY_V)
        meter.execute("INIT")
        assert meter.execute("STAT:OPER:COND?") == b"16\n"
        for query in ("*OPC?", "FETC:ARR:CURR?", "FETC:STAT?"):
            with pytest.raises(Wait):
                meter.execute(query)
        for line, code in (("INIT", b"-213"), ("SWE:POIN 3", b"-221")):
            meter.execute(line)
            assert (meter.execute("SYST:ERR?") or b"").startswith(code)
        meter.execute("ABOR")
        assert meter.execute("STAT:OPER:COND?") == b"0\n" and meter.execute("*OPC?") == b"1\n"

    def test_a_halt_ends_it_empty_with_the_reason(self) -> None:
        meter = VirtualMeter(SUPPLY_V)
        meter.execute("INIT")
        meter.halt("the chip halted")
        assert meter.execute("FETC:ARR:CURR?") == b"#10\n"
        assert b"-230" in (meter.execute("SYST:ERR?") or b"")


class TestSamples:
    def test_steps_of_power_come_back_within_the_specification(self) -> None:
        meter = VirtualMeter(SUPPLY_V, seed=5)
        levels_w = np.repeat([0.02, 0.12, 0.05], 5000)
        current, _, statistics = acquire(meter, 2900, 10e-6, 0.1, levels_w)
        assert len(current) == 2900 and statistics[1:3] == [0, 0]
        for level_w, part in zip((0.02, 0.12, 0.05), (300, 1300, 2300), strict=True):
            true_a = level_w / SUPPLY_V
            mean = float(np.mean(current[part : part + 500]))
            noise = 2e-4 * 0.1 * np.sqrt(0.1) / np.sqrt(500)
            limit = true_a * MAX_GAIN_ERROR + 0.1 * MAX_OFFSET + 5 * noise
            assert mean == pytest.approx(true_a, abs=limit)

    def test_energy_is_kept_where_a_sample_covers_parts_of_bins(self) -> None:
        # 1 W in every seventh bin; 3 us samples over 2 us bins, so no border coincides.
        power_w = np.where(np.arange(21000) % 7 == 0, 0.7, 0.0)
        meter = VirtualMeter(SUPPLY_V, seed=1)
        current, _, _ = acquire(meter, 13900, 3e-6, 1.0, power_w)
        assert np.mean(current) * SUPPLY_V == pytest.approx(0.1, abs=1e-3)

    def test_noise_falls_with_the_root_of_the_interval(self) -> None:
        power_w = np.full(60_000, 0.1)
        fast, _, _ = acquire(VirtualMeter(SUPPLY_V), 20_000, 1e-6, 0.1, power_w)
        slow, _, _ = acquire(VirtualMeter(SUPPLY_V), 7_000, 16e-6, 0.1, power_w)
        assert np.std(fast) == pytest.approx(2e-5, rel=0.05)
        step_a = 0.1 / CODE_MAX  # rounding adds step^2 / 12
        assert np.std(slow) == pytest.approx(np.hypot(5e-6, step_a / 12**0.5), rel=0.05)

    @pytest.mark.parametrize("range_a", [0.1, 1.0])
    def test_the_converters_steps_are_visible(self, range_a: float) -> None:
        current, _, _ = acquire(VirtualMeter(SUPPLY_V), 2000, 5e-6, range_a, np.full(6000, 0.15))
        steps = current.astype(np.float64) / (range_a / CODE_MAX)
        assert np.allclose(steps, np.rint(steps), atol=2e-3)
        assert 3 < len(np.unique(np.rint(steps))) < 200

    def test_overload_clips_and_counts(self) -> None:
        power_w = np.repeat([0.001, 0.5], 5000)
        current, _, statistics = acquire(VirtualMeter(SUPPLY_V), 1900, 10e-6, 0.01, power_w)
        assert statistics[1] == pytest.approx(900, abs=2)
        assert current.max() == pytest.approx(0.01, rel=1e-4)

    def test_lost_samples(self) -> None:
        meter = VirtualMeter(SUPPLY_V)
        meter.lose_next = 30
        current, marker, statistics = acquire(meter, 900, 10e-6, 0.1, np.full(5000, 0.1))
        assert len(current) == len(marker) == 870 and statistics[0] == 870 and statistics[2] == 30
        assert (meter.execute("*OPC?"), meter.lose_next) == (b"1\n", 0)

    def test_byte_order(self) -> None:
        meter = VirtualMeter(SUPPLY_V)
        acquire(meter, 10, 10e-6, 0.1, np.full(100, 0.1))
        big = meter.execute("FETC:ARR:CURR?") or b""
        meter.execute("FORM:BORD SWAP")
        little = meter.execute("FETC:ARR:CURR?") or b""
        assert struct.unpack(">10f", big[4:-1]) == struct.unpack("<10f", little[4:-1])

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(st.floats(1e-4, 8e-3), min_size=1, max_size=6),
        st.integers(1, 60),
        st.integers(0, 99),
    )
    def test_marker_is_the_level_at_the_middle_of_each_sample(
        self, times_s: list[float], ticks: int, seed: int
    ) -> None:
        interval_s = ticks * 1e-6
        edges = [MarkerEdge(t, i % 2 == 0) for i, t in enumerate(sorted(times_s))]
        points = int(9e-3 / interval_s)
        meter = VirtualMeter(SUPPLY_V, seed)
        _, marker, statistics = acquire(meter, points, interval_s, 0.1, np.zeros(5000), edges)
        t0_s = statistics[3]
        assert 0 <= t0_s < interval_s
        for i in range(0, points, 1 + points // 50):
            middle_s = t0_s + (i + 0.5) * interval_s
            before = [edge.level for edge in edges if edge.time_s < middle_s - 1e-9]
            after = [edge.level for edge in edges if edge.time_s <= middle_s + 1e-9]
            assert bool(marker[i]) in {(before or [False])[-1], (after or [False])[-1]}

    def test_the_marker_may_be_high_at_the_start(self) -> None:
        meter = VirtualMeter(SUPPLY_V)
        feed(meter, np.zeros(10), [MarkerEdge(1e-6, True)])
        meter.execute("SWE:POIN 50")
        meter.execute("INIT")
        feed(meter, np.zeros(500), [MarkerEdge(300e-6, False)], first=10)
        marker = block(meter.execute("FETC:ARR:MARK?"), "u1")
        assert marker[0] == 1 and marker[-1] == 0 and 26 <= marker.sum() <= 29

    def test_the_same_seed_gives_the_same_samples(self) -> None:
        runs = [
            acquire(VirtualMeter(SUPPLY_V, 9), 500, 1e-5, 0.1, np.full(3000, 0.1)) for _ in "ab"
        ]
        assert np.array_equal(runs[0][0], runs[1][0])
