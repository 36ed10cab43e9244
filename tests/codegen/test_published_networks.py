"""Whole networks by our generated firmware beside times that others have published for the chips.

No check of a model: the kernels are other ones, and so are compilers and memory set-ups. What is
checked is that the work is the same (multiply-accumulates, layer by layer) and that every layer is
computed right; the cycles stand in the tables that ``pytest --slow -s`` prints.

* STM32F746 at 216 MHz: MLPerf Tiny v1.1, closed division, DISCO-F746NG (github
  mlcommons/tiny_results_v1.1, closed/plumerai and closed/bosch).
* GAP8: GreenWaves' AutoTiler (github GreenWaves-Technologies/mobilenet, README: rev. C, 175 MHz)
  and DORY (github pulp-platform/dory, images/network_power.PNG: 100 MHz, read from the figure).
  Their weights come from HyperRAM, ours are in L2; a network that does not fit there is not here.
* GAP8, single layers: gap_sdk, benchmarks/gap8/cnn/README.md, eight cores with vectors. It adds to
  its outputs and shifts them, ours scale by a factor a channel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import published_networks
import pytest
from device import Device
from published_networks import mobilenet_v1

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.console import RunFlag
from hil.core.network import Network, Op
from hil.nn import reference
from hil.nn.random_layers import random_input, random_network
from hil.sim.chips import make_chip

# Test: network, its multiply-accumulates, cycles of Plumerai 2023.05 and of Bosch HALE 1.0.
MLPERF_TINY: dict[str, tuple[Callable[[], Network], int, int, int]] = {
    "ic": (published_networks.resnet8, 12_501_632, 13_582_080, 13_298_854),
    "vww": (lambda: mobilenet_v1(96, 0.25, classes=2), 7_489_664, 7_361_280, 12_349_914),
    "kws": (published_networks.ds_cnn, 2_656_768, 3_834_000, 3_978_413),
    "ad": (published_networks.autoencoder, 264_192, 369_360, 367_762),
}
# MobileNetV1, 128, width 1/4: 66.3 images/s at 175 MHz, with a last layer of a thousand classes.
GREENWAVES_CYCLES, GREENWAVES_MACS = 2_640_000, 14_000_000
# MobileNetV1, 128, width 1: layers up to PwConv8; millions of MACs, milliseconds.
DORY = (
    ("Conv1", 3.54, 8.30), ("DwConv1", 1.18, 9.13), ("PwConv2", 8.39, 10.91),
    ("DwConv2", 0.59, 10.16), ("PwConv3", 8.39, 7.84), ("DwConv3", 1.18, 8.72),
    ("PwConv4", 16.78, 13.31), ("DwConv4", 0.29, 4.62), ("PwConv5", 8.39, 6.58),
    ("DwConv5", 0.59, 4.75), ("PwConv6", 16.78, 11.91), ("DwConv6", 0.15, 2.56),
    ("PwConv7", 8.39, 5.94), ("DwConv7", 0.29, 2.56), ("PwConv8", 16.78, 13.08),
)  # fmt: skip
DORY_CYCLES_A_MS = 100_000
# Kernel of the vendor's benchmark: the nearest layer of ours, cycles of an iteration there.
SINGLE_LAYERS = {
    "convolution 5x5": ((Op.CONV, 100, 100, 1, 1, 5), 22813),
    "max pool 2x2": ((Op.MAXPOOL, 112, 112, 1, 1, 2, 2), 3556),
    "average pool 2x2": ((Op.AVGPOOL, 112, 112, 1, 1, 2, 2), 3323),
    "linear": ((Op.LINEAR, 1, 1, 1024, 16), 2235),
}


@dataclass(frozen=True)
class Measured:
    """Cycles of one run of the whole network, and of its layers; and what each had to do."""

    cycles: int
    layer_cycles: list[int]
    layer_macs: list[int]

    @property
    def macs(self) -> int:
        return sum(self.layer_macs)


def measure(network: Network, board_name: str, folder: Path, data_cache: str = "") -> Measured:
    """The second run on a virtual board, after one whose outputs must be the reference's."""
    board = boards.load_board(board_name)
    chip = make_chip(board_name, data_cache)
    chip.load_elf(build(generate(network, board), board, folder, toolchain="zig").elf)
    device = Device(chip)
    device.run_until_waiting()
    device.take()
    image = random_input(network, seed=1)
    device.load_input(image)
    device.run(flags=RunFlag.DIGEST)
    expected = [zlib.crc32(tensor.tobytes()) for tensor in reference.run(network, image)[1:]]
    assert device.digests() == expected
    cycles, _ = device.run(flags=RunFlag.TOTAL_ONLY)
    _, rows = device.run()
    return Measured(cycles, np.asarray(rows)[:, 0].tolist(), weight_macs(network))


def weight_macs(network: Network) -> list[int]:
    """Multiply-accumulates of each layer, none for additions and pools."""
    return [
        network.macs(index) if layer.weight is not None else 0
        for index, layer in enumerate(network.layers)
    ]


@pytest.mark.parametrize("test", MLPERF_TINY)
def test_networks_are_those_of_mlperf_tiny(test: str) -> None:
    make, macs, *_ = MLPERF_TINY[test]
    assert sum(weight_macs(make())) == macs


def test_parts_of_mobilenet_are_the_layers_that_dory_lists() -> None:
    """To the hundredth of a million, as they are given there."""
    macs = [m for part in published_networks.mobilenet_v1_parts() for m in weight_macs(part)]
    assert [round(m / 1e6, 2) for m in macs] == [millions for _, millions, _ in DORY]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mlperf_tiny_on_the_stm32f746(tmp_path: Path) -> None:
    print(f"\n{'Mcycles':<7}{'average':>10}{'lines':>10}{'Plumerai':>10}{'Bosch':>10}")
    for test, (make, macs, plumerai, bosch) in MLPERF_TINY.items():
        modes = {
            mode: measure(make(), "stm32f746", tmp_path / f"{test}-{mode}", mode)
            for mode in ("average", "lines")
        }
        cycles = (*(ours.cycles for ours in modes.values()), plumerai, bosch)
        print(f"{test:<7}" + "".join(f"{count / 1e6:>10.2f}" for count in cycles))
        for ours in modes.values():
            assert ours.macs == macs
            # two MACs a SMLAD, one of them a cycle: nothing can be faster
            assert macs / 2 < ours.cycles < sum(ours.layer_cycles) * 1.05


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mobilenet_on_gap8(tmp_path: Path) -> None:
    small = measure(mobilenet_v1(128, 0.25, classes=None), "gap8", tmp_path / "small")
    print(f"\n{'MAC/cycle':<28}{'ours':>8}{'published':>11}")
    published = GREENWAVES_MACS / GREENWAVES_CYCLES
    print(f"{'MobileNetV1 0.25 128':<28}{small.macs / small.cycles:>8.2f}{published:>11.2f}")
    parts = [
        measure(part, "gap8", tmp_path / part.name)
        for part in published_networks.mobilenet_v1_parts()
    ]
    cycles = [count for part in parts for count in part.layer_cycles]
    macs = [count for part in parts for count in part.layer_macs]
    for (name, millions, ms), ours, count in zip(DORY, cycles, macs, strict=True):
        dory = millions * 1e6 / (ms * DORY_CYCLES_A_MS)
        print(f"{'1.0 128 ' + name:<28}{count / ours:>8.2f}{dory:>11.2f}")
        assert count / ours < 32  # four MACs a cycle and core
    total_ms = sum(ms for _, _, ms in DORY)
    dory = sum(macs) / (total_ms * DORY_CYCLES_A_MS)
    print(f"{'these layers together':<28}{sum(macs) / sum(cycles):>8.2f}{dory:>11.2f}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_single_layers_on_gap8(tmp_path: Path) -> None:
    print(f"\n{'cycles, eight cores':<24}{'our kernel':>12}{'published':>12}")
    for name, (shape, published) in SINGLE_LAYERS.items():
        ours = measure(random_network(*shape), "gap8", tmp_path / name.replace(" ", "-"))
        print(f"{name:<24}{ours.cycles:>12}{published:>12}")
        assert 0 < ours.layer_cycles[0] < ours.cycles * 1.05
