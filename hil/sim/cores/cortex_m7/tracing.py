"""The instruction trace of the Cortex-M7: a hook of the emulator, set only while it is wanted.

Unicorn compiles its code with a call before every instruction while the hook is set; blocks are
cut as before, so cycles stay the same. An instruction's cycle is that of its issue by the block's
cost; two with the same cycle were issued as a pair. What an instruction has written is read
before the next one. Instructions whose condition is false do not appear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from unicorn import UC_HOOK_CODE, Uc
from unicorn.arm_const import UC_ARM_REG_S0, UC_ARM_REG_XPSR

from hil.sim.chip import TraceWindow
from hil.sim.cores.cortex_m7.blocks import BlockTable
from hil.sim.cores.cortex_m7.debug import CORE_REGISTERS
from hil.sim.cores.cortex_m7.layout import Floats, Ints
from hil.sim.cores.cortex_m7.op import FLAGS, PC, Op
from hil.sim.cores.cortex_m7.schedule import remaining_at
from hil.sim.trace import ARM_CORE, TracedInstruction

# No block is longer: the hook around a start address covers the block that it begins.
LONGEST_BLOCK_BYTES = 1024
_NAMES = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", *(f"s{n}" for n in range(32)))


class CoreTrace:
    """Keeps the instructions of ``window``.

    ``ask`` lets the emulator stop before its next block.
    """

    def __init__(
        self,
        uc: Uc,
        window: TraceWindow,
        ints: Any,
        floats: Any,
        table: BlockTable,
        ask: Callable[[], None],
    ) -> None:
        self._uc, self._window = uc, window
        self._ints, self._floats, self._table = ints, floats, table
        self._ask = ask
        self.rows: list[TracedInstruction] = []
        self._recording = window.from_address is None
        self._hook: tuple[int, tuple[int, int]] | None = None
        self._open: tuple[Op, int, str] | None = None  # instruction, cycle, text

    @property
    def start_cycle(self) -> float:
        """The cycle before which the core has to come back, so that the hook can be set."""
        due = self._recording and not self.rows and self._hook is None
        return float(self._window.from_cycle) if due else math.inf

    # Before and behind every run of the emulator

    def prepare(self) -> None:
        """Set or take away the hook."""
        wanted = self._wanted()
        if wanted == (self._hook[1] if self._hook else None):
            return
        if self._hook is not None:
            self._uc.hook_del(self._hook[0])
            self._hook = None
        if wanted is not None:
            handle = self._uc.hook_add(
                UC_HOOK_CODE, self._on_instruction, begin=wanted[0], end=wanted[1]
            )
            self._hook = handle, wanted
        self._uc.ctl_flush_tb()  # type: ignore[attr-defined]  # missing in unicorn's stub

    def _wanted(self) -> tuple[int, int] | None:
        """Addresses (first, last) to hook; (1, 0) is all of them."""
        if len(self.rows) >= self._window.count:
            return None
        if not self._recording:
            start = self._window.from_address
            assert start is not None
            return start, start + LONGEST_BLOCK_BYTES
        return (1, 0) if self._floats[Floats.CYCLES] >= self._window.from_cycle else None

    def settle(self, faulted: bool = False) -> None:
        """Close the last instruction; ``faulted``: it has not been executed."""
        if self._open is None:
            return
        (op, cycle, text), self._open = self._open, None
        code = self._table.code(op.address, op.size) or b""
        written = 0 if faulted else op.writes | op.base_writes
        row = TracedInstruction(
            cycle, ARM_CORE, op.address, code, text, tuple(self._results(written)),
            "faulted" if faulted else "",
        )  # fmt: skip
        self.rows.append(row)

    def _results(self, written: int) -> list[tuple[str, int]]:
        results = []
        for number, name in enumerate(_NAMES):
            if written >> number & 1 and number != PC:
                index = UC_ARM_REG_S0 + number - 16 if number > PC else CORE_REGISTERS[number]
                results.append((name, int(self._uc.reg_read(index))))
        if written & FLAGS:
            results.append(("xpsr", int(self._uc.reg_read(UC_ARM_REG_XPSR))))
        return results

    # The hook

    def _on_instruction(self, _uc: Uc, address: int, _size: int, _data: object) -> None:
        self.settle()
        if self._ints[Ints.STOPPED]:
            return  # the block hook has just stopped the run: this will come again
        if address == self._window.from_address and not self._recording:
            self._recording = True
            self._ask()
        if not self._recording:
            return
        if len(self.rows) >= self._window.count:
            self._ask()
            return
        low, high = self._window.inside or (0, 1 << 32)
        number = self._ints[Ints.BLOCK]
        if not low <= address < high or number < 0:
            return
        cost = self._table.known[number]
        op = next((op for op in cost.ops if op.address == address), None)
        if op is None:
            return
        cycle = int(self._floats[Floats.CYCLES] - remaining_at(cost, address))
        self._open = op, cycle, self._table.texts(cost)[address]
