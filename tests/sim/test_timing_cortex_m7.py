"""The timing rules of a Cortex-M7 against its cycle counter: see m7_rules.py.

The loops run on the virtual STM32F746 or behind ``--gdb-target``, from ITCM, on data in DTCM, so
that memory never waits. ``-s`` prints the whole table, a failure the rows that differ.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from m7_rules import FEW, MANY, RULES, source
from targets import Programs, Target, words, write_words

INCLUDE = Path(__file__).parent / "firmware" / "m7_program.inc"
ITCM = 0x400  # behind a vector table
DATA, RESULTS = 0x4000, 0x6000  # behind the start of RAM: DTCM
EXACT = 0.03  # cycles a turn, without --gdb-cycles-within


@pytest.fixture(scope="module")
def measured(stm32_timed_target: Target, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Cycles a turn of each rule's loop."""
    target, folder = stm32_timed_target, tmp_path_factory.mktemp("rules")
    path = folder / "rules.S"
    path.write_text(source(INCLUDE))
    programs = Programs(path, "cortex-m7", target, folder, ITCM)
    data, results = target.ram.start + DATA, target.ram.start + RESULTS
    registers = {"r6": results, "r8": data, "sp": data}
    programs.run("rules", lambda: write_words(target, data, *[data] * 16), **registers)
    counts = words(target, results, 2 * len(RULES))
    return [
        (many - few) / (MANY - FEW) for few, many in zip(counts[::2], counts[1::2], strict=True)
    ]


def test_cycles_a_turn(measured: list[float], request: pytest.FixtureRequest) -> None:
    within = request.config.getoption("--gdb-cycles-within")
    rows, wrong = [], []
    for rule, cycles in zip(RULES, measured, strict=True):
        row = f"{rule.number:<4} {rule.cycles:>6g} {cycles:>7.2f}  {rule.body[:80]}"
        rows.append(row)
        if abs(cycles - rule.cycles) > (EXACT if within is None else within * rule.cycles):
            wrong.append(row)
    head = "rule by hand measured  loop"
    print("", head, *rows, sep="\n")
    assert not wrong, "\n".join(["cycles a turn:", head, *wrong])
