"""How many bytes slices really have, over many tensors: what tables state as wire bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.coding.slice_codec import SliceCodec
from hil.core.errors import DataError


@dataclass(frozen=True)
class SliceSize:
    """Payload bytes of slices of ``channels`` channels over ``n`` tensors, frames not included.

    Raw and packed slices are always of one size; range-coded ones vary with the tensor.
    """

    channels: int
    mean_bytes: float
    median_bytes: float
    max_bytes: int
    n: int


def slice_sizes(codec: SliceCodec, tensors: np.ndarray) -> tuple[SliceSize, ...]:
    """Sizes at every border, fewest channels first, of (N, height, width, channel) tensors."""
    if tensors.ndim != 4 or not len(tensors):
        raise DataError(f"sizes need tensors (N, height, width, channels), not {tensors.shape}")
    # (N, channels); the empty slice is left out.
    sizes = np.array([codec.encode_all(tensor).borders[1:] for tensor in tensors])
    return tuple(
        SliceSize(
            channels=channels,
            mean_bytes=float(column.mean()),
            median_bytes=float(np.median(column)),
            max_bytes=int(column.max()),
            n=len(column),
        )
        for channels, column in enumerate(sizes.T, start=1)
    )
