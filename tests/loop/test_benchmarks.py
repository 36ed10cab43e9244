"""`pytest benchmarks/` as a user runs it, on a small torch model and one virtual board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hil.clio.slicing.artifact import save_artifact
from tests.loop.sliced import SLICES, artifact, noise

ROOT = Path(__file__).parents[2]

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 9, 1), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(9 * 64, 3),
    )
"""


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suites from ``folder``, where the model lies and the runs go."""
    command = [sys.executable, "-m", "pytest", str(ROOT / "benchmarks"), "-q", *arguments]
    return subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if "XDIST" not in k},  # it is nobody's worker
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


RUN = "runs/0001-desk_2_left"


@pytest.fixture(scope="module")
def measured_bench(tmp_path_factory) -> tuple[Path, tuple[str, ...], str]:
    """Folder, arguments and output of a first run."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", x=x, y=rng.integers(0, 3, 8))
    (folder / "own.py").write_text(MODEL)
    model = ("--model", "own.py:net", "--data", "images.npz", "--images", "4")
    shipped = (ROOT / "boards" / "rigs" / "virtual-stm32f746.toml").read_text()
    rig = shipped.replace('name = "virtual-stm32f746"', 'name = "desk 2/left"', 1)
    (folder / "nuc.toml").write_text(rig)
    arguments = ("--rig", "./nuc.toml", *model)  # the folder gets the rig's own name
    done = bench(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, arguments, done.stdout


def test_a_first_run_passes_and_names_its_report(measured_bench):
    folder, _, output = measured_bench
    report = folder / RUN / "report.html"
    assert report.is_file()
    assert f"HTML report: {report}" in output


def test_rounds_are_the_boards_time(measured_bench):
    """pytest-benchmark's numbers must be cycles over clock, whatever this computer did."""
    folder, arguments, _ = measured_bench
    done = bench(folder, *arguments, "--resume", "--benchmark-json", "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "runs" / "0002-desk_2_left").exists()
    benchmarks = json.loads((folder / "out.json").read_text())["benchmarks"]
    assert {b["group"] for b in benchmarks} == {"layers", "partitions"}
    for one in benchmarks:
        info = one["extra_info"]
        seconds = info["cycles"] / info["provenance"]["clock_hz"]
        assert one["stats"]["median"] == pytest.approx(seconds, rel=1e-6)
        assert info["energy_uj"] > 0
        assert info["provenance"]["cycles_origin"] == "simulated"


@pytest.mark.slow
def test_a_slower_layer_fails_the_comparison(measured_bench):
    folder, arguments, _ = measured_bench
    saved = bench(folder, *arguments, "--resume", "--benchmark-json", "base.json")
    assert saved.returncode == 0
    base = json.loads((folder / "base.json").read_text())
    same = ("--resume", "--benchmark-compare=base.json", "--benchmark-compare-fail=median:1%")
    assert bench(folder, *arguments, *same).returncode == 0
    base["benchmarks"][0]["stats"]["median"] *= 0.97
    (folder / "base.json").write_text(json.dumps(base))
    worse = bench(folder, *arguments, *same)
    assert worse.returncode != 0
    assert "Performance has regressed" in worse.stdout + worse.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rig", "virtaul"), "no rig 'virtaul'"),
        (("--model", "nothing.int8.npz"), "no such network file"),
        (("--model", "own.py:net"), "--data"),
    ],
)
def test_wrong_names_end_the_session_with_one_line(tmp_path, arguments, message):
    done = bench(tmp_path, *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(errors) == 1 and message in errors[0]


@pytest.mark.slow
def test_every_trained_slice_is_answered_from_the_boards_output(tmp_path):
    save_artifact(artifact(), tmp_path / "tiny.sliced.npz")
    images = noise(4, 5)
    np.savez(tmp_path / "images.npz", x=images.x, y=images.y)
    model = ("--model", "tiny.sliced.npz", "--data", "images.npz", "--images", "2")
    rig = ("--rig", "virtual-stm32f746", "--benchmark-json", "out.json")
    done = bench(tmp_path, *rig, *model)
    assert done.returncode == 0, done.stdout + done.stderr
    benchmarks = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    slices = [b["extra_info"] for b in benchmarks if b["group"] == "slices"]
    assert [(one["cut"], one["channels"]) for one in slices] == [
        (one.cut, channels) for one in SLICES for channels in one.channels
    ]
    for one in slices:
        assert one["provenance"]["network_digest"] and 0 <= one["top1"] <= 1
        assert one["range_frame_bytes"] > 24 and one["frame_bytes"] > 24


def test_an_earlier_run_never_stands_in_for_a_new_one(measured_bench):
    folder, arguments, _ = measured_bench
    earlier = RUN
    done = bench(folder, *arguments, "--run-dir", earlier, "-x")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "a run is here already" in done.stdout
