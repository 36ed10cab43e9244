"""The debug port of the virtual GAP8: core 0 is the fabric controller, 1 to 8 are PE 0 to 7.

A breakpoint is a mark in the table of decoded instructions, so memory keeps its bytes and the
engine runs at its speed. The engine comes back before the marked instruction issues, at the
cycle at which it would issue: neither a breakpoint nor a step changes a cycle count. Cores that
arrive at one breakpoint in the same cycle pass it together, and the first of them is reported.

Registers: RISC-V's x0-x31 and pc, and the machine-mode registers that RI5CY has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.decode import LONG_BIT
from hil.sim.debug import Region, Register
from hil.sim.socs.gap8 import access
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.devices.bus import Bus
from hil.sim.socs.gap8.machine import BusFault, Machine

# What the engine meets at a breakpoint: it stops there as at an illegal instruction, without
# having changed anything. No instruction decodes to zero registers and this operation.
MARK = ops.ILLEGAL | 1 << LONG_BIT
LONGEST_STEP_FS = L.FS_PER_S // 5000  # a core that sleeps for longer is reported as sleeping
CPU, CSR = "org.gnu.gdb.riscv.cpu", "org.gnu.gdb.riscv.csr"
_CSRS = {"mstatus": L.MSTATUS, "mepc": L.MEPC, "mcause": L.MCAUSE, "mtvec": L.MTVEC}
_ABI = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)), "t3", "t4", "t5", "t6",
)  # fmt: skip
_POINTERS = {"ra": "code_ptr", "sp": "data_ptr", "gp": "data_ptr", "tp": "data_ptr"}
_PERIPHERALS = 0x00100000  # bytes of the addresses beside a core, as in access.py
_MODES = {L.HELD: "held", L.RUNNING: "running", L.SLEEPING: "asleep"}

_memory_word = access.memory_word.py_func
_global_address = access.global_address.py_func


class Gap8Debugger:
    """See :class:`hil.sim.debug.Debugger`."""

    architecture = "riscv:rv32"
    core_names = ("FC", *(f"PE{n}" for n in range(L.PE_COUNT)))
    registers = (
        *(Register(name, 32, CPU, _POINTERS.get(name, "")) for name in _ABI),
        Register("pc", 32, CPU, "code_ptr"),
        *(Register(name, 32, CSR) for name in _CSRS),
    )
    program_in_ram = True
    pc_number = len(_ABI)
    regions = (
        Region(0, L.FC_TCDM_BYTES, "ram"),  # the FC's own view of its memory
        Region(0x00200000, _PERIPHERALS, "ram"),  # and of its peripherals
        Region(L.L1_BASE, L.L1_BYTES, "ram"),
        Region(access.CLUSTER_PERIPHERALS, _PERIPHERALS, "ram"),
        Region(0x1A000000, 0x00400000, "ram"),  # peripherals of the SoC
        Region(L.FC_TCDM_BASE, L.FC_TCDM_BYTES, "ram"),
        Region(access.FC_PERIPHERALS, _PERIPHERALS, "ram"),
        Region(L.L2_BASE, L.L2_BYTES, "ram"),
    )

    def __init__(
        self,
        state: L.State,
        machine: Machine,
        bus: Bus,
        run_until: Callable[[int], Stop],
        poke_bytes: Callable[[int, bytes], None],
    ) -> None:
        """``run_until`` runs the chip to a time in fs, ``poke_bytes`` stores to its memory."""
        self._state = state
        self._machine = machine
        self._bus = bus
        self._run_until = run_until
        self._poke_bytes = poke_bytes
        self._halves: set[int] = set()  # breakpoints, as halfwords of L2
        self._stopped = 0

    # Breakpoints

    def set_breakpoint(self, address: int) -> None:
        """Mark the instruction at ``address``, which is in L2."""
        half = (address - L.L2_BASE) >> 1
        if address & 1 or not 0 <= half < L.L2_BYTES // 2:
            raise SimulationError(f"no code can be at 0x{address:08x}: GAP8 runs from L2")
        self._halves.add(half)
        self._state.code[half] = MARK

    def clear_breakpoint(self, address: int) -> None:
        """Take the mark away."""
        half = (address - L.L2_BASE) >> 1
        if half in self._halves:
            self._halves.remove(half)
            self._state.code[half] = 0  # to be decoded again

    def record(self, half: int, decoded: int) -> int:
        """What the decoder puts at ``half`` of L2 for the instruction ``decoded``."""
        return MARK if half in self._halves else decoded

    def caught(self) -> bool:
        """Whether the engine's fault is a breakpoint; notes the core."""
        chip = self._state.chip
        half = (int(chip[L.FAULT_PC]) - L.L2_BASE) >> 1
        self._stopped = self.number(int(chip[L.FAULT_CORE]))
        return chip[L.FAULT_REASON] == L.F_ILLEGAL and half in self._halves

    def stopped_core(self) -> int:
        """The core that met the last breakpoint or fault."""
        return self._stopped

    # Running

    def step(self, core: int) -> Stop | None:
        """One instruction of ``core``; the others run for the same time."""
        c = self._core(core)
        base = c * L.CORE_SPAN
        half = (int(self._state.core[base + L.PC]) - L.L2_BASE) >> 1
        lifted = half in self._halves
        if lifted:
            self._halves.remove(half)
            self._state.code[half] = 0
        try:
            return self._advance(base + L.N_INSTRUCTIONS, L.READY + c, c)
        finally:
            if lifted:
                self._halves.add(half)
                self._state.code[half] = MARK

    def _advance(self, counter: int, ready: int, c: int) -> Stop | None:
        """Run until the core's counter of instructions moves."""
        core, machine = self._state.core, self._machine
        before, domain = int(core[counter]), L.DOMAIN_FC if c == L.FC else L.DOMAIN_CLUSTER
        end_fs = machine.now_fs + LONGEST_STEP_FS
        while machine.now_fs < end_fs:
            if core[ready] == L.NEVER:  # cycle by cycle: what wakes it may come in any
                limit_fs = min(machine.now_fs + machine.period_fs(domain), end_fs)
            else:
                # Just behind the edge at which it may issue: each issues at most one there.
                limit_fs = machine.time_fs(domain, int(core[ready])) + 1
            stop = self._run_until(limit_fs)
            if core[counter] != before:
                return stop if stop in (Stop.EXITED, Stop.FAULT) else None
            if stop is not Stop.BUDGET:
                return stop
        return Stop.WAITING

    # Registers

    def core_state(self, core: int) -> str:
        """What the core does."""
        return _MODES[int(self._state.core[self._core(core) * L.CORE_SPAN + L.MODE])]

    def read_register(self, core: int, number: int) -> int:
        """x0-x31, pc, or a machine-mode register."""
        c = self._core(core)
        if number < len(_ABI):
            return int(self._state.regs[c * 32 + number]) & 0xFFFFFFFF
        return int(self._state.core[self._field(c, number)]) & 0xFFFFFFFF

    def write_register(self, core: int, number: int, value: int) -> None:
        """The same; the program counter of a running core only."""
        c = self._core(core)
        if number < len(_ABI):
            if number:
                self._state.regs[c * 32 + number] = value
            return
        base = c * L.CORE_SPAN
        if number == self.pc_number:
            if self._state.core[base + L.MODE] != L.RUNNING:
                raise SimulationError(
                    f"{self.core_names[core]} is {self.core_state(core)}; only a running core "
                    "can be sent elsewhere"
                )
            self._state.core[base + L.LINE] = -1
            self._state.core[base + L.HAZARD] = L.NO_HAZARD
            value &= ~1
        self._state.core[self._field(c, number)] = value

    def _field(self, c: int, number: int) -> int:
        fields = (L.PC, *_CSRS.values())
        if not 0 <= number - len(_ABI) < len(fields):
            raise SimulationError(f"no register {number}")
        return c * L.CORE_SPAN + fields[number - len(_ABI)]

    # Memory

    def read_memory(self, address: int, size: int) -> bytes:
        """L1, L2 and FC memory, with the FC's aliases, or whole registers of a device."""
        where = _global_address(L.FC, address)
        word = _memory_word(L.FC, where, size)
        if word >= 0:
            at = 4 * word + (where & 3)
            return self._state.mem.view(np.uint8)[at : at + size].tobytes()
        self._check_device(address, size)
        try:
            words = [self._bus.read(where + at) for at in range(0, size, 4)]
        except BusFault as refusal:
            raise SimulationError(f"0x{address:08x}: {refusal}") from refusal
        return b"".join(word.to_bytes(4, "little") for word in words)

    def write_memory(self, address: int, data: bytes) -> None:
        """The same for writing; decoded instructions follow at once."""
        where = _global_address(L.FC, address)
        word = _memory_word(L.FC, where, len(data))
        if word >= 0:
            self._poke_bytes(where, data)
            return
        self._check_device(address, len(data))
        try:
            for at in range(0, len(data), 4):
                self._bus.write(where + at, int.from_bytes(data[at : at + 4], "little"))
        except BusFault as refusal:
            raise SimulationError(f"0x{address:08x}: {refusal}") from refusal

    def erase_flash(self, address: int, size: int) -> None:
        """The model has no HyperFlash."""
        raise SimulationError("the virtual GAP8 has no flash; load programs to L2")

    def write_flash(self, address: int, data: bytes) -> None:
        """The model has no HyperFlash."""
        self.erase_flash(address, len(data))

    @staticmethod
    def _check_device(address: int, size: int) -> None:
        if address % 4 or size % 4:
            raise SimulationError(
                f"{size} bytes at 0x{address:08x} are not memory; devices have whole words"
            )

    @staticmethod
    def _core(core: int) -> int:
        if not 0 <= core < L.CORES:
            raise SimulationError(f"no core {core}")
        return L.FC if core == 0 else core - 1

    @staticmethod
    def number(c: int) -> int:
        """The number that this debugger gives the engine's core ``c``."""
        return 0 if c == L.FC else c + 1
