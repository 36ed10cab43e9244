"""The sliced model's file: complete, checked, and true to what it was made from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hil.clio.slicing.artifact import (
    artifact_arrays,
    artifact_of_arrays,
    load_artifact,
    save_artifact,
    sealed,
)
from hil.clio.slicing.evaluate import load_training
from hil.core.errors import DataError
from hil.nn.evaluate import Accuracy
from hil.nn.reference import quantise_input, run
from hil.nn.train import TrainRecipe, train

from .conftest import SPEC


@pytest.fixture(scope="module")
def file(tmp_path_factory, artifact):
    path = tmp_path_factory.mktemp("artifact") / "tiny.sliced.npz"
    save_artifact(artifact, path)
    return path


@pytest.fixture(scope="module")
def arrays(file):
    with np.load(file) as pack:
        return {key: pack[key] for key in pack.files}


def edited(arrays, change, seal=True):
    """What a file holds, its header or arrays changed; ``seal`` renews the header's digest."""
    arrays = dict(arrays)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    text = json.dumps(header).encode()
    return arrays | (sealed(text) if seal else {"header": np.frombuffer(text, np.uint8)})


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


def point(header, **changes) -> None:
    header["table"]["points"][0].update(changes)


FOREIGN = "ab" * 32
# In the header alone, each of them a fact that nobody could miss from the other parts.
HEADER_EDITS = {
    "correct": lambda h: point(h, accuracy={"correct": 3, "images": 45}),
    "range bytes": lambda h: point(h, range_bytes=200.0),
    "test data": lambda h: h["table"].update(data_digest=FOREIGN),
    "data name": lambda h: h["table"].update(data="others"),
    "train data": lambda h: h.update(train_digest=FOREIGN),
    "recipe": lambda h: h["slicing"].update(distil=False),
    "training": lambda h: h["training"].update(peak_lr=9.0),
    "log": lambda h: h["log"][0].update(train_loss=0.0),
    "probabilities": lambda h: h["slices"][1].update(probabilities=[0.25, 0.75]),
    "whole": lambda h: h["table"]["whole"]["float"].update(correct=1),
}


@pytest.mark.parametrize("name", HEADER_EDITS)
def test_an_edited_header_is_refused(arrays, name):
    changed = edited(arrays, lambda header, _: HEADER_EDITS[name](header), seal=False)
    with pytest.raises(DataError, match="mine: the header is not that of its digest"):
        artifact_of_arrays(changed, "mine")


@pytest.mark.parametrize(
    "change,reason",
    [
        (lambda h, a: h.update(format=1), "format 1; this version reads 2; `hil release` writes"),
        (lambda h, a: h.pop("slices"), "not a readable sliced model"),
        (lambda h, a: a.update({"float/backbone.classifier.bias": np.ones(3, "f4")}), "digest"),
        (lambda h, a: a.pop("float/backbone.classifier.bias"), "digest"),
        (lambda h, a: a.update({"int8/0.weight": a["int8/0.weight"] + 1}), "digest"),
        (lambda h, a: h["statistics"][0].update(digest="x"), "statistics of block2"),
        (lambda h, a: h["statistics"].pop(), "every cut needs the same bit widths, 8 among"),
        (lambda h, a: h["table"].update(network_digest=FOREIGN), "accuracies of network abab"),
        (lambda h, a: h.update(name="other"), "the int8 network's name"),
        (lambda h, a: point(h, channels=7), "7 channels at block2 with 8 bits, which is no slice"),
        (lambda h, a: point(h, bits=4), "1 channels at block2 with 4 bits, which is no slice"),
        (lambda h, a: h["table"]["points"].pop(), "9 accuracies for 10 slices and bit widths"),
        (lambda h, a: h["table"]["points"].append(h["table"]["points"][0]), "11 accuracies for 10"),
        (lambda h, a: h["slices"].pop(), "every cut needs the same bit widths"),
        (lambda h, a: h["slices"][1].update(cut="all"), r"each must be another of the cuts"),
        (lambda h, a: h["slices"].append(h["slices"][0]), "each must be another of the cuts"),
        (lambda h, a: point(h, raw_bytes=255), "raw bytes: 255, but the rest of the file says 256"),
        (lambda h, a: point(h, packed_bytes=1), "packed bytes: 1, but"),
        (lambda h, a: point(h, range_bytes=-1.0), "-1.0 range-coded bytes of 520 at most"),
        (lambda h, a: point(h, of_channels=9), "all channels: 9, but"),
        (lambda h, a: point(h, top1=0.99), "top-1 0.99 in"),
        (lambda h, a: point(h, interval_95=[0.0, 1.0]), r"in \[0.0, 1.0\], but"),
        (lambda h, a: counted(h, 46, 45), "46 of 45 images right"),
        (lambda h, a: counted(h, -1, 45), "-1 of 45 images right"),
        (lambda h, a: counted(h, 20, 44), "images: 44, but the rest of the file says 45"),
        (lambda h, a: h["table"]["whole"].clear(), "parts with the whole network's accuracy"),
        (lambda h, a: h["table"]["whole"].pop("int8"), "parts with the whole network's accuracy"),
        (lambda h, a: h["table"].update(data_digest="abc"), "evaluation images is 'abc', no SHA"),
        (lambda h, a: h.update(train_digest=""), "training images is '', no SHA-256"),
        (lambda h, a: h["slicing"].pop("distil"), "slicing recipe"),
        (lambda h, a: h["log"].pop(0), r"training log of epochs \[2\]"),
        (lambda h, a: h["training"].update(epochs=1), "training log of 2 epochs, the recipe has 1"),
        (lambda h, a: h["spec"].update(classes=4), "the int8 network's classes"),
        (lambda h, a: h["spec"].update(image=32), "the int8 network's input"),
        (lambda h, a: h["spec"].update(width=0.35), "weight .* is .*width=0.35.* has"),
        (lambda h, a: h["slicing"].update(private_norms=False), "weights are of another model"),
    ],
)
def test_files_whose_parts_disagree_are_refused(arrays, change, reason):
    """Their digest is right: a program put them together wrongly."""
    with pytest.raises(DataError, match=f"mine: .*{reason}"):
        artifact_of_arrays(edited(arrays, change), "mine")


def counted(header, correct: int, images: int) -> None:
    """Other counts, with the top-1 and the interval that belong to them."""
    found = Accuracy(correct, images)
    shown = {"top1": found.top1, "interval_95": [0.0, 0.0]}
    if 0 <= correct <= images:
        shown["interval_95"] = list(found.interval)
    point(header, accuracy={"correct": correct, "images": images}, **shown)


def test_damaged_and_missing_files_are_refused(file, arrays, artifact, tmp_path):
    with pytest.raises(DataError, match="mine: not a readable sliced model"):
        artifact_of_arrays({k: v for k, v in arrays.items() if k != "header_sha256"}, "mine")
    half = tmp_path / "half.sliced.npz"
    half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"half\.sliced\.npz: not a readable sliced model"):
        load_artifact(half)
    with pytest.raises(DataError, match="no such sliced model; `hil release` writes one"):
        load_artifact(tmp_path / "none.sliced.npz")
    assert artifact_arrays(artifact).keys() == arrays.keys()


def test_weights_of_another_model_are_refused(artifact):
    other = replace(artifact, spec=replace(SPEC, width=0.35))
    with pytest.raises(DataError, match="has shape"):
        _ = other.model


def test_a_plain_checkpoint_is_no_slicing_run(tmp_path, train_set, test_set):
    last = train(SPEC, TrainRecipe(1, 16), train_set, test_set, tmp_path, lambda _: None)
    with pytest.raises(DataError, match="a plain network, without slices"):
        load_training(last)
    last.write_bytes(b"garbage")
    with pytest.raises(DataError, match="not a readable training checkpoint"):
        load_training(last)
    with pytest.raises(DataError, match=r"none\.pt: no such training checkpoint"):
        load_training(tmp_path / "none.pt")
