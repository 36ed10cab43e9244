"""The paper's radios by its own formula, and traces against a second-by-second simulation."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clio.radio import BLE, LORA, RADIOS, WIFI_AX, ZIGBEE, Radio, radio
from hil.clio.traces import BandwidthTrace, load_trace
from hil.core.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "hsdpa"


def test_radios_of_section_5_5() -> None:
    table = [(r.bandwidth_kbps, r.tx_power_w) for r in (LORA, ZIGBEE, BLE, WIFI_AX)]
    assert table == [(50, 0.060), (200, 0.060), (250, 0.015), (1000, 0.100)]
    # 3,072 bytes of a CIFAR-10 image over BLE: 24,576 bit / 250 kbit/s at 15 mW.
    assert BLE.latency_s(3072) == pytest.approx(0.098304)
    assert BLE.energy_uj(3072) == pytest.approx(1474.56)
    assert radio("LoRa") is LORA and set(RADIOS) == {"lora", "zigbee", "ble", "wifi"}
    with pytest.raises(DataError, match="unknown radio 'nfc'; known: lora, zigbee, ble, wifi"):
        radio("nfc")


def test_connection_latency_is_hidden_by_computing() -> None:
    sleepy = Radio("sleepy", 100.0, 0.05, connection_latency_s=0.04)
    assert sleepy.latency_s(1250) == pytest.approx(0.14)
    assert sleepy.latency_s(1250, awake_s=0.03) == pytest.approx(0.11)
    assert sleepy.latency_s(1250, awake_s=1.0) == pytest.approx(0.10)
    assert sleepy.latency_s(0) == 0.0
    assert sleepy.energy_uj(1250) == pytest.approx(0.1 * 0.05 * 1e6)


def test_packets_add_their_overhead() -> None:
    ble40 = Radio("BLE 4.0", 250.0, 0.015, packet_payload_bytes=20, packet_overhead_bytes=14)
    assert [ble40.sent_bytes(n) for n in (0, 1, 20, 21)] == [0, 15, 34, 49]
    assert ble40.at(125.0).airtime_s(20) == pytest.approx(34 * 8 / 125_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bandwidth_kbps": 0.0},
        {"bandwidth_kbps": float("nan")},
        {"tx_power_w": -1.0},
        {"connection_latency_s": -0.1},
        {"packet_payload_bytes": 0},
    ],
)
def test_impossible_radios_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="radio x: "):
        Radio(**{"name": "x", "bandwidth_kbps": 1.0, "tx_power_w": 1.0, **wrong})  # type: ignore[arg-type]


def test_a_trace_file(tmp_path: Path) -> None:
    path = tmp_path / "bus.csv"
    path.write_text("duration_ms,bandwidth_kbps\n1000,800\n500,0\n2000,400\n")
    trace = load_trace(path)
    assert trace == BandwidthTrace("bus", (1.0, 0.5, 2.0), (800.0, 0.0, 400.0))
    assert (trace.total_s, trace.mean_kbps) == (3.5, pytest.approx(1600 / 3.5))
    assert [trace.at(t) for t in (0, 0.99, 1.0, 1.5, 3.49, 3.5)] == [800, 800, 0, 400, 400, 800]
    # 110,000 bytes from 0: 800 kbit in the first second, none in the outage, 80 kbit at 400.
    assert trace.transfer_s(110_000) == pytest.approx(1.7)
    # Over the end: 0.5 s at 400 kbit/s, then 0.25 s at 800.
    assert trace.transfer_s(50_000, start_s=3.0) == pytest.approx(0.75)
    assert trace.transfer_s(0) == 0.0
    assert trace.scaled(0.5).bandwidths_kbps == (400, 0, 200)
    assert trace.scaled(0.5).name == "bus x0.5"


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=6),
    st.integers(1, 20),
    st.integers(0, 30),
)
def test_transfers_against_stepping_through_time(
    steps: list[tuple[int, int]], blocks: int, start: int
) -> None:
    """Whole seconds and whole kbit (125 bytes), so that one second a step is exact."""
    trace = BandwidthTrace(
        "t", tuple(float(d) for d, _ in steps), tuple(float(b) for _, b in steps)
    )
    seconds = [b for d, b in steps for _ in range(d)]
    if not any(seconds):
        with pytest.raises(DataError, match="never arrive"):
            trace.transfer_s(blocks * 125, start)
        return
    left, now = float(blocks), start
    while left > seconds[now % len(seconds)]:
        left -= seconds[now % len(seconds)]
        now += 1
    expected = now - start + (left / seconds[now % len(seconds)] if left else 0.0)
    assert trace.transfer_s(blocks * 125, start) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header is duration_ms,bandwidth_kbps, not ''"),
        ("time,rate\n1,2\n", "line 1: the header is .*not 'time,rate'"),
        ("duration_ms,bandwidth_kbps\n", "a trace without a step"),
        ("duration_ms,bandwidth_kbps\n1000,5\n1000\n", "line 3: two numbers belong here"),
        ("duration_ms,bandwidth_kbps\n1000,fast\n", "line 2: two numbers belong here.*fast"),
        ("duration_ms,bandwidth_kbps\n0,5\n", "line 2: a duration is positive"),
        ("duration_ms,bandwidth_kbps\n1000,-5\n", "line 2: a bandwidth is not negative"),
        ("duration_ms,bandwidth_kbps\n1000,nan\n", "line 2: a bandwidth is not negative"),
    ],
)
def test_damaged_traces_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_trace(path)
    assert str(path) in str(caught.value)


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the trace"):
        load_trace(tmp_path / "none.csv")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the HSDPA logs are not beside the checkout")
def test_the_real_logs_load() -> None:
    files = [path for path in sorted(SHARED.glob("*.csv")) if path.name != "manifest.csv"]
    traces = [load_trace(path) for path in files]
    assert len(traces) >= 75
    assert all(trace.total_s > 60 and trace.mean_kbps > 0 for trace in traces)
