"""The core at the moment of a fault, and what its status registers mean.

References: Armv7-M ARM B3.2.15 to B3.2.18 (CFSR, HFSR, DFSR), B1.4.2 (xPSR), Cortex-M7 TRM 3.3.13
(ABFSR).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from hil.sim.chip import Fault
from hil.sim.cores.cortex_m7 import nvic
from hil.sim.disassembly import block_texts
from hil.sim.fault_report import Area, FaultScene, StackWord, bits_text

CFSR_BITS = {
    **{0: "IACCVIOL", 1: "DACCVIOL", 3: "MUNSTKERR", 4: "MSTKERR", 5: "MLSPERR", 7: "MMARVALID"},
    **{8: "IBUSERR", 9: "PRECISERR", 10: "IMPRECISERR", 11: "UNSTKERR", 12: "STKERR"},
    **{13: "LSPERR", 15: "BFARVALID", 16: "UNDEFINSTR", 17: "INVSTATE", 18: "INVPC"},
    **{19: "NOCP", 24: "UNALIGNED", 25: "DIVBYZERO"},
}
HFSR_BITS = {1: "VECTTBL", 30: "FORCED", 31: "DEBUGEVT"}
DFSR_BITS = {0: "HALTED", 1: "BKPT", 2: "DWTTRAP", 3: "VCATCH", 4: "EXTERNAL"}
ABFSR_BITS = {0: "ITCM", 1: "DTCM", 2: "AHBP", 3: "AXIM", 4: "EPPB"}
STATUS_BITS = {"CFSR": CFSR_BITS, "HFSR": HFSR_BITS, "DFSR": DFSR_BITS, "ABFSR": ABFSR_BITS}
MMARVALID, BFARVALID = 7, 15
FLAGS = {31: "N", 30: "Z", 29: "C", 28: "V", 27: "Q"}
REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr")
FRAME = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")

# (address, bytes) of memory; None where not all of it is in one.
Read = Callable[[int, int], bytes | None]


@dataclass(frozen=True)
class Moment:
    """The core when it met ``fault``. ``registers`` as ``REGISTERS``, before any entry.

    ``status`` are the registers of ``STATUS_BITS`` with MMFAR and BFAR; ``frame_at`` is where the
    entry put its frame (None: there was no entry) and ``frame`` its words, none where the stack
    had no room; ``stack`` are the words from the stack pointer on.
    """

    fault: Fault
    event: str
    handled: bool
    registers: tuple[int, ...]
    status: dict[str, int]
    stack: tuple[int, ...]
    frame_at: int | None = None
    frame: tuple[int, ...] = ()


def scene(moment: Moment, read: Read, areas: tuple[Area, ...]) -> FaultScene:
    """``moment`` for people. ``read`` is asked for code."""
    sp = moment.registers[REGISTERS.index("sp")]
    return FaultScene(
        fault=moment.fault,
        event=moment.event,
        handled=moment.handled,
        core="Cortex-M7",
        instruction=instruction_text(moment.fault.pc, read),
        registers=tuple(zip(REGISTERS, moment.registers, strict=True)),
        stack_pointer="sp",
        link="lr",
        areas=areas,
        status=(*_status(moment.status), _program_status(moment.registers[-1])),
        frame_at=moment.frame_at,
        frame=tuple(zip(FRAME, moment.frame, strict=False)),
        stack=tuple(
            StackWord(sp + 4 * n, word, _is_return(word, read))
            for n, word in enumerate(moment.stack)
        ),
    )


def _status(status: dict[str, int]) -> list[str]:
    """The registers that say something, CFSR and HFSR always."""
    lines = [
        bits_text(name, status[name], bits)
        for name, bits in STATUS_BITS.items()
        if status[name] or name in ("CFSR", "HFSR")
    ]
    for name, bit in (("MMFAR", MMARVALID), ("BFAR", BFARVALID)):
        if status["CFSR"] >> bit & 1:
            lines.append(f"{name} 0x{status[name]:08x}")
    return lines


def _program_status(xpsr: int) -> str:
    flags = "".join(name for bit, name in FLAGS.items() if xpsr >> bit & 1) or "none"
    exception = xpsr & 0x1FF
    mode = f"in the {nvic.name_of(exception)} handler" if exception else "in thread mode"
    return f"xPSR 0x{xpsr:08x}: flags {flags}, {'Thumb' if xpsr >> 24 & 1 else 'Arm'} state, {mode}"


def instruction_text(pc: int, read: Read) -> str:
    """The instruction at ``pc`` for people; nothing where there is no memory."""
    first = read(pc & ~1, 2)
    if first is None:
        return ""
    size = 4 if struct.unpack("<H", first)[0] >> 11 > 0b11100 else 2
    code = read(pc & ~1, size)
    return "" if code is None else block_texts(code, ((pc & ~1, size),))[pc & ~1]


def _is_return(word: int, read: Read) -> bool:
    """An odd address behind a BL or BLX (A7.7.18, A7.7.19)."""
    before = read(word - 5, 4) if word & 1 else None
    if before is None:
        return False
    first, second = struct.unpack("<2H", before)
    is_bl = first >> 11 == 0b11110 and second >> 14 == 0b11 and second >> 12 & 1 == 1
    return is_bl or second & 0xFF87 == 0x4780
