"""st-flash of the open stlink tools: an STM32F746 through its ST-LINK.

It writes a binary, so the ELF's segments become one block from the first to the last byte, and
it compares the flash with it ("verified"). Its exit status alone proves nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.rig.flashers.command_line import Command, Hints, common_hint
from hil.rig.flashers.image import flat_binary
from hil.rig.flashers.tool import Tool

_INSTALL = "apt-get install stlink-tools, or the path as [flasher] program"


class StFlash:
    """Arguments of st-flash. ``serial`` is the ST-LINK's, in hex as st-info prints it."""

    loads_ram = False
    # What was no answer of the chip is printed as its number: 0, or the last word on the probe.
    unreachable = (
        r"[Ff]ailed to connect to target|Can not connect to target|Failed to halt|"
        r"Failed to enter SWD mode|unknown chip id! (0x)?0+\b|"
        r"Target voltage \(-?\d+ mV\) too low for flash writes"
    )

    def __init__(self, serial: str, program: str = "st-flash") -> None:
        self.tool = Tool(program, _INSTALL)
        self.probe = f"ST-LINK {serial}"
        self._serial = serial
        self.hints: Hints = (
            (r"Couldn't find any ST-?Link|No ST-?Link", common_hint(self.probe)),
            (r"Verification of flash failed", "the flash holds something else than the file"),
            (r"LIBUSB_ERROR_ACCESS|Permission", "no rights on the USB device; udev rules?"),
            (self.unreachable, "the target does not answer; is it powered?"),
            (r"unknown chip|Unknown memory region", "this is not the chip of the rig's board"),
            (r"NRST is not connected", "the reset line is not connected to the probe"),
        )

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> list[Command]:
        address, block = flat_binary(image)
        path = folder / "flash.bin"
        path.write_bytes(block)
        arguments = ["--reset", *self._chosen(reset), "write", str(path), f"0x{address:x}"]
        return [Command(arguments, "verified")]

    def check(self, image: ElfImage, folder: Path) -> str:
        return "verified by st-flash"

    def restart(self, reset: bool) -> list[Command]:
        return [Command([*self._chosen(reset), "reset"])]

    def look(self) -> Command:
        # st-flash cannot list probes; st-info, which comes with it, can.
        info = str(Path(self.tool.find()).with_name("st-info"))
        return Command(["--probe"], tool=Tool(info, _INSTALL))

    def describe(self, output: str) -> str:
        serials = re.findall(r"serial:\s*(\S+)", output)
        if self._serial not in serials:
            seen = ", ".join(serials) or "none"
            raise FlashError(f"{common_hint(self.probe)}; st-info sees: {seen}")
        return self.probe

    def _chosen(self, reset: bool) -> list[str]:
        held = ["--connect-under-reset"] if reset else []
        return [*held, "--serial", self._serial]
