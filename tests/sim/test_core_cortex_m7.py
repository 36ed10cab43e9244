"""Returns, status registers, events and exclusives of a Cortex-M7 (firmware/m7_core.S).

They run on the virtual STM32F746 or behind ``--gdb-target``. Expected values are the architecture's
(Armv7-M ARM A3.4, B1.5.8, B1.5.18 and B3.2.15).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import ChipTarget, Programs, Target

from hil.sim.chip import Stop

SOURCE = Path(__file__).parent / "firmware" / "m7_core.S"
HARD_FAULT, PEND_SV, SYS_TICK = 3, 14, 15
FORCED, UNDEFINSTR, INVPC = 1 << 30, 1 << 16, 1 << 18


@pytest.fixture(scope="module")
def programs(m7_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(SOURCE, "cortex-m7", m7_target, tmp_path_factory.mktemp("core"))


@pytest.mark.parametrize(
    ("program", "wrong"), [("return_to_thread", SYS_TICK), ("return_to_handler", PEND_SV)]
)
def test_the_stacked_exception_must_fit_the_return(
    programs: Programs, program: str, wrong: int
) -> None:
    """One in a frame for thread mode, none in a frame for a handler: UsageFault, here escalated."""
    programs.run(program, r6=0, r9=0)
    programs.run(program, r6=wrong, r9=0)
    assert programs.results("r0", "r1", "r4") == (INVPC, FORCED, HARD_FAULT)


def test_narrow_writes_clear_their_own_status_bits(programs: Programs) -> None:
    """MMFSR and BFSR leave UFSR's bits in CFSR alone."""
    programs.run("narrow")
    assert programs.results("r0", "r1", "r2", "r3") == (*[UNDEFINSTR] * 3, 0)


@pytest.mark.parametrize("program", ["event", "wide_event", "event_of_a_call"])
def test_wfe_goes_on_behind_an_event(programs: Programs, program: str) -> None:
    """SEV, and the entry into and return from a handler, set the event register."""
    programs.run(program)
    assert programs.results("pc") == (programs.symbols["stop"],)


@pytest.mark.parametrize(
    ("program", "found"),
    [("kept", (0, 0x33)), ("lost_to_clrex", (1, 0)), ("lost_to_call", (1, 0))],
)
def test_an_exception_ends_an_exclusive_access(
    m7_target: Target, programs: Programs, program: str, found: tuple[int, int]
) -> None:
    """As CLREX does (A3.4.4)."""
    programs.run(program, r6=m7_target.ram.end - 0x100)
    assert programs.results("r0", "r1") == found


def test_wfe_takes_the_event(m7_target: Target, programs: Programs) -> None:
    """The second one sleeps. (QEMU's and OpenOCD's programs would hang.)"""
    if not isinstance(m7_target, ChipTarget):
        pytest.skip("only a virtual chip can be left asleep")
    with pytest.raises(AssertionError, match=Stop.WAITING.name):
        programs.run("no_event")
