"""Every trained slice, from the board's own output over the wire to the cloud's answer.

The rounds are the board's time for the device part. What is checked is the whole way: the tensor
that was read back from the board, cut to the slice, framed, sent to a server on this computer,
decoded and run through the slice's own tail must give what the tail gives for the integer
reference's values, directly.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.conftest import (
    Bench,
    board_output,
    device_time,
    partition_samples_s,
    replay,
)
from hil.clio.slicing.artifact import SlicePoint
from hil.cloud.client import TailClient
from hil.cloud.wire import SLICE_HEADER_BYTES, slice_of
from hil.core.network import Network
from hil.loop.serving import range_codec
from hil.loop.subject import Subject
from hil.nn.reference import quantise_input, run


@device_time("slices")
def test_slice(
    benchmark,
    bench: Bench,
    board: str,
    trained: SlicePoint,
    subject: Subject,
    cloud: tuple[str, int],
) -> None:
    network, channels = bench.network, trained.channels
    layers = network.cut(trained.cut).layers
    bench.skip_unless_fits(board, layers)
    image, output = board_output(bench, board, layers)
    assert subject.artifact is not None
    coded = range_codec(subject.artifact, trained.cut)
    with TailClient(cloud, deadline_s=60.0) as client:
        raw, ranged = (
            client.infer(slice_of(network.digest, layers, output, channels, codec))
            for codec in (None, coded)
        )
    replay(benchmark, partition_samples_s(bench, board, layers))
    benchmark.extra_info.update(
        board=board,
        cut=trained.cut,
        channels=channels,
        of_channels=trained.of_channels,
        frame_bytes=raw.sent_bytes,
        range_frame_bytes=ranged.sent_bytes,
        mean_range_payload_bytes=trained.range_bytes,
        top1=trained.accuracy.top1,
        top1_interval=trained.accuracy.interval,
        images=trained.accuracy.images,
        provenance=bench.table(board).provenance.to_dict(),
    )
    assert raw.sent_bytes == trained.raw_bytes + SLICE_HEADER_BYTES
    values = run(network, quantise_input(subject.images.x[image]), layers)[-1][..., :channels]
    expected = directly(subject, network, trained, values)
    for answer in (raw, ranged):
        np.testing.assert_allclose(answer.logits, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def directly(
    subject: Subject, network: Network, trained: SlicePoint, values: np.ndarray
) -> np.ndarray:
    """Logits of the slice's tail without a wire; the tail must know one image from another."""
    scale = network.tensors[network.cut(trained.cut).layers].scale
    real = torch.from_numpy(values.astype(np.float32) * np.float32(scale))
    tail = subject.tail(trained.cut, trained.channels)
    logits = tail(real.permute(2, 0, 1).unsqueeze(0))[0].numpy()
    nothing = tail(torch.zeros(1, trained.channels, *values.shape[:2]))[0].numpy()
    if np.allclose(logits, nothing, rtol=1e-3, atol=1e-3):
        pytest.fail("the tail answers the image as it answers nothing: this check sees no errors")
    return logits
