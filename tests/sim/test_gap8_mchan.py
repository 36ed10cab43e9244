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

TO_L1, INCREMENT, TWO_D, EVENT = 1 << 16, 1 << 17, 1 << 18, 1 << 19
WINDOW, WINDOW_BYTES = 0x10000400, 8192  # of L1
QUEUED, PIECE = 4, 520  # transfers at a time, bytes of each

SOURCE = f"""
    .macro copy_words from, to, words
    mv t0, \\from
    mv t1, \\to
    li t2, \\words
9:  lw t3, 0(t0)
    sw t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    addi t2, t2, -1
    bnez t2, 9b
    .endm

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


@pytest.mark.parametrize(
    ("command", "l1", "l2"),
    [
        (0x4000 | TO_L1 | INCREMENT, 0x1000F000, 0x1C060000),
        (64 | TO_L1 | INCREMENT, 0x10000000, 0x1C07FFE0),
        (64 | TO_L1, 0x10000000, 0x1C060000),
    ],
)
def test_an_impossible_transfer_is_a_fault(
    virtual_gap8: ChipTarget, bench: Bench, command: int, l1: int, l2: int
) -> None:
    with pytest.raises(AssertionError, match="FAULT"):
        bench.programs.on_cluster("transfer", [bench.before, bench.behind, command, l1, l2])
    fault = virtual_gap8.chip.fault
    assert fault is not None and fault.core == 0 and "MCHAN" in str(fault)
