"""Thumb-2, DSP and FP instructions of a Cortex-M7 against qemu-arm, on random programs.

The same image runs on both (tests/sim/firmware/thumb_harness.S), on the virtual STM32F746 or behind
``--gdb-target`` (docs/instruction-tests.md); registers, flags (NZCVQ, GE), FP registers and FPSCR
after every body are compared, and memory at the end.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from targets import RAMS, ChipTarget, Target
from thumb_harness import CPACR, FPU_ON, Harness, build_harness, in_ram, with_program
from thumb_programs import RECORDS_AT, STATE_BYTES, Layout, Program, program

from hil.core.elf import load_segments
from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER, REGISTERS
from hil.sim.socs.stm32f7 import Stm32F746

QEMU = shutil.which("qemu-arm")
FPSCR_NUMBER = next(n for n, register in enumerate(REGISTERS) if register.name == "fpscr")
TIMEOUT_S = 120.0
MPU_CTRL, MPU_RBAR = 0xE000ED94, 0xE000ED9C
APSR, APSR_BITS = 15, 0xF80F0000  # A profile has more in the same register
NAMES = (*(f"r{n}" for n in range(13)), "sp", "lr", "apsr", "fpscr", *(f"s{n}" for n in range(32)))

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-arm is missing: apt install qemu-user")


@pytest.fixture(scope="module")
def harness(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return build_harness(in_ram(m7_target.ram), tmp_path_factory.mktemp("thumb"))


def on_qemu(elf: Path) -> np.ndarray:
    command = [str(QEMU), "-cpu", "max", str(elf)]  # its M profile has no memory at 0x20000000
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"qemu-arm: status {done.returncode}: {done.stderr[:300]!r}"
    return np.frombuffer(done.stdout, np.uint8)


def on_target(target: Target, harness: Harness, image: bytes) -> np.ndarray:
    """The RAM that the harness has worked on."""
    layout = harness.layout
    code = load_segments(harness.elf).segments[0].data[: layout.program - layout.text]
    target.reset()
    target.write(layout.text, code + image)
    target.set_register("sp", layout.stack)
    target.run(harness.place("enable_fpu"), harness.place("enabled"))
    target.run(harness.place("start"), harness.place("finish"))
    return np.frombuffer(target.read(layout.ram, layout.ram_bytes), np.uint8)


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
        found.append(f"{len(memory)} bytes of memory, first at offset 0x{0x1000 + memory[0]:x}")
    return found


def compare(target: Target, harness: Harness, tried: Program, out: Path) -> None:
    elf = with_program(harness, tried.image, out / "program.elf")
    found = differences(on_qemu(elf), on_target(target, harness, tried.image), tried)
    assert not found, f"{len(found)} differences; the first: {found[0]}"


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(
    m7_target: Target, harness: Harness, tmp_path: Path, seed: int, floats: bool
) -> None:
    """Some 20,000 instructions a seed."""
    tried = program(harness.layout, seed, 100, 10, states(harness.layout, 8), floats)
    compare(m7_target, harness, tried, tmp_path)


def states(layout: Layout, wanted: int) -> int:
    """As many as there is room for behind 100 bodies."""
    return min(wanted, layout.most_records // 100)


def test_random_programs_while_the_data_cache_is_followed(tmp_path: Path) -> None:
    """With unicorn's memory hooks eight of these runs go wrong, behind loads in IT blocks."""
    target = ChipTarget(Stm32F746(data_cache="lines"), RAMS["cortex-m7"], "instructions")
    harness = build_harness(in_ram(target.ram), tmp_path)
    compare(target, harness, program(harness.layout, 2, 100, 10, 8, True), tmp_path)


class Guarded(ChipTarget):
    """With an MPU region of 32 bytes, execute never, at each of ``places``."""

    places: tuple[int, ...] = ()

    def reset(self) -> None:
        super().reset()
        for number, place in enumerate(self.places):
            attributes = 1 << 28 | 3 << 24 | 1 << 19 | 3 << 16 | 4 << 1 | 1
            self.write(MPU_RBAR, struct.pack("<2I", place | 1 << 4 | number, attributes))
        self.write(MPU_CTRL, struct.pack("<I", 5))


def test_random_programs_in_pages_of_several_rights(tmp_path: Path) -> None:
    """The emulator asks at each access there, which must change nothing, in IT blocks least."""
    target = Guarded(Stm32F746(), RAMS["cortex-m7"], "instructions")
    harness = build_harness(in_ram(target.ram), tmp_path)
    target.places = (harness.layout.ram + 0x1040, harness.layout.ram + 0x2040)
    compare(target, harness, program(harness.layout, 0, 100, 10, 8, True), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("floats", [False, True])
def test_a_million_instructions(
    m7_target: Target, harness: Harness, tmp_path: Path, floats: bool
) -> None:
    executed, seed = 0, 100
    while executed <= 1_000_000:
        tried = program(harness.layout, seed, 100, 12, states(harness.layout, 11), floats)
        compare(m7_target, harness, tried, tmp_path)
        executed += sum(map(len, tried.bodies)) // 4 * len(tried.states)  # if all were of 32 bits
        seed += 1


def test_a_fixed_point_conversion_that_the_emulator_would_round_wrongly_is_refused() -> None:
    """FPSCR.RMode does not count there (A7.7.227); unicorn lets it."""
    code = struct.pack("<2H", 0xEEBA, 0x0AC0)  # vcvt.f32.s32 s0, s0, #32
    chip = Stm32F746()
    chip.debugger.write_memory(CPACR, struct.pack("<I", FPU_ON))
    chip.debugger.write_memory(0x20000000, code)
    for number, value in ((FPSCR_NUMBER, 1 << 22), (PC_NUMBER, 0x20000000)):
        chip.debugger.write_register(0, number, value)
    assert chip.run(1e-3) is Stop.FAULT
    assert "RMode" in str(chip.fault) and chip.fault is not None and chip.fault.pc == 0x20000000
