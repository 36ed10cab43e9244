"""A supply's voltage as a line over the current, of a meter that samples both.

A waveform has one voltage; the board's sags under load by the resistance of supply and leads. So
v = open_v - ohms * i, by least squares over the samples' means. Then open_v is set so that the
record's energy is exactly what was sampled, whatever the line leaves open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# A sag is told from a current that varies: by this part of its mean, as a standard deviation.
LEAST_SPREAD = 0.05
# And from noise: by so many standard errors.
CERTAIN = 3.0


@dataclass(frozen=True)
class Supply:
    """Volts without a load, and what they sag by under an ampere; nan where nothing was sampled."""

    open_v: float
    ohms: float


def fit_supply(current_a: np.ndarray, voltage_v: np.ndarray, power_w: np.ndarray) -> Supply:
    """From means of each sample (float64, one row each); what is not a number does not count.

    ``power_w`` is the mean of the products, which within a sample is not that of the means. Where
    no sag can be told, ``open_v`` is the voltage weighted by the charge and ``ohms`` 0.
    """
    good = np.isfinite(current_a) & np.isfinite(power_w)
    current_a, voltage_v, power_w = current_a[good], voltage_v[good], power_w[good]
    if not len(current_a):
        return Supply(math.nan, 0.0)
    charge = float(current_a.sum())
    if charge <= 0.0:
        return Supply(float(voltage_v.mean()), 0.0)
    ohms = _sag_ohms(current_a, voltage_v)
    energy = float(power_w.sum()) + ohms * float(np.dot(current_a, current_a))
    return Supply(energy / charge, ohms)


def _sag_ohms(current_a: np.ndarray, voltage_v: np.ndarray) -> float:
    around_a, around_v = current_a - current_a.mean(), voltage_v - voltage_v.mean()
    squares = float(np.dot(around_a, around_a))
    if len(current_a) < 3 or squares < len(current_a) * (LEAST_SPREAD * current_a.mean()) ** 2:
        return 0.0
    ohms = -float(np.dot(around_a, around_v)) / squares
    left_v = around_v + ohms * around_a
    error = math.sqrt(float(np.dot(left_v, left_v)) / (len(current_a) - 2) / squares)
    return ohms if ohms > CERTAIN * error else 0.0
