"""A GAP8's HyperFlash, by GreenWaves' fork of OpenOCD and the SDK's flashing script.

The boot ROM wants an image that the vendor's SDK makes, so a program of the user wraps each ELF
(``image_tool ELF IMAGE``, docs/flashing.md). The SDK's tcl/flash_image.tcl loads a small flasher to
L2, which erases and programs sector by sector (sources: gap_sdk's flash_image.tcl and
board_runner.py; its words of success from a recovery script for AI-decks). It exits with 0 whatever
happened and has no time limit of its own: only its words prove that all bytes went, and the
caller's deadline ends it. It reads nothing back; that the right program runs shows in the identity
that the console asks for. Never tried by us on a board. eFuses are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.rig.flashers.command_line import Command, Hints
from hil.rig.flashers.openocd import OpenOcdGap8, tcl_word
from hil.rig.flashers.tool import Tool

FLASHER = "gap_bins/gap_flasher-gapoc_a.elf"  # below the SDK's utils/openocd_tools
SCRIPTS = ("tcl/flash_image.tcl", "tcl/jtag_boot.tcl")


class OpenOcdHyperFlash(OpenOcdGap8):
    """As OpenOcdGap8, but the program survives a reset. ``sdk_tools``: utils/openocd_tools."""

    loads_ram = False

    def __init__(
        self,
        serial: str,
        location: str,
        interface: str,
        target: str,
        program: str,
        image_tool: str,
        sdk_tools: Path,
    ) -> None:
        super().__init__(serial, location, interface, target, program)
        self.image_tool = Tool(image_tool, "correct [flasher] image_tool (docs/flashing.md)")
        self._sdk_tools = sdk_tools
        self.hints: Hints = (
            (
                r"could not connect to board",
                "the flasher in L2 did not answer; [flasher] target of the other revision?",
            ),
            *self.hints,
        )

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> Iterator[Command]:
        self._check_tools()
        wrapped = folder / "flash.img"
        yield Command([str(elf), str(wrapped)], tool=self.image_tool)
        size = wrapped.stat().st_size if wrapped.is_file() else 0
        if size == 0:
            raise FlashError(
                f"{self.image_tool.program}: it ended well, but there is no image for {elf}"
            )
        tools = tcl_word(self._sdk_tools)
        scripts = [f"script {tcl_word(self._sdk_tools / name)}" for name in SCRIPTS]
        flash = f"gap_flash_raw_hyper {tcl_word(wrapped)} {size} {tools}"
        yield Command(
            [*self._start(), "-c", "; ".join([*scripts, flash, "exit"])],
            proof=f"copied {size} / {size} Bytes",
        )

    def check(self, image: ElfImage, folder: Path) -> str:
        return "all bytes taken by the SDK's flasher, which reads nothing back"

    def restart(self, reset: bool) -> list[Command]:
        # As flash_image.tcl ends: out of reset with boot mode 0, which boots from flash.
        steps = [
            "init", "reset", "poll off", "irscan gap8.cpu 0x7", "drscan gap8.cpu 0x4 0x0",
            "jtag_reset 0 0", "echo started", "shutdown",
        ]  # fmt: skip
        return [Command([*self._start(), "-c", "; ".join(steps)], "started")]

    def _check_tools(self) -> None:
        for name in (*SCRIPTS, FLASHER):
            if not (self._sdk_tools / name).is_file():
                raise FlashError(
                    f"{self._sdk_tools}: no {name}; [flasher] sdk_tools is the SDK's folder "
                    "utils/openocd_tools"
                )
