"""The flasher that a rig file names."""

from __future__ import annotations

from pathlib import Path

from hil.rig.flasher_spec import HYPERFLASH, FlasherSpec
from hil.rig.flashers import Flasher, Report
from hil.rig.flashers.command_line import CommandLineFlasher, CommandSet
from hil.rig.flashers.gdb import GdbFlasher
from hil.rig.flashers.hyperflash import OpenOcdHyperFlash
from hil.rig.flashers.openocd import OpenOcdGap8, OpenOcdStm32
from hil.rig.flashers.pyocd import TARGET, PyOcd
from hil.rig.flashers.st_flash import StFlash
from hil.rig.flashers.tool import Tool
from hil.rig.flashers.virtual import VirtualFlasher

RAM_BOARDS = ("gap8",)  # their program is loaded to RAM and lost at a reset


def open_flasher(spec: FlasherSpec, board: str, report: Report) -> Flasher:
    """``spec`` with its places filled in. FlashError: no such tool, probe or server."""
    if spec.kind == "virtual":
        return VirtualFlasher(Path(spec.control), spec.timeout_s)
    if spec.kind == "gdb":
        return GdbFlasher(spec.server, board in RAM_BOARDS, spec.timeout_s)
    return CommandLineFlasher(_commands(spec, board), spec.timeout_s, report)


def tools_of(spec: FlasherSpec, board: str) -> tuple[Tool, ...]:
    """The command-line tools of a flasher that has any."""
    commands = _commands(spec, board)
    if isinstance(commands, OpenOcdHyperFlash):
        return commands.tool, commands.image_tool
    return (commands.tool,)


def _commands(spec: FlasherSpec, board: str) -> CommandSet:
    program = spec.program
    if spec.kind == "openocd" and board == "gap8":
        adapter = spec.serial, spec.location, spec.interface, spec.target
        program = program or "gap8-openocd"
        if spec.memory == HYPERFLASH:
            tools = Path(spec.sdk_tools).expanduser()
            return OpenOcdHyperFlash(*adapter, program, spec.image_tool, tools)
        return OpenOcdGap8(*adapter, program)
    if spec.kind == "openocd":
        return OpenOcdStm32(spec.serial, program or "openocd")
    if spec.kind == "pyocd":
        return PyOcd(spec.serial, spec.target or TARGET, program or "pyocd")
    return StFlash(spec.serial, program or "st-flash")
