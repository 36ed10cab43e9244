"""Frames against bytes worked out by hand and against torn, noisy streams."""

from __future__ import annotations

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.core.console import MAX_PAYLOAD
from hil.rig.frames import Damage, Frame, FrameParser, encode, shown

PAYLOADS = st.binary(max_size=60)
FRAMES = st.lists(st.builds(Frame, st.integers(0, 255), st.integers(0, 255), PAYLOADS), max_size=6)


def test_layout_byte_by_byte() -> None:
    # IDENTIFY, sequence 2, empty; CRC-32 of 01 02 00 00 by binascii, not by our code.
    crc = binascii.crc32(bytes([1, 2, 0, 0])).to_bytes(4, "little")
    assert encode(1, 2) == bytes([0xA5, 0x5A, 1, 2, 0, 0]) + crc
    assert encode(3, 255, b"\xff" * 300)[4:6] == bytes([0x2C, 0x01])


@given(FRAMES, st.data())
def test_any_cutting_of_the_stream_gives_the_same_frames(
    frames: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(encode(f.type, f.sequence, f.payload) for f in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser = FrameParser()
    found: list[Frame | Damage] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert found == frames
    assert parser.pending == b""


@given(st.binary(max_size=200), PAYLOADS)
def test_a_frame_behind_noise_is_found_once_the_line_has_gone_on(
    noise: bytes, payload: bytes
) -> None:
    parser = FrameParser()
    # A fake header in the noise may claim up to a whole payload, which must have come first.
    stream = noise + encode(0x81, 9, payload) + bytes(MAX_PAYLOAD + 16)
    assert Frame(0x81, 9, payload) in parser.feed(stream)


def test_a_flipped_byte_is_damage_and_the_next_frame_is_whole() -> None:
    bad = bytearray(encode(0x85, 3, b"cycles"))
    bad[8] ^= 0xFF
    items = FrameParser().feed(bytes(bad) + encode(0x81, 4, b"ok"))
    assert items[-1] == Frame(0x81, 4, b"ok")
    damage = items[0]
    assert isinstance(damage, Damage) and damage.crc
    assert damage.data == bytes(bad) and "type 0x85" in damage.reason


def test_an_impossible_length_does_not_swallow_what_follows() -> None:
    liar = bytes([0xA5, 0x5A, 0x81, 1]) + (MAX_PAYLOAD + 1).to_bytes(2, "little")
    items = FrameParser().feed(liar + encode(0x81, 1, b"x"))
    assert items[-1] == Frame(0x81, 1, b"x")
    assert "2049" in str(items[0])


def test_half_a_sync_at_the_end_is_kept() -> None:
    parser = FrameParser()
    assert [str(item) for item in parser.feed(b"boot\xa5")] == [
        "no frame in these bytes: 62 6f 6f 74"
    ]
    assert parser.pending == b"\xa5"
    assert parser.feed(encode(1, 1)[1:]) == [Frame(1, 1, b"")]


@pytest.mark.parametrize(("data", "text"), [(b"", "nothing"), (b"\x01\xff", "01 ff")])
def test_shown(data: bytes, text: str) -> None:
    assert shown(data) == text
