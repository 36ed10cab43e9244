"""The convolution engine against a plain loop over pixels, driven by cluster core 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gap8_program import FC_SLEEPS, assemble
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

TABLE, RESULT = 0x1C060000, 0x1C070000
IMAGE, WEIGHTS, OUTPUTS = 0x10000100, 0x10002000, (0x10003000, 0x10004000, 0x10005000)

# Writes a table of (HWCE register, value) after acquiring a job, triggers and sleeps to its end.
PROGRAM = (
    FC_SLEEPS
    + f"""
pe_main:
    beqz a0, 1f
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
1:  li t0, 0x10200018
    li t1, 0xC00
    sw t1, 0(t0)
    li s2, 0x10201000
    li s3, {TABLE}
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
    li t0, {RESULT}
    sw s4, 0(t0)
    lw t1, 8(s2)
    sw t1, 4(t0)
    lw t1, 0xC(s2)
    sw t1, 8(t0)
    li a0, 0
    j exit_program
"""
)


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


def _run(folder: Path, config: int, shape: tuple[int, int], count: int, seed: int, table=()):
    """Runs one job on a random 12-row image; (chip, image, taps, planes before)."""
    rng = np.random.default_rng(seed)
    height, width = shape
    wide = max(width, 5)  # the line buffer works in 5-column lines
    rows, columns = 12 - height + 1, 14 - wide + 1
    image = rng.integers(-3000, 3000, (12, 14)).astype("<i2")
    taps = rng.integers(-400, 400, (count, height, width)).astype("<i2")
    before = rng.integers(-2000, 2000, (count, rows, columns)).astype("<i2")
    packed = taps.transpose(1, 2, 0).tobytes()
    job = {
        0x20: config, 0x40: rows * columns // 2, 0x44: 64 << 16 | columns // 2,
        0x6C: 12 * 7, 0x70: 28 << 16 | 7, 0x78: IMAGE, 0x7C: WEIGHTS,
        0x80: 0xFF9C << 16 | 7, 0x84: {1: 7, 2: 3, 3: 1}[count],
    } | {0x58 - 4 * i: OUTPUTS[i] for i in range(count)} | {
        0x68 - 4 * i: OUTPUTS[i] for i in range(count)}  # fmt: skip
    job |= dict(table)
    chip = Gap8()
    chip.load_elf(assemble(folder, translate(PROGRAM)))
    words = [w for pair in job.items() for w in pair] + [0xFFFFFFFF]
    chip.poke_bytes(TABLE, np.array(words, dtype="<u4").tobytes())
    chip.poke_bytes(IMAGE, image.tobytes())
    chip.poke_bytes(WEIGHTS, packed + bytes(2))
    for i in range(count):
        for r in range(rows):
            chip.poke_bytes(OUTPUTS[i] + 64 * r, before[i, r].tobytes())
    return chip, image, taps, before


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
def test_convolutions(mode: str, flags: str, tmp_path: Path) -> None:
    field, shape, count = MODES[mode]
    shift = 2 if flags == "saturated" else 9
    config = FLAGS[flags] | field << 11 | shift
    chip, image, taps, before = _run(tmp_path, config, shape, count, seed=len(mode))
    assert chip.run(0.01) is Stop.EXITED, chip.fault
    assert chip.peek_words(RESULT, 3).tolist() == [0, 1, 0]  # job number, finished, idle
    rows, columns = before.shape[1:]
    part = image[:, : columns + shape[1] - 1]
    for i in range(count):
        start = before[i] if not config & 128 else np.full((rows, columns), -100)
        used = taps[i] if config & 64 else taps[i, ::-1, ::-1]
        wanted = _reference(part, used, start, shift, bool(config & 1 << 14))
        got = [chip.peek_words(OUTPUTS[i] + 64 * r, columns // 2).tobytes() for r in range(rows)]
        assert b"".join(got) == wanted.astype("<i2").tobytes()
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
def test_what_is_not_modelled_stops_the_core(name: str, tmp_path: Path) -> None:
    change, text = REFUSED[name]
    chip, *_ = _run(tmp_path, 1 << 11 | 64 | 128, (3, 3), 1, seed=1, table=[change])
    assert chip.run(0.01) is Stop.FAULT
    assert chip.fault is not None and text in chip.fault.reason
    assert chip.fault.core == 0 and chip.fault.address >> 8 == 0x102010
    assert 0x1C010000 < chip.fault.pc < 0x1C020000


def test_without_its_clock_the_engine_does_not_answer(tmp_path: Path) -> None:
    source = FC_SLEEPS + "pe_main:\n li t0, 0x10201000\n lw t1, 0x0C(t0)\n"
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(source)))
    assert chip.run(0.01) is Stop.FAULT
    assert chip.fault is not None and "clock" in chip.fault.reason
