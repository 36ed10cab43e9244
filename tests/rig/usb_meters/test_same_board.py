"""One board's work as three meters see it: the virtual meter live, two others from its trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scripted_bench import Bench

from hil.core.trial import WindowSample
from hil.core.waveform import Waveform
from hil.measure.clock import clock_ratio
from hil.measure.energy import PlannedWindow, measure_windows
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.meter import Meter
from hil.rig.meter_options import JoulescopeOptions, Ppk2Options
from hil.rig.meters.joulescope import Joulescope
from hil.rig.meters.ppk2 import Ppk2
from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.instruments.joulescope import SimulatedLibrary
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.ppk2 import Ppk2Simulator
from hil.sim.instruments.pty_server import PtyServer
from hil.sim.scripted_chip import CLOCK_HZ, TOY_NETWORK, ScriptedChip
from hil.sim.twin import Twin

COUNTS = (4, 8, 80)


@dataclass
class Tap:
    """All that the twin gives to its meter, once more."""

    bins: list[EnergyBins] = field(default_factory=list)
    edges: list[MarkerEdge] = field(default_factory=list)

    def trace(self, supply_v: float) -> PowerTrace:
        parts = [part for part in self.bins if len(part.energy_j)]
        whole = EnergyBins(
            parts[0].first, parts[0].bin_s, np.concatenate([part.energy_j for part in parts])
        )
        return PowerTrace.from_bins(whole, supply_v, self.edges)


@dataclass(frozen=True)
class Work:
    """What the board did: as the virtual meter saw it, as it counted, and the trace of it."""

    waveform: Waveform
    planned: Sequence[PlannedWindow]
    trace: PowerTrace


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    tap = Tap()
    twin = Twin(ScriptedChip("gap8"), "gap8", tmp_path, seed=7)
    feed = twin.meter.feed

    def tapped(time_s: float, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        tap.bins.append(bins)
        tap.edges.extend(edges)
        feed(time_s, bins, edges)

    twin.meter.feed = tapped  # type: ignore[method-assign]
    thread = threading.Thread(target=twin.run, daemon=True)
    thread.start()
    probe = VirtualFlasher(tmp_path / "control.sock", timeout_s=5.0)
    bench = Bench(tmp_path, probe, [])
    try:
        with bench.console() as console:
            probe.flash(bench.firmware())
            console.wait_hello()
            meter = bench.meter()
            meter.configure(100_000, 0.2)
            tap.bins.clear()
            tap.edges.clear()
            with meter.acquisition(0.06) as acquisition:
                cycles = console.repeat_layers(0, 2000, COUNTS)
                waveform = acquisition.read()
            meter.close()
    finally:
        probe.ask("quit")
        thread.join(5.0)
    planned = [
        PlannedWindow(n, count, c) for n, (count, c) in enumerate(zip(COUNTS, cycles, strict=True))
    ]
    yield Work(waveform, planned, tap.trace(twin.chip.chip.supply_v))


def measured(waveform: Waveform, planned: Sequence[PlannedWindow]) -> list[WindowSample]:
    ratio = clock_ratio(waveform, [plan.cycles for plan in planned], CLOCK_HZ)
    ratio.check(1e-3)  # simulated clocks are the same one
    return list(measure_windows(waveform, planned, CLOCK_HZ, 0))


def windows_of(
    meter: Meter, work: Work, duration_s: float, start: Callable[[], None]
) -> list[WindowSample]:
    meter.configure(100_000, 0.2)
    meter.arm(duration_s)
    start()
    waveform = meter.read()
    meter.close()
    return measured(waveform, work.planned)


def test_three_meters_agree_about_one_board(work: Work, tmp_path: Path) -> None:
    supply_v = work.trace.supply_v
    duration_s = len(work.trace.power_w) * work.trace.bin_s - 1e-3
    server = PtyServer(Ppk2Simulator(work.trace, seed=5), tmp_path / "kit")
    kit = Ppk2(str(tmp_path / "kit"), 5.0, 1.0, Ppk2Options(supply_v, spike_filter="none"))
    by_kit = windows_of(kit, work, duration_s, lambda: None)
    server.close()
    library = SimulatedLibrary(work.trace)
    scope = Joulescope("js220", 5.0, 1.0, JoulescopeOptions(), library=lambda: library)
    by_scope = windows_of(scope, work, duration_s, library.start_board)

    for n, layer in enumerate(TOY_NETWORK):
        true_uj = COUNTS[n] * layer.cycles / CLOCK_HZ * layer.power_w * 1e6
        # The virtual meter's specification: 0.1 % of the reading and 0.01 % of its range.
        live = measured(work.waveform, work.planned)[n]
        assert live.energy_uj == pytest.approx(true_uj, rel=3e-3)
        assert by_kit[n].energy_uj == pytest.approx(true_uj, rel=3e-3)
        assert by_scope[n].energy_uj == pytest.approx(true_uj, rel=5e-4)
