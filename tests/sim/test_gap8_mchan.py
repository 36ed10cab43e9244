"""MCHAN, the cluster's DMA: what it moves in one and two dimensions, and its transfer numbers.

Core 0 fills L1 from L2 by loads and stores, runs the transfer and copies L1 back, so that the test
reads and writes L2 only. The programs run on the virtual GAP8 or behind ``--gdb-target``
(docs/instruction-tests.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from gap8_program import Gap8Programs
from targets import ChipTarget, Target

TO_L1, INCREMENT, TWO_D, EVENT, INTERRUPT = 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20
WINDOW, WINDOW_BYTES = 0x10000400, 8192  # of L1
QUEUED, PIECE = 4, 520  # transfers at a time, bytes of each
LONG, LONG_CYCLES = 1024, 128  # bytes of a transfer, and how long the engine has them
FIT = 11  # commands of one core without a stall: one under way, eight in common, two of its own

SOURCE = f"""
# Parameters: L1 as it is before, as it is behind, command, L1 address, L2 address, lines.
# Results: the number of the transfer, status before and after it is freed.
transfer:
    beqz a0, 1f
    ret
1:  lw s0, 0(a1)
    lw s1, 4(a1)
    lw s2, 8(a1)
    lw s3, 12(a1)
    lw s4, 16(a1)
    lw s5, 20(a1)
    li s6, {WINDOW}
    copy_words s0, s6, {WINDOW_BYTES // 4}
    li s7, 0x00204400
    li s8, 0x00204000
    li t0, 0x100               # event 8: a transfer of this core has ended
    sw t0, 0(s8)
    lw s9, 0(s7)
    sw s2, 0(s7)
    sw s3, 0(s7)
    sw s4, 0(s7)
    li t0, {TWO_D}
    and t0, t0, s2
    beqz t0, 2f
    sw s5, 0(s7)
2:  li s10, 1
    sll s10, s10, s9
    li t0, {EVENT}
    and t0, t0, s2
3:  lw t1, 4(s7)
    and t1, t1, s10
    beqz t1, 4f
    beqz t0, 3b
    p.elw t1, 0x3C(s8)
    j 3b
4:  sw s9, 0(a2)
    lw t1, 4(s7)
    sw t1, 4(a2)
    sw s10, 4(s7)
    lw t1, 4(s7)
    sw t1, 8(a2)
    copy_words s6, s1, {WINDOW_BYTES // 4}
    ret

# Parameters: from and to where in L2. {QUEUED} transfers to L1 at once, then one back.
# Results: status when all have ended, a bit for each number, status when these are freed.
queued:
    beqz a0, 1f
    ret
1:  lw s0, 0(a1)
    lw s1, 4(a1)
    li s2, {WINDOW}
    li s7, 0x00204400
    li s3, {QUEUED}
    li s4, 0                   # bits of their numbers
    li s6, {PIECE | TO_L1 | INCREMENT}
2:  lw t0, 0(s7)
    sw s6, 0(s7)
    sw s2, 0(s7)
    sw s0, 0(s7)
    li t1, 1
    sll t1, t1, t0
    or s4, s4, t1
    addi s0, s0, {PIECE}
    addi s2, s2, {PIECE}
    addi s3, s3, -1
    bnez s3, 2b
3:  lw t1, 4(s7)
    and t1, t1, s4
    bnez t1, 3b
    lw t1, 4(s7)
    sw t1, 0(a2)
    sw s4, 4(a2)
    sw s4, 4(s7)
    lw t1, 4(s7)
    sw t1, 8(a2)
    lw t0, 0(s7)
    li t1, {QUEUED * PIECE | INCREMENT}
    sw t1, 0(s7)
    li t1, {WINDOW}
    sw t1, 0(s7)
    sw s1, 0(s7)
    li t1, 1
    sll t1, t1, t0
4:  lw t2, 4(s7)
    and t2, t2, t1
    bnez t2, 4b
    sw t1, 4(s7)
    ret

    .macro command flags, l1, l2
    li t1, \\flags
    sw t1, 0(s7)
    sw \\l1, 0(s7)
    sw \\l2, 0(s7)
    .endm
    .macro await_all
8:  lw t1, 4(s7)
    slli t1, t1, 16
    bnez t1, 8b
    .endm

# Parameters: from and to where in L2, whether the number is given back, while it is busy, and taken
# again. Two commands to L1, then both pieces back. Results: status behind the second command, and
# behind the end of both.
two_commands:
    beqz a0, 1f
    ret
1:  lw s0, 0(a1)
    lw s1, 4(a1)
    lw s3, 8(a1)
    li s2, {WINDOW}
    li s7, 0x00204400
    lw s9, 0(s7)
    command {PIECE | TO_L1 | INCREMENT}, s2, s0
    beqz s3, 2f
    li t1, 1
    sll t1, t1, s9
    sw t1, 4(s7)
    lw s9, 0(s7)
2:  addi s0, s0, {PIECE}
    addi s3, s2, {PIECE}
    command {PIECE | TO_L1 | INCREMENT}, s3, s0
    lw t1, 4(s7)
    sw t1, 0(a2)
    await_all
    lw t1, 4(s7)
    sw t1, 4(a2)
    command {2 * PIECE | INCREMENT}, s2, s1
    await_all
    ret

# Parameters: flags, where in L2. Results: events 8 and 9 of core 0, of core 1, behind the end.
flagged:
    li s8, 0x00204000
    li t0, 1
    beq a0, t0, 1f
    beqz a0, 2f
    ret
1:  li t0, 4
    sw t0, 0(s8)
    p.elw t0, 0x3C(s8)
    lw t0, 0x1C(s8)
    sw t0, 4(a2)
    ret
2:  lw s3, 0(a1)
    lw s4, 4(a1)
    li s2, {WINDOW}
    li s7, 0x00204400
    lw s9, 0(s7)
    sw s3, 0(s7)
    sw s2, 0(s7)
    sw s4, 0(s7)
    await_all
    lw t0, 0x1C(s8)
    sw t0, 0(a2)
    li t0, 2
    sw t0, 0x108(s8)           # software event 2 for core 1
    ret

# Parameter: where in L2. Results: cycles of {LONG} bytes to L1, of as many to L2, of both at once;
# of giving {FIT} and {FIT + 3} commands to L1. The second round counts, the first warms the cache.
    .macro start
    csrr s10, 0x780
    lw s9, 0(s7)
    .endm
    .macro finish_and_note offset
    await_all
    csrr s11, 0x780
    sub s11, s11, s10
    sw s11, \\offset(a2)
    li t1, -1
    sw t1, 4(s7)
    .endm
    .macro give count, offset
    start
    li s5, \\count
7:  command {LONG | TO_L1 | INCREMENT}, s2, s0
    addi s5, s5, -1
    bnez s5, 7b
    csrr s11, 0x780
    sub s11, s11, s10
    sw s11, \\offset(a2)
    await_all
    li t1, -1
    sw t1, 4(s7)
    .endm
timed:
    beqz a0, 1f
    ret
1:  lw s0, 0(a1)
    li s2, {WINDOW}
    addi s3, s2, {LONG}
    addi s4, s0, {LONG}
    li s7, 0x00204400
    li t1, 1
    csrw 0x7A0, t1
    csrw 0x7A1, t1
    li s6, 2
2:  start
    command {LONG | TO_L1 | INCREMENT}, s2, s0
    finish_and_note 0
    start
    command {LONG | INCREMENT}, s3, s4
    finish_and_note 4
    start
    command {LONG | TO_L1 | INCREMENT}, s2, s0
    command {LONG | INCREMENT}, s3, s4
    finish_and_note 8
    give {FIT}, 12
    give {FIT + 3}, 16
    addi s6, s6, -1
    bnez s6, 2b
    ret

# A command under a number that has been given back.
without_a_number:
    li s7, 0x00204400
    li s2, {WINDOW}
    lw s9, 0(s7)
    li t1, 1
    sll t1, t1, s9
    sw t1, 4(s7)
    command {PIECE | INCREMENT}, s2, s2
    ret
"""


@dataclass
class Bench:
    """Puts random bytes around a transfer and fetches what has become of them."""

    target: Target
    programs: Gap8Programs

    def __post_init__(self) -> None:
        self.before = self.target.ram.start + 0x8000
        self.behind = self.before + WINDOW_BYTES
        self.l2 = self.behind + WINDOW_BYTES

    def run(
        self, command: int, l1: int, l2: int, lines: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``l1`` and ``l2``: offsets. Bytes of L1 and L2 before, and of both behind."""
        rng = np.random.default_rng(command)
        in_l1, in_l2 = rng.integers(0, 256, (2, WINDOW_BYTES), dtype=np.uint8)

        def prepare() -> None:
            self.target.write(self.before, in_l1.tobytes())
            self.target.write(self.l2, in_l2.tobytes())

        addresses = (self.before, self.behind, command, WINDOW + l1, self.l2 + l2, lines)
        self.programs.on_cluster("transfer", addresses, prepare)
        after = [self.target.read(at, WINDOW_BYTES) for at in (self.behind, self.l2)]
        number, ended, freed = self.programs.words(3)
        assert number < 16 and ended == 1 << 16 + number, "ended, not free"
        assert freed == 0
        return in_l1, in_l2, *(np.frombuffer(data, np.uint8) for data in after)


@pytest.fixture(scope="module")
def bench(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("mchan")
    return Bench(gap8_target, Gap8Programs(SOURCE, gap8_target, folder))


def check(bench: Bench, command: int, pairs: np.ndarray, *where: int) -> None:
    """``pairs``: byte by byte the places in L1 and L2; no other byte may change."""
    in_l1, in_l2, l1, l2 = bench.run(command, *where)
    if command & TO_L1:
        in_l1[pairs[0]] = in_l2[pairs[1]]
    else:
        in_l2[pairs[1]] = in_l1[pairs[0]]
    assert (l1 == in_l1).all() and (l2 == in_l2).all()


@pytest.mark.parametrize("direction", [TO_L1, 0], ids=["to_l1", "to_l2"])
@pytest.mark.parametrize(
    ("size", "l1", "l2"),
    [(4, 0, 0), (1, 3, 2), (13, 1, 3), (257, 2, 1), (1024, 64, 4), (8000, 5, 7)],
)
def test_one_dimension(bench: Bench, size: int, l1: int, l2: int, direction: int) -> None:
    places = np.arange(size)
    command = size | direction | INCREMENT | (EVENT if size % 2 else 0)
    check(bench, command, np.array([l1 + places, l2 + places]), l1, l2)


@pytest.mark.parametrize("direction", [TO_L1, 0], ids=["to_l1", "to_l2"])
@pytest.mark.parametrize(
    ("lines", "line", "stride", "l1", "l2"),
    [(16, 64, 128, 0, 0), (9, 7, 20, 1, 2), (256, 4, 30, 4, 1), (1, 100, 200, 0, 0)],
)
def test_two_dimensions_are_those_of_l2(
    bench: Bench, lines: int, line: int, stride: int, l1: int, l2: int, direction: int
) -> None:
    places = np.arange(lines * line)
    far = places // line * stride + places % line
    command = lines * line | direction | INCREMENT | TWO_D | EVENT
    check(bench, command, np.array([l1 + places, l2 + far]), l1, l2, line | stride << 16)


def test_several_transfers_under_way(bench: Bench) -> None:
    data = np.random.default_rng(4).bytes(QUEUED * PIECE)
    bench.programs.on_cluster(
        "queued", [bench.l2, bench.behind], lambda: bench.target.write(bench.l2, data)
    )
    ended, numbers, freed = bench.programs.words(3)
    assert numbers.bit_count() == QUEUED and ended == numbers << 16 and freed == 0
    assert bench.target.read(bench.behind, len(data)) == data


@pytest.mark.parametrize("again", [0, 1], ids=["one number", "given back while busy"])
def test_two_commands_both_arrive(bench: Bench, again: int) -> None:
    data = np.random.default_rng(5).bytes(2 * PIECE)
    bench.programs.on_cluster(
        "two_commands",
        [bench.l2, bench.behind, again],
        lambda: bench.target.write(bench.l2, data),
    )
    under_way, ended = bench.programs.words(2)
    assert (under_way & 0xFFFF).bit_count() == 1 and ended == under_way >> 16 << 16
    assert bench.target.read(bench.behind, len(data)) == data


@pytest.mark.parametrize(
    ("flags", "events"), [(0, 0), (EVENT, 1 << 8), (INTERRUPT, 1 << 9), (EVENT | INTERRUPT, 3 << 8)]
)
def test_the_end_raises_event_8_and_interrupt_9(bench: Bench, flags: int, events: int) -> None:
    """At the core that gave the command, or at all."""
    for to_all, others in ((0, 0), (1 << 21, events)):
        command = PIECE | TO_L1 | INCREMENT | flags | to_all
        bench.programs.on_cluster("flagged", [command, bench.l2])
        own, other = (word & 0x300 for word in bench.programs.words(2))
        assert (own, other) == (events, others)


def test_the_directions_are_two_streams_with_queues(virtual_gap8: ChipTarget, bench: Bench) -> None:
    """The commands that fit cost no wait; three more wait until three have left the engine."""
    bench.programs.on_cluster("timed", [bench.l2])
    to_l1, to_l2, both, fit, more = bench.programs.words(5)
    assert all(LONG_CYCLES <= cycles < LONG_CYCLES + 25 for cycles in (to_l1, to_l2))
    assert both < max(to_l1, to_l2) + 15
    assert fit < LONG_CYCLES
    assert 3 * LONG_CYCLES <= more < 3 * LONG_CYCLES + 60


def test_a_command_needs_a_number(virtual_gap8: ChipTarget, bench: Bench) -> None:
    with pytest.raises(AssertionError, match="without an allocated transfer"):
        bench.programs.on_cluster("without_a_number")


@pytest.mark.parametrize(
    ("command", "l1", "l2"),
    [
        (0x4000 | TO_L1 | INCREMENT, 0x1000F000, 0x1C060000),
        (64 | TO_L1 | INCREMENT, 0x10000000, 0x1C07FFE0),
        (64 | TO_L1, 0x10000000, 0x1C060000),
        (0x8000 | TO_L1 | INCREMENT, 0x10000000, 0x1C060000),
    ],
)
def test_an_impossible_transfer_is_a_fault(
    virtual_gap8: ChipTarget, bench: Bench, command: int, l1: int, l2: int
) -> None:
    with pytest.raises(AssertionError, match="FAULT"):
        bench.programs.on_cluster("transfer", [bench.before, bench.behind, command, l1, l2])
    fault = virtual_gap8.chip.fault
    assert fault is not None and fault.core == 0 and "MCHAN" in str(fault)
