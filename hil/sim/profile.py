"""Cycles by function and hot loops: what ``hil sim run --profile`` prints.

A chip counts by address (``CoreClassCycles``); here the ELF's symbols turn addresses into
functions. Firmware is built without debug information, so an inlined function counts as its caller.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

# The first two columns of every chip's counts; behind them the cycles lost, by reason.
CYCLES, INSTRUCTIONS, FIRST_REASON = 0, 1, 2

# Heading and meaning of every reason that some chip counts.
REASONS = {
    "load_use": ("use", "waits for the result of a load, multiplication or other slow operation"),
    "alone": ("alone", "issued without a partner: the pairing with the one before was refused"),
    "bank": ("bank", "L1 bank taken by another core"),
    "fetch": ("I$", "instruction fetch: cache miss, flash wait states"),
    "data": ("D$", "load that left the core's own memory: data cache, bus"),
    "wait": ("wait", "L2, device registers, exceptions, wake-up"),
    "asleep": ("sleep", "asleep for an event, barrier or interrupt"),
    "branch": ("br", "taken branches and jumps; branches foretold wrongly"),
    "long": ("long", "more than one cycle by itself: division, misaligned, several registers"),
}
NARROWEST_NAME = 12
NO_SYMBOL = "(no symbol)"


@dataclass(frozen=True)
class CodeLine:
    """An instruction for people. ``loop``: the first and last address of a loop it closes or sets.

    ``note`` says why it stalls where the counts cannot (the pairing rule that refused it).
    """

    address: int
    text: str
    loop: tuple[int, int] | None = None
    note: str = ""


@dataclass(frozen=True)
class CoreClassCycles:
    """What the ``cores`` equal cores of one class did: ``counts[i, k]`` at ``addresses[i]``.

    Column k counts ``kinds[k]``: cycles in all, instructions, then cycles lost by reason (keys of
    REASONS). ``addresses`` ascend and ``lines`` are their instructions; counts are summed over the
    cores, from their start to the end of the run, and all cycles add up to the chip's own count.
    """

    name: str
    cores: int
    addresses: np.ndarray
    counts: np.ndarray
    kinds: tuple[str, ...]
    lines: tuple[CodeLine, ...]


@runtime_checkable
class ProfiledChip(Protocol):
    """A simulated chip that can count cycles by address."""

    def start_profile(self) -> None:
        """Reset, and count cycles by address from there on; slower than a plain run."""

    def profile(self) -> tuple[CoreClassCycles, ...]:
        """The counts since reset, a class of cores each."""


@dataclass(frozen=True)
class FunctionCycles:
    """The counts of one function, summed over the cores of a class; columns as its ``kinds``."""

    name: str
    counts: tuple[float, ...]

    @property
    def cycles(self) -> float:
        """All cycles, sleep included."""
        return self.counts[CYCLES]

    @property
    def issue(self) -> float:
        """Cycles that are lost to no reason: some instruction began."""
        return self.counts[CYCLES] - sum(self.counts[FIRST_REASON:])


class Functions:
    """The code symbols of an ELF, by address."""

    def __init__(self, symbols: Iterable[tuple[int, int, str]]) -> None:
        """``symbols``: address, size in bytes (0: up to the next one, as assembly labels), name."""
        ordered = sorted(symbols)
        self._starts = [address for address, _, _ in ordered]
        self._sizes = [size for _, size, _ in ordered]
        self._names = [name for _, _, name in ordered]

    @classmethod
    def from_elf(cls, path: Path) -> Functions:
        """Function symbols and the labels of assembly in executable sections; one an address.

        The ELF has been loaded before, so that it is known to be one.
        """
        found: dict[int, tuple[int, str]] = {}
        with path.open("rb") as file:
            elf = ELFFile(file)
            thumb = elf["e_machine"] == "EM_ARM"
            code = [bool(s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR) for s in elf.iter_sections()]
            for section in elf.iter_sections():
                if not isinstance(section, SymbolTableSection):
                    continue
                for symbol in section.iter_symbols():
                    index, kind = symbol["st_shndx"], symbol["st_info"]["type"]
                    in_code = isinstance(index, int) and code[index]
                    # mapping symbols ($x, $d) and local labels name no function
                    if not in_code or not symbol.name or symbol.name.startswith(("$", ".L")):
                        continue
                    if kind not in ("STT_FUNC", "STT_NOTYPE"):
                        continue
                    entry = (int(symbol["st_size"]), symbol.name)
                    address = int(symbol["st_value"])
                    if thumb and kind == "STT_FUNC":
                        address &= ~1  # bit 0 marks Thumb code
                    found[address] = max(found.get(address, entry), entry)
        return cls((address, size, name) for address, (size, name) in found.items())

    def span(self, name: str) -> tuple[int, int] | None:
        """The addresses [first, behind) of the symbol ``name``; None if there is no such one."""
        if name not in self._names:
            return None
        at = self._names.index(name)
        first, size = self._starts[at], self._sizes[at]
        if size:
            return first, first + size
        return first, self._starts[at + 1] if at + 1 < len(self._starts) else first + 4096

    def name(self, address: int) -> str:
        """The function that holds ``address``; NO_SYMBOL between functions."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0 or (self._sizes[at] and address >= self._starts[at] + self._sizes[at]):
            return NO_SYMBOL
        return self._names[at]

    def place(self, address: int) -> str:
        """``address`` as function and offset, "main+0x1a"; nothing between functions.

        Bit 0, which marks Thumb code, is left out.
        """
        address &= ~1
        name = self.name(address)
        if name == NO_SYMBOL:
            return ""
        offset = address - self._starts[bisect.bisect_right(self._starts, address) - 1]
        return f"{name}+0x{offset:x}" if offset else name


def by_function(cores: CoreClassCycles, functions: Functions) -> list[FunctionCycles]:
    """Counts summed by function, the most cycles first."""
    sums: dict[str, np.ndarray] = {}
    for address, counts in zip(cores.addresses.tolist(), cores.counts, strict=True):
        name = functions.name(address)
        sums[name] = sums.get(name, 0) + counts
    rows = [FunctionCycles(name, tuple(counts.tolist())) for name, counts in sums.items()]
    return sorted(rows, key=lambda row: (-row.cycles, row.name))


def total(rows: Iterable[FunctionCycles], name: str = "total") -> FunctionCycles:
    """The sum of all rows."""
    columns = zip(*(row.counts for row in rows), strict=True)
    return FunctionCycles(name, tuple(sum(column) for column in columns))


def table(
    cores: CoreClassCycles, functions: Functions, top: int = 20, width: int = 80
) -> list[str]:
    """Lines of ``width`` columns if that can be: the ``top`` functions and the total."""
    rows = by_function(cores, functions)
    plural = "core" if cores.cores == 1 else "cores, summed"
    if not rows:
        return [f"{cores.name}: never started"]
    reasons = cores.kinds[FIRST_REASON:]
    heading = f"{'cycles':>14} {'share':>6} {'IPC':>5}"
    heading += "".join(f"{REASONS[reason][0]:>6}" for reason in reasons)
    room = max(width - len(heading), NARROWEST_NAME)
    shown, rest = rows[:top], rows[top:]
    everything = total(rows)
    if rest:
        shown = [*shown, total(rest, f"({len(rest)} more)")]
    title = f"{cores.name} ({cores.cores} {plural})"
    return [title, f"{'function':<{room}}{heading}"] + [
        _line(row, everything.cycles, room) for row in [*shown, everything]
    ]


def legend(cores: Iterable[CoreClassCycles]) -> list[str]:
    """What the tables' columns mean."""
    reasons = dict.fromkeys(kind for each in cores for kind in each.kinds[FIRST_REASON:])
    return [
        "IPC: instructions a cycle. The rest is % of the function's cycles, lost to:",
        *(f"  {REASONS[reason][0]:<6} {REASONS[reason][1]}" for reason in reasons),
    ]


def _line(row: FunctionCycles, all_cycles: float, room: int) -> str:
    name = row.name if len(row.name) <= room else row.name[: room - 2] + ".."
    cycles = max(row.cycles, 1)
    return (
        f"{name:<{room}}{row.cycles:>14,.0f} {100 * row.cycles / max(all_cycles, 1):>6.2f} "
        f"{row.counts[INSTRUCTIONS] / cycles:>5.2f}"
        # an instruction that ends the run may not have had its own cycle yet: not below 0
        + "".join(f"{100 * max(lost, 0) / cycles:>6.1f}" for lost in row.counts[FIRST_REASON:])
    )
