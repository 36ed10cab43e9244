"""The Joulescope's driver behind the library's calls, and with the real library and no device."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from usb_board import IDLE_A, SUPPLY_V, WINDOWS

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig.meter_options import JoulescopeOptions
from hil.rig.meters.joulescope import Joulescope, StreamBuffer
from hil.sim.instruments.joulescope import SimulatedLibrary
from hil.sim.instruments.power_trace import PowerTrace


@pytest.fixture(params=["u/js220/001234", "u/js110/004321"])
def library(trace: PowerTrace, request: pytest.FixtureRequest) -> Iterator[SimulatedLibrary]:
    library = SimulatedLibrary(trace, request.param)
    yield library
    library.finalize()


@pytest.fixture
def js220(trace: PowerTrace) -> Iterator[SimulatedLibrary]:
    library = SimulatedLibrary(trace)
    yield library
    library.finalize()


def opened(
    library: SimulatedLibrary, resource: str = "", timeout_s: float = 5.0, **options: object
) -> Joulescope:
    return Joulescope(
        resource or library.path,
        timeout_s,
        1.0,
        JoulescopeOptions(**options),  # type: ignore[arg-type]
        library=lambda: library,
        origin=Origin.MODELLED,
    )


def acquired(meter: Joulescope, library: SimulatedLibrary, duration_s: float) -> Waveform:
    meter.arm(duration_s)
    library.start_board()
    return meter.read()


def message(start: int, every: int, data: np.ndarray) -> dict[str, object]:
    return {"sample_id": start, "decimate_factor": every, "data": data}


class TestStreams:
    def test_samples_lie_at_their_ids(self) -> None:
        stream = StreamBuffer(packed=False)
        stream("t", message(100, 2, np.array([1, 2, 3], np.float32)))
        stream("t", message(110, 2, np.array([6, 7], np.float32)))
        assert stream.next_id == 114
        got = stream.array(98, 2, 8)
        assert np.array_equal(got, [np.nan, 1, 2, 3, np.nan, np.nan, 6, 7], equal_nan=True)

    def test_bits_are_packed_from_the_least(self) -> None:
        stream = StreamBuffer(packed=True)
        stream("t", message(0, 1, np.array([0b00000101], np.uint8)))
        assert stream.array(0, 1, 4).tolist() == [1, 0, 1, 0]

    def test_filling_bits_give_way_to_the_next_message(self) -> None:
        stream = StreamBuffer(packed=True)
        stream("t", message(0, 1, np.array([0b00000111], np.uint8)))  # 3 bits, filled with zeros
        stream("t", message(3, 1, np.array([0b00011111], np.uint8)))
        assert stream.array(0, 1, 8).all()

    def test_the_librarys_memory_is_copied(self) -> None:
        stream, data = StreamBuffer(packed=False), np.ones(3, np.float32)
        stream("t", message(0, 2, data))
        data[:] = 9
        assert stream.array(0, 2, 3).tolist() == [1, 1, 1]


def test_identity_and_settings(js220: SimulatedLibrary) -> None:
    meter = opened(js220, "js220")
    assert meter.identify() == "Jetperch,JS220,001234,1.3.2"
    meter.configure(100_000, 0.1)
    assert (meter.sample_interval_s, meter.range_a) == (pytest.approx(1e-5), 10.0)
    assert js220.published == [
        ("h/fs", 1_000_000),
        ("s/v/range/mode", "auto"),
        ("s/i/range/mode", "auto"),
        ("c/gpio/vref", "3v3"),
    ]
    meter.close()
    assert js220.finalized and not js220.is_open


def test_a_js110_measures_in_one_range(trace: PowerTrace) -> None:
    library = SimulatedLibrary(trace, "u/js110/004321")
    meter = opened(library, "js110", marker=1, io_v=1.8)
    meter.configure(100_000, 0.02)
    assert meter.identity == "Jetperch,JS110,004321,?" and meter.range_a == 0.18
    assert library.published == [
        ("h/fs", 2_000_000),
        ("s/v/range/select", "15 V"),
        ("s/i/range/mode", "nan"),
        ("s/i/range/select", "180 mA"),
        ("s/extio/voltage", 1800),
    ]
    meter.configure(100_000, 0.018)
    waveform = acquired(meter, library, 0.03)  # of 30 mA
    assert waveform.overload and waveform.current_a.max() == pytest.approx(0.018)
    meter.close()


def test_the_profile_comes_back(library: SimulatedLibrary) -> None:
    meter = opened(library)
    meter.configure(100_000, 0.1)
    with meter.acquisition(0.03) as acquisition:
        library.start_board()
        waveform = acquisition.read()
    assert waveform.lost_samples == 0 and len(waveform) == 5300
    assert waveform.supply_v == pytest.approx(SUPPLY_V) and waveform.origin is Origin.MODELLED
    plans = [PlannedWindow(0, 1, round((b - a) * 1e8)) for a, b, _ in WINDOWS]
    for window, (start_s, end_s, current_a) in zip(
        measure_windows(waveform, plans, 1e8, 0), WINDOWS, strict=True
    ):
        true_uj = SUPPLY_V * current_a * (end_s - start_s) * 1e6
        # Exact means and exact markers: only the place of the edges is open.
        assert window.energy_uj == pytest.approx(true_uj, rel=1e-4)
        assert window.base_power_w == pytest.approx(SUPPLY_V * IDLE_A, rel=1e-4)
    meter.close()


def test_a_supply_that_sags_under_the_load(js220: SimulatedLibrary) -> None:
    """Half an ohm: with one voltage the smaller window would read 0.3 % too little."""
    js220.source_ohms = 0.5
    meter = opened(js220)
    meter.configure(100_000, 0.1)
    waveform = acquired(meter, js220, 0.053)
    assert waveform.source_ohms == pytest.approx(0.5, rel=1e-3)
    assert waveform.supply_v == pytest.approx(SUPPLY_V, rel=1e-5)
    plans = [PlannedWindow(0, 1, round((b - a) * 1e8)) for a, b, _ in WINDOWS]
    for window, (start_s, end_s, current_a) in zip(
        measure_windows(waveform, plans, 1e8, 0), WINDOWS, strict=True
    ):
        true_uj = (SUPPLY_V - 0.5 * current_a) * current_a * (end_s - start_s) * 1e6
        assert window.energy_uj == pytest.approx(true_uj, rel=1e-4)
        assert window.base_power_w == pytest.approx((SUPPLY_V - 1e-3) * IDLE_A, rel=1e-4)
    meter.close()


def test_the_fastest_rate(library: SimulatedLibrary) -> None:
    meter = opened(library, marker=1, io_v=3.3)
    meter.configure(1_000_000, 0.1)
    waveform = acquired(meter, library, 0.025)
    assert meter.sample_interval_s == pytest.approx(1e-6)
    edges_s = np.flatnonzero(np.diff(waveform.marker.astype(int))) * 1e-6
    assert np.diff(edges_s) == pytest.approx([WINDOWS[0][1] - WINDOWS[0][0]], abs=1.1e-6)
    meter.close()


def test_ids_that_never_come_are_lost(js220: SimulatedLibrary) -> None:
    js220.lose("s/i", 40_000, 2 * 250)  # 250 currents at 1 MS/s
    meter = opened(js220)
    meter.configure(100_000, 0.1)
    waveform = acquired(meter, js220, 0.03)
    assert waveform.lost_samples == 25  # means of ten
    assert len(waveform) + waveform.lost_samples == 3000
    meter.close()


def test_a_marker_that_never_comes_is_lost(js220: SimulatedLibrary) -> None:
    js220.lose("s/gpi/0", 30_000, 2000)  # 1 ms
    meter = opened(js220)
    meter.configure(100_000, 0.1)
    assert acquired(meter, js220, 0.03).lost_samples == pytest.approx(100, abs=1)
    meter.close()


def test_currents_that_are_no_number_are_lost(js220: SimulatedLibrary) -> None:
    js220.spoil(12_000, 35)
    meter = opened(js220)
    meter.configure(1_000_000, 0.1)
    assert acquired(meter, js220, 0.03).lost_samples == 35
    meter.close()


def test_overload(trace: PowerTrace) -> None:
    strong = PowerTrace(trace.power_w * 400, trace.bin_s, SUPPLY_V, trace.edges)  # 12 A
    library = SimulatedLibrary(strong)
    meter = opened(library)
    meter.configure(10_000, 1.0)
    waveform = acquired(meter, library, 0.03)
    assert waveform.overload and waveform.current_a.max() == 10.0
    meter.close()


class TestFailures:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"io_v": 1.8}, "no input level of 1.8 V.*3.3, or 0 for the level on its VREF pin"),
            ({"marker": 2}, "inputs 0 to 1, not 2"),
        ],
    )
    def test_what_a_model_does_not_have(
        self, trace: PowerTrace, options: dict[str, object], says: str
    ) -> None:
        path = "u/js110/1" if "marker" in options else "u/js220/1"
        with pytest.raises(InstrumentError, match=says):
            opened(SimulatedLibrary(trace, path), **options).configure(1000, 0.1)

    def test_another_instrument_is_refused(self, js220: SimulatedLibrary) -> None:
        with pytest.raises(InstrumentError, match=r"js220/009999: 0 .*attached are: u/js220/00123"):
            opened(js220, "js220/009999")
        assert js220.finalized

    @pytest.mark.parametrize(("rate", "range_a"), [(3e6, 0.1), (1000, 11.0)])
    def test_beyond_the_instrument(
        self, js220: SimulatedLibrary, rate: float, range_a: float
    ) -> None:
        with pytest.raises(InstrumentError, match="takes 1e\\+06 samples a second up to 10 A"):
            opened(js220).configure(rate, range_a)

    def test_no_data(self, js220: SimulatedLibrary) -> None:
        meter = opened(js220, timeout_s=0.2)
        meter.configure(1000, 0.1)
        js220.mute = True
        with pytest.raises(InstrumentError, match="timed out: no data from s/i, s/v, s/gpi/0"):
            meter.arm(0.1)

    def test_unplugged(self, js220: SimulatedLibrary) -> None:
        meter = opened(js220, timeout_s=0.2)
        meter.configure(1000, 0.1)
        meter.arm(1.0)
        js220.gone = True
        with pytest.raises(InstrumentError, match="timed out: incomplete from"):
            meter.read()
        with pytest.raises(InstrumentError, match="attached are: none"):
            meter.arm(0.1)
        meter.close()

    def test_read_before_it_was_armed(self, js220: SimulatedLibrary) -> None:
        with pytest.raises(InstrumentError, match="read before it was armed"):
            opened(js220).read()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyjoulescope_driver", None)
    with pytest.raises(InstrumentError, match=r"pip install 'hil-clio\[joulescope\]'"):
        Joulescope("js220", 1.0, 1.0, JoulescopeOptions())


def test_the_real_library_without_an_instrument() -> None:
    driver = pytest.importorskip("pyjoulescope_driver", reason="extra 'joulescope' not installed")
    with driver.Driver() as library:
        if library.device_paths():
            pytest.skip("a Joulescope is attached")
    with pytest.raises(InstrumentError, match=r"js220: 0 Joulescopes fit; attached are: none"):
        Joulescope("js220", 1.0, 1.0, JoulescopeOptions())
