"""A flasher that runs a command-line tool for each action.

What the tools have in common is here: verification is demanded, a target that cannot be reached
is tried once more with the reset line held (and the journal told), and an error names the tool,
its version, the probe and the tool's own last words.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.core.firmware import Firmware
from hil.rig.flashers import FlashReport, Report, UnreachableError
from hil.rig.flashers.image import read_image
from hil.rig.flashers.tool import Output, Tool

# (pattern in a tool's output, what to do); the first that matches is told. Those in front of the
# set's ``unreachable`` are failures of tool or probe, after which the target cannot be judged.
Hints = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """Arguments of one call. ``proof`` must be in its output, whatever its exit status says.

    ``tool``: another one than the set's.
    """

    arguments: Sequence[str]
    proof: str = ""
    tool: Tool | None = None


class CommandSet(Protocol):
    """One tool's arguments and words.

    ``unreachable``: pattern of a probe that is there and a target that does not answer; one of
    the ``hints``.
    """

    tool: Tool
    probe: str  # how errors call it: "ST-LINK 066A..."
    hints: Hints
    unreachable: str
    loads_ram: bool  # the firmware is lost at a reset and has to be loaded again

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> Iterable[Command]:
        """Write, verify and start; ``reset``: connect with the reset line held.

        Each is asked for when the one before it has run.
        """

    def check(self, image: ElfImage, folder: Path) -> str:
        """Host-side verification after ``write``; a word for it, FlashError if it fails."""

    def restart(self, reset: bool) -> list[Command]:
        """Reset and run."""

    def look(self) -> Command:
        """Ask for the probe without disturbing the target."""

    def describe(self, output: str) -> str:
        """What ``look`` has found; FlashError if it is not this probe."""


class CommandLineFlasher:
    """See :class:`hil.rig.flashers.Flasher`. ``timeout_s`` bounds each call of the tool."""

    recovery = "reset under connect"

    def __init__(self, commands: CommandSet, timeout_s: float, report: Report) -> None:
        self._commands = commands
        self._timeout_s = timeout_s
        self._report = report
        self._version = commands.tool.version()
        self.loads_ram = commands.loads_ram
        self._expected: Firmware | None = None

    def expect(self, firmware: Firmware) -> None:
        self._expected = firmware

    def flash(self, firmware: Firmware) -> FlashReport:
        started_s = time.monotonic()
        image = read_image(firmware)
        with tempfile.TemporaryDirectory(prefix="hil-flash-") as name:
            folder = Path(name)
            try:
                self._write(firmware, image, folder, reset=False)
            except UnreachableError as error:
                self._report("retry", f"{error}; once more with the reset line held")
                self._write(firmware, image, folder, reset=True)
            how = self._commands.check(image, folder)
        self.expect(firmware)
        detail = f"{self._version} wrote {firmware.elf} through {self._commands.probe}, {how}"
        return FlashReport(firmware.elf_sha256, time.monotonic() - started_s, detail)

    def reset(self) -> None:
        self._restart(reset=False)

    def recover(self) -> None:
        self._restart(reset=True)

    def blank(self) -> bool | None:
        return None

    def halted(self) -> str | None:
        return None

    def state(self) -> str:
        output = self._run("look for", self._commands.look())
        return f"{self._version}, {self._commands.describe(output.text)}"

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _write(self, firmware: Firmware, image: ElfImage, folder: Path, reset: bool) -> None:
        for command in self._commands.write(firmware.elf.resolve(), image, folder, reset):
            self._run("flash", command)

    def _restart(self, reset: bool) -> None:
        if not self.loads_ram:
            for command in self._commands.restart(reset):
                self._run("reset", command)
        elif self._expected is not None:
            self.flash(self._expected)
        else:
            raise FlashError(
                f"{self._commands.probe}: this board runs from RAM, and nobody has said what to "
                "load; flash first"
            )

    def _run(self, what: str, command: Command) -> Output:
        tool = command.tool or self._commands.tool
        output = tool.run(command.arguments, self._timeout_s)
        if output.status == 0 and command.proof in output.text:
            return output
        pattern, hint = self._diagnosis(output)
        who = self._version if command.tool is None else Path(tool.program).name
        said = (
            f"{who} could not {what} the board through {self._commands.probe}"
            f"{hint}; exit status {output.status}, its last words: {output.last_words}"
        )
        if pattern == self._commands.unreachable:
            raise UnreachableError(said)
        raise FlashError(said)

    def _diagnosis(self, output: Output) -> tuple[str, str]:
        """The first pattern that the output has, and what to do then."""
        for pattern, hint in self._commands.hints:
            if re.search(pattern, output.text):
                return pattern, f": {hint}"
        return "", ""


def common_hint(probe: str) -> str:
    """What to do when a probe is not found."""
    return (
        f"no {probe} is connected; check the cable, [flasher] serial and the rights on the USB "
        "device (udev rules)"
    )
