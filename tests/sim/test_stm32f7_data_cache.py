"""The data cache of the virtual STM32F7, followed by lines: misses, write-backs, cycles.

Programs of a few instructions lie in ITCM; the cache's behaviour is compared with counts worked by
hand and with a second, plain model here.
"""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from second_cache import SecondCache

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.chips import make_chip
from hil.sim.cores.cortex_m7 import costs
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.cores.cortex_m7.layout import Floats
from hil.sim.socs.stm32f7 import Stm32F746, Stm32F767, power
from hil.sim.socs.stm32f7.soc import Stm32F7

CCR, CACR, DCCISW = 0xE000ED14, 0xE000EF9C, 0xE000EF74
CACHES_ON, FORCEWT = 1 << 16 | 1 << 17, 1 << 2
FLASH, DTCM, KB = 0x08000000, 0x20000000, 1024
CHIPS = {
    "stm32f746": (Stm32F746, 4 * KB, 0x20010000),
    "stm32f767": (Stm32F767, 16 * KB, 0x20020000),
}
# ldr r1, [r0], #4 or str; subs r2, #1; bne back; nop; and the breakpoint's place
LOADS = struct.pack("<6H", 0xF850, 0x1B04, 0x3A01, 0xD1FB, 0xBF00, 0xBF00)
STORES = struct.pack("<6H", 0xF840, 0x1B04, 0x3A01, 0xD1FB, 0xBF00, 0xBF00)
# A list of (address, is store): ldr r3, [r0], #4; ldr r4, [r0], #4; cbz r4: load, else store.
LISTED = struct.pack(
    "<12H",
    *(0xF850, 0x3B04, 0xF850, 0x4B04),  # ldr r3, [r0], #4; ldr r4, [r0], #4
    *(0xB10C, 0x601C, 0xE000, 0x6819),  # cbz r4, +2; str r4, [r3]; b +1; ldr r1, [r3]
    *(0x3A01, 0xD1F5, 0xBF00, 0xBF00),  # subs r2, #1; bne back
)


def word(value: int) -> bytes:
    return struct.pack("<I", value)


def chip_of(kind: type[Stm32F7], data_cache: str = "lines", on: bool = True) -> Stm32F7:
    chip = kind(data_cache=data_cache)
    if on:
        chip.debugger.write_memory(CCR, word(0x40200 | CACHES_ON))
    return chip


def run(chip: Stm32F7, code: bytes, start: int, count: int) -> tuple[int, int, int]:
    """Cycles, misses and write-backs of the code on ``count`` words from ``start``."""
    debugger = chip.debugger
    debugger.write_memory(0, code)
    debugger.set_breakpoint(len(code) - 2)
    for number, value in ((0, start), (2, count), (PC_NUMBER, 0)):
        debugger.write_register(0, number, value)
    before = chip.counters()
    assert chip.run(1.0) is Stop.BREAK, chip.fault
    after = chip.counters()
    names = ("cycles", "dcache_misses", "dcache_write_backs")
    return tuple(after.get(name, 0) - before.get(name, 0) for name in names)  # type: ignore[return-value]


@pytest.mark.parametrize("name", CHIPS)
def test_streamed_flash_costs_a_miss_a_line(name: str) -> None:
    """At reset clock (no wait states) a line is the way over the bus; the loop is the same."""
    kind, size, _ = CHIPS[name]
    chip = chip_of(kind)
    in_dtcm, none, _ = run(chip, LOADS, DTCM, 2 * size // 4)
    from_flash, misses, _ = run(chip, LOADS, FLASH, 2 * size // 4)
    assert (none, misses) == (0, 2 * size // 32)
    assert from_flash - in_dtcm == pytest.approx(misses * costs.LINE_MISS_BRIDGE_CYCLES, abs=8)
    assert run(chip, LOADS, FLASH, 2 * size // 4)[1] == misses, "twice its size: nothing is left"
    run(chip, LOADS, FLASH, size // 4)
    assert run(chip, LOADS, FLASH, size // 4)[1] == 0, "what fits stays"


@pytest.mark.parametrize("name", CHIPS)
def test_modified_lines_go_back_unless_written_through(name: str) -> None:
    kind, size, sram = CHIPS[name]
    chip = chip_of(kind)
    assert run(chip, STORES, sram, size // 4)[1:] == (size // 32, 0)
    assert run(chip, LOADS, FLASH, size // 4)[1:] == (size // 32, size // 32)
    run(chip, STORES, sram, 8 * 4)
    before = chip.counters()["dcache_write_backs"]
    for entry in range(size // 32):  # clean and invalidate every set of every way
        chip.debugger.write_memory(DCCISW, word(entry % 4 << 30 | entry // 4 << 5))
    assert chip.counters()["dcache_write_backs"] - before == 4
    chip.debugger.write_memory(CACR, word(FORCEWT))
    assert run(chip, STORES, sram, size // 4)[1:] == (0, 0), "no line is fetched for a store"
    assert run(chip, LOADS, FLASH, size // 4)[1:] == (size // 32, 0)


def test_unaligned_stores_are_free_until_the_buffer_is_full() -> None:
    """R25: five are buffered, each leaves after 4 cycles."""
    chip = chip_of(Stm32F746, on=False)

    def cycles(start: int, count: int) -> int:
        run(chip, LOADS, DTCM, 100)  # meanwhile the buffer empties
        return run(chip, STORES, start, count)[0]

    cycles(DTCM, 5)
    assert cycles(DTCM + 1, 5) == cycles(DTCM, 5)
    assert cycles(DTCM, 150) - cycles(DTCM, 100) < 50 * 4
    assert cycles(DTCM + 1, 150) - cycles(DTCM + 1, 100) == pytest.approx(50 * 4, abs=1)


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ((0xE8A0, 0x0006), 1),  # stm r0!, {r1, r2}
        ((0xE8A0, 0x001E), 1),  # four words
        ((0xE8A0, 0x000E), 0),  # three: two cycles in any case
        ((0xE8E0, 0x1302), 1),  # strd r1, r3, [r0], #8
        ((0xE8B0, 0x000A), 0),  # ldm r0!, {r1, r3}
        ((0xF840, 0x1B08), 0),  # str r1, [r0], #8
    ],
)
def test_a_store_of_an_even_number_of_words_wants_a_double_word(
    code: tuple[int, int], extra: int
) -> None:
    """R10: one cycle more at an address that is no multiple of eight; the mean does not know it."""
    loop = struct.pack("<6H", *code, 0x3D01, 0xD1FB, 0xBF00, 0xBF00)  # subs r5, #1; bne back
    words = {0x0006: 2, 0x001E: 4, 0x000E: 3}.get(code[1], 2)
    for data_cache, each in (("lines", extra), ("average", 0)):
        chip = chip_of(Stm32F746, data_cache, on=False)
        chip.debugger.write_register(0, 5, 100)
        run(chip, loop, DTCM, 0)
        took = []
        for start in (DTCM, DTCM + 4):
            chip.debugger.write_register(0, 5, 100)
            took.append(run(chip, loop, start, 0)[0])
        # with an odd number every second one is at a double word, whatever the start
        assert took[1] - took[0] == (0 if words % 2 else 100 * each)


def test_random_accesses_agree_with_a_second_model() -> None:
    draw = random.Random(3)
    table, accesses = DTCM + 0x1000, []
    for _ in range(3000):
        base = draw.choice((0x20010000, 0x2001A000, 0x2004C000))
        accesses.append((base + 4 * draw.randrange(900), draw.getrandbits(1)))
    second = SecondCache(4 * KB // 4 // 32)
    for address, stores in accesses:
        second.access(address, bool(stores))
    misses, backs = second.misses, second.write_backs
    chip = chip_of(Stm32F746)
    chip.debugger.write_memory(table, np.array(accesses, "<u4").tobytes())
    assert run(chip, LISTED, table, len(accesses))[1:] == (misses, backs)
    assert misses > 1000 and backs > 500


def test_without_the_cache_every_load_waits() -> None:
    chip = chip_of(Stm32F746, on=False)
    dtcm = run(chip, LOADS, DTCM, 1024)[0]
    sram = run(chip, LOADS, 0x20010000, 1024)[0]
    assert sram - dtcm == pytest.approx(1024 * costs.RAM_LOAD_CYCLES, abs=8)
    assert chip.counters()["dcache_misses"] == 0


def test_the_mode_is_part_of_the_timing_model() -> None:
    models = {mode: Stm32F746(data_cache=mode).timing_model for mode in ("average", "lines")}
    assert models["average"] != models["lines"]
    assert "average" in models["average"] and "lines" in models["lines"]
    assert "dcache_misses" not in chip_of(Stm32F746, "average").counters()
    with pytest.raises(SimulationError, match="average, lines"):
        make_chip("stm32f746", "none")
    with pytest.raises(SimulationError, match="gap8 has no data cache"):
        make_chip("gap8", "lines")


def event_energy_j(chip: Stm32F7, code: bytes, start: int, count: int) -> float:
    """Joules of ``run`` without the base energy of its cycles."""
    core = chip._core

    def booked_j() -> float:
        core.book_base_energy()
        return float(chip.energy_drain().energy_j.sum() + core.floats[Floats.PENDING_J])

    booked_j()
    begins_j, begins = float(core.floats[Floats.PENDING_J]), core.cycles
    run(chip, code, start, count)
    return booked_j() - begins_j - float(core.floats[Floats.BASE_J]) * (core.cycles - begins)


def test_energy_of_lines_and_accesses() -> None:
    """Each beyond that of the same instructions on DTCM; 1024 words are 128 lines."""
    sram, words, lines = 0x20010000, 1024, 128
    chip = chip_of(Stm32F746)
    loads_j = event_energy_j(chip, LOADS, DTCM, words)
    stores_j = event_energy_j(chip, STORES, DTCM, words)

    def beyond_j(code: bytes, start: int) -> float:
        plain_j = loads_j if code is LOADS else stores_j
        return event_energy_j(chip, code, start, words) - plain_j

    assert beyond_j(STORES, sram) == pytest.approx(lines * power.SRAM_LINE_J)
    both_j = power.SRAM_LINE_J + power.FLASH_LINE_J  # a modified line back, one from flash
    assert beyond_j(LOADS, FLASH) == pytest.approx(lines * both_j)
    assert beyond_j(LOADS, sram) == pytest.approx(lines * power.SRAM_LINE_J)
    assert beyond_j(LOADS, sram) == pytest.approx(0, abs=1e-15)
    chip.debugger.write_memory(CACR, word(FORCEWT))
    assert beyond_j(STORES, sram) == pytest.approx(words * power.SRAM_ACCESS_J)
    chip.debugger.write_memory(CCR, word(0x40200))
    assert beyond_j(LOADS, sram) == pytest.approx(words * power.SRAM_ACCESS_J)
    assert beyond_j(LOADS, FLASH) == pytest.approx(lines * power.FLASH_LINE_J)
