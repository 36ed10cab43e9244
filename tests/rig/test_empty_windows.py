"""Empty windows over the wire: a double whose marker and counter take a known time and power."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted_bench import Bench

from hil.core import console as wire
from hil.core.errors import ProtocolError
from hil.core.overhead import Overhead
from hil.core.provenance import Origin, Provenance
from hil.core.trial import EmptyWindow, Trial
from hil.loop.session import Session
from hil.loop.settings import Settings
from hil.loop.workloads import empty_windows
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.overhead import in_window, overhead_of, without
from hil.rig.console import BoardRefusal, Console
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.messages import decode_identity
from hil.run.journal import Journal
from hil.sim.scripted_chip import CLOCK_HZ, TOY_NETWORK, ScriptedChip, ToyOverhead
from hil.sim.twin import Twin

# 20 us a change of the marker, 30 us a look at the counter: no chip is as slow.
TOY = ToyOverhead(marker=2000, look=3000, layer=500, power_w=0.1)
ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "chip", CLOCK_HZ, "none", "ab" * 32, "toy",
    "00" * 32, "double", "meter", "quick", wire.PROTOCOL_VERSION,
)  # fmt: skip


@pytest.fixture(scope="module")
def slow_marker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Console]]:
    folder = tmp_path_factory.mktemp("t")
    twin = Twin(ScriptedChip("gap8", overhead=TOY), "gap8", folder, seed=7)
    thread = threading.Thread(target=twin.run, daemon=True)
    thread.start()
    probe = VirtualFlasher(folder / "control.sock", timeout_s=5.0)
    bench = Bench(folder, probe, [])
    with bench.console() as console:
        probe.flash(bench.firmware())
        console.wait_hello()
        yield bench, console
    probe.ask("quit")
    thread.join(5.0)


def recorded(bench: Bench, console: Console, interval_s: float, folder: Path) -> list[Trial]:
    """The trials of a session that measures empty windows only."""
    meter = bench.meter()
    meter.configure(1 / interval_s, 0.1)
    with Journal.create(folder, "quick", {}) as journal:
        spec = SimpleNamespace(meter=SimpleNamespace(lost_samples_per_million=0.0))
        rig = SimpleNamespace(console=console, meter=meter, power=None, rig=spec)
        settings = Settings(empty_windows=8)
        session = Session(
            rig, None, None, ORIGIN, journal, settings, lambda _: None, threading.Event()
        )  # type: ignore[arg-type]
        session.run([empty_windows(3, settings)])
        trials = list(journal.read().ok_trials())
    meter.close()
    return trials


def test_the_counter_tells_what_marker_and_look_take(slow_marker, tmp_path) -> None:
    bench, console = slow_marker
    (trial,) = recorded(bench, console, 1e-5, tmp_path / "run")
    assert trial.empties == (EmptyWindow(2000, 3000, 2000, 500),) * 8
    # 50 us are 5 samples of 10 us: too few, so nothing but cycles is known.
    assert trial.windows == ()
    assert overhead_of([trial], ORIGIN) == Overhead(2000, 3000, 500, 0.0, 0.0, 8)


def test_a_fast_meter_tells_their_energy(slow_marker, tmp_path) -> None:
    bench, console = slow_marker
    (trial,) = recorded(bench, console, 1e-6, tmp_path / "run")
    assert len(trial.empties) == 16 and len(trial.windows) == 8
    overhead = overhead_of([trial], ORIGIN)
    assert overhead is not None and overhead.energy_uj is not None
    # 50 us at 100 mW are 5 uJ; the meter is good to 0.1 % and 10 uA of 30 mA.
    assert overhead.energy_uj == pytest.approx(5.0, abs=2 * overhead.energy_uncertainty_uj + 0.01)


@pytest.mark.parametrize("interval_s", [1e-6, 1e-5], ids=["by the meter", "by cycles"])
def test_a_pass_costs_the_same_among_one_and_ten(slow_marker, tmp_path, interval_s) -> None:
    bench, console = slow_marker
    overhead = overhead_of(recorded(bench, console, interval_s, tmp_path / "run"), ORIGIN)
    assert overhead is not None
    meter = bench.meter()
    meter.configure(1 / interval_s, 0.1)
    layer, found = TOY_NETWORK[1], {}
    for passes in (1, 10):
        with meter.acquisition(0.02) as seen:
            cycles = console.repeat_layers(1, 1000, (passes,))
            plans = [PlannedWindow(1, passes, *cycles)]
            waveform = seen.read()
        (whole,) = measure_windows(
            waveform, plans, CLOCK_HZ, 0, marker_cycles=overhead.marker_cycles
        )
        found[passes] = whole, without(whole, overhead, CLOCK_HZ)
    meter.close()
    true_uj = layer.power_w * layer.cycles / CLOCK_HZ * 1e6
    for passes, (whole, work) in found.items():
        # Of the look and the layer's total the board counts the first; the marker, no count has.
        assert whole.cycles == passes * (layer.cycles + TOY.look)
        assert work.cycles == passes * layer.cycles
        assert work.duration_s == pytest.approx(passes * layer.cycles / CLOCK_HZ, rel=2e-3)
        unsure_uj = (
            whole.edge_uncertainty_uj + 2 * in_window(overhead, whole, CLOCK_HZ).uncertainty_uj
        )
        assert abs(work.energy_uj / passes - true_uj) < unsure_uj / passes + 1.2e-3 * true_uj

    def apart(which: int) -> float:
        return abs(found[1][which].energy_uj - found[10][which].energy_uj / 10)

    assert apart(1) < 0.5 * apart(0)


def test_counts_that_fit_no_answer_are_refused(slow_marker) -> None:
    _, console = slow_marker
    for count in (0, wire.MAX_EMPTY_WINDOWS + 1):
        with pytest.raises(BoardRefusal, match="BAD_ARGUMENT"):
            console.empty_windows(count, 10)


def test_a_firmware_of_before_is_told_apart() -> None:
    """Protocol 1 had no empty windows: its overhead is unknown, never 0."""
    hello = wire.IDENTITY.pack(1, 3, 1, 1, 0, b"", b"", b"gap8", b"toy")
    with pytest.raises(ProtocolError, match="speaks console protocol 1, this host speaks 2"):
        decode_identity(hello)
