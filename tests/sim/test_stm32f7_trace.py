"""Trace and profile of the virtual STM32F746, on an ELF that knows nothing of this bench."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hil.cli import app
from hil.core.errors import SimulationError
from hil.sim.chip import Stop, TraceWindow
from hil.sim.hot_loops import innermost_loops
from hil.sim.profile import Functions, by_function, total
from hil.sim.runner import EXIT_DEADLOCK, Limits, run_elf
from hil.sim.socs.stm32f7 import Stm32F746

# No start-up code, no console, no way to end: the vectors, two loops, and a sleep for good.
SOURCE = """
    .syntax unified
    .thumb
    .section .vectors, "a"
    .word 0x20010000, start
    .text
    .type start, %function
start:
    ldr r0, =0x20000000
    movs r1, #100
    bl products
    movs r2, #5
    cmp r2, #5
    ite eq
    moveq r3, #1
    movne r3, #2
    ldr r4, =0xE000E010     @ SysTick: a device
    ldr r5, [r4]
.Lstop:
    wfi
    b .Lstop
    .size start, . - start
    .type products, %function
products:
    push {r4, lr}
    mov r2, #0
1:  smlad r2, r1, r1, r2
    smlad r2, r1, r1, r2
    ldr r3, [r0]
    add r4, r3, r1
    subs r1, #1
    bne 1b
    pop {r4, pc}
    .size products, . - products
    .ltorg
"""
SCRIPT = """
SECTIONS { .vectors 0x08000000 : { KEEP(*(.vectors)) *(.text*) }
           /DISCARD/ : { *(.ARM*) } }
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("m7trace")
    (folder / "a.s").write_text(SOURCE)
    (folder / "a.ld").write_text(SCRIPT)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf"]
    command += ["-mcpu=cortex_m7+fp_armv8d16sp", "-nostdlib", "-g0", "-Wl,-e,start"]
    command += ["-T", str(folder / "a.ld"), str(folder / "a.s"), "-o", str(folder / "a.elf")]
    subprocess.run(command, check=True)
    return folder / "a.elf"


@pytest.fixture(scope="module")
def plain(elf: Path) -> dict[str, int]:
    chip = Stm32F746()
    chip.load_elf(elf)
    assert chip.run(0.01) is Stop.WAITING
    return chip.counters()


@pytest.fixture(scope="module")
def chip(elf: Path) -> Stm32F746:
    """Run with both, in slices."""
    chip = Stm32F746()
    chip.load_elf(elf)
    chip.start_trace(TraceWindow(10_000))
    chip.start_profile()
    for _ in range(1000):
        if chip.run(2e-6) is not Stop.BUDGET:
            break
    return chip


def test_looking_changes_no_count(chip: Stm32F746, plain: dict[str, int]) -> None:
    assert chip.counters() == plain
    assert len(chip.trace()) == plain["instructions"] - 1  # one whose condition is false


def test_trace_of_a_hand_worked_run(chip: Stm32F746) -> None:
    rows = chip.trace()
    texts = [row.text.split()[0] for row in rows]
    assert texts[:5] == ["mov.w", "movs", "bl", "push", "mov.w"]
    assert dict(rows[0].writes)["r0"] == 0x20000000
    assert dict(rows[1].writes)["r1"] == 100
    assert dict(rows[3].writes)["sp"] == 0x20010000 - 8
    cycles = [row.cycle for row in rows]
    assert cycles == sorted(cycles)
    turn = next(i for i, row in enumerate(rows) if row.text.startswith("smlad"))
    # 0 + 100 * 100 in both halves of r1: the high halves are zero
    assert rows[turn].writes == (("r2", 10_000),)
    assert rows[turn + 1].writes == (("r2", 20_000),)
    sums = sum(2 * n * n for n in range(1, 101))
    last = max(i for i, row in enumerate(rows) if row.text.startswith("smlad"))
    assert rows[last].writes == (("r2", sums & 0xFFFFFFFF),)
    by_text = {row.text: row for row in rows}
    assert "movne r3, #2" not in by_text
    assert dict(by_text["moveq r3, #1"].writes) == {"r3": 1}


def test_windows(elf: Path, chip: Stm32F746, plain: dict[str, int]) -> None:
    everything = chip.trace()
    functions = Functions.from_elf(elf)
    start = functions.span("products")
    assert start is not None
    at = next(i for i, row in enumerate(everything) if row.pc == start[0])
    inside = [row for row in everything if start[0] <= row.pc < start[1]]
    late = everything[len(everything) // 2].cycle
    for window, expected in (
        (TraceWindow(30, from_address=start[0]), everything[at : at + 30]),
        (TraceWindow(7, inside=start), inside[:7]),
    ):
        other = Stm32F746()
        other.load_elf(elf)
        other.start_trace(window)
        assert other.run(0.01) is Stop.WAITING
        assert other.trace() == expected
        assert other.counters() == plain
    other = Stm32F746()
    other.load_elf(elf)
    other.start_trace(TraceWindow(40, from_cycle=late))
    assert other.run(0.01) is Stop.WAITING
    rows = other.trace()
    assert other.counters() == plain
    begin = everything.index(rows[0])
    assert rows == everything[begin : begin + 40]
    assert late <= rows[0].cycle <= late + 60  # the first block that begins behind it


def test_the_profile_sums_up_to_the_chips_cycles(chip: Stm32F746, elf: Path) -> None:
    (cores,) = chip.profile()
    rows = by_function(cores, Functions.from_elf(elf))
    everything = total(rows)
    assert everything.cycles == pytest.approx(chip.counters()["cycles"], abs=1)
    assert everything.counts[1] == chip.counters()["instructions"]
    assert {row.name for row in rows} == {"start", "products"}
    assert (cores.counts >= -1e-9).all()
    # a row's reasons never exceed its cycles
    assert (cores.counts[:, 2:].sum(axis=1) <= cores.counts[:, 0] + 1e-6).all()


def test_reasons_of_the_hot_loop(chip: Stm32F746, elf: Path) -> None:
    (cores,) = chip.profile()
    loop = innermost_loops(cores, Functions.from_elf(elf))[0]
    lines = cores.lines[loop.first : loop.behind]
    counts = dict(zip(cores.kinds, cores.counts[loop.first : loop.behind].T, strict=True))
    assert [line.text.split()[0] for line in lines] == [
        "smlad", "smlad", "ldr", "add.w", "subs", "bne"
    ]  # fmt: skip
    assert "one multiplication a cycle (R3)" in lines[1].note
    assert counts["alone"][1] == counts["instructions"][1] == 100
    # the load goes with the second product; without the data cache it waits 3 cycles (costs)
    assert counts["cycles"][2] == counts["data"][2] == 300
    # 7 cycles for the one branch that leaves the loop
    assert counts["branch"].tolist() == [0, 0, 0, 0, 0, 7]


def test_command(elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "trace.txt"
    call = ["sim", "run", str(elf), "--board", "stm32f746", "--profile", "--trace", str(out)]
    call += ["--trace-from", "products", "--trace-count", "3"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == EXIT_DEADLOCK, done.output  # the program ends in WFI
    assert len(out.read_text().splitlines()) == 4
    assert "loop in products" in done.stdout and "asleep at 0x080000" in done.stdout
    refused = CliRunner().invoke(app, [*call[:5], "--trace", "-", "--trace-from", "nowhere"])
    assert isinstance(refused.exception, SimulationError)
    assert "no function or label 'nowhere'" in str(refused.exception)


def test_an_endless_program_ends_at_its_limit(elf: Path) -> None:
    report = run_elf(elf, "stm32f746", lambda _: None, Limits(cycles=200))
    assert report.stop is Stop.BUDGET and report.status == 0
    assert 200 <= report.counters["cycles"] < 220
    assert "after 200 cycles (--max-cycles)" in report.lines()[0]
    assert "Cortex-M7 in thread mode at 0x080000" in report.lines()[1]
