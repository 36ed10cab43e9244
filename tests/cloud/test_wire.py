"""Slice and reply frames: bytes written out by hand, every damage noticed."""

from __future__ import annotations

import binascii

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.cloud.wire import (
    REPLY_HEADER_BYTES,
    SLICE_HEADER_BYTES,
    decode_reply,
    decode_slice,
    encode_logits,
    encode_refusal,
    encode_slice,
    read_slice_header,
    reply_payload_bytes,
    slice_of,
)
from hil.coding.slice_codec import Coding, SliceCodec
from hil.coding.statistics import SliceStatistics
from hil.core.errors import ProtocolError
from hil.core.network import Tensor

DIGEST = "0123456789abcdef" * 4


def decode(frame: bytes, height: int, width: int, dtype: str = "i1") -> np.ndarray:
    codec = SliceCodec(Tensor((height, width, 9), 0.1, signed=dtype == "i1"))
    header = read_slice_header(frame[:SLICE_HEADER_BYTES])
    return decode_slice(header, frame[SLICE_HEADER_BYTES:], codec)


def test_a_frame_byte_by_byte() -> None:
    tensor = np.arange(2 * 1 * 3, dtype=np.int8).reshape(2, 1, 3)  # pixels 0 1 2 and 3 4 5
    frame = encode_slice(slice_of(DIGEST, 5, tensor, 2))
    header = (
        b"HS"
        + bytes([1, 0])
        + bytes.fromhex("0123456789abcdef")
        + bytes([5, 0])
        + bytes([2, 0])
        + bytes([4, 0, 0, 0])
    )
    payload = bytes([0, 3, 1, 4])  # channel after channel
    crc = binascii.crc32(header + payload).to_bytes(4, "little")
    assert frame == header + crc + payload
    assert SLICE_HEADER_BYTES == 24


def test_a_prefix_of_channels_is_the_smaller_slice() -> None:
    tensor = np.random.default_rng(0).integers(-128, 128, (4, 5, 6)).astype(np.int8)
    payloads = [encode_slice(slice_of(DIGEST, 1, tensor, n))[SLICE_HEADER_BYTES:] for n in (2, 6)]
    assert payloads[1].startswith(payloads[0])


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 9),
    st.sampled_from(["i1", "u1"]),
    st.data(),
)
def test_round_trip(
    height: int, width: int, channels: int, dtype: str, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, channels))
    raw = data.draw(
        st.binary(min_size=height * width * channels, max_size=height * width * channels)
    )
    tensor = np.frombuffer(raw, dtype).reshape(height, width, channels)
    frame = encode_slice(slice_of(DIGEST, 300, tensor, count))
    header = read_slice_header(frame[:SLICE_HEADER_BYTES])
    assert (header.layers, header.channels) == (300, count)
    assert header.is_of(DIGEST) and not header.is_of("f" * 64)
    values = decode(frame, height, width, dtype)
    assert np.array_equal(values.transpose(1, 2, 0), tensor[:, :, :count])


@given(st.integers(0, 24 + 12 - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(position: int, change: int) -> None:
    tensor = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    frame = bytearray(encode_slice(slice_of(DIGEST, 2, tensor, 3)))
    frame[position] ^= change
    with pytest.raises(ProtocolError):
        decode(bytes(frame), 2, 2, "u1")


@given(st.binary(max_size=60))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    for read in (read_slice_header, reply_payload_bytes, decode_reply):
        with pytest.raises(ProtocolError):
            read(noise)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[:10], "ends within its header"),
        (lambda f: b"XX" + f[2:], "begins with b'XX'"),
        (lambda f: f[:2] + b"\x02" + f[3:], "version 2, this speaks 1"),
        (lambda f: f[:3] + b"\x03" + f[4:], "flags 0x03 and 3 channels"),
        (lambda f: f[:16] + b"\xff\xff\xff\xff" + f[20:], "claims 4294967295 bytes"),
        (lambda f: f[:-1], "slice of 12 bytes ended after 11"),
        (lambda f: f[:-1] + b"\x7f", "slice with CRC"),
    ],
)
def test_what_is_wrong_is_said(change, message: str) -> None:
    frame = encode_slice(slice_of(DIGEST, 2, np.zeros((2, 2, 3), np.uint8), 3))
    with pytest.raises(ProtocolError, match=message):
        decode(change(frame), 2, 2, "u1")


def test_slices_that_cannot_be() -> None:
    tensor = np.zeros((2, 2, 3), np.uint8)
    for channels in (0, 4):
        with pytest.raises(ProtocolError, match=f"{channels} channels cannot be sent"):
            slice_of(DIGEST, 2, tensor, channels)
    with pytest.raises(ProtocolError, match="8-bit values"):
        slice_of(DIGEST, 2, tensor.astype(np.float32), 3)
    with pytest.raises(ProtocolError, match="30 values of 8 bits are 30 bytes, the slice has 12"):
        decode(encode_slice(slice_of(DIGEST, 2, tensor, 3)), 5, 2)
    wide = np.zeros((2, 2, 10), np.uint8)
    with pytest.raises(ProtocolError, match="slice of 10 channels of a tensor with 9"):
        decode(encode_slice(slice_of(DIGEST, 2, wide, 10)), 2, 2)


def signed_tensor() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 20, (4, 5, 6)).clip(-128, 127).astype(np.int8)


def codec(coding: Coding, bits: int = 5, shift: int = 0) -> SliceCodec:
    """A codec whose statistics are those of a tensor moved by ``shift``."""
    statistics = SliceStatistics.of((signed_tensor() // 2 + shift)[np.newaxis], bits)
    ranged = coding is Coding.RANGE
    return SliceCodec(Tensor((4, 5, 6), 0.1, True), coding, bits, statistics if ranged else None)


def read(frame: bytes, receiver: SliceCodec) -> np.ndarray:
    header = read_slice_header(frame[:SLICE_HEADER_BYTES])
    return decode_slice(header, frame[SLICE_HEADER_BYTES:], receiver)


@pytest.mark.parametrize("coding", [Coding.PACKED, Coding.RANGE])
def test_a_coded_frame_byte_by_byte(coding: Coding) -> None:
    sender = codec(coding)
    frame = encode_slice(slice_of(DIGEST, 5, signed_tensor(), 3, sender))
    payload = sender.encode(signed_tensor(), 3)
    header = (
        b"HS"
        + bytes([1, {"PACKED": 1, "RANGE": 2}[coding.name]])
        + bytes.fromhex("0123456789abcdef")
        + bytes([5, 0, 3, 0])
        + len(payload).to_bytes(4, "little")
    )
    agreed = bytes.fromhex(sender.digest)[:8]  # in the CRC, not in the frame
    crc = binascii.crc32(header + agreed + payload).to_bytes(4, "little")
    assert frame == header + crc + payload
    expected = (np.floor(signed_tensor() / 8 + 0.5).clip(-16, 15) * 8)[:, :, :3]
    assert np.array_equal(read(frame, codec(coding)).transpose(1, 2, 0), expected)


def test_a_raw_codec_makes_the_frame_of_no_codec() -> None:
    raw = SliceCodec(Tensor((4, 5, 6), 0.1, True))
    frames = [encode_slice(slice_of(DIGEST, 5, signed_tensor(), 4, c)) for c in (None, raw)]
    assert frames[0] == frames[1] and len(frames[0]) == 24 + 80


@pytest.mark.parametrize("other", [codec(Coding.RANGE, shift=1), codec(Coding.RANGE, bits=6)])
def test_another_codec_is_noticed(other: SliceCodec) -> None:
    frame = encode_slice(slice_of(DIGEST, 5, signed_tensor(), 6, codec(Coding.RANGE)))
    with pytest.raises(ProtocolError, match=rf"of another codec than {other.digest[:16]}"):
        read(frame, other)
    with pytest.raises(ProtocolError, match="RANGE slice for a PACKED codec"):
        read(frame, codec(Coding.PACKED))


@settings(deadline=None)
@given(st.sampled_from([Coding.PACKED, Coding.RANGE]), st.integers(0, 200), st.integers(1, 255))
def test_every_changed_byte_of_a_coded_frame_is_noticed(
    coding: Coding, position: int, change: int
) -> None:
    frame = bytearray(encode_slice(slice_of(DIGEST, 5, signed_tensor(), 6, codec(coding))))
    frame[position % len(frame)] ^= change
    with pytest.raises(ProtocolError):
        read(bytes(frame), codec(coding))


def test_replies() -> None:
    logits = np.array([1.5, -2.0, 3e-7], np.float32)
    frame = encode_logits(logits)
    assert reply_payload_bytes(frame[:REPLY_HEADER_BYTES]) == 12
    assert np.array_equal(decode_reply(frame), logits)
    with pytest.raises(ProtocolError, match="the cloud refused: no tail for 3 layers"):
        decode_reply(encode_refusal("no tail for 3 layers"))
    with pytest.raises(ProtocolError, match="reply with CRC"):
        decode_reply(frame[:-1] + b"\x01")
    with pytest.raises(ProtocolError, match="reply of 12 bytes ended after 4"):
        decode_reply(frame[:-8])
