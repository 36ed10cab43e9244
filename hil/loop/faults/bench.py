"""One warm virtual board for many trials: a tiny network, a twin that stays up, a rig file.

The rig has no [virtual] table: the twin is started once and outlives the trials, as a real board
outlives the programs that measure on it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hil.core.errors import FlashError, RigError
from hil.core.network import Cut, Network, Op
from hil.loop.campaign import Prepared, prepare
from hil.loop.faults.kinds import Extent
from hil.loop.settings import Settings
from hil.loop.subject import Subject
from hil.measure.repeats import WindowGoal
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import SplitAccuracy
from hil.nn.random_layers import random_network
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.rigfile import Rig, load_rig
from hil.rig.twin_process import TwinProcess

SIDE = 8  # pixels
START_S = 300.0  # a first start compiles the simulator
ANSWER_S = 3.0
HELLO_S = 6.0
METER_S = 4.0
FLASHER_S = 6.0
RETURN_S = 30.0  # of the serial port: no fault takes it away for so long
# Milliwatts of the boards' supplies suggest these ranges, as in the shipped virtual rigs.
RANGE_A = {"gap8": 0.1, "stm32f746": 1.0}

SETTINGS = Settings(
    images=1,
    passes_a_cut=1,
    energy_sweeps=1,
    network_windows=1,
    self_tests=1,
    gap_us=200,
    window=WindowGoal(min_samples=100, min_window_s=0.001),
    refinements=0,
    tail_repeats=1,
    empty_windows=4,
)

RIG = """
name = "faults-{board}"
board = "{board}"
[console]
port = "{folder}/console"
baud = 1_000_000
answer_s = {answer_s}
hello_s = {hello_s}
[flasher]
kind = "virtual"
control = "{folder}/control.sock"
timeout_s = {flasher_s}
[meter]
kind = "scpi_digitizer"
resource = "TCPIP0::127.0.0.1::{port}::SOCKET"
sample_rate_hz = 100_000
range_a = {range_a}
timeout_s = {meter_s}
[power]
kind = "virtual"
off_s = 0.01
"""


@dataclass
class WarmBench:
    """A board that stays up. ``probe`` is a second hand on it, for faults and mending."""

    rig: Rig
    prepared: Prepared
    subject: Subject
    settings: Settings
    probe: VirtualFlasher
    folder: Path
    twin_pid: int

    def mend(self) -> None:
        """What a person does after a failure: mend the wires, flash if need be, switch on anew."""
        self.probe.ask("calm")
        self.probe.power(True)
        if self.probe.blank() or self.probe.status().elf_sha256 != self.elf_sha256:
            self.probe.flash(self.prepared.firmware)
        self.probe.power(False)
        self.probe.power(True)
        self.await_port()

    def await_port(self) -> None:
        """A port that has gone away comes back by itself."""
        port = Path(self.rig.console.port)
        deadline = time.monotonic() + RETURN_S
        while not port.exists():
            if time.monotonic() > deadline:
                raise RigError(f"{port}: the twin's serial port was not back within {RETURN_S:g} s")
            time.sleep(0.02)

    @property
    def elf_sha256(self) -> str:
        return self.prepared.firmware.elf_sha256

    def traffic(self) -> dict[str, float]:
        """What has passed on the twin's wires since it is up."""
        return self.probe.ask("traffic")

    def kept_waiting_s(self) -> float:
        """How long the twin could have run and this computer ran others, since it is up (Linux)."""
        text = Path(f"/proc/{self.twin_pid}/schedstat").read_text(encoding="ascii")
        return int(text.split()[1]) * 1e-9

    def extent(self, before: dict[str, float], journal_bytes: int) -> Extent:
        """What has passed since ``before``."""
        passed = {name: value - before[name] for name, value in self.traffic().items()}
        return Extent(
            int(passed["to_host"]), int(passed["to_board"]), int(passed["meter"]),
            passed["chip_s"], journal_bytes,
        )  # fmt: skip


@contextmanager
def warm_bench(board: str) -> Iterator[WarmBench]:
    """Build for ``board``, start its twin, flash it; all of it goes away at the end."""
    with tempfile.TemporaryDirectory(prefix="hil-faults-") as name:
        folder = Path(name)
        prepared = prepare(tiny_network(), board, folder / "firmware")
        twin = TwinProcess(board, 1, START_S)
        try:
            probe = VirtualFlasher(twin.control, timeout_s=60.0)
            try:
                bench = WarmBench(
                    _rig(board, twin, folder),
                    prepared,
                    tiny_subject(),
                    SETTINGS,
                    probe,
                    folder,
                    twin.pid,
                )
                bench.mend()
                yield bench
            finally:
                probe.close()
        except FlashError as error:
            error.add_note(f"the twin's last words: {twin.last_words()}")
            raise
        finally:
            twin.close()


def _rig(board: str, twin: TwinProcess, folder: Path) -> Rig:
    path = folder / "rig.toml"
    text = RIG.format(
        board=board, folder=twin.directory, port=twin.meter_port, range_a=RANGE_A.get(board, 1.0),
        answer_s=ANSWER_S, hello_s=HELLO_S, meter_s=METER_S, flasher_s=FLASHER_S,
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")
    return load_rig(str(path))


def tiny_network() -> Network:
    """Two layers with a cut between them, small enough for a trial of a second."""
    first = random_network(Op.CONV, SIDE, SIDE, 3, 4, kernel=3, pad=1, seed=3)
    second = random_network(Op.POINTWISE, SIDE, SIDE, 4, 4, seed=4)
    layers = (
        replace(first.layers[0], name="conv"),
        replace(second.layers[0], name="pointwise", inputs=(1,)),
    )
    cuts = (Cut("input", 0), Cut("conv", 1), Cut("all", 2))
    return Network("faults_tiny", (*first.tensors, second.tensors[1]), layers, cuts)


def tiny_subject() -> Subject:
    """The tiny network with one image of noise; nobody asks for its accuracy or its tails."""
    network = tiny_network()
    x = np.random.default_rng(5).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    images = ImageSet("noise", x, np.zeros(1, np.int64))
    accuracy = SplitAccuracy(network.digest, "", "noise", ())

    def no_tail(cut: str, channels: int) -> None:
        raise AssertionError("a fault trial runs no cloud tails")

    return Subject(network, accuracy, images, no_tail, {})  # type: ignore[arg-type]
