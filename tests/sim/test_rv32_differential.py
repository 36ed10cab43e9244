"""RV32IMC by random programs: registers, memory, pc and instruction count against unicorn.

Every jump and auipc leaves its pc in a register, so a wrong path shows in the registers too. The
programs run on the virtual GAP8 or behind ``--gdb-target`` (docs/instruction-tests.md).
"""

from __future__ import annotations

import random

import pytest
from rv32_programs import BASES, DATA_BYTES, li, random_long, random_program
from targets import Ram, Target, words, write_words

unicorn = pytest.importorskip("unicorn", reason="unicorn is the second RISC-V")
riscv_const = pytest.importorskip("unicorn.riscv_const", reason="unicorn has no RISC-V")

# From the end of RAM back: what the programs work on, and where all registers are saved.
DATA_BACK, SAVED_BACK = 0x10000, 0x18000
HERE = 0x6F  # j .
PAGE = 4096
KNOWN = [1, 2, *range(4, 32)]  # gp is the base of the store of all registers


def _store(register: int) -> int:
    """sw register, 4 * register(gp)"""
    offset = 4 * register
    return (offset >> 5) << 25 | register << 20 | 3 << 15 | 2 << 12 | (offset & 31) << 7 | 0x23


def _end(saved: int) -> list[int]:
    """Saves all registers and, through jal, the pc."""
    save_pc = [4 << 21 >> 1 | 5 << 7 | 0x6F, _store(5)]  # jal t0, +4; its link is pc + 4
    saves = [_store(r) for r in KNOWN]
    return [*li(3, saved), *saves, *li(3, saved + 128), *save_pc]


class _Unicorn:
    def __init__(self, ram: Ram, code: bytes, data_at: int, data: bytes) -> None:
        machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        first = ram.start & -PAGE
        machine.mem_map(first, (ram.end - first + PAGE - 1) & -PAGE)
        machine.mem_write(ram.start, code)
        machine.mem_write(data_at, data)
        self.executed = 0
        machine.hook_add(unicorn.UC_HOOK_CODE, self._count)
        machine.emu_start(ram.start, ram.start + len(code))
        self.registers = [machine.reg_read(riscv_const.UC_RISCV_REG_X0 + i) for i in range(32)]
        self.pc = machine.reg_read(riscv_const.UC_RISCV_REG_PC)
        self.data = bytes(machine.mem_read(data_at, len(data)))

    def _count(self, *_: object) -> None:
        self.executed += 1


def compare(target: Target, seed: int, units: int, passes: int) -> int:
    """Runs one program on both; instructions executed."""
    rng = random.Random(seed)
    ram = target.ram
    data_at, saved = ram.end - DATA_BACK, ram.end - SAVED_BACK
    code, data = random_program(rng, units, passes, data_at), rng.randbytes(DATA_BYTES)
    expected = _Unicorn(ram, code, data_at, data)
    end = _end(saved)
    target.reset()
    target.write(data_at, data)
    target.write(ram.start, code)
    write_words(target, ram.start + len(code), *end, HERE)
    target.run(ram.start, ram.start + len(code) + 4 * len(end))
    got = words(target, saved, 64)
    wrong = {r: (hex(got[r]), hex(expected.registers[r])) for r in KNOWN
             if got[r] != expected.registers[r]}  # fmt: skip
    assert not wrong, f"seed {seed}: register: (here, unicorn) {wrong}"
    assert target.read(data_at, DATA_BYTES) == expected.data, f"seed {seed}"
    # it ran to where unicorn stopped, and then through the epilogue up to its jal
    assert got[32 + 5] == expected.pc + 4 * (len(KNOWN) + 5), f"seed {seed}"
    executed = target.instructions()
    if executed is not None:
        assert executed - len(end) == expected.executed, f"seed {seed}"
    return expected.executed


def test_the_programs_reach_below_and_above_their_data_pointers() -> None:
    rng = random.Random(0)
    offsets: dict[int, list[int]] = {0x03: [], 0x23: []}
    for word in (random_long(rng) for _ in range(2000)):
        if word & 0x7F in offsets and word >> 15 & 31 in BASES:
            low = word >> 7 & 31 if word & 0x7F == 0x23 else word >> 20 & 31
            offset = word >> 25 << 5 | low
            offsets[word & 0x7F].append((offset ^ 0x800) - 0x800)
    for seen in offsets.values():
        assert min(seen) < -900 and max(seen) > 800


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_agree_with_unicorn(gap8_target: Target, seed: int) -> None:
    assert compare(gap8_target, seed, units=700, passes=10) > 7000


@pytest.mark.slow
def test_a_million_instructions_agree_with_unicorn(gap8_target: Target) -> None:
    executed = sum(compare(gap8_target, 1000 + i, units=2000, passes=8) for i in range(75))
    print(f"{executed} instructions")
    assert executed > 1_000_000
