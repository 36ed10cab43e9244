"""OpenOCD: an STM32F746 through its ST-LINK, a GAP8 through a JTAG adapter.

STM32: stock OpenOCD 0.12, ``program ... verify reset exit`` with interface/stlink.cfg and
target/stm32f7x.cfg. GAP8: GreenWaves' fork, since stock OpenOCD has neither its debug unit nor
its boot modes. The image goes to L2 and is started there: halt, load, entry into NPC
(0x1B302000), boot mode register to 0 through IR 7, resume; it is read back before it starts. The
fork was never tried by us; sources: gap_sdk's tcl/jtag_boot_entry.tcl and gap8_adv_dbg_unit.c.
HyperFlash: :mod:`.hyperflash`. eFuses are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hil.core.elf import ElfImage
from hil.core.errors import FlashError
from hil.rig.flashers.command_line import Command, Hints, common_hint
from hil.rig.flashers.image import loaded_bytes
from hil.rig.flashers.tool import Tool

NO_PORTS = ("-c", "gdb_port disabled; telnet_port disabled; tcl_port disabled")
GAP8_NPC = 0x1B302000
# Of a target without supply, held in reset or hung, by ST-LINK's, SWD's and JTAG's drivers.
UNREACHABLE = (
    r"init mode failed|unable to connect to the target|target voltage may be too low|"
    r"Target voltage too low|[Ee]xamination failed|- Not (examined|halted)|[Tt]arget not (examined|"
    r"halted)|Unable to reset target|timed out while waiting for target halted|"
    r"Error connecting DP|Invalid ACK|communication failure|JTAG scan chain interrogation failed"
)
_PROBE_WORDS = ("STLINK", "Target voltage", "tap/device found", "hardware has")


def tcl_word(path: Path) -> str:
    """A path as one word of Tcl."""
    if any(char in str(path) for char in "{}\\"):
        raise FlashError(f"{path}: OpenOCD cannot be given a path with braces or backslashes")
    return "{" + str(path) + "}"


def _found(output: str, probe: str) -> str:
    words = [
        line.removeprefix("Info :").strip()
        for line in output.splitlines()
        if any(word in line for word in _PROBE_WORDS)
    ]
    return ", ".join(words) or probe


class OpenOcdStm32:
    """Arguments for a Nucleo-F746ZG. ``serial`` is the ST-LINK's."""

    loads_ram = False
    unreachable = UNREACHABLE

    def __init__(self, serial: str, program: str = "openocd") -> None:
        self.tool = Tool(program, "apt-get install openocd, or the path as [flasher] program")
        self.probe = f"ST-LINK {serial}"
        self._serial = serial
        self.hints: Hints = (
            (r"open failed|No ST-?LINK|no device found", common_hint(self.probe)),
            (r"LIBUSB_ERROR_ACCESS", "no rights on the USB device; install OpenOCD's udev rules"),
            (r"LIBUSB_ERROR_BUSY|already in use", "another program uses the probe"),
            (r"\*\* Verify Failed|contents differ", "the flash holds something else than the file"),
            (r"Can't find (\S+)", "this OpenOCD lacks a configuration file; is it 0.12?"),
            (self.unreachable, "the target does not answer; is it powered, is SWD in use?"),
        )

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> list[Command]:
        line = f"program {tcl_word(elf)} verify reset exit"
        return [Command([*self._start(reset), "-c", line], "** Verified OK **")]

    def check(self, image: ElfImage, folder: Path) -> str:
        return "verified by OpenOCD"

    def restart(self, reset: bool) -> list[Command]:
        return [Command([*self._start(reset), "-c", "init; reset run; shutdown"])]

    def look(self) -> Command:
        return Command([*self._start(reset=False), "-c", "init; shutdown"])

    def describe(self, output: str) -> str:
        return _found(output, self.probe)

    def _start(self, reset: bool) -> list[str]:
        held = ["-c", "reset_config srst_only srst_nogate connect_assert_srst"] if reset else []
        return [
            *NO_PORTS, "-f", "interface/stlink.cfg", "-c", f"adapter serial {self._serial}",
            "-f", "target/stm32f7x.cfg", *held,
        ]  # fmt: skip


class OpenOcdGap8:
    """Arguments for GreenWaves' fork. ``serial`` or ``location`` chooses the FTDI adapter.

    ``interface`` and ``target`` are the fork's configuration files for adapter and chip revision.
    """

    loads_ram = True
    unreachable = UNREACHABLE

    def __init__(
        self,
        serial: str,
        location: str,
        interface: str,
        target: str,
        program: str = "gap8-openocd",
    ) -> None:
        self.tool = Tool(
            program,
            "build GreenWaves' gap8_openocd (docs/flashing.md), or name it as [flasher] program",
        )
        self.probe = f"JTAG adapter {serial or location}"
        self._chosen = f"ftdi_serial {serial}" if serial else f"ftdi_location {location}"
        self._interface, self._target = interface, target
        self.hints: Hints = (
            (r"no device found|unable to open ftdi device", common_hint(self.probe)),
            (r"LIBUSB_ERROR_ACCESS", "no rights on the USB device; install the fork's udev rules"),
            (r"Can't find (\S+)", "is this the fork, and is OPENOCD_SCRIPTS set to its scripts?"),
            (r"invalid command name|Unknown target type", "this OpenOCD is not GreenWaves' fork"),
            (self.unreachable, "the chip does not answer; [flasher] target of the other revision?"),
        )

    def write(self, elf: Path, image: ElfImage, folder: Path, reset: bool) -> Iterable[Command]:
        # Opening the adapter pulls SRST and puts the boot mode in: each call starts with a reset.
        steps = ["init", "halt", f"load_image {tcl_word(elf)} 0x0 elf"]
        steps += [
            f"dump_image {tcl_word(_dump(folder, address))} 0x{address:x} {len(data)}"
            for address, data in loaded_bytes(image)
        ]
        steps += [
            f"mww 0x{GAP8_NPC:x} 0x{image.entry:x}",
            "poll off", "irscan gap8.cpu 0x7", "drscan gap8.cpu 0x4 0x0", "poll on",
            "resume", "echo started", "shutdown",
        ]  # fmt: skip
        return [Command([*self._start(), "-c", "; ".join(steps)], "started")]

    def check(self, image: ElfImage, folder: Path) -> str:
        for address, data in loaded_bytes(image):
            try:
                found = _dump(folder, address).read_bytes()
            except OSError as error:
                raise FlashError(f"{self.probe}: OpenOCD read nothing back: {error}") from error
            if found != data:
                raise FlashError(
                    f"{self.probe}: L2 from 0x{address:08x} on does not hold what was loaded"
                )
        return "read back and compared"

    def restart(self, reset: bool) -> list[Command]:
        raise AssertionError("a board that runs from RAM is loaded again")

    def look(self) -> Command:
        return Command([*self._start(), "-c", "init; shutdown"])

    def describe(self, output: str) -> str:
        return _found(output, self.probe)

    def _start(self) -> list[str]:
        return [*NO_PORTS, "-f", self._interface, "-c", self._chosen, "-f", self._target]


def _dump(folder: Path, address: int) -> Path:
    return folder / f"{address:08x}.bin"
