"""The curve and the verbs, end to end on tiny networks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from hil.cli import app
from hil.clio.compression.amc import AmcSettings
from hil.clio.compression.curve import CurveSettings, compression_curve
from hil.clio.compression.macs import size_of
from hil.core.errors import ModelError
from hil.nn.capture import capture
from hil.nn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hil.nn.train import MALLOC_ENVIRONMENT
from hil.nn.zoo import ModelSpec
from tests.clio.compression.conftest import lively_weights, synthetic_images
from tests.clio.compression.test_amc import AGENT, quiet
from tests.clio.compression.test_metapruning import SMALL

SPEC = ModelSpec("mobilenetv2", 0.2, classes=4, image=16)
SOURCE = Checkpoint("tiny", SPEC, {"epochs": 3}, {}, "", "", lively_weights(SPEC))
AMC = AmcSettings(warmup=2, episodes=1, divisor=2, judge=30, calibration=20, agent=AGENT)


def test_one_row_for_every_method_and_budget(tmp_path):
    one_epoch = replace(SMALL, training=replace(SMALL.training, epochs=1))
    settings = CurveSettings(1, AMC, one_epoch, search_images=110, batch=16)
    train, test = synthetic_images(150, 1), synthetic_images(50, 2)
    rows = compression_curve(SOURCE, train, test, [0.7], settings, tmp_path, report=quiet)
    assert [row.method for row in rows] == ["original", "width", "amc", "metapruning"]
    full = size_of(SPEC).macs
    document = json.loads((tmp_path / "curve.json").read_text())
    assert document["test_digest"] == test.digest
    for row, written in zip(rows[1:], document["rows"][1:], strict=True):
        assert row.size.macs <= 0.7 * full
        assert row.accuracy.images == written["n"] == 50
        assert written["top1"] == row.accuracy.correct / 50
        assert written["macs"] == row.size.macs
        assert written["epochs"] == 1
        low, high = written["interval_95"]
        assert low <= written["top1"] <= high
    again = compression_curve(SOURCE, train, test, [0.7], settings, tmp_path, report=quiet)
    assert again == rows  # resumed: nothing is trained or searched again
    with pytest.raises(ModelError, match="no method"):
        compression_curve(
            SOURCE, train, test, [0.7], settings, tmp_path, methods=("luck",), report=quiet
        )
    with pytest.raises(ModelError, match="the narrowest network has"):
        compression_curve(SOURCE, train, test, [0.7, 0.01], settings, tmp_path / "x", report=quiet)
    assert not (tmp_path / "x").exists()  # before anything is trained


@pytest.fixture(autouse=True)
def memory_is_kept(monkeypatch):
    """Else a verb would start this very process again."""
    for key, value in MALLOC_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)


def test_verb_writes_a_network_that_the_chain_takes(tmp_path):
    images = synthetic_images(100, 1)
    np.savez(tmp_path / "train.npz", x=images.x, y=images.y)
    save_checkpoint(SOURCE, tmp_path / "tiny.npz")
    common = ["compress", "--checkpoint", str(tmp_path / "tiny.npz"), "--macs", "0.7"]
    amc = ["--method", "amc", "--data", str(tmp_path / "train.npz"), "--effort", "small",
           "--warmup", "2", "--episodes", "0", "--judge", "20", "--divisor", "2"]  # fmt: skip
    for method, extra in (("width", ["--method", "width"]), ("amc", amc)):
        out = tmp_path / method
        result = CliRunner().invoke(app, [*common, *extra, "--out", str(out)])
        assert result.exit_code == 0, result.output
        made = load_checkpoint(out / "compressed.npz")
        graph = capture(made.model(), made.spec.image, made.name)
        assert graph.layers[-1].shape == (1, 1, 4)
        assert json.loads((out / "compressed.json").read_text())["method"] == method
    assert "episode 2/2" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "luck"], "no method"),
        (["--method", "amc"], "--data"),
        (["--method", "width", "--macs", "1.5"], "fraction"),
    ],
)
def test_bad_input_is_told(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["compress", "--out", str(tmp_path), *arguments])
    assert result.exit_code != 0
    assert message in str(result.exception)
