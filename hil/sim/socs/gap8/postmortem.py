"""How a core of the GAP8 looked when it met a fault.

The model stops the chip there, before any handler of the firmware, so all is as the instruction
found it. Calls: RISC-V unprivileged ISA, jal and jalr with the link in ra, c.jal and c.jalr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hil.core.errors import SimulationError
from hil.sim.chip import Fault
from hil.sim.disassembly import REGISTERS_RISCV, xpulp_text
from hil.sim.fault_report import STACK_WORDS, Area, FaultScene, StackWord
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.debugger import Gap8Debugger
from hil.sim.socs.gap8.devices.bus import Window

RA, SP = 1, 2
AREAS = (
    Area(L.L1_BASE, L.L1_BASE + L.L1_BYTES, "L1"),
    Area(L.L2_BASE, L.L2_BASE + L.L2_BYTES, "L2"),
    Area(L.FC_TCDM_BASE, L.FC_TCDM_BASE + L.FC_TCDM_BYTES, "FC memory"),
    Area(L.TEST_AND_SET, L.TEST_AND_SET + L.L1_BYTES, "L1, test and set"),
    Area(0x00200000, 0x00300000, "peripherals by a core's own view"),
    Area(0x10200000, 0x10300000, "cluster peripherals"),
    Area(0x1A100000, 0x1A120000, "SoC peripherals"),
    Area(0x1B200000, 0x1B300000, "FC peripherals"),
)
ALIASES = {False: Area(0, L.L1_BYTES, "L1"), True: Area(0, L.FC_TCDM_BYTES, "FC memory")}

Read = Callable[[int, int], bytes | None]


def scene(fault: Fault, core: int, debugger: Gap8Debugger, windows: Iterable[Window]) -> FaultScene:
    """The core number ``core`` of ``debugger``, where it stands; ``windows`` are the devices."""

    def read(address: int, size: int) -> bytes | None:
        if not any(area.base <= address and address + size <= area.end for area in AREAS[:3]):
            return None  # a device must not be read: it may answer by doing something
        try:
            return debugger.read_memory(address, size)
        except SimulationError:
            return None

    names = [register.name for register in debugger.registers]
    values = [debugger.read_register(core, number) for number in range(len(names))]
    # A device access that is refused has moved the core's own pc on.
    registers = (*zip(REGISTERS_RISCV, values, strict=False), ("pc", fault.pc))
    status = tuple(
        f"{name} 0x{value:08x}"
        for name, value in zip(names, values, strict=True)
        if name in ("mstatus", "mepc", "mcause", "mtvec")
    )
    devices = (Area(w.base, w.base + w.size, w.name) for w in windows)
    return FaultScene(
        fault=fault,
        event="stopped",
        handled=False,
        core=f"GAP8 {debugger.core_names[core]}",
        instruction=_instruction(fault.pc, read),
        registers=registers,
        stack_pointer="sp",
        link="ra",
        areas=(*AREAS, ALIASES[core == 0], *devices),
        status=status,
        stack=_stack(values[SP], read),
    )


def _instruction(pc: int, read: Read) -> str:
    low = read(pc, 2)
    if low is None:
        return ""
    code = read(pc, 4) or low
    return xpulp_text(int.from_bytes(code, "little"), pc)


def _stack(sp: int, read: Read) -> tuple[StackWord, ...]:
    words = []
    for address in range(sp, sp + 4 * STACK_WORDS, 4):
        data = read(address, 4) if sp % 4 == 0 else None
        if data is None:
            break
        value = int.from_bytes(data, "little")
        words.append(StackWord(address, value, _is_return(value, read)))
    return tuple(words)


def _is_return(word: int, read: Read) -> bool:
    """An even address in L2 behind a call."""
    before = read(word - 4, 4) if word & 1 == 0 and word >= L.L2_BASE + 4 else None
    if before is None:
        return False
    long, short = int.from_bytes(before, "little"), int.from_bytes(before[2:], "little")
    if long & 3 == 3 and long >> 7 & 31 == RA:
        return long & 0x7F == 0x6F or long & 0x707F == 0x67
    is_jalr = short & 0xF07F == 0x9002 and short >> 7 & 31 != 0
    return short & 0xE003 == 0x2001 or is_jalr
