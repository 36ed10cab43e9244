"""The arena planner: properties over random graphs, and hand-worked cases."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.arena import ALIGNMENT_BYTES, OVERREAD_BYTES, Region, lifetimes, plan_arena
from hil.core.errors import PlanError
from hil.core.network import Cut, Layer, Network, Op, Tensor


def graph(sizes: list[int], inputs: list[tuple[int, ...]]) -> Network:
    """A network of which only tensor sizes and readers matter here."""
    tensors = tuple(Tensor((1, 1, size), 1.0, True) for size in sizes)
    layers = tuple(Layer(f"layer{i}", Op.ADD, reads) for i, reads in enumerate(inputs))
    return Network("graph", tensors, layers, (Cut("all", len(layers)),))


@st.composite
def graphs(draw) -> Network:
    count = draw(st.integers(1, 14))
    sizes = draw(st.lists(st.integers(1, 5000), min_size=count + 1, max_size=count + 1))
    inputs = []
    for i in range(count):
        skip = draw(st.integers(0, i))
        inputs.append((i, skip) if draw(st.booleans()) else (i,))
    return graph(sizes, inputs)


def ideal_alive(network: Network, layers: int) -> list[set[int]]:
    """Tensors that must be intact while each layer runs, straight from the definition: written
    before or now, and read now or later (the input and the end always)."""
    alive = []
    for now in range(layers):
        read_from_now = {t for layer in network.layers[now:layers] for t in layer.inputs}
        needed = read_from_now | network.crossing(layers) | {0, layers, now + 1}
        alive.append({t for t in needed if t <= now + 1})
    return alive


@settings(max_examples=200, deadline=None)
@given(graphs(), st.integers(300, 20000), st.integers(300, 60000), st.data())
def test_live_tensors_never_overlap(network, small, large, data) -> None:
    layers = data.draw(st.integers(1, len(network.layers)))
    regions = (Region("small", small), Region("large", large))
    try:
        plan = plan_arena(network, layers, regions)
    except PlanError as error:
        assert "graph" in str(error) and "bytes" in str(error)
        return
    size_of = {"small": small, "large": large}
    assert [p.tensor for p in plan.placements] == list(range(layers + 1))
    for place in plan.placements:
        assert place.size_bytes == network.tensors[place.tensor].size_bytes
        assert place.offset % ALIGNMENT_BYTES == 0
        assert place.offset + place.size_bytes + OVERREAD_BYTES <= size_of[place.region]
        assert place.offset + place.size_bytes <= plan.used_bytes[place.region]
    for alive in ideal_alive(network, layers):
        for region in size_of:
            spans = sorted(
                (p.offset, p.offset + p.size_bytes)
                for p in plan.placements
                if p.tensor in alive and p.region == region
            )
            assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert plan_arena(network, layers, regions) == plan


@given(graphs())
def test_twice_the_peak_is_always_enough(network) -> None:
    layers = len(network.layers)
    plan = plan_arena(network, layers, (Region("one", 10**6),))
    needed = 2 * plan.peak_bytes + OVERREAD_BYTES
    assert plan.used_bytes["one"] <= needed


def test_lifetimes_of_a_skip_connection() -> None:
    network = graph([10, 20, 30, 40, 50], [(0,), (1,), (2,), (3, 1)])
    spans = [(life.first, life.last) for life in lifetimes(network, 4)]
    # input for ever; tensor 1 until the addition; 2 and 3 until their reader; output for ever
    assert spans == [(0, 4), (0, 3), (1, 2), (2, 3), (3, 4)]


def test_a_prefix_keeps_what_crosses_it() -> None:
    network = graph([10, 20, 30, 40, 50], [(0,), (1,), (2,), (3, 1)])
    spans = [(life.first, life.last) for life in lifetimes(network, 3)]
    assert spans[1] == (0, 3)  # read by layer 3, beyond the prefix
    assert spans[3] == (2, 3)


def test_a_chain_of_equal_tensors_uses_input_and_two_buffers() -> None:
    network = graph([64, 320, 320, 320, 320], [(0,), (1,), (2,), (3,)])
    plan = plan_arena(network, 4, (Region("ram", 10_000),))
    assert plan.used_bytes == {"ram": 64 + 2 * 320}


def test_second_region_takes_what_the_first_cannot() -> None:
    network = graph([64, 1024, 64], [(0,), (1,)])
    plan = plan_arena(network, 2, (Region("small", 256), Region("large", 2048)))
    assert [plan.of(t).region for t in range(3)] == ["small", "large", "small"]


def test_refusal_names_layer_bytes_and_memories() -> None:
    network = graph([64, 4096, 4096], [(0,), (1,)])
    with pytest.raises(PlanError, match=r"layer 1 \(layer1\) has 8256 bytes.*ram 7968"):
        plan_arena(network, 2, (Region("ram", 8000),))


def test_refusal_of_a_tensor_larger_than_any_region() -> None:
    network = graph([64, 4096], [(0,)])
    with pytest.raises(PlanError, match=r"tensor 1 of layer 0 \(layer0\), 4096 bytes in one piece"):
        plan_arena(network, 1, (Region("a", 4000), Region("b", 4000)))


def test_the_bound_is_reached_where_first_fit_alone_misses_it() -> None:
    """Two inverted residual blocks, 8 channels and 48: the expanded pair, the skip, the input."""
    narrow, wide = 8192, 49152
    sizes = [3072, narrow, wide, wide, narrow, narrow, wide, wide, narrow, narrow]
    reads = [(0,), (1,), (2,), (3,), (4, 1), (5,), (6,), (7,), (8, 5)]
    network = graph(sizes, reads)
    bound = 3072 + narrow + 2 * wide
    plan = plan_arena(network, 9, (Region("ram", bound + OVERREAD_BYTES),))
    assert plan.peak_bytes == bound and plan.used_bytes["ram"] == bound
