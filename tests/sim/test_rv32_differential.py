"""RV32IMC by random programs: registers, memory, pc and instruction count against unicorn.

Every jump and auipc leaves its pc in a register, so a wrong path shows in the registers too.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from rv32_programs import CODE, DATA, DATA_BYTES, li, random_program

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

unicorn = pytest.importorskip("unicorn", reason="unicorn is the second RISC-V")
riscv_const = pytest.importorskip("unicorn.riscv_const", reason="unicorn has no RISC-V")

SAVED = 0x1C068000
KNOWN = [1, 2, *range(4, 32)]  # gp is the base of the store of all registers


def _store(register: int) -> int:
    """sw register, 4 * register(gp)"""
    offset = 4 * register
    return (offset >> 5) << 25 | register << 20 | 3 << 15 | 2 << 12 | (offset & 31) << 7 | 0x23


def _end() -> list[int]:
    """Saves all registers and, through jal, the pc; then ends the program."""
    save_pc = [4 << 21 >> 1 | 5 << 7 | 0x6F, _store(5)]  # jal t0, +4; its link is pc + 4
    finish = [*li(5, 0x1A1040A0), *li(6, 0x80000000), 6 << 20 | 5 << 15 | 2 << 12 | 0x23, 0x6F]
    saves = [_store(r) for r in KNOWN]
    return [*li(3, SAVED), *saves, *li(3, SAVED + 128), *save_pc, *finish]


class _Unicorn:
    def __init__(self, code: bytes, data: bytes) -> None:
        machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        machine.mem_map(0x1C000000, 0x80000)
        machine.mem_write(CODE, code)
        machine.mem_write(DATA, data)
        self.executed = 0
        machine.hook_add(unicorn.UC_HOOK_CODE, self._count)
        machine.emu_start(CODE, CODE + len(code))
        self.registers = [machine.reg_read(riscv_const.UC_RISCV_REG_X0 + i) for i in range(32)]
        self.pc = machine.reg_read(riscv_const.UC_RISCV_REG_PC)
        self.data = bytes(machine.mem_read(DATA, len(data)))

    def _count(self, *_: object) -> None:
        self.executed += 1


def _compare(chip: Gap8, seed: int, units: int, passes: int) -> int:
    """Runs one program on both; instructions executed."""
    rng = random.Random(seed)
    code, data = random_program(rng, units, passes), rng.randbytes(DATA_BYTES)
    expected = _Unicorn(code, data)
    end = _end()
    chip.reset()
    chip.load_words(DATA, np.frombuffer(data, dtype=np.uint32))
    chip.load_words(CODE, np.frombuffer(code, dtype=np.uint32).tolist() + end)
    assert chip.run(1.0) is Stop.EXITED, (seed, chip.fault)
    got = chip.peek_words(SAVED, 64).tolist()
    wrong = {r: (hex(got[r]), hex(expected.registers[r])) for r in KNOWN
             if got[r] != expected.registers[r]}  # fmt: skip
    assert not wrong, f"seed {seed}: register: (ours, unicorn) {wrong}"
    assert chip.peek_words(DATA, DATA_BYTES // 4).tobytes() == expected.data, f"seed {seed}"
    # ours ran to where unicorn stopped, and then through the epilogue up to its jal
    assert got[32 + 5] == expected.pc + 4 * (len(KNOWN) + 5), f"seed {seed}"
    executed = chip.counters()["fc_instructions"] - (len(end) - 1)
    assert executed == expected.executed, f"seed {seed}"
    return expected.executed


@pytest.fixture(scope="module")
def chip() -> Gap8:
    return Gap8()


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_agree_with_unicorn(chip: Gap8, seed: int) -> None:
    assert _compare(chip, seed, units=700, passes=10) > 7000


@pytest.mark.slow
def test_a_million_instructions_agree_with_unicorn(chip: Gap8) -> None:
    executed = sum(_compare(chip, 1000 + i, units=2000, passes=8) for i in range(75))
    print(f"{executed} instructions")
    assert executed > 1_000_000
