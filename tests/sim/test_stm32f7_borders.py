"""What passes the borders of blocks on the running STM32F746: latencies, pairs, stores.

Loops of one block and the same work cut by branches, in ITCM and DTCM, where memory never waits.
Cycles a turn are worked by hand from the pairing rules (R1..R24, see ``costs``).
"""

from __future__ import annotations

import struct

import pytest

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.cores.cortex_m7.layout import FIRST_EDGES
from hil.sim.socs.stm32f7 import Stm32F746

DTCM = 0x20000000
LOAD, STORE_BYTE = (0x6800,), (0xF800, 0x1B01)  # ldr r0, [r0]; strb r1, [r0], #1
ADD, TO_NEXT, COUNT, STOP = (0x3301,), (0xE7FF,), (0x3A01,), (0xBF00, 0xBF00)  # adds r3; subs r2
SKIP_AT_ZERO = (0xB102,)  # cbz r2, over the next halfword


def loop(*body: tuple[int, ...]) -> list[int]:
    """The body, then ``subs r2, #1`` and a branch back while that is not zero."""
    inner = [half for part in (*body, COUNT) for half in part]
    return [*inner, 0xD100 | (-(len(inner) + 2) & 0xFF), *STOP]


def cycles_of(code: list[int], turns: int) -> float:
    """From a fresh chip up to the last halfword."""
    chip = Stm32F746(data_cache="lines")  # else loads wait for memory on average
    debugger = chip.debugger
    debugger.write_memory(0, struct.pack(f"<{len(code)}H", *code))
    debugger.write_memory(DTCM, struct.pack("<I", DTCM))
    debugger.set_breakpoint(2 * len(code) - 2)
    for number, value in ((0, DTCM), (2, turns), (PC_NUMBER, 0)):
        debugger.write_register(0, number, value)
    before = chip.counters()["cycles"]
    assert chip.run(1.0) is Stop.BREAK, chip.fault
    return chip.counters()["cycles"] - before


def cycles_a_turn(code: list[int]) -> float:
    """In the steady state."""
    return (cycles_of(code, 200) - cycles_of(code, 100)) / 100


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (3, loop(LOAD)),  # R16: an address waits three cycles for the load before it
        (6, loop(LOAD, TO_NEXT, LOAD)),
        (9, loop(LOAD, TO_NEXT, LOAD, TO_NEXT, LOAD)),
        (2.4, loop(STORE_BYTE)),  # R24
        (4.8, loop(STORE_BYTE, TO_NEXT, STORE_BYTE)),
        (3, loop(ADD, TO_NEXT, ADD, TO_NEXT)),  # R11: a taken branch ends its cycle
        (2, loop(SKIP_AT_ZERO, ADD)),  # R11: one that is not taken pairs with what follows
    ],
)
def test_cycles_of_a_loop(expected: float, code: list[int]) -> None:
    assert cycles_a_turn(code) == pytest.approx(expected, abs=0.02)


def test_stores_are_free_until_the_buffer_is_full() -> None:
    """R24: n bytes take 2.4 n cycles of the write port, the last five wait beside the program."""
    few, many = ([*STORE_BYTE, *TO_NEXT] * n + [*STOP] for n in (8, 20))
    assert cycles_of(few, 0) == 8 + 1
    assert cycles_of(many, 0) == pytest.approx((20 - 5) * 2.4 + 1, abs=1)


def test_the_table_of_edges_grows() -> None:
    """It is made anew when half full; each edge is found again with its own carry."""
    pieces = FIRST_EDGES // 2 + 100
    code = [*(LOAD + TO_NEXT) * pieces, *STOP]
    assert cycles_of(code, 0) == 3 * pieces - 2 + 1
