"""The uDMA UART of the GAP8 by programs on its control core; on any target, see
docs/instruction-tests.md. What passes in which byte time is in test_gap8_chip.py.

Bytes that leave are seen on the virtual chip only. Those that come need a wire from the UART's TX
pad to its RX pad, ``--gdb-uart-loopback``; on the virtual chip the test is the wire.
"""

from __future__ import annotations

import pytest
from gap8_program import Gap8Programs
from gap8_registers import UDMA_CLOCKS, pass_time, read, spinning, write
from targets import ChipTarget, Target

from hil.sim.socs.gap8 import Gap8

BIT_CYCLES = 434  # 115200 baud at 50 MHz
BYTES = bytes(range(0xA0, 0xA0 + 13))

SOURCE = f"""
    .macro uart_on
    li t0, 0x1A102780
    lw t1, 0(t0)
    ori t1, t1, 16
    sw t1, 0(t0)
    li t0, 0x1A104148          # pads 38 and 39: function 0
    lw t1, 0(t0)
    li t2, 0xFFFF0FFF
    and t1, t1, t2
    sw t1, 0(t0)
    li s0, 0x1A102200
    li t1, 0x20
    sw t1, 8(s0)
    sw t1, 0x18(s0)
    li t1, {(BIT_CYCLES - 1) << 16 | 0x306}
    sw t1, 0x24(s0)
    .endm

# Waits until no transfer waits or runs, and then for two byte times: the stop bit.
    .macro await_sent
1:  lw t1, 0x18(s0)
    andi t1, t1, 0x30
    bnez t1, 1b
2:  lw t1, 0x20(s0)
    andi t1, t1, 1
    bnez t1, 2b
    li t1, {20 * BIT_CYCLES // 4}
3:  addi t1, t1, -1
    bnez t1, 3b
    .endm

# Sends a1 bytes at a0 in two transfers, 4 bytes and the rest. CFG (a0, a1, a2): before, with both
# queued, at the end; a3: the SoC events that came, a bit each.
transmit:
    mv a4, a0
    mv a5, a1
    uart_on
    li t3, 0x1A106000
    li t1, -1 ^ (1 << 9)       # event 9: a transfer has been sent
    sw t1, 8(t3)
    li t1, -1
    sw t1, 4(t3)
    li t3, 0x1B200F00
4:  lw t1, 0(t3)
    bltz t1, 4b
    lw a0, 0x18(s0)
    sw a4, 0x10(s0)
    li t1, 4
    sw t1, 0x14(s0)
    li t1, 0x10
    sw t1, 0x18(s0)
    addi a4, a4, 4
    addi a5, a5, -4
    sw a4, 0x10(s0)
    sw a5, 0x14(s0)
    li t1, 0x10
    sw t1, 0x18(s0)
    lw a1, 0x18(s0)
    await_sent
    lw a2, 0x18(s0)
    li a3, 0
5:  lw t1, 0(t3)
    bgez t1, stop
    andi t1, t1, 31
    li t2, 1
    sll t2, t2, t1
    add a3, a3, t2
    j 5b

# Readies one transfer of a1 bytes to a2, sends those at a0, and is at `sent` when they have left.
# At the end CFG of the receiver is in a0.
loop_back:
    uart_on
    sw a2, 0(s0)
    sw a1, 4(s0)
    li t1, 0x10
    sw t1, 8(s0)
    sw a0, 0x10(s0)
    sw a1, 0x14(s0)
    li t1, 0x10
    sw t1, 0x18(s0)
    await_sent
sent:
    nop
6:  lw a0, 8(s0)
    andi t1, a0, 0x10
    bnez t1, 6b
    j stop
"""


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("uart"))


def test_two_queued_transfers_are_sent(gap8_target: Target, programs: Gap8Programs) -> None:
    at = gap8_target.ram.start + 0x8000
    registers = {"a0": at, "a1": len(BYTES)}
    programs.run("transmit", lambda: gap8_target.write(at, BYTES), **registers)
    before, queued, at_the_end, events = programs.results("a0", "a1", "a2", "a3")
    assert before & 0x30 == 0 and at_the_end & 0x30 == 0
    assert queued & 0x30 == 0x30, "one runs, one waits: the queue is full"
    assert events == 2 << 9, "event 9, once a transfer"
    if isinstance(gap8_target, ChipTarget):
        assert gap8_target.chip.uart_drain() == BYTES


def test_what_is_sent_comes_back_by_a_wire(
    gap8_target: Target, programs: Gap8Programs, request: pytest.FixtureRequest
) -> None:
    on_chip = isinstance(gap8_target, ChipTarget)
    if not on_chip and not request.config.getoption("--gdb-uart-loopback"):
        pytest.skip("needs a wire from the UART's TX to its RX, and --gdb-uart-loopback")
    at, to = gap8_target.ram.start + 0x8000, gap8_target.ram.start + 0x8100
    data = BYTES[:12]  # whole words: the uDMA stores no less

    def prepare() -> None:
        gap8_target.write(at, data)
        gap8_target.write(to, bytes(len(data)))

    programs.run("loop_back", prepare, end="sent", a0=at, a1=len(data), a2=to)
    if on_chip:
        gap8_target.chip.uart_feed(gap8_target.chip.uart_drain())
    gap8_target.run(programs.symbols["sent"], programs.symbols["stop"])
    assert gap8_target.read(to, len(data)) == data
    assert programs.results("a0")[0] & 0x30 == 0


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_a_character_has_the_bits_asked_for(virtual_gap8: ChipTarget, bits: int) -> None:
    """Both ways; a start and a stop bit around them."""
    chip, uart, at = spinning(virtual_gap8.chip), 0x1A102200, 0x1C030000
    write(chip, UDMA_CLOCKS, 1 << 4)
    write(chip, uart + 0x24, (BIT_CYCLES - 1) << 16 | 0x300 | (bits - 5) << 1)
    chip.debugger.write_memory(at, b"\xff\xaa")
    for side, address in ((0x00, at + 4), (0x10, at)):
        write(chip, uart + side, address)
        write(chip, uart + side + 4, 2)
        write(chip, uart + side + 8, 0x10)
    chip.uart_feed(b"\xaa\xff")
    characters_s = 2 * (bits + 2) * BIT_CYCLES / chip.clock_hz
    pass_time(chip, 0.99 * characters_s)
    assert chip.uart_drain() == bytes([0xFF & (1 << bits) - 1])
    pass_time(chip, 0.02 * characters_s)
    assert chip.uart_drain() == bytes([0xAA & (1 << bits) - 1])
    assert read(chip, at + 4) == 0xFF00 & (1 << bits + 8) - 1 | 0xAA & (1 << bits) - 1


UART, TEXT = 0x1A102200, 0x1C030000
SETUP_8N1 = (BIT_CYCLES - 1) << 16 | 0x306
BYTE_S = 10 * BIT_CYCLES / 50e6


def sending(chip: Gap8, data: bytes) -> Gap8:
    """``chip`` with a transfer of ``data`` just begun, at 115200 baud."""
    spinning(chip)
    write(chip, UDMA_CLOCKS, 1 << 4)
    write(chip, UART + 0x24, SETUP_8N1)
    chip.debugger.write_memory(TEXT, data)
    for register, value in ((0x10, TEXT), (0x14, len(data)), (0x18, 0x10)):
        write(chip, UART + register, value)
    return chip


def test_a_buffer_used_again_too_early_is_sent(virtual_gap8: ChipTarget) -> None:
    """Bytes are fetched when the wire is free for them."""
    chip = sending(virtual_gap8.chip, b"ABCD")
    pass_time(chip, 1.5 * BYTE_S)
    chip.debugger.write_memory(TEXT, b"wxyz")
    pass_time(chip, 2.6 * BYTE_S)
    assert chip.uart_drain() == b"AByz"


def test_clearing_ends_behind_the_byte_on_the_wire(virtual_gap8: ChipTarget) -> None:
    chip = sending(virtual_gap8.chip, b"ABCD")
    pass_time(chip, 1.5 * BYTE_S)
    write(chip, UART + 0x18, 0x20)
    assert read(chip, UART + 0x18) == 0 and read(chip, UART + 0x20) == 1
    pass_time(chip, 0.6 * BYTE_S)
    assert read(chip, UART + 0x20) == 0
    pass_time(chip, 5 * BYTE_S)
    assert chip.uart_drain() == b"AB"
    write(chip, UART + 0x18, 0x10)
    pass_time(chip, 4.1 * BYTE_S)
    assert chip.uart_drain() == b"ABCD", "the next transfer is a whole one"


def test_a_new_rate_holds_from_the_next_byte_on(virtual_gap8: ChipTarget) -> None:
    chip = sending(virtual_gap8.chip, b"ABCD")
    pass_time(chip, 0.5 * BYTE_S)
    write(chip, UART + 0x24, (BIT_CYCLES // 2 - 1) << 16 | 0x306)
    pass_time(chip, 0.49 * BYTE_S)
    assert chip.uart_drain() == b""
    pass_time(chip, 0.02 * BYTE_S)
    assert chip.uart_drain() == b"A"
    pass_time(chip, 1.01 * BYTE_S)
    assert chip.uart_drain() == b"BC"


def test_a_transmitter_switched_off_goes_on_later(virtual_gap8: ChipTarget) -> None:
    chip = sending(virtual_gap8.chip, b"ABCD")
    pass_time(chip, 0.5 * BYTE_S)
    write(chip, UART + 0x24, SETUP_8N1 & ~(1 << 8))
    pass_time(chip, 3 * BYTE_S)
    assert chip.uart_drain() == b"A" and read(chip, UART + 0x20) == 0
    write(chip, UART + 0x24, SETUP_8N1)
    pass_time(chip, 3.1 * BYTE_S)
    assert chip.uart_drain() == b"BCD"
