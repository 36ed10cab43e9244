"""The median of a few repeats, and an interval for it that assumes no distribution.

Device timings are skewed (an interrupt only ever adds), so mean and standard deviation
mislead. For sorted samples x(1) <= ... <= x(n) the interval x(k)..x(n+1-k) covers the true
median with probability 1 - 2 P[Binomial(n, 1/2) < k], whatever the distribution. The largest k
that keeps the asked confidence is taken. Below six samples even k = 1, minimum to maximum,
stays under 95 %: then that widest interval is returned with the confidence that it does reach.
A bootstrap would return a narrower one there, and cover less than it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from hil.core.cost import Interval
from hil.core.errors import DataError

CONFIDENCE = 0.95
# The fewest samples whose minimum to maximum covers the median with 95 %: 1 - 2 / 2**6 = 96.9 %.
MIN_REPEATS = 6


def coverage(n: int, k: int) -> float:
    """Probability that the k-th smallest to the k-th largest of n samples hold the median."""
    outside = sum(comb(n, i) for i in range(k))
    return max(0.0, 1.0 - 2.0 * outside / 2**n)


def order_rank(n: int, confidence: float = CONFIDENCE) -> int:
    """Largest k >= 1 whose interval still covers with ``confidence``; 1 if none does."""
    k = 1
    while 2 * (k + 1) <= n and coverage(n, k + 1) >= confidence:
        k += 1
    return k


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Median and interval of at least one finite sample, in the samples' unit."""
    values = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(values)
    if not n or not np.isfinite(values).all():
        raise DataError(f"a median needs finite samples, got {list(samples)[:5]} ({n} in all)")
    k = order_rank(n, confidence)
    return Interval(
        float(np.median(values)),
        float(values[k - 1]),
        float(values[n - k]),
        n,
        coverage(n, k),
    )
