"""Tails over a real socket: right logits, and no client can hang or stop the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from hil.cloud.client import TailClient
from hil.cloud.cost import host_name, measure_tail
from hil.cloud.server import TailServer, TailService
from hil.cloud.wire import REPLY_HEADER_BYTES, encode_slice, slice_of
from hil.coding.slice_codec import Coding, SliceCodec
from hil.coding.statistics import SliceStatistics
from hil.core.errors import DataError, ModelError, ProtocolError, RigError
from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.core.provenance import Origin

SCALE = 0.05


def network() -> Network:
    tensors = (Tensor((4, 4, 3), 0.1, True), Tensor((2, 3, 5), SCALE, False))
    layers = (Layer("l0", Op.POINTWISE, (0,), weight=np.ones((1,), np.int8)),)
    return Network("net", tensors, layers, (Cut("cut", 1),))


class Sum(nn.Module):
    """Logits that a person can check: the sum, and channel c's value at row 1, column 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != self.channels:
            raise RuntimeError(f"expected {self.channels} channels, got {x.shape[1]}")
        return torch.cat((x.sum(dim=(1, 2, 3)).unsqueeze(1), x[:, :, 1, 2]), dim=1)


def slow(x: torch.Tensor) -> torch.Tensor:
    time.sleep(0.5)
    return x.flatten(1)


@pytest.fixture
def server() -> Iterator[TailServer]:
    tails = {(1, 5): Sum(5), (1, 2): Sum(2), (1, 3): Sum(4), (1, 1): slow}
    with TailServer(TailService(network(), tails), deadline_s=1.0) as server:
        yield server


def tensor() -> np.ndarray:
    return np.arange(100, 130, dtype=np.uint8).reshape(2, 3, 5)


def test_logits_by_hand(server: TailServer) -> None:
    with TailClient(server.address) as client:
        for channels in (5, 2, 5):  # one connection, several slices
            answer = client.infer(slice_of(network().digest, 1, tensor(), channels))
            sent = tensor()[:, :, :channels].astype(np.float64) * SCALE
            assert answer.logits == pytest.approx([sent.sum(), *sent[1, 2]], rel=1e-5)
            assert answer.sent_bytes == 24 + 6 * channels
            assert 0 < answer.round_trip_s < 1


def codec(coding: Coding, bits: int = 6) -> SliceCodec:
    statistics = SliceStatistics.of(tensor()[np.newaxis], bits) if coding is Coding.RANGE else None
    return SliceCodec(network().tensors[1], coding, bits, statistics)


@pytest.mark.parametrize("coding", [Coding.PACKED, Coding.RANGE])
def test_coded_slices(coding: Coding) -> None:
    """Fewer bytes on the wire, logits of the values on the coarser grid; raw goes on working."""
    tails = {(1, 5): Sum(5), (1, 2): Sum(2)}
    service = TailService(network(), tails, {1: codec(coding)})
    coarse = np.floor(tensor() / 4 + 0.5) * 4 * SCALE
    with TailServer(service, deadline_s=1.0) as server, TailClient(server.address) as client:
        for channels in (5, 2):
            answer = client.infer(slice_of(network().digest, 1, tensor(), channels, codec(coding)))
            sent = coarse[:, :, :channels]
            assert answer.logits == pytest.approx([sent.sum(), *sent[1, 2]], rel=1e-5)
            assert answer.sent_bytes < 24 + 6 * channels
            raw = client.infer(slice_of(network().digest, 1, tensor(), channels))
            assert raw.logits[0] == pytest.approx(SCALE * tensor()[:, :, :channels].sum())


def test_a_coded_slice_without_its_codec() -> None:
    service = TailService(network(), {(1, 5): Sum(5)}, {1: codec(Coding.PACKED)})
    ranged = slice_of(network().digest, 1, tensor(), 5, codec(Coding.RANGE))
    packed = slice_of(network().digest, 1, tensor(), 5, codec(Coding.PACKED))
    with TailServer(service) as server, TailClient(server.address) as client:
        with pytest.raises(ProtocolError, match=r"range slice after 1 layers.*a packed codec"):
            client.infer(ranged)
        assert len(client.infer(packed).logits) == 6  # the connection is still good
        five = slice_of(network().digest, 1, tensor(), 5, codec(Coding.PACKED, bits=5))
        with pytest.raises(ProtocolError, match="of another codec than"):
            client.infer(five)
    with (
        TailServer(TailService(network(), {(1, 5): Sum(5)})) as server,
        TailClient(server.address) as client,
        pytest.raises(ProtocolError, match=r"this has no codec; send it raw or load its codec"),
    ):
        client.infer(ranged)


def test_a_codec_of_another_tensor() -> None:
    for layers in (0, 7):
        with pytest.raises(ModelError, match=f"does not fit net after {layers} layers"):
            TailService(network(), {}, {layers: codec(Coding.PACKED)})


def test_many_clients_at_once(server: TailServer) -> None:
    results: list[float] = []

    def use(offset: int) -> None:
        data = np.full((2, 3, 5), offset, np.uint8)
        with TailClient(server.address) as client:
            for _ in range(10):
                answer = client.infer(slice_of(network().digest, 1, data, 5))
                results.append(float(answer.logits[0]) - offset * 30 * SCALE)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80 and np.allclose(results, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("digest", "channels", "message"),
    [
        ("f" * 64, 5, "deploy the same network on both ends"),
        (None, 4, r"no tail for 1 layers and 4 channels; loaded .*: 1/1, 1/2, 1/3, 1/5"),
        (None, 3, "expected 4 channels, got 3"),
    ],
)
def test_a_refused_slice_leaves_the_connection_usable(
    server: TailServer, digest: str | None, channels: int, message: str
) -> None:
    with TailClient(server.address) as client:
        with pytest.raises(ProtocolError, match=message):
            client.infer(slice_of(digest or network().digest, 1, tensor(), channels))
        assert len(client.infer(slice_of(network().digest, 1, tensor(), 2)).logits) == 3


def raw(server: TailServer, data: bytes) -> tuple[bytes, float]:
    """What the server answers to bytes, and how long until it closes."""
    start = time.monotonic()
    with socket.create_connection(server.address, timeout=5) as sock:
        sock.sendall(data)
        answer = b""
        while chunk := sock.recv(4096):
            answer += chunk
    return answer, time.monotonic() - start


def test_garbage_is_refused_and_the_connection_closed(server: TailServer) -> None:
    answer, _ = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"not a slice frame" in answer
    frame = bytearray(encode_slice(slice_of(network().digest, 1, tensor(), 5)))
    frame[-1] ^= 1
    answer, _ = raw(server, bytes(frame))
    assert b"slice with CRC" in answer[REPLY_HEADER_BYTES:]


def test_a_client_that_stops_half_way_is_dropped_at_the_deadline(server: TailServer) -> None:
    frame = encode_slice(slice_of(network().digest, 1, tensor(), 5))
    answer, seconds = raw(server, frame[:-3])
    assert answer == b"" and 0.8 < seconds < 3
    with TailClient(server.address) as client:
        client.infer(slice_of(network().digest, 1, tensor(), 5))


def test_a_slow_tail_is_a_timeout_for_the_client(server: TailServer) -> None:
    part = slice_of(network().digest, 1, tensor(), 1)
    silence = r"no answer within 0\.1 s to a slice of 30 bytes"
    with (
        TailClient(server.address, deadline_s=0.1) as client,
        pytest.raises(RigError, match=silence),
    ):
        client.infer(part)


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(RigError, match=r"cannot connect.*is the server running"):
            TailClient(reserved.getsockname())


def test_a_port_that_is_taken(server: TailServer) -> None:
    with pytest.raises(RigError, match="cannot listen on 127"):
        TailServer(TailService(network(), {}), port=server.address[1])


def test_tail_latency_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(np.cumsum([0, 9, 1, 0.5, 1, 0.25, 1, 0.75]))
    monkeypatch.setattr("hil.cloud.cost.time.perf_counter", lambda: float(next(ticks)))
    tail = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 2)).train()
    cost = measure_tail(tail, (1, 3, 2, 2), repeats=3, warmups=1, threads=1)
    assert (cost.warmup_samples_s, cost.samples_s) == ((9.0,), (0.5, 0.25, 0.75))
    assert (cost.latency_s.median, cost.latency_s.lo, cost.latency_s.hi) == (0.5, 0.25, 0.75)
    assert (cost.threads, cost.device, cost.origin) == (1, "cpu", Origin.MEASURED)
    assert cost.host == host_name() != ""
    assert tail.training and tail[1].training


def test_measured_latency_grows_with_the_work() -> None:
    small, large = nn.Linear(8, 8), nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(8)))
    fast = measure_tail(small, (1, 8), repeats=9).latency_s
    slow = measure_tail(large, (1, 1024), repeats=9).latency_s
    assert 0 < fast.median < slow.median < 1


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ModelError, match=r"tail Linear does not take an input of shape \(1, 3\)"):
        measure_tail(nn.Linear(8, 8), (1, 3))
    with pytest.raises(DataError, match="at least once"):
        measure_tail(nn.Linear(8, 8), (1, 8), repeats=0)
