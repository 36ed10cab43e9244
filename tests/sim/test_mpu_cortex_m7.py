"""The memory protection unit of a Cortex-M7, by small programs (tests/sim/firmware/m7_devices.S).

They run on the virtual STM32F746 or behind ``--gdb-target``, silicon or another simulator. Expected
values are the architecture's (Armv7-M ARM B3.5); caches are off.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from targets import ChipTarget, Programs, Target, words, write_words
from test_stm32f7_data_cache import LOADS, STORES, chip_of, run

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.socs.stm32f7 import Stm32F746

SOURCE = Path(__file__).parent / "firmware" / "m7_devices.S"
LOAD, STORE, BRANCH, PUSH, READ_BACK, CONDITIONAL = range(6)
ENABLE, HFNMIENA, PRIVDEFENA = 1, 2, 4
ON = ENABLE | PRIVDEFENA
NO_ACCESS, PRIVILEGED, FULL, READ_ONLY = 0, 1, 3, 6
XN = 1 << 28
NORMAL = 1 << 19 | 3 << 16  # write-back, write allocate: as the default map has it for RAM
IACCVIOL, DACCVIOL, MSTKERR, MMARVALID = 1 << 0, 1 << 1, 1 << 4, 1 << 7
HARD_FAULT, MEM_MANAGE, FORCED, UNALIGNED = 3, 4, 1 << 30, 1 << 24
FINE = 0  # no exception
IT_STATE = 0x0600FC00  # of xPSR


def region(number: int, base: int, size: int, access: int, more: int = NORMAL) -> tuple[int, int]:
    """RBAR with VALID, RASR; ``size`` is a power of two."""
    return base | 1 << 4 | number, access << 24 | more | (size.bit_length() - 2) << 1 | 1


@pytest.fixture(scope="module")
def programs(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(SOURCE, "cortex-m7", m7_target, tmp_path_factory.mktemp("mpu"))


class Unit:
    """Runs ``protect`` with a table of regions. ``place``: 32 KB that no program uses."""

    def __init__(self, target: Target, programs: Programs) -> None:
        self._target = target
        self._programs = programs
        self.place = target.ram.start + 0x8000

    def run(
        self,
        regions: list[tuple[int, int]],
        address: int,
        kind: int,
        control: int = ON,
        handler: bool = True,
        again: int = 0,
    ) -> int:
        """The exception number behind the access (0: none)."""
        table = self.place - 0x1000
        numbers = [len(regions), *(number for pair in regions for number in pair), control]
        registers = {"r6": address, "r7": kind, "r8": int(handler), "r9": table, "r10": again}
        self._programs.run(
            "protect", lambda: write_words(self._target, table, *numbers), **registers
        )
        # an exception's handler runs with its number in xPSR
        return self._target.register("xpsr") & 0x1FF

    def told(self) -> tuple[int, ...]:
        """CFSR, HFSR, stacked pc, MMFAR, as the handler found them."""
        return self._programs.results("r0", "r1", "r3", "r5")

    def symbol(self, name: str) -> int:
        return self._programs.symbols[name]


@pytest.fixture(scope="module")
def unit(m7_target: Target, programs: Programs) -> Unit:
    return Unit(m7_target, programs)


def test_read_only(unit: Unit, m7_target: Target) -> None:
    regions = [region(0, unit.place, 0x1000, READ_ONLY)]
    assert unit.run(regions, unit.place + 0x10, LOAD) == FINE
    assert unit.run(regions, unit.place + 0x10, STORE) == MEM_MANAGE
    assert unit.told() == (
        DACCVIOL | MMARVALID, 0, unit.symbol("protect_store"), unit.place + 0x10
    )  # fmt: skip
    assert unit.run(regions, unit.place + 0x1000, STORE) == FINE, "behind its end"
    assert words(m7_target, unit.place + 0x1000, 1) == (0x77,)


@pytest.fixture(scope="module")
def timed_unit(m7_timed_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    """Where the virtual chip knows addresses before an instruction runs."""
    programs = Programs(SOURCE, "cortex-m7", m7_timed_target, tmp_path_factory.mktemp("timed"))
    return Unit(m7_timed_target, programs)


@pytest.mark.parametrize("kind", [LOAD, STORE])
@pytest.mark.parametrize(
    ("attributes", "is_device"),
    [
        (0, True), (1 << 16, True), (2 << 19, True), (2 << 19 | 1 << 18, True),
        (1 << 19, False), (NORMAL, False), (NORMAL | 1 << 18, False), (3 << 16, False),
    ],
)  # fmt: skip
def test_device_memory_wants_aligned_addresses(
    timed_unit: Unit, kind: int, attributes: int, is_device: bool
) -> None:
    """Armv7-M A3.2.1: UsageFault UNALIGNED in Device and Strongly-ordered memory, by the region."""
    regions = [region(0, timed_unit.place, 0x1000, FULL, attributes)]
    assert timed_unit.run(regions, timed_unit.place + 0x10, kind) == FINE
    assert timed_unit.run(regions, timed_unit.place + 0x1001, kind) == FINE, "behind its end"
    told = timed_unit.run(regions, timed_unit.place + 0x11, kind)
    assert told == (HARD_FAULT if is_device else FINE)
    assert not is_device or timed_unit.told()[:2] == (UNALIGNED, FORCED)


def test_no_handler_of_its_own_makes_a_hard_fault(unit: Unit) -> None:
    regions = [region(0, unit.place, 0x1000, NO_ACCESS)]
    assert unit.run(regions, unit.place, LOAD, handler=False) == HARD_FAULT
    assert unit.told() == (
        DACCVIOL | MMARVALID, FORCED, unit.symbol("protect_load"), unit.place
    )  # fmt: skip


@pytest.mark.parametrize("kind", [LOAD, STORE])
def test_a_guard_of_32_bytes(unit: Unit, kind: int) -> None:
    regions = [region(3, unit.place + 0x440, 32, NO_ACCESS)]
    for offset, exception in ((0x43C, FINE), (0x440, MEM_MANAGE), (0x45C, MEM_MANAGE),
                              (0x460, FINE), (0x1440, FINE)):  # fmt: skip
        assert unit.run(regions, unit.place + offset, kind) == exception, hex(offset)
        if exception:
            assert unit.told()[3] == unit.place + offset


def test_a_second_load_is_forbidden_too(unit: Unit) -> None:
    """From MemManage's handler, which is not free: a HardFault in the middle of it."""
    regions = [region(0, unit.place, 0x1000, NO_ACCESS)]
    assert unit.run(regions, unit.place, LOAD, again=unit.place + 4) == HARD_FAULT
    assert unit.told()[1:4:2] == (FORCED, unit.place + 4)


def test_a_conditional_load_beside_and_in_a_guard(unit: Unit, m7_target: Target) -> None:
    """The frame holds the IT state of the first of two (B1.4.2): ITSTATE 0b00000100."""
    regions = [region(3, unit.place + 0x440, 32, NO_ACCESS)]
    assert unit.run(regions, unit.place + 0x43C, CONDITIONAL) == FINE
    assert m7_target.register("r12") == 1
    assert unit.run(regions, unit.place + 0x440, CONDITIONAL) == MEM_MANAGE
    stacked = words(m7_target, m7_target.register("sp") + 28, 1)[0]
    assert stacked & IT_STATE == 1 << 10


def test_a_push_into_a_guard_leaves_the_stack_pointer(unit: Unit) -> None:
    """The lowest of four words lies in the guard; the frame of the exception then does, too."""
    regions = [region(3, unit.place + 0x440, 32, NO_ACCESS)]
    assert unit.run(regions, unit.place + 0x46C, PUSH) == MEM_MANAGE
    cfsr, hfsr, *_ = unit.told()
    assert (cfsr & (DACCVIOL | MSTKERR), hfsr) == (DACCVIOL | MSTKERR, 0)


def test_execute_never(unit: Unit) -> None:
    regions = [region(1, unit.place, 0x1000, FULL, NORMAL | XN)]
    assert unit.run(regions, unit.place + 0x100, LOAD) == FINE
    assert unit.run(regions, unit.place + 0x100, BRANCH) == MEM_MANAGE
    cfsr, hfsr, pc, _ = unit.told()
    assert (cfsr, hfsr, pc) == (IACCVIOL, 0, unit.place + 0x100)


def test_the_highest_number_wins(unit: Unit) -> None:
    wide, narrow = unit.place, unit.place + 0x800
    regions = [region(2, wide, 0x4000, NO_ACCESS), region(5, narrow, 0x100, PRIVILEGED)]
    assert unit.run(regions, narrow + 4, STORE) == FINE
    assert unit.run(regions, narrow + 0x100, STORE) == MEM_MANAGE
    regions = [region(5, wide, 0x4000, NO_ACCESS), region(2, narrow, 0x100, PRIVILEGED)]
    assert unit.run(regions, narrow + 4, STORE) == MEM_MANAGE


def test_subregions_that_are_off(unit: Unit) -> None:
    """Eight of 0x200 bytes; the third and the last are off."""
    regions = [region(0, unit.place, 0x1000, NO_ACCESS, NORMAL | 0b10000100 << 8)]
    found = [unit.run(regions, unit.place + 0x200 * n + 0x1FC, LOAD) for n in range(8)]
    expected = [MEM_MANAGE] * 8
    expected[2] = expected[7] = FINE
    assert found == expected


def test_without_the_background_what_no_region_holds_is_forbidden(
    unit: Unit, m7_target: Target
) -> None:
    """The programs' own 32 KB are allowed, and the stack at the end of RAM."""
    ram = m7_target.ram
    regions = [region(0, ram.start, 0x8000, FULL), region(1, ram.end - 0x1000, 0x1000, FULL)]
    assert unit.run(regions, unit.place, LOAD, ENABLE) == MEM_MANAGE
    assert unit.told()[::3] == (DACCVIOL | MMARVALID, unit.place)
    assert unit.run(regions, unit.place - 4, LOAD, ENABLE) == FINE
    assert unit.run(regions, 0xE000ED00, LOAD, ENABLE) == FINE, "the private bus is exempt"
    assert unit.run(regions, unit.place, LOAD, 0) == FINE, "off"


def test_hard_fault_handlers_are_free(unit: Unit, m7_target: Target) -> None:
    regions = [region(0, unit.place, 0x1000, NO_ACCESS)]
    found = unit.run(regions, unit.place, LOAD, handler=False, again=unit.place)
    assert found == HARD_FAULT
    assert m7_target.register("r8") == words(m7_target, unit.place, 1)[0]


def test_hard_fault_handlers_are_not_free_when_the_switch_says_so(
    unit: Unit, m7_target: Target
) -> None:
    """A lock-up, in which QEMU ends itself and silicon waits for a reset."""
    if not isinstance(m7_target, ChipTarget):
        pytest.skip("a lock-up: for the virtual chip only")
    regions = [region(0, unit.place, 0x1000, NO_ACCESS)]
    with pytest.raises(AssertionError, match=r"lock-up: .*MPU region 0 forbids"):
        unit.run(regions, unit.place, LOAD, ON | HFNMIENA, handler=False, again=unit.place)


def test_registers(unit: Unit, m7_target: Target) -> None:
    regions = [region(7, 0x20000000, 0x100, FULL), region(4, 0x60000000, 1 << 20, READ_ONLY)]
    unit.run(regions, 0, READ_BACK, 0)
    number, base, attributes, kind = (m7_target.register(name) for name in ("r0", "r1", "r2", "r3"))
    assert (number, base) == (4, 0x60000004) and attributes == regions[1][1]
    assert kind == 8 << 8, "eight regions"


# The virtual chip only: what its caches do not follow


CCR, CACHES = 0xE000ED14, 1 << 16 | 1 << 17
WRITE_THROUGH, NONCACHEABLE = 2 << 16, 1 << 19
SHARED = NORMAL | 1 << 18
SRAM, FLASH = 0x20010000, 0x08000000


def stopped(regions: list[tuple[int, int]], caches: int, data_cache: str = "average") -> str:
    """What ends a run of 0.1 ms of `b .` in ITCM with these regions and caches; or nothing."""
    chip = Stm32F746(data_cache=data_cache)
    debug = chip.debugger
    debug.write_memory(0, struct.pack("<H", 0xE7FE))
    for base, attributes in regions:
        debug.write_memory(0xE000ED9C, struct.pack("<2I", base, attributes))
    debug.write_memory(CCR, struct.pack("<I", caches | 0x200))
    debug.write_memory(0xE000ED94, struct.pack("<I", ON))
    debug.write_register(0, PC_NUMBER, 0)
    if chip.run(1e-4) is Stop.BUDGET:
        return ""
    return str(chip.fault)


@pytest.mark.parametrize(
    ("regions", "caches", "says"),
    [
        ([region(2, SRAM, 0x8000, FULL, NONCACHEABLE)], CACHES, "region 2 makes RAM non-cacheable"),
        ([region(2, SRAM, 0x8000, FULL, WRITE_THROUGH)], CACHES, "makes RAM write-through"),
        ([region(2, SRAM, 0x8000, FULL, SHARED)], CACHES, "makes RAM non-cacheable"),
        ([region(0, FLASH, 1 << 20, READ_ONLY, NONCACHEABLE)], 1 << 16, "makes flash non-cach"),
        ([region(2, SRAM, 0x8000, FULL, NONCACHEABLE)], 0, ""),
        ([region(2, SRAM, 0x8000, FULL)], CACHES, ""),
        ([region(2, SRAM, 0x8000, NO_ACCESS, 0)], CACHES, ""),
        ([region(2, 0x20000000, 0x10000, FULL, NONCACHEABLE)], CACHES, ""),  # DTCM is not cached
        ([region(0, FLASH, 1 << 20, READ_ONLY, WRITE_THROUGH)], CACHES, ""),
        ([region(0, 0, 1 << 32, NO_ACCESS, 0x87 << 8 | XN)], CACHES, ""),  # as CubeMX sets it
    ],
)
def test_attributes_that_an_average_does_not_follow_are_refused(
    regions: list[tuple[int, int]], caches: int, says: str
) -> None:
    told = stopped(regions, caches)
    assert says in told and bool(told) is bool(says)
    assert stopped(regions, caches, "lines") == ""


def test_code_without_the_instruction_cache_that_is_on_is_refused() -> None:
    regions = [region(0, FLASH, 1 << 20, READ_ONLY, NONCACHEABLE)]
    for data_cache in ("average", "lines"):
        assert "makes flash non-cacheable" in stopped(regions, 1 << 17, data_cache)


def followed(policy: int, code: bytes, start: int = SRAM, count: int = 1024) -> tuple[int, int]:
    """Misses and write-backs of ``code`` on words in 8 KB of SRAM under ``policy``, then of loads
    of 4 KB of flash, which drive everything out."""
    chip = chip_of(Stm32F746)
    for address, value in zip((0xE000ED9C, 0xE000EDA0), region(2, SRAM, 0x2000, FULL, policy),
                              strict=True):  # fmt: skip
        chip.debugger.write_memory(address, struct.pack("<I", value))
    chip.debugger.write_memory(0xE000ED94, struct.pack("<I", ON))
    _, misses, _ = run(chip, code, start, count)
    return misses, run(chip, LOADS, FLASH, 1024)[2]


WRITE_BACK = 3 << 16


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        # 1024 words are 128 lines, all of the cache
        (NORMAL, LOADS, (128, 0)),
        (NORMAL, STORES, (128, 128)),
        (NONCACHEABLE, LOADS, (0, 0)),
        (NONCACHEABLE, STORES, (0, 0)),
        (SHARED, STORES, (0, 0)),
        (WRITE_THROUGH, LOADS, (128, 0)),
        (WRITE_THROUGH, STORES, (0, 0)),
        (WRITE_BACK, LOADS, (128, 0)),
        (WRITE_BACK, STORES, (0, 0)),  # no line is fetched for a store
    ],
)
def test_the_followed_data_cache_has_the_regions_attributes(
    policy: int, code: bytes, expected: tuple[int, int]
) -> None:
    assert followed(policy, code) == expected


def test_attributes_hold_inside_the_region_only() -> None:
    """Half of the words lie behind its 8 KB."""
    assert followed(NONCACHEABLE, LOADS, SRAM + 0x2000 - 512 * 4) == (64, 0)


def test_a_line_that_is_there_is_written_back_without_allocation_for_stores() -> None:
    """ldr r1, [r0]; str r1, [r0], #4; subs r2, #1; bne back: each line is loaded, then modified."""
    code = struct.pack("<7H", 0x6801, 0xF840, 0x1B04, 0x3A01, 0xD1FA, 0xBF00, 0xBF00)
    assert followed(WRITE_BACK, code) == (128, 128)


def test_external_memory_that_the_unit_forbids_is_a_fault_not_a_gap() -> None:
    chip = Stm32F746()
    debug = chip.debugger
    debug.write_memory(0, struct.pack("<2H", 0x6808, 0xE7FE))  # ldr r0, [r1]
    base, attributes = region(0, 0x60000000, 1 << 28, NO_ACCESS, XN)
    debug.write_memory(0xE000ED9C, struct.pack("<2I", base, attributes))
    debug.write_memory(0xE000ED94, struct.pack("<I", ON))
    debug.write_register(0, 1, 0x60000010)
    debug.write_register(0, PC_NUMBER, 0)
    chip.run(1e-4)
    assert chip.taken_fault is not None and "DACCVIOL" in str(chip.taken_fault)
    assert "MPU region 0 forbids" in str(chip.taken_fault)
    assert any("MMFAR 0x60000010" in text for text in chip.fault_scenes()[0].status)
