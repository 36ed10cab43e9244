"""The verbs, from images on disk to a sliced model's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hil.nn.train
from hil.cli import app
from hil.clio.slicing.artifact import load_artifact
from hil.clio.slicing.evaluate import load_training
from hil.core.errors import DataError, HilError, ModelError
from hil.nn import assets

from .conftest import pictures


@pytest.fixture(autouse=True)
def same_process(monkeypatch):
    monkeypatch.setattr(hil.nn.train, "keep_freed_memory", lambda: None)


@pytest.fixture
def data(tmp_path) -> list[str]:
    for name, count in (("train", 64), ("test", 30)):
        images = pictures(count, count)
        np.savez(tmp_path / f"{name}.npz", x=images.x, y=images.y)
    return ["--data", str(tmp_path / "train.npz"), "--test", str(tmp_path / "test.npz")]


def hil_(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, HilError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


SMALL = ["--width", "0.1", "--image", "16", "--batch", "16", "--peak-lr", "0.05", "--epochs", "1"]


def test_from_images_to_a_released_sliced_model(tmp_path, data):
    hil_("train", *data, *SMALL, "--out", tmp_path / "plain")
    trace = tmp_path / "walk.csv"
    trace.write_text("duration_ms,bandwidth_kbps\n3000,80\n1000,800\n")
    init = ["--init", tmp_path / "plain" / "last.pt"]
    link = ["--trace", trace, "--send-ms", 30]
    said = hil_(
        "train", *data, *SMALL, *init, "--cut", "block2", "--slices", "every:3", *link,
        "--recipe", "paper", "--out", tmp_path / "sliced",
    )  # fmt: skip
    # 256 bytes a channel; 80 kbit/s carry 300 bytes in 30 ms, 800 kbit/s 3000.
    with pytest.raises(DataError, match="not even the smallest slice"):
        hil_("train", *data, *SMALL, *init, "--cut", "block2", "--trace", trace, "--send-ms", 5,
             "--out", tmp_path / "late")  # fmt: skip
    assert "cut block2: channels and probabilities 3: " in said
    trained = load_training(tmp_path / "sliced" / "last.pt")
    assert trained.slices[0].channels == (3, 6, 8)
    assert trained.slices[0].probabilities == (0.0, 0.0, 1.0)
    calibration = ["--calibration", tmp_path / "train.npz"]
    test = ["--test", tmp_path / "test.npz"]
    hil_("release", tmp_path / "sliced", *test, "--out", tmp_path / "out", *calibration)
    artifact = load_artifact(tmp_path / "out" / "sliced.sliced.npz")
    assert artifact.slicing["name"] == "paper" and artifact.table.points[0].accuracy.images == 30
    hil_(
        "train", *data, *SMALL, *init, "--cut", "block2", "--slices", "3,6", "--recipe", "nested",
        "--radio", "ble", "--send-ms", 30, "--out", tmp_path / "nested",
    )  # fmt: skip
    table = hil_(
        "slice-curves", tmp_path / "sliced", tmp_path / "nested", *test, *calibration,
        "--out", tmp_path / "curves.json",
    )  # fmt: skip
    assert "gain in points" in table
    found = json.loads((tmp_path / "curves.json").read_text())
    assert {d["channels"] for d in found["differences"]} == {3, 6}


def test_wrong_requests_say_so(tmp_path, data):
    def train(*words) -> None:
        hil_("train", *data, *SMALL, "--out", tmp_path / "x", *words)

    with pytest.raises(ModelError, match="no cut 'input' to slice; known: stem, block1"):
        train("--cut", "input")  # a cut of the bench, but with nothing before it
    with pytest.raises(ModelError, match="name each once"):
        train("--cut", "block2", "--cut", "block2")
    with pytest.raises(ModelError, match="counts must lie between 1 and the 8 channels"):
        train("--cut", "block2", "--slices", "1,9")
    with pytest.raises(ModelError, match="2 slice rules for 1 cuts"):
        train("--cut", "block2", "--slices", "pow2", "--slices", "1,2")
    with pytest.raises(ModelError, match="no slicing recipe 'mine'"):
        train("--cut", "block2", "--recipe", "mine")
    with pytest.raises(ModelError, match="no model named 'lenet'"):
        train("--model", "lenet")
    with pytest.raises(ModelError, match="vgg16: images of 16 pixels; it takes 32 or more"):
        train("--model", "vgg16")
    with pytest.raises(ModelError, match="mobilenetv2: width -1; a multiplier above 0"):
        train("--width", "-1")
    with pytest.raises(DataError, match="no device 'gpu9'; choose cpu, cuda"):
        train("--device", "gpu9")
    with pytest.raises(DataError, match="no training on device 'meta'"):
        train("--device", "meta")
    with pytest.raises(DataError, match="peak learning rate 0, seed 0"):
        train("--peak-lr", "0")
    with pytest.raises(DataError, match="seed -3"):
        train("--seed", "-3")
    shipped = ("--init", assets.FOLDER / f"{assets.DEFAULT_NAME}.npz")
    with pytest.raises(DataError, match=r"--model resnet18: .* is of mobilenetv2; leave --model"):
        train(*shipped, "--model", "resnet18")
    with pytest.raises(DataError, match=r"--width 0.1: .* is of 0.35; leave --width out"):
        train(*shipped)
    with pytest.raises(DataError, match="--send-ms"):
        train("--cut", "block2", "--radio", "ble")
    with pytest.raises(DataError, match="not from both"):
        train("--cut", "block2", "--radio", "ble", "--trace", "t.csv", "--send-ms", "9")
    with pytest.raises(DataError, match=r"none\.npz: no such checkpoint"):
        train("--init", tmp_path / "none.npz")


def test_training_cost_prints_shares_of_the_naive_step():
    words = ["--width", "0.1", "--image", "16", "--batch", "4", "--steps", "1"]
    said = hil_("training-cost", "--cut", "block2", *words)
    assert "all counts, untied" in said and "100.0%" in said and "sandwich" in said
