"""Cycles by function: what ``hil sim run --profile`` prints.

A chip counts by address (``CycleProfile``); here the ELF's symbols turn addresses into functions.
Firmware is built without debug information, so a function that was inlined counts as its caller.
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

# Columns of CoreClassCycles.counts: the cycles in all, the instructions (one cycle each), and the
# cycles in which the core could not issue, by reason.
KINDS = ("cycles", "instructions", "load_use", "bank", "fetch", "wait", "asleep")
CYCLES, INSTRUCTIONS, LOAD_USE, BANK, FETCH, WAIT, ASLEEP = range(len(KINDS))

LEGEND = (
    "IPC: instructions a cycle. The rest is % of the function's cycles: use: result of a load or",
    "mul not there yet; bank: L1 bank taken; I$: instruction cache; wait: L2, registers, wake-up;",
    "sleep: asleep for an event or barrier; other: taken branches, jumps, div, misaligned.",
)
HEADING = f"{'cycles':>14} {'share':>6} {'IPC':>5}" + "".join(
    f"{name:>6}" for name in ("use", "bank", "I$", "wait", "sleep", "other")
)
NARROWEST_NAME = 12
NO_SYMBOL = "(no symbol)"


@dataclass(frozen=True)
class CoreClassCycles:
    """What the ``cores`` equal cores of one class did: ``counts[i]`` (KINDS) at ``addresses[i]``.

    ``addresses`` ascend; counts are summed over the cores, from their start to the end of the run.
    """

    name: str
    cores: int
    addresses: np.ndarray
    counts: np.ndarray


@runtime_checkable
class ProfiledChip(Protocol):
    """A simulated chip that can count cycles by address."""

    def start_profile(self) -> None:
        """Reset, and count cycles by address from there on; slower than a plain run."""

    def profile(self) -> tuple[CoreClassCycles, ...]:
        """The counts since reset, a class of cores each."""


@dataclass(frozen=True)
class FunctionCycles:
    """The counts (KINDS) of one function, summed over the cores of a class."""

    name: str
    counts: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """All cycles, sleep included."""
        return self.counts[CYCLES]

    @property
    def other(self) -> int:
        """Cycles that are neither an instruction's first nor of a counted reason."""
        return self.counts[CYCLES] - sum(self.counts[INSTRUCTIONS:])


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
                    found[address] = max(found.get(address, entry), entry)
        return cls((address, size, name) for address, (size, name) in found.items())

    def name(self, address: int) -> str:
        """The function that holds ``address``; NO_SYMBOL between functions."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0 or (self._sizes[at] and address >= self._starts[at] + self._sizes[at]):
            return NO_SYMBOL
        return self._names[at]


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
    """Lines of at most ``width`` columns (not under 75): the ``top`` functions and the total."""
    rows = by_function(cores, functions)
    plural = "core" if cores.cores == 1 else "cores, summed"
    if not rows:
        return [f"{cores.name}: never started"]
    room = max(width - len(HEADING), NARROWEST_NAME)
    shown, rest = rows[:top], rows[top:]
    everything = total(rows)
    if rest:
        shown = [*shown, total(rest, f"({len(rest)} more)")]
    title = f"{cores.name} ({cores.cores} {plural})"
    return [title, f"{'function':<{room}}{HEADING}"] + [
        _line(row, everything.cycles, room) for row in [*shown, everything]
    ]


def _line(row: FunctionCycles, all_cycles: int, room: int) -> str:
    name = row.name if len(row.name) <= room else row.name[: room - 2] + ".."
    cycles = max(row.cycles, 1)
    reasons = (*row.counts[LOAD_USE:], row.other)
    return (
        f"{name:<{room}}{row.cycles:>14,} {100 * row.cycles / max(all_cycles, 1):>6.2f} "
        f"{row.counts[INSTRUCTIONS] / cycles:>5.2f}"
        + "".join(f"{100 * reason / cycles:>6.1f}" for reason in reasons)
    )
