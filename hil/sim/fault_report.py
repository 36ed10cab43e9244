"""What a chip looked like at a fault, for people: instruction, registers, stack, with symbols.

A chip keeps the numbers (``FaultScene``); the ELF's symbols turn them into places here. Printed
by ``hil sim run``; in one line (``short_text``) part of the errors of everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hil.sim.chip import Fault
from hil.sim.profile import Functions

STACK_WORDS = 32  # kept from the stack pointer on
PLAIN_WORDS = 8  # of these, shown without being return addresses
REGISTERS_A_ROW = 4
NEAR_BYTES = 64 << 10  # an address so close to a memory is told as lying beside it


@dataclass(frozen=True)
class Area:
    """A part of the address space, [base, end), by the name that people know."""

    base: int
    end: int
    name: str


@dataclass(frozen=True)
class StackWord:
    """A word of the stack; ``is_return``: the instruction before that address is a call."""

    address: int
    value: int
    is_return: bool


@dataclass(frozen=True)
class FaultScene:
    """The core of a fault at the moment of the fault.

    ``event`` says what became of it ("HardFault handler entered"). ``registers`` are (name, value)
    in the core's order, with ``stack_pointer`` and ``link`` the names of two of them; ``frame``
    are the words that the core stacked from ``frame_at`` on, by name. ``status`` are the status
    registers, decoded. ``handled``: a handler of the firmware was entered for it.
    """

    fault: Fault
    event: str
    handled: bool
    core: str
    instruction: str
    registers: tuple[tuple[str, int], ...]
    stack_pointer: str
    link: str
    areas: tuple[Area, ...]
    status: tuple[str, ...] = ()
    frame_at: int | None = None
    frame: tuple[tuple[str, int], ...] = ()
    stack: tuple[StackWord, ...] = ()

    def register(self, name: str) -> int:
        """One of ``registers``."""
        return dict(self.registers)[name]


@runtime_checkable
class ExaminedChip(Protocol):
    """A simulated chip that can tell how its faults looked."""

    def fault_scenes(self, refused: str = "") -> tuple[FaultScene, ...]:
        """The last fault that a handler of the firmware was entered for, then the chip's end.

        The end is ``chip.fault``, or ``refused``, the text of what ``Chip.run`` has raised.
        """


def bits_text(name: str, value: int, bits: dict[int, str]) -> str:
    """A status register with the names of its bits."""
    names = [meaning for bit, meaning in sorted(bits.items()) if value >> bit & 1]
    return f"{name} 0x{value:08x}: {' '.join(names) or 'nothing'}"


def area_text(address: int, areas: Iterable[Area]) -> str:
    """The area that holds ``address``, the smallest first, or what it lies beside."""
    areas = sorted(areas, key=lambda area: area.end - area.base)
    for area in areas:
        if area.base <= address < area.end:
            return area.name
    ends = [(address - area.end, f"{area.name} ends at 0x{area.end - 1:08x}") for area in areas]
    starts = [(area.base - address, f"{area.name} begins at 0x{area.base:08x}") for area in areas]
    near = [place for place in (*ends, *starts) if 0 <= place[0] < NEAR_BYTES]
    return f"no memory; {min(near)[1]}" if near else "no memory"


def report_lines(scene: FaultScene, functions: Functions) -> list[str]:
    """Everything, a fact a line."""
    fault = scene.fault
    lines = [
        f"{scene.core}: {scene.event}: {fault.reason}",
        f"  at {_code_place(fault.pc, scene, functions)}",
    ]
    if fault.address is not None:
        lines.append(f"  address 0x{fault.address:08x}: {area_text(fault.address, scene.areas)}")
    lines += [f"  {text}" for text in scene.status]
    lines += _rows(scene.registers)
    lines += _pointers(scene, functions)
    if scene.frame_at is not None:
        where = f"0x{scene.frame_at:08x} ({area_text(scene.frame_at, scene.areas)})"
        lines.append(f"  frame at {where}{':' if scene.frame else ', which took none'}")
        lines += _rows(scene.frame)
    return lines + _stack_lines(scene, functions)


def short_text(scene: FaultScene, functions: Functions) -> str:
    """What matters most, in one line; it does not repeat the fault's own text."""
    fault = scene.fault
    link = scene.register(scene.link)
    parts = [f"{scene.event} at {_code_place(fault.pc, scene, functions)}"]
    if fault.address is not None:
        parts.append(f"address 0x{fault.address:08x}: {area_text(fault.address, scene.areas)}")
    parts += scene.status[:2]
    parts.append(f"{scene.link} {_place(link, functions)}")
    return "; ".join(parts)


def _code_place(pc: int, scene: FaultScene, functions: Functions) -> str:
    text = scene.instruction or f"no code ({area_text(pc, scene.areas)})"
    return f"{_place(pc, functions)}: {text}"


def _place(address: int, functions: Functions) -> str:
    place = functions.place(address)
    return f"0x{address:08x} {place}" if place else f"0x{address:08x}"


def _rows(values: Sequence[tuple[str, int]]) -> list[str]:
    width = max((len(name) for name, _ in values), default=0)
    cells = [f"{name:<{width}} {value:08x}" for name, value in values]
    return [
        "  " + "   ".join(cells[at : at + REGISTERS_A_ROW]).rstrip()
        for at in range(0, len(cells), REGISTERS_A_ROW)
    ]


def _pointers(scene: FaultScene, functions: Functions) -> list[str]:
    """Stack pointer and link register, with what they point to."""
    stack, link = scene.register(scene.stack_pointer), scene.register(scene.link)
    return [
        f"  {scene.stack_pointer} 0x{stack:08x}: {area_text(stack, scene.areas)}",
        f"  {scene.link} {_place(link, functions)}",
    ]


def _stack_lines(scene: FaultScene, functions: Functions) -> list[str]:
    """The words up to the first return address, eight at most; then return addresses only."""
    if not scene.stack:
        return []
    first = next((n for n, word in enumerate(scene.stack) if word.is_return), len(scene.stack))
    shown = [
        word for n, word in enumerate(scene.stack) if word.is_return or n < min(first, PLAIN_WORDS)
    ]
    return [f"  stack, {len(scene.stack)} words looked at:"] + [
        f"    0x{word.address:08x}  {word.value:08x}"
        + (f"  {functions.place(word.value)}, a return address" if word.is_return else "")
        for word in shown
    ]
