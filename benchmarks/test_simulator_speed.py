"""Speed of the virtual chips on this computer: guest instructions a second, and the cold start.

Reported in ``extra_info`` (``guest_mips``, over this process's CPU time, which a busy computer does
not stretch), never asserted: the tests of the suite assert what a computer cannot change. Loops
are like the kernels': loads, multiply-accumulates, a branch, with ``lines`` real cache misses.
Compiled code is warm, except in the cold start, which is a new process with the compiled code on
disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import guest_loops
from hil.sim.chip import Chip
from hil.sim.chips import make_chip

ROUNDS = 3
COLD_STARTS = 2
COLD_START = "from hil.sim.chips import make_chip; make_chip({board!r})"


def _mips(
    benchmark: BenchmarkFixture,
    chip: Chip,
    instructions: Callable[[dict[str, int]], int],
    slice_s: float,
) -> None:
    """Run ``chip`` in slices of its own time and report how fast it went."""
    chip.run(slice_s / 10)  # blocks decoded, code translated
    before, began_s = instructions(chip.counters()), time.process_time()
    benchmark.pedantic(chip.run, args=(slice_s,), rounds=ROUNDS, iterations=1)
    spent_s = time.process_time() - began_s
    done = instructions(chip.counters()) - before
    assert done > 0 and chip.fault is None
    benchmark.extra_info["guest_mips"] = round(done / spent_s / 1e6, 1)
    benchmark.extra_info["instructions"] = done


@pytest.mark.benchmark(group="simulator speed")
@pytest.mark.parametrize("data_cache", ["average", "lines"])
def test_stm32f746_block_costs(
    benchmark: BenchmarkFixture, tmp_path: Path, data_cache: str
) -> None:
    """Target: 150 guest MIPS with ``average``; 40 with ``lines``, every data access modelled while
    weights are streamed from flash and results to SRAM."""
    chip = make_chip("stm32f746", data_cache)
    followed = data_cache == "lines"
    chip.load_elf(guest_loops.cortex_m7(tmp_path, streams=followed))
    benchmark.extra_info["timing_model"] = getattr(chip, "timing_model", "")
    _mips(benchmark, chip, lambda counters: counters["instructions"], 0.4)
    if followed:
        counters = chip.counters()
        misses, backs = counters["dcache_misses"], counters["dcache_write_backs"]
        assert misses > counters["instructions"] / 50 and backs > misses / 10
        benchmark.extra_info["misses_percent_of_instructions"] = round(
            100 * misses / counters["instructions"], 1
        )


@pytest.mark.benchmark(group="simulator speed")
def test_gap8_eight_cores_with_bank_conflicts(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Target: 100 guest MIPS, all cores together."""
    chip = make_chip("gap8")
    chip.load_elf(guest_loops.gap8(tmp_path))

    def instructions(counters: dict[str, int]) -> int:
        return sum(counters[f"pe{n}_instructions"] for n in range(8))

    _mips(benchmark, chip, instructions, 0.02)
    assert sum(chip.counters()[f"pe{n}_tcdm_conflicts"] for n in range(8)) > 0


@pytest.mark.benchmark(group="simulator cold start")
@pytest.mark.parametrize("chip_name", ["gap8", "stm32f746"])
def test_cold_start(benchmark: BenchmarkFixture, chip_name: str) -> None:
    """Target: 5 s from nothing to a chip that can run, code compiled before; ``cpu_s`` of it is
    work, the rest waits for a processor."""
    make_chip(chip_name)
    command = [sys.executable, "-c", COLD_START.format(board=chip_name)]
    began = os.times()
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True}, rounds=COLD_STARTS)
    ended = os.times()
    spent_s = ended.children_user - began.children_user
    spent_s += ended.children_system - began.children_system
    benchmark.extra_info["cpu_s"] = round(spent_s / COLD_STARTS, 2)
