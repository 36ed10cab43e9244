"""What the kernels of gap8_cnn_kernels.py compute, by numpy."""

from __future__ import annotations

import numpy as np
from gap8_cnn_kernels import (
    CONV_IN,
    CONV_OUT,
    LINEAR_IN,
    LINEAR_OUT,
    MEMORY,
    MEMORY_BYTES,
    NORM,
    POOL_IN,
    POOL_OUT,
    SEED,
    Kernel,
    addresses,
)
from numpy.typing import NDArray

Bytes = NDArray[np.int8]


def expected_hash(kernel: Kernel, runs: int) -> int:
    """FNV-1a of the output by numpy, after ``runs`` runs from the first bytes of the memory."""
    memory = _filled()
    source, output, weights = (address - MEMORY for address in addresses(kernel))
    shapes = {"max pool": _pooled, "average pool": _pooled, "convolution": _convolved}
    for _ in range(runs):
        shapes.get(kernel.name, _linear)(kernel, memory, source, output, weights)
    value = 2166136261
    for byte in memory[output : output + kernel.out_bytes].tobytes():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def _filled() -> Bytes:
    words = np.empty(MEMORY_BYTES // 4, np.uint32)
    value = SEED
    for i in range(len(words)):
        value = (value * 1664525 + 1013904223) & 0xFFFFFFFF
        words[i] = value
    return words.view(np.int8)


def _pooled(kernel: Kernel, memory: Bytes, source: int, output: int, weights: int) -> None:
    image = memory[source : source + POOL_IN**2].reshape(POOL_OUT, 2, POOL_OUT, 2).astype(np.int32)
    average = kernel.name.startswith("average")
    pooled = image.sum(axis=(1, 3)) >> 2 if average else image.max(axis=(1, 3))
    memory[output : output + POOL_OUT**2] = pooled.ravel().astype(np.int8)


def _convolved(kernel: Kernel, memory: Bytes, source: int, output: int, weights: int) -> None:
    image = memory[source : source + CONV_IN**2].reshape(CONV_IN, CONV_IN).astype(np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5))
    taps = memory[weights : weights + 25].reshape(5, 5).astype(np.int32)
    stride = kernel.out_bytes // CONV_OUT
    out = memory[output : output + kernel.out_bytes].reshape(CONV_OUT, stride)[:, :CONV_OUT]
    sums = (out.astype(np.int32) << NORM) + np.einsum("yxij,ij->yx", windows, taps)
    out[:] = (sums >> NORM).astype(np.int8)


def _linear(kernel: Kernel, memory: Bytes, source: int, output: int, weights: int) -> None:
    vector = memory[source : source + LINEAR_IN].astype(np.int32)
    rows = memory[weights : weights + LINEAR_IN * LINEAR_OUT].reshape(LINEAR_OUT, LINEAR_IN)
    out = memory[output : output + LINEAR_OUT]
    sums = (out.astype(np.int32) << NORM) + rows.astype(np.int32) @ vector
    out[:] = (sums >> NORM).astype(np.int8)
