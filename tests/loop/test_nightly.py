"""Nights end to end: ten without a change, a planted regression, failing boards, the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from junitparser import JUnitXml

from hil.cli import main
from hil.core.console import PROTOCOL_VERSION
from hil.core.errors import DataError, HilError, RigError, TargetError
from hil.core.provenance import Origin, Provenance
from hil.core.series import Verdict
from hil.core.trial import (
    OK,
    LayerCycles,
    RunSample,
    Trial,
    TrialKind,
    WindowSample,
    Workload,
    trial_key,
)
from hil.loop.night_outputs import junit_xml, summary, write_outputs
from hil.loop.nightly import FAILED, REGRESSION, MeasuredBench, Night, run_night
from hil.loop.settings import Settings
from hil.rig.rigfile import Bench, load_bench
from hil.run.history import History
from hil.run.journal import Journal

CLOCK_HZ = 100_000_000
POWER_W = 0.3


class Lab:
    """Benches that lay run folders with made-up costs: noise each night, and what is planted.

    Noise between nights: 0.1 % in cycles, 0.5 % in energy. ``slower`` multiplies one layer.
    """

    def __init__(self, subject, folder: Path, benches: Sequence[Bench], seed: int = 1) -> None:
        self.subject, self.folder, self.benches = subject, folder, benches
        self.rng = np.random.default_rng(seed)
        self.slower: dict[tuple[str, int], float] = {}
        self.failing: dict[str, HilError] = {}
        self.origin = Origin.SIMULATED
        self.measured: list[str] = []
        self.dead_meter = ""
        self.number = 0

    def night(self, accept: bool = False) -> Night:
        self.number += 1
        folder = self.folder / f"{self.number:04d}-night"
        with History(self.folder / "history.sqlite") as history:
            return run_night(
                self.benches, self.subject, history, folder, Settings(), None, accept,
                lambda _: None, self._measure,
            )  # fmt: skip

    def quarantine(self, rig: str) -> None:
        with History(self.folder / "history.sqlite") as history:
            history.quarantine(rig, "today", "on loan", "ann")

    def _measure(self, benches, subject, folder, settings, report) -> dict[str, MeasuredBench]:
        return {bench.name: self._bench(bench, folder / bench.name) for bench in benches}

    def _bench(self, bench: Bench, folder: Path) -> MeasuredBench:
        failures = {}
        with Journal.create(folder, bench.name, {}) as journal:
            for rig in bench.rigs:
                self.measured.append(rig.name)
                if rig.name in self.failing:
                    failures[rig.name] = self.failing[rig.name]
                    continue
                for trial in self._trials(rig.name, rig.board):
                    journal.record(trial)
        return MeasuredBench(folder, failures)

    def _trials(self, rig: str, board: str) -> list[Trial]:
        network = self.subject.network
        layers = len(network.layers)
        macs = np.array([network.macs(i) + 1000 for i in range(layers)])
        cycles = 20 * macs * np.exp(self.rng.normal(0, 0.001, layers))
        for (name, layer), factor in self.slower.items():
            if name == rig:
                cycles[layer] *= factor
        watts = POWER_W * np.exp(self.rng.normal(0, 0.005)) * (rig != self.dead_meter)
        origin = Provenance(
            self.origin, self.origin, board, "chip", CLOCK_HZ, "zig", f"{self.number:064x}",
            network.name, network.digest, "made up", "made up", rig, PROTOCOL_VERSION,
        )  # fmt: skip
        one_pass = RunSample(
            False, 1, int(cycles.sum()), tuple(LayerCycles(int(c), int(c), 0) for c in cycles)
        )
        sweep = tuple(
            WindowSample(False, 0, i, 1, int(c), s, 100, s * watts * 1e6, 0, 0)
            for i, (c, s) in enumerate(zip(cycles, cycles / CLOCK_HZ, strict=True))
        )
        trials = [_trial(origin, TrialKind.LAYERS, layers, image, (one_pass,)) for image in (0, 1)]
        for cut in network.cuts:
            if cut.layers:
                whole = RunSample(False, 1, int(cycles[: cut.layers].sum()))
                trials.append(_trial(origin, TrialKind.NETWORK, cut.layers, 0, (whole,)))
        trials += [
            _trial(origin, TrialKind.ENERGY, layers, image, windows=sweep) for image in (0, 1)
        ]
        return trials


def _trial(origin, kind, layers, image, runs=(), windows=()) -> Trial:
    counts = (1,) * layers if kind is TrialKind.ENERGY else (1,)
    workload = Workload(kind, layers, image, f"{image}", iterations=counts)
    key = trial_key(origin.build_id, origin.rig, workload, origin.protocol)
    return Trial(key, workload, origin, OK, "t", "t", runs, windows)


@pytest.fixture
def lab(subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    # Reports need a run measured for real; the command's test below has one.
    monkeypatch.setattr("hil.loop.nightly._write_report", lambda *_: None)
    benches = [load_bench("virtual-gap8"), load_bench("virtual-stm32f746")]
    return Lab(subject, tmp_path, benches)


def test_ten_nights_of_the_same_firmware_raise_no_alarm(lab):
    nights = [lab.night() for _ in range(10)]
    assert [night.status for night in nights] == [0] * 10
    assert all(board.accepted for night in nights for board in night.boards)
    first, last = nights[0].boards[0], nights[-1].boards[0]
    assert {j.verdict for j in first.judgements} == {Verdict.NEW}
    assert {j.verdict for j in last.judgements} == {Verdict.WITHIN_NOISE}
    assert {j.against_level.nights for j in last.judgements} == {9}


@pytest.mark.parametrize("before", [1, 6])
def test_three_per_cent_in_one_layer_are_found_that_night_and_until_accepted(lab, before):
    for _ in range(before):
        lab.night()
    layer = lab.subject.network.layers[0].name
    lab.slower["virtual-gap8", 0] = 1.03
    for _ in range(2):
        night = lab.night()
        gap8, stm32 = night.boards
        assert night.status == REGRESSION and "virtual-gap8" in night.reasons[0]
        assert f"layer {layer}" in {j.series.part for j in gap8.regressed}
        assert not gap8.accepted and stm32.accepted and not stm32.regressed
        others = {f"layer {x.name}" for x in lab.subject.network.layers[1:]}
        assert not others & {j.series.part for j in gap8.regressed}
    accepted = lab.night(accept=True)
    assert accepted.status == 0 and accepted.boards[0].accepted and accepted.boards[0].regressed
    assert lab.night().status == 0
    lab.slower.clear()
    mended = lab.night()
    assert mended.status == 0
    assert Verdict.IMPROVED in {j.verdict for j in mended.boards[0].judgements}


def test_a_failing_board_stops_nobody_and_is_tried_again(lab):
    lab.failing["virtual-gap8"] = TargetError("never answered")
    night = lab.night()
    assert night.status == FAILED
    assert night.reasons == ("virtual-gap8: failed: TargetError: never answered",)
    assert night.boards[1].accepted
    with History(lab.folder / "history.sqlite") as history:
        assert "never answered" in history.quarantined()["virtual-gap8"].reason
    lab.failing.clear()
    again = lab.night()
    assert again.status == 0 and again.boards[0].accepted
    with History(lab.folder / "history.sqlite") as history:
        assert not history.quarantined()


def test_a_regression_beside_a_failed_board_is_not_hidden(lab):
    lab.night()
    lab.slower["virtual-gap8", 0] = 1.1
    lab.failing["virtual-stm32f746"] = TargetError("silent")
    night = lab.night()
    assert night.status == REGRESSION and len(night.reasons) == 2


def test_a_rig_kept_out_by_a_person_is_not_touched(lab):
    lab.quarantine("virtual-gap8")
    night = lab.night()
    assert lab.measured == ["virtual-stm32f746"]
    assert night.status == 0 and not night.boards[0].accepted
    xml = JUnitXml.fromstring(junit_xml(night))
    assert xml.skipped == 1 and xml.errors == 0
    assert "by ann: on loan" in summary(night)
    lab.quarantine("virtual-stm32f746")
    assert lab.night().status == 0


def test_numbers_of_another_origin_fail_the_rig(lab):
    lab.night()
    lab.origin = Origin.MEASURED
    night = lab.night()
    assert night.status == FAILED and not any(board.accepted for board in night.boards)
    assert "is simulated, tonight's value is measured" in night.reasons[0]


def test_a_dead_meter_fails_its_board_alone(lab):
    lab.dead_meter = "virtual-gap8"
    night = lab.night()
    assert night.status == FAILED and night.boards[1].accepted
    assert "a cost is above 0, not 0.0" in night.boards[0].failure


def test_junit_has_a_case_a_layer_and_partition(lab):
    network = lab.subject.network
    lab.night()
    lab.slower["virtual-gap8", 0] = 1.05
    lab.failing["virtual-stm32f746"] = TargetError("silent & <gone>")
    suites = list(JUnitXml.fromstring(junit_xml(lab.night())))
    cases = {case.name: case for case in suites[0]}
    parts = {f"layer {layer.name}" for layer in network.layers}
    parts |= {f"partition {cut.name}" for cut in network.cuts if cut.layers}
    assert set(cases) == {"board"} | parts
    failed = cases[f"layer {network.layers[0].name}"]
    assert re.match(rf"regressed: {failed.name}, .* cycles, \+[45]\.", failed.result[0].message)
    (error,) = next(iter(suites[1])).result
    assert "silent & <gone>" in error.message
    assert suites[0].errors == 0 and suites[1].errors == 1


def test_benchmark_json_is_read_by_pytest_benchmark(lab):
    nights = [lab.night(), lab.night()]
    for night in nights:
        write_outputs(night)
    files = [str(night.folder / "benchmark.json") for night in nights]
    content = json.loads(Path(files[0]).read_text())
    one = next(b for b in content["benchmarks"] if b["group"] == "layers")
    seconds = one["extra_info"]["cycles"] / CLOCK_HZ
    assert one["stats"]["median"] == pytest.approx(seconds)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert one["name"].split("[")[0] in done.stdout


def test_rigs_that_cannot_be_told_apart_are_refused(lab):
    lab.benches = [load_bench("virtual"), load_bench("virtual-gap8")]
    with pytest.raises(DataError, match="virtual-gap8 belongs to two"):
        lab.night()
    (rig,) = load_bench("virtual-gap8").rigs
    lab.benches = [Bench("twice", (rig, replace(rig, name="other")), rig.path)]
    with pytest.raises(RigError, match="virtual-gap8 and other have the same kind of board"):
        lab.night()
    (stm32,) = load_bench("virtual-stm32f746").rigs
    lab.benches = [Bench("lab 1", (rig,), rig.path), Bench("lab/1", (stm32,), rig.path)]
    with pytest.raises(DataError, match="same folder, lab_1"):
        lab.night()


@pytest.mark.parametrize("fails", [False, True])
def test_a_person_who_takes_a_rig_during_the_night_keeps_it(lab, monkeypatch, fails):
    lay, rig = lab._measure, "virtual-gap8"

    def taken(*words):
        lab.quarantine(rig)
        return lay(*words)

    if fails:
        lab.failing = {rig: TargetError("silent")}
    monkeypatch.setattr(lab, "_measure", taken)
    lab.night()
    with History(lab.folder / "history.sqlite") as history:
        entry = history.quarantined()[rig]
    assert (entry.placed_by, entry.reason) == ("ann", "on loan")


# -- the command ----------------------------------------------------------------------------

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )
"""

DEAD_RIG = """
name = "dead"
board = "stm32f746"
[console]
port = "/nowhere/tty"
baud = 1_000_000
[flasher]
kind = "virtual"
control = "/nowhere/control.sock"
[meter]
kind = "scpi_digitizer"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
sample_rate_hz = 100_000
range_a = 0.1
"""


def hil(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    monkeypatch.setattr("sys.argv", ["hil", *arguments])
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_night_with_a_virtual_board_and_a_dead_rig(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=rng.integers(0, 3, 8))
    (tmp_path / "own.py").write_text(MODEL)
    (tmp_path / "dead.toml").write_text(DEAD_RIG)
    arguments = (
        "nightly", "--bench", "virtual-stm32f746", "--bench", str(tmp_path / "dead.toml"),
        "--history", str(tmp_path / "h.sqlite"), "--out", str(tmp_path / "nights"),
        "--model", f"{tmp_path}/own.py:net", "--data", str(tmp_path / "images.npz"),
        "--images", "2",
    )  # fmt: skip
    status, out, _ = hil(monkeypatch, capsys, *arguments)
    assert status == FAILED, out
    assert "status 3: a bench failed" in out
    assert "TCPIP0::127.0.0.1::1::SOCKET" in out  # the meter is opened first
    night = tmp_path / "nights" / "latest"
    assert (night / "virtual-stm32f746" / "report.html").stat().st_size > 10_000
    xml = JUnitXml.fromfile(str(night / "junit.xml"))
    assert xml.errors == 1 and xml.failures == 0 and xml.tests > 5
    with History(tmp_path / "h.sqlite") as history:
        assert history.nights() == 1
    status, out, _ = hil(monkeypatch, capsys, "quarantine", "--history", str(tmp_path / "h.sqlite"))
    assert status == 0 and out.startswith("dead: failed, tried every night since")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nightly", "--bench", "virtaul"), "did you mean 'virtual'"),
        (("nightly", "--bench", "virtual", "--false-alarm-rate", "2"), "false-alarm rate"),
        (("nightly", "--bench", "virtual", "--model", "none.int8.npz"), "no such network file"),
        (("quarantine", "lab-1"), "--reason"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_1(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    rest = ("--out", "nights") if arguments[0] == "nightly" else ()
    status, _, err = hil(monkeypatch, capsys, *arguments, "--history", "h.sqlite", *rest)
    assert status == 1
    assert err.startswith("hil: ") and len(err.strip().splitlines()) == 1
    assert message in err
    assert not (tmp_path / "nights").exists()


def test_a_damaged_history_is_named_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("h.sqlite").write_bytes(b"no history at all, long enough to be read" * 50)
    arguments = ("--bench", "virtual", "--history", "h.sqlite", "--out", "nights")
    status, _, err = hil(monkeypatch, capsys, "nightly", *arguments)
    assert status == 1 and "h.sqlite" in err
    assert not Path("nights").exists()


def test_the_summary_tells_values_with_units_and_what_they_are_against(lab):
    lab.night()
    lab.slower["virtual-gap8", 0] = 1.2
    shutil.rmtree(lab.folder / "0001-night")  # a night's folder is not needed to judge the next
    night = lab.night()
    lines = summary(night).splitlines()
    name = lab.subject.network.layers[0].name
    (cycles,) = [line for line in lines if f"layer {name}, " in line and " cycles, " in line]
    (energy,) = [line for line in lines if f"layer {name}, " in line and " uJ, " in line]
    for line in (cycles, energy):
        percent = float(re.search(r"([+-][\d.]+) % \(", line)[1])
        assert percent == pytest.approx(20, abs=3) and line.endswith("of the last night")
    assert lines[-2:] == ["status 2: regression", f"  {night.reasons[0]}"]
