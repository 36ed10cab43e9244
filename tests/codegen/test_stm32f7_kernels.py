"""Every kernel of the STM32F746, compiled and run on the simulated chip at awkward sizes.

The layers' outputs must equal the NumPy reference bit for bit; they come back as CRC-32 digests
over the real console protocol.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import pytest
from chains import Step, chain
from device import Device

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.console import RunFlag
from hil.core.network import Network, Op
from hil.nn import reference
from hil.nn.random_layers import random_input
from hil.sim.chips import make_chip
from hil.sim.socs.stm32f7.soc import Stm32F7

UNSIGNED = {"signed_out": False}


def pointwise_chain() -> Network:
    widths = [(3, True), (7, False), (8, True), (9, False), (31, False), (33, True), (64, True)]
    steps = [Step(Op.POINTWISE, cout, signed_out=signed) for cout, signed in widths]
    return chain("pointwise", (5, 7, 1), False, [*steps, Step(Op.POINTWISE, 1)])


def conv_chain() -> Network:
    return chain(
        "conv",
        (19, 23, 3),
        True,
        [
            Step(Op.CONV, 7, (3, 3), (1, 1), (1, 1, 1, 1), **UNSIGNED),
            Step(Op.CONV, 8, (2, 3), (1, 2), (0, 1, 1, 2)),
            Step(Op.CONV, 9, (5, 1), (2, 1), (2, 0, 2, 0), **UNSIGNED),
            Step(Op.CONV, 1, (1, 1), (1, 1)),
            Step(Op.CONV, 33, (3, 3), (3, 2), (1, 1, 0, 0)),
            Step(Op.POINTWISE, 5, stride=(2, 2)),
            Step(Op.CONV, 2, (2, 3)),
        ],
    )


def depthwise_chain() -> Network:
    return chain(
        "depthwise",
        (29, 31, 1),
        False,
        [
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), (1, 1, 1, 1)),
            Step(Op.POINTWISE, 9, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (5, 5), (1, 1), (2, 2, 2, 2)),
            Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), (1, 1, 1, 1), **UNSIGNED),
            Step(Op.POINTWISE, 31),
            Step(Op.DEPTHWISE, 0, (2, 4), (1, 1), (0, 1, 1, 2)),
            Step(Op.DEPTHWISE, 0, (3, 3), (1, 3), (1, 0, 1, 1)),
            Step(Op.POINTWISE, 8, **UNSIGNED),
            Step(Op.DEPTHWISE, 0, (7, 1), (2, 1), (3, 0, 3, 0)),
            Step(Op.DEPTHWISE, 0, (7, 4)),
        ],
    )


def tall_depthwise() -> Network:
    """Planes that do not fit the scratch memory: several tiles of rows."""
    step = Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), (1, 1, 1, 1))
    return chain("tall", (150, 67, 5), True, [step])


def others_chain() -> Network:
    return chain(
        "others",
        (15, 14, 7),
        True,
        [
            Step(Op.ADD),
            Step(Op.MAXPOOL, 0, (3, 3), (2, 2), (1, 1, 1, 1)),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.AVGPOOL, 0, (2, 3), (1, 1), **UNSIGNED),
            Step(Op.MAXPOOL, 0, (2, 2), (1, 2)),
            Step(Op.POINTWISE, 33),
            Step(Op.ADD, **UNSIGNED),
            Step(Op.AVGPOOL, 0, (6, 2)),
            Step(Op.LINEAR, 9, **UNSIGNED),
            Step(Op.LINEAR, 33),
            Step(Op.LINEAR, 1),
        ],
    )


CHAINS = [pointwise_chain, conv_chain, depthwise_chain, tall_depthwise, others_chain]


def wrong_layers(
    network: Network, toolchain: str, folder: Path, name: str = "stm32f746", data_cache: str = ""
) -> list[str]:
    """Builds and runs the network on two images; the layers whose digest is not the reference's."""
    board = boards.load_board(name)
    firmware = build(generate(network, board), board, folder, toolchain)
    chip = make_chip(name, data_cache)
    assert isinstance(chip, Stm32F7)
    chip.load_elf(firmware.elf)
    device = Device(chip)
    device.run_until_waiting()
    device.take()
    wrong = []
    for seed in (1, 2):
        image = random_input(network, seed)
        device.load_input(image)
        device.run(flags=RunFlag.DIGEST)
        expected = [zlib.crc32(t.tobytes()) for t in reference.run(network, image)[1:]]
        pairs = zip(network.layers, device.digests(), expected, strict=True)
        wrong += [f"{layer.name} {layer.kernel}" for layer, got, want in pairs if got != want]
    assert chip.warnings == {}
    return wrong


@pytest.mark.parametrize("make", CHAINS, ids=lambda make: make.__name__)
def test_every_layer_is_bit_exact(make, tmp_path: Path) -> None:
    assert wrong_layers(make(), "zig", tmp_path) == []


@pytest.mark.parametrize("make", CHAINS, ids=lambda make: make.__name__)
def test_every_layer_is_bit_exact_with_gcc(make, tmp_path: Path) -> None:
    if not any(shutil.which(n) for n in boards.load_board("stm32f746").toolchain.gcc_names):
        pytest.skip("arm-none-eabi-gcc is not on PATH")
    assert wrong_layers(make(), "gcc", tmp_path) == []


@pytest.mark.parametrize(
    ("make", "data_cache"),
    [
        (conv_chain, "lines"),
        pytest.param(depthwise_chain, "", marks=pytest.mark.slow),
        pytest.param(others_chain, "lines", marks=pytest.mark.slow),
    ],
)
def test_the_f767_runs_them_bit_exactly(make, data_cache: str, tmp_path: Path) -> None:
    assert wrong_layers(make(), "zig", tmp_path, "stm32f767", data_cache) == []
