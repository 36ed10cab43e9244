"""MLPerf Tiny's energy test from here: its rules, and a bench against the chip's own bins."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hil.core.energyrunner import HOLD_S, Image, Mode
from hil.core.errors import DataError, InstrumentError
from hil.core.network import Cut, Network
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.loop.energyrunner import Device, build_image, open_device, save
from hil.loop.energyrunner_energy import measure_energy
from hil.nn.data.images import ImageSet
from hil.rig.energyrunner import Inference
from hil.rig.rigfile import load_rig
from hil.sim.chip import Stop
from hil.sim.chips import make_chip

from .test_energyrunner import IMAGES, NETWORK, ORIGIN, PIXELS, QuickBoard, quiet

INTERVAL_S = 20e-6
BEFORE = 40  # samples before the first timestamp
IDLE_A, BUSY_A, SUPPLY_V = 0.010, 0.060, 3.0
MODELLED = replace(ORIGIN, energies=Origin.MODELLED, meter="M")
MEASURED = replace(ORIGIN, times=Origin.MEASURED, energies=Origin.MEASURED, meter="M")


class MeteredBoard(QuickBoard):
    """A quick board and the meter that looks at it, one after the other."""

    def __init__(self, inference_us: int) -> None:
        super().__init__(inference_us)
        self.baud = 9600
        self.seen: list[float] = []
        self.window_s = 0.0

    def infer(self, iterations: int, warmups: int, expected_s: float = 1.0) -> Inference:
        answer = super().infer(iterations, warmups, expected_s)
        self.window_s = answer.window_us * 1e-6
        return replace(answer, window_us=0)

    @contextmanager
    def acquisition(self, busy_s: float):
        self.seen.append(busy_s)
        yield SimpleNamespace(read=self.waveform)

    def waveform(self) -> Waveform:
        window = round(self.window_s / INTERVAL_S)
        current = np.full(BEFORE + window + 100, IDLE_A, np.float32)
        current[BEFORE : BEFORE + window] = BUSY_A
        marker = np.ones(len(current), np.bool_)
        for fall in (BEFORE, BEFORE + window):
            marker[fall : fall + round(HOLD_S / INTERVAL_S)] = False
        return Waveform(
            0.0, INTERVAL_S, current, marker, SUPPLY_V, 1.0, False, 0, "M", Origin.MODELLED
        )


def device(board: MeteredBoard, origin=MODELLED, images: ImageSet = IMAGES) -> Device:
    return Device(board, NETWORK, images, origin, board)  # type: ignore[arg-type]


def test_five_windows_of_ten_seconds_and_their_median() -> None:
    board = MeteredBoard(40_000)
    result = measure_energy(device(board, MEASURED), report=quiet)
    assert result.by_the_rules
    measured = board.calls[1:]  # the first only finds the speed
    assert [call[0] for call in measured] == [p.tobytes() for p in PIXELS[:5]]
    assert all(call[1] >= 250 and call[2] == 0 for call in measured)  # ic01 has no warm-ups
    assert result.energy_uj.median == pytest.approx(BUSY_A * SUPPLY_V * 40_000, rel=1e-6)
    assert result.throughput.median == pytest.approx(25.0)
    assert all(seen > 10.0 for seen in board.seen[1:])


def test_a_virtual_board_says_that_it_is_not_by_the_rules(tmp_path: Path) -> None:
    result = measure_energy(device(MeteredBoard(2_000)), report=quiet)
    save(result, tmp_path / "energy.json")
    kept = json.loads((tmp_path / "energy.json").read_text())
    assert kept["by_the_rules"] is False and kept["provenance"]["energies"] == "modelled"
    assert [window["iterations"] for window in kept["windows"]] == [10] * 5
    assert kept["energy_uj_per_inference"]["n"] == 5


def test_a_window_that_is_not_as_long_as_its_inferences_counts_for_nothing() -> None:
    board = MeteredBoard(2_000)
    whole = board.waveform

    def late() -> Waveform:
        board.window_s *= 1.0 if len(board.calls) < 4 else 1.5  # a timestamp was missed
        return whole()

    board.waveform = late  # type: ignore[method-assign]
    with pytest.raises(InstrumentError, match=r"lasted 0.03 s by the marker, .* 0.02 s"):
        measure_energy(device(board), report=quiet)


@pytest.mark.parametrize(
    ("at", "factor"), [(2, 0.015), (2, 0.85), (2, 1.5), (4, 0.985), (4, 1.015)]
)
def test_windows_that_others_do_not_confirm(at: int, factor: float) -> None:
    """Two timestamps need not be an inference's: the closing one may lie behind the record's end
    and another one in front. A single inference comes first, then one window an image."""
    board = MeteredBoard(20_000)
    whole = board.waveform

    def other() -> Waveform:
        board.window_s *= factor if len(board.calls) == at else 1.0
        return whole()

    board.waveform = other  # type: ignore[method-assign]
    with pytest.raises(InstrumentError, match=r"lasted \S+ s by the marker"):
        measure_energy(device(board), report=quiet)


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="4 images"):
        measure_energy(
            device(MeteredBoard(1), images=ImageSet("four", PIXELS[:4], IMAGES.y[:4])), report=quiet
        )


def by_the_chips_own_bins(board_name: str, elf: Path, iterations: int) -> float:
    """Microjoules an inference from the simulator's energy and edges, without meter and host."""
    chip = make_chip(board_name)
    chip.load_elf(elf)
    bins, edges = [], []

    def ask(command: str = "") -> None:
        if command:
            chip.uart_feed(f"{command}%".encode())
        stop = Stop.BUDGET
        while stop is Stop.BUDGET:
            stop = chip.run(0.01)
            bins.append(chip.energy_drain())
            edges.extend(chip.marker_drain())
        assert stop is Stop.WAITING
        chip.uart_drain()

    ask()
    data = PIXELS[0].tobytes()
    ask(f"db load {len(data)}")
    for start in range(0, len(data), 26):
        ask(f"db {data[start : start + 26].hex()}")
    ask(f"infer {iterations} 0")
    start_s, stop_s = (edge.time_s for edge in [e for e in edges if not e.level][-2:])
    energy_j = np.concatenate([part.energy_j for part in bins])
    times_s = (np.arange(len(energy_j)) + 0.5) * bins[0].bin_s
    inside = (times_s >= start_s) & (times_s < stop_s)
    return float(energy_j[inside].sum()) / iterations * 1e6


# GAP8: a byte of 9600 baud is 156,000 cycles of nine cores.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("board_name", ["stm32f746", "gap8"])
def test_on_a_virtual_bench(board_name: str, tmp_path: Path) -> None:
    network = Network("er", NETWORK.tensors, NETWORK.layers, (Cut("all", 1),))
    firmware = build_image(network, board_name, Image(Mode.ENERGY), tmp_path)
    rig = load_rig(f"virtual-{board_name}")
    with open_device(rig, network, IMAGES, firmware, quiet, mode=Mode.ENERGY) as opened:
        result = measure_energy(opened, min_window_s=0.005, report=quiet)
    assert result.provenance.energies is Origin.MODELLED and "HIL,VPM" in result.provenance.meter
    windows = result.windows
    assert [window.image for window in windows] == list(range(5))
    assert all(window.duration_s >= 0.005 for window in windows)
    expected_uj = by_the_chips_own_bins(board_name, firmware.elf, windows[0].iterations)
    slack_uj = windows[0].edge_uncertainty_uj / windows[0].iterations
    assert result.energy_uj.median == pytest.approx(expected_uj, rel=0.002, abs=slack_uj)
