"""What each reduction of the training's cost leaves to be learnt."""

from __future__ import annotations

from hil.clio.slicing.recipe import PAPER, SANDWICH
from hil.clio.slicing.training_cost import training_costs
from hil.nn.chain import chain
from hil.nn.narrow import narrow
from hil.nn.zoo import build_model

from .conftest import SPEC


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_by_counting():
    costs = training_costs(SPEC, "block2", (2, 8), 8, (PAPER, SANDWICH), batch=4, steps=1)
    units = chain(build_model(SPEC))
    device, entry, rest = units[:3], units[3], units[4:]
    entries = {n: parameters(narrow(entry, n)) for n in range(1, 9)}
    front, tail = sum(map(parameters, device)), sum(map(parameters, rest))
    # An entry for all channels has a convolution for its skip.
    entries[8] += 0
    naive, subset, tied, paper, sandwich = costs
    assert naive.parameters == front + sum(entries.values()) + 8 * tail
    assert subset.parameters == front + entries[2] + entries[8] + 2 * tail
    assert tied.parameters == front + entries[2] + entries[8] + tail == paper.parameters
    norms = sum(
        p.numel()
        for unit in rest
        for m in unit.modules()
        if type(m).__name__ == "BatchNorm2d"
        for p in m.parameters()
    )
    # Ours: the whole network with its identity skip, and one narrow path with norms of its own.
    assert sandwich.parameters == front + parameters(entry) + tail + entries[2] + norms
    assert [c.slices for c in costs] == [8, 2, 2, 2, 2]
    assert all(c.step_s > 0 for c in costs)
