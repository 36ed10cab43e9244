"""The EnergyRunner firmware on both chips, driven by a client written from the published rules.

Commands, answers and their order are those of benchmark/api of mlcommons/tiny; nothing here
comes from the product's own client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from chains import Step, chain

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.energyrunner import Image, Mode
from hil.core.errors import PlanError
from hil.core.network import Op
from hil.nn import reference
from hil.nn.random_layers import random_input
from hil.sim.chip import Chip, MarkerEdge, Stop
from hil.sim.chips import make_chip

NETWORK = chain(
    "tiny",
    (6, 5, 3),
    True,
    [Step(Op.POINTWISE, 8), Step(Op.MAXPOOL, 0, (2, 2), (2, 2)), Step(Op.ADD)],
)
SIZE = 90
LONGEST_S = 60.0  # of chip time
HOLD_S = 50e-6


@dataclass
class Runner:
    """A host with a real command queue: one command, then all lines up to the prompt."""

    chip: Chip
    boot: list[str]

    @classmethod
    def of(cls, board_name: str, mode: Mode, folder) -> Runner:
        board = boards.load_board(board_name)
        image = Image(mode, device_name="bench")
        firmware = build(generate(NETWORK, board, energyrunner=image), board, folder)
        chip = make_chip(board_name)
        chip.load_elf(firmware.elf)
        runner = cls(chip, [])
        runner.boot = runner.answer()
        return runner

    def answer(self) -> list[str]:
        stop = self.chip.run(LONGEST_S)
        assert stop is Stop.WAITING, f"{stop}: {self.chip.fault}"
        text = self.chip.uart_drain().decode("ascii")
        assert text.endswith("m-ready\r\n") and text.count("m-ready") == 1
        assert text.count("\n") == text.count("\r\n")
        return text.split("\r\n")[:-2]

    def ask(self, command: str) -> list[str]:
        self.chip.uart_feed(f"{command}%".encode("latin-1"))
        return self.answer()

    def download(self, data: bytes, chunk: int = 31) -> None:
        assert self.ask(f"db load {len(data)}") == [f"m-[Expecting {len(data)} bytes]"]
        parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
        for part in parts[:-1]:
            assert self.ask(f"db {part.hex()}") == []
        assert self.ask(f"db {parts[-1].hex().upper()}") == ["m-load-done"]


def pixels(seed: int) -> np.ndarray:
    return (random_input(NETWORK, seed).astype(np.int16) + 128).astype(np.uint8)


def expected_results(seed: int) -> str:
    values = reference.run(NETWORK, random_input(NETWORK, seed))[-1].ravel()
    return f"m-results-[{','.join(str(value) for value in values)}]"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner.of("stm32f746", Mode.PERFORMANCE, tmp_path_factory.mktemp("er"))


def check_inference(runner: Runner) -> None:
    """Five downloads and inferences in performance mode, as the runner's script has them."""
    for seed in range(2):
        runner.download(pixels(seed).tobytes())
        *lines, lap, second_lap, done, results = runner.ask("infer 3 1")
        assert lines == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-3"]
        start, end = (int(re.fullmatch(r"m-lap-us-(\d+)", t)[1]) for t in (lap, second_lap))
        assert start < end
        assert (done, results) == ("m-infer-done", expected_results(seed))
        assert runner.ask("results") == [results]


def test_boot_says_the_mode_and_then_ready(runner: Runner) -> None:
    mode, lap, done = runner.boot
    assert mode == "m-timestamp-mode-performance" and done == "m-init-done"
    assert re.fullmatch(r"m-lap-us-\d+", lap)


def test_nothing_is_inferred_before_a_whole_input(tmp_path) -> None:
    fresh = Runner.of("stm32f746", Mode.PERFORMANCE, tmp_path)
    assert fresh.ask("results")[0].startswith("e-[")
    assert fresh.ask("infer 1 0")[0].startswith("e-[No input")
    assert fresh.ask("db 00")[0].startswith("e-[")
    assert fresh.ask("db print") == []


def test_results_equal_the_reference_bit_for_bit(runner: Runner) -> None:
    check_inference(runner)


def test_results_equal_the_reference_on_gap8(tmp_path) -> None:
    check_inference(Runner.of("gap8", Mode.PERFORMANCE, tmp_path))


def test_name_and_profile(runner: Runner) -> None:
    assert runner.ask("name") == ["m-name-dut-[bench-stm32f746]"]
    profile, model = runner.ask("profile")
    assert profile == "m-profile-[ULPMark for tinyML Firmware V0.0.1]"
    assert model == "m-model-[ic01]"
    assert runner.ask("help")


def test_window_is_the_chips_own_time(runner: Runner) -> None:
    """More iterations take as much longer as the chip's clock says, the texts not counted."""
    runner.download(pixels(0).tobytes())
    spans = {}
    for count in (200, 400):
        before_s = runner.chip.time_s
        lines = runner.ask(f"infer {count} 0")
        start, end = (int(line.rpartition("-")[2]) for line in lines if "lap" in line)
        spans[count] = end - start, runner.chip.time_s - before_s
    by_board_s = (spans[400][0] - spans[200][0]) * 1e-6
    assert by_board_s == pytest.approx(spans[400][1] - spans[200][1], rel=0.05)


def test_two_timestamps_lie_a_command_apart(runner: Runner) -> None:
    before_s = runner.chip.time_s
    ((first,), (second,)) = runner.ask("timestamp"), runner.ask("timestamp")
    apart_s = (int(second.rpartition("-")[2]) - int(first.rpartition("-")[2])) * 1e-6
    assert apart_s == pytest.approx((runner.chip.time_s - before_s) / 2, rel=0.02)


def test_buffer_is_printed_as_it_was_sent(runner: Runner) -> None:
    data = pixels(4).tobytes()
    runner.download(data, chunk=26)
    lines = runner.ask("db print 4 8")  # the arguments have no effect
    assert all(line.startswith("m-buffer-") for line in lines)
    assert lines[0].count("-") == 2 + 7
    assert (
        bytes.fromhex("".join(line[len("m-buffer-") :].replace("-", "") for line in lines)) == data
    )


def test_surplus_data_is_ignored_and_stays_out_of_memory(runner: Runner) -> None:
    runner.ask("db load 4")
    assert runner.ask("db 0011223344556677") == ["m-load-done"]
    assert runner.ask("db print") == ["m-buffer-00-11-22-33"]
    assert runner.ask("db 44")[0].startswith("e-[")
    assert runner.ask("infer 1 0")[0].startswith("e-[No input")  # not the model's 90 bytes


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("", []),
        ("   ", []),
        ("nonsense 1 2", ["e-[Unknown command: nonsense]"]),
        ("\r\nname", ["e-[Unknown command: ??name]"]),
        ("NAME", ["e-[Unknown command: NAME]"]),
        ("db", ["e-[Command 'db' requires a subcommand]"]),
        ("db load", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db load 0", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load -4", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load x", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load 91", ["e-[Supplied buffer size 91 exceeds maximum of 90]"]),
        ("db load 99999999999999999999", ["e-[Command 'db load' must be >0 bytes]"]),
        ("infer 0 1", ["e-[Inference iterations must be >0]"]),
        ("infer -1 1", ["e-[Inference iterations must be >0]"]),
        ("infer one", ["e-[Inference iterations must be >0]"]),
        ("infer 1 -1", ["e-[Inference warmup must be >=0]"]),
        ("name" + " " * 77, ["e-[Command longer than 80 characters]"]),
        ("name" + " " * 76, ["m-name-dut-[bench-stm32f746]"]),
        ("db " + "0" * 500, ["e-[Command longer than 80 characters]"]),
    ],
)
def test_malformed_commands_are_told_and_the_prompt_returns(runner, command, answer) -> None:
    assert runner.ask(command) == answer
    assert runner.ask("name") == ["m-name-dut-[bench-stm32f746]"]


def test_wrong_hex_keeps_what_came_before_it(runner: Runner) -> None:
    runner.ask("db load 4")
    assert runner.ask("db 123") == ["e-[Insufficent number of hex digits]"]
    assert runner.ask("db aBg1cc") == ["e-[Invalid hex digit 'g1']"]
    assert runner.ask("db print") == ["m-buffer-ab"]
    assert runner.ask("db 010203") == ["m-load-done"]
    assert runner.ask("db print") == ["m-buffer-ab-01-02-03"]


def test_a_load_that_is_too_large_leaves_no_old_input_behind(runner: Runner) -> None:
    runner.download(pixels(0).tobytes())
    runner.ask("db load 27649")
    assert runner.ask("infer 1 0")[0].startswith("e-[No input")
    assert runner.ask("db 00")[0].startswith("e-[")


def check_energy(runner: Runner) -> None:
    """The line idles high; a timestamp is a falling edge and no text."""
    assert runner.boot == ["m-timestamp-mode-energy", "m-init-done"]
    assert [edge.level for edge in runner.chip.marker_drain()] == [True]
    assert runner.ask("timestamp") == []
    check_holds(runner.chip.marker_drain(), 1)
    runner.download(pixels(1).tobytes(), chunk=26)
    lines = runner.ask("infer 20 0")
    assert lines[:3] == ["m-warmup-start-0", "m-warmup-done", "m-infer-start-20"]
    assert lines[3:] == ["m-infer-done", expected_results(1)]
    edges = runner.chip.marker_drain()
    check_holds(edges, 2)
    assert edges[2].time_s - edges[0].time_s > HOLD_S  # the passes lie between two falls


def check_holds(edges: list[MarkerEdge], count: int) -> None:
    assert [edge.level for edge in edges] == [False, True] * count
    for fall, rise in zip(edges[::2], edges[1::2], strict=True):
        assert rise.time_s - fall.time_s == pytest.approx(HOLD_S, rel=0.05)


def test_energy_mode_marks_falling_edges(tmp_path) -> None:
    check_energy(Runner.of("stm32f746", Mode.ENERGY, tmp_path))


@pytest.mark.slow  # a byte of 9600 baud is 156,000 cycles of nine cores
def test_energy_mode_marks_falling_edges_on_gap8(tmp_path) -> None:
    check_energy(Runner.of("gap8", Mode.ENERGY, tmp_path))


def test_baud_is_the_modes(runner: Runner) -> None:
    """An empty command costs one byte in, a byte time of pause and the nine of m-ready."""
    before_s = runner.chip.time_s
    runner.ask("")
    assert runner.chip.time_s - before_s == pytest.approx(11.5 * 10 / 115_200, rel=0.06)


@pytest.mark.parametrize("wrong", [{"model": "kws01"}, {"model": "x"}, {"device_name": "a]b"}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(PlanError):
        Image(**wrong)


def test_a_part_of_a_network_is_refused() -> None:
    with pytest.raises(PlanError, match="all 4 layers"):
        generate(NETWORK, boards.load_board("stm32f746"), 1, Image())
