"""Payloads of the console protocol as objects. Pure; the structures are in hil.core.console.

Every decoder raises ProtocolError when the payload has another size than its message demands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hil.core import console as wire
from hil.core.errors import ProtocolError
from hil.core.trial import EmptyWindow, LayerCycles, SelfTestSample


@dataclass(frozen=True)
class Identity:
    """Who answers: board, chip and the image it runs. ``chip_id`` and ``build_id`` are hex."""

    protocol: int
    layers: int
    compute_clock_hz: int
    control_clock_hz: int
    reset_cause: int
    chip_id: str
    build_id: str
    board: str
    network: str

    def __str__(self) -> str:
        return (
            f"{self.board} (chip {self.chip_id}) runs build {self.build_id[:12]}: network "
            f"{self.network}, {self.layers} layers, {self.compute_clock_hz / 1e6:.3f} MHz"
        )


@dataclass(frozen=True)
class RunResult:
    """Cycles of all timed ``iterations`` together, and of each layer of the last one."""

    iterations: int
    cycles: int
    layers: tuple[LayerCycles, ...]


@dataclass(frozen=True)
class FaultRecord:
    """A fault the board kept over the reset that it caused. ``words`` are the board's own."""

    cause: int
    pc: int
    address: int
    words: tuple[int, int, int, int]

    def __str__(self) -> str:
        words = " ".join(f"0x{word:08x}" for word in self.words)
        return (
            f"cause 0x{self.cause:08x} at pc 0x{self.pc:08x}, address 0x{self.address:08x}, "
            f"board words {words}"
        )


def _unpack(layout: struct.Struct, payload: bytes, name: str) -> tuple:
    if len(payload) != layout.size:
        raise ProtocolError(
            f"{name} has {len(payload)} payload bytes, {layout.size} belong there; firmware and "
            "host may be of different protocol versions"
        )
    return layout.unpack(payload)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("ascii", "backslashreplace")


def decode_identity(payload: bytes) -> Identity:
    """HELLO or the answer to IDENTIFY; ProtocolError for another protocol version."""
    # The version stands first in every version, so it is judged before the size.
    version = int.from_bytes(payload[:2], "little")
    if len(payload) >= 2 and version != wire.PROTOCOL_VERSION:
        raise ProtocolError(
            f"the board speaks console protocol {version}, this host speaks "
            f"{wire.PROTOCOL_VERSION}; build and flash the firmware of this version"
        )
    protocol, layers, compute, control, cause, chip, build, board, network = _unpack(
        wire.IDENTITY, payload, "the identity"
    )
    return Identity(
        protocol, layers, compute, control, cause, chip.hex(), build.hex(), _text(board),
        _text(network),
    )  # fmt: skip


def decode_self_test(payload: bytes) -> SelfTestSample:
    """The answer to SELF_TEST."""
    return SelfTestSample(*_unpack(wire.SELF_TEST, payload, "the self-test's answer"))


def decode_partition(payload: bytes) -> int:
    """The answer to SET_PARTITION: bytes of the partition's output tensor."""
    return int(_unpack(wire.PARTITION_SET, payload, "the answer to SET_PARTITION")[0])


def decode_run(payload: bytes, total_only: bool) -> RunResult:
    """The answer to RUN, with a table of layers unless ``total_only``."""
    head, table = payload[: wire.RUN_DONE.size], payload[wire.RUN_DONE.size :]
    iterations, cycles = _unpack(wire.RUN_DONE, head, "the answer to RUN")
    if len(table) % wire.LAYER_CYCLES.size or bool(table) == total_only:
        raise ProtocolError(
            f"the answer to RUN has {len(table)} bytes of layer cycles; "
            + ("none were asked for" if total_only else f"{wire.LAYER_CYCLES.size} a layer belong")
        )
    layers = tuple(LayerCycles(*row) for row in wire.LAYER_CYCLES.iter_unpack(table))
    return RunResult(iterations, cycles, layers)


def decode_words(payload: bytes, count: int, layout: str, name: str) -> tuple[int, ...]:
    """``count`` little-endian integers, ``layout`` "I" (32 bit) or "Q" (64 bit)."""
    return tuple(_unpack(struct.Struct(f"<{count}{layout}"), payload, name))


def decode_empty_windows(payload: bytes, count: int) -> tuple[EmptyWindow, ...]:
    """The answer to EMPTY_WINDOWS."""
    words = decode_words(payload, 4 * count, "I", "the answer to EMPTY_WINDOWS")
    return tuple(EmptyWindow(*words[at : at + 4]) for at in range(0, len(words), 4))


def decode_fault(payload: bytes) -> FaultRecord | None:
    """The answer to READ_FAULT; None when the board has no record."""
    present, cause, pc, address, *words = _unpack(wire.FAULT, payload, "the fault record")
    if not present:
        return None
    first, second, third, fourth = words
    return FaultRecord(cause, pc, address, (first, second, third, fourth))


def decode_error(payload: bytes) -> tuple[int, int]:
    """Code and detail of an ERROR."""
    code, detail = _unpack(wire.ERROR, payload, "an ERROR")
    return code, detail
