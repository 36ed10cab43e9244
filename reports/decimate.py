"""Waveforms small enough for a page, with every peak kept.

Samples are grouped in buckets of equal length; of each bucket the smallest and the largest are
kept (a band), so a single-sample spike stays visible. The band is quantised to 16 bits over its
own range, whose step the report states.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from hil.core.errors import DataError

# What one waveform may add to the page, in bytes of base64 text.
WAVEFORM_BUDGET_BYTES = 80 * 1024
# Code of a bucket with a missing sample. 0..LEVELS are currents.
GAP_CODE = 0xFFFF
LEVELS = 0xFFFE
MAX_BUCKETS = 100_000
# Finer than any meter; a constant current still needs some step.
MIN_STEP_A = 1e-12


@dataclass(frozen=True, eq=False)
class Band:
    """Smallest and largest sample of each bucket, (buckets,) each; NaN where one is missing."""

    samples_per_bucket: int
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class PackedBand:
    """A band as text: zlib over byte planes (low's low bytes, low's high bytes, high's ...)."""

    samples_per_bucket: int
    buckets: int
    offset_a: float
    step_a: float
    text: str


def band(samples: np.ndarray, samples_per_bucket: int) -> Band:
    """Minimum and maximum of every bucket; the last one may be shorter."""
    if samples_per_bucket < 1:
        raise DataError(f"a bucket holds at least one sample, not {samples_per_bucket}")
    full = len(samples) // samples_per_bucket * samples_per_bucket
    rows = samples[:full].reshape(-1, samples_per_bucket)
    low, high = rows.min(axis=1), rows.max(axis=1)  # NaN wins in both: a gap stays a gap
    if full < len(samples):
        rest = samples[full:]
        low, high = np.append(low, rest.min()), np.append(high, rest.max())
    return Band(samples_per_bucket, low, high)


def packed(samples: np.ndarray, budget_bytes: int = WAVEFORM_BUDGET_BYTES) -> PackedBand:
    """The finest band within the budget; buckets double until it fits."""
    bucket = 1
    while len(samples) > bucket * MAX_BUCKETS:
        bucket *= 2
    while True:
        result = pack(band(samples, bucket))
        if len(result.text) <= budget_bytes or result.buckets == 1:
            return result
        bucket *= 2


def pack(drawn: Band) -> PackedBand:
    """Quantise to 16 bits over the band's range and compress."""
    offset, step = _scale(drawn)
    planes = []
    for edge in (drawn.low, drawn.high):
        codes = np.full(len(edge), GAP_CODE, np.uint16)
        seen = np.isfinite(edge)
        wide = edge[seen].astype(np.float64)
        codes[seen] = np.round((wide - offset) / step).astype(np.uint16)
        planes += [(codes & 0xFF).astype(np.uint8), (codes >> 8).astype(np.uint8)]
    text = base64.b64encode(zlib.compress(np.concatenate(planes).tobytes(), 9)).decode()
    return PackedBand(drawn.samples_per_bucket, len(drawn.low), offset, step, text)


def unpack(data: PackedBand) -> Band:
    """What the page's JavaScript does, for tests and notebooks."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(data.text)), np.uint8)
    low0, low1, high0, high1 = planes.reshape(4, data.buckets).astype(np.uint16)
    edges = [a | (b << 8) for a, b in ((low0, low1), (high0, high1))]
    low, high = (
        np.where(e == GAP_CODE, np.nan, data.offset_a + e.astype(float) * data.step_a)
        for e in edges
    )
    return Band(data.samples_per_bucket, low, high)


def _scale(drawn: Band) -> tuple[float, float]:
    seen = np.isfinite(drawn.low)
    if not seen.any():
        return 0.0, MIN_STEP_A
    smallest, largest = float(drawn.low[seen].min()), float(drawn.high[seen].max())
    return smallest, max((largest - smallest) / LEVELS, MIN_STEP_A)


def edges(marker: np.ndarray) -> tuple[list[int], bool]:
    """Sample numbers at which the marker changes, and its level at the start."""
    levels = np.asarray(marker, bool)
    return [int(i) + 1 for i in np.flatnonzero(levels[1:] != levels[:-1])], bool(levels[0])
