"""Cycles by function on the virtual GAP8, against the chip's own counters and hand-worked loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import assemble
from typer.testing import CliRunner
from xpulp_assembler import translate

from hil.cli import app
from hil.core.errors import SimulationError
from hil.sim.chip import Stop, TraceWindow
from hil.sim.disassembly import xpulp_text
from hil.sim.hot_loops import annotated
from hil.sim.profile import Functions, by_function, total
from hil.sim.runner import Limits, run_elf
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.gap8.profiling import ASLEEP


def _function(name: str, body: str) -> str:
    return f"    .type {name}, @function\n{name}:\n{body}\n    .size {name}, . - {name}\n"


# The FC sleeps until PE 0 tells it. The PEs load 50 words of one bank, PE 0 then works alone while
# the others sleep at the barrier.
SOURCE = (
    """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    li t1, 8
    sw t1, 0(t0)
    p.elw t1, 0x38(t0)
    li a0, 0
    j exit_program
pe_main:
    mv s0, a0
    jal join_barrier
    jal barrier
    jal same_bank
    jal barrier
    bnez s0, 2f
    jal alone
2:  jal barrier
    bnez s0, 3f
    li t0, 0x1B200E00
    sw zero, 0xC(t0)
3:  li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
"""
    + _function(
        "same_bank",
        """
    li t2, 0x10000100
    li t3, 50
    lp.setup x0,t3,8
    lw t0,0(t2)
    add t1,t0,t0
    ret
""",
    )
    + _function(
        "alone",
        """
    li t2, 0x1C060000
    li t3, 7
    li t5, 100
    lp.setup x0,t5,16
    lw t0,0(t2)
    add t1,t0,t0
    div t1,t0,t3
    nop
    ret
""",
    )
)


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("profile"), translate(SOURCE))


@pytest.fixture(scope="module")
def chip(elf: Path) -> Gap8:
    chip = Gap8()
    chip.load_elf(elf)
    chip.start_trace(TraceWindow(60_000))
    for _ in range(10_000):  # slices: a core's cycles must not get lost between them
        if chip.run(2e-6) is not Stop.BUDGET:
            break
    assert chip.exit_code == 0, chip.fault
    return chip


def _sums(chip: Gap8) -> list[tuple[int, ...]]:
    return [total(by_function(cores, Functions([]))).counts for cores in chip.profile()]


def test_the_total_is_the_chips_own_cycle_count(chip: Gap8) -> None:
    counters = chip.counters()
    fc, cluster = _sums(chip)
    assert fc[0] == counters["fc_clock_cycles"]
    for sums, names in ((fc, ["fc"]), (cluster, [f"pe{i}" for i in range(8)])):
        own = {
            label: sum(counters[f"{name}_{label}"] for name in names)
            for label in ("active_cycles", "instructions", "load_stalls", "tcdm_conflicts")
        }
        assert sums[0] - sums[ASLEEP] == own["active_cycles"]
        assert sums[1:4] == (own["instructions"], own["load_stalls"], own["tcdm_conflicts"])
    assert chip.profile()[1].counts[:, 0].sum() == cluster[0]  # looking does not count
    for cores in chip.profile():  # every cycle is an instruction's first or has a reason
        assert (cores.counts[:, 0] == cores.counts[:, 1:].sum(axis=1)).all()


def test_profiled_and_plain_runs_take_the_same_cycles(chip: Gap8, elf: Path) -> None:
    plain = Gap8()
    plain.load_elf(elf)
    assert plain.run(0.1) is Stop.EXITED
    assert plain.counters() == chip.counters()
    with pytest.raises(SimulationError, match="start_profile"):
        plain.profile()


def test_stalls_of_known_loops(chip: Gap8, elf: Path) -> None:
    _, cluster = chip.profile()
    rows = {row.name: row.counts for row in by_function(cluster, Functions.from_elf(elf))}
    cycles, instructions, load_use, bank, _, wait, asleep, branch, long = rows["same_bank"]
    # li, li, lp.setup, 50 x (lw, add), ret on eight cores; li 0x10000100 is two instructions
    assert instructions == 8 * (5 + 100)
    assert load_use == 8 * 50
    # eight loads take turns at the bank: of every 8 cycles a core uses 3
    assert bank == pytest.approx(8 * 50 * 5, rel=0.05)
    assert wait == asleep == long == 0 and branch == 8  # the return, in 2 cycles
    cycles, instructions, load_use, bank, fetch, wait, asleep, branch, long = rows["alone"]
    # one core: an L2 load is 9 cycles, 7 divides in 32, the return in 2 (GAP8 facts)
    assert instructions == 5 + 400
    assert (load_use, bank, wait, asleep) == (100, 0, 100 * 8, 0)
    assert cycles - fetch == instructions + 100 + 800 + 100 * 31 + 1
    assert (branch, long) == (1, 100 * 31)
    # seven cores sleep meanwhile, in the barrier
    assert rows["barrier"][ASLEEP] > 7 * (cycles - fetch)


def test_reset_begins_anew(elf: Path) -> None:
    chip = Gap8()
    chip.load_elf(elf)
    chip.start_profile()
    assert chip.run(0.1) is Stop.EXITED
    first = _sums(chip)
    chip.reset()
    assert _sums(chip) == [(), ()]
    assert chip.run(0.1) is Stop.EXITED
    assert _sums(chip) == first


def test_command_prints_a_table_a_core_class(elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(
        app, ["sim", "run", str(elf), "--board", "gap8", "--profile", "--top", "3"]
    )
    assert done.exit_code == 0, done.output
    report = run_elf(elf, "gap8", lambda _: None)
    lines = done.stdout.splitlines()
    at = lines.index("FC (1 core)")
    clock = report.counters["fc_clock_cycles"]
    assert lines[at + 6].split()[:2] == ["total", f"{clock:,}"]
    names = [line.split()[0] for line in lines[lines.index("cluster (8 cores, summed)") + 2 :][:3]]
    assert set(names) == {"barrier", "alone", "same_bank"}
    assert report.profile == () and report.profile_lines(Functions([]), 3, 80) == []


def test_the_hottest_loop_is_annotated(chip: Gap8, elf: Path) -> None:
    _, cluster = chip.profile()
    lines = annotated(cluster, Functions.from_elf(elf), 2)
    at = next(i for i, line in enumerate(lines) if "loop in same_bank" in line)
    assert "400 turns" in lines[at]
    load, add = lines[at + 2 : at + 4]
    assert load.split()[3:6] == ["lw", "t0,", "0(t2)"] and "bank 4.9" in load
    assert "use 1.00" in add
    assert any("loop in alone" in line for line in lines)


def test_trace_holds_every_instruction_in_order(chip: Gap8) -> None:
    counters = chip.counters()
    rows = chip.trace()
    cores = ["FC", *(f"PE{n}" for n in range(8))]
    for core in cores:
        own = [row for row in rows if row.core == core]
        assert len(own) == counters[f"{core.lower()}_instructions"]
        cycles = [row.cycle for row in own]
        assert cycles == sorted(set(cycles))  # one instruction a cycle at most
    text = {row.text: row for row in rows if row.core == "PE0"}
    assert text["lp.setup x0, t5, 0x%x" % (text["lw t0, 0(t2)"].pc + 12)].writes == ()
    assert dict(text["addi t5, zero, 0x64"].writes) == {"t5": 100}
    seven = [row for row in rows if row.text.startswith("div t1, t0, t3")]
    loaded = next(row for row in rows if row.core == seven[0].core and row.cycle > 0
                  and row.text == "add t1, t0, t0" and row.cycle < seven[0].cycle
                  and row.pc == seven[0].pc - 4)  # fmt: skip
    t0 = dict(loaded.writes)["t1"] // 2 % 2**32
    assert t0 >= 0 and all(dict(row.writes).keys() == {"t1"} for row in seven)


def test_a_traced_run_takes_the_same_cycles_whatever_its_window(chip: Gap8, elf: Path) -> None:
    everything = chip.trace()
    span = Functions.from_elf(elf).span("alone")
    assert span is not None
    first = next(i for i, row in enumerate(everything) if row.pc == span[0])
    other = Gap8()
    other.load_elf(elf)
    for window, expected in (
        (TraceWindow(50), everything[:50]),
        (TraceWindow(70, from_address=span[0]), everything[first : first + 70]),
        (TraceWindow(9, inside=span), [r for r in everything if span[0] <= r.pc < span[1]][:9]),
        (TraceWindow(60, from_cycle=3000), [r for r in everything if r.cycle >= 3000][:60]),
    ):
        other.start_trace(window)
        assert other.run(0.1) is Stop.EXITED
        assert other.counters() == chip.counters()
        assert other.trace() == expected


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x7A131073, "csrw pcmr, t1"), (0x7A0023F3, "csrr t2, pcer"),
        (0x78333073, "csrc pccr3, t1"), (0x7B61D373, "csrrwi t1, lpcount1, 3"),
        (0x014A5073, "csrwi uhartid, 0x14"), (0x300022F3, "csrr t0, mstatus"),
    ],
)  # fmt: skip
def test_control_registers_have_the_cores_own_names(word: int, text: str) -> None:
    assert xpulp_text(word, 0) == text


def test_an_endless_program_ends_at_its_limit(tmp_path: Path) -> None:
    source = "fc_main:\n1: addi t0, t0, 1\n    j 1b\npe_main:\n    nop\n"
    elf = assemble(tmp_path, translate(source))
    report = run_elf(elf, "gap8", lambda _: None, Limits(cycles=5000))
    assert report.stop is Stop.BUDGET and report.status == 0
    assert 5000 <= report.counters["fc_clock_cycles"] <= 5003
    assert "after 5,000 cycles (--max-cycles)" in report.lines()[0]
    assert report.positions[0].startswith("FC running at 0x1c01")
