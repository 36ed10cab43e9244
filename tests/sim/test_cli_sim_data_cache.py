"""``hil sim run --data-cache``: the mode reaches the chip and the report; GAP8 has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import assemble
from test_stm32f7 import elf as elf  # the fixture
from typer.testing import CliRunner

from hil.cli import app
from hil.core.errors import SimulationError


def sim_run(elf: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["sim", "run", str(elf), "--max-ms", "1", *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.mark.parametrize("board", ["stm32f746", "stm32f767"])
def test_the_report_names_the_mode(elf: Path, board: str) -> None:
    lines = sim_run(elf, "--board", board, "--data-cache", "lines")
    assert "data cache by lines" in lines and "dcache_misses: " in lines
    for mode in ([], ["--data-cache", "average"]):
        told = sim_run(elf, "--board", board, *mode)
        assert "data cache by average" in told and "dcache_misses: " not in told


def test_wrong_modes_are_refused(elf: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="there are average, lines"):
        sim_run(elf, "--board", "stm32f746", "--data-cache", "line")
    gap8 = assemble(tmp_path, "fc_main:\n nop\npe_main:\n nop\n")
    with pytest.raises(SimulationError, match="virtual gap8 has no data cache"):
        sim_run(gap8, "--board", "gap8", "--data-cache", "lines")
