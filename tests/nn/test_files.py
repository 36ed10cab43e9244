"""Network files and checkpoints: round trips, and one clear error for each kind of damage."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from hil.core.errors import DataError
from hil.core.network import Network, Op
from hil.nn.capture import capture
from hil.nn.checkpoint import export_checkpoint, load_checkpoint, save_checkpoint
from hil.nn.network_file import load_network, save_network
from hil.nn.quantise import quantise
from hil.nn.random_layers import random_input, random_network
from hil.nn.reference import run
from hil.nn.zoo import ModelSpec, build_model


@pytest.fixture
def network(mixture, pictures) -> Network:
    return quantise(capture(mixture, 32, "mixture"), pictures[:8], "minmax")


def test_network_round_trip(network, tmp_path):
    path = tmp_path / "net.npz"
    save_network(network, path)
    again = load_network(path)
    assert again.digest == network.digest
    assert again.tensors == network.tensors and again.cuts == network.cuts
    for a, b in zip(again.layers, network.layers, strict=True):
        assert (a.name, a.op, a.inputs, a.kernel, a.stride, a.pad, a.clamp) == (
            b.name,
            b.op,
            b.inputs,
            b.kernel,
            b.stride,
            b.pad,
            b.clamp,
        )
        for key in ("weight", "bias", "multiplier", "shift"):
            x, y = getattr(a, key), getattr(b, key)
            assert (x is None) == (y is None)
            if x is not None:
                assert x.dtype == y.dtype and x.shape == y.shape and (x == y).all()
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


def test_a_loaded_network_computes_the_same(tmp_path):
    network = random_network(Op.CONV, 6, 6, 3, 4, 3, 1, 1, seed=2)
    save_network(network, tmp_path / "n.npz")
    x = random_input(network, 1)
    again = load_network(tmp_path / "n.npz")
    np.testing.assert_array_equal(run(again, x)[-1], run(network, x)[-1])


def damage(path, where: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 0x55
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("where", [0.0, 0.2, 0.5, 0.8])
def test_a_damaged_network_file_is_refused(network, tmp_path, where):
    path = tmp_path / "net.npz"
    save_network(network, path)
    damage(path, where)
    with pytest.raises(DataError, match=r"net\.npz"):
        load_network(path)


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_truncated_network_file_is_refused(network, tmp_path, keep):
    path = tmp_path / "net.npz"
    save_network(network, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="not a readable network file"):
        load_network(path)


def rewrite(path, change) -> None:
    """Change a file's header or arrays, keeping it a sound .npz."""
    with np.load(path) as pack:
        arrays = {key: pack[key] for key in pack.files}
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


def test_an_edited_network_file_is_refused(network, tmp_path):
    path = tmp_path / "net.npz"
    save_network(network, path)
    rewrite(path, lambda header, arrays: arrays["0.weight"].__setitem__((0, 0, 0, 0), 99))
    with pytest.raises(DataError, match="damaged or was edited"):
        load_network(path)


def test_files_of_another_version_or_kind_are_refused(network, tmp_path):
    path = tmp_path / "net.npz"
    save_network(network, path)
    rewrite(path, lambda header, arrays: header.update(format=9))
    with pytest.raises(DataError, match="format 9; this version reads 1"):
        load_network(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(DataError, match="not a readable network file"):
        load_network(path)
    with pytest.raises(DataError, match="no such network file"):
        load_network(tmp_path / "absent.npz")


@pytest.fixture
def last_pt(tmp_path):
    """A training checkpoint as hil.nn.train writes them."""
    spec = ModelSpec("mobilenetv2", 0.1)
    torch.manual_seed(3)
    model = build_model(spec)
    folder = tmp_path / "mobilenetv2-tiny"
    folder.mkdir()
    torch.save(
        {
            "spec": asdict(spec),
            "recipe": {"epochs": 2, "seed": 0},
            "train_digest": "aa",
            "test_digest": "bb",
            "model": model.state_dict(),
            "optimizer": {},
            "schedule": {},
            "epochs_done": 2,
            "record": {"epoch": 2, "test_top1": 0.5},
        },
        folder / "last.pt",
    )
    return folder / "last.pt"


def test_checkpoint_export_round_trip(last_pt, tmp_path):
    out = tmp_path / "tiny.npz"
    exported = export_checkpoint(last_pt, out)
    again = load_checkpoint(out)
    assert again.name == exported.name == "mobilenetv2-tiny"
    assert again.digest == exported.digest == load_checkpoint(last_pt).digest
    assert again.spec == ModelSpec("mobilenetv2", 0.1)
    assert (again.record, again.recipe) == (exported.record, exported.recipe)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again.model()(x), load_checkpoint(last_pt).model()(x))


def test_damaged_checkpoints_are_refused(last_pt, tmp_path):
    out = tmp_path / "tiny.npz"
    export_checkpoint(last_pt, out, "tiny")
    sound = out.read_bytes()
    out.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_checkpoint(out)
    out.write_bytes(sound)
    rewrite(out, lambda header, arrays: arrays["classifier.bias"].__setitem__(0, 7.0))
    with pytest.raises(DataError, match="damaged or was edited"):
        load_checkpoint(out)
    last_pt.write_bytes(last_pt.read_bytes()[:5000])
    with pytest.raises(DataError, match="not a readable training checkpoint"):
        load_checkpoint(last_pt)
    last_pt.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="not a readable training checkpoint"):
        load_checkpoint(last_pt)
    with pytest.raises(DataError, match="no such training checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")


def test_weights_of_another_model_are_refused(last_pt, tmp_path):
    checkpoint = load_checkpoint(last_pt)
    other = replace(checkpoint, spec=ModelSpec("mobilenetv2", 0.35))
    save_checkpoint(other, tmp_path / "x.npz")
    with pytest.raises(DataError, match="weights do not fit"):
        load_checkpoint(tmp_path / "x.npz").model()
