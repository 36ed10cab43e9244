"""Faults, exception frames, priorities and interrupts of a Cortex-M7, by small programs.

The programs are those of tests/sim/firmware/m7_exceptions.S. They run on the virtual STM32F746 or
behind ``--gdb-target``; interrupts are pended by software, so that no device is needed. Expected
values are the architecture's (Armv7-M ARM B1.5, B3.2 and B3.4), written out by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from m7_registers import (
    ABFSR,
    AIRCR,
    ICER,
    ICPR,
    ICSR,
    IPR,
    ISER,
    ISPR,
    SHPR2,
    SHPR3,
    STIR,
    SYST_CSR,
    SYST_CVR,
    SYST_RVR,
    VECTKEY,
)
from m7_scripts import (
    CALL,
    EXCEPTIONS,
    Scripts,
    Step,
    basepri,
    faultmask,
    leave_by,
    mark,
    primask,
    read,
    sleep_until,
    store,
    wait_until,
)
from stm32_devices import RCC_APB1ENR, TIM2_CNT, TIM2_CR1, TIM2EN
from targets import Target, words, write_words

NOWHERE, DEVICE, VENDOR = 0x1E000000, 0x40004800, 0xE0100000
NMI, SV_CALL, PEND_SV, SYS_TICK, IRQ = 2, 11, 14, 15, 16
HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT = 3, 4, 5, 6
MEM_ON, BUS_ON, USAGE_ON = 1 << 16, 1 << 17, 1 << 18  # of SHCSR
IACCVIOL, IBUSERR, PRECISERR, IMPRECISERR = 1 << 0, 1 << 8, 1 << 9, 1 << 10
BFARVALID = 1 << 15
UNDEFINSTR, INVSTATE, INVPC, NOCP, UNALIGNED = 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 24
FORCED = 1 << 30
MSP_FRAME, PSP_FRAME, MSP_FP_FRAME = 0xFFFFFFF9, 0xFFFFFFFD, 0xFFFFFFE9
ALIGNED, THUMB = 1 << 9, 1 << 24  # of a stacked xPSR


class Told(NamedTuple):
    """What the handler found."""

    ipsr: int
    cfsr: int
    hfsr: int
    mmfar: int
    bfar: int
    pc: int
    xpsr: int
    link: int
    frame: int


class Faults:
    """Runs the programs that fault."""

    def __init__(self, scripts: Scripts) -> None:
        self.programs = scripts.programs
        self._target = scripts.target
        self._record = scripts.data

    def run(self, program: str, enabled: int = 0, **registers: int) -> Told:
        """What the handler told; IPSR 0: there was none.

        ``enabled`` is for SHCSR: which faults have a handler of their own. Behind the fault the
        program goes on at ``stop``, if it does not say where.
        """
        self.programs.run(
            program,
            lambda: write_words(self._target, self._record, 0),
            **{"r5": enabled, "r8": self._record, "r11": 0, **registers},
            r10=self.programs.symbols["stop"],
        )
        return told_at(self._target, self._record)


def told_at(target: Target, address: int) -> Told:
    """The record there."""
    return Told._make(words(target, address, len(Told._fields)))


@pytest.fixture(scope="module")
def scripts(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    return Scripts(m7_target, tmp_path_factory.mktemp("exceptions"))


@pytest.fixture(scope="module")
def faults(scripts: Scripts) -> Faults:
    return Faults(scripts)


@pytest.fixture(scope="module")
def timed_faults(m7_timed_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(Scripts(m7_timed_target, tmp_path_factory.mktemp("timed")))


# Faults and their status


@pytest.mark.parametrize(
    ("program", "at", "cfsr"),
    [
        ("undefined", None, UNDEFINSTR),
        ("float_off", None, NOCP),
        ("branch", 0x20000100, INVSTATE),  # even
        ("branch", DEVICE | 1, IACCVIOL),  # devices never execute
        ("branch", VENDOR | 1, IACCVIOL),
        ("branch", MSP_FRAME, IACCVIOL),  # outside of a handler an address like any other
    ],
)
def test_causes(faults: Faults, program: str, at: int | None, cfsr: int) -> None:
    symbols = faults.programs.symbols
    told = faults.run(program, r6=at or 0)
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, cfsr, FORCED)
    expected = {"undefined": "at_undefined", "float_off": "at_float"}
    assert told.pc == (symbols[expected[program]] if at is None else at & ~1)
    assert told.xpsr & THUMB == (0 if cfsr == INVSTATE else THUMB) and told.link == MSP_FRAME


@pytest.mark.parametrize(
    ("enabled", "program", "exception"),
    [
        (USAGE_ON, "undefined", USAGE_FAULT),
        (USAGE_ON, "float_off", USAGE_FAULT),
        (MEM_ON, "branch", MEM_MANAGE),
        (BUS_ON | MEM_ON, "undefined", HARD_FAULT),
    ],
)
def test_enabled_faults_have_their_own_handler(
    faults: Faults, enabled: int, program: str, exception: int
) -> None:
    told = faults.run(program, enabled, r6=DEVICE | 1)
    assert (told.ipsr, told.hfsr) == (exception, FORCED if exception == HARD_FAULT else 0)


# Bus faults: that nothing answers is a matter of the chip, and QEMU's board answers everywhere


def test_a_load_from_nowhere_is_a_precise_bus_fault(faults: Faults, stm32_target: Target) -> None:
    told = faults.run("load", r6=NOWHERE)
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, PRECISERR | BFARVALID, FORCED)
    assert (told.bfar, told.pc) == (NOWHERE, faults.programs.symbols["at_load"])
    assert (told.link, told.frame) == (MSP_FRAME, stm32_target.ram.end - 32)
    assert faults.programs.results("sp") == (stm32_target.ram.end,)


def test_a_store_to_nowhere_is_reported_late(faults: Faults, stm32_target: Target) -> None:
    """By the store buffer of a Cortex-M7; the architecture lets a core report it at once."""
    told = faults.run("store", r6=NOWHERE)
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, IMPRECISERR, FORCED)
    assert words(stm32_target, ABFSR, 1)[0] & 0x31F == 1 << 3 | 3 << 8  # AXIM, decode error


def test_a_fetch_from_nowhere_is_a_bus_fault(faults: Faults, stm32_target: Target) -> None:
    told = faults.run("branch", r6=NOWHERE | 1)
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, IBUSERR, FORCED)
    assert told.pc == NOWHERE


@pytest.mark.parametrize("program", ["load", "store", "branch"])
def test_an_enabled_bus_fault_has_its_own_handler(
    faults: Faults, stm32_target: Target, program: str
) -> None:
    told = faults.run(program, BUS_ON, r6=NOWHERE | (program == "branch"))
    assert (told.ipsr, told.hfsr) == (BUS_FAULT, 0)
    told = faults.run(program, USAGE_ON | MEM_ON, r6=NOWHERE | (program == "branch"))
    assert (told.ipsr, told.hfsr) == (HARD_FAULT, FORCED)


@pytest.mark.parametrize(
    ("program", "offset", "faults"),
    [
        ("load_multiple", 2, True),
        ("store_multiple", 1, True),
        ("load_double", 2, True),
        ("store_double", 2, True),
        ("load_exclusive", 1, True),
        ("load_float", 2, True),
        ("load_multiple", 4, False),
        ("word_load", 1, False),
        ("half_load", 1, False),
    ],
)
def test_what_wants_an_aligned_address(
    m7_timed_target: Target, timed_faults: Faults, program: str, offset: int, faults: bool
) -> None:
    """A3.2.1: UsageFault UNALIGNED. The virtual chip knows where it follows the data cache."""
    told = timed_faults.run(program, r6=m7_timed_target.ram.start + 0xA000 + offset)
    assert told.ipsr == (HARD_FAULT if faults else 0)
    assert not faults or told.cfsr == UNALIGNED


# Frame and return


def test_registers_and_flags_come_back(faults: Faults) -> None:
    """From a fault amid them."""
    faults.run("kept")
    assert faults.programs.results("r0") == (1 + 2 + 4 + 8,)


@pytest.mark.parametrize("misalign", [0, 4])
def test_process_stack_and_alignment(faults: Faults, m7_target: Target, misalign: int) -> None:
    end = m7_target.ram.start + 0xA000
    top = end - misalign
    told = faults.run("process_stack", r6=top)
    assert (told.link, told.frame) == (PSP_FRAME, end - 32 - 2 * misalign)
    assert told.xpsr & ALIGNED == (ALIGNED if misalign else 0)
    assert faults.programs.results("r4", "r5") == (top, top)


def test_fp_registers_are_kept(faults: Faults, m7_target: Target) -> None:
    """Whether they are stacked at the entry or when the handler writes one (lazily)."""
    told = faults.run("float_kept")
    assert (told.link, told.frame) == (MSP_FP_FRAME, m7_target.ram.end - 104)
    assert faults.programs.results("r0") == (0x40400000,)  # 1.0 + 2.0
    assert words(m7_target, told.frame + 32, 1) == (0x3F800000,)  # s0


# Interrupts

NMIPENDSET, PENDSVSET, PENDSVCLR, RETTOBASE = 1 << 31, 1 << 28, 1 << 27, 1 << 11  # of ICSR


def enabled(*priorities: int) -> list[Step]:
    """Interrupts 0 to 3 at these priorities, the first ones enabled."""
    return [
        store(IPR, int.from_bytes(bytes(priorities).ljust(4, b"\0"), "little")),
        store(ISER, (1 << len(priorities)) - 1),
    ]


def pend(*interrupts: int) -> Step:
    return store(ISPR, sum(1 << number for number in interrupts))


def test_the_lowest_number_of_the_most_urgent_priority_comes_first(scripts: Scripts) -> None:
    trail = scripts.run(
        [*enabled(0x40, 0x40, 0x20), primask(1), pend(0, 1, 2), mark(100), primask(0), mark(101)]
    )
    assert trail == [100, 18, -18, 16, -16, 17, -17, 101]


@pytest.mark.parametrize(
    ("masks", "runs"),
    [
        ([primask(1)], False),
        ([faultmask(1)], False),
        ([basepri(0x40)], False),
        ([basepri(0x80)], True),
        ([basepri(0x40), basepri(0)], True),
    ],
)
def test_masks_hold_interrupts_back(scripts: Scripts, masks: list[Step], runs: bool) -> None:
    """But not an NMI."""
    open_again = [primask(0), faultmask(0), basepri(0)]
    trail = scripts.run(
        [*enabled(0x40), *masks, pend(0), mark(100), store(ICSR, NMIPENDSET), mark(101),
         *open_again]
    )  # fmt: skip
    nmi, interrupt = [NMI, -NMI], [IRQ, -IRQ]
    assert trail == ([*interrupt, 100, *nmi, 101] if runs else [100, *nmi, 101, *interrupt])


def test_a_more_urgent_interrupt_nests_and_another_one_follows(scripts: Scripts) -> None:
    """Interrupt 0 pends one of each; the nested one pends it again, which it takes back."""
    trail = scripts.run(
        [*enabled(0x80, 0x40, 0xC0), pend(0), mark(100)],
        {
            IRQ: [pend(1), mark(101), pend(2), mark(102), store(ICPR, 1)],
            IRQ + 1: [read(ICSR), pend(0), mark(103)],
        },
    )
    state = trail.pop(2)
    assert state & 0x1FF == IRQ + 1 and not state & RETTOBASE
    assert trail == [16, 17, 103, -17, 101, 102, -16, 18, -18, 100]


def test_an_interrupt_pended_in_its_own_handler_runs_again(scripts: Scripts) -> None:
    trail = scripts.run(
        [*enabled(0x80, 0xC0), primask(1), pend(0, 1), primask(0), mark(100)],
        {IRQ + 1: [], IRQ: [read(ICSR)]},
    )
    assert trail[1] & RETTOBASE and trail[1] >> 12 & 0x1FF == IRQ + 1  # VECTPENDING
    again = scripts.run(
        [*enabled(0x80), pend(0), mark(100)], {IRQ: [read(ISPR), store(ICER, 1), pend(0)]}
    )
    assert again == [16, 0, -16, 100], "pended, but no longer enabled"


@pytest.mark.parametrize(("group", "nests"), [(0, True), (5, True), (6, False)])
def test_sub_priorities_do_not_interrupt_each_other(
    scripts: Scripts, group: int, nests: bool
) -> None:
    """PRIGROUP: bits ``group``..0 are sub-priority."""
    trail = scripts.run(
        [store(AIRCR, VECTKEY | group << 8), *enabled(0x80, 0xC0), pend(1)],
        {IRQ + 1: [pend(0), mark(100)]},
    )
    nested, in_turn = [17, 16, -16, 100, -17], [17, 100, -17, 16, -16]
    assert trail == (nested if nests else in_turn)


def test_svc_and_pendsv_run_in_order(scripts: Scripts) -> None:
    """PendSV waits for the handler that pends it, and for PRIMASK."""
    trail = scripts.run(
        [store(SHPR3, 0xC0 << 16), mark(101), CALL, mark(105), primask(1), store(ICSR, PENDSVSET),
         mark(106), primask(0), mark(107), primask(1), store(ICSR, PENDSVSET),
         store(ICSR, PENDSVCLR), primask(0)],
        {SV_CALL: [mark(102), store(ICSR, PENDSVSET), mark(103)], PEND_SV: [mark(104)]},
    )  # fmt: skip
    pended = [14, 104, -14]
    assert trail == [101, 11, 102, 103, -11, *pended, 105, 106, *pended, 107]


def test_a_call_is_made_from_a_less_urgent_handler(scripts: Scripts) -> None:
    main = [store(SHPR2, 0x40 << 24), *enabled(0x80), pend(0)]
    assert scripts.run(main, {IRQ: [CALL]}) == [16, 11, -11, -16]


@pytest.mark.parametrize("masks", [[primask(1)], [basepri(0x40)]])
def test_a_call_that_its_priority_forbids_is_a_hard_fault(
    scripts: Scripts, masks: list[Step]
) -> None:
    assert scripts.run([store(SHPR2, 0x40 << 24), *masks, CALL]) == []
    told = told_at(scripts.target, scripts.trail(0))
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, 0, FORCED)


def test_an_interrupt_is_told_and_taken_back(scripts: Scripts) -> None:
    """STIR pends it, ICPR unpends it; ICSR says which one waits."""
    trail = scripts.run(
        [*enabled(0x40, 0x80), primask(1), store(STIR, 1), read(ICSR), read(ISPR),
         store(ICPR, 2), read(ISPR), primask(0), mark(100)]
    )  # fmt: skip
    assert trail[0] >> 12 & 0x1FF == IRQ + 1 and trail[1:] == [2, 0, 100]


@pytest.mark.parametrize("code", [0xFFFFFFF1, 0xFFFFFFF5])
def test_a_return_that_cannot_be_is_a_usage_fault(scripts: Scripts, code: int) -> None:
    """To another handler, though there is none; by a code that means nothing."""
    assert scripts.run([CALL, mark(100)], {SV_CALL: [leave_by(MSP_FRAME)]}) == [SV_CALL, 100]
    assert scripts.run([CALL], {SV_CALL: [leave_by(code)]}) == [SV_CALL]
    told = told_at(scripts.target, scripts.trail(1))
    assert (told.ipsr, told.cfsr, told.hfsr) == (HARD_FAULT, INVPC, FORCED)


def test_the_state_of_an_it_block_comes_back(scripts: Scripts) -> None:
    scripts.programs.run(
        "called_in_it_block",
        lambda: write_words(scripts.target, scripts.data, *[0] * EXCEPTIONS),
        r5=0, r7=scripts.data, r8=scripts.trail(0),
    )  # fmt: skip
    assert scripts.programs.results("r6", "r8") == (1 + 4, scripts.trail(2))


# SysTick and sleep


def tick(cycles: int) -> list[Step]:
    """SysTick every so many cycles of the core, with its interrupt."""
    return [store(SYST_RVR, cycles - 1), store(SYST_CVR, 0), store(SYST_CSR, 7)]


@pytest.mark.parametrize("waits", [wait_until, sleep_until])
def test_systick_interrupts(scripts: Scripts, waits: Callable[[int], Step]) -> None:
    *ticks, last = scripts.run(
        [*tick(4_000), waits(scripts.trail(20)), store(SYST_CSR, 0), mark(100)]
    )
    assert ticks == [SYS_TICK, -SYS_TICK] * (len(ticks) // 2) and last == 100
    assert len(ticks) >= 20  # more where another simulator's clock goes on beside it


@pytest.mark.parametrize("waits", [wait_until, sleep_until])
def test_systick_keeps_time(
    scripts: Scripts, stm32_target: Target, waits: Callable[[int], Step]
) -> None:
    """TIM2 counts ten of its periods, at the same 16 MHz; it goes on while the core sleeps."""
    trail = scripts.run(
        [store(RCC_APB1ENR, TIM2EN), store(TIM2_CR1, 1), *tick(4_000), waits(scripts.trail(2)),
         read(TIM2_CNT), waits(scripts.trail(2 + 1 + 20)), read(TIM2_CNT), store(SYST_CSR, 0)]
    )  # fmt: skip
    assert trail[23] - trail[2] == pytest.approx(10 * 4_000, abs=60)


def test_wfi_ends_by_an_interrupt_that_primask_holds_back(scripts: Scripts) -> None:
    trail = scripts.run(
        [primask(1), *tick(4_000), sleep_until(scripts.trail(0)), store(SYST_CSR, 0), mark(100),
         primask(0), mark(101)]
    )  # fmt: skip
    assert trail == [100, SYS_TICK, -SYS_TICK, 101]


def test_wfi_does_not_end_by_one_that_basepri_holds_back(
    scripts: Scripts, stm32_target: Target
) -> None:
    """B1.5.19: its priority does not suffice. (QEMU's WFI ends, as a hint may at any time.)"""
    trail = scripts.run(
        [store(SHPR3, 0x20 << 24), *enabled(0x80), basepri(0x40), pend(0), *tick(4_000),
         sleep_until(scripts.trail(0)), mark(100), basepri(0), mark(101)],
        {SYS_TICK: [store(SYST_CSR, 0)]},
    )  # fmt: skip
    assert trail == [SYS_TICK, -SYS_TICK, 100, IRQ, -IRQ, 101]
