"""Planning, validation and rendering; the generated text is kept as golden files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chains import Step, chain

import boards
from codegen.generate import MAX_LAYERS, feasible_cuts, generate, largest_prefix
from codegen.protocol import c_structure, protocol_header
from codegen.render import render
from codegen.stm32f7.depthwise import Product, pack_taps, plan_steps
from codegen.stm32f7.matmul import interleave_rows
from hil.core.errors import PlanError
from hil.core.network import Cut, Network, Op
from hil.nn.random_layers import random_network

BOARD = boards.load_board("stm32f746")

GOLDEN_LAYERS = {
    "conv2d": random_network(Op.CONV, 5, 6, 3, 5, 3, 2, 1, signed_out=False),
    "pointwise": random_network(Op.POINTWISE, 3, 3, 5, 4),
    "depthwise": random_network(Op.DEPTHWISE, 6, 6, 5, 5, 3, 1, 1, signed_in=False),
    "linear": random_network(Op.LINEAR, 1, 2, 3, 3, signed_in=False),
    "add": random_network(Op.ADD, 2, 3, 3, 3, seed=1),
    "avgpool": random_network(Op.AVGPOOL, 4, 4, 5, 5, 2, 2),
    "maxpool": random_network(Op.MAXPOOL, 5, 5, 6, 6, 3, 2, 1),
}


@pytest.mark.parametrize("name", GOLDEN_LAYERS)
def test_layer_reads_as_kept(name: str, golden) -> None:
    sources = generate(GOLDEN_LAYERS[name], BOARD)
    golden(f"stm32f746/{name}.c", sources.files[f"{sources.plans[-1].function}.c"])


def test_common_files_read_as_kept(golden) -> None:
    sources = generate(GOLDEN_LAYERS["add"], BOARD)
    for name in ("layers.h", "network.c", "weights.c", "console_protocol.h"):
        golden(f"stm32f746/{name}", sources.files[name])


def test_generation_is_repeatable_and_names_no_machine() -> None:
    first = generate(GOLDEN_LAYERS["conv2d"], BOARD).files
    assert first == generate(GOLDEN_LAYERS["conv2d"], BOARD).files
    assert not any("/home" in text or "/work" in text or "/tmp" in text for text in first.values())


def test_prefix_has_only_its_layers() -> None:
    network = chain("three", (4, 4, 3), True, [Step(Op.POINTWISE, 4)] * 3)
    sources = generate(network, BOARD, layers=2)
    assert sources.layers == 2
    assert "TENSOR_3" not in sources.files["layers.h"]


def wide(side: int) -> Network:
    """stem 8 channels, then 64, then 8: the middle needs most memory."""
    steps = [Step(Op.POINTWISE, 8), Step(Op.POINTWISE, 64), Step(Op.POINTWISE, 8)]
    network = chain("wide", (side, side, 1), True, steps)
    cuts = tuple(Cut(f"cut{i}", i) for i in range(4))
    return replace(network, cuts=cuts)


def test_cuts_that_fit_and_the_reason_of_the_others() -> None:
    network = wide(64)  # 4096 pixels: 32 KB, then 256 KB beside it
    fits = feasible_cuts(network, BOARD)
    assert [fit.fits for fit in fits] == [True, True, False, False]
    assert "layer 1 (pointwise1)" in fits[2].reason and "sram" in fits[2].reason
    assert largest_prefix(network, BOARD) == Cut("cut1", 1)
    with pytest.raises(PlanError, match=r"layer 1 \(pointwise1\), 262144 bytes in one piece"):
        generate(network, BOARD)


def test_network_that_fits_nowhere() -> None:
    network = chain("huge", (72, 72, 1), True, [Step(Op.POINTWISE, 64)])
    with pytest.raises(PlanError, match=r"huge fits stm32f746 at no cut: huge: .*layer 0"):
        largest_prefix(network, BOARD)


def test_weights_that_overflow_flash_name_it() -> None:
    network = chain("fat", (1, 1, 2000), True, [Step(Op.LINEAR, 600)])
    with pytest.raises(PlanError, match=r"1 layers put 12\d+ bytes of weights .*memory flash"):
        generate(network, BOARD)


def test_scratch_that_is_too_small_names_layer_and_bytes() -> None:
    network = random_network(Op.CONV, 7, 7, 200, 2, 7)
    with pytest.raises(PlanError, match=r"under_test needs \d+ bytes of scratch, memory dtcm has"):
        generate(network, BOARD)


@pytest.mark.parametrize("layers", [0, 4])
def test_layer_count_is_checked(layers: int) -> None:
    network = chain("three", (4, 4, 3), True, [Step(Op.POINTWISE, 4)] * 3)
    with pytest.raises(PlanError, match="1 to 3"):
        generate(network, BOARD, layers)


def test_too_many_layers_and_bad_names_are_refused() -> None:
    network = chain("x", (1, 1, 1), True, [Step(Op.POINTWISE, 1)] * (MAX_LAYERS + 1))
    with pytest.raises(PlanError, match="129 layers, the firmware holds 128"):
        generate(network, BOARD)
    for name in ("ü", "", "x" * 32):
        with pytest.raises(PlanError, match="ASCII"):
            generate(replace(GOLDEN_LAYERS["add"], name=name), BOARD)


def test_template_with_a_missing_name_is_an_error() -> None:
    with pytest.raises(PlanError, match=r"common/build_id\.c\.j2.*rows"):
        render("common/build_id.c.j2")


def test_board_without_backend() -> None:
    with pytest.raises(PlanError, match=r"'toaster' has no code generator; known: gap8, stm32f746"):
        generate(GOLDEN_LAYERS["add"], replace(BOARD, name="toaster"))


def test_structures_follow_the_python_formats() -> None:
    fault = c_structure("FAULT", "", ("present", "cause", "pc", "address", "words"))
    assert [(m.c_type, m.count) for m in fault.members] == [
        ("uint8_t", 1),
        ("uint32_t", 1),
        ("uint32_t", 1),
        ("uint32_t", 1),
        ("uint32_t", 4),
    ]
    assert fault.size_bytes == 29
    with pytest.raises(PlanError, match="RUN has format"):
        c_structure("RUN", "", ("warmup", "iterations"))
    assert "MESSAGE_REPEAT_LAYERS = 0x08" in protocol_header()


def test_weights_interleave_by_pairs_of_channels() -> None:
    rows = np.arange(24, dtype=np.int8).reshape(3, 8)
    expected = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15]
    expected += [16, 17, 18, 19, 0, 0, 0, 0, 20, 21, 22, 23, 0, 0, 0, 0]
    assert interleave_rows(rows).tolist() == expected


def test_taps_of_a_3_wide_kernel_in_both_packings() -> None:
    words = pack_taps(np.array([[[1, -2, 3]]], np.int8), stride=1)
    assert [hex(w) for w in words[0, 0]] == ["0xfffe0001", "0x3", "0x10000", "0x3fffe"]


def test_steps_of_a_3_wide_kernel() -> None:
    # Stride 1: outputs 0 and 1 start in word 0, outputs 2 and 3 in word 1.
    assert plan_steps(3, 1)[0].products == (Product(0, 0), Product(1, 2))
    assert [step.word for step in plan_steps(3, 2)] == [0, 1, 2, 3, 4]
