"""MLPerf Tiny's tests from here: their rules, and the whole way on a virtual bench."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil.core.energyrunner import Image
from hil.core.errors import DataError, TargetError, WrongOutputError
from hil.core.network import Cut, Network, Op
from hil.core.provenance import Origin
from hil.loop.energyrunner import (
    Device,
    Provenance,
    build_image,
    measure_accuracy,
    measure_performance,
    open_device,
    save,
)
from hil.nn import reference
from hil.nn.data.images import ImageSet
from hil.nn.random_layers import random_network
from hil.rig.energyrunner import Inference
from hil.rig.rigfile import load_rig

NETWORK = random_network(
    Op.POINTWISE, 4, 4, 3, 4, (1, 1), (1, 1), (0, 0, 0, 0), signed_in=True, seed=1
)
PIXELS = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), np.uint8)
ORIGIN = Provenance(
    Origin.SIMULATED, "test", "rig", "stm32f746", 1, "d", "ic01", "n", "", "", "", "", "", ""
)  # fmt: skip


def answer(pixels: np.ndarray) -> list[int]:
    return reference.run(NETWORK, (pixels.astype(int) - 128).astype(np.int8))[-1].ravel().tolist()


IMAGES = ImageSet("six", PIXELS, np.array([np.argmax(answer(p)) for p in PIXELS]))


class QuickBoard:
    """Answers as the reference does and takes ``inference_us`` an inference; keeps the calls."""

    def __init__(self, inference_us: int) -> None:
        self.inference_us = inference_us
        self.loaded = b""
        self.calls: list[tuple[bytes, int, int]] = []

    def load(self, data: bytes) -> None:
        self.loaded = data

    def infer(self, iterations: int, warmups: int, expected_s: float = 1.0) -> Inference:
        self.calls.append((self.loaded, iterations, warmups))
        pixels = np.frombuffer(self.loaded, np.uint8).reshape(4, 4, 3)
        return Inference(iterations, iterations * self.inference_us, tuple(answer(pixels)))


def device(board: QuickBoard, origin: Provenance = ORIGIN) -> Device:
    return Device(board, NETWORK, IMAGES, origin)  # type: ignore[arg-type]


def quiet(_: str) -> None:
    pass


def test_a_board_gets_windows_of_ten_seconds_on_five_images() -> None:
    board = QuickBoard(2_000)
    result = measure_performance(
        device(board, replace(ORIGIN, times=Origin.MEASURED)), report=quiet
    )
    assert result.throughput.median == pytest.approx(500.0)
    assert result.by_the_rules
    measured = board.calls[1:]  # the first only finds the speed
    assert [call[0] for call in measured] == [p.tobytes() for p in PIXELS[:5]]
    assert all(5000 <= call[1] <= 5500 and call[2] == 5 for call in measured)


def test_slow_inferences_are_at_least_ten() -> None:
    board = QuickBoard(3_000_000)
    measure_performance(device(board, replace(ORIGIN, times=Origin.MEASURED)), report=quiet)
    assert all(call[1] == 10 for call in board.calls)


def test_a_virtual_board_says_that_it_is_not_by_the_rules() -> None:
    result = measure_performance(device(QuickBoard(2_000)), report=quiet)
    assert not result.by_the_rules and not result.to_dict()["by_the_rules"]
    assert result.to_dict()["provenance"]["times"] == "simulated"
    assert [window.iterations for window in result.windows] == [10] * 5


def test_a_window_that_came_out_too_short_counts_for_nothing() -> None:
    board = QuickBoard(2_000)

    def infer(iterations: int, warmups: int, expected_s: float) -> Inference:
        board.inference_us = 2_000 if not board.calls else 1_000
        return QuickBoard.infer(board, iterations, warmups)

    board.infer = infer  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="must last 10 s"):
        measure_performance(device(board), 10.0, quiet)


def test_accuracy_counts_the_boards_own_answers(tmp_path: Path) -> None:
    wrong = IMAGES.y.copy()
    wrong[2] = (wrong[2] + 1) % NETWORK.tensors[-1].size_bytes
    images = ImageSet("one wrong", PIXELS, wrong)
    found = measure_accuracy(Device(QuickBoard(1), NETWORK, images, ORIGIN), None, quiet)  # type: ignore[arg-type]
    assert (found.accuracy.correct, found.accuracy.images) == (5, 6)
    save(found, tmp_path / "deeper" / "accuracy.json")
    kept = json.loads((tmp_path / "deeper" / "accuracy.json").read_text())
    assert kept["top1"] == pytest.approx(5 / 6) and kept["provenance"]["model"] == "ic01"


def test_one_wrong_value_ends_the_test() -> None:
    board = QuickBoard(1)

    def infer(iterations: int, warmups: int, expected_s: float) -> Inference:
        right = QuickBoard.infer(board, iterations, warmups)
        return replace(right, results=(right.results[0] ^ 1, *right.results[1:]))

    board.infer = infer  # type: ignore[method-assign]
    with pytest.raises(WrongOutputError, match="image 0: 1 of 64"):
        measure_accuracy(device(board), None, quiet)


def test_too_few_and_too_many_images_are_refused() -> None:
    few = ImageSet("four", PIXELS[:4], IMAGES.y[:4])
    with pytest.raises(DataError, match="4 images"):
        measure_performance(Device(QuickBoard(1), NETWORK, few, ORIGIN), report=quiet)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="7 images"):
        measure_accuracy(device(QuickBoard(1)), 7, quiet)


@pytest.mark.slow
@pytest.mark.parametrize("board_name", ["stm32f746", "gap8"])
def test_both_tests_on_a_virtual_bench(board_name: str, tmp_path: Path) -> None:
    network = Network("er", NETWORK.tensors, NETWORK.layers, (Cut("all", 1),))
    firmware = build_image(network, board_name, Image(), tmp_path)
    with open_device(load_rig(f"virtual-{board_name}"), network, IMAGES, firmware, quiet) as opened:
        assert measure_accuracy(opened, None, quiet).accuracy.correct == 6
        result = measure_performance(opened, report=quiet)
    assert result.provenance.times is Origin.SIMULATED
    assert result.provenance.build_id == firmware.build_id
    assert result.throughput.median > 100
