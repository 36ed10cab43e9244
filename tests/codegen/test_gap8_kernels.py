"""Every kernel of GAP8, compiled and run on the simulated chip at awkward sizes.

The layers' outputs must equal the NumPy reference bit for bit; they come back as CRC-32 digests
over the real console protocol. Several layers share an image because linking is what takes time.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from chains import Step, chain
from device import Device

import boards
from codegen.build import build
from codegen.generate import Sources, generate
from hil.core.console import RunFlag
from hil.core.network import Network, Op
from hil.nn import assets, reference
from hil.nn.random_layers import random_input, random_network
from hil.sim.socs.gap8 import Gap8

UNSIGNED = {"signed_out": False}
SAME = (1, 1, 1, 1)


def boot(network: Network, folder: Path) -> tuple[Device, Sources]:
    """A simulated board that has said hello."""
    board = boards.load_board("gap8")
    sources = generate(network, board)
    chip = Gap8()
    chip.load_elf(build(sources, board, folder, toolchain="zig").elf)
    device = Device(chip)
    device.run_until_waiting()
    device.take()
    return device, sources


def wrong_layers(device: Device, network: Network, image: np.ndarray) -> list[str]:
    """Layers whose output on the board differs from the reference."""
    device.load_input(image)
    device.run(flags=RunFlag.DIGEST)
    expected = reference.run(network, image)
    return [
        f"{layer.name} {layer.op.value}"
        for layer, got, want in zip(network.layers, device.digests(), expected[1:], strict=True)
        if got != zlib.crc32(want.tobytes())
    ]


def pointwise_chain() -> Network:
    """All four kernels, every remainder of channels by four, odd pixel counts."""
    widths = [(3, True), (7, False), (8, False), (9, True), (31, False), (33, True), (64, False)]
    steps = [Step(Op.POINTWISE, cout, signed_out=signed) for cout, signed in widths]
    return chain("pointwise", (5, 7, 1), False, [*steps, Step(Op.POINTWISE, 1)])


def sliced_pointwise() -> Network:
    """Weights beyond L1: slices of output channels, each over all bands of pixels."""
    return chain(
        "sliced", (3, 3, 161), True, [Step(Op.POINTWISE, 449, **UNSIGNED), Step(Op.POINTWISE, 7)]
    )


def conv_chain() -> Network:
    return chain(
        "conv",
        (19, 23, 3),
        True,
        [
            Step(Op.CONV, 7, (3, 3), (1, 1), SAME, **UNSIGNED),
            Step(Op.CONV, 8, (2, 3), (1, 2), (0, 1, 1, 2)),
            Step(Op.CONV, 9, (5, 1), (2, 1), (2, 0, 2, 0), **UNSIGNED),
            Step(Op.CONV, 1, (1, 1), (1, 1)),
            Step(Op.CONV, 33, (3, 3), (3, 2), (1, 1, 0, 0)),
            Step(Op.POINTWISE, 5, stride=(2, 2)),
            Step(Op.CONV, 2, (2, 3)),
        ],
    )


def banded_conv() -> Network:
    """Several bands with padding above, below and beside, and slices of channels."""
    return chain(
        "banded",
        (25, 17, 31),
        False,
        [Step(Op.CONV, 33, (5, 5), (1, 1), (2, 2, 2, 2), **UNSIGNED), Step(Op.CONV, 65, (3, 3))],
    )


def depthwise_chain() -> Network:
    """3x3 with both strides, other kernels, for signed and unsigned tensors."""
    return chain(
        "depthwise",
        (29, 31, 1),
        False,
        [
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME),
            Step(Op.POINTWISE, 9, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), (0, 2, 1, 0), **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (5, 5), (1, 1), (2, 2, 2, 2)),
            Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), SAME, **UNSIGNED),
            Step(Op.POINTWISE, 31),
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME),
            Step(Op.DEPTHWISE, 0, (2, 4), (1, 1), (0, 1, 1, 2), **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), (1, 0, 0, 1), **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), SAME),
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 3), (1, 0, 1, 1)),
            Step(Op.POINTWISE, 33, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (1, 13), (1, 1), (0, 6, 0, 6)),
            Step(Op.DEPTHWISE, 0, (3, 1), (2, 1), (1, 0, 1, 0)),
        ],
    )


def tall_depthwise() -> Network:
    """Bands of rows, and slices of channels that end in an incomplete group of four."""
    return chain(
        "tall",
        (50, 37, 13),
        False,
        [
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), SAME),
        ],
    )


def others_chain() -> Network:
    """Additions, pooling with padding, linear layers."""
    return chain(
        "others",
        (15, 14, 7),
        True,
        [
            Step(Op.ADD),
            Step(Op.MAXPOOL, 0, (3, 3), (2, 2), SAME),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.AVGPOOL, 0, (2, 3), (1, 1), **UNSIGNED),
            Step(Op.MAXPOOL, 0, (2, 2), (1, 2), (1, 0, 0, 1)),
            Step(Op.POINTWISE, 33),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.AVGPOOL, 0, (6, 2)),
            Step(Op.LINEAR, 9, **UNSIGNED),
            Step(Op.ADD),
            Step(Op.LINEAR, 33),
            Step(Op.LINEAR, 1),
        ],
    )


def signs_chain() -> Network:
    """Additions of every pair of signs (an odd step's branch has the other sign), pools of both."""
    return chain(
        "signs",
        (9, 11, 7),
        True,
        [
            Step(Op.ADD),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.MAXPOOL, 0, (2, 2)),
            Step(Op.AVGPOOL, 0, (2, 2)),
            Step(Op.MAXPOOL, 0, (2, 2)),
            Step(Op.AVGPOOL, 0, (2, 2)),
        ],
    )


CHAINS = [
    pointwise_chain,
    sliced_pointwise,
    conv_chain,
    banded_conv,
    depthwise_chain,
    tall_depthwise,
    others_chain,
    signs_chain,
]


LONGEST = (banded_conv, tall_depthwise)


@pytest.mark.parametrize(
    "make",
    [pytest.param(m, marks=pytest.mark.slow) if m in LONGEST else m for m in CHAINS],
    ids=[m.__name__ for m in CHAINS],
)
def test_every_layer_is_bit_exact(make, tmp_path: Path) -> None:
    network = make()
    device, _ = boot(network, tmp_path)
    for seed in (1, 2):
        assert wrong_layers(device, network, random_input(network, seed)) == []
    counters = device.chip.counters()
    assert counters["hardware_loops_beyond_manual"] == 0
    assert counters["hardware_loops_with_close_ends"] == 0


def test_chains_reach_every_kernel_and_way_of_tiling() -> None:
    board = boards.load_board("gap8")
    plans = [plan for make in CHAINS for plan in generate(make(), board).plans]
    reached = {plan.context["kernel"].function for plan in plans}
    header_text = "".join(
        boards.board_files("gap8")[name].read_text()
        for name in ("conv.h", "depthwise.h", "elementwise.h")
    )
    offered = {
        line.split("(")[0].removeprefix("void ")
        for line in header_text.splitlines()
        if line.startswith("void ")
    }
    assert offered == reached
    assert {plan.context["buffers"] for plan in plans} == {1, 2}
    assert any("lines" in _ways(plan.context["steps"]) for plan in plans)


def _ways(steps) -> set[str]:
    moves = [t for step in steps for t in (*step.loads, step.store)]
    return {"lines" if move.line else "run" for move in moves}


@pytest.mark.slow
def test_speed_of_the_kernels_that_take_the_time(tmp_path: Path) -> None:
    """Floors well under what was measured; above them a kernel still has its inner loop."""
    floors = [
        (random_network(Op.POINTWISE, 16, 16, 48, 16, signed_in=False), 8.0),
        (random_network(Op.POINTWISE, 8, 8, 192, 32, signed_in=False), 12.0),
        (random_network(Op.DEPTHWISE, 32, 32, 16, 16, 3, 1, 1, signed_in=False), 3.0),
        (random_network(Op.DEPTHWISE, 16, 16, 96, 96, 3, 2, 1, signed_in=False), 2.0),
    ]
    for number, (network, floor) in enumerate(floors):
        device, _ = boot(network, tmp_path / str(number))
        device.load_input(random_input(network, 1))
        _, layers = device.run(warmup=1)
        assert network.macs(0) / layers[0][0] >= floor, network.name


def test_parts_of_a_layer_add_up(tmp_path: Path) -> None:
    network = random_network(Op.POINTWISE, 16, 16, 24, 48)
    device, _ = boot(network, tmp_path)
    device.load_input(random_input(network, 1))
    total, layers = device.run(iterations=3)
    whole, compute, copy = (int(n) for n in layers[0])
    assert compute + copy <= whole
    assert compute > 0.8 * whole  # tiles overlap their transfers
    assert 3 * whole <= total * 1.05


def test_shipped_network_is_bit_exact_as_a_whole(tmp_path: Path) -> None:
    """All layers of the sample network on real images, within the chip's 512 KB."""
    network = assets.default_network()
    device, sources = boot(network, tmp_path)
    assert sources.layers == len(network.layers)
    for image in reference.quantise_input(assets.sample_images().x[:3]):
        assert wrong_layers(device, network, image) == []
