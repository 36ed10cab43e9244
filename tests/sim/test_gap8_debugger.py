"""The debug port of the virtual GAP8 on a running cluster: stops, steps, and no cycle changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import assemble

from hil.core.elf import load_segments
from hil.sim.chip import Stop
from hil.sim.socs.gap8.chip import Gap8

PROGRAM = """
fc_main:
    jal start_cluster
    li t0, 3000
1:  addi t0, t0, -1
    bnez t0, 1b
    li a0, 0
    j exit_program

    .globl pe_main
pe_main:                       # a0: number of the core
    li a2, 0x10000000
    slli a1, a0, 2
    add a2, a2, a1
    li a3, 20
pe_work:
    sw a3, 0(a2)
    lw a4, 64(a2)
    addi a3, a3, -1
    bnez a3, pe_work
2:  j 2b
"""
PC, A0, A3 = 32, 10, 13


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("debugger"), PROGRAM)


@pytest.fixture(scope="module")
def chip(elf: Path) -> Gap8:
    chip = Gap8()
    chip.load_elf(elf)
    return chip


@pytest.fixture(scope="module")
def undisturbed(chip: Gap8) -> dict[str, int]:
    chip.reset()
    assert chip.run(0.1) is Stop.EXITED
    return chip.counters()


def test_breakpoints_on_eight_cores_change_no_count(
    chip: Gap8, elf: Path, undisturbed: dict[str, int]
) -> None:
    symbols, debug = load_segments(elf).symbols, chip.debugger
    work = symbols["pe_work"]
    chip.reset()
    debug.set_breakpoint(work)
    seen: set[int] = set()
    while (stop := chip.run(0.1)) is Stop.BREAK:
        core = debug.stopped_core()
        assert debug.read_register(core, PC) == work
        assert debug.read_register(core, A0) == core - 1  # the core's own number, in its a0
        seen.add(core)
        while (met := debug.step(core)) is Stop.BREAK:
            core = debug.stopped_core()  # another one has come to it meanwhile
            seen.add(core)
        assert met is None
    debug.clear_breakpoint(work)
    assert stop is Stop.EXITED and seen and seen <= set(range(1, 9))
    assert chip.counters() == undisturbed


def test_steps_of_one_core_change_no_count(
    chip: Gap8, elf: Path, undisturbed: dict[str, int]
) -> None:
    work, debug = load_segments(elf).symbols["pe_work"], chip.debugger
    chip.reset()
    debug.set_breakpoint(work)
    assert chip.run(0.1) is Stop.BREAK
    debug.clear_breakpoint(work)
    core = debug.stopped_core()
    assert debug.read_register(core, A3) == 20
    places = []
    for _ in range(8):
        places.append(debug.read_register(core, PC) - work)
        assert debug.step(core) is None
    assert places[:4] == places[4:] and places[0] == 0 and debug.read_register(core, A3) == 18
    assert chip.run(0.1) is Stop.EXITED
    assert chip.counters() == undisturbed


def test_a_step_of_a_held_core_is_its_first_instruction(chip: Gap8, elf: Path) -> None:
    chip.reset()
    debug, core = chip.debugger, 3
    assert debug.core_state(core) == "held"
    while debug.core_state(core) == "held":
        began = chip.counters()["fc_instructions"]
        met = debug.step(core)
        assert met in (None, Stop.WAITING) and chip.counters()["fc_instructions"] > began
    if met is Stop.WAITING:
        assert debug.step(core) is None
    assert chip.counters()["pe2_instructions"] == 1
