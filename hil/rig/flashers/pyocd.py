"""pyOCD's command line: an STM32F746 through any probe that pyOCD drives.

``pyocd load`` programs without reading back, so ``pyocd commander`` compares the flash with the
file afterwards; a difference leaves its exit status 0, so its words are what counts. The F746
is no built-in target: ``pyocd pack install stm32f746zg`` once.
"""

from __future__ import annotations

import json
from pathlib import Path

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.rig.flashers.command_line import Command, Hints, common_hint
from hil.rig.flashers.image import loaded_bytes
from hil.rig.flashers.tool import Tool

TARGET = "stm32f746zg"
# Words of CMSIS-DAP's transfers, of ST-LINK's states and of the search for cores.
UNREACHABLE = (
    r"No ACK|Memory transfer fault|SWD/JTAG communication failure|Unexpected ACK|"
    r"STLink error \(\d+\): (No device connected|Get IDCODE error|Debug power error|[AD]P \w+)|"
    r"No cores were discovered|Timeout waiting for power ack"
)


class PyOcd:
    """Arguments of pyOCD. ``serial`` is the probe's unique id."""

    loads_ram = False
    unreachable = UNREACHABLE

    def __init__(self, serial: str, target: str = TARGET, program: str = "pyocd") -> None:
        self.tool = Tool(program, "pip install 'hil-clio[pyocd]', or the path as [flasher] program")
        self.probe = f"probe {serial}"
        self._serial = serial
        self._chosen = ["-W", "-u", serial, "-t", target]
        self.hints: Hints = (
            (r"No connected debug probe|No available debug probes", common_hint(self.probe)),
            (
                r"Target type \S+ not recognized",
                f"pyOCD does not know the chip; once: pyocd pack install {target}",
            ),
            (r"[Mm]ismatched byte", "the flash holds something else than the file"),
            (r"Permission|Access denied", "no rights on the USB device; install udev rules"),
            (self.unreachable, "the target does not answer; is it powered?"),
        )

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> list[Command]:
        commands = [Command(["load", *self._mode(reset), "--format", "elf", str(elf)])]
        for address, data in loaded_bytes(image):
            part = folder / f"{address:08x}.bin"
            part.write_bytes(data)
            line = f'compare 0x{address:x} "{part}"'
            proof = f"All {len(data)} bytes match"
            commands.append(Command(["commander", *self._chosen, "-c", line], proof))
        return [*commands, *self.restart(reset)]

    def check(self, image: ElfImage, folder: Path) -> str:
        return "compared by pyOCD"

    def restart(self, reset: bool) -> list[Command]:
        return [Command(["reset", *self._mode(reset)])]

    def look(self) -> Command:
        return Command(["json", "--probes"])

    def describe(self, output: str) -> str:
        try:
            boards = json.loads(output[output.index("{") :])["boards"]
            ids = [board["unique_id"] for board in boards]
            names = [board.get("info", "?") for board in boards]
        except (ValueError, KeyError, TypeError) as error:
            raise FlashError(f"{self.probe}: pyocd json --probes said {output[:80]!r}") from error
        if self._serial not in ids:
            raise FlashError(f"{common_hint(self.probe)}; pyOCD sees: {', '.join(ids) or 'none'}")
        return f"{names[ids.index(self._serial)]} {self._serial}"

    def _mode(self, reset: bool) -> list[str]:
        return [*self._chosen, *(["-M", "under-reset"] if reset else [])]
