"""Slice and reply frames: bytes written out by hand, every damage noticed."""

from __future__ import annotations

import binascii

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.cloud.wire import (
    REPLY_HEADER_BYTES,
    SLICE_HEADER_BYTES,
    Slice,
    decode_reply,
    decode_slice,
    encode_logits,
    encode_refusal,
    encode_slice,
    read_slice_header,
    reply_payload_bytes,
    slice_of,
)
from hil.core.errors import ProtocolError

DIGEST = "0123456789abcdef" * 4


def decode(frame: bytes, height: int, width: int, dtype: str = "i1") -> np.ndarray:
    header = read_slice_header(frame[:SLICE_HEADER_BYTES])
    return decode_slice(header, frame[SLICE_HEADER_BYTES:], height, width, np.dtype(dtype))


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
        encode_slice(Slice(DIGEST, 2, np.zeros((3, 2, 2), np.float32)))
    with pytest.raises(ProtocolError, match="3 channels of 5x2 are 30 bytes"):
        decode(encode_slice(slice_of(DIGEST, 2, tensor, 3)), 5, 2)


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
