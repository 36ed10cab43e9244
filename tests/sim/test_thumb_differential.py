"""Thumb-2, DSP and FP instructions of the virtual STM32F7 against qemu-arm, on random programs.

The same image runs on both (tests/sim/firmware/thumb_harness.S); registers, flags (NZCVQ, GE),
FP registers and FPSCR after every body are compared, and memory at the end.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from thumb_harness import CPACR, FPU_ON, RAM, build_harness, with_program
from thumb_programs import PROGRAM, RAM_BYTES, RECORDS_AT, STATE_BYTES, Program, program

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER, REGISTERS
from hil.sim.socs.stm32f7 import Stm32F746

QEMU = shutil.which("qemu-arm")
FPSCR_NUMBER = next(n for n, register in enumerate(REGISTERS) if register.name == "fpscr")
TIMEOUT_S = 120.0
APSR, APSR_BITS = 15, 0xF80F0000  # A profile has more in the same register
NAMES = (*(f"r{n}" for n in range(13)), "sp", "lr", "apsr", "fpscr", *(f"s{n}" for n in range(32)))

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-arm is missing: apt install qemu-user")


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_harness(tmp_path_factory.mktemp("thumb"))


def on_qemu(elf: Path) -> np.ndarray:
    command = [str(QEMU), "-cpu", "max", str(elf)]  # its M profile has no memory at 0x20000000
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"qemu-arm: status {done.returncode}: {done.stderr[:300]!r}"
    return np.frombuffer(done.stdout, np.uint8)


def on_chip(elf: Path, data_cache: str = "average") -> np.ndarray:
    chip = Stm32F746(data_cache=data_cache)
    chip.load_elf(elf)
    chip.debugger.write_memory(CPACR, struct.pack("<I", FPU_ON))
    while (stop := chip.run(0.1)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXITED and chip.exit_code == 0, f"{chip.fault}, {chip.taken_fault}"
    return np.frombuffer(chip.debugger.read_memory(RAM, RAM_BYTES), np.uint8)


def differences(wanted: np.ndarray, got: np.ndarray, tried: Program) -> list[str]:
    """What differs, for a reader: the body and its state, then the registers."""
    count = len(tried.bodies) * len(tried.states)
    records = [
        ram[RECORDS_AT:][: count * STATE_BYTES]
        .view("<u4")
        .reshape(count, -1)[:, : len(NAMES)]
        .copy()
        for ram in (wanted, got)
    ]
    for record in records:
        record[:, APSR] &= APSR_BITS
    found = []
    for number in np.flatnonzero((records[0] != records[1]).any(axis=1)):
        body, at = divmod(int(number), len(tried.states))
        registers = [
            f"{name}: qemu {int(a):08x}, here {int(b):08x}"
            for name, a, b in zip(NAMES, records[0][number], records[1][number], strict=False)
            if a != b
        ]
        code = tried.bodies[body].hex(" ", 2)
        found.append(f"body {body} ({code}) on state {tried.states[at].hex(' ', 4)}: {registers}")
    memory = np.flatnonzero(wanted[0x1000:RECORDS_AT] != got[0x1000:RECORDS_AT])
    if len(memory):
        found.append(f"{len(memory)} bytes of memory, first at 0x{RAM + 0x1000 + memory[0]:x}")
    return found


def compare(harness: Path, tried: Program, out: Path, data_cache: str = "average") -> None:
    elf = with_program(harness, tried.image, out / "program.elf")
    found = differences(on_qemu(elf), on_chip(elf, data_cache), tried)
    assert not found, f"{len(found)} differences; the first: {found[0]}"


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(harness: Path, tmp_path: Path, seed: int, floats: bool) -> None:
    """Some 20,000 instructions a seed."""
    compare(harness, program(seed, 100, 10, 8, floats), tmp_path)


def test_random_programs_while_the_data_cache_is_followed(harness: Path, tmp_path: Path) -> None:
    """With unicorn's memory hooks eight of these runs go wrong, behind loads in IT blocks."""
    compare(harness, program(2, 100, 10, 8, True), tmp_path, "lines")


@pytest.mark.slow
@pytest.mark.parametrize("floats", [False, True])
def test_a_million_instructions(harness: Path, tmp_path: Path, floats: bool) -> None:
    executed = 0
    for seed in range(100, 150):
        tried = program(seed, 100, 12, 11, floats)
        compare(harness, tried, tmp_path)
        executed += sum(map(len, tried.bodies)) // 4 * len(tried.states)
    assert executed > 1_000_000, "even if all were of 32 bits"


def test_a_fixed_point_conversion_that_the_emulator_would_round_wrongly_is_refused(
    harness: Path, tmp_path: Path
) -> None:
    """FPSCR.RMode does not count there (A7.7.227); unicorn lets it."""
    code = struct.pack("<2H", 0xEEBA, 0x0AC0)  # vcvt.f32.s32 s0, s0, #32
    chip = Stm32F746()
    chip.load_elf(with_program(harness, code, tmp_path / "fixed.elf"))
    chip.debugger.write_memory(CPACR, struct.pack("<I", FPU_ON))
    for number, value in ((FPSCR_NUMBER, 1 << 22), (PC_NUMBER, PROGRAM)):
        chip.debugger.write_register(0, number, value)
    assert chip.run(1e-3) is Stop.FAULT
    assert "RMode" in str(chip.fault) and chip.fault is not None and chip.fault.pc == PROGRAM
