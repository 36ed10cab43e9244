"""Cores that a test runs programs on: the virtual chip in this process, or any GDB server.

A test loads code and data, sets registers, runs to an address, and reads back. What passes on the
virtual chip can so be tried on silicon or on another simulator, with the same expectations.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.core.elf import load_segments
from hil.core.errors import FlashError
from hil.rig.gdb_client import GdbClient
from hil.sim.chip import Chip, Stop
from hil.sim.debug import Debugger

RUN_S = 20.0  # of this computer, for a program on a GDB server
CHIP_S = 5.0  # of its own time, for a program on a virtual chip
ANSWER_S = 10.0
# Of OpenOCD, pyOCD and ``hil sim gdb``; of QEMU.
RESETS = ("reset halt", "system_reset")
THUMB_STATE = 1 << 24  # xPSR
# The numbers of GDB's oldest descriptions, for servers that send none.
NUMBERS = {"gap8": {"sp": 2, "pc": 32}, "cortex-m7": {"sp": 13, "pc": 15, "xpsr": 25}}
FLAGS = {
    "gap8": ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c-a-d-f",
             "-nostdlib", "-Wl,-e,stop"),
    "cortex-m7": ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp",
                  "-nostdlib", "-Wl,-e,stop"),
}  # fmt: skip
INSTRUCTION_BYTES = {"gap8": 4, "cortex-m7": 2}  # of the one that ends a program


@dataclass(frozen=True)
class Ram:
    """Memory that the programs may use, all of it."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


# L2 of the GAP8 behind what its loader uses; all RAM of the STM32F746.
RAMS = {"gap8": Ram(0x1C010000, 0x70000), "cortex-m7": Ram(0x20000000, 0x50000)}


class Target(Protocol):
    """A core at rest between two runs. ``ram`` is for code and data alike."""

    ram: Ram

    def reset(self) -> None:
        """Forget what ran before; the contents of RAM may be lost."""

    def write(self, address: int, data: bytes) -> None:
        """Store bytes, or a device's register as whole words."""

    def read(self, address: int, size: int) -> bytes:
        """The same for reading."""

    def set_register(self, name: str, value: int) -> None:
        """Set a register by GDB's name."""

    def register(self, name: str) -> int:
        """The value of a register."""

    def run(self, entry: int, end: int) -> None:
        """Run from ``entry`` until the pc is ``end``; AssertionError tells where else it came."""

    def instructions(self) -> int | None:
        """Executed since the reset; None where nobody counts."""


def words(target: Target, address: int, count: int) -> tuple[int, ...]:
    """32-bit words of memory."""
    return struct.unpack(f"<{count}I", target.read(address, 4 * count))


def write_words(target: Target, address: int, *values: int) -> None:
    """The same for writing."""
    target.write(address, struct.pack(f"<{len(values)}I", *values))


class Programs:
    """The programs of an assembly source, linked to ``start``: the start of a target's RAM.

    Each runs from its label to the label ``stop``.
    """

    def __init__(
        self, source: Path, arch: str, target: Target, folder: Path, start: int | None = None
    ) -> None:
        self._target = target
        self._start = target.ram.start if start is None else start
        elf, script = folder / f"{source.stem}.elf", folder / f"{source.stem}.ld"
        # Program headers of its own: the linker would load the ELF's in front of a low address.
        script.write_text(
            "PHDRS { code PT_LOAD; }\n"
            f"SECTIONS {{ .text {self._start} : {{ *(.text) }} :code }}\n"
        )
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS[arch], "-T", str(script)]
        subprocess.run([*command, str(source), "-o", str(elf)], check=True)
        image = load_segments(elf)
        self._code = image.segments[0].data
        self.symbols = {name: at & ~1 for name, at in image.symbols.items()}

    def run(
        self,
        name: str,
        prepare: Callable[[], object] = lambda: None,
        end: str = "stop",
        **registers: int,
    ) -> None:
        """Reset the target, load, ``prepare``, set ``registers`` and run the program ``name``."""
        target = self._target
        target.reset()
        target.write(self._start, self._code)
        prepare()
        for register, value in {"sp": target.ram.end, **registers}.items():
            target.set_register(register, value)
        target.run(self.symbols[name], self.symbols[end])

    def results(self, *names: str) -> tuple[int, ...]:
        """Registers behind a run."""
        return tuple(self._target.register(name) for name in names)


class ChipTarget:
    """The first core of a virtual chip in this process."""

    def __init__(self, chip: Chip, ram: Ram, counter: str) -> None:
        """``counter``: the chip's name of the instructions executed."""
        self.chip = chip
        self.ram = ram
        self._counter = counter
        self._debug: Debugger = chip.debugger  # type: ignore[attr-defined]
        self._numbers = {r.name: number for number, r in enumerate(self._debug.registers)}

    def reset(self) -> None:
        self.chip.reset()

    def write(self, address: int, data: bytes) -> None:
        self._debug.write_memory(address, data)

    def read(self, address: int, size: int) -> bytes:
        return self._debug.read_memory(address, size)

    def set_register(self, name: str, value: int) -> None:
        self._debug.write_register(0, self._numbers[name], value)

    def register(self, name: str) -> int:
        return self._debug.read_register(0, self._numbers[name])

    def run(self, entry: int, end: int) -> None:
        self.set_register("pc", entry)
        self._debug.set_breakpoint(end)
        try:
            stop = self.chip.run(CHIP_S)
        finally:
            self._debug.clear_breakpoint(end)
        pc = self.register("pc")
        assert stop is Stop.BREAK and pc == end, f"{stop.name} at 0x{pc:08x}: {self.chip.fault}"

    def instructions(self) -> int | None:
        return self.chip.counters()[self._counter]


class GdbTarget:
    """The first core behind the GDB server at ``server`` (host:port)."""

    def __init__(self, server: str, arch: str, ram: Ram) -> None:
        self.ram = ram
        self.arch = arch
        self._client = GdbClient(server, ANSWER_S)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def reset(self) -> None:
        """By the first command of ``RESETS`` that the server knows; none is no error."""
        for command in RESETS:
            try:
                if "unknown command" not in self._client.monitor(command):
                    break
            except FlashError:  # a server without commands of its own, as that of qemu-arm
                break
        if self.arch == "cortex-m7":  # without a program in flash, reset leaves Arm state
            self.set_register("xpsr", THUMB_STATE)

    def write(self, address: int, data: bytes) -> None:
        self._client.write_memory(address, data)

    def read(self, address: int, size: int) -> bytes:
        return self._client.read_memory(address, size)

    def set_register(self, name: str, value: int) -> None:
        self._client.set_register(self._number(name), value)

    def register(self, name: str) -> int:
        return self._client.read_register(self._number(name))

    def _number(self, name: str) -> int:
        try:
            return self._client.register_number(name)
        except FlashError:
            if name not in NUMBERS[self.arch]:
                raise
            return NUMBERS[self.arch][name]

    def run(self, entry: int, end: int) -> None:
        size = INSTRUCTION_BYTES[self.arch]
        self.set_register("pc", entry)
        self._client.set_breakpoint(end, size)
        try:
            told = self._client.run(RUN_S)
        finally:
            self._client.clear_breakpoint(end, size)
        pc = self.register("pc")
        assert pc == end, f"stopped at 0x{pc:08x}: {told}"

    def instructions(self) -> int | None:
        return None
