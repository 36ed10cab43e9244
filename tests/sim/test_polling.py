"""Waits at a UART: however a run is cut, the same is counted and drawn as where each turn of the
poll loop is executed, which slices shorter than a turn ask for."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from gap8_program import PES_SLEEP, assemble
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.stm32f7 import Stm32F746

CUTS = ([1.0], [3.7e-6, 50e-6], [0.9e-6], [0.15e-6])  # seconds; the last one is below a turn
Outcome = tuple[dict[str, int], float, int]
TURN_J = 8e-10  # of the instructions of a turn, which may lie on either side of the last bin's end

# One transfer of three bytes at 1 Mbaud, twice; the exit code is what PCCR1 has counted.
GAP8_SENDS = """
fc_main:
    {cache}
    csrwi 0x7A0, 2             # instructions
    csrw 0x781, zero
    csrwi 0x7A1, 1
    li t0, 0x1A102780
    li t1, 0x10
    sw t1, 0(t0)
    li t0, 0x1A102200
    li t1, 0x00310306
    sw t1, 0x24(t0)
    li s1, 2
    li s2, 0
2:  la t1, text
    sw t1, 0x10(t0)
    li t1, 3
    sw t1, 0x14(t0)
    li t1, 0x10
    sw t1, 0x18(t0)
1:  lw t1, 0x18(t0)
    {turn}
    bnez t1, 1b
3:  lw t1, 0x20(t0)
    bnez t1, 3b
    addi s1, s1, -1
    bnez s1, 2b
    csrr a0, 0x781
    {result}
    j exit_program
    .balign 4
text: .ascii "ABCD"
"""
CACHE_OFF = "li t0, 0x1B201400\n    sw zero, 0(t0)"
NOPS = "\n".join(["nop"] * 6)  # over the border of a line


def gap8(folder: Path, **parts: str) -> Gap8:
    chip = Gap8()
    source = GAP8_SENDS.format(**({"cache": "", "turn": "", "result": ""} | parts))
    chip.load_elf(assemble(folder, translate(source + PES_SLEEP)))
    return chip


def run_in(cut: list[float], chip: Gap8 | Stm32F746, end: Stop) -> Outcome:
    """Runs to the end: counters, joules of all complete bins, how many these are."""
    for slice_s in itertools.cycle(cut):
        stop = chip.run(slice_s)
        if stop is not Stop.BUDGET:
            break
    assert stop is end, chip.fault
    energy_j = chip.energy_drain().energy_j
    return chip.counters(), energy_j.sum(), len(energy_j)


def check_cuts(run: Callable[[list[float]], Outcome]) -> dict[str, int]:
    *cuts, (counters, joules, bins) = [run(cut) for cut in CUTS]
    for cut in cuts:
        assert cut == (counters, pytest.approx(joules, abs=TURN_J), bins)
    return counters


@pytest.mark.parametrize(
    "parts", [{}, {"cache": CACHE_OFF, "turn": NOPS}], ids=["cached", "refetched"]
)
def test_gap8_waits_the_same_in_any_slices(tmp_path: Path, parts: dict[str, str]) -> None:
    chip = gap8(tmp_path, **parts)

    def run(cut: list[float]) -> Outcome:
        chip.reset()
        return run_in(cut, chip, Stop.EXITED)

    counters = check_cuts(run)
    assert chip.exit_code == pytest.approx(counters["fc_instructions"], abs=20)
    assert counters["fc_instructions"] > 200


def test_gap8_loop_that_counts_its_turns_is_executed(tmp_path: Path) -> None:
    chip = gap8(tmp_path, turn="addi s2, s2, 1", result="mv a0, s2")
    counters, _, _ = run_in([1.0], chip, Stop.EXITED)
    # Two transfers' first two bytes, of 500 cycles each, in turns of less than 20.
    assert chip.exit_code is not None and chip.exit_code > 2 * 2 * 500 / 20
    assert chip.exit_code < counters["fc_loads"]


# r0: USART3, r1: a byte, r2: TC, r4: how many; polls ISR behind each
M7_SENDS = [0x6281, 0x69C3, 0x4213, 0xD0FC, 0x3C01, 0xD1F9, 0xBF00, 0xBF00]
# The same, turns counted in r6
M7_COUNTS = [0x6281, 0x3601, 0x69C3, 0x4213, 0xD0FB, 0x3C01, 0xD1F8, 0xBF00, 0xBF00]
BYTES, BRR = 3, 139  # 115200 baud at 16 MHz
USART3 = 0x40004800
SET_UP = (
    (0x40023830, 1 << 3), (0x40023840, 1 << 18),  # clocks: GPIOD, USART3
    (0x40020C24, 7), (0x40020C00, 2 << 16),  # PD8: TX
    (USART3 + 0x0C, BRR), (USART3, 1 << 0 | 1 << 3),
)  # fmt: skip


def stm32(code: list[int], data_cache: str = "average") -> Stm32F746:
    chip = Stm32F746(data_cache=data_cache)
    debugger = chip.debugger
    debugger.write_memory(0, struct.pack(f"<{len(code)}H", *code))
    for address, value in SET_UP:
        debugger.write_memory(address, struct.pack("<I", value))
    debugger.set_breakpoint(2 * len(code) - 2)
    for number, value in ((0, USART3), (1, 65), (2, 0x40), (4, BYTES), (6, 0), (PC_NUMBER, 0)):
        debugger.write_register(0, number, value)
    return chip


@pytest.mark.parametrize("data_cache", ["average", "lines"])
def test_stm32_waits_the_same_in_any_slices(data_cache: str) -> None:
    counters = check_cuts(lambda cut: run_in(cut, stm32(M7_SENDS, data_cache), Stop.BREAK))
    assert counters["instructions"] > 3 * BYTES * 10 * BRR / 30, "turns of less than 30 cycles"


def test_stm32_loop_that_counts_its_turns_is_executed() -> None:
    chip = stm32(M7_COUNTS)
    counters, _, _ = run_in([1.0], chip, Stop.BREAK)
    turns = chip.debugger.read_register(0, 6)
    assert turns > BYTES * 10 * BRR / 30
    assert counters["peripheral_accesses"] >= turns + BYTES
