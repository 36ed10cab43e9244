"""Width multiplier within a budget, and the record every method gives."""

import json

import numpy as np
import pytest

from hil.clio.compression.compressed import save_compressed
from hil.clio.compression.macs import budget_macs, size_of
from hil.clio.compression.width import STEP, compress_width, width_for
from hil.core.errors import ModelError
from hil.nn.checkpoint import load_checkpoint
from hil.nn.models.mobilenet_v2 import channel_counts
from hil.nn.zoo import ModelSpec


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_widest_within_the_budget(share):
    spec = ModelSpec("mobilenetv2", 0.5, image=16)
    budget = budget_macs(spec, share)
    chosen = width_for(spec, budget)
    assert size_of(chosen).macs <= budget
    assert chosen.channels == channel_counts(chosen.width)
    wider = ModelSpec("mobilenetv2", chosen.width + STEP, image=16)
    assert size_of(wider).macs > budget


def test_the_whole_budget_keeps_the_width(spec):
    assert width_for(spec, size_of(spec).macs).channels == channel_counts(spec.width)


def test_budget_below_the_narrowest_is_refused(spec):
    with pytest.raises(ModelError, match="narrowest"):
        width_for(spec, 1000)


def test_record_and_checkpoint_agree(checkpoint, tmp_path):
    made = compress_width(checkpoint, budget_macs(checkpoint.spec, 0.9), seed=4)
    weights, record = save_compressed(made, tmp_path)
    loaded, document = load_checkpoint(weights), json.loads(record.read_text())
    assert document["weights_digest"] == loaded.digest
    assert document["from_scratch"] is True
    assert document["after"]["macs"] == size_of(loaded.spec).macs <= document["before"]["macs"]
    loaded.model()  # the weights fit the spec
    again = made.initial_weights()
    assert all(np.array_equal(again[key], value) for key, value in loaded.weights.items())
