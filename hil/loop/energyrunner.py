"""MLPerf Tiny's tests, run from here over the EnergyRunner protocol: a device, and two of them.

The third, energy, is hil.loop.energyrunner_energy.

Sources: MLPerfTiny_Rules.adoc and benchmark/runner of mlcommons/tiny. Every result that a board
answers is compared with the integer reference: a wrong one ends the test without any figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.cost import Interval
from hil.core.energyrunner import Image, Mode
from hil.core.errors import DataError, ProtocolError, TargetError, WrongOutputError
from hil.core.firmware import Firmware
from hil.core.network import Network
from hil.core.provenance import Origin
from hil.measure.intervals import median_interval
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import Accuracy
from hil.nn.reference import quantise_input, run
from hil.rig.bench import Target, open_target
from hil.rig.console import Timeouts
from hil.rig.energyrunner import EnergyRunnerConsole, Inference
from hil.rig.meter import Meter
from hil.rig.rigfile import Rig
from hil.rig.twin_process import TwinCommand, twin_command

FORMAT = 1
LOOPS = 5
RULE_WINDOW_S = 10.0
RULE_ITERATIONS = 10
WARMUPS = {"ic01": 5, "vww01": 5}  # tests_performance.yaml
WINDOW_MARGIN = 1.05  # the first estimate of an inference's time may be a little long
SLOWEST_INFERENCE_S = 2.0  # waited for before the board's speed is known

Report = Callable[[str], None]


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from; only equal ones are comparable."""

    times: Origin
    timing_model: str
    rig: str
    board: str
    clock_hz: int
    device_name: str
    model: str
    network: str
    network_digest: str
    toolchain: str
    build_id: str
    elf_sha256: str
    data: str
    data_digest: str
    energies: Origin | None = None  # and the meter that told them, of the energy test
    meter: str = ""


@dataclass(frozen=True)
class Window:
    """One timed window on one image."""

    image: int
    iterations: int
    window_us: int

    @property
    def inferences_per_s(self) -> float:
        return self.iterations / self.window_us * 1e6


@dataclass(frozen=True)
class Performance:
    """Five windows. ``by_the_rules``: each lasted 10 s and more."""

    provenance: Provenance
    windows: tuple[Window, ...]

    @property
    def throughput(self) -> Interval:
        """Inferences a second: the median, and the interval that five samples give."""
        return median_interval([window.inferences_per_s for window in self.windows])

    @property
    def by_the_rules(self) -> bool:
        return all(window.window_us >= RULE_WINDOW_S * 1e6 for window in self.windows)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "test": "performance",
            "provenance": asdict(self.provenance),
            "by_the_rules": self.by_the_rules,
            "inferences_per_s": asdict(self.throughput),
            "windows": [
                {**asdict(w), "inferences_per_s": w.inferences_per_s} for w in self.windows
            ],
        }


@dataclass(frozen=True)
class AccuracyTest:
    """Top-1 by the board's own answers, all equal to the integer reference."""

    provenance: Provenance
    accuracy: Accuracy

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "test": "accuracy",
            "provenance": asdict(self.provenance),
            **asdict(self.accuracy),
            "top1": self.accuracy.top1,
            "interval_95": self.accuracy.interval,
        }


class Result(Protocol):
    """What can be saved."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""


def save(result: Result, path: Path) -> None:
    """Write it as JSON. DataError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot write the results: {error.strerror}") from error


def build_image(
    network: Network, board_name: str, image: Image, folder: Path, toolchain: str = "auto"
) -> Firmware:
    """The whole network as an EnergyRunner firmware; PlanError when it does not fit."""
    board = boards.load_board(board_name)
    return build(generate(network, board, energyrunner=image), board, folder, toolchain)


class Device:
    """An open board that runs ``network``; every answer is checked against the reference."""

    def __init__(
        self,
        console: EnergyRunnerConsole,
        network: Network,
        images: ImageSet,
        provenance: Provenance,
        meter: Meter | None = None,
    ) -> None:
        shape = network.tensors[0].shape
        if images.x.shape[1:] != shape:
            raise DataError(f"{images.name}: images of {images.x.shape[1:]}, not {shape}")
        self.console = console
        self.network = network
        self.images = images
        self.provenance = provenance
        self.meter = meter

    def load(self, image: int) -> None:
        """Download one image."""
        self.console.load(self.images.x[image].tobytes())

    def infer(self, image: int, iterations: int, warmups: int, expected_s: float) -> Inference:
        """Download one image and infer; WrongOutputError unless bit-exact."""
        self.load(image)
        return self.infer_loaded(image, iterations, warmups, expected_s)

    def infer_loaded(
        self, image: int, iterations: int, warmups: int, expected_s: float
    ) -> Inference:
        """Infer on the image that was downloaded last, which is ``image``."""
        answer = self.console.infer(iterations, warmups, expected_s)
        expected = run(self.network, quantise_input(self.images.x[image]))[-1].ravel().tolist()
        if list(answer.results) != expected:
            wrong = sum(a != b for a, b in zip(answer.results, expected, strict=False))
            raise WrongOutputError(
                f"{self.provenance.board}, image {image}: {wrong} of {len(expected)} results "
                f"differ from the reference ({len(answer.results)} came); nothing is recorded"
            )
        return answer


@contextmanager
def open_device(
    rig: Rig,
    network: Network,
    images: ImageSet,
    firmware: Firmware,
    report: Report = print,
    command: TwinCommand = twin_command,
    mode: Mode = Mode.PERFORMANCE,
) -> Iterator[Device]:
    """Bring ``firmware``, an image for ``mode``, onto the rig's board, ready for tests."""

    def on_event(what: str, detail: str) -> None:
        report(f"{what}: {detail}")

    with open_target(rig, on_event, command) as target:
        spec = rig.console
        timeouts = Timeouts(spec.answer_s, spec.hello_s, rig.slowdown)
        with EnergyRunnerConsole(target.places.port, mode, timeouts, target.halted) as console:
            _ensure_firmware(console, target, firmware, report)
            origins = target.origins()
            provenance = Provenance(
                times=origins.cycles,
                timing_model=origins.timing_model,
                rig=rig.name,
                board=firmware.board,
                clock_hz=boards.load_board(firmware.board).compute_clock_hz,
                device_name=console.name(),
                model=console.model(),
                network=firmware.network,
                network_digest=firmware.network_digest,
                toolchain=firmware.toolchain,
                build_id=firmware.build_id,
                elf_sha256=firmware.elf_sha256,
                data=images.name,
                data_digest=images.digest,
                energies=origins.energy if mode is Mode.ENERGY else None,
                meter=target.meter.identity if mode is Mode.ENERGY else "",
            )
            yield Device(console, network, images, provenance, target.meter)


def measure_performance(
    device: Device, min_window_s: float | None = None, report: Report = print
) -> Performance:
    """Throughput over LOOPS images.

    ``min_window_s`` None: 10 s on a board. A virtual board's seconds take many of this
    computer's, and its windows repeat to the cycle, so there RULE_ITERATIONS are enough by
    themselves; the result then says that it is not by the rules.
    """
    if len(device.images) < LOOPS:
        raise DataError(
            f"{device.images.name}: {len(device.images)} images, the test takes {LOOPS} different"
        )
    if min_window_s is None:
        min_window_s = RULE_WINDOW_S if device.provenance.times is Origin.MEASURED else 0.0
    warmups = WARMUPS[device.provenance.model]
    first = device.infer(
        0, RULE_ITERATIONS, warmups, (warmups + RULE_ITERATIONS) * SLOWEST_INFERENCE_S
    )
    inference_s = first.window_us / RULE_ITERATIONS * 1e-6
    iterations = max(RULE_ITERATIONS, ceil(WINDOW_MARGIN * min_window_s / inference_s))
    windows = []
    for image in range(LOOPS):
        done = device.infer(image, iterations, warmups, 2 * (warmups + iterations) * inference_s)
        window = Window(image, iterations, done.window_us)
        if window.window_us < min_window_s * 1e6:
            raise TargetError(
                f"{device.provenance.board}: {iterations} inferences took {window.window_us} us, "
                f"the window must last {min_window_s:g} s; the board became faster meanwhile"
            )
        report(f"image {image}: {iterations} in {window.window_us} us")
        windows.append(window)
    return Performance(device.provenance, tuple(windows))


def measure_accuracy(
    device: Device, images: int | None = None, report: Report = print
) -> AccuracyTest:
    """Top-1 over the first ``images`` (all by default), each sent by ``db``."""
    count = len(device.images) if images is None else images
    if not 1 <= count <= len(device.images):
        raise DataError(f"{device.images.name}: {count} images asked, it has {len(device.images)}")
    correct = 0
    for image in range(count):
        answer = device.infer(image, 1, 0, SLOWEST_INFERENCE_S)
        correct += int(np.argmax(answer.results)) == int(device.images.y[image])
        report(f"image {image + 1} of {count}: {correct} right")
    return AccuracyTest(device.provenance, Accuracy(correct, count))


def _ensure_firmware(
    console: EnergyRunnerConsole, target: Target, firmware: Firmware, report: Report
) -> None:
    """Flash unless this very build answers."""
    if firmware.board != target.rig.board:
        raise DataError(
            f"rig {target.rig.name} is for board {target.rig.board}, the firmware for "
            f"{firmware.board}"
        )
    if not target.flasher.blank():
        try:
            if console.build_id() == firmware.build_id:
                return
        except (TargetError, ProtocolError) as error:
            report(f"another firmware is on the board ({error})")
    console.discard_input()
    report(f"flash: {target.flasher.flash(firmware).detail}")
    console.wait_boot()
    if (found := console.build_id()) != firmware.build_id:
        raise TargetError(
            f"the board on {console.port} runs build {found[:12]}, {firmware.build_id[:12]} was "
            "flashed; is the flasher connected to this board?"
        )
