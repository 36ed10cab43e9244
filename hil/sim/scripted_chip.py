"""A firmware double: Python that speaks the console protocol where a chip would run an ELF.

It exists to exercise the wires of the virtual bench (console, meter, flasher, faults) without
a compiler and without an instruction set. It is **not** a model of any chip: its cycles and
energies are numbers written down below. So ``is_double`` is true, its timing model says so,
no rig file and no command line can name it, and the rig refuses a twin that hosts one unless
a test asks for it by hand.

The "ELF" it loads is a small JSON file, see ``Image``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hil.core import console as wire
from hil.core.console import ErrorCode, Message, RunFlag
from hil.core.errors import SimulationError
from hil.sim.chip import EnergyBins, Fault, MarkerEdge, Stop

BYTE_BITS = 10
BEHAVIOURS = ("normal", "mute", "crash_on_run", "restart_on_run")


@dataclass(frozen=True)
class ToyLayer:
    """Output byte j is ``factor * input[j % size] + 1`` (mod 256)."""

    name: str
    output_bytes: int
    factor: int
    compute: int
    copy: int
    other: int
    power_w: float

    @property
    def cycles(self) -> int:
        return self.compute + self.copy + self.other

    def apply(self, data: bytes) -> bytes:
        source = np.frombuffer(data, np.uint8).astype(np.int64)
        taken = source[np.arange(self.output_bytes) % len(source)]
        return ((taken * self.factor + 1) & 0xFF).astype(np.uint8).tobytes()


@dataclass(frozen=True)
class ToyOverhead:
    """Cycles of one change of the marker (a quarter of them before the pin changes), of the look
    at the counter that ends every pass, and of a layer's own."""

    marker: int = 0
    look: int = 0
    layer: int = 0
    power_w: float = 0.1


CLOCK_HZ = 100_000_000
IDLE_W = 0.033
INPUT_BYTES = 3000
TOY_NETWORK = (
    ToyLayer("conv0", 5000, 3, 150_000, 30_000, 20_000, 0.330),
    ToyLayer("dw1", 700, 5, 60_000, 30_000, 10_000, 0.165),
    ToyLayer("fc2", 10, 7, 8_000, 1_000, 1_000, 0.231),
)


@dataclass(frozen=True)
class Image:
    """The JSON "ELF": ``build_id`` (64 hex digits) and ``behaviour`` (one of BEHAVIOURS)."""

    build_id: str
    behaviour: str = "normal"

    def write(self, path: Path) -> Path:
        """Store the image for ``ScriptedChip.load_elf``."""
        content = {"build_id": self.build_id, "behaviour": self.behaviour}
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Image:
        """The image; SimulationError when the file is not one."""
        try:
            image = cls(**json.loads(path.read_text(encoding="utf-8")))
            if len(bytes.fromhex(image.build_id)) != 32 or image.behaviour not in BEHAVIOURS:
                raise ValueError(f"build id {image.build_id!r}, behaviour {image.behaviour!r}")
        except (OSError, ValueError, TypeError) as error:
            raise SimulationError(f"{path}: not an image for the firmware double: {error}") from (
                error
            )
        return image


@dataclass(frozen=True)
class Get:
    """Take a console byte; the firmware gets it back."""


@dataclass(frozen=True)
class Put:
    """Send bytes on the console."""

    data: bytes


@dataclass(frozen=True)
class Work:
    """Compute for a time at a power."""

    time_s: float
    power_w: float


@dataclass(frozen=True)
class Pin:
    """Set the marker pin."""

    level: bool


@dataclass(frozen=True)
class Restart:
    """Reset by software."""


Action = Get | Put | Work | Pin | Restart
Firmware = Generator[Action, int, None]


class DoubleCrash(Exception):
    """The scripted firmware crashes on purpose."""


class ScriptedChip:
    """Carries out a firmware double's actions in simulated time (``hil.sim.chip.Chip``)."""

    is_double = True
    timing_model = "firmware double: numbers written by hand, not a chip"

    def __init__(
        self,
        board: str = "scripted",
        baud: int = 1_000_000,
        bin_s: float = 2e-6,
        overhead: ToyOverhead = ToyOverhead(),
    ) -> None:
        self.name = "scripted"
        self.board = board
        self.supply_v = 3.3
        self.reset_cause = 0
        self.overhead = overhead
        self._byte_s = BYTE_BITS / baud
        self._bin_s = bin_s
        self._image: Image | None = None
        self.reset()

    # -- hil.sim.chip.Chip ------------------------------------------------------------------

    def load_elf(self, path: Path) -> None:
        self._image = Image.read(path)
        self.reset_cause = 1
        self.reset()

    def reset(self) -> None:
        self._time_s = 0.0
        self._tx = bytearray()
        self._edges: list[MarkerEdge] = []
        self._level = False
        self._knots: list[tuple[float, float]] = [(0.0, 0.0)]  # time, energy drawn until then
        self._first_bin = 0
        self._restart()

    def _restart(self) -> None:
        """Start the firmware; time, energy and what has left the pins go on."""
        self._rx: deque[tuple[float, int]] = deque()
        self._fault: Fault | None = None
        self._exit_code: int | None = None
        self._set_pin(False)
        self._firmware = None if self._image is None else firmware(self, self._image)
        self._action: Action | None = None
        self._left_s = 0.0
        self._advance(0)

    def run(self, duration_s: float) -> Stop:
        end_s = self._time_s + duration_s
        while self._time_s < end_s:
            stop = self._perform(end_s)
            if stop is not None:
                return stop
        return Stop.BUDGET

    def idle_until(self, time_s: float) -> None:
        self._spend(time_s - self._time_s, IDLE_W)

    def pass_time(self, time_s: float) -> None:
        self.idle_until(time_s)

    @property
    def time_s(self) -> float:
        return self._time_s

    @property
    def listening(self) -> bool:
        return True

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def uart_feed(self, data: bytes) -> None:
        arrival_s = max(self._time_s, self._rx[-1][0] if self._rx else 0.0)
        for byte in data:
            arrival_s += self._byte_s
            self._rx.append((arrival_s, byte))

    def uart_drain(self) -> bytes:
        data = bytes(self._tx)
        self._tx.clear()
        return data

    def marker_drain(self) -> list[MarkerEdge]:
        edges, self._edges = self._edges, []
        return edges

    def energy_drain(self) -> EnergyBins:
        first, end = self._first_bin, int(self._time_s / self._bin_s)
        borders_s = np.arange(first, end + 1) * self._bin_s
        times, energies = np.array(self._knots).T
        energy_j = np.diff(np.interp(borders_s, times, energies))
        border_j = float(np.interp(end * self._bin_s, times, energies))
        later = [knot for knot in self._knots if knot[0] > end * self._bin_s]
        self._knots = [(end * self._bin_s, border_j), *later]
        self._first_bin = end
        return EnergyBins(first, self._bin_s, energy_j)

    def counters(self) -> dict[str, int]:
        return {"cycles": round(self._time_s * CLOCK_HZ)}

    # -- carrying out -----------------------------------------------------------------------

    def _advance(self, value: int) -> None:
        """Let the firmware say what it does next; ``value`` is the byte of a finished Get."""
        if self._firmware is None:
            return
        try:
            self._action = (
                next(self._firmware) if self._action is None else self._firmware.send(value)
            )
        except StopIteration:
            self._exit_code = 0
        except DoubleCrash as crash:
            self._fault = Fault(str(crash), pc=0)
        if isinstance(self._action, Work):
            self._left_s = self._action.time_s
        elif isinstance(self._action, Put):
            self._left_s = len(self._action.data) * self._byte_s

    def _perform(self, end_s: float) -> Stop | None:
        if self._fault is not None:
            return Stop.FAULT
        if self._exit_code is not None:
            return Stop.EXITED
        action = self._action
        if isinstance(action, Get) or action is None:
            return self._take(end_s)
        if isinstance(action, Pin):
            self._set_pin(action.level)
            self._advance(0)
        elif isinstance(action, Restart):
            self.reset_cause = 2
            self._restart()
        else:
            self._work(action, end_s)
        return None

    def _take(self, end_s: float) -> Stop | None:
        if not self._rx or self._action is None:
            return Stop.WAITING
        arrival_s, byte = self._rx[0]
        self._spend(min(arrival_s, end_s) - self._time_s, IDLE_W)
        if arrival_s <= end_s:
            self._rx.popleft()
            self._advance(byte)
        return None

    def _work(self, action: Work | Put, end_s: float) -> None:
        step_s = min(self._left_s, end_s - self._time_s)
        self._spend(step_s, action.power_w if isinstance(action, Work) else IDLE_W)
        self._left_s -= step_s
        if self._left_s <= 0:
            if isinstance(action, Put):
                self._tx += action.data
            self._advance(0)

    def _set_pin(self, level: bool) -> None:
        if level != self._level:
            self._level = level
            self._edges.append(MarkerEdge(self._time_s, level))

    def _spend(self, time_s: float, power_w: float) -> None:
        if time_s > 0:
            self._time_s += time_s
            self._knots.append((self._time_s, self._knots[-1][1] + power_w * time_s))


# ------------------------------------------------------------------------------------------
# The double's firmware
# ------------------------------------------------------------------------------------------


@dataclass
class Memory:
    """What the double remembers between requests. ``tensors[0]`` is the input."""

    tensors: list[bytes]
    partition: int
    digests: bytes = b""


def frame(type_: int, sequence: int, payload: bytes) -> bytes:
    """A frame, encoded here again so that the double checks the host's encoder."""
    body = struct.pack("<BBH", type_, sequence, len(payload)) + payload
    return b"\xa5\x5a" + body + struct.pack("<I", zlib.crc32(body))


def firmware(chip: ScriptedChip, image: Image) -> Firmware:
    """The double's main loop."""
    memory = Memory(
        [bytes(INPUT_BYTES)] + [bytes(x.output_bytes) for x in TOY_NETWORK], len(TOY_NETWORK)
    )
    if image.behaviour == "mute":
        while True:
            yield Get()
    yield Put(frame(Message.HELLO, 0, _identity(chip, image)))
    while True:
        type_, sequence, request, crc_ok = yield from _receive()
        if not crc_ok:
            yield Put(frame(Message.ERROR, sequence, wire.ERROR.pack(ErrorCode.BAD_CRC, 0)))
            continue
        yield Work(20e-6, IDLE_W)
        if type_ == Message.RUN and image.behaviour == "crash_on_run":
            raise DoubleCrash("the double crashes on RUN")
        if type_ == Message.RUN and image.behaviour == "restart_on_run":
            yield Restart()
        answer = yield from _answer(chip, image, memory, type_, request)
        if isinstance(answer, tuple):
            yield Put(frame(Message.ERROR, sequence, wire.ERROR.pack(*answer)))
        else:
            yield Put(frame(type_ | wire.RESPONSE, sequence, answer))
        if type_ == Message.RESET:
            yield Restart()


def _receive() -> Generator[Action, int, tuple[int, int, bytes, bool]]:
    previous = 0
    while True:
        byte = yield Get()
        if (previous, byte) == (0xA5, 0x5A):
            break
        previous = byte
    head = yield from _bytes(4)
    type_, sequence, length = struct.unpack("<BBH", head)
    payload = yield from _bytes(length)
    (crc,) = struct.unpack("<I", (yield from _bytes(4)))
    return type_, sequence, payload, crc == zlib.crc32(head + payload)


def _bytes(count: int) -> Generator[Action, int, bytes]:
    data = bytearray()
    for _ in range(count):
        byte = yield Get()
        data.append(byte)
    return bytes(data)


def _answer(
    chip: ScriptedChip, image: Image, memory: Memory, type_: int, request: bytes
) -> Generator[Action, int, bytes | tuple[int, int]]:
    """The answer's payload, or code and detail of an ERROR."""
    if type_ == Message.RUN:
        return (yield from _run(chip.overhead, memory, *wire.RUN.unpack(request)))
    if type_ == Message.REPEAT_LAYERS:
        return (yield from _repeat(chip.overhead, memory, request))
    if type_ == Message.EMPTY_WINDOWS:
        return (yield from _empty(chip.overhead, *wire.EMPTY_WINDOWS.unpack(request)))
    if type_ == Message.SELF_TEST:
        yield Work(0.01, 0.1)
        return wire.SELF_TEST.pack(1_000_000, 1_000_010, 5000)
    if type_ == Message.IDENTIFY:
        return _identity(chip, image)
    if type_ == Message.LOAD_INPUT:
        return _load_input(memory, request)
    if type_ == Message.SET_PARTITION:
        return _set_partition(memory, *wire.SET_PARTITION.unpack(request))
    if type_ == Message.READ_TENSOR:
        return _read_tensor(memory, *wire.READ_TENSOR.unpack(request))
    if type_ == Message.READ_DIGESTS:
        return memory.digests or (ErrorCode.BAD_ARGUMENT, 0)
    if type_ == Message.READ_FAULT:
        restarted = chip.reset_cause == 2
        return wire.FAULT.pack(int(restarted), 3, 0x0800_1234, 0x2000_0000, 1, 2, 3, 4)
    if type_ == Message.RESET:
        return b""
    return ErrorCode.UNKNOWN_MESSAGE, type_


def _identity(chip: ScriptedChip, image: Image) -> bytes:
    return wire.IDENTITY.pack(
        wire.PROTOCOL_VERSION,
        len(TOY_NETWORK),
        CLOCK_HZ,
        CLOCK_HZ,
        chip.reset_cause,
        b"scripted double\0",
        bytes.fromhex(image.build_id),
        chip.board.encode(),
        b"toy",
    )


def _load_input(memory: Memory, request: bytes) -> bytes | tuple[int, int]:
    (offset,) = wire.LOAD_INPUT.unpack_from(request)
    data = request[wire.LOAD_INPUT.size :]
    if offset + len(data) > INPUT_BYTES:
        return ErrorCode.BAD_ARGUMENT, offset
    old = memory.tensors[0]
    memory.tensors[0] = old[:offset] + data + old[offset + len(data) :]
    return b""


def _set_partition(memory: Memory, layers: int) -> bytes | tuple[int, int]:
    if not 1 <= layers <= len(TOY_NETWORK):
        return ErrorCode.BAD_ARGUMENT, layers
    memory.partition = layers
    return wire.PARTITION_SET.pack(TOY_NETWORK[layers - 1].output_bytes)


def _read_tensor(memory: Memory, index: int, offset: int, length: int) -> bytes | tuple[int, int]:
    if index >= len(memory.tensors):
        return ErrorCode.BAD_ARGUMENT, index
    if offset + length > len(memory.tensors[index]):
        return ErrorCode.BAD_ARGUMENT, offset
    return memory.tensors[index][offset : offset + length]


def _layer(memory: Memory, index: int) -> Generator[Action, int, None]:
    layer = TOY_NETWORK[index]
    memory.tensors[index + 1] = layer.apply(memory.tensors[index])
    yield Work(layer.cycles / CLOCK_HZ, layer.power_w)


def _cycles(cycles: int, power_w: float) -> Work:
    return Work(cycles / CLOCK_HZ, power_w)


def _mark(overhead: ToyOverhead, level: bool) -> Generator[Action, int, None]:
    """One change of the marker."""
    before = overhead.marker // 4
    yield _cycles(before, overhead.power_w)
    yield Pin(level)
    yield _cycles(overhead.marker - before, overhead.power_w)


def _empty(
    overhead: ToyOverhead, count: int, gap_us: int
) -> Generator[Action, int, bytes | tuple[int, int]]:
    if not 1 <= count <= wire.MAX_EMPTY_WINDOWS:
        return ErrorCode.BAD_ARGUMENT, count
    for _ in range(count):
        yield Work(gap_us * 1e-6, IDLE_W)
        yield from _mark(overhead, True)
        yield _cycles(overhead.look, overhead.power_w)
        yield from _mark(overhead, False)
        yield _cycles(overhead.layer, overhead.power_w)
    yield Work(gap_us * 1e-6, IDLE_W)
    window = (overhead.marker, overhead.look, overhead.marker, overhead.layer)
    return count * wire.EMPTY_WINDOW.pack(*window)


def _pass(overhead: ToyOverhead, memory: Memory, layers: range) -> Generator[Action, int, None]:
    """One pass of a window: the layers, and a look at the counter."""
    for index in layers:
        yield from _layer(memory, index)
    yield _cycles(overhead.look, overhead.power_w)


def _run(
    overhead: ToyOverhead, memory: Memory, warmup: int, iterations: int, flags: int
) -> Generator[Action, int, bytes | tuple[int, int]]:
    if iterations == 0:
        return ErrorCode.BAD_ARGUMENT, 0
    active, marked = range(memory.partition), flags & RunFlag.MARKER
    for _ in range(warmup):
        yield from _pass(overhead, memory, active)
    if marked:
        yield from _mark(overhead, True)
    for _ in range(iterations):
        yield from _pass(overhead, memory, active)
    if marked:
        yield from _mark(overhead, False)
    if flags & RunFlag.DIGEST:
        memory.digests = b"".join(
            struct.pack("<I", zlib.crc32(memory.tensors[i + 1])) for i in active
        )
    total = iterations * (sum(TOY_NETWORK[i].cycles for i in active) + overhead.look)
    table = b"".join(_layer_cycles(overhead, TOY_NETWORK[i]) for i in active)
    return wire.RUN_DONE.pack(iterations, total) + (b"" if flags & RunFlag.TOTAL_ONLY else table)


def _layer_cycles(overhead: ToyOverhead, layer: ToyLayer) -> bytes:
    return wire.LAYER_CYCLES.pack(layer.cycles + overhead.layer, layer.compute, layer.copy)


def _repeat(
    overhead: ToyOverhead, memory: Memory, request: bytes
) -> Generator[Action, int, bytes | tuple[int, int]]:
    first, gap_us = wire.REPEAT_LAYERS.unpack_from(request)
    counts = [c for (c,) in struct.iter_unpack("<H", request[wire.REPEAT_LAYERS.size :])]
    if first + len(counts) > len(TOY_NETWORK):
        return ErrorCode.BAD_ARGUMENT, first
    for index in range(first):
        yield from _layer(memory, index)
    cycles = []
    for index, count in enumerate(counts, first):
        cycles.append(count * (TOY_NETWORK[index].cycles + overhead.look))
        if count == 0:
            yield from _layer(memory, index)
            continue
        yield Work(gap_us * 1e-6, IDLE_W)
        yield from _mark(overhead, True)
        for _ in range(count):
            yield from _pass(overhead, memory, range(index, index + 1))
        yield from _mark(overhead, False)
    yield Work(gap_us * 1e-6, IDLE_W)
    return struct.pack(f"<{len(cycles)}Q", *cycles)
