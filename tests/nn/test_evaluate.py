"""Accuracies: intervals against a published value, splits against their two halves."""

import json

import numpy as np
import pytest
import torch

from hil.core.errors import DataError, ModelError
from hil.nn.capture import capture
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import (
    Accuracy,
    channel_counts,
    float_accuracy,
    int8_accuracy,
    load_split_accuracy,
    save_split_accuracy,
    split_accuracy,
)
from hil.nn.quantise import quantise
from hil.nn.reference import quantise_input, run
from hil.nn.tail import cloud_tail, dequantise
from hil.nn.zoo import normalise


@pytest.fixture
def split_pair(mixture, pictures):
    graph = capture(mixture, 32, "mixture")
    with torch.inference_mode():
        labels = mixture(normalise(pictures)).argmax(1).numpy()
    labels[::7] = (labels[::7] + 1) % 5  # some answers are wrong
    return graph, quantise(graph, pictures[:16]), ImageSet("smooth", pictures, labels)


def test_wilson_interval_against_a_published_example():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263 and 0/20.
    low, high = Accuracy(81, 263).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = Accuracy(0, 20).interval
    assert (round(low, 4), round(high, 4)) == (0.0, 0.1611)


def test_channel_counts():
    assert channel_counts(8) == (1, 2, 4, 6, 8)
    assert channel_counts(3) == (1, 2, 3)
    assert channel_counts(1) == (1,)


def test_float_accuracy_is_the_models_own(split_pair):
    graph, _, images = split_pair
    accuracy = float_accuracy(graph, images)
    wrong = len(range(0, len(images), 7))
    assert (accuracy.correct, accuracy.images) == (len(images) - wrong, len(images))


def test_splits_agree_with_doing_both_halves_by_hand(split_pair):
    graph, network, images = split_pair
    table = split_accuracy(network, graph, images)
    assert {p.cut for p in table.points} == {c.name for c in network.cuts}
    assert table.at("all", 5) == int8_accuracy(network, images)
    assert table.at("input", 3) == float_accuracy(graph, images)
    assert table.channels("block1") == (1, 2, 4, 6, 8)
    cut = network.cut("block1")
    crossing = run(network, quantise_input(images.x), upto=cut.layers)[-1]
    real = crossing.astype(np.float32) * np.float32(network.tensors[cut.layers].scale)
    real[..., 4:] = 0
    with torch.inference_mode():
        logits = cloud_tail(graph, "block1")(torch.from_numpy(real).permute(0, 3, 1, 2))
    correct = int((logits.argmax(1).numpy() == images.y).sum())
    assert table.at("block1", 4) == Accuracy(correct, len(images))
    table.check(network)


def test_the_tail_of_a_plain_model_is_captured_on_the_way(mixture):
    with torch.inference_mode():
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(cloud_tail(mixture, "input")(x), mixture(x))


def test_dequantise_checks_what_was_received(split_pair):
    _, network, _ = split_pair
    tensor = network.tensors[1]
    sent = np.ones((2, 16, 16, 3), np.uint8)
    full = dequantise(sent, tensor)
    assert full.shape == (2, 8, 16, 16) and full[:, 3:].abs().max() == 0
    assert full[0, 0, 0, 0] == pytest.approx(tensor.scale)
    with pytest.raises(ModelError, match=r"shape \(2, 16, 16, 9\)"):
        dequantise(np.ones((2, 16, 16, 9), np.uint8), tensor)
    with pytest.raises(ModelError, match="received int8"):
        dequantise(sent.astype(np.int8), tensor)


def test_table_round_trip_and_refusals(split_pair, tmp_path):
    graph, network, images = split_pair
    table = split_accuracy(network, graph, images.take(8), fractions=(0.5, 1.0))
    path = tmp_path / "split.json"
    save_split_accuracy(table, path)
    assert load_split_accuracy(path) == table
    point = json.loads(path.read_text())["points"][0]
    assert point["top1"] == point["accuracy"]["correct"] / 8
    with pytest.raises(ModelError, match="no accuracy for 99 channels at cut 'stem'; known: input"):
        table.at("stem", 99)
    with pytest.raises(ModelError, match="evaluate again"):
        table.check(quantise(graph, images.x[:4], "minmax"))
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"split\.json: not a readable split accuracy"):
        load_split_accuracy(path)
    path.write_text('{"format": 2}')
    with pytest.raises(DataError, match="format 2; this version reads 1"):
        load_split_accuracy(path)
