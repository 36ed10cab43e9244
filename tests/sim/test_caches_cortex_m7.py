"""The caches of an STM32F7's core, by small programs (tests/sim/firmware/m7_caches.S).

They run on the virtual STM32F746, which follows the data cache by lines here, or behind
``--gdb-target``. Code and data lie in SRAM1, behind the caches; what these do is seen by DWT.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from m7_registers import CCSIDR, CSSELR
from stm32_devices import device_of
from targets import Programs, Target, words, write_words

SOURCE = Path(__file__).parent / "firmware" / "m7_caches.S"
DC, IC = 1 << 16, 1 << 17  # of CCR
CODE, BUFFER = 0x40000, 0x30000  # behind the start of RAM: SRAM1 of both chips
WORDS = 512  # half of the smaller cache
SPREAD = 32  # cycles, of one pass from another under the same conditions


@pytest.fixture(scope="module")
def programs(stm32_timed_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    target, folder = stm32_timed_target, tmp_path_factory.mktemp("caches")
    return Programs(SOURCE, "cortex-m7", target, folder, target.ram.start + CODE)


def passes(programs: Programs, target: Target, program: str, caches: int) -> tuple[int, ...]:
    """Cycles of the first pass, of the second, and of one behind an invalidation."""
    programs.run(program, r5=WORDS, r6=target.ram.start + BUFFER, r8=caches)
    return programs.results("r9", "r10", "r11")


@pytest.mark.parametrize(("select", "ways"), [(0, 4), (1, 2)], ids=["data", "instructions"])
def test_geometry(stm32_timed_target: Target, select: int, ways: int) -> None:
    stm32_timed_target.reset()
    write_words(stm32_timed_target, CSSELR, select)
    size = words(stm32_timed_target, CCSIDR, 1)[0]
    sets, line_bytes = (size >> 13 & 0x7FFF) + 1, 16 << (size & 7)
    assert ((size >> 3 & 0x3FF) + 1, line_bytes) == (ways, 32)
    assert sets * ways * line_bytes == device_of(stm32_timed_target).cache_bytes


@pytest.mark.parametrize(("program", "cache"), [("data", DC), ("code", IC)])
def test_a_second_pass_is_faster_until_the_lines_are_invalidated(
    programs: Programs, stm32_timed_target: Target, program: str, cache: int
) -> None:
    cold, warm, again = passes(programs, stm32_timed_target, program, DC | IC)
    lines = 64 if program == "data" else 32
    assert cold - warm >= 2 * lines, "two cycles a line, at the very least"
    assert again == pytest.approx(cold, abs=SPREAD)
    off = passes(programs, stm32_timed_target, program, (DC | IC) & ~cache)
    assert min(off) > warm and max(off) - min(off) <= SPREAD


def test_cleaned_lines_are_in_memory(programs: Programs, stm32_timed_target: Target) -> None:
    """As many as the cache has, and once more: read with the cache off."""
    count = 2 * device_of(stm32_timed_target).cache_bytes // 4
    programs.run("written", r5=count, r6=stm32_timed_target.ram.start + BUFFER, r8=DC | IC)
    assert programs.results("r9") == (0,)
    written = words(stm32_timed_target, stm32_timed_target.ram.start + BUFFER, count)
    assert written[-1] == stm32_timed_target.ram.start + BUFFER + 4 * (count - 1)
