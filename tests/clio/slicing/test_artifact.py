"""The sliced model's file: complete, checked, and true to what it was made from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hil.clio.slicing.artifact import load_artifact, save_artifact
from hil.clio.slicing.evaluate import load_training
from hil.core.errors import DataError, ModelError
from hil.nn.reference import quantise_input, run
from hil.nn.train import TrainRecipe, train

from .conftest import SPEC


@pytest.fixture
def file(tmp_path, artifact):
    path = tmp_path / "tiny.sliced.npz"
    save_artifact(artifact, path)
    return path


def edited(path, change) -> None:
    """Write the file again with its header or arrays changed."""
    with np.load(path) as pack:
        arrays = {key: pack[key] for key in pack.files}
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


def test_round_trip(file, artifact):
    again = load_artifact(file)
    assert again.table == artifact.table and again.slices == artifact.slices
    assert again.log == artifact.log and len(again.log) == 2
    assert again.network.digest == artifact.network.digest
    assert again.statistics.keys() == artifact.statistics.keys()
    x = torch.randn(3, 5, 16, 16)
    for cut, channels in (("block2", 3), ("block2", 8)):
        sent = x[:, :channels] if channels < 5 else torch.randn(3, 8, 16, 16)
        expected = artifact.tail(cut, channels)(sent)
        assert torch.equal(again.tail(cut, channels)(sent), expected)


def test_accuracies_are_of_integers_on_the_device_and_floats_behind(artifact, test_set):
    """One slice, one image at a time, with the cut's values taken apart here."""
    cut = artifact.network.cut("block5")
    scale = artifact.network.tensors[cut.layers].scale
    tail, correct = artifact.tail("block5", 2), {8: 0, 5: 0}
    for image, label in zip(test_set.x, test_set.y, strict=True):
        values = run(artifact.network, quantise_input(image), cut.layers)[-1][..., :2]
        for bits in correct:
            step = 2 ** (8 - bits)
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            codes = np.clip(np.floor(values / step + 0.5), low, high)
            real = torch.from_numpy((codes * step * scale).astype(np.float32))
            logits = tail(real.permute(2, 0, 1)[None])
            correct[bits] += int(logits.argmax() == label)
    for point in artifact.table.points:
        if (point.cut, point.channels) == ("block5", 2):
            assert point.accuracy.correct == correct[point.bits], point
            assert point.accuracy.images == len(test_set)


def test_bytes_are_those_of_real_encodings(artifact):
    for point in artifact.table.points:
        height, width, channels = artifact.network.tensors[
            artifact.network.cut(point.cut).layers
        ].shape
        assert point.of_channels == channels
        assert point.raw_bytes == height * width * point.channels
        assert point.packed_bytes == -(-point.raw_bytes * point.bits // 8)
        assert 0 < point.range_bytes < 1.2 * point.packed_bytes + 4


def test_the_bench_gets_eight_bits_and_both_ends(artifact):
    split = artifact.table.split_accuracy(artifact.network)
    split.check(artifact.network)
    assert split.channels("block2") == (1, 3, 8) and split.channels("block5") == (2, 5)
    assert split.at("all", 3) == artifact.table.whole["int8"]
    assert split.at("input", 3) == artifact.table.whole["float"]


def test_accuracies_of_other_images_are_not_compared(artifact):
    other = replace(artifact.table, data="others", data_digest="0" * 64)
    artifact.table.same_data(artifact.table)
    with pytest.raises(DataError, match="on the same images"):
        artifact.table.same_data(other)


@pytest.mark.parametrize(
    "change,reason",
    [
        (lambda h, a: h.update(format=9), "format 9"),
        (lambda h, a: a.update({"float/backbone.classifier.bias": np.ones(3, "f4")}), "digest"),
        (lambda h, a: a.pop("float/backbone.classifier.bias"), "digest"),
        (lambda h, a: h["table"].update(network_digest="ab" * 32), "accuracies of network abab"),
        (lambda h, a: h["table"]["points"][0].update(channels=7), "7 channels at block2"),
        (lambda h, a: h["statistics"][0].update(digest="x"), "statistics of block2"),
        (lambda h, a: h.pop("slices"), "not a readable sliced model"),
        (lambda h, a: a.update({"int8/0.weight": a["int8/0.weight"] + 1}), "digest"),
    ],
    ids=["format", "weight", "missing", "network", "slice", "statistics", "header", "integers"],
)
def test_edited_files_are_refused(file, change, reason):
    edited(file, change)
    with pytest.raises(DataError, match=reason):
        load_artifact(file)


def test_damaged_and_missing_files_are_refused(file, tmp_path):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"tiny\.sliced\.npz: not a readable sliced model"):
        load_artifact(file)
    with pytest.raises(DataError, match="no such sliced model"):
        load_artifact(tmp_path / "none.sliced.npz")


def test_weights_of_another_model_are_refused(artifact):
    other = replace(artifact, spec=replace(SPEC, width=0.35))
    with pytest.raises((DataError, ModelError)):
        _ = other.model
    fewer = replace(artifact, slicing={**artifact.slicing, "private_norms": False})
    with pytest.raises(DataError, match="weights are of another model"):
        _ = fewer.model


def test_a_plain_checkpoint_is_no_slicing_run(tmp_path, train_set, test_set):
    last = train(SPEC, TrainRecipe(1, 16), train_set, test_set, tmp_path, lambda _: None)
    with pytest.raises(DataError, match="a plain network, without slices"):
        load_training(last)
    last.write_bytes(b"garbage")
    with pytest.raises(DataError, match="not a readable training checkpoint"):
        load_training(last)
    with pytest.raises(DataError, match=r"none\.pt: no such checkpoint"):
        load_training(tmp_path / "none.pt")
