"""The whole way on a virtual board: measure, crash, resume, refuse wrong outputs, report."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil.cli import main
from hil.core.calibration import CalibrationLabel
from hil.core.cost import CostTable
from hil.core.errors import DataError, JournalError, WrongOutputError
from hil.core.network import Network
from hil.core.provenance import Origin
from hil.core.trial import WHOLE_NETWORK, TrialKind
from hil.loop.campaign import run_campaign
from hil.loop.recorded import recorded_accuracy
from hil.loop.report import calibration_of, cost_tables, report_data
from hil.loop.subject import Subject
from hil.measure.segments import segment_cycles
from hil.nn.network_file import load_network
from hil.run.reader import JOURNAL, Run, Status
from tests.loop.conftest import SETTINGS


def silent(_: str) -> None:
    """A report nobody reads."""


def test_every_kind_of_trial_is_there_and_good(measured, subject):
    run = Run.load(measured)
    assert run.status is Status.SUCCESS
    assert not run.void_trials()
    kinds = [trial.kind for trial in run.trials]
    cuts = len([cut for cut in subject.network.cuts if cut.layers])
    assert kinds.count(TrialKind.SELF_TEST) == 1
    assert kinds.count(TrialKind.OVERHEAD) == 1
    assert kinds.count(TrialKind.LAYERS) == SETTINGS.images
    assert kinds.count(TrialKind.NETWORK) == cuts
    assert kinds.count(TrialKind.ENERGY) == SETTINGS.energy_sweeps + SETTINGS.network_windows


def test_every_energy_has_a_budget(measured, subject):
    (table,) = cost_tables(Run.load(measured), subject.network)
    for row in table.rows:
        budget = row.energy_budget
        assert budget.energy_uj == pytest.approx(np.mean(row.energy_samples_uj.values))
        names = {term.name for term in budget.terms}
        assert {"noise", "gain", "offset", "supply", "edges", "clock ratio"} <= names
        assert 0 < row.base_energy_uj < budget.energy_uj
        active = row.active_budget
        assert active.energy_uj == pytest.approx(row.active_energy_uj, rel=0.02)
        assert {"noise", "base power", "gain", "supply"} <= {term.name for term in active.terms}
        assert "offset" not in {term.name for term in active.terms}
    gain = next(term for term in table.network_budget.terms if term.name == "gain")
    # 0.1 % in the rig file, uniform.
    assert gain.standard_uj == pytest.approx(1e-3 * table.network_budget.energy_uj / 3**0.5)
    board = report_data(measured).boards[0]
    assert board.meter_accuracy == "docs/virtual-meter.md"
    assert board.network_budget == table.network_budget
    assert board.network_energy_uj.above >= table.network_budget.expanded_uj * (1 - 1e-9)
    for shown, row in zip(board.layers, table.rows, strict=True):
        least_uj = max(row.energy_budget.expanded_uj, row.energy_uj.above)
        assert shown.energy_uj.above == pytest.approx(least_uj)
    assert board.network_active_budget == table.network_active_budget
    assert table.network_active_budget.energy_uj < table.network_budget.energy_uj
    frame = table.to_frame()
    assert (frame.active_standard_uj > 0).all() and (frame.active_energy_uj < frame.energy_uj).all()
    assert CostTable.from_dict(table.to_dict()) == table


def test_what_measuring_adds_is_subtracted(measured, subject):
    run = Run.load(measured)
    (table,) = cost_tables(run, subject.network)
    overhead = table.overhead
    assert 10 < overhead.marker_cycles < 100 and 10 < overhead.pass_cycles < 100
    assert overhead.windows == SETTINGS.empty_windows
    passes = [t.runs[-1].layers[0].total for t in run.trials if t.kind is TrialKind.LAYERS]
    assert table.row(0).cycles.median == np.median(passes) - overhead.layer_cycles
    for row in table.rows:
        # A look at the counter a pass and the marker once a window, at some 0.35 W.
        cycles = overhead.pass_cycles + overhead.marker_cycles / row.window.iterations
        assert row.window.overhead_uj == pytest.approx(cycles / 216e6 * 0.35e6, rel=0.4)
        assert "marker overhead" in {term.name for term in row.energy_budget.terms}
    assert report_data(measured).boards[0].overhead == overhead


def test_the_meters_calibration_is_judged_by_the_day_of_measuring(measured):
    """A run whose rig was opened on a calibration's last day may end after it."""
    trials = [t for t in Run.load(measured).trials if t.kind is TrialKind.ENERGY]
    day = datetime.date.fromisoformat(trials[-1].finished[:10])
    for days, expired in ((0, 0), (-1, len(trials))):
        expires = day + datetime.timedelta(days)
        made = CalibrationLabel(day - datetime.timedelta(30), expires, "0123456789ab")
        found = calibration_of(f"HIL,VPM1,V000001,1; {made}", trials)
        assert (found.age_days, found.expired, found.energies) == (30, expired, len(trials))
        assert (found.expires, found.digest) == (expires.isoformat(), "0123456789ab")
    assert calibration_of("HIL,VPM1,V000001,1", trials) is None
    assert report_data(measured).boards[0].calibration is None


def test_the_meters_limits_are_recorded_by_rig(measured):
    run = Run.load(measured)
    assert recorded_accuracy(run, "virtual-stm32f746").gain == 1e-3
    assert recorded_accuracy(run, "another rig") is None


def test_costs_say_where_they_come_from(measured, subject):
    (table,) = cost_tables(Run.load(measured), subject.network)
    origin = table.provenance
    assert (origin.cycles_origin, origin.energy_origin) == (Origin.SIMULATED, Origin.MODELLED)
    assert origin.board == "stm32f746"
    assert origin.network_digest == subject.network.digest
    assert origin.clock_hz == 216_000_000


def test_layers_explain_the_whole_network(measured, subject):
    """The sum of layers leaves out only calls and counter reads between them."""
    (table,) = cost_tables(Run.load(measured), subject.network)
    assert len(table.rows) == len(subject.network.layers)
    layers = segment_cycles(table, 0, len(table.rows)).median
    assert table.network_cycles.median == pytest.approx(layers, rel=0.02)
    energies = sum(row.energy_uj.median for row in table.rows)
    assert table.network_energy_uj.median == pytest.approx(energies, rel=0.05)


def test_energy_is_power_times_time(measured):
    """An STM32F7 at 216 MHz draws some 100 mA at 3.3 V: no window can be far from 0.35 W."""
    windows = [w for t in Run.load(measured).trials for w in t.windows]
    assert WHOLE_NETWORK in {w.layer for w in windows}
    for window in windows:
        assert 0.2 < window.energy_uj * 1e-6 / window.duration_s < 0.6
        assert window.duration_s == pytest.approx(window.cycles / 216e6, rel=0.03)


def test_a_killed_run_resumes_with_what_is_missing(tmp_path, subject, rigs):
    class Killed(BaseException):
        """Not an error of the bench: the process is gone."""

    lines: list[str] = []

    def kill_at_third(text: str) -> None:
        lines.append(text)
        if "image 1" in text:
            raise Killed

    with pytest.raises(Killed):
        run_campaign(rigs, subject, tmp_path, SETTINGS, report=kill_at_third)
    first = Run.load(tmp_path)
    assert first.status is Status.ABORT
    done = first.finished_keys
    assert len(done) == 3  # the self-test, the empty windows and one image
    run = run_campaign(rigs, subject, tmp_path, SETTINGS, resume=True, report=silent)
    assert run.status is Status.SUCCESS
    keys = [trial.key for trial in run.trials]
    assert len(keys) == len(set(keys)), "nothing was measured twice"
    again = run_campaign(rigs, subject, tmp_path, SETTINGS, resume=True, report=silent)
    assert len(again.trials) == len(run.trials), "nothing was left to measure"


def with_other_bias(network: Network) -> Network:
    """The network that a buggy kernel would compute: one bias of layer 1 is off."""
    layer = network.layers[1]
    bias = layer.bias.copy()
    bias[0] += 4000
    layers = (network.layers[0], replace(layer, bias=bias), *network.layers[2:])
    return replace(network, layers=layers)


def test_a_wrong_output_voids_the_trial_and_leaves_no_cost(tmp_path, subject, rigs, monkeypatch):
    from hil.loop import campaign

    build = campaign.prepare
    wrong = with_other_bias(subject.network)
    monkeypatch.setattr(campaign, "prepare", lambda network, *args: build(wrong, *args))
    with pytest.raises(WrongOutputError, match=r"output of layer 1 \(blocks?1?.*\)"):
        run_campaign(rigs, subject, tmp_path, SETTINGS, report=silent)
    run = Run.load(tmp_path)
    assert [t.verdict.who for t in run.void_trials()] == ["output"]
    assert run.status is Status.FAIL
    with pytest.raises(DataError, match="nothing to report"):
        report_data(tmp_path)


def test_resume_refuses_another_network(measured, tmp_path, subject, rigs):
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    other = replace(subject, network=with_other_bias(subject.network))
    with pytest.raises(JournalError, match="resume with that model"):
        run_campaign(rigs, other, folder, SETTINGS, resume=True, report=silent)


def test_a_finished_run_is_not_written_over(measured, tmp_path, subject, rigs):
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = replace(subject, network=with_other_bias(subject.network))
    with pytest.raises(JournalError, match="a run is here already"):
        run_campaign(rigs, other, folder, SETTINGS, report=silent)
    assert {path: path.read_bytes() for path in before} == before


def test_report_needs_only_the_run_folder(measured, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(measured, folder)
    data = report_data(folder)
    assert [board.name for board in data.boards] == ["stm32f746"]
    board = data.boards[0]
    assert len(board.layers) == len(load_network(folder / "network.npz").layers)
    assert board.cycles_check is not None and board.energy_check is not None
    assert board.waveform is not None
    assert len(board.waveform.windows) == len(board.layers)
    assert {row.radio for row in data.decisions} == {"LoRa", "ZigBee", "BLE", "WiFi ax"}
    cuts = {row.split.cut for row in data.options}
    assert {"input", "all"} <= cuts


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


def test_show_prints_every_layer(measured, subject, monkeypatch, capsys):
    status, out, _ = hil(monkeypatch, capsys, "show", str(measured))
    assert status == 0
    for layer in subject.network.layers:
        assert layer.name in out


def test_optimize_prints_a_decision(measured, monkeypatch, capsys):
    status, out, _ = hil(monkeypatch, capsys, "optimize", str(measured), "--target", "energy")
    assert status == 0
    assert "least energy" in out


def test_a_run_compared_with_itself_is_within_noise(measured, monkeypatch, capsys):
    status, out, _ = hil(monkeypatch, capsys, "compare", str(measured), str(measured))
    assert status == 0
    assert "within noise" in out and "slower" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "--rig", "virtaul"), "virtual"),
        (("measure", "--model", "resnet"), "FILE.py:FUNCTION"),
        (("measure", "--model", "other.int8.npz"), "no such network file"),
        (("measure", "--model", "net.py:build"), "--data"),
        (("measure", "--resume"), "--out"),
        (("report", "nowhere"), "not a run folder"),
        (("generate", "--board", "gap9", "--out", "x"), "gap8"),
        (("sim", "run", "missing.elf", "--board", "gap8"), "missing.elf"),
        (
            ("release", "nowhere", "--test", "none.npz", "--out", "x"),
            "nowhere/last.pt: no such training checkpoint",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_status_1(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = hil(monkeypatch, capsys, *arguments)
    assert status == 1
    assert err.startswith("hil: ") and len(err.strip().splitlines()) == 1
    assert message in err


OWN_MODEL = """
import torch
from torch import nn

class Tanh(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
        self.classifier = nn.Linear(4 * 36, 2)
    def forward(self, x):
        return self.classifier(torch.flatten(self.blocks(x), 1))

def tanh():
    return Tanh()

def huge():
    wide = nn.Conv2d(3, 8192, 1)
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(wide, nn.ReLU(), pool, nn.Flatten(), nn.Linear(8192, 2))

def small():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()), nn.Flatten(), nn.Linear(320, 3)
    )

def broken():
    return 1 / 0

def number():
    return 7
"""


@pytest.fixture
def own_model(tmp_path) -> tuple[str, str]:
    """A file with torch models, and labelled 8x8 images."""
    file, images = tmp_path / "own.py", tmp_path / "images.npz"
    file.write_text(OWN_MODEL)
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.savez(images, x=x, y=rng.integers(0, 2, 12))
    return str(file), str(images)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("tanh", "tanh"),
        ("huge", "at no cut"),
        ("broken", "ZeroDivisionError"),
        ("number", "not a torch module"),
        ("missing", "missing"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    own_model, function, message, monkeypatch, capsys, tmp_path
):
    file, images = own_model
    arguments = ("--model", f"{file}:{function}", "--data", images, "--out", str(tmp_path / "out"))
    status, _, err = hil(monkeypatch, capsys, "generate", "--board", "stm32f746", *arguments)
    assert status == 1
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_a_torch_model_of_ones_own_is_measured(own_model, rigs, tmp_path):
    file, images = own_model
    subject = Subject.load(f"{file}:small", Path(images))
    run = run_campaign(rigs, subject, tmp_path / "run", SETTINGS, report=silent)
    assert run.status is Status.SUCCESS
    (table,) = cost_tables(run, subject.network)
    assert len(table.rows) == len(subject.network.layers)
    assert report_data(tmp_path / "run").run.network == "small"


def test_a_damaged_journal_names_file_and_line(measured, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(measured, folder)
    journal = folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"', b"'", 1)
    journal.write_bytes(b"".join(lines))
    status, _, err = hil(monkeypatch, capsys, "report", str(folder))
    assert status == 1
    assert JOURNAL in err and "line 4" in err


def test_digests_see_every_single_bit(subject):
    """The check that all costs rest on: one flipped bit of any tensor is another CRC."""
    from hil.loop.expected import Expected

    expected = Expected(subject.network, subject.images.x[:1])
    digests = [int(d) for d in expected.digests[0]]
    expected.check_digests(0, tuple(digests), "board")
    for layer in range(len(digests)):
        wrong = list(digests)
        wrong[layer] ^= 1 << int(np.random.default_rng(layer).integers(32))
        with pytest.raises(WrongOutputError, match=f"layer {layer} "):
            expected.check_digests(0, tuple(wrong), "board")
