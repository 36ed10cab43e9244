"""Packet framing against sums worked by hand, GDB's own example, and a published CRC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.core.rsp import Decoder, Event, Kind, crc32, escape, expand_runs, frame, unescape


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (b"OK", b"$OK#9a"),  # 4f + 4b
        (b"", b"$#00"),
        (b"m0,4", b"$m0,4#fd"),  # 6d + 30 + 2c + 34
        (b"T05thread:1;", b"$T05thread:1;#d7"),  # 54+30+35+74+68+72+65+61+64+3a+31+3b = 3d7
        (b"\xff\xff\x02", b"$\xff\xff\x02#00"),  # 0x200 modulo 256
    ],
)
def test_frames_by_hand(data: bytes, packet: bytes) -> None:
    assert frame(data) == packet
    assert Decoder(100).feed(packet) == [Event(Kind.PACKET, data)]


def test_escapes_by_hand() -> None:
    assert escape(b"a#b$c}d*e") == b"a}\x03b}\x04c}]d}\ne"
    assert unescape(b"}]}\x03") == b"}#"
    with pytest.raises(ValueError, match="escape"):
        unescape(b"a}")


def test_runs() -> None:
    assert expand_runs(b"0* ") == b"0000"  # the GDB manual's example
    assert expand_runs(b'0*"00') == b"0" * 8
    for bad in (b"*!", b"0*"):
        with pytest.raises(ValueError, match="run-length"):
            expand_runs(bad)


def test_crc_is_the_published_one() -> None:
    assert crc32(b"123456789") == 0x0376E6E7  # CRC-32/MPEG-2: the same polynomial, no inversion


@given(st.binary(max_size=200))
def test_escape_and_back(data: bytes) -> None:
    assert unescape(escape(data)) == data
    assert not set(escape(data)) & set(b"#$*")


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 7))
def test_packets_arrive_however_the_stream_is_cut(packets: list[bytes], step: int) -> None:
    stream = b"+".join(frame(escape(data)) for data in packets)
    decoder, found = Decoder(100), []
    for at in range(0, len(stream), step):
        found += decoder.feed(stream[at : at + step])
    assert [unescape(e.data) for e in found if e.kind is Kind.PACKET] == packets
    assert not decoder.inside_packet


@pytest.mark.parametrize("packet", [b"$OK#9b", b"$OK#zz", b"$" + b"a" * 11 + b"#2b"])
def test_damage_is_noticed(packet: bytes) -> None:
    assert Decoder(10).feed(packet + b"\x03-") == [
        Event(Kind.DAMAGED), Event(Kind.INTERRUPT), Event(Kind.NAK),
    ]  # fmt: skip


def test_an_endless_packet_does_not_fill_memory() -> None:
    decoder = Decoder(10)
    assert decoder.feed(b"$" + b"a" * 20) == [Event(Kind.DAMAGED)]
    assert not decoder.inside_packet
