"""Any GDB server as a flasher: load, read back, start, over the remote serial protocol.

The server decides what flash is (its memory map) and is asked to erase and write it; what is no
flash is written as memory. It must know ``monitor reset halt``. A GAP8 program goes to L2 and is
started at its entry; an STM32's starts from its vectors. A connection holds the target, so there
is one only while something is done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.core.firmware import Firmware
from hil.rig.flashers import FlashReport, UnreachableError, openocd, pyocd
from hil.rig.flashers.image import loaded_bytes, read_image
from hil.rig.gdb_client import FlashArea, GdbClient

RESET = "reset halt"
# What servers print or answer when the target does not answer them.
UNREACHABLE = f"{openocd.UNREACHABLE}|{pyocd.UNREACHABLE}|target has no power"


class GdbFlasher:
    """See :class:`hil.rig.flashers.Flasher`. ``server`` is host:port; ``timeout_s`` an answer's.

    ``loads_ram``: the program is lost at a reset and has to be loaded again.
    """

    recovery = "reset again"

    def __init__(self, server: str, loads_ram: bool, timeout_s: float) -> None:
        self._server = server
        self.loads_ram = loads_ram
        self._timeout_s = timeout_s
        self._expected: Firmware | None = None

    def expect(self, firmware: Firmware) -> None:
        self._expected = firmware

    def flash(self, firmware: Firmware) -> FlashReport:
        started_s = time.monotonic()
        image = read_image(firmware)
        with self._connected() as client:
            client.monitor(RESET)
            _load(client, image)
            _verify(client, image)
            self._start(client, image.entry)
            detail = f"{client.name} at {self._server} took {firmware.elf}, read back and compared"
        self.expect(firmware)
        return FlashReport(firmware.elf_sha256, time.monotonic() - started_s, detail)

    def reset(self) -> None:
        if self.loads_ram:
            if self._expected is None:
                raise FlashError(
                    f"GDB server {self._server}: this board runs from RAM, and nobody has said "
                    "what to load; flash first"
                )
            self.flash(self._expected)
            return
        with self._connected() as client:
            client.monitor(RESET)
            client.go()

    def recover(self) -> None:
        self.reset()

    def blank(self) -> bool | None:
        return None

    def halted(self) -> str | None:
        return None

    def state(self) -> str:
        """Stops the board for a moment: servers do that for every connection."""
        return f"{self.server_name()} at {self._server}"

    def server_name(self) -> str:
        """What the server calls itself."""
        with self._connected() as client:
            client.go()
            return client.name

    def close(self) -> None:
        """Nothing stays open."""

    @contextmanager
    def _connected(self) -> Iterator[GdbClient]:
        try:
            client = GdbClient(self._server, self._timeout_s)
            try:
                yield client
            finally:
                client.close()
        except FlashError as error:
            if re.search(UNREACHABLE, str(error)):
                raise UnreachableError(str(error)) from error
            raise

    def _start(self, client: GdbClient, entry: int) -> None:
        if self.loads_ram:
            client.set_register(client.register_number("pc"), entry)
        else:
            client.monitor(RESET)  # the registers as the vectors say
        client.go()


def _load(client: GdbClient, image: ElfImage) -> None:
    areas = client.flash_areas()
    parts = loaded_bytes(image)
    in_flash = [part for part in parts if _holds(areas, part[0])]
    for start, end in sectors(areas, in_flash):
        client.erase_flash(start, end - start)
    for address, data in in_flash:
        client.write_flash(address, data)
    if in_flash:
        client.finish_flash()
    for address, data in parts:
        if (address, data) not in in_flash:
            client.write_memory(address, data)


def _verify(client: GdbClient, image: ElfImage) -> None:
    for address, data in loaded_bytes(image):
        found = client.read_memory(address, len(data))
        if found != data:
            at = next(n for n, (one, other) in enumerate(zip(found, data, strict=True))
                      if one != other)  # fmt: skip
            raise FlashError(
                f"GDB server {client.server}: after loading, 0x{address + at:08x} holds "
                f"0x{found[at]:02x} and not 0x{data[at]:02x}; did the server erase and write "
                "the flash?"
            )


def sectors(areas: tuple[FlashArea, ...], parts: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
    """(start, end) of the sectors that hold ``parts``, each sector once, in order.

    One range may not go over the border of two areas: servers erase by sectors of one size.
    """
    wanted: list[tuple[int, int]] = []
    for area in sorted(areas, key=lambda area: area.start):
        for start in range(area.start, area.end, area.sector_bytes):
            end = start + area.sector_bytes
            if any(address < end and start < address + len(data) for address, data in parts):
                if wanted and wanted[-1][1] == start != area.start:
                    wanted[-1] = (wanted[-1][0], end)
                else:
                    wanted.append((start, end))
    return wanted


def _holds(areas: tuple[FlashArea, ...], address: int) -> bool:
    return any(area.start <= address < area.end for area in areas)
