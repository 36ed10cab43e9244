"""The GAP8 planner: every tile inside L1, every output byte written once, refusals that help."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boards
from codegen.gap8 import backend
from codegen.gap8.bands import band_of
from codegen.gap8.conv import pack_weights, shape_of
from codegen.gap8.steps import best_grid, even_parts, scratch_limit, spans
from codegen.generate import generate
from hil.core.board import Board
from hil.core.errors import PlanError
from hil.core.network import Op
from hil.nn.random_layers import random_network

BOARD = boards.load_board("gap8")
MACS = [Op.CONV, Op.POINTWISE, Op.DEPTHWISE]


def small_l1(size_bytes: int) -> Board:
    """The board with an L1 of that size."""
    memories = tuple(
        dataclasses.replace(m, size_bytes=size_bytes + m.reserved_bytes) if m.name == "l1" else m
        for m in BOARD.memories
    )
    return dataclasses.replace(BOARD, memories=memories)


def written(transfer, size: int) -> np.ndarray:
    """How often each byte of a tensor is written by a store."""
    line = transfer.line or transfer.size_bytes
    counts = np.zeros(size, int)
    for number in range(transfer.size_bytes // line):
        start = transfer.l2 + number * transfer.distance
        counts[start : start + line] += 1
    return counts


@settings(max_examples=25, deadline=None)
@given(
    op=st.sampled_from([*MACS, Op.ADD, Op.MAXPOOL]),
    h=st.integers(3, 20),
    w=st.integers(3, 20),
    cin=st.integers(1, 40),
    cout=st.integers(1, 40),
    l1=st.sampled_from([8_000, 16_000, 56_320]),
)
def test_tiles_cover_the_output_once_and_stay_in_l1(op, h, w, cin, cout, l1) -> None:
    kernel = 1 if op in (Op.POINTWISE, Op.ADD) else 3
    network = random_network(op, h, w, cin, cout, kernel, 1, kernel // 2)
    index = len(network.layers) - 1
    board = small_l1(l1)
    plan = backend.plan_layer(network, index, board)
    assert plan.scratch_bytes <= scratch_limit(board) == l1
    size = network.tensors[index + 1].size_bytes
    stores = [step.store for step in plan.context["steps"]]
    assert (sum(written(store, size) for store in stores) == 1).all()
    for step in plan.context["steps"]:
        for move in (*step.loads, step.store):
            assert move.is_possible
            assert move.l1 + move.size_bytes <= plan.scratch_bytes


def test_a_layer_too_big_for_l1_names_layer_memory_and_bytes() -> None:
    network = random_network(Op.CONV, 40, 40, 64, 8, 5)
    with pytest.raises(PlanError) as refusal:
        generate(network, small_l1(4000))
    text = str(refusal.value)
    assert "under_test" in text and "l1" in text and "4000" in text


def test_no_transfer_is_longer_than_15_bits_of_length() -> None:
    """A layer whose fastest tile would load 37,008 bytes at once, and one without other tiles."""
    network = random_network(Op.CONV, 12, 12, 256, 16, 3, 1, 1)
    plan = backend.plan_layer(network, 0, BOARD)
    moves = [move for step in plan.context["steps"] for move in (*step.loads, step.store)]
    assert max(move.size_bytes for move in moves) < 1 << 15
    with pytest.raises(PlanError, match=r"under_test.*transfer of more than 32764 bytes"):
        backend.plan_layer(random_network(Op.CONV, 5, 5, 350, 4, 5, 1, 2), 0, BOARD)


def test_weights_are_packed_four_channels_a_record() -> None:
    network = random_network(Op.POINTWISE, 2, 2, 5, 3, seed=4)
    layer = network.layers[0]
    words = pack_weights(layer, shape_of(network, 0))
    # 4 biases, two words of each of four channels (5 weights and zeros), 4 multipliers, 4 shifts
    assert len(words) == 4 + 8 + 4 + 1
    assert words[:4].tolist() == [*layer.bias.tolist(), 0]
    octets = words[4:12].astype("<i4").view(np.int8).reshape(2, 4, 4)
    weight = layer.weight.reshape(3, 5)
    assert (octets[0, :3] == weight[:, :4]).all()
    assert (octets[1, :3, 0] == weight[:, 4]).all()
    assert not octets[1, :, 1:].any() and not octets[:, 3].any()
    assert words[12:16].tolist() == [*layer.multiplier.tolist(), 0]
    assert words[16:].astype("<i4").view(np.uint8).tolist() == [*layer.shift.tolist(), 0]


def test_bands_know_their_padding() -> None:
    # 3x3, stride 1, one zero row above and below 8 rows, in bands of 3 output rows
    first, middle, last = (band_of(span, 8, 3, 1, 1) for span in spans(8, 3))
    assert (first.first, first.last, first.top, first.bottom) == (0, 4, 1, 0)
    assert (middle.first, middle.last, middle.top, middle.bottom) == (2, 7, 0, 0)
    assert (last.first, last.last, last.top, last.bottom) == (5, 8, 0, 1)


def test_grid_shares_the_longer_work() -> None:
    assert [best_grid(*work).cores for work in ((100, 1), (100, 2), (2, 4), (1, 12))] == [
        8,
        4,
        2,
        1,
    ]


@given(st.integers(1, 500), st.sampled_from([1, 4, 16]))
def test_parts_are_multiples_or_the_whole(count: int, multiple: int) -> None:
    sizes = list(even_parts(count, multiple))
    assert sizes[0] == count
    assert len(set(sizes)) == len(sizes)
    assert all(size % multiple == 0 or size == count for size in sizes)


def test_generated_layer_reads_as_expected(golden) -> None:
    network = random_network(Op.DEPTHWISE, 20, 20, 16, 16, 3, 1, 1, signed_in=False, seed=3)
    sources = generate(network, small_l1(9_000))
    golden("gap8_depthwise.c", sources.files["layer_00_under_test.c"])
    network = random_network(Op.POINTWISE, 8, 8, 24, 48, seed=3)
    sources = generate(network, small_l1(6_000))
    golden("gap8_pointwise.c", sources.files["layer_00_under_test.c"])
