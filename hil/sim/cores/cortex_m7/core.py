"""One Cortex-M7: unicorn executes, the native hook counts, Python answers for peripherals.

Where time is exact and where not: a block's whole cost is added when it starts. A peripheral
access inside a block sees the cycle of its own instruction: the cost of the rest of the block
is taken off (``cycles_at_access``). A run ends before the first block at or behind its limit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from unicorn import (
    UC_ARCH_ARM,
    UC_ERR_INSN_INVALID,
    UC_HOOK_BLOCK,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    Uc,
    UcError,
)
from unicorn.arm_const import (
    UC_ARM_REG_CONTROL,
    UC_ARM_REG_LR,
    UC_ARM_REG_MSP,
    UC_ARM_REG_PC,
    UC_ARM_REG_PRIMASK,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_R4,
    UC_ARM_REG_R5,
    UC_ARM_REG_R6,
    UC_ARM_REG_R7,
    UC_ARM_REG_R8,
    UC_ARM_REG_R9,
    UC_ARM_REG_R10,
    UC_ARM_REG_R11,
    UC_ARM_REG_R12,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M7,
)
from unicorn.unicorn_py3.unicorn import uclib

from hil.core.errors import SimulationError
from hil.sim.chip import Fault
from hil.sim.cores.cortex_m7 import costs, native
from hil.sim.cores.cortex_m7.bus import Bus, BusError
from hil.sim.cores.cortex_m7.native import Area, BlockFloats, BlockInts, Ending, Floats, Ints
from hil.sim.cores.cortex_m7.op import PC, Op
from hil.sim.cores.cortex_m7.schedule import BlockCost, analyse, remaining_at

NEVER = 0xFFFFFFFE  # an ``until`` address that no code reaches
BIN_CAPACITY = 1 << 16
EXCP_SWI, EXCP_BKPT = 2, 7  # QEMU's numbers, given to the interrupt hook
BKPT_SEMIHOSTING, WFI, WFE, YIELD = 0xBEAB, 0xBF30, 0xBF20, 0xBF10
SYS_EXIT, SYS_EXIT_EXTENDED, STOPPED_APPLICATION_EXIT = 0x18, 0x20, 0x20026

_REGISTERS = (
    UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3, UC_ARM_REG_R4, UC_ARM_REG_R5,
    UC_ARM_REG_R6, UC_ARM_REG_R7, UC_ARM_REG_R8, UC_ARM_REG_R9, UC_ARM_REG_R10, UC_ARM_REG_R11,
    UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC,
)  # fmt: skip

DWT_BYTES = 0x1000

# Plain integers for the paths that every peripheral access takes.
_CYCLES, _BIN_EDGE = int(Floats.CYCLES), int(Floats.BIN_EDGE)
_BLOCK, _ACCESSES, _ALL_ACCESSES = int(Ints.BLOCK), int(Ints.ACCESSES), int(Ints.ALL_ACCESSES)

_Resolve = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_Write = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_void_p
)


def _address(function: Any) -> int:
    """Where a C function, or the C side of a Python one, lies."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class CoreStop(Enum):
    """Why the core came back."""

    LIMIT = "the cycle limit is reached or a stop was asked for"
    SLEEP = "WFI or WFE"
    EXIT = "semihosting exit"
    FAULT = "see fault"


@dataclass(frozen=True)
class MemoryRegion:
    """Memory that the core reaches directly. ``data`` is shared with the owner, not copied."""

    name: str
    base: int
    data: np.ndarray
    writable: bool = True

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.base + len(self.data)


class CortexM7:
    """The core with its cycle and energy books. One instance lives from one power-on to the next.

    ``peripheral_areas`` are (base, size) of address space that ``bus`` answers for.
    """

    def __init__(
        self,
        memories: list[MemoryRegion],
        peripheral_areas: list[tuple[int, int]],
        dwt_base: int,
    ) -> None:
        self.memories = memories
        self.bus = Bus([])
        self._dwt_base = dwt_base
        self.fault: Fault | None = None
        self.exit_code: int | None = None
        self.fp_enabled: Callable[[], bool] = lambda: True
        self._error: Exception | None = None
        self._accessing = False
        self._access_address = 0
        self._access_places: dict[tuple[int, int], tuple[int, float]] = {}
        self._make_state()
        self._make_engine(peripheral_areas)

    # State shared with the native hook

    def _make_state(self) -> None:
        self.ints = np.zeros(Ints.COUNT, np.int64)
        self.floats = np.zeros(Floats.COUNT, np.float64)
        # Views of the same memory that read and write one element several times faster.
        self._fast_ints: Any = self.ints.data
        self._fast_floats: Any = self.floats.data
        self.bins = np.zeros(BIN_CAPACITY, np.float64)
        self._index = np.full(native.INDEX_ENTRIES, -1, np.int32)
        self._block_ints = np.zeros((native.BLOCK_CAPACITY, BlockInts.COUNT), np.int64)
        self._block_floats = np.zeros((native.BLOCK_CAPACITY, BlockFloats.COUNT), np.float64)
        self._block_floats[:, BlockFloats.BEHIND :] = np.nan
        self._icache = np.zeros(native.ICACHE_WORDS, np.int64)
        self._known: list[BlockCost] = []
        self._blocks: dict[tuple[int, bytes], int] = {}
        self._full_bins: list[np.ndarray] = []
        self.forget_icache()
        self._resolve = _Resolve(self._resolve_block)
        self._dwt_read = _Resolve(self._read_dwt)
        self.ints[Ints.FLOATS] = self.floats.ctypes.data
        self.ints[Ints.INDEX] = self._index.ctypes.data
        self.ints[Ints.BLOCK_INTS] = self._block_ints.ctypes.data
        self.ints[Ints.BLOCK_FLOATS] = self._block_floats.ctypes.data
        self.ints[Ints.BINS] = self.bins.ctypes.data
        self.ints[Ints.ICACHE] = self._icache.ctypes.data
        self.ints[Ints.STOP_FUNCTION] = _address(uclib.uc_emu_stop)
        self.ints[Ints.RESOLVE_FUNCTION] = _address(self._resolve)
        self.ints[Ints.READ_FUNCTION] = _address(self._dwt_read)
        self.ints[Ints.BIN_CAPACITY] = BIN_CAPACITY
        self.ints[Ints.BLOCK] = -1
        self.floats[Floats.BIN_EDGE] = self.floats[Floats.BIN_CYCLES] = np.inf
        self.floats[Floats.DWT_STALL] = costs.PRIVATE_STALL
        self.floats[Floats.MISPREDICT_CYCLES] = costs.MISPREDICT_CYCLES
        self.set_caches(False, False)
        self.set_fetch(0, False)

    def _make_engine(self, peripheral_areas: list[tuple[int, int]]) -> None:
        self._uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M7)
        # Memory hooks must exist before the first translation to be compiled in.
        self._uc.hook_add(UC_HOOK_MEM_INVALID, self._on_invalid)
        self._uc.hook_add(UC_HOOK_INTR, self._on_exception)
        # RAM before flash: with flash mapped first unicorn 2.1.4 takes some stores to RAM for
        # stores to code and translates it again and again (2,000 blocks a network run, half the
        # speed).
        for memory in sorted(self.memories, key=lambda memory: -memory.base):
            rights = UC_PROT_ALL if memory.writable else UC_PROT_READ | UC_PROT_EXEC
            self._uc.mem_map_ptr(memory.base, len(memory.data), rights, memory.data.ctypes.data)
        for base, size in peripheral_areas:
            self._uc.mmio_map(base, size, self._on_read, base, self._on_write, base)
        self._map_dwt()
        self._add_native_hook()

    def _map_dwt(self) -> None:
        """The DWT page: native reads, writes through Python like everything else."""
        base = self._dwt_base
        self._dwt_write = _Write(
            lambda _engine, offset, size, value, _data: self._on_write(
                self._uc, offset, size, value, base
            )
        )
        status = uclib.uc_mmio_map(
            self._uc._uch,
            ctypes.c_uint64(base),
            ctypes.c_uint64(DWT_BYTES),
            ctypes.c_void_p(native.on_dwt_read.address),
            ctypes.c_void_p(self.ints.ctypes.data),
            ctypes.cast(self._dwt_write, ctypes.c_void_p),
            None,
        )
        if status != 0:
            raise SimulationError(f"unicorn refuses the DWT page at 0x{base:08x}: error {status}")

    def _add_native_hook(self) -> None:
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self._uc._uch,
            ctypes.byref(handle),
            UC_HOOK_BLOCK,
            ctypes.c_void_p(native.on_block.address),
            ctypes.c_void_p(self.ints.ctypes.data),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != 0:
            raise SimulationError(f"unicorn refuses the block hook: error {status}")

    # Running

    def start(self, stack_pointer: int, entry: int) -> None:
        """Take the reset exception: load SP and PC as from the vector table."""
        self._uc.reg_write(UC_ARM_REG_CONTROL, 0)
        self._uc.reg_write(UC_ARM_REG_PRIMASK, 0)
        self._uc.reg_write(UC_ARM_REG_MSP, stack_pointer)
        self._uc.reg_write(UC_ARM_REG_SP, stack_pointer)
        self._uc.reg_write(UC_ARM_REG_PC, entry | 1)
        self.ints[Ints.BLOCK] = -1

    def run(self, limit_cycles: float) -> CoreStop:
        """Run until the cycle counter reaches the limit or something else stops the core."""
        self.floats[Floats.LIMIT] = limit_cycles
        while True:
            self.ints[Ints.STOPPED] = 0
            try:
                self._uc.emu_start(self.pc | 1, NEVER)
            except UcError as error:
                if self._error is None and self.fault is None:
                    if error.errno == UC_ERR_INSN_INVALID and self._is_event_hint():
                        return CoreStop.SLEEP
                    self._fail(self._describe(error), None)
            if self._error is not None:
                raised, self._error = self._error, None
                raise raised
            if self.fault is not None:
                return CoreStop.FAULT
            if self.exit_code is not None:
                return CoreStop.EXIT
            if self.ints[Ints.STOPPED]:
                return CoreStop.LIMIT
            if self._halfword(self.pc - 2) == WFI:
                return CoreStop.SLEEP
            self._fail("the emulator stopped without a reason it can name", None)

    def _is_event_hint(self) -> bool:
        # unicorn reports WFE and YIELD as invalid instructions, with the PC behind them.
        return self._halfword(self.pc - 2) in (WFE, YIELD)

    @property
    def cycles(self) -> float:
        """Core clock cycles since power-on, the current block counted whole."""
        return self._fast_floats[_CYCLES]

    @property
    def pc(self) -> int:
        """Program counter; inside a peripheral access it is that of the block."""
        return int(self._uc.reg_read(UC_ARM_REG_PC))

    @property
    def now_cycles(self) -> float:
        """Cycles at this instant: at the present peripheral access, else at the block's end."""
        return self.cycles_at_access() if self._accessing else self.cycles

    @property
    def interrupts_masked(self) -> bool:
        """PRIMASK is set."""
        return bool(self._uc.reg_read(UC_ARM_REG_PRIMASK) & 1)

    def refuse(self, reason: str) -> None:
        """Fault at the present instruction: the program needs what the model lacks."""
        self._fail(reason, None)

    def set_limit(self, limit_cycles: float) -> None:
        """Move the end of the present run, unless a stop was asked for."""
        if self.floats[Floats.LIMIT] >= 0:
            self.floats[Floats.LIMIT] = limit_cycles

    def set_caches(self, instruction: bool, data: bool) -> None:
        """Switch the caches on or off."""
        self.ints[Ints.ICACHE_ON] = instruction
        self.floats[Floats.LOAD_STALL_CYCLES] = (
            costs.LOAD_STALL_CACHED if data else costs.LOAD_STALL_UNCACHED
        )

    def set_fetch(self, wait_states: int, accelerator: bool) -> None:
        """Fetch costs of a line for the flash's wait states and its accelerator."""
        uncached = wait_states + costs.LINE_UNCACHED_CYCLES
        self.floats[Floats.LINE_MISS_CYCLES] = wait_states + costs.LINE_MISS_BRIDGE_CYCLES
        self.floats[Floats.AXI_LINE_CYCLES] = uncached
        self.floats[Floats.ALIAS_LINE_CYCLES] = 0.0 if accelerator else uncached
        self.floats[Floats.RAM_LINE_CYCLES] = costs.SRAM_LINE_CYCLES

    def book_base_energy(self) -> None:
        """Book base energy up to now, before its rate or the clock changes."""
        self._flush_all()
        floats = self.floats
        since = floats[Floats.BASE_SINCE]
        floats[Floats.PENDING_J] += floats[Floats.BASE_J] * (floats[Floats.CYCLES] - since)
        floats[Floats.BASE_SINCE] = floats[Floats.CYCLES]

    def drain_bins(self) -> list[np.ndarray]:
        """The complete energy bins since the last call, in joules."""
        self._flush_all()
        full, self._full_bins = self._full_bins, []
        return full

    def _flush_all(self) -> None:
        """Close all bins that have ended, however many there are."""
        while True:
            native.flush_bins(self.ints, self.floats, self.bins)
            count = int(self.ints[Ints.BIN_COUNT])
            if count == 0:
                return
            self._full_bins.append(self.bins[:count].copy())
            self.ints[Ints.BIN_COUNT] = 0

    def request_stop(self) -> None:
        """Let ``run`` return before the next block."""
        self.floats[Floats.LIMIT] = -1.0

    def add_cycles(self, cycles: float) -> None:
        """Let time pass without instructions (stalls, skipped polling, sleep)."""
        self._fast_floats[_CYCLES] += cycles
        if self._fast_floats[_CYCLES] >= self._fast_floats[_BIN_EDGE]:
            native.flush_bins(self.ints, self.floats, self.bins)

    def forget_icache(self) -> None:
        """Invalidate the instruction cache."""
        self._icache.reshape(-1, 3)[:] = (-1, -1, 0)

    @property
    def accesses(self) -> int:
        """Peripheral accesses since power-on."""
        return self._fast_ints[_ALL_ACCESSES]

    def set_cycle_counter(self, base: float, running: bool) -> None:
        """CYCCNT is the cycle count less ``base`` while it runs; else the DWT is asked."""
        self.floats[Floats.COUNTER_BASE] = base
        self.ints[Ints.COUNTER_RUNNING] = running

    def read_word(self, address: int) -> int:
        """A word of memory, not of a peripheral; SimulationError where nothing is mapped."""
        try:
            return int.from_bytes(self._uc.mem_read(address, 4), "little")
        except UcError as error:
            raise SimulationError(f"no memory at 0x{address:08x}") from error

    def _halfword(self, address: int) -> int | None:
        for memory in self.memories:
            if memory.base <= address < memory.end - 1:
                return int.from_bytes(bytes(memory.data[address - memory.base :][:2]), "little")
        return None

    # Callbacks

    def _fail(self, reason: str, address: int | None, pc: int | None = None) -> None:
        if self.fault is None:
            self.fault = Fault(reason, self.pc if pc is None else pc, 0, address)

    def _describe(self, error: UcError) -> str:
        if error.errno == UC_ERR_INSN_INVALID:
            code = self._halfword(self.pc)
            word = "no memory" if code is None else f"0x{code:04x}"
            return f"undefined instruction ({word}; double-precision FP is undefined on the F746)"
        return f"the emulator failed: {error}"

    def _on_invalid(
        self, _uc: Uc, access: int, address: int, size: int, _value: int, _data: object
    ) -> bool:
        kinds = {19: "read of", 20: "write to", 21: "fetch from"}
        if access in kinds:
            reason = f"{kinds[access]} {size} bytes where no memory is mapped"
        else:
            reason = f"{size}-byte access that the memory forbids (flash is read-only)"
        self._fail(reason, address)
        return False

    def _on_exception(self, uc: Uc, number: int, _data: object) -> None:
        pc = self.pc
        if number == EXCP_BKPT and self._halfword(pc) == BKPT_SEMIHOSTING:
            self._semihost()
        elif number == EXCP_BKPT:
            self._fail("breakpoint instruction", None)
        elif number == EXCP_SWI:
            self._fail("SVC: exceptions are not modelled", None, pc - 2)
        else:
            self._fail(f"exception {number}: exceptions are not modelled", None)
        uc.emu_stop()

    def _semihost(self) -> None:
        operation, argument = (self._uc.reg_read(r) for r in (UC_ARM_REG_R0, UC_ARM_REG_R1))
        if operation == SYS_EXIT:
            self.exit_code = 0 if argument == STOPPED_APPLICATION_EXIT else 1
        elif operation == SYS_EXIT_EXTENDED:
            reason, code = self.read_word(argument), self.read_word(argument + 4)
            self.exit_code = code if reason == STOPPED_APPLICATION_EXIT else 1
        else:
            self._fail(f"semihosting call 0x{operation:x} (only exit is modelled)", None)

    def _on_read(self, uc: Uc, offset: int, size: int, base: int) -> int:
        self._begin_access(base + offset)
        try:
            value, stall = self.bus.read(base + offset, size)
        except BusError as error:
            self._fail(f"read of {size} bytes: {error}", base + offset, self.access_pc())
            uc.emu_stop()
            return 0
        finally:
            self._end_access()
        self.add_cycles(stall)
        return value

    def _on_write(self, uc: Uc, offset: int, size: int, value: int, base: int) -> None:
        self._begin_access(base + offset)
        try:
            stall = self.bus.write(base + offset, size, value)
        except BusError as error:
            self._fail(f"write of 0x{value:x}: {error}", base + offset, self.access_pc())
            uc.emu_stop()
            return
        finally:
            self._end_access()
        self.add_cycles(stall)

    def _begin_access(self, address: int) -> None:
        self._accessing = True
        self._access_address = address
        self._access_cycles: float | None = None

    def _end_access(self) -> None:
        self._accessing = False
        self._fast_ints[_ALL_ACCESSES] += 1
        self._fast_ints[_ACCESSES] += 1

    def _read_dwt(self, offset: int, size: int) -> int:
        """Called by the native callback of the DWT page for what it does not know."""
        try:
            return self._on_read(self._uc, offset, size, self._dwt_base)
        except Exception as error:  # noqa: BLE001 - ctypes would print and drop it; run() raises it
            self._error = error
            self._uc.emu_stop()
            return 0

    # Blocks

    def access_pc(self) -> int:
        """Address of the instruction that accesses a peripheral now."""
        if self._fast_ints[_BLOCK] < 0:
            return self.pc
        return self._access_place()[0]

    def cycles_at_access(self) -> float:
        """The cycle at which the instruction now accessing a peripheral was issued."""
        if self._access_cycles is None:
            behind = 0.0 if self._fast_ints[_BLOCK] < 0 else self._access_place()[1]
            self._access_cycles = self._fast_floats[_CYCLES] - behind
        return self._access_cycles

    def _access_place(self) -> tuple[int, float]:
        """(address of the accessing instruction, cycles of its block behind it), looked up once.

        Unicorn keeps the PC of the block during a peripheral access, but the registers are
        current: it is the first access behind the last one whose address works out.
        """
        key = self._fast_ints[_BLOCK], self._fast_ints[_ACCESSES]
        place = self._access_places.get(key)
        if place is None:
            place = self._access_places[key] = self._find_access(*key)
        return place

    def _find_access(self, block: int, ordinal: int) -> tuple[int, float]:
        cost = self._known[block]
        seen = self._access_places.get((block, ordinal - 1), (-1, 0.0))[0]
        for op in cost.ops:
            if op.address > seen and op.access is not None:
                target = self._effective_address(op)
                if target & 0xFFFFFFFF == self._access_address:
                    behind = remaining_at(cost, op.address)
                    if ordinal < native.KNOWN_ACCESSES:
                        self._block_floats[block, BlockFloats.BEHIND + ordinal] = behind
                    return op.address, behind
        return int(self.ints[Ints.BLOCK_ADDRESS]), 0.0

    def _effective_address(self, op: Op) -> int:
        access = op.access
        assert access is not None
        base = (op.address + 4) & ~3 if access.base == PC else self._register(access.base)
        if access.index is None:
            return base + access.offset
        return base + (self._register(access.index) << access.shift)

    def _register(self, number: int) -> int:
        return int(self._uc.reg_read(_REGISTERS[number]))

    def _resolve_block(self, address: int, size: int) -> int:
        """Called by the native hook at the first run of a block: learn its cost."""
        try:
            return self._learn(address, size)
        except Exception as error:  # noqa: BLE001 - ctypes would print and drop it; run() raises it
            self._error = error
            return -1

    def _learn(self, address: int, size: int) -> int:
        at = native.code_index(address)
        code = self._code(address, size)
        if at < 0 or code is None:
            self._fail("code outside flash, ITCM and RAM", address, address)
            return -1
        cost = analyse(code, address)
        if cost.uses_fp and not self.fp_enabled():
            self._fail("FP instruction while CPACR keeps the FPU off (NOCP)", None, address)
            return -1
        # The same code seen again: the emulator cut the block elsewhere in the meantime.
        block = self._blocks.get((address, code), len(self._known))
        if block < len(self._known):
            self._index[at] = block
            return block
        if block >= native.BLOCK_CAPACITY:
            raise SimulationError(f"more than {native.BLOCK_CAPACITY} blocks; code rewrites itself")
        self._blocks[address, code] = block
        self._known.append(cost)
        self._fill_tables(block, cost, address, size)
        self._index[at] = block
        return block

    def _fill_tables(self, block: int, cost: BlockCost, address: int, size: int) -> None:
        row = self._block_ints[block]
        row[BlockInts.SIZE] = size
        row[BlockInts.INSTRUCTIONS] = cost.instructions
        row[BlockInts.ENDING] = cost.ending
        row[BlockInts.NEXT] = address + size
        # Static prediction until the history says otherwise: backward taken, forward not.
        row[BlockInts.PREDICTOR] = 2 if cost.backward and cost.ending == Ending.CONDITIONAL else 1
        row[BlockInts.FIRST_LINE] = address >> native.LINE_SHIFT
        row[BlockInts.LAST_LINE] = (address + size - 1) >> native.LINE_SHIFT
        row[BlockInts.AREA] = self._area(address)
        costs = self._block_floats[block]
        costs[BlockFloats.CYCLES] = cost.cycles
        costs[BlockFloats.REPEAT_CYCLES] = cost.repeat_cycles
        costs[BlockFloats.LOADS] = cost.loads
        costs[BlockFloats.ENERGY_J] = cost.energy_j

    @staticmethod
    def _area(address: int) -> Area:
        if address >= native.RAM:
            return Area.RAM
        if address >= native.FLASH_AXI:
            return Area.AXI
        return Area.ALIAS if address >= native.FLASH_ITCM else Area.ITCM

    def _code(self, address: int, size: int) -> bytes | None:
        for memory in self.memories:
            if memory.base <= address and address + size <= memory.end:
                return bytes(memory.data[address - memory.base :][:size])
        return None
