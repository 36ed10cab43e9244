"""The shipped network: complete, consistent, and as good as it says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hil.core.errors import DataError, ModelError
from hil.nn import assets
from hil.nn.data.images import load_images
from hil.nn.evaluate import float_accuracy, int8_accuracy
from hil.nn.network_file import load_network
from hil.nn.quantise import quantise
from hil.nn.reference import quantise_input, run
from hil.nn.release import release, write_samples
from hil.nn.zoo import normalise

LOSSLESS_TEST = (
    Path(__file__).parents[2] / ".." / "shared" / "data" / "cifar10" / "lossless_test.npz"
)


def summary() -> dict:
    return json.loads((assets.FOLDER / f"{assets.DEFAULT_NAME}.json").read_text())


def test_images_are_balanced():
    samples, calibration = assets.sample_images(), assets.calibration_images()
    assert samples.x.shape == (24, 32, 32, 3)
    assert set(np.bincount(samples.y)) == {2, 3} and set(np.bincount(calibration.y)) == {10}


def test_digests_belong_together():
    network, checkpoint = assets.default_network(), assets.default_checkpoint()
    assets.default_split_accuracy().check(network)
    assert summary()["network_digest"] == network.digest
    assert summary()["checkpoint_digest"] == checkpoint.digest
    log = (assets.FOLDER / f"{assets.DEFAULT_NAME}.train_log.jsonl").read_text().splitlines()
    assert json.loads(log[-1]) == checkpoint.record
    assert len(log) == checkpoint.recipe["epochs"]


def test_accuracies_meet_the_promise():
    accuracy = summary()["accuracy"]
    assert accuracy["float"]["top1"] >= 0.80 and accuracy["float"]["images"] >= 1000
    assert accuracy["float"]["top1"] - accuracy["int8"]["top1"] <= 0.01
    table = assets.default_split_accuracy()
    assert table.at("all", 10).correct == accuracy["int8"]["correct"]
    assert table.at("input", 3).correct == accuracy["float"]["correct"]


def test_int8_follows_float_on_the_samples():
    network, model = assets.default_network(), assets.default_model()
    x = assets.sample_images().x
    with torch.inference_mode():
        real = model(normalise(x)).numpy()
    made = run(network, quantise_input(x))[-1].reshape(len(x), -1)
    best_two = np.sort(real, axis=1)[:, -2:]
    sure = best_two[:, 1] - best_two[:, 0] > 0.3  # about seven steps of the int8 logits
    assert sure.sum() >= 18
    assert (made.argmax(1) == real.argmax(1))[sure].all()
    error = made * network.tensors[-1].scale - real
    assert np.sqrt((error**2).mean()) < 0.1 * real.std()


def test_the_network_is_what_its_parts_give():
    """Integers depend on float rounding of the calibration run: close, not identical."""
    network = assets.default_network()
    again = quantise(assets.default_graph(), assets.calibration_images().x)
    for a, b in zip(network.tensors, again.tensors, strict=True):
        assert a.scale == pytest.approx(b.scale, rel=0.05) and a.signed == b.signed
    for a, b in zip(network.layers, again.layers, strict=True):
        assert a.name == b.name and a.op == b.op
        if a.weight is not None:
            assert np.abs(a.weight.astype(int) - b.weight).max() <= 1


def test_release_writes_everything_and_checks_the_log(tmp_path):
    source = write_run(tmp_path / "run")
    out = tmp_path / "out"
    images = assets.sample_images()
    write_samples(images, assets.calibration_images(), out)
    lines: list[str] = []
    result = release(
        source / "last.pt",
        source / "log.jsonl",
        images.take(6),
        out,
        "copy",
        max_drop=1.0,
        report=lines.append,
    )
    assert {p.name for p in result.files} <= {p.name for p in out.iterdir()}
    assert load_network(out / "copy.int8.npz").digest == result.network_digest
    assert result.float_top1.images == 6 and lines[0].startswith("float")
    (source / "log.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match="is not the checkpoint's last epoch"):
        release(source / "last.pt", source / "log.jsonl", images, out, "copy")


def test_release_refuses_a_large_drop(tmp_path):
    source = write_run(tmp_path / "run")
    out = tmp_path / "out"
    images = assets.sample_images()
    write_samples(images, assets.calibration_images(), out)
    with pytest.raises(ModelError, match="below float"):
        release(
            source / "last.pt",
            source / "log.jsonl",
            images.take(4),
            out,
            "copy",
            max_drop=-1.1,
            report=lambda _: None,
        )
    assert not (out / "copy.int8.npz").exists()


def write_run(folder: Path) -> Path:
    """A training run's folder holding the shipped weights."""
    checkpoint = assets.default_checkpoint()
    folder.mkdir()
    torch.save(
        {
            "spec": vars(checkpoint.spec),
            "recipe": checkpoint.recipe,
            "record": checkpoint.record,
            "train_digest": checkpoint.train_digest,
            "test_digest": checkpoint.test_digest,
            "model": {k: torch.from_numpy(v.copy()) for k, v in checkpoint.weights.items()},
        },
        folder / "last.pt",
    )
    (folder / "log.jsonl").write_text(json.dumps(checkpoint.record) + "\n")
    return folder


@pytest.mark.slow
def test_accuracies_on_the_real_test_images():
    if not LOSSLESS_TEST.exists():
        pytest.skip(f"needs the development data {LOSSLESS_TEST.name}")
    images = load_images(LOSSLESS_TEST)
    assert images.digest == summary()["test_digest"]
    integer = int8_accuracy(assets.default_network(), images)
    assert integer.correct == summary()["accuracy"]["int8"]["correct"]
    # Float logits differ in the last bits between machines; a tie or two may flip.
    exact = float_accuracy(assets.default_graph(), images)
    assert abs(exact.correct - summary()["accuracy"]["float"]["correct"]) <= 2
