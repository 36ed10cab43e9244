"""A board's power trace that every simulated USB meter is fed with, and its true energies."""

from __future__ import annotations

import numpy as np

from hil.sim.chip import MarkerEdge
from hil.sim.instruments.power_trace import PowerTrace

SUPPLY_V = 3.0
IDLE_A = 2e-3
# Two windows: start and end in seconds, current in amperes.
WINDOWS = ((0.010003, 0.022001, 0.030), (0.030004, 0.040002, 0.008))


def board_trace(
    windows: tuple[tuple[float, float, float], ...] = WINDOWS,
    idle_a: float = IDLE_A,
    duration_s: float = 0.06,
) -> PowerTrace:
    """Idle at ``idle_a`` and steps of current with the marker high."""
    fine_s = np.linspace(0, duration_s, round(duration_s / 1e-6), endpoint=False) + 5e-7
    current = np.full(len(fine_s), idle_a)
    edges = []
    for start_s, end_s, current_a in windows:
        current[(fine_s >= start_s) & (fine_s < end_s)] = current_a
        edges += [MarkerEdge(start_s, True), MarkerEdge(end_s, False)]
    return PowerTrace(current * SUPPLY_V, 1e-6, SUPPLY_V, edges)
