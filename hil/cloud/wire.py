"""What goes over the air: one slice of an intermediate tensor, and the cloud's answer.

A slice carries the first ``channels`` channels, channel after channel (channel, height, width),
so that any prefix of whole channels is itself a smaller slice: that is what makes transmission
progressive. The frame is 24 bytes plus the payload; every byte counts at 50 kbit/s, so shapes
and scales are not sent but looked up by the network's digest (its first 8 bytes tell networks
apart by far more than any deployment has).

Slice frame, little-endian:
    "HS", version u8, flags u8 (0), network digest 8 bytes, layers u16, channels u16,
    payload length u32, CRC-32 u32 over header before it and payload, payload
Reply frame:
    "HR", version u8, status u8 (0 logits, 1 refused), payload length u32, CRC-32 u32, payload
    (float32 logits, or the reason in UTF-8)
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from hil.core.errors import ProtocolError

VERSION = 1
SLICE_MAGIC = b"HS"
REPLY_MAGIC = b"HR"
DIGEST_BYTES = 8
_SLICE = struct.Struct("<2sBB8sHHI")
_REPLY = struct.Struct("<2sBBI")
_CRC = struct.Struct("<I")
SLICE_HEADER_BYTES = _SLICE.size + _CRC.size
REPLY_HEADER_BYTES = _REPLY.size + _CRC.size
# Far beyond any activation or logits here; a bound keeps a damaged length from asking for 4 GB.
MAX_PAYLOAD = 1 << 24


@dataclass(frozen=True, eq=False)
class Slice:
    """The first channels of the tensor after ``layers`` layers; ``data`` is (channel, h, w)."""

    network_digest: str
    layers: int
    data: np.ndarray

    @property
    def channels(self) -> int:
        return int(self.data.shape[0])


@dataclass(frozen=True)
class SliceHeader:
    """A slice frame's header, checked for magic, version and size but not yet for its CRC."""

    digest: bytes
    layers: int
    channels: int
    payload_bytes: int
    crc: int
    raw: bytes

    def is_of(self, network_digest: str) -> bool:
        """Whether the sender means the network with this (hex) digest."""
        return self.digest == short_digest(network_digest)


def short_digest(network_digest: str) -> bytes:
    """The part of a network's hex digest that travels."""
    return bytes.fromhex(network_digest)[:DIGEST_BYTES]


def slice_of(network_digest: str, layers: int, tensor: np.ndarray, channels: int) -> Slice:
    """The first ``channels`` of a tensor in (height, width, channel) order, as boards keep it."""
    total = tensor.shape[2]
    if not 1 <= channels <= total:
        raise ProtocolError(f"{channels} channels cannot be sent of a tensor with {total}")
    data = np.ascontiguousarray(tensor[:, :, :channels].transpose(2, 0, 1))
    return Slice(network_digest, layers, data)


def encode_slice(part: Slice) -> bytes:
    """The frame of a slice of 8-bit values."""
    if part.data.dtype.itemsize != 1 or part.data.ndim != 3:
        raise ProtocolError(
            f"a slice has 8-bit values in (channel, height, width), not {part.data.dtype} "
            f"{part.data.shape}"
        )
    payload = part.data.tobytes()
    digest = short_digest(part.network_digest)
    header = _SLICE.pack(SLICE_MAGIC, VERSION, 0, digest, part.layers, part.channels, len(payload))
    return header + _CRC.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def read_slice_header(raw: bytes) -> SliceHeader:
    """Read the first ``SLICE_HEADER_BYTES``. ProtocolError says what is wrong with them."""
    if len(raw) < SLICE_HEADER_BYTES:
        raise ProtocolError(f"slice frame of {len(raw)} bytes ends within its header")
    magic, version, flags, digest, layers, channels, size = _SLICE.unpack_from(raw)
    _check_head("slice", magic, SLICE_MAGIC, version, size)
    if flags or not channels:
        raise ProtocolError(f"slice frame with flags {flags:#04x} and {channels} channels")
    (crc,) = _CRC.unpack_from(raw, _SLICE.size)
    return SliceHeader(digest, layers, channels, size, crc, bytes(raw[: _SLICE.size]))


def decode_slice(
    header: SliceHeader, payload: bytes, height: int, width: int, dtype: np.dtype
) -> np.ndarray:
    """The slice's values as (channel, height, width); the receiver knows shape and type."""
    if len(payload) != header.payload_bytes:
        raise ProtocolError(f"slice of {header.payload_bytes} bytes ended after {len(payload)}")
    computed = zlib.crc32(payload, zlib.crc32(header.raw))
    if computed != header.crc:
        raise ProtocolError(f"slice with CRC {header.crc:#010x}, computed {computed:#010x}")
    expected = header.channels * height * width
    if expected != len(payload):
        raise ProtocolError(
            f"{header.channels} channels of {height}x{width} are {expected} bytes, the slice after "
            f"layer {header.layers} has {len(payload)}"
        )
    return np.frombuffer(payload, dtype=dtype).reshape(header.channels, height, width)


def encode_logits(logits: np.ndarray) -> bytes:
    """The reply to a slice: float32 logits."""
    return _encode_reply(0, np.ascontiguousarray(logits, dtype="<f4").tobytes())


def encode_refusal(reason: str) -> bytes:
    """The reply to a slice that cannot be served."""
    return _encode_reply(1, reason.encode())


def _encode_reply(status: int, payload: bytes) -> bytes:
    header = _REPLY.pack(REPLY_MAGIC, VERSION, status, len(payload))
    return header + _CRC.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def reply_payload_bytes(raw: bytes) -> int:
    """Bytes that follow a reply's header."""
    if len(raw) < REPLY_HEADER_BYTES:
        raise ProtocolError(f"reply of {len(raw)} bytes ends within its header")
    magic, version, _, size = _REPLY.unpack_from(raw)
    _check_head("reply", magic, REPLY_MAGIC, version, size)
    return int(size)


def decode_reply(raw: bytes) -> np.ndarray:
    """Logits of a whole reply frame. ProtocolError carries the cloud's reason if it refused."""
    size = reply_payload_bytes(raw)
    payload = raw[REPLY_HEADER_BYTES:]
    if len(payload) != size:
        raise ProtocolError(f"reply of {size} bytes ended after {len(payload)}")
    (crc,) = _CRC.unpack_from(raw, _REPLY.size)
    computed = zlib.crc32(payload, zlib.crc32(raw[: _REPLY.size]))
    if crc != computed:
        raise ProtocolError(f"reply with CRC {crc:#010x}, computed {computed:#010x}")
    status = raw[3]
    if status == 1:
        raise ProtocolError(f"the cloud refused: {payload.decode(errors='replace')}")
    if status or size % 4:
        raise ProtocolError(f"reply with status {status} and {size} bytes is neither answer")
    return np.frombuffer(payload, dtype="<f4").astype(np.float32)


def _check_head(kind: str, magic: bytes, expected: bytes, version: int, size: int) -> None:
    if magic != expected:
        raise ProtocolError(f"not a {kind} frame: it begins with {magic!r}, not {expected!r}")
    if version != VERSION:
        raise ProtocolError(f"{kind} frame of version {version}, this speaks {VERSION}")
    if size > MAX_PAYLOAD:
        raise ProtocolError(f"{kind} frame claims {size} bytes, at most {MAX_PAYLOAD} are allowed")
