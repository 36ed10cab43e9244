"""Reported energies against the joules that the chip model itself has spent in the same windows.

The whole way: firmware on the virtual chip, marker, SCPI meter with errors of its own by its seed
(gain, offset, supply and noise within the limits of [meter.accuracy]), windows, budget. The chip
tells its own joules over the twin's control socket, which no meter sees.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from boards import load_board
from hil.core.cost import CostTable
from hil.core.trial import WHOLE_NETWORK, TrialKind
from hil.loop import campaign
from hil.loop.campaign import Prepared, prepare, run_campaign
from hil.loop.faults.bench import RIG, SIDE, START_S, tiny_network, tiny_subject
from hil.loop.settings import Settings
from hil.loop.subject import Subject
from hil.measure.budget import MeterAccuracy
from hil.measure.table import cost_table
from hil.nn.data.images import ImageSet
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.meter_options import KeithleyDmm6500Options
from hil.rig.rigfile import Rig, load_rig
from hil.rig.twin_process import TwinProcess
from hil.run.reader import Run
from hil.sim.chips import make_chip
from hil.sim.instruments.keithley_dmm6500 import KeithleyDmm6500
from hil.sim.twin import OWN_METER, Twin

FEW, MANY = 3, 6  # repeats of every window
RigMaker = Callable[[str, Path, Path], Rig]


def settings(repeats: int) -> Settings:
    return Settings(
        images=repeats,
        passes_a_cut=1,
        energy_sweeps=repeats,
        network_windows=repeats,
        self_tests=1,
        empty_windows=4,
        refinements=0,
    )


def subject(repeats: int) -> Subject:
    """A network of two small layers, and an image for each repeat."""
    x = np.random.default_rng(6).integers(0, 256, (repeats, SIDE, SIDE, 3), dtype=np.uint8)
    return replace(tiny_subject(), images=ImageSet("noise", x, np.zeros(repeats, np.int64)))


def rig_of(board: str, twin: Path, folder: Path) -> Rig:
    """A rig on the twin in folder ``twin``, its meter's range and limits as in the shipped rig."""
    shipped = load_rig(f"virtual-{board}")
    path = folder / "rig.toml"
    text = RIG.format(
        board=board, folder=twin, port=(twin / "meter.port").read_text().strip(),
        range_a=shipped.meter.range_a, answer_s=20.0, hello_s=60.0, meter_s=20.0, flasher_s=60.0,
    )  # fmt: skip
    path.write_text(text)
    rig = load_rig(str(path))
    return replace(rig, meter=replace(rig.meter, accuracy=shipped.meter.accuracy))


def blind_rig_of(board: str, twin: Path, folder: Path) -> Rig:
    """The same with a DMM6500, which sees edges late and with a hole at each; its own limits."""
    rig = rig_of(board, twin, folder)
    limits = MeterAccuracy(gain=1e-3, offset_a=1e-4 * rig.meter.range_a, source="the simulator")
    options = KeithleyDmm6500Options(supply_v=float(load_board(board).power.supply_v))
    meter = replace(
        rig.meter, kind="keithley_dmm6500", sample_rate_hz=100_000, options=options, accuracy=limits
    )
    return replace(rig, meter=meter)


@contextmanager
def on_a_thread(board: str, seed: int, meter: str = OWN_METER) -> Iterator[Path]:
    """A twin's folder: its chip in this process, its wires as real as ever."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        twin = Twin(make_chip(board), board, Path(name), seed, meter=meter)
        if isinstance(twin.meter, KeithleyDmm6500):
            # Anywhere within what the rig file allows, for each polarity by itself.
            latencies_s = np.random.default_rng([seed, 7]).uniform(0.0, 50e-6, 2)
            twin.meter.rise_s, twin.meter.fall_s = latencies_s.tolist()
        thread = threading.Thread(target=twin.run, daemon=True)
        thread.start()
        yield Path(name)
        twin.quit()
        thread.join(20.0)


@contextmanager
def as_a_process(board: str, seed: int) -> Iterator[Path]:
    twin = TwinProcess(board, seed, START_S)
    try:
        yield twin.directory
    finally:
        twin.close()


def measured(rig: Rig, twin: Path, folder: Path, repeats: int) -> tuple[Run, list[float]]:
    """The run, and the joules of all its windows in microjoules, in order."""
    given, counts, quiet = subject(repeats), settings(repeats), lambda _: None
    run = run_campaign([rig], given, folder / "run", counts, report=quiet)
    probe = VirtualFlasher(twin / "control.sock", timeout_s=60.0)
    marked = probe.ask("marked")["windows"]
    probe.close()
    return run, [window["energy_j"] * 1e6 for window in marked]


def truths(run: Run, marked_uj: list[float]) -> dict[int, float]:
    """The chip's mean energy of a pass, by layer. Every window of the run is accounted for."""
    seen: dict[int, list[float]] = {}
    remaining = iter(marked_uj)
    for trial in run.trials:
        assert trial.ok
        for _ in trial.empties:
            next(remaining)
        for window in trial.windows:
            seen.setdefault(window.layer, []).append(next(remaining) / window.iterations)
    assert next(remaining, None) is None
    return {layer: fmean(values) for layer, values in seen.items()}


def between_the_edges(run: Run, rig: Rig) -> CostTable:
    """The table of what lies between the edges, as the chip tells it: nothing is subtracted."""
    trials = [trial for trial in run.ok_trials() if trial.kind is not TrialKind.OVERHEAD]
    return cost_table(tiny_network(), trials[-1].provenance, trials, rig.meter.accuracy)


def misses(
    twin: Path, board: str, folder: Path, repeats: int, make_rig: RigMaker = rig_of
) -> list[float]:
    """Reported minus true energy in expanded uncertainties, for each layer and the network."""
    (folder / "run").mkdir(parents=True)
    rig = make_rig(board, twin, folder)
    run, marked_uj = measured(rig, twin, folder, repeats)
    true_uj = truths(run, marked_uj)
    table = between_the_edges(run, rig)
    budgets = {row.index: row.energy_budget for row in table.rows}
    budgets[WHOLE_NETWORK] = table.network_budget
    return [
        (budget.energy_uj - true_uj[layer]) / budget.expanded_uj
        for layer, budget in budgets.items()
        if budget is not None
    ]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> Prepared:
    """One image for all seeds."""
    made = prepare(tiny_network(), request.param, tmp_path / "firmware")
    monkeypatch.setattr(campaign, "prepare", lambda *_: made)
    return made


def check(found: list[float], near: float = 0.4) -> None:
    inside = float(np.mean(np.abs(found) <= 1))
    print(f"{len(found)} intervals, {inside:.1%} hold the truth; spread {np.std(found):.2f}")
    assert len(found) >= 20
    assert inside >= 0.9
    # An interval that is never nearly missed would be idle.
    assert np.max(np.abs(found)) > near


@pytest.mark.parametrize("prepared", ["stm32f746"], indirect=True)
def test_intervals_hold_the_chips_own_joules(prepared: Prepared, tmp_path: Path) -> None:
    found = []
    for seed in range(7):
        with on_a_thread(prepared.board.name, seed) as twin:
            found += misses(twin, prepared.board.name, tmp_path / str(seed), FEW)
    check(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("prepared", ["stm32f746"], indirect=True)
def test_a_meter_that_is_blind_at_the_edges(prepared: Prepared, tmp_path: Path) -> None:
    found = []
    for seed in range(7):
        with on_a_thread(prepared.board.name, seed, "keithley_dmm6500") as twin:
            found += misses(twin, prepared.board.name, tmp_path / str(seed), FEW, blind_rig_of)
    check(found, near=0.15)  # the limits of both edges add up; what passes here partly cancels


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("prepared", ["stm32f746", "gap8"], indirect=True)
def test_the_same_with_processes_and_more_meters(prepared: Prepared, tmp_path: Path) -> None:
    found = []
    for seed in range(100, 112):
        with as_a_process(prepared.board.name, seed) as twin:
            found += misses(twin, prepared.board.name, tmp_path / str(seed), MANY)
    check(found)
