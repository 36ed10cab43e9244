"""The flash's ITCM port of the virtual STM32F7: wait states, prefetch, the ART accelerator.

Straight code of 32-byte lines runs from there; what it waits is worked out by hand. At 7 wait
states the array takes 8 cycles a line, and the first word is there after waiting for 7.
"""

from __future__ import annotations

import struct

import pytest

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.socs.stm32f7 import Stm32F746

AXI, PORT, ACR = 0x08000000, 0x00200000, 0x40023C00
PRFTEN, ARTEN, ARTRST = 1 << 8, 1 << 9, 1 << 11
WAIT_STATES, LINE, CODE_LINES = 7, 32, 128
BORDERS = 4  # the emulator cuts straight code into blocks; no pair is over a border that waits
ADDS, NOP = 0x3301, 0xBF00  # adds r3, #1
ADD_W = struct.pack("<2H", 0xF103, 0x0301)  # add.w r3, r3, #1
SKIP_3 = struct.pack("<H", 0xE000 | (4 * LINE - 4) // 2)  # b four lines on
LOADS = struct.pack("<6H", 0xF850, 0x1B04, 0x3A01, 0xD1FB, NOP, NOP)  # words from r0 on, r2 of them


class Port:
    """A chip whose flash holds ``code``, and NOPs behind it."""

    def __init__(self, code: bytes, acr: int, data_cache: str = "average") -> None:
        self.chip = Stm32F746(data_cache=data_cache)
        code += struct.pack("<H", NOP) * (CODE_LINES * LINE - len(code) >> 1)
        self.chip.debugger.write_flash(AXI, code)
        self.control(acr)

    def control(self, acr: int) -> None:
        self.chip.debugger.write_memory(ACR, struct.pack("<I", acr))

    def run(self, start: int, end: int) -> tuple[int, int]:
        """Cycles and lines waited for from address ``start`` to the instruction at ``end``."""
        debugger = self.chip.debugger
        debugger.set_breakpoint(end)
        debugger.write_register(0, PC_NUMBER, start)
        before = self.chip.counters()
        assert self.chip.run(1.0) is Stop.BREAK, self.chip.fault
        debugger.clear_breakpoint(end)
        after = self.chip.counters()
        return tuple(after[name] - before[name] for name in ("cycles", "art_misses"))  # type: ignore[return-value]

    def lines(self, first: int, count: int) -> tuple[int, int]:
        """The same for whole lines, the last halfword left out."""
        start = PORT + first * LINE
        return self.run(start, start + count * LINE - 2)


def adds(lines: int) -> bytes:
    return struct.pack("<H", ADDS) * (lines * LINE // 2)


@pytest.mark.parametrize("data_cache", ["average", "lines"])
@pytest.mark.parametrize("acr", [0, ARTEN])
def test_every_new_line_waits_for_the_wait_states(acr: int, data_cache: str) -> None:
    free = Port(adds(40), acr, data_cache).lines(0, 40)[0]
    for wait_states in (1, WAIT_STATES):
        cycles, misses = Port(adds(40), acr | wait_states, data_cache).lines(0, 40)
        assert (cycles - free, misses) == (pytest.approx(40 * wait_states, abs=BORDERS), 40)


def test_a_loop_within_a_line_waits_once() -> None:
    code = struct.pack("<4H", 0x2464, 0x3C01, 0xD1FD, NOP)  # movs r4, #100; subs r4, #1; bne back
    assert Port(code, WAIT_STATES).run(PORT, PORT + 6)[1] == 1


def test_the_accelerator_keeps_64_lines() -> None:
    port = Port(adds(65), ARTEN | WAIT_STATES)
    cold, misses = port.lines(0, 64)
    warm, again = port.lines(0, 64)
    assert (misses, again) == (64, 0)
    assert cold - warm == pytest.approx(64 * WAIT_STATES, abs=BORDERS)
    port.lines(0, 65)
    assert port.lines(0, 65)[1] == 65, "in turn, each drives the next one out"


def test_the_line_used_least_recently_goes_first() -> None:
    port = Port(adds(96), ARTEN | WAIT_STATES)
    for first in (0, 32, 0, 64):  # the last one drives out the second
        port.lines(first, 32)
    assert port.lines(0, 32)[1] == 0
    assert port.lines(32, 32)[1] == 32


def test_lines_are_forgotten_by_artrst_while_the_accelerator_is_off() -> None:
    port = Port(adds(32), ARTEN | WAIT_STATES)
    port.lines(0, 32)
    port.control(ARTEN | ARTRST | WAIT_STATES)
    assert port.lines(0, 32)[1] == 0 and any("ARTRST" in text for text in port.chip.warnings)
    for acr in (0, ARTRST, 0, ARTEN):
        port.control(acr | WAIT_STATES)
    assert port.lines(0, 32)[1] == 32


def test_prefetch_is_in_time_for_short_instructions() -> None:
    """Sixteen in a line, two a cycle: as long as the array takes for the next line."""
    free = Port(adds(40), 0).lines(0, 40)[0]
    port = Port(adds(40), PRFTEN | WAIT_STATES)
    cycles, misses = port.lines(0, 40)
    assert (cycles - free, misses) == (WAIT_STATES, 1)


def test_prefetch_is_late_for_long_instructions() -> None:
    """Eight in a line take four cycles, and the array eight: every line but the first waits four.
    What was waited for is kept."""
    code = ADD_W * (40 * LINE // 4)
    free = Port(code, 0).run(PORT, PORT + 40 * LINE - 4)[0]
    port = Port(code, PRFTEN | ARTEN | WAIT_STATES)
    cold, misses = port.run(PORT, PORT + 40 * LINE - 4)
    assert cold - free == pytest.approx(WAIT_STATES + 39 * 4, abs=1) and misses == 40
    assert port.run(PORT, PORT + 40 * LINE - 4) == (free, 0)


def test_a_jump_waits_for_the_line_that_was_read_ahead() -> None:
    """The branch is there at 7 and takes 1; the next line is read from 8 to 16, then the target."""
    cycles = {}
    for acr in (0, WAIT_STATES, PRFTEN | WAIT_STATES):
        cycles[acr] = Port(SKIP_3, acr).run(PORT, PORT + 4 * LINE + 2)[0]
    assert cycles[WAIT_STATES] - cycles[0] == 2 * WAIT_STATES
    assert cycles[PRFTEN | WAIT_STATES] - cycles[WAIT_STATES] == 16 - 8


def test_neither_changes_the_axi_port() -> None:
    runs = {Port(adds(40), acr | WAIT_STATES).run(AXI, AXI + 40 * LINE - 2)
            for acr in (0, PRFTEN, ARTEN, PRFTEN | ARTEN)}  # fmt: skip
    assert len(runs) == 1 and runs.pop()[1] == 0


def data(port: Port, start: int) -> tuple[int, int]:
    """Cycles and lines waited for by a loop in ITCM RAM over 128 words of 16 lines."""
    debugger = port.chip.debugger
    debugger.write_memory(0, LOADS)
    for number, value in ((0, start), (2, 128)):
        debugger.write_register(0, number, value)
    return port.run(0, len(LOADS) - 2)


def test_data_come_through_the_port_too() -> None:
    """Followed with the data cache; the array is long free when the next line is asked for."""
    port = Port(b"", WAIT_STATES, "lines")
    free = data(port, 0x20000000)[0]
    for _ in range(2):  # without the accelerator nothing but the line in use is kept
        cycles, misses = data(port, PORT)
        assert (cycles - free, misses) == (pytest.approx(16 * WAIT_STATES, abs=1), 16)
    port.control(ARTEN | WAIT_STATES)
    assert data(port, PORT)[1] == 16 and data(port, PORT)[1] == 0
