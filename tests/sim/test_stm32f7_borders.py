"""What passes the borders of blocks on the running STM32F746, beyond the loops of m7_rules.py.

Work cut by branches, in ITCM and DTCM, where memory never waits.
"""

from __future__ import annotations

import struct

import pytest

from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.debug import PC_NUMBER
from hil.sim.cores.cortex_m7.layout import FIRST_EDGES
from hil.sim.socs.stm32f7 import Stm32F746

DTCM, SRAM1 = 0x20000000, 0x20010000
LOAD, STORE_BYTE = (0x6800,), (0xF800, 0x1B01)  # ldr r0, [r0]; strb r1, [r0], #1
TO_NEXT, STOP = (0xE7FF,), (0xBF00, 0xBF00)


def cycles_of(code: list[int], place: int = 0) -> float:
    """From a fresh chip up to the last halfword, with the code at ``place``."""
    chip = Stm32F746(data_cache="lines")  # else loads wait for memory on average
    debugger = chip.debugger
    debugger.write_memory(place, struct.pack(f"<{len(code)}H", *code))
    debugger.write_memory(DTCM, struct.pack("<I", DTCM))
    debugger.set_breakpoint(place + 2 * len(code) - 2)
    for number, value in ((0, DTCM), (PC_NUMBER, place)):
        debugger.write_register(0, number, value)
    before = chip.counters()["cycles"]
    assert chip.run(1.0) is Stop.BREAK, chip.fault
    return chip.counters()["cycles"] - before


def test_stores_are_free_until_the_buffer_is_full() -> None:
    """R24: n bytes take 2.4 n cycles of the write port, the last five wait beside the program."""
    few, many = ([*STORE_BYTE, *TO_NEXT] * n + [*STOP] for n in (8, 20))
    assert cycles_of(few) == 8 + 1
    assert cycles_of(many) == pytest.approx((20 - 5) * 2.4 + 1, abs=1)


def test_the_table_of_edges_grows() -> None:
    """It is made anew when half full; each edge is found again with its own carry."""
    pieces = FIRST_EDGES // 2 + 100
    code = [*(LOAD + TO_NEXT) * pieces, *STOP]
    assert cycles_of(code) == 3 * pieces - 2 + 1


def test_code_in_either_tcm_never_waits() -> None:
    """SRAM1 behind DTCM is asked for every line."""
    code = [*LOAD * 200, *STOP]
    in_itcm, in_dtcm, in_sram = (cycles_of(code, place) for place in (0, DTCM + 0x1000, SRAM1))
    assert in_itcm == in_dtcm == 3 * 200 - 2 < in_sram
