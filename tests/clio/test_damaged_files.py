"""Files that are not what their name says: one clear error from every reader, never a traceback."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hil.nn.train
from hil.cli import app
from hil.clio.compression.state import SearchState
from hil.clio.slicing.artifact import load_artifact
from hil.clio.slicing.evaluate import is_slicing_run, load_training
from hil.core.errors import DataError
from hil.nn.checkpoint import load_checkpoint
from hil.nn.data.images import load_images
from hil.nn.network_file import load_network
from hil.nn.stored import made_folder
from hil.nn.train import TrainRecipe, train
from hil.nn.training_log import append_record, read_log
from tests.clio.slicing.conftest import SPEC, pictures


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def foreign_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("letter.txt", "Dear Sir or Madam")
    return buffer.getvalue()


SOUND = torch_file({"weights": torch.arange(4000.0), "name": "x"})
JUNK = {
    "empty": b"",
    "text": b"epoch,loss\n1,2.3\n",
    "a few bytes": SOUND[:20],
    "half a zip": SOUND[: len(SOUND) // 2],
    "no end": SOUND[:-30],
    "a hole": SOUND[:200] + bytes(60) + SOUND[260:],
    "noise": np.random.default_rng(1).bytes(5000),
    "pickled path": pickle.dumps(Path("x")),
    "pickled words": pickle.dumps({"model": "mine"}),
    "torch list": torch_file([1, 2, 3]),
    "torch module": torch_file(torch.nn.Linear(2, 2)),
    "torch dictionary": torch_file({"spec": 3, "model": [1], "slicing": None}),
    "another zip": foreign_zip(),
}
READERS = {
    "x.pt": (load_checkpoint, load_training, lambda path: SearchState(path, {}).load()),
    "x.npz": (load_checkpoint, load_network, load_artifact, load_images),
}


@pytest.mark.parametrize("kind", JUNK)
def test_every_reader_names_a_damaged_file(tmp_path, kind):
    for name, readers in READERS.items():
        path = tmp_path / name
        path.write_bytes(JUNK[kind])
        for reader in readers:
            with pytest.raises(DataError, match=rf"x\.{path.suffix[1:]}: ") as told:
                reader(path)
            assert "weights_only" not in str(told.value)  # no advice to open it unsafely


def test_folders_in_the_place_of_files(tmp_path):
    for reader in (load_checkpoint, is_slicing_run):
        with pytest.raises(DataError, match="not a readable training checkpoint"):
            reader(tmp_path)


@pytest.mark.parametrize("kind", [*JUNK, "states"])
def test_training_does_not_go_on_from_a_damaged_checkpoint(tmp_path, kind):
    images, recipe = pictures(48, 1), TrainRecipe(2, 16)
    if kind == "states":  # of this very run, but for the states of its parts
        identity = {
            **hil.nn.train.Classifier(SPEC).identity,
            "recipe": vars(recipe),
            "train_digest": images.digest,
            "test_digest": images.digest,
        }
        content = torch_file({**identity, "model": {}, "optimizer": 1, "epochs_done": 1})
    else:
        content = JUNK[kind]
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"last\.pt.* remove it"):
        train(SPEC, recipe, images, images, tmp_path, lambda _: None)
    assert (tmp_path / "last.pt").read_bytes() == content


def test_damaged_logs(tmp_path):
    log = tmp_path / "train_log.jsonl"
    for text in ("{", "[1]\n", '{"loss": 1}\n', '{"epoch": "one"}\n', "3\n"):
        log.write_text(text)
        for use in (read_log, lambda path: append_record(path, {"epoch": 1})):
            with pytest.raises(DataError, match=r"train_log\.jsonl: not a readable training log"):
                use(log)


def test_verbs_name_a_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setattr(hil.nn.train, "keep_freed_memory", lambda: None)
    images = pictures(48, 1)
    data = str(tmp_path / "images.npz")
    np.savez(data, x=images.x, y=images.y)
    last = tmp_path / "last.pt"
    out = str(tmp_path / "out")
    for kind in ("text", "half a zip", "pickled path"):
        last.write_bytes(JUNK[kind])
        for words in (
            ["train", "--data", data, "--test", data, "--init", str(last), "--out", out],
            ["release", str(tmp_path), "--test", data, "--out", out],
            ["compress", "--checkpoint", str(last), "--method", "width", "--out", out],
        ):
            told = CliRunner().invoke(app, words).exception
            assert isinstance(told, DataError), told
            assert "last.pt: not a readable training checkpoint" in str(told)
            assert "`hil train` writes one" in str(told)


def test_a_file_where_a_folder_should_be(tmp_path, monkeypatch):
    monkeypatch.setattr(hil.nn.train, "keep_freed_memory", lambda: None)
    images = pictures(48, 1)
    file = tmp_path / "file.npz"
    np.savez(file, x=images.x, y=images.y)
    for place in (file, file / "inside"):
        with pytest.raises(DataError, match=r"cannot be made a folder \(.*; choose another --out"):
            made_folder(place)
    small = ["--width", "0.1", "--image", "16", "--batch", "16", "--epochs", "2"]
    for words in (
        ["train", "--data", str(file), "--test", str(file), *small],
        ["release", str(tmp_path), "--test", str(file)],
        ["compress", "--method", "width"],
    ):
        told = CliRunner().invoke(app, [*words, "--out", str(file)]).exception
        assert isinstance(told, DataError) and "cannot be made a folder" in str(told), told
