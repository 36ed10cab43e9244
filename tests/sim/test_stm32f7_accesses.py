"""What the followed data cache takes for a program's accesses, against the emulator's own.

The emulator's memory hooks report every access of random programs (all addressing modes, loads and
stores in IT blocks). Compared with them: the addresses that the instruction hook works out, in
order; and the misses and write-backs that it counts, by a plain second model of the cache fed with
the reported accesses.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from second_cache import SecondCache
from thumb_harness import CPACR, FPU_ON, IN_FLASH, Harness, build_harness, with_program
from thumb_programs import program
from unicorn import UC_HOOK_CODE, UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE, UC_MEM_WRITE, Uc
from unicorn.arm_const import UC_ARM_REG_XPSR

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7 import live_registers
from hil.sim.cores.cortex_m7.addresses import transfer
from hil.sim.cores.cortex_m7.debug import CORE_REGISTERS, PC_NUMBER
from hil.sim.cores.cortex_m7.decode import decode_block
from hil.sim.cores.cortex_m7.layout import Ints
from hil.sim.socs.stm32f7 import Stm32F746

FLASH, FLASH_BYTES, ITCM, ITCM_BYTES = 0x08000000, 1 << 20, 0, 0x4000
CCR, CACHES_ON = 0xE000ED14, 0x40200 | 1 << 16 | 1 << 17
IT_STATE = 0x0600FC00  # of XPSR
STREX = (0xE840, 0xE8C0)  # and STREXB, STREXH
WORD = 0xFFFFFFFF
SP_NUMBER = 13
SETS = 32  # of the F746's 4 KB in four ways
# What the random programs have not; r8 points into RAM, r9 is 3.
MORE = {
    "ldr r1, [pc, #4]": (0x4901,),
    "ldr.w r1, [pc, #-4]": (0xF85F, 0x1004),
    "ldrb.w r1, [pc, #8]": (0xF89F, 0x1008),
    "ldrsh.w r1, [pc, #8]": (0xF9BF, 0x1008),
    "ldrd r1, r2, [pc, #8]": (0xE9DF, 0x1202),
    "ldr.w r1, [r8, r9, lsl #3]": (0xF858, 0x1039),
    "ldmdb r8, {r0-r3}": (0xE918, 0x000F),
    "stmdb r8!, {r1, r2}": (0xE928, 0x0006),
    "push.w {r4-r8, lr}": (0xE92D, 0x41F0),
    "pop.w {r4-r8, r12}": (0xE8BD, 0x11F0),
    "push {r0, lr}": (0xB501,),
    "pop {r0, r4}": (0xBC11,),
    "ldrexb r1, [r8]": (0xE8D8, 0x1F4F),
    "strexb r2, r1, [r8]": (0xE8C8, 0x1F42),
    "ldrexh r1, [r8]": (0xE8D8, 0x1F5F),
    "strexh r2, r1, [r8]": (0xE8C8, 0x1F52),
    "pld [r8, #4]": (0xF898, 0xF004),
    "vldr s1, [pc, #4]": (0xEDDF, 0x0A01),
    "vldr s0, [r8, #-8]": (0xED18, 0x0A02),
    "vldr d1, [r8, #16]": (0xED98, 0x1B04),
    "vstr d1, [r8, #-8]": (0xED08, 0x1B02),
    "vpush {d0-d3}": (0xED2D, 0x0B08),
    "vpop {d0-d3}": (0xECBD, 0x0B08),
    "vstmia r8!, {d0, d1}": (0xECA8, 0x0B04),
    "vldmdb r8!, {s0-s2}": (0xED38, 0x0A03),
    "vldmia r8, {s0, s1}": (0xEC98, 0x0A02),
}


class Access(NamedTuple):
    address: int
    size: int
    stores: bool


class Recorder:
    """The accesses of a chip's program as reported, and as worked out from its registers."""

    def __init__(self, chip: Stm32F746) -> None:
        self.reported: list[Access] = []
        self.worked_out: list[Access] = []
        self._is_strex = False
        uc: Uc = chip._core._uc
        uc.hook_add(UC_HOOK_CODE, self._on_instruction)
        kinds = UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE
        for base, size in (
            (ITCM, ITCM_BYTES),
            (IN_FLASH.ram, IN_FLASH.ram_bytes),
            (FLASH, FLASH_BYTES),
        ):
            uc.hook_add(kinds, self._on_access, begin=base, end=base + size - 1)

    def _on_instruction(self, uc: Uc, address: int, size: int, _data: object) -> None:
        code = bytes(uc.mem_read(address, size))
        (op,) = decode_block(code, address)
        self._is_strex = size == 4 and int.from_bytes(code[:2], "little") & 0xFFF0 in STREX
        found = transfer(code, op)
        if found is None:
            return
        at = found.offset
        at += 0 if found.base is None else uc.reg_read(CORE_REGISTERS[found.base])
        if found.index is not None:
            at += uc.reg_read(CORE_REGISTERS[found.index]) << found.shift
        for n in range(found.count):
            self.worked_out.append(Access(at + n * found.size & WORD, found.size, found.stores))

    def _on_access(
        self, uc: Uc, kind: int, address: int, size: int, _value: int, _data: object
    ) -> None:
        # Unicorn 2.1.4 leaves the hooked instruction's IT state to what comes behind the block.
        xpsr = uc.reg_read(UC_ARM_REG_XPSR)
        if xpsr & IT_STATE:
            uc.reg_write(UC_ARM_REG_XPSR, xpsr & ~IT_STATE)
        # A store-exclusive loads as well there, to compare.
        if not self._is_strex or kind == UC_MEM_WRITE:
            self.reported.append(Access(address, size, kind == UC_MEM_WRITE))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return build_harness(IN_FLASH, tmp_path_factory.mktemp("thumb"))


def prepared(harness: Harness, elf: Path, data_cache: str) -> Stm32F746:
    """A chip with ``elf`` in its flash, to be run up to a breakpoint at its end."""
    chip = Stm32F746(data_cache=data_cache)
    chip.load_elf(elf)
    chip.debugger.write_register(0, SP_NUMBER, IN_FLASH.stack)
    chip.debugger.write_register(0, PC_NUMBER, harness.place("start"))
    chip.debugger.set_breakpoint(harness.place("finish"))
    for register, value in ((CPACR, FPU_ON), (CCR, CACHES_ON)):
        chip.debugger.write_memory(register, struct.pack("<I", value))
    return chip


def finish(chip: Stm32F746, slice_s: float = 0.1) -> dict[str, int]:
    while (stop := chip.run(slice_s)) is Stop.BUDGET:
        pass
    assert stop is Stop.BREAK, f"{chip.fault}, {chip.taken_fault}"
    return chip.counters()


def compare(harness: Harness, elf: Path) -> int:
    """The accesses of one program, all compared; how many they are."""
    chip = prepared(harness, elf, "average")
    recorder = Recorder(chip)
    finish(chip)
    pairs = zip(recorder.reported, recorder.worked_out, strict=False)
    wrong = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    assert wrong is None, (wrong, recorder.reported[wrong], recorder.worked_out[wrong])
    assert len(recorder.reported) == len(recorder.worked_out)
    second = SecondCache(SETS)
    for access in recorder.reported:
        second.access(access.address, access.stores)
    counters = finish(prepared(harness, elf, "lines"))
    assert (counters["dcache_misses"], counters["dcache_write_backs"]) == (
        second.misses,
        second.write_backs,
    )
    assert second.misses > 100 and second.write_backs > 100
    return len(recorder.reported)


@pytest.mark.parametrize("floats", [False, True])
def test_accesses_are_those_that_the_emulator_makes(
    harness: Harness, tmp_path: Path, floats: bool
) -> None:
    image = program(IN_FLASH, 7, 60, 10, 4, floats).image
    assert compare(harness, with_program(harness, image, tmp_path / "program.elf")) > 5_000


def test_further_addressing_modes() -> None:
    code = struct.pack(f"<{len(halves := [h for c in MORE.values() for h in c])}H", *halves)
    chip = Stm32F746()
    chip.debugger.write_memory(CPACR, struct.pack("<I", FPU_ON))
    chip.debugger.write_memory(ITCM, code + b"\x00\xbf" * 8)
    chip.debugger.set_breakpoint(ITCM + len(code))
    for register, value in ((8, IN_FLASH.middle), (9, 3), (13, IN_FLASH.stack), (PC_NUMBER, ITCM)):
        chip.debugger.write_register(0, register, value)
    recorder = Recorder(chip)
    assert chip.run(1e-3) is Stop.BREAK, chip.fault
    assert recorder.reported == recorder.worked_out
    assert len(recorder.reported) == 52


@pytest.mark.slow
@pytest.mark.parametrize("floats", [False, True])
def test_a_million_accesses(harness: Harness, tmp_path: Path, floats: bool) -> None:
    seed = compared = 0
    while compared < 500_000:
        image = program(IN_FLASH, 1000 + seed, 100, 12, 11, floats).image
        compared += compare(harness, with_program(harness, image, tmp_path / "program.elf"))
        seed += 1


def test_slicing_a_run_changes_nothing(harness: Harness, tmp_path: Path) -> None:
    elf = with_program(
        harness, program(IN_FLASH, 9, 60, 10, 4, False).image, tmp_path / "program.elf"
    )
    assert finish(prepared(harness, elf, "lines"), 3e-5) == finish(prepared(harness, elf, "lines"))


def test_registers_that_are_asked_for_say_the_same(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the emulator keeps its registers is found on Linux; elsewhere each is asked for."""
    elf = with_program(
        harness, program(IN_FLASH, 8, 60, 10, 4, True).image, tmp_path / "program.elf"
    )
    chip = prepared(harness, elf, "lines")
    assert bool(chip._core.ints[Ints.REGISTERS]) == (sys.platform == "linux")
    found = finish(chip)
    monkeypatch.setattr(live_registers, "address_of", lambda uc: 0)
    asked = prepared(harness, elf, "lines")
    assert asked._core.ints[Ints.REGISTERS] == 0
    assert finish(asked) == found
