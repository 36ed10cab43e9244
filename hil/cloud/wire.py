"""What goes over the air: one slice of an intermediate tensor, and the cloud's answer.

A slice carries the first ``channels`` channels, channel after channel (channel, height, width),
so that any prefix of whole channels is itself a smaller slice: that is what makes transmission
progressive. The frame is 24 bytes plus the payload; every byte counts at 50 kbit/s, so shapes
and scales are not sent but looked up by the network's digest (its first 8 bytes tell networks
apart by far more than any deployment has).

Slice frame, little-endian:
    "HS", version u8, flags u8 (the coding: 0 raw, 1 packed, 2 range; hil.coding), network digest
    8 bytes, layers u16, channels u16, payload length u32, CRC-32 u32, payload
    The CRC is over the header before it, the codec's digest (its first 8 bytes, not sent; raw
    slices have none) and the payload: a receiver with other statistics or bits notices.
Reply frame:
    "HR", version u8, status u8 (0 logits, 1 refused), payload length u32, CRC-32 u32, payload
    (float32 logits, or the reason in UTF-8)
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from hil.coding.slice_codec import Coding, SliceCodec
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


@dataclass(frozen=True)
class Slice:
    """The first ``channels`` of the tensor after ``layers`` layers, coded into ``payload``.

    ``codec`` is the first part of the codec's digest that the CRC covers; empty for raw slices.
    """

    network_digest: str
    layers: int
    channels: int
    payload: bytes
    coding: Coding = Coding.RAW
    codec: bytes = b""


@dataclass(frozen=True)
class SliceHeader:
    """A slice frame's header, checked for magic, version and size but not yet for its CRC."""

    coding: Coding
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


def slice_of(
    network_digest: str,
    layers: int,
    tensor: np.ndarray,
    channels: int,
    codec: SliceCodec | None = None,
) -> Slice:
    """The first ``channels`` of an 8-bit tensor in (height, width, channel) order, as boards
    keep it. Raw, or coded by ``codec`` (DataError if that is for another tensor)."""
    total = tensor.shape[2]
    if not 1 <= channels <= total:
        raise ProtocolError(f"{channels} channels cannot be sent of a tensor with {total}")
    if codec is not None:
        payload = codec.encode(tensor, channels)
        return Slice(network_digest, layers, channels, payload, codec.coding, _identity(codec))
    if tensor.dtype.itemsize != 1:
        raise ProtocolError(f"a slice has 8-bit values, not {tensor.dtype}")
    payload = np.ascontiguousarray(tensor[:, :, :channels].transpose(2, 0, 1)).tobytes()
    return Slice(network_digest, layers, channels, payload)


def _identity(codec: SliceCodec) -> bytes:
    """What the CRC covers of a codec: nothing for raw slices, which need no agreement."""
    return b"" if codec.coding is Coding.RAW else bytes.fromhex(codec.digest)[:DIGEST_BYTES]


def encode_slice(part: Slice) -> bytes:
    """The frame of a slice."""
    header = _SLICE.pack(
        SLICE_MAGIC,
        VERSION,
        part.coding,
        short_digest(part.network_digest),
        part.layers,
        part.channels,
        len(part.payload),
    )
    return header + _CRC.pack(_slice_crc(header, part.codec, part.payload)) + part.payload


def _slice_crc(header: bytes, codec: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(header + codec))


def read_slice_header(raw: bytes) -> SliceHeader:
    """Read the first ``SLICE_HEADER_BYTES``. ProtocolError says what is wrong with them."""
    if len(raw) < SLICE_HEADER_BYTES:
        raise ProtocolError(f"slice frame of {len(raw)} bytes ends within its header")
    magic, version, flags, digest, layers, channels, size = _SLICE.unpack_from(raw)
    _check_head("slice", magic, SLICE_MAGIC, version, size)
    if flags not in set(Coding) or not channels:
        raise ProtocolError(f"slice frame with flags {flags:#04x} and {channels} channels")
    (crc,) = _CRC.unpack_from(raw, _SLICE.size)
    head = bytes(raw[: _SLICE.size])
    return SliceHeader(Coding(flags), digest, layers, channels, size, crc, head)


def decode_slice(header: SliceHeader, payload: bytes, codec: SliceCodec) -> np.ndarray:
    """The slice's values as (channel, height, width), 8 bits each.

    ``codec`` is the receiver's for the header's layers and coding: it knows shape and type.
    """
    if codec.coding is not header.coding:
        raise ProtocolError(f"{header.coding.name} slice for a {codec.coding.name} codec")
    if len(payload) != header.payload_bytes:
        raise ProtocolError(f"slice of {header.payload_bytes} bytes ended after {len(payload)}")
    computed = _slice_crc(header.raw, _identity(codec), payload)
    if computed != header.crc:
        message = f"slice with CRC {header.crc:#010x}, computed {computed:#010x}"
        if codec.coding is not Coding.RAW:
            message += (
                f"; damaged, or of another codec than {codec.digest[:16]} (bits, statistics): "
                "deploy the same on both ends"
            )
        raise ProtocolError(message)
    return codec.decode(payload, header.channels)


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
