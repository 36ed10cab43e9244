"""The convolution engine against a plain loop over pixels, driven by cluster core 0.

The programs run on the virtual GAP8 or behind ``--gdb-target`` (docs/instruction-tests.md); what is
refused, at the end, on the virtual one only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from gap8_program import Gap8Programs
from targets import ChipTarget, Target

# Places in the part of L1 that core 0 copies in from L2 and back.
L1, L1_BYTES = 0x10000000, 0x1400
IMAGE, WEIGHTS, OUTPUTS = 0x100, 0x400, (0x800, 0xC00, 0x1000)
ROW_BYTES = 64  # from line to line of an output

# Parameters: L1's content in L2, and a table of (HWCE register, value) up to a negative one.
SOURCE = f"""
# Acquires a job, writes the table, triggers and sleeps to the job's end.
convolve:
    beqz a0, 1f
    ret
1:  lw s0, 0(a1)
    lw s3, 4(a1)
    li s1, {L1}
    copy_words s0, s1, {L1_BYTES // 4}
    li t0, 0x10200018      # its clock on
    li t1, 0xC00
    sw t1, 0(t0)
    li s2, 0x10201000
    lw t0, 4(s3)           # GEN_CONFIG0 first
    sw t0, 0x20(s2)
    lw s4, 4(s2)           # acquire
2:  lw t0, 4(s2)
    li t1, -3
    beq t0, t1, 2b         # context copy
3:  lw t0, 0(s3)
    bltz t0, 4f
    lw t1, 4(s3)
    add t0, t0, s2
    sw t1, 0(t0)
    addi s3, s3, 8
    j 3b
4:  li t0, 0x00204000
    li t1, 0x8000
    sw t1, 0(t0)
    sw zero, 0(s2)
    p.elw t1, 0x3C(t0)
    sw s4, 0(a2)
    lw t1, 8(s2)
    sw t1, 4(a2)
    lw t1, 0xC(s2)
    sw t1, 8(a2)
    copy_words s1, s0, {L1_BYTES // 4}
    ret

without_clock:
    li t0, 0x10201000
    lw t1, 0x0C(t0)
    ret
"""


def _reference(image, taps, start, shift, rounded):
    """(rows, columns) of one output, pixel by pixel."""
    height, width = taps.shape
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    result = np.zeros((rows, columns), dtype=np.int16)
    for r in range(rows):
        for c in range(columns):
            total = int(start[r, c]) << shift
            for i in range(height):
                for j in range(width):
                    total += int(image[r + i, c + j]) * int(taps[i, j])
            total += (1 << shift >> 1) if rounded else 0
            result[r, c] = max(-32768, min(32767, total >> shift))
    return result


@dataclass(frozen=True)
class Job:
    """One job on a random 12-row image; shapes as (rows, columns)."""

    config: int
    image: np.ndarray
    taps: np.ndarray  # output, row, column
    before: np.ndarray  # output, row, column: what the engine may add to

    def registers(self) -> dict[int, int]:
        """What the job asks of the engine."""
        count, rows, columns = self.before.shape
        return {
            0x20: self.config, 0x40: rows * columns // 2, 0x44: ROW_BYTES << 16 | columns // 2,
            0x6C: 12 * 7, 0x70: 28 << 16 | 7, 0x78: L1 + IMAGE, 0x7C: L1 + WEIGHTS,
            0x80: 0xFF9C << 16 | 7, 0x84: {1: 7, 2: 3, 3: 1}[count],
        } | {0x58 - 4 * i: L1 + OUTPUTS[i] for i in range(count)} | {
            0x68 - 4 * i: L1 + OUTPUTS[i] for i in range(count)}  # fmt: skip

    def content(self) -> bytes:
        """L1 before it."""
        data = bytearray(L1_BYTES)
        image, taps = self.image.tobytes(), self.taps.transpose(1, 2, 0).tobytes()
        data[IMAGE : IMAGE + len(image)] = image
        data[WEIGHTS : WEIGHTS + len(taps)] = taps
        for at, plane in zip(OUTPUTS, self.before, strict=False):
            for row in plane:
                data[at : at + 2 * len(row)] = row.tobytes()
                at += ROW_BYTES
        return bytes(data)

    def output(self, number: int, content: bytes) -> np.ndarray:
        """One of its outputs in L1 behind it."""
        _, rows, columns = self.before.shape
        plane = np.frombuffer(content, "<i2", rows * ROW_BYTES // 2, OUTPUTS[number])
        return plane.reshape(rows, -1)[:, :columns]


def random_job(config: int, shape: tuple[int, int], count: int, seed: int) -> Job:
    rng = np.random.default_rng(seed)
    height, width = shape
    wide = max(width, 5)  # the line buffer works in 5-column lines
    rows, columns = 12 - height + 1, 14 - wide + 1
    return Job(
        config,
        rng.integers(-3000, 3000, (12, 14)).astype("<i2"),
        rng.integers(-400, 400, (count, height, width)).astype("<i2"),
        rng.integers(-2000, 2000, (count, rows, columns)).astype("<i2"),
    )


@pytest.fixture(scope="module")
def programs(gap8_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Gap8Programs:
    return Gap8Programs(SOURCE, gap8_target, tmp_path_factory.mktemp("hwce"))


def run(target: Target, programs: Gap8Programs, content: bytes, registers: dict[int, int]) -> bytes:
    """L1 behind a job."""
    at, table = target.ram.start + 0x8000, target.ram.start + 0xA000
    pairs = [word for pair in registers.items() for word in pair] + [0xFFFFFFFF]

    def prepare() -> None:
        target.write(at, content)
        target.write(table, np.array(pairs, dtype="<u4").tobytes())

    programs.on_cluster("convolve", [at, table], prepare)
    return target.read(at, L1_BYTES)


MODES = {  # convolution field, shape, outputs
    "3x3": (1, (3, 3), 1), "3x3 two": (1, (3, 3), 2), "3x3 three": (1, (3, 3), 3),
    "5x5": (0, (5, 5), 1), "4x7": (2, (4, 7), 1),
}  # fmt: skip
FLAGS = {  # NF 64, NY 128, NCP 1 << 13, RND 1 << 14
    "bias, rounded": 64 | 128 | 1 << 14,
    "accumulated, flipped": 1 << 13,
    "saturated": 64 | 128,
}


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("mode", MODES)
def test_convolutions(mode: str, flags: str, gap8_target: Target, programs: Gap8Programs) -> None:
    field, shape, count = MODES[mode]
    shift = 2 if flags == "saturated" else 9
    config = FLAGS[flags] | field << 11 | shift
    job = random_job(config, shape, count, seed=len(mode))
    behind = run(gap8_target, programs, job.content(), job.registers())
    assert programs.words(3) == (0, 1, 0)  # job number, finished, idle
    rows, columns = job.before.shape[1:]
    part = job.image[:, : columns + shape[1] - 1]
    for i in range(count):
        start = job.before[i] if not config & 128 else np.full((rows, columns), -100)
        used = job.taps[i] if config & 64 else job.taps[i, ::-1, ::-1]
        wanted = _reference(part, used, start, shift, bool(config & 1 << 14))
        assert (job.output(i, behind) == wanted).all()
        if flags == "saturated":
            assert abs(wanted.astype(int)).max() >= 32767


REFUSED = {
    "unsigned": ((0x20, 1 << 11 | 1 << 8), "unsigned"),
    "vector": ((0x20, 1 << 11 | 1 << 9), "vector"),
    "8-bit pixels": ((0x24, 1 << 8), "16-bit pixels"),
    "feature loop": ((0x84, 7 | 2 << 8), "feature loops"),
    "outputs": ((0x84, 0), "outputs"),
    "too few lines": ((0x6C, 11 * 7), "would not end"),
    "line buffer": ((0x80, 20), "line buffer"),
    "outside memory": ((0x78, 0x1000FFF0), "not memory"),
    "unknown register": ((0x28, 0), "+0x28"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_modelled_stops_the_core(
    name: str, virtual_gap8: ChipTarget, programs: Gap8Programs
) -> None:
    (register, value), text = REFUSED[name]
    job = random_job(1 << 11 | 64 | 128, (3, 3), 1, seed=1)
    with pytest.raises(AssertionError, match="FAULT"):
        run(virtual_gap8, programs, job.content(), job.registers() | {register: value})
    fault = virtual_gap8.chip.fault
    assert fault is not None and text in fault.reason
    assert fault.core == 0 and fault.address >> 8 == 0x102010
    assert virtual_gap8.ram.start < fault.pc < virtual_gap8.ram.start + 0x10000


def test_without_its_clock_the_engine_does_not_answer(
    virtual_gap8: ChipTarget, programs: Gap8Programs
) -> None:
    with pytest.raises(AssertionError, match="clock"):
        programs.on_cluster("without_clock")
