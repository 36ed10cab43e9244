"""HWCE, the cluster's convolution engine (0x10201000): registers, job queue, 3x3, 5x5 and 4x7.

Public sources, all of GreenWaves-Technologies/gap_sdk: register fields and their texts in the
generated archi/hwce headers (hwce_v4), the job protocol and arithmetic in the vendor
simulator's model of the same registers (models/pulp/hwce), the layout of weights and lines in the
vendor's kernels CNN_HwCE.c and CNN_HwCE.h. Modelled is what those kernels use: 16-bit pixels and
weights, signed, one to three outputs in 3x3 mode. Refused by name: 8-bit and 4-bit pixels, the
approximate vector modes, unsigned products, feature loops.

Cycles are a stated choice, not measured: the headers promise one output position a cycle; before it
come the weights and the first rows, a 32-bit word a cycle.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

TRIGGER, ACQUIRE, FINISHED, STATUS, RUNNING, SOFT_CLEAR = range(0x00, 0x18, 4)
GEN_CONFIG0, GEN_CONFIG1 = 0x20, 0x24
JOB, JOB_END = 0x40, 0x88  # registers of the acquired job; contexts 0 and 1 below
CONTEXTS = (0x140, 0x240)
Y_SIZE, Y_LINE, Y_FEATURE, Y_OUT_0, Y_IN_0 = 0x40, 0x44, 0x48, 0x58, 0x68
X_SIZE, X_LINE, X_FEATURE, X_IN, WEIGHTS = 0x6C, 0x70, 0x74, 0x78, 0x7C
JOB_CONFIG0, JOB_CONFIG1 = 0x80, 0x84

CONTEXT_COPY, LOCKED, QUEUE_FULL = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
COPY_CYCLES = 19  # one job register a cycle, and one
NO_FLIP, NO_Y_IN, UNSIGNED = 1 << 6, 1 << 7, 1 << 8
VECTOR, NO_COPY, ROUND = 3 << 9, 1 << 13, 1 << 14
CONVOLUTION_SHIFT = 11
SHAPES = {0: (5, 5), 1: (3, 3), 2: (4, 7)}  # rows, columns
FEATURE_LOOPS = 0x00FF3F00  # JOB_CONFIG1: WOF, WIF, loop order
LINE_WORDS = (2, 16)  # shortest and longest line of the buffer
EVENT_HWCE = 15  # EU_HWCE_EVENT of the SDK


@dataclass(frozen=True)
class Convolution:
    """One job in numbers; lines and strides in bytes, addresses in L1."""

    rows: int
    columns: int
    shape: tuple[int, int]
    outputs: tuple[int, ...]  # vectors in use, 0 first
    x: int
    x_stride: int
    x_words: int
    y_in: tuple[int, ...] | None
    y_out: tuple[int, ...]
    y_stride: int
    weights: int
    flip: bool
    constant: int
    shift: int
    rounded: bool

    @property
    def weight_words(self) -> int:
        """Words of weights: 16 bits each, filled up with one zero where their number is odd."""
        return (self.shape[0] * self.shape[1] * len(self.outputs) + 1) // 2

    @property
    def macs(self) -> int:
        """Multiplications with accumulation."""
        taps = self.shape[0] * self.shape[1]
        return self.rows * self.columns * taps * len(self.outputs)

    @property
    def cycles(self) -> int:
        """Weights, the rows before the first output, then an output position a cycle."""
        return self.weight_words + (self.shape[0] - 1) * self.x_words + self.rows * self.columns


@dataclass
class _Job:
    number: int
    context: int
    work: Convolution | None = None


def _signed16(value: int) -> int:
    return ((value & 0xFFFF) ^ 0x8000) - 0x8000


def _outputs(mask: int, rows: int) -> tuple[int, ...]:
    """Vectors that JOB_CONFIG1 leaves on: bit 3 turns off vector 0, bit 0 vector 3."""
    enabled = tuple(i for i in range(4) if not (mask >> (3 - i)) & 1)
    allowed = ((0,), (0, 1), (0, 1, 2)) if rows == 3 else ((0,),)
    if enabled not in allowed:
        raise BusFault(f"HWCE: outputs {enabled} in {rows}-row mode; the vendor's kernels use "
                       f"{' or '.join(map(str, allowed))}")  # fmt: skip
    return enabled


def _lines(what: str, size_words: int, line: int) -> tuple[int, int, int]:
    """(rows, words a line, stride in bytes) of one plane; BusFault when they make no rectangle."""
    words, stride = line & 0xFFFF, line >> 16
    if not words or not size_words or size_words % words:
        raise BusFault(f"HWCE: {what} of {size_words} words is not a number of {words}-word lines")
    return size_words // words, words, stride


def describe(config: int, pixels: int, job: dict[int, int]) -> Convolution:
    """The convolution that the registers ask for; BusFault names what is not modelled."""
    for bits, what in ((UNSIGNED, "unsigned products"), (VECTOR, "8- and 4-bit vector modes")):
        if config & bits:
            raise BusFault(f"HWCE: {what} (GEN_CONFIG0 0x{config:08x}) are not modelled")
    if pixels:
        raise BusFault(f"HWCE: only 16-bit pixels are modelled (GEN_CONFIG1 0x{pixels:08x})")
    shape = SHAPES.get((config >> CONVOLUTION_SHIFT) & 3)
    if shape is None:
        raise BusFault(f"HWCE: convolution mode 3 (GEN_CONFIG0 0x{config:08x}) does not exist")
    if job[JOB_CONFIG1] & FEATURE_LOOPS:
        raise BusFault("HWCE: feature loops (JOB_CONFIG1 WOF, WIF) are not modelled")
    outputs = _outputs(job[JOB_CONFIG1] & 15, shape[0])
    rows, y_words, y_stride = _lines("output", job[Y_SIZE], job[Y_LINE])
    x_rows, x_words, x_stride = _lines("input", job[X_SIZE], job[X_LINE])
    # the line buffer is managed as in 5x5 mode: a 3x3 job reads two columns more than it needs
    wide = max(shape[1], 5) - 1
    if x_rows < rows + shape[0] - 1 or 2 * x_words < 2 * y_words + wide:
        raise BusFault(
            f"HWCE: {x_rows} lines of {x_words} words cannot give {rows} lines of {y_words} words "
            f"in {shape[0]}x{shape[1]} mode; the job would not end"
        )
    buffer = job[JOB_CONFIG0] & 0x3FF
    if buffer != x_words or not LINE_WORDS[0] <= x_words <= LINE_WORDS[1]:
        raise BusFault(f"HWCE: line buffer length {buffer} and input line {x_words} words must be "
                       f"equal and {LINE_WORDS[0]} to {LINE_WORDS[1]}")  # fmt: skip
    return Convolution(
        rows=rows, columns=2 * y_words, shape=shape, outputs=outputs,
        x=job[X_IN], x_stride=x_stride, x_words=x_words,
        y_in=None if config & NO_Y_IN else tuple(job[Y_IN_0 - 4 * i] for i in outputs),
        y_out=tuple(job[Y_OUT_0 - 4 * i] for i in outputs), y_stride=y_stride,
        weights=job[WEIGHTS], flip=not config & NO_FLIP, constant=_signed16(job[JOB_CONFIG0] >> 16),
        shift=config & 63, rounded=bool(config & ROUND),
    )  # fmt: skip


def _plane(machine: Machine, address: int, stride: int, rows: int, columns: int) -> np.ndarray:
    """int64 (rows, columns) of 16-bit pixels."""
    lines = [machine.read_memory(address + r * stride, 2 * columns) for r in range(rows)]
    return np.frombuffer(b"".join(lines), dtype="<i2").astype(np.int64).reshape(rows, columns)


def check(machine: Machine, job: Convolution) -> None:
    """BusFault when a plane or the weights lie outside memory."""
    last_x, last_y = job.rows + job.shape[0] - 2, job.rows - 1
    machine.check_memory(job.x, last_x * job.x_stride + 4 * job.x_words)
    machine.check_memory(job.weights, 4 * job.weight_words)
    for address in (*job.y_out, *(job.y_in or ())):
        machine.check_memory(address, last_y * job.y_stride + 2 * job.columns)


def convolve(machine: Machine, job: Convolution) -> None:
    """Reads planes and weights from L1 and writes the outputs; BusFault outside memory."""
    height, width = job.shape
    image = _plane(machine, job.x, job.x_stride, job.rows + height - 1, job.columns + width - 1)
    count = len(job.outputs)
    raw = np.frombuffer(machine.read_memory(job.weights, 2 * height * width * count), dtype="<i2")
    taps = raw.astype(np.int64).reshape(height * width, count)
    if job.flip:
        taps = taps[::-1]
    windows = np.lib.stride_tricks.sliding_window_view(image, job.shape)
    for i in range(count):
        total = (windows * taps[:, i].reshape(height, width)).sum(axis=(2, 3))
        start: np.ndarray | int = job.constant
        if job.y_in is not None:
            start = _plane(machine, job.y_in[i], job.y_stride, job.rows, job.columns)
        total = total + (start << job.shift)
        if job.rounded and job.shift:
            total = total + (1 << (job.shift - 1))
        result = np.clip(total >> job.shift, -0x8000, 0x7FFF).astype("<i2")
        for r in range(job.rows):
            machine.write_memory(job.y_out[i] + r * job.y_stride, result[r].tobytes())


class Hwce:
    """Registers and the queue of two jobs; a job's outputs appear when it ends."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reset()

    def reset(self) -> None:
        """Idle, all registers 0."""
        self._config = {GEN_CONFIG0: 0, GEN_CONFIG1: 0}
        self._contexts = [dict.fromkeys(range(JOB, JOB_END, 4), 0) for _ in CONTEXTS]
        self._offered: _Job | None = None
        self._last_context = 0
        self._copied_at = 0
        self._next_number = 0
        self._queue: deque[_Job] = deque()
        self._finished = 0
        self._machine.end_work(L.HWCE_MACS)

    def read(self, offset: int) -> int:
        """ACQUIRE takes a job; FINISHED counts up to two and clears."""
        if offset == ACQUIRE:
            return self._acquire()
        if offset == FINISHED:
            count, self._finished = self._finished, 0
            return min(count, 2)
        if offset == STATUS:
            return int(bool(self._queue))
        if offset == RUNNING:
            return self._queue[0].number if self._queue else 0
        if offset in self._config:
            return self._config[offset]
        context, register = self._job_register(offset)
        return context[register]

    def write(self, offset: int, value: int) -> None:
        """TRIGGER queues the acquired job; SOFT_CLEAR forgets everything."""
        if offset == TRIGGER:
            self._trigger()
        elif offset == SOFT_CLEAR:
            self.reset()
        elif offset in self._config:
            self._config[offset] = value
        else:
            context, register = self._job_register(offset)
            context[register] = value

    def _job_register(self, offset: int) -> tuple[dict[int, int], int]:
        for number, base in enumerate(CONTEXTS):
            if base <= offset < base + JOB_END - JOB and offset % 4 == 0:
                return self._contexts[number], offset - base + JOB
        current = self._contexts[self._last_context]
        if offset not in current:
            raise BusFault(f"HWCE register +0x{offset:x} is not modelled")
        return current, offset

    def _acquire(self) -> int:
        now = self._machine.cycle(L.DOMAIN_CLUSTER)
        if self._offered is not None:
            return CONTEXT_COPY if now < self._copied_at else LOCKED
        free = {0, 1} - {job.context for job in self._queue}
        if not free:
            return QUEUE_FULL
        context = min(free)
        if not self._config[GEN_CONFIG0] & NO_COPY:
            self._contexts[context] = dict(self._contexts[self._last_context])
            self._copied_at = now + COPY_CYCLES
        self._last_context = context
        self._offered = _Job(self._next_number, context)
        self._next_number = (self._next_number + 1) & 0xFF
        return self._offered.number

    def _trigger(self) -> None:
        job = self._offered
        if job is None:
            raise BusFault("HWCE: TRIGGER without an acquired job")
        registers = self._contexts[job.context]
        job.work = describe(self._config[GEN_CONFIG0], self._config[GEN_CONFIG1], registers)
        check(self._machine, job.work)
        self._offered = None
        self._queue.append(job)
        if len(self._queue) == 1:
            self._start()

    def _start(self) -> None:
        job = self._queue[0]
        work = job.work
        assert work is not None, "only triggered jobs are in the queue"
        cycle = self._machine.cycle(L.DOMAIN_CLUSTER) + work.cycles
        due = self._machine.time_fs(L.DOMAIN_CLUSTER, cycle)
        self._machine.begin_work(L.HWCE_MACS, work.macs, due)
        self._machine.at(due, lambda: self._finish(job, work))

    def _finish(self, job: _Job, work: Convolution) -> None:
        if not self._queue or self._queue[0] is not job:
            return  # cleared meanwhile
        self._machine.end_work(L.HWCE_MACS)
        convolve(self._machine, work)
        self._queue.popleft()
        self._finished += 1
        for core in range(L.PE_COUNT):
            self._machine.raise_core_event(core, EVENT_HWCE)
        if self._queue:
            self._start()
