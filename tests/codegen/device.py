"""A simulated chip behind the console protocol, without pty or twin: for tests of firmware."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from hil.core import console
from hil.core.network import Network
from hil.sim.chip import Chip, Stop

LONGEST_ANSWER_S = 60.0  # of chip time


@dataclass(frozen=True)
class Answer:
    """A frame from the board."""

    message: int
    sequence: int
    payload: bytes


def encode(message: int, payload: bytes = b"", sequence: int = 1) -> bytes:
    """A request frame, written from the protocol's description (not with the product's code)."""
    body = bytes([message, sequence]) + len(payload).to_bytes(2, "little") + payload
    return b"\xa5\x5a" + body + zlib.crc32(body).to_bytes(4, "little")


class Refused(Exception):
    """The board answered ERROR."""

    def __init__(self, code: int, detail: int):
        super().__init__(f"error {code}, detail 0x{detail:x}")
        self.code = code
        self.detail = detail


class Device:
    """Console requests on a chip; every method returns what the board answered."""

    def __init__(self, chip: Chip):
        self.chip = chip
        self.received = b""
        self.sequence = 0

    def send_raw(self, data: bytes) -> None:
        """Bytes onto the wire, then time until the firmware waits for more."""
        self.chip.uart_feed(data)
        self.run_until_waiting()

    def run_until_waiting(self) -> None:
        stop = self.chip.run(LONGEST_ANSWER_S)
        assert stop is Stop.WAITING, f"{stop}: {self.chip.fault}"
        self.received += self.chip.uart_drain()

    def take(self) -> Answer:
        """The next frame received; its length and CRC are checked."""
        frame = self.received
        assert frame[:2] == b"\xa5\x5a", f"no frame in {frame[:16]!r}"
        length = int.from_bytes(frame[4:6], "little")
        end = 6 + length + 4
        assert len(frame) >= end, f"{len(frame)} bytes of a frame of {end}"
        assert zlib.crc32(frame[2 : end - 4]) == int.from_bytes(frame[end - 4 : end], "little")
        self.received = frame[end:]
        return Answer(frame[2], frame[3], frame[6 : end - 4])

    def ask(self, message: int, payload: bytes = b"") -> bytes:
        """The payload of the answer; Refused for an ERROR."""
        self.sequence = self.sequence % 255 + 1
        self.send_raw(encode(message, payload, self.sequence))
        answer = self.take()
        assert answer.sequence == self.sequence
        if answer.message == console.Message.ERROR:
            raise Refused(*console.ERROR.unpack(answer.payload))
        assert answer.message == message | console.RESPONSE
        return answer.payload

    def load_input(self, tensor: np.ndarray) -> None:
        data = tensor.tobytes()
        step = console.MAX_PAYLOAD - console.LOAD_INPUT.size
        for at in range(0, len(data), step):
            self.ask(console.Message.LOAD_INPUT, console.LOAD_INPUT.pack(at) + data[at : at + step])

    def run(self, iterations: int = 1, warmup: int = 0, flags: int = 0) -> tuple[int, np.ndarray]:
        """(cycles of all iterations, rows of (total, compute, copy) of the last one)."""
        answer = self.ask(console.Message.RUN, console.RUN.pack(warmup, iterations, flags))
        count, cycles = console.RUN_DONE.unpack_from(answer)
        assert count == iterations
        return cycles, np.frombuffer(answer[console.RUN_DONE.size :], "<u4").reshape(-1, 3)

    def empty_windows(self, count: int, gap_us: int) -> np.ndarray:
        """Rows of (rise, pass, fall, layer) cycles."""
        answer = self.ask(console.Message.EMPTY_WINDOWS, console.EMPTY_WINDOWS.pack(count, gap_us))
        return np.frombuffer(answer, "<u4").reshape(count, 4).astype(int)

    def repeat_layers(self, counts: list[int], gap_us: int) -> list[int]:
        """Cycles of a window a layer, from layer 0 on."""
        ask = console.REPEAT_LAYERS.pack(0, gap_us) + np.array(counts, "<u2").tobytes()
        return np.frombuffer(self.ask(console.Message.REPEAT_LAYERS, ask), "<u8").tolist()

    def marked_cycles(self, clock_hz: float) -> list[float]:
        """How long the marker was high each time since the last call, by the chip's own time."""
        edges = self.chip.marker_drain()
        assert [edge.level for edge in edges] == [True, False] * (len(edges) // 2)
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(fall.time_s - rise.time_s) * clock_hz for rise, fall in pairs]

    def set_partition(self, layers: int) -> int:
        answer = self.ask(console.Message.SET_PARTITION, console.SET_PARTITION.pack(layers))
        return console.PARTITION_SET.unpack(answer)[0]

    def digests(self) -> list[int]:
        return np.frombuffer(self.ask(console.Message.READ_DIGESTS), "<u4").tolist()

    def tensor(self, network: Network, number: int) -> np.ndarray:
        wanted = network.tensors[number]
        data = b""
        while len(data) < wanted.size_bytes:
            length = min(console.MAX_PAYLOAD, wanted.size_bytes - len(data))
            ask = console.READ_TENSOR.pack(number, len(data), length)
            data += self.ask(console.Message.READ_TENSOR, ask)
        return np.frombuffer(data, wanted.dtype).reshape(wanted.shape)
