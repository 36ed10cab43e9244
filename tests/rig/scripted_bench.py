"""What the rig's tests share: a host's view of a twin that hosts a firmware double."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from hil.core.firmware import Firmware
from hil.rig.console import Console, Timeouts, Watch, see_nothing
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.meters.scpi_digitizer import ScpiDigitizer
from hil.sim.scripted_chip import Image

QUICK = Timeouts(answer_s=0.4, hello_s=1.0, slowdown=20.0)


@dataclass
class Bench:
    """The twin's folder, its probe, and makers for what a host connects."""

    folder: Path
    probe: VirtualFlasher
    events: list[tuple[str, str]]

    @property
    def port(self) -> str:
        return str(self.folder / "console")

    @property
    def resource(self) -> str:
        port = (self.folder / "meter.port").read_text().strip()
        return f"TCPIP0::127.0.0.1::{port}::SOCKET"

    def firmware(
        self, build: str = "ab", behaviour: str = "normal", board: str = "gap8"
    ) -> Firmware:
        """A firmware for the double; ``build`` is repeated to make the build id."""
        path = self.folder / f"{build}-{behaviour}.elf"
        Image(build * 32, behaviour).write(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Firmware(board, path, build * 32, digest, "none", "toy", "00" * 32, 3, ())

    def console(self, watch: Watch = see_nothing) -> Console:
        return Console(self.port, 1_000_000, QUICK, lambda *event: self.events.append(event), watch)

    def meter(self) -> ScpiDigitizer:
        return ScpiDigitizer(self.resource, timeout_s=0.5, slowdown=20.0)


def scripted_command(
    board: str, directory: Path, seed: int, meter: str = "scpi_digitizer"
) -> list[str]:
    """Starts a twin process with a firmware double, for hil.rig.bench."""
    script = Path(__file__).with_name("scripted_twin.py")
    return [
        sys.executable, str(script), "--board", board, "--dir", str(directory), "--seed", str(seed),
        "--meter", meter,
    ]  # fmt: skip
