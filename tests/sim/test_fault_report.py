"""How faults are told: programs with known faults, addresses and registers worked out by hand.

Symbols are read from the ELF's symbol table here, not by the code under test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from gap8_program import assemble
from test_stm32f7 import FIRMWARE, FLAGS
from typer.testing import CliRunner
from xpulp_assembler import translate

from hil.cli import app
from hil.sim.chip import Stop
from hil.sim.fault_report import Area, FaultScene, area_text, report_lines, short_text
from hil.sim.powered_chip import PoweredChip
from hil.sim.profile import Functions
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.stm32f7 import Stm32F746

R4, R12, SP, LR, PC = 4, 12, 13, 14, 15
STACK_TOP = 0x20000800  # 2 KB by the linker script
BUS_ERROR_AT = 0x20050004  # SRAM2 ends at 0x2004ffff


def symbols_of(elf: Path) -> dict[str, int]:
    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name: symbol["st_value"] & ~1 for symbol in table.iter_symbols()}


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faults") / "faults.elf"
    source = str(FIRMWARE / "stm32f7_faults.S")
    script = ["-T", str(FIRMWARE / "stm32f7.ld"), source, "-o", str(out)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, *script], check=True)
    return out


@pytest.fixture(scope="module")
def symbols(elf: Path) -> dict[str, int]:
    return symbols_of(elf)


@pytest.fixture(scope="module")
def functions(elf: Path) -> Functions:
    return Functions.from_elf(elf)


@pytest.fixture(scope="module")
def chip(elf: Path) -> Stm32F746:
    chip = Stm32F746()
    chip.load_elf(elf)
    return chip


def start(chip: Stm32F746, entry: int, **registers: int) -> tuple[FaultScene, ...]:
    """The scenes of a run of 1 ms from ``entry`` on."""
    chip.reset()
    for name, value in registers.items():
        chip.debugger.write_register(0, {"r12": R12, "lr": LR}[name], value)
    chip.debugger.write_register(0, PC, entry)
    chip.run(1e-3)
    return chip.fault_scenes()


def test_load_from_nowhere(chip: Stm32F746, symbols: dict[str, int], functions: Functions) -> None:
    called = symbols["load_nowhere"]
    (scene,) = start(chip, symbols["call_twice"], r12=called | 1, lr=0x11111111)
    lines = report_lines(scene, functions)
    assert lines[0].startswith("Cortex-M7: HardFault handler entered: BusFault PRECISERR: read of")
    assert lines[1] == f"  at 0x{called + 8:08x} load_nowhere+0x8: ldr r1, [r2, #4]"
    assert lines[2] == "  address 0x20050004: no memory; SRAM ends at 0x2004ffff"
    assert lines[3:7] == [
        "  CFSR 0x00008200: PRECISERR BFARVALID",
        "  HFSR 0x40000000: FORCED",
        "  BFAR 0x20050004",
        "  xPSR 0x01000000: flags none, Thumb state, in thread mode",
    ]
    back_in_caller, back_in_first = symbols["caller"] + 8, symbols["call_twice"] + 4
    sp = STACK_TOP - 8  # caller has pushed r4 and lr
    values = dict(scene.registers)
    assert (values["r2"], values["r4"], values["r5"]) == (0x20050000, 0x44, called | 1)
    assert (values["r12"], values["sp"], values["lr"]) == (called | 1, sp, back_in_caller | 1)
    assert (values["pc"], values["xpsr"]) == (called + 8, 1 << 24)
    # the frame lies below: r0-r3, r12, lr, pc, xPSR
    assert scene.frame_at == sp - 32 and scene.frame[2:] == (
        ("r2", 0x20050000), ("r3", values["r3"]), ("r12", called | 1),
        ("lr", back_in_caller | 1), ("pc", called + 8), ("xpsr", 1 << 24),
    )  # fmt: skip
    assert f"  sp 0x{sp:08x}: DTCM RAM" in lines
    assert f"  lr 0x{back_in_caller | 1:08x} caller+0x8" in lines
    returns = [line for line in lines if line.endswith("a return address")]
    assert returns == [
        f"    0x{sp + 4:08x}  {back_in_first | 1:08x}  call_twice+0x4, a return address"
    ]


def test_undefined_instruction(
    chip: Stm32F746, symbols: dict[str, int], functions: Functions
) -> None:
    (scene,) = start(chip, symbols["undefined"], lr=symbols["call_twice"] | 1)
    text = "\n".join(report_lines(scene, functions))
    assert f"at 0x{symbols['undefined'] + 4:08x} undefined+0x4: udf #7" in text
    assert "CFSR 0x00010000: UNDEFINSTR" in text and "  address" not in text
    assert scene.register("r0") == 1 and scene.register("r3") == 3
    assert scene.register("sp") == STACK_TOP and scene.frame_at == STACK_TOP - 32


def test_stack_overflow_shows_a_stack_pointer_outside_memory(
    chip: Stm32F746, symbols: dict[str, int], functions: Functions
) -> None:
    """57 pushes of 36 bytes leave 4 of 2048 bytes below the memory: a late bus fault, and the
    frame of 32 bytes, aligned to 8, finds no room either."""
    (scene,) = start(chip, symbols["overflow"])
    lines = report_lines(scene, functions)
    assert scene.register("sp") == 0x20000800 - 57 * 36 == 0x1FFFFFFC
    assert "  sp 0x1ffffffc: no memory; DTCM RAM begins at 0x20000000" in lines
    where = "no memory; DTCM RAM begins at 0x20000000"
    assert f"  frame at 0x1fffffd8 ({where}), which took none" in lines
    assert "  CFSR 0x00001400: IMPRECISERR STKERR" in lines and scene.frame == ()
    assert any("at 0x" in line and " overflow" in line for line in lines)


def test_lock_up_shows_the_first_fault_too(
    chip: Stm32F746, symbols: dict[str, int], functions: Functions
) -> None:
    first, last = start(chip, symbols["fault_in_handler"])
    assert first.handled and not last.handled
    assert "fault_in_handler+0x" in report_lines(first, functions)[1]
    place = f"  at 0x{symbols['bad_handler'] + 2:08x} bad_handler+0x2: udf #2"
    assert report_lines(last, functions)[:2] == [
        f"Cortex-M7: stopped: {chip.fault.reason}" if chip.fault else "", place
    ]  # fmt: skip
    assert "in the HardFault handler" in "".join(last.status)
    assert last.register("r0") == 9 and last.frame_at is None


def test_the_short_form_reaches_the_bench(elf: Path, symbols: dict[str, int]) -> None:
    bench = PoweredChip(Stm32F746())
    bench.flash(elf)
    assert bench.taken_fault_text is None
    bench.chip.debugger.write_register(0, PC, symbols["load_nowhere"])  # type: ignore[attr-defined]
    bench.run(1e-3)
    told = bench.taken_fault_text
    assert told is not None and "\n" not in told
    assert f"at 0x{symbols['load_nowhere'] + 8:08x} load_nowhere+0x8: ldr r1, [r2, #4]" in told
    assert "CFSR 0x00008200: PRECISERR BFARVALID" in told and "SRAM ends" in told
    bench.reset()
    bench.chip.debugger.write_register(0, PC, symbols["fault_in_handler"])  # type: ignore[attr-defined]
    bench.run(1e-3)
    assert bench.halted is not None and "bad_handler+0x2: udf #2" in bench.halted


def test_sim_run_prints_the_report(elf: Path, tmp_path: Path) -> None:
    """The vector of reset is patched, so that the program itself ends in the fault."""
    raw = bytearray(elf.read_bytes())
    reset, fault = (symbols_of(elf)[name] | 1 for name in ("Reset_Handler", "fault_in_handler"))
    at = raw.find(reset.to_bytes(4, "little"), 52)
    raw[at : at + 4] = fault.to_bytes(4, "little")
    patched = tmp_path / "faulty.elf"
    patched.write_bytes(raw)
    done = CliRunner().invoke(app, ["sim", "run", str(patched), "--board", "stm32f746"])
    assert done.exit_code == 125
    assert "bad_handler+0x2: udf #2" in done.stdout and "fault_in_handler+0x" in done.stdout
    assert "HardFault handler entered: UsageFault UNDEFINSTR" in done.stdout


GAP8 = """
fc_main:
    jal start_cluster
2:  j 2b
    .globl pe_main
pe_main:
    li t0, 3
    bne a0, t0, idle
    jal spoil
idle:
    j idle
    .globl spoil
spoil:
    addi sp, sp, -16
    sw ra, 12(sp)
    li t1, 0x20000000
    jal bad_store
    .globl bad_store
bad_store:
    li t2, 77
    sw t2, 8(t1)
"""


def test_gap8_fault_of_a_cluster_core(tmp_path: Path) -> None:
    elf = assemble(tmp_path, translate(GAP8))
    chip = Gap8()
    chip.load_elf(elf)
    assert chip.run(0.05) is Stop.FAULT and chip.fault is not None
    (scene,) = chip.fault_scenes()
    symbols, functions = symbols_of(elf), Functions.from_elf(elf)
    lines = report_lines(scene, functions)
    assert lines[0] == (
        "GAP8 PE3: stopped: access to an unmapped address: no device is known there"
    )
    assert lines[1] == f"  at 0x{symbols['bad_store'] + 4:08x} bad_store+0x4: sw t2, 8(t1)"
    assert lines[2] == "  address 0x20000008: no memory"
    values = dict(scene.registers)
    assert (values["t1"], values["t2"]) == (0x20000000, 77)
    assert values["ra"] == symbols["bad_store"] == values["pc"] - 4
    # 512 bytes a core from 0x10010000 down, and the 16 of spoil
    assert values["sp"] == 0x10010000 - 3 * 512 - 16 and f"  sp 0x{values['sp']:08x}: L1" in lines
    back = symbols["idle"]
    assert f"    0x{values['sp'] + 12:08x}  {back:08x}  idle, a return address" in lines
    assert "bad_store+0x4: sw t2, 8(t1)" in short_text(scene, functions)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (0x100, "one"), (0x180, "inner"), (0x1FF, "one"), (0x200, "no memory; one ends at 0x1ff"),
        (0xF0, "no memory; one begins at 0x100"), (0x20000, "no memory"),
    ],
)  # fmt: skip
def test_areas(address: int, text: str) -> None:
    areas = (Area(0x100, 0x200, "one"), Area(0x180, 0x190, "inner"))
    assert area_text(address, areas).replace("0x00000", "0x") == text
