"""HyperRAM behind uDMA by programs on the GAP8's control core: bytes, and cycles against the vendor
simulator; on any target, see docs/instruction-tests.md.

The flash, which only a virtual chip lets a test fill, is in test_gap8_chip.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cycle_table import CycleTable, Measured, cycle_table
from gap8_program import HYPERBUS_ON, Gap8Programs
from targets import Target

BURST = 512  # bytes that silicon moves at once (hyperram-v1.c of the SDK)
# bytes, FC cycles on the vendor simulator (gap8_registers facts; its program is not recorded)
READS = {1024: 1127, 4096: 4200, 16384: 16485, 65536: 65642}
SHORT_READS = {64: 176, 256: 369}
POLL_CYCLES = 14  # a turn of the loop, by which a short read may be off

SOURCE = f"""
# To the RAM's address a1 from a0, and from there to a2; a3 bytes.
there_and_back:
    {HYPERBUS_ON}
    mv s4, a1
    mv s5, a3
    addi s3, s2, 0x10
    jal move
    mv a0, a2
    mv a1, s4
    mv a3, s5
    mv s3, s2
    jal move
    j stop

# {BURST} bytes at a time by the channel at s3: a3 bytes at a0 here, a1 there.
move:
    li t3, {BURST}
    li t4, 0x10
1:  sw a1, 0x20(s2)
    sw a0, 0(s3)
    sw t3, 4(s3)
    sw t4, 8(s3)
2:  lw t5, 8(s3)
    andi t5, t5, 0x30
    bnez t5, 2b
    add a0, a0, t3
    add a1, a1, t3
    sub a3, a3, t3
    bgtz a3, 1b
    ret

# One read of a1 bytes to a0, whatever the length: its cycles in a0.
timed:
    {HYPERBUS_ON}
    csrwi 0x7A0, 1
    csrwi 0x7A1, 1
    li t4, 0x10
    sw zero, 0x20(s2)
    sw a0, 0(s2)
    sw a1, 4(s2)
    csrr a1, 0x780
    sw t4, 8(s2)
3:  lw t5, 8(s2)
    andi t5, t5, 0x30
    bnez t5, 3b
    csrr a0, 0x780
    sub a0, a0, a1
    j stop
"""


@pytest.fixture(scope="module")
def table(
    gap8_target: Target, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CycleTable]:
    yield from cycle_table(SOURCE, gap8_target, request.config, tmp_path_factory)


def test_bytes_go_to_the_ram_and_come_back(gap8_target: Target, table: CycleTable) -> None:
    at = gap8_target.ram.start + 0x8000
    data = np.random.default_rng(1).bytes(8192)
    registers = {"a0": at, "a1": 0x7FE000, "a2": at + len(data), "a3": len(data)}
    table.programs.run("there_and_back", lambda: gap8_target.write(at, data), **registers)
    got = gap8_target.read(at + len(data), len(data))
    if not table.is_virtual and len(set(got)) == 1:
        pytest.skip(f"no HyperRAM answers: each byte read is 0x{got[0]:02x}")
    assert got == data


def _reads(sizes: dict[int, int], programs: Gap8Programs) -> Measured:
    rows: Measured = []
    for size, vendor in sizes.items():
        programs.run("timed", a0=programs.ram.end - 0x10000, a1=size)
        rows.append((f"hyperram_read_{size}", programs.results("a0")[0], vendor))
    return rows


def test_long_reads(table: CycleTable) -> None:
    """On silicon they are longer than the chip's driver makes a burst."""
    table.compare(lambda programs: _reads(READS, programs))


def test_short_reads(table: CycleTable) -> None:
    table.compare(lambda programs: _reads(SHORT_READS, programs), cycles=POLL_CYCLES)
