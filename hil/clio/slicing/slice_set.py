"""Which numbers of channels may be sent at a cut, and how likely each is (Clio, sections 3.2, 3.4).

The paper limits the sizes of the hidden representation to multiples or powers of a number, which
sets the probability of all others to zero, and weights the rest by how likely the link lets
them through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hil.clio.radio import Radio
from hil.core.errors import DataError, ModelError


@dataclass(frozen=True)
class SliceSet:
    """Slices of one cut: ``channels`` ascending, ``probabilities`` (pi) summing to one."""

    cut: str
    channels: tuple[int, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        counts, pi = self.channels, np.asarray(self.probabilities)
        if not counts or list(counts) != sorted(set(counts)) or counts[0] < 1:
            raise ModelError(
                f"cut {self.cut}: slices {counts} must be ascending, different and at least 1"
            )
        if len(pi) != len(counts) or not (pi >= 0).all() or abs(pi.sum() - 1) > 1e-9:
            raise ModelError(
                f"cut {self.cut}: probabilities {self.probabilities} of {len(counts)} slices must "
                "be one each, not negative, and sum to 1"
            )


def uniform(cut: str, channels: Sequence[int]) -> SliceSet:
    """All slices equally likely."""
    counts = tuple(channels)
    return SliceSet(cut, counts, tuple([1 / len(counts)] * len(counts)) if counts else ())


def slice_channels(rule: str, of_channels: int) -> tuple[int, ...]:
    """Channel counts by rule: ``every:N`` (N, 2N, ...), ``pow2`` (1, 2, 4, ...) or ``1,3,8``.

    The first two always end with all ``of_channels``, so that nothing is lost on a good link.
    """
    try:
        if rule == "pow2":
            return tuple(sorted({*(1 << k for k in range(of_channels.bit_length())), of_channels}))
        if rule.startswith("every:"):
            step = int(rule.removeprefix("every:"))
            return tuple(sorted({*range(step, of_channels + 1, step), of_channels}))
        counts = tuple(sorted({int(part) for part in rule.split(",")}))
    except ValueError as error:
        raise ModelError(
            f"slice rule {rule!r}: use every:N with N of at least 1, pow2, or counts as in 1,2,4"
        ) from error
    if counts[0] < 1 or counts[-1] > of_channels:
        raise ModelError(
            f"slice rule {rule!r}: counts must lie between 1 and the {of_channels} channels of the "
            "cut's layer"
        )
    return counts


def from_bandwidth(
    cut: str,
    channels: Sequence[int],
    wire_bytes: Sequence[int],
    bandwidth_kbps: np.ndarray,
    budget_s: float,
    weights: np.ndarray | None = None,
) -> SliceSet:
    """pi from observed bandwidths: how often each slice is the largest that fits the time left.

    ``wire_bytes`` of each slice; ``budget_s`` is the latency target less all computing (section
    3.4's epsilon_target - epsilon_C). Samples in which not even the first slice fits cannot
    train anything and are left out. ``weights``: of the samples, such as seconds. Raises
    DataError when no slice ever fits.
    """
    samples = np.asarray(bandwidth_kbps, float)
    if samples.size == 0 or not np.isfinite(samples).all() or (samples < 0).any():
        raise DataError(f"cut {cut}: bandwidths must be finite, not negative, and at least one")
    capacity = samples * (1000 / 8) * max(budget_s, 0.0)
    fitting = (np.asarray(wire_bytes)[None, :] <= capacity[:, None]).sum(1)
    counts = np.bincount(fitting, weights, len(channels) + 1)[1:]
    if counts.sum() == 0:
        raise DataError(
            f"cut {cut}: in {budget_s * 1e3:.1f} ms at no more than {samples.max():.0f} kbit/s not "
            f"even the smallest slice ({wire_bytes[0]} bytes) can be sent; allow more latency"
        )
    pi = counts / counts.sum()
    return SliceSet(cut, tuple(channels), tuple(float(p) for p in pi))


def radio_bandwidths(radio: Radio, spread: float, samples: int = 1001) -> np.ndarray:
    """Bandwidths of a link that varies: quantiles of a Gaussian around the radio's own, in kbit/s.

    ``spread`` is its standard deviation as a fraction of the mean (section 5.6 draws bandwidths
    from Gaussians around an average); what would be negative is an outage, 0.
    """
    if not 0 <= spread < np.inf:
        raise DataError(f"radio {radio.name}: a spread is not negative, not {spread}")
    positions = (np.arange(samples) + 0.5) / samples
    normal = NormalDist()
    deviations = np.array([normal.inv_cdf(p) for p in positions])
    return np.maximum(radio.bandwidth_kbps * (1 + spread * deviations), 0.0)
